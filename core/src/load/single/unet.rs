//! The UNet of a checkpoint in one file: a list of down blocks and one of up blocks, which diffusers groups by resolution.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::super::header::Tensor;
use super::family::layout;
use super::keys::{Keys, Modules, NORM_GROUPS, check_groups, untold};
use super::{Part, UNET};
use crate::error::Result;
use crate::families::ModelFamily;
use crate::net::original_names::{OUTSIDE, RESNET};

/// Heads of every attention in Stable Diffusion 1.x.
const HEADS: usize = 8;
/// Width of a head in the later families.
const HEAD_WIDTH: usize = 64;
/// The number of sizes and offsets that condition SDXL.
const TIME_IDS: usize = 6;

/// One resolution: its channels, and of each resnet how many layers the transformer after it has (0 for none).
#[derive(Debug, Default, PartialEq)]
struct Level {
    channels: usize,
    depths: Vec<usize>,
}

/// The structure of the UNet, by its tensors.
struct Layout<'a> {
    keys: Keys<'a>,
    modules: Modules,
    down: Vec<Level>,
    /// `None` without a middle block; 0 for one without a transformer.
    mid: Option<usize>,
    up: Vec<Level>,
    /// A transformer, by its name in the file.
    transformer: Option<String>,
}

/// Determines the config and the names of the UNet; `pooled` is the width of the pooled text.
pub(super) fn part(family: ModelFamily, pooled: Option<usize>, all: &HashMap<String, Tensor>) -> Result<Part> {
    let mut layout = Layout {
        keys: Keys::under(UNET, all),
        modules: Modules::default(),
        down: vec![Level::default()],
        mid: None,
        up: vec![Level::default()],
        transformer: None,
    };
    for (old, new) in OUTSIDE {
        layout.modules.add(old, new);
    }
    layout.read_down()?;
    layout.read_mid()?;
    layout.read_up()?;
    layout.check()?;
    let config = layout.config(family, pooled)?;
    Ok(Part { class: "UNet2DConditionModel", config, tensors: layout.modules.rename_all(&layout.keys) })
}

