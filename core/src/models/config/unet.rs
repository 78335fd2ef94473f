//! `UNet2DConditionModel`'s config.

use std::collections::BTreeSet;

use serde_json::json;

use super::reader::Reader;
use super::{MAX_BLOCKS, MAX_CHANNELS, MAX_LAYERS, MAX_RESNETS, MAX_WIDTH};
use crate::error::{Error, ErrorKind, Result};

/// The config of a UNet.
#[derive(Debug, Clone, PartialEq)]
pub struct UnetConfig {
    /// Channels of the sample: 4 unless it was trained to paint into holes.
    pub in_channels: usize,
    /// Channels of the prediction.
    pub out_channels: usize,
    /// Side of the first convolution's kernel; odd.
    pub conv_in_kernel: usize,
    /// Side of the last convolution's kernel; odd.
    pub conv_out_kernel: usize,
    /// Blocks from the finest resolution to the coarsest; all but the last halve the resolution.
    pub down: Vec<BlockConfig>,
    /// The block at the coarsest resolution, if there is one; its attention is between its resnets.
    pub mid: Option<BlockConfig>,
    /// Blocks from the coarsest resolution to the finest; all but the last double the resolution. A ControlNet has none.
    pub up: Vec<BlockConfig>,
    /// Zeros around a halving convolution: 1, or 0 for one below and one right.
    pub downsample_padding: usize,
    /// Groups of the group norms; divides every block's channels.
    pub norm_groups: usize,
    /// The epsilon added to the variance in the group norms outside transformers.
    pub norm_eps: f32,
    /// Whether transformers are entered and left by linear layers, not by 1x1 convolutions.
    pub linear_projection: bool,
    /// Channels of the text.
    pub text_dim: usize,
    /// How timesteps are embedded.
    pub time: TimeConfig,
    /// SDXL's added conditions.
    pub added: Option<AddedConfig>,
}

/// One resolution of a UNet.
#[derive(Debug, Clone, PartialEq)]
pub struct BlockConfig {
    /// Channels that its resnets put out.
    pub channels: usize,
    /// How many resnets.
    pub resnets: usize,
    /// The transformers after its resnets, if it has them.
    pub attention: Option<AttentionConfig>,
}

/// The transformers of a block.
#[derive(Debug, Clone, PartialEq)]
pub struct AttentionConfig {
    /// Number of heads; divides the block's channels.
    pub heads: usize,
    /// Layers of each transformer in turn.
    pub layers: Vec<usize>,
    /// Whether the first attention of a layer, too, looks at the text.
    pub only_cross: bool,
}

/// How timesteps are embedded.
#[derive(Debug, Clone, PartialEq)]
pub struct TimeConfig {
    /// Width of the sinusoid.
    pub input_dim: usize,
    /// Width of the embedding.
    pub dim: usize,
    /// Whether the cosine half comes first.
    pub flip_sin_to_cos: bool,
    /// Shift of the lowest frequency.
    pub freq_shift: f32,
    /// Width of the guidance embedding that consistency models know.
    pub cond_dim: Option<usize>,
}

/// SDXL's added conditions: a pooled text and six numbers about the picture.
#[derive(Debug, Clone, PartialEq)]
pub struct AddedConfig {
    /// Width of each number's sinusoid.
    pub time_dim: usize,
    /// Width of the pooled text.
    pub pooled_dim: usize,
}

impl AddedConfig {
    /// How many numbers there are: original height and width, crop from the top and left, target height and width.
    pub const TIME_IDS: usize = 6;
}

const DOWN_TYPES: [&str; 4] = ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"];
const UP_TYPES: [&str; 4] = ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"];
const MID_TYPE: &str = "UNetMidBlock2DCrossAttn";

impl UnetConfig {
    /// Reads a UNet's `config.json`.
    ///
    /// # Errors
    ///
    /// `BadModel` for an invalid config, or a value out of range; `Unsupported` for an option that is not
    /// supported.
    pub fn from_json(text: &str) -> Result<Self> {
        Self::read(&Reader::new("UNet", text)?, true)
    }

    /// Reads the config of a network that is a UNet, or without a `way_up` the first half of one: a ControlNet.
    pub(super) fn read(reader: &Reader, way_up: bool) -> Result<Self> {
        refuse_unsupported(reader)?;
        let channels = reader.list("block_out_channels", &[320, 640, 1280, 1280], 1..=MAX_BLOCKS, 4..=MAX_CHANNELS)?;
        let norm_groups = reader.size("norm_num_groups", 32, 1..=MAX_CHANNELS)?;
        if let Some(odd) = channels.iter().find(|&&channels| channels % norm_groups != 0) {
            return Err(reader.bad("norm_num_groups", format!("a divisor of {odd} in block_out_channels")));
        }
        let (down, mid, up) = blocks(reader, &channels, way_up)?;
        let added = match reader.value("addition_embed_type") {
            None => None,
            Some(_) => Some(added(reader)?),
        };
        let time = TimeConfig {
            input_dim: channels[0],
            dim: reader.size("time_embedding_dim", channels[0] * 4, 1..=MAX_WIDTH)?,
            flip_sin_to_cos: reader.flag("flip_sin_to_cos", true)?,
            freq_shift: reader.float("freq_shift", 0.0, 0.0..=1.0)?,
            cond_dim: reader.optional_size("time_cond_proj_dim", 2..=MAX_WIDTH)?,
        };
        Ok(Self {
            in_channels: reader.size("in_channels", 4, 1..=64)?,
            out_channels: reader.size("out_channels", 4, 1..=64)?,
            conv_in_kernel: kernel(reader, "conv_in_kernel")?,
            conv_out_kernel: kernel(reader, "conv_out_kernel")?,
            down,
            mid,
            up,
            downsample_padding: reader.size("downsample_padding", 1, 0..=1)?,
            norm_groups,
            norm_eps: reader.float("norm_eps", 1e-5, 0.0..=1.0)?,
            linear_projection: reader.flag("use_linear_projection", false)?,
            text_dim: text_dim(reader, channels.len())?,
            time,
            added,
        })
    }

