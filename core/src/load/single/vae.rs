//! The autoencoder of a checkpoint in one file.

use std::collections::HashMap;

use serde_json::json;

use super::super::header::Tensor;
use super::family::FileLayout;
use super::keys::{Keys, Modules, NORM_GROUPS, check_groups, untold};
use super::{Part, VAE};
use crate::error::Result;

/// Names of a resnet's layers that differ.
const RESNET: [(&str, &str); 1] = [("nin_shortcut", "conv_shortcut")];
/// The middle's attention.
const ATTENTION: [(&str, &str); 5] =
    [("norm", "group_norm"), ("q", "to_q"), ("k", "to_k"), ("v", "to_v"), ("proj_out", "to_out.0")];

/// Determines the config and the names of the autoencoder.
pub(super) fn part(layout: &FileLayout, all: &HashMap<String, Tensor>) -> Result<Part> {
    let keys = Keys::under(VAE, all);
    let block = |level: usize, i: usize| format!("encoder.down.{level}.block.{i}.conv1.weight");
    let levels = keys.count(|level| block(level, 0));
    let channels: Vec<usize> = (0..levels).map(|level| keys.dim(&block(level, 0), 0)).collect::<Result<_>>()?;
    let resnets = keys.count(|i| block(0, i));
    if channels.is_empty() {
        keys.shape(&block(0, 0))?;
    }
    check_groups("autoencoder", &channels)?;
    let up = |level: usize, i: usize| format!("decoder.up.{level}.block.{i}.conv1.weight");
    for level in 0..levels {
        let (down, up) = (keys.count(|i| block(level, i)), keys.count(|i| up(level, i)));
        if (down, up) != (resnets, resnets + 1) {
            return Err(untold(format!(
                "resnets of level {level} of the autoencoder: got {down} down and {up} up, expected {resnets} and {}",
                resnets + 1
            )));
        }
    }
    let modules = modules(levels, resnets);
    let mut tensors = modules.rename_all(&keys);
    tensors.retain(|name, _| !name.starts_with(&keys.full("loss.")));
    for (name, tensor) in &mut tensors {
        // Linear layers in diffusers, 1x1 convolutions in the file.
        if name.contains(".attentions.") && name.ends_with(".weight") && tensor.shape.ends_with(&[1, 1]) {
            tensor.shape.truncate(2);
        }
    }
    let config = json!({
        "_class_name": "AutoencoderKL",
        "act_fn": "silu",
        "block_out_channels": channels,
        "down_block_types": vec!["DownEncoderBlock2D"; levels],
        "up_block_types": vec!["UpDecoderBlock2D"; levels],
        "in_channels": keys.dim("encoder.conv_in.weight", 1)?,
        "out_channels": keys.dim("decoder.conv_out.weight", 0)?,
        "latent_channels": keys.dim("decoder.conv_in.weight", 1)?,
        "layers_per_block": resnets,
        "norm_num_groups": NORM_GROUPS,
        "mid_block_add_attention": keys.has("encoder.mid.attn_1.q.weight"),
        "use_quant_conv": keys.has("quant_conv.weight"),
        "use_post_quant_conv": keys.has("post_quant_conv.weight"),
        "sample_size": layout.picture_side,
        "scaling_factor": layout.latent_scale,
    });
    Ok(Part { class: "AutoencoderKL", config, tensors })
}

fn modules(levels: usize, resnets: usize) -> Modules {
    let mut modules = Modules::default();
    let resnet = |modules: &mut Modules, old: String, new: String| {
        modules.add(&*old, &*new);
        modules.add_parts(&old, &new, &RESNET);
    };
    for half in ["encoder", "decoder"] {
        for same in ["conv_in", "conv_out"] {
            modules.add(format!("{half}.{same}"), format!("{half}.{same}"));
        }
        modules.add(format!("{half}.norm_out"), format!("{half}.conv_norm_out"));
        for i in 0..2 {
            resnet(&mut modules, format!("{half}.mid.block_{}", i + 1), format!("{half}.mid_block.resnets.{i}"));
        }
        modules.add_parts(&format!("{half}.mid.attn_1"), &format!("{half}.mid_block.attentions.0"), &ATTENTION);
    }
    for same in ["quant_conv", "post_quant_conv"] {
        modules.add(same, same);
    }
    for level in 0..levels {
        // The file counts from the finest level in both halves; diffusers counts in the order of computation.
        for (half, old, new, count) in [
            ("encoder", "down", format!("down_blocks.{level}"), resnets),
            ("decoder", "up", format!("up_blocks.{}", levels - 1 - level), resnets + 1),
        ] {
            for i in 0..count {
                resnet(&mut modules, format!("{half}.{old}.{level}.block.{i}"), format!("{half}.{new}.resnets.{i}"));
            }
            modules.add(format!("{half}.{old}.{level}.{old}sample.conv"), format!("{half}.{new}.{old}samplers.0.conv"));
        }
    }
    modules
}