impl Layout<'_> {
    fn read_down(&mut self) -> Result<()> {
        for n in 1.. {
            let (block, level) = (format!("input_blocks.{n}"), self.down.len() - 1);
            if self.keys.has(&format!("{block}.0.op.weight")) {
                self.modules.add(format!("{block}.0.op"), format!("down_blocks.{level}.downsamplers.0.conv"));
                self.down.push(Level::default());
            } else if self.is_resnet(&format!("{block}.0")) {
                let mut last = self.down.pop().unwrap_or_default();
                self.read_stage(&block, &format!("down_blocks.{level}"), &mut last)?;
                self.down.push(last);
            } else {
                break;
            }
        }
        Ok(())
    }

    fn read_mid(&mut self) -> Result<()> {
        if !self.is_resnet("middle_block.0") {
            return Ok(());
        }
        self.modules.add_parts("middle_block.0", "mid_block.resnets.0", &RESNET);
        let depth = self.read_transformer("middle_block.1", "mid_block.attentions.0");
        match (depth, self.is_resnet("middle_block.2")) {
            (0, false) if !self.is_resnet("middle_block.1") => {}
            (1.., true) => self.modules.add_parts("middle_block.2", "mid_block.resnets.1", &RESNET),
            _ => return Err(untold(
                "middle block of the UNet: got other layers, expected one resnet, or a transformer between two resnets"
                    .into(),
            )),
        }
        self.mid = Some(depth);
        Ok(())
    }

    fn read_up(&mut self) -> Result<()> {
        for n in 0.. {
            let (block, level) = (format!("output_blocks.{n}"), self.up.len() - 1);
            if !self.is_resnet(&format!("{block}.0")) {
                break;
            }
            let mut last = self.up.pop().unwrap_or_default();
            self.read_stage(&block, &format!("up_blocks.{level}"), &mut last)?;
            self.up.push(last);
            // After the transformer if there is one.
            for place in [1, 2] {
                if self.keys.has(&format!("{block}.{place}.conv.weight")) {
                    self.modules.add(format!("{block}.{place}.conv"), format!("up_blocks.{level}.upsamplers.0.conv"));
                    self.up.push(Level::default());
                }
            }
        }
        Ok(())
    }

    /// Returns a resnet, and the transformer after it.
    fn read_stage(&mut self, block: &str, new: &str, level: &mut Level) -> Result<()> {
        let i = level.depths.len();
        let channels = self.keys.dim(&format!("{block}.0.out_layers.3.weight"), 0)?;
        if i > 0 && channels != level.channels {
            return Err(untold(format!(
                "channels of {block} of the UNet: got {channels}, expected {} as in its resolution",
                level.channels
            )));
        }
        level.channels = channels;
        self.modules.add_parts(&format!("{block}.0"), &format!("{new}.resnets.{i}"), &RESNET);
        let depth = self.read_transformer(&format!("{block}.1"), &format!("{new}.attentions.{i}"));
        level.depths.push(depth);
        Ok(())
    }

    /// Returns the layers of the transformer `old`, which becomes `new`; 0 if there is none.
    fn read_transformer(&mut self, old: &str, new: &str) -> usize {
        let depth = self.keys.count(|layer| format!("{old}.transformer_blocks.{layer}.attn2.to_k.weight"));
        if depth > 0 {
            self.modules.add(old, new);
            self.transformer = Some(old.to_owned());
        }
        depth
    }

    fn is_resnet(&self, module: &str) -> bool {
        self.keys.has(&format!("{module}.in_layers.2.weight"))
    }

    /// Returns true if the up blocks mirror the down blocks, and each resolution has transformers after all resnets or
    /// none.
    fn check(&self) -> Result<()> {
        let channels: Vec<usize> = self.down.iter().map(|level| level.channels).collect();
        check_groups("UNet", &channels)?;
        let mirrored = self.down.len() == self.up.len()
            && self.down.iter().zip(self.up.iter().rev()).all(|(down, up)| {
                (up.channels, up.depths.len()) == (down.channels, down.depths.len() + 1) && !down.depths.is_empty()
            });
        if !mirrored {
            let depths =
                |levels: &[Level]| levels.iter().map(|level| level.depths.len().to_string()).collect::<Vec<_>>();
            let (down, up) = (depths(&self.down).join(", "), depths(&self.up).join(", "));
            return Err(untold(format!(
                "resnets of the UNet: got {down} down and {up} up, expected one more for each resolution up, in reverse order"
            )));
        }
        let all_or_none = |level: &Level| level.attends() == level.depths.iter().all(|&depth| depth > 0);
        if !self.down.iter().chain(&self.up).all(all_or_none) {
            return Err(untold(
                "transformers of the UNet: got a resolution with some, expected one after each resnet or none".into(),
            ));
        }
        Ok(())
    }

    fn config(&self, family: ModelFamily, pooled: Option<usize>) -> Result<Value> {
        let keys = &self.keys;
        let channels: Vec<usize> = self.down.iter().map(|level| level.channels).collect();
        let types = |levels: &[Level], with: &str, without: &str| -> Vec<String> {
            levels.iter().map(|level| if level.attends() { with } else { without }.to_owned()).collect()
        };
        let resnets: Vec<usize> = self.down.iter().map(|level| level.depths.len()).collect();
        let (depths, reverse) = self.transformer_layers()?;
        let projection = self.transformer.as_ref().map(|name| keys.shape(&format!("{name}.proj_in.weight")));
        let text = self
            .transformer
            .as_ref()
            .map(|name| keys.dim(&format!("{name}.transformer_blocks.0.attn2.to_k.weight"), 1));
        let mut config = json!({
            "_class_name": "UNet2DConditionModel",
            "act_fn": "silu",
            "attention_head_dim": self.heads(layout(family).fixed_heads)?,
            "block_out_channels": channels,
            "cross_attention_dim": text.transpose()?,
            "down_block_types": types(&self.down, "CrossAttnDownBlock2D", "DownBlock2D"),
            "up_block_types": types(&self.up, "CrossAttnUpBlock2D", "UpBlock2D"),
            "mid_block_type": self.mid.map(|depth| if depth > 0 { "UNetMidBlock2DCrossAttn" } else { "UNetMidBlock2D" }),
            "in_channels": keys.dim("input_blocks.0.0.weight", 1)?,
            "out_channels": keys.dim("out.2.weight", 0)?,
            "layers_per_block": one_or_all(&resnets),
            "norm_num_groups": NORM_GROUPS,
            "sample_size": layout(family).picture_side / 8,
            "time_embedding_dim": keys.dim("time_embed.0.weight", 0)?,
            "transformer_layers_per_block": depths,
            "reverse_transformer_layers_per_block": reverse,
            "use_linear_projection": projection.transpose()?.is_some_and(|shape| shape.len() == 2),
        });
        if family == ModelFamily::Sdxl {
            let (width, pooled) = (keys.dim("label_emb.0.0.weight", 1)?, pooled.unwrap_or_default());
            let ids = width.checked_sub(pooled).filter(|ids| *ids > 0 && ids % (2 * TIME_IDS) == 0);
            let Some(ids) = ids else {
                return Err(untold(format!(
                    "channels of label_emb of the UNet: got {width}, expected {pooled} of the pooled text and an even \
                     number for each of {TIME_IDS} sizes"
                )));
            };
            config["addition_embed_type"] = "text_time".into();
            config["addition_time_embed_dim"] = (ids / TIME_IDS).into();
            config["projection_class_embeddings_input_dim"] = width.into();
        }
        Ok(config)
    }

    /// Returns the heads of each resolution.
    fn heads(&self, fixed: bool) -> Result<Value> {
        let unit = if fixed { HEADS } else { HEAD_WIDTH };
        if let Some(odd) = self.down.iter().find(|level| level.channels % unit != 0) {
            return Err(untold(format!("channels of the UNet: got {}, expected a multiple of {unit}", odd.channels)));
        }
        let width = |level: &Level| level.channels / HEAD_WIDTH;
        Ok(if fixed { HEADS.into() } else { self.down.iter().map(width).collect() })
    }

    /// Returns the layers of the transformers in the down blocks, and those in the up blocks if they do not mirror
    /// them.
    fn transformer_layers(&self) -> Result<(Value, Value)> {
        let last = self.down.len() - 1;
        // Without any, the number has no effect, except for the middle, which uses the last.
        let spare = |i: usize| if i == last { self.mid.filter(|&depth| depth > 0).unwrap_or(1) } else { 1 };
        let filled = |level: &Level, i: usize| -> Vec<usize> {
            let spare = spare(i);
            level.depths.iter().map(|&depth| if depth > 0 { depth } else { spare }).collect()
        };
        let down: Vec<Vec<usize>> = self.down.iter().enumerate().map(|(i, level)| filled(level, i)).collect();
        let up: Vec<Vec<usize>> = self.up.iter().enumerate().map(|(i, level)| filled(level, last - i)).collect();
        let coarsest = down.last().and_then(|depths| depths.first()).copied().unwrap_or(1);
        if let Some(mid) = self.mid.filter(|&mid| mid > 0 && mid != coarsest) {
            return Err(untold(format!(
                "transformer layers of the middle block of the UNet: got {mid}, expected {coarsest} as at the lowest resolution"
            )));
        }
        let mirrored = down.iter().zip(up.iter().rev()).zip(self.up.iter().rev()).all(|((down, up), level)| {
            let first = down.first();
            down.iter().all(|depth| Some(depth) == first)
                && (!level.attends() || up.iter().all(|depth| Some(depth) == first))
        });
        let shown = |levels: &[Vec<usize>]| levels.iter().map(|depths| one_or_all(depths)).collect::<Vec<_>>();
        if !mirrored {
            return Ok((shown(&down).into(), shown(&up).into()));
        }
        let firsts: Vec<usize> = down.iter().filter_map(|depths| depths.first().copied()).collect();
        Ok((one_or_all(&firsts), Value::Null))
    }
}

impl Level {
    fn attends(&self) -> bool {
        self.depths.iter().any(|&depth| depth > 0)
    }
}

/// A single value if all are equal.
fn one_or_all(numbers: &[usize]) -> Value {
    match numbers {
        [first, rest @ ..] if rest.iter().all(|number| number == first) => (*first).into(),
        _ => numbers.to_vec().into(),
    }
}