    /// Returns the factor by which the network reduces the latent; a latent's sides are multiples of it.
    pub fn latent_multiple(&self) -> usize {
        1 << (self.down.len() - 1)
    }

    /// Returns the number of residuals that a ControlNet has for this network: one for each output of the way down and
    /// one for the middle, whether or not there are layers in the middle.
    pub fn residual_count(&self) -> usize {
        let layers: usize = self.down.iter().map(|block| block.resnets).sum();
        let halvings = self.down.len() - 1;
        1 + layers + halvings + 1
    }

    /// Checks that pictures of `width` x `height` go through the network, where the autoencoder shrinks `vae_scale`
    /// times.
    ///
    /// # Errors
    ///
    /// `InvalidArgument`, naming the nearest sizes that do.
    pub fn check_size(&self, vae_scale: usize, width: usize, height: usize) -> Result<()> {
        let unit = self.latent_multiple() * vae_scale;
        if width > 0 && height > 0 && width.is_multiple_of(unit) && height.is_multiple_of(unit) {
            return Ok(());
        }
        let near = |side: usize| [side / unit, side.div_ceil(unit)].map(|steps| steps.max(1).saturating_mul(unit));
        let sizes = near(width).into_iter().flat_map(|w| near(height).map(|h| (w, h)));
        let sizes: BTreeSet<(usize, usize)> = sizes.collect();
        let sizes: Vec<String> = sizes.iter().map(|(w, h)| format!("{w}x{h}")).collect();
        let text = format!("got {width}x{height}, expected multiples of {unit}; nearest: ");
        Err(Error::new(ErrorKind::InvalidArgument, text + &sizes.join(", ")))
    }
}

/// Options that change what the network does and are not built here.
fn refuse_unsupported(reader: &Reader) -> Result<()> {
    reader.only("center_input_sample", &[json!(false)])?;
    reader.only("act_fn", &[json!("silu"), json!("swish")])?;
    reader.only("mid_block_scale_factor", &[json!(1)])?;
    reader.only("encoder_hid_dim", &[])?;
    reader.only("encoder_hid_dim_type", &[])?;
    reader.only("dual_cross_attention", &[json!(false)])?;
    reader.only("class_embed_type", &[])?;
    reader.only("num_class_embeds", &[])?;
    reader.only("addition_embed_type", &[json!("text_time")])?;
    reader.only("resnet_time_scale_shift", &[json!("default")])?;
    reader.only("resnet_skip_time_act", &[json!(false)])?;
    reader.only("resnet_out_scale_factor", &[json!(1)])?;
    reader.only("time_embedding_type", &[json!("positional")])?;
    reader.only("time_embedding_act_fn", &[])?;
    reader.only("timestep_post_act", &[])?;
    reader.only("attention_type", &[json!("default")])?;
    reader.only("class_embeddings_concat", &[json!(false)])?;
    reader.only("cross_attention_norm", &[])?;
    reader.only("mid_block_type", &[json!(MID_TYPE), json!("UNetMidBlock2D")])
}

fn kernel(reader: &Reader, field: &str) -> Result<usize> {
    let kernel = reader.size(field, 3, 1..=7)?;
    if kernel % 2 == 0 { Err(reader.bad(field, "an odd number")) } else { Ok(kernel) }
}

/// One width of text for all blocks.
fn text_dim(reader: &Reader, count: usize) -> Result<usize> {
    let dims = reader.sizes("cross_attention_dim", 1280, count, 1..=MAX_WIDTH)?;
    if dims.iter().any(|&dim| dim != dims[0]) { Err(reader.unsupported("cross_attention_dim")) } else { Ok(dims[0]) }
}

fn added(reader: &Reader) -> Result<AddedConfig> {
    const WIDTH: &str = "projection_class_embeddings_input_dim";
    let missing = |field: &str| reader.bad(field, "a number for addition_embed_type text_time");
    let time_dim = "addition_time_embed_dim";
    let time_dim = reader.optional_size(time_dim, 2..=MAX_WIDTH)?.ok_or_else(|| missing(time_dim))?;
    let width = reader.optional_size(WIDTH, 1..=MAX_WIDTH * 8)?.ok_or_else(|| missing(WIDTH))?;
    let times = time_dim * AddedConfig::TIME_IDS;
    if width <= times {
        return Err(reader.bad(WIDTH, format!("more than {times}, the width of the time ids")));
    }
    Ok(AddedConfig { time_dim, pooled_dim: width - times })
}

