//! `AutoencoderTiny`'s and `AutoencoderKL`'s config.

use serde_json::json;

use super::reader::Reader;
use super::{MAX_BLOCKS, MAX_CHANNELS, MAX_RESNETS};
use crate::error::Result;

/// The config of a tiny autoencoder.
#[derive(Debug, Clone, PartialEq)]
pub struct TinyAutoencoderConfig {
    /// Channels of a latent.
    pub latent_channels: usize,
    /// Channels and number of residual blocks of each stage of the encoder, finest first; each but the first halves.
    pub encoder: Vec<(usize, usize)>,
    /// The same of the decoder, coarsest first; each but the last doubles.
    pub decoder: Vec<(usize, usize)>,
    /// The factor of the encoder's latents.
    pub scaling_factor: f32,
    /// The shift that is subtracted from the encoder's latents before that.
    pub shift_factor: f32,
}

/// The config of a full autoencoder.
#[derive(Debug, Clone, PartialEq)]
pub struct AutoencoderKlConfig {
    /// Channels of a latent.
    pub latent_channels: usize,
    /// Channels of each stage, finest first.
    pub channels: Vec<usize>,
    /// Resnets in each stage of the encoder; the decoder has one more.
    pub resnets: usize,
    /// Groups of the group norms; divides every stage's channels.
    pub norm_groups: usize,
    /// Whether the middle has an attention.
    pub mid_attention: bool,
    /// Whether a 1x1 convolution follows the encoder.
    pub quant_conv: bool,
    /// Whether a 1x1 convolution precedes the decoder.
    pub post_quant_conv: bool,
    /// The factor of the encoder's latents.
    pub scaling_factor: f32,
    /// The shift that is subtracted from the encoder's latents before that.
    pub shift_factor: f32,
}

/// Pictures have three channels; what has not is no autoencoder of pictures.
fn pictures_only(reader: &Reader) -> Result<()> {
    reader.only("in_channels", &[json!(3)])?;
    reader.only("out_channels", &[json!(3)])
}

fn factors(reader: &Reader, scaling: f64) -> Result<(f32, f32)> {
    // The decoder divides by the first.
    let scaling = reader.float("scaling_factor", scaling, 1e-6..=1e6)?;
    Ok((scaling, reader.float("shift_factor", 0.0, -1e6..=1e6)?))
}

impl TinyAutoencoderConfig {
    /// Reads an `AutoencoderTiny`'s `config.json`.
    ///
    /// # Errors
    ///
    /// `BadModel` for an invalid config, or a value out of range; `Unsupported` for an option that is not
    /// supported.
    pub fn from_json(text: &str) -> Result<Self> {
        let reader = Reader::new("tiny autoencoder", text)?;
        pictures_only(&reader)?;
        reader.only("act_fn", &[json!("relu")])?;
        reader.only("upsample_fn", &[json!("nearest")])?;
        reader.only("upsampling_scaling_factor", &[json!(2)])?;
        let stages = |channels: &str, blocks: &str, default: &[usize]| {
            let widths = reader.list(channels, &[64; 4], 1..=MAX_BLOCKS, 1..=MAX_CHANNELS)?;
            let blocks = reader.list(blocks, default, widths.len()..=widths.len(), 0..=MAX_RESNETS)?;
            if blocks.len() != widths.len() {
                return Err(reader.uneven(channels, blocks.len(), "the number of blocks"));
            }
            // The convolution between two stages has as many channels in as out.
            if widths.iter().any(|&width| width != widths[0]) {
                return Err(reader.bad(channels, "the same number of channels in all stages"));
            }
            Ok(widths.into_iter().zip(blocks).collect::<Vec<_>>())
        };
        let encoder = stages("encoder_block_out_channels", "num_encoder_blocks", &[1, 3, 3, 3])?;
        let decoder = stages("decoder_block_out_channels", "num_decoder_blocks", &[3, 3, 3, 1])?;
        if decoder.len() != encoder.len() {
            return Err(reader.uneven("decoder_block_out_channels", encoder.len(), "encoder_block_out_channels"));
        }
        let (scaling_factor, shift_factor) = factors(&reader, 1.0)?;
        let latent_channels = reader.size("latent_channels", 4, 1..=64)?;
        Ok(Self { latent_channels, encoder, decoder, scaling_factor, shift_factor })
    }
}