type Blocks = (Vec<BlockConfig>, Option<BlockConfig>, Vec<BlockConfig>);

/// Returns the blocks in the down blocks, in the middle and, if there is one, in the up blocks.
fn blocks(reader: &Reader, channels: &[usize], way_up: bool) -> Result<Blocks> {
    let count = channels.len();
    let resnets = reader.sizes("layers_per_block", 2, count, 1..=MAX_RESNETS)?;
    // What the files call the width of a head has always been the number of heads.
    let heads_field =
        if reader.value("num_attention_heads").is_some() { "num_attention_heads" } else { "attention_head_dim" };
    let heads = reader.sizes(heads_field, 8, count, 1..=MAX_CHANNELS)?;
    let only_cross = reader.flags("only_cross_attention", count)?;
    let layers = TransformerLayers::read(reader, &resnets)?;
    let down_has =
        has_attention(reader, "down_block_types", &DOWN_TYPES, "CrossAttnDownBlock2D", "DownBlock2D", count)?;
    let up_has = match way_up {
        true => has_attention(reader, "up_block_types", &UP_TYPES, "CrossAttnUpBlock2D", "UpBlock2D", count)?,
        false => Vec::new(),
    };
    let attention = |i: usize, layers: &[usize], only_cross: bool| {
        if !channels[i].is_multiple_of(heads[i]) {
            return Err(reader.bad(heads_field, format!("heads that divide the {} channels of block {i}", channels[i])));
        }
        Ok(AttentionConfig { heads: heads[i], layers: layers.to_vec(), only_cross })
    };
    let (mut down, mut up) = (Vec::with_capacity(count), Vec::with_capacity(count));
    for i in 0..count {
        let attended = down_has[i].then(|| attention(i, &layers.down[i], only_cross[i])).transpose()?;
        down.push(BlockConfig { channels: channels[i], resnets: resnets[i], attention: attended });
    }
    for (i, (from, has)) in (0..count).rev().zip(up_has).enumerate() {
        let attended = has.then(|| attention(from, &layers.up[i], only_cross[from])).transpose()?;
        up.push(BlockConfig { channels: channels[from], resnets: resnets[from] + 1, attention: attended });
    }
    let last = count - 1;
    let mid = match mid_type(reader) {
        None => None,
        Some(MID_TYPE) => {
            let attended = attention(last, &[layers.mid], false)?;
            Some(BlockConfig { channels: channels[last], resnets: 2, attention: Some(attended) })
        }
        Some(_) => Some(BlockConfig { channels: channels[last], resnets: 1, attention: None }),
    };
    Ok((down, mid, up))
}

/// Absent means the default; only an explicit `null` means that there is no middle block.
fn mid_type(reader: &Reader) -> Option<&str> {
    match reader.value("mid_block_type") {
        Some(value) => value.as_str(),
        None if reader.has("mid_block_type") => None,
        None => Some(MID_TYPE),
    }
}

fn has_attention(
    reader: &Reader,
    field: &str,
    default: &[&'static str],
    with: &str,
    without: &str,
    count: usize,
) -> Result<Vec<bool>> {
    let names = reader.names(field, default)?;
    if names.len() != count {
        return Err(reader.uneven(field, count, "block_out_channels"));
    }
    if names.iter().any(|&name| name != with && name != without) {
        return Err(reader.unsupported(field));
    }
    Ok(names.iter().map(|&name| name == with).collect())
}

/// How many layers the transformers have: by block and resnet in the down blocks, in the middle, and in the up blocks.
struct TransformerLayers {
    down: Vec<Vec<usize>>,
    mid: usize,
    up: Vec<Vec<usize>>,
}

impl TransformerLayers {
    fn read(reader: &Reader, resnets: &[usize]) -> Result<Self> {
        const FIELD: &str = "transformer_layers_per_block";
        let down = reader.nested_sizes(FIELD, resnets, 0..=MAX_LAYERS)?;
        let down = down.unwrap_or_else(|| resnets.iter().map(|&resnets| vec![1; resnets]).collect());
        let mid = down.last().and_then(|layers| layers.first()).copied().unwrap_or(1);
        let up_resnets: Vec<usize> = resnets.iter().rev().map(|resnets| resnets + 1).collect();
        let up = match reader.nested_sizes("reverse_transformer_layers_per_block", &up_resnets, 0..=MAX_LAYERS)? {
            Some(up) => up,
            None if down.iter().any(|layers| layers.iter().any(|&layer| layer != layers[0])) => {
                let rule = "equal numbers in each block, or reverse_transformer_layers_per_block";
                return Err(reader.bad(FIELD, rule));
            }
            None => down.iter().rev().map(|layers| vec![layers[0]; layers.len() + 1]).collect(),
        };
        Ok(Self { down, mid, up })
    }
}

#[cfg(test)]
mod tests;