impl AutoencoderKlConfig {
    /// Reads an `AutoencoderKL`'s `config.json`.
    ///
    /// # Errors
    ///
    /// `BadModel` for an invalid config, or a value out of range; `Unsupported` for an option that is not
    /// supported.
    pub fn from_json(text: &str) -> Result<Self> {
        let reader = Reader::new("autoencoder", text)?;
        pictures_only(&reader)?;
        reader.only("act_fn", &[json!("silu"), json!("swish")])?;
        reader.only("latents_mean", &[])?;
        reader.only("latents_std", &[])?;
        let channels = reader.list("block_out_channels", &[64], 1..=MAX_BLOCKS, 1..=MAX_CHANNELS)?;
        let norm_groups = reader.size("norm_num_groups", 32, 1..=MAX_CHANNELS)?;
        if let Some(odd) = channels.iter().find(|&&channels| channels % norm_groups != 0) {
            return Err(reader.bad("norm_num_groups", format!("a divisor of {odd} in block_out_channels")));
        }
        for (field, kind) in [("down_block_types", "DownEncoderBlock2D"), ("up_block_types", "UpDecoderBlock2D")] {
            let names = reader.names(field, &[kind])?;
            if names.len() != channels.len() {
                return Err(reader.uneven(field, channels.len(), "block_out_channels"));
            }
            if names.iter().any(|&name| name != kind) {
                return Err(reader.unsupported(field));
            }
        }
        let (scaling_factor, shift_factor) = factors(&reader, 0.18215)?;
        Ok(Self {
            latent_channels: reader.size("latent_channels", 4, 1..=64)?,
            channels,
            resnets: reader.size("layers_per_block", 1, 1..=MAX_RESNETS)?,
            norm_groups,
            mid_attention: reader.flag("mid_block_add_attention", true)?,
            quant_conv: reader.flag("use_quant_conv", true)?,
            post_quant_conv: reader.flag("use_post_quant_conv", true)?,
            scaling_factor,
            shift_factor,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn a_tiny_autoencoder_that_does_not_fit_is_refused_with_its_name() {
        for (text, kind, part) in [
            (r#"{"in_channels": 4}"#, ErrorKind::Unsupported, "in_channels of the tiny autoencoder config: got 4"),
            (r#"{"act_fn": "mish"}"#, ErrorKind::Unsupported, "act_fn of the tiny autoencoder config: got \"mish\""),
            (
                r#"{"num_encoder_blocks": [1, 3]}"#,
                ErrorKind::BadModel,
                "num_encoder_blocks of the tiny autoencoder config: got [1,3], expected",
            ),
            (
                r#"{"encoder_block_out_channels": [64, 64, 32, 64]}"#,
                ErrorKind::BadModel,
                "expected the same number of channels",
            ),
            (r#"{"encoder_block_out_channels": [8, 8], "num_encoder_blocks": [1, 1]}"#, ErrorKind::BadModel, "decoder"),
            (r#"{"encoder_block_out_channels": [8, 8]}"#, ErrorKind::BadModel, "expected 4 entries"),
            (
                r#"{"scaling_factor": 0}"#,
                ErrorKind::BadModel,
                "scaling_factor of the tiny autoencoder config: got 0, expected",
            ),
        ] {
            let error = TinyAutoencoderConfig::from_json(text).unwrap_err();
            assert_eq!(error.kind(), kind, "{text}");
            assert!(error.to_string().contains(part), "{error}");
        }
    }

    #[test]
    fn an_autoencoder_that_does_not_fit_is_refused_with_its_name() {
        for (text, kind, part) in [
            (
                r#"{"block_out_channels": [1000000000]}"#,
                ErrorKind::BadModel,
                "block_out_channels of the autoencoder config: got 1000000000",
            ),
            (r#"{"block_out_channels": [33]}"#, ErrorKind::BadModel, "norm_num_groups"),
            (r#"{"down_block_types": ["AttnDownEncoderBlock2D"]}"#, ErrorKind::Unsupported, "down_block_types"),
            (r#"{"block_out_channels": [32, 32]}"#, ErrorKind::BadModel, "expected 2 entries"),
            (r#"{"latents_mean": [0.1]}"#, ErrorKind::Unsupported, "latents_mean of the autoencoder config: got [0.1]"),
        ] {
            let error = AutoencoderKlConfig::from_json(text).unwrap_err();
            assert_eq!(error.kind(), kind, "{text}");
            assert!(error.to_string().contains(part), "{error}");
        }
    }
}
