//! `ControlNetModel`'s config.

use serde_json::json;

use super::reader::Reader;
use super::{BlockConfig, MAX_BLOCKS, MAX_CHANNELS, UnetConfig};
use crate::error::{Error, ErrorKind, Result};
use crate::net::WeightSource;

/// The config of a ControlNet: the first half of a UNet, and what brings a control image to its size.
#[derive(Debug, Clone, PartialEq)]
pub struct ControlNetModelConfig {
    /// The half that it shares with the UNet it was copied from; without a way up.
    pub half: UnetConfig,
    /// Channels of the control image, if the file has the value: 3, or 6 for a pair of images.
    pub conditioning_channels: Option<usize>,
    /// Channels of the layers that shrink the control image; each but the first halves its sides.
    pub embedding_channels: Vec<usize>,
}

/// Default number of channels of a control image.
const CONDITIONING_CHANNELS: usize = 3;
const EMBEDDING_CHANNELS: [usize; 4] = [16, 32, 96, 256];

impl ControlNetModelConfig {
    /// Reads a ControlNet's `config.json`.
    ///
    /// # Errors
    ///
    /// `BadModel` for an invalid config, or a value out of range; `Unsupported` for another class or an option
    /// that is not built here.
    pub fn from_json(text: &str) -> Result<Self> {
        let reader = Reader::new("ControlNet", text)?;
        reader.only("_class_name", &[json!("ControlNetModel")])?;
        reader.only("controlnet_conditioning_channel_order", &[json!("rgb")])?;
        reader.only("global_pool_conditions", &[json!(false)])?;
        Ok(Self {
            half: UnetConfig::read(&reader, false)?,
            conditioning_channels: reader.optional_size("conditioning_channels", 1..=16)?,
            embedding_channels: reader.list(
                "conditioning_embedding_out_channels",
                &EMBEDDING_CHANNELS,
                1..=MAX_BLOCKS,
                1..=MAX_CHANNELS,
            )?,
        })
    }

    /// Determines the config of a ControlNet without one, from the shapes of its tensors: it must be a copy of the first half
    /// of `unet`; its own layers are measured.
    ///
    /// # Errors
    ///
    /// `BadModel` if the tensors are no ControlNet's.
    pub fn of_weights(unet: &UnetConfig, weights: &dyn WeightSource) -> Result<Self> {
        let shape = |layer: &str| match weights.shape(&format!("controlnet_cond_embedding.{layer}.weight")).as_deref() {
            Some(&[c_out, c_in, ..]) => Some((c_out, c_in)),
            Some(_) | None => None,
        };
        let Some((first, channels)) = shape("conv_in") else {
            let text =
                "not a ControlNet: it has neither config.json nor the tensor controlnet_cond_embedding.conv_in.weight";
            return Err(Error::new(ErrorKind::BadModel, text));
        };
        let halving = (0..MAX_BLOCKS - 1).map_while(|i| shape(&format!("blocks.{}", 2 * i + 1)));
        Ok(Self {
            conditioning_channels: Some(channels),
            embedding_channels: std::iter::once(first).chain(halving.map(|(c_out, _)| c_out)).collect(),
            ..Self::like(unet)
        })
    }

    /// Returns what a ControlNet of `unet` is like, as far as nothing else is known of it.
    pub fn like(unet: &UnetConfig) -> Self {
        Self {
            half: UnetConfig { up: Vec::new(), ..unet.clone() },
            conditioning_channels: None,
            embedding_channels: EMBEDDING_CHANNELS.to_vec(),
        }
    }

    /// Counts the channels of the control image: the file's, or else those `given`, or else 3.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` if file and `given` differ, naming both.
    pub fn channels(&self, given: Option<usize>) -> Result<usize> {
        match (self.conditioning_channels, given) {
            (Some(own), Some(given)) if own != given => {
                let text = format!("got {given}, expected {own}, the channels of the network's control image");
                Err(Error::new(ErrorKind::InvalidArgument, text))
            }
            (own, given) => Ok(own.or(given).unwrap_or(CONDITIONING_CHANNELS)),
        }
    }

    /// By how much a control image is larger than the latent.
    pub fn scale(&self) -> usize {
        1 << (self.embedding_channels.len() - 1)
    }

    /// Checks that this network was made for `unet`, over an autoencoder that shrinks `vae_scale` times.
    ///
    /// # Errors
    ///
    /// `BadModel`, naming the first thing that differs and both its values.
    pub fn check_fits(&self, unet: &UnetConfig, vae_scale: usize) -> Result<()> {
        let half = &self.half;
        let differs = |what: &str, own: String, other: String| {
            let text = format!("{what} of the ControlNet: got {own}, expected {other} as in the model");
            Err(Error::new(ErrorKind::BadModel, text))
        };
        for (what, own, other) in [
            ("text width (cross_attention_dim)", half.text_dim, unet.text_dim),
            ("in_channels", half.in_channels, unet.in_channels),
            ("ratio of control image to latent", self.scale(), vae_scale),
            ("timestep embedding (block_out_channels)", half.time.input_dim, unet.time.input_dim),
        ] {
            if own != other {
                return differs(what, own.to_string(), other.to_string());
            }
        }
        let added = |config: &UnetConfig| config.added.as_ref().map(|added| (added.pooled_dim, added.time_dim));
        if added(half) != added(unet) {
            let described = |config: &UnetConfig| match added(config) {
                Some((pooled, time)) => format!("{pooled} channels of pooled text with {time} of each size"),
                None => "none".to_owned(),
            };
            return differs("added condition (addition_embed_type)", described(half), described(unet));
        }
        let blocks = |config: &UnetConfig| -> Vec<(usize, usize)> {
            config.down.iter().map(|&BlockConfig { channels, resnets, .. }| (channels, resnets)).collect()
        };
        if blocks(half) != blocks(unet) {
            let described = |config: &UnetConfig| {
                let blocks = blocks(config);
                format!("{} of blocks with these channels and layers: {blocks:?}", config.residual_count())
            };
            return differs("residuals", described(half), described(unet));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SD15: &str = r#"{"_class_name": "ControlNetModel", "cross_attention_dim": 768}"#;
    const SD21: &str = r#"{"cross_attention_dim": 1024, "attention_head_dim": [5, 10, 20, 20]}"#;

    fn config(text: &str) -> ControlNetModelConfig {
        ControlNetModelConfig::from_json(text).unwrap()
    }

    #[test]
    fn defaults_match_the_first_published_networks() {
        let config = config(SD15);
        assert_eq!((config.scale(), config.half.down.len(), config.half.up.len()), (8, 4, 0));
        assert_eq!(config.channels(None).unwrap(), 3);
        assert_eq!(config.channels(Some(6)).unwrap(), 6);
    }

    #[test]
    fn channels_that_contradict_the_file_are_refused_with_both_numbers() {
        let config = config(r#"{"conditioning_channels": 6}"#);
        assert_eq!(config.channels(None).unwrap(), 6);
        let refused = config.channels(Some(3)).unwrap_err();
        assert_eq!(refused.to_string(), "got 3, expected 6, the channels of the network's control image");
    }

    #[test]
    fn other_kinds_of_control_are_refused_by_name() {
        for (text, kind, part) in [
            (r#"{"_class_name": "ControlNetUnionModel"}"#, ErrorKind::Unsupported, "ControlNetUnionModel"),
            (
                r#"{"global_pool_conditions": true}"#,
                ErrorKind::Unsupported,
                "global_pool_conditions of the ControlNet config: got true",
            ),
            (r#"{"controlnet_conditioning_channel_order": "bgr"}"#, ErrorKind::Unsupported, "bgr"),
            (r#"{"class_embed_type": "projection"}"#, ErrorKind::Unsupported, "class_embed_type"),
            (
                r#"{"conditioning_channels": 0}"#,
                ErrorKind::BadModel,
                "conditioning_channels of the ControlNet config: got 0",
            ),
            (r#"{"conditioning_embedding_out_channels": []}"#, ErrorKind::BadModel, "list of 1 to 8 numbers"),
            ("[]", ErrorKind::BadModel, "ControlNet config: "),
        ] {
            let refused = ControlNetModelConfig::from_json(text).unwrap_err();
            assert_eq!(refused.kind(), kind, "{text}");
            assert!(refused.to_string().contains(part), "{refused}");
        }
    }

    #[test]
    fn a_network_of_another_family_is_refused_with_both_values() {
        let unet = UnetConfig::from_json(SD21).unwrap();
        let fits = config(SD21);
        fits.check_fits(&unet, 8).unwrap();
        let refused = |text: &str, part: &str| {
            let refused = config(text).check_fits(&unet, 8).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::BadModel);
            assert!(refused.to_string().contains(part), "{refused}");
        };
        refused(SD15, "(cross_attention_dim) of the ControlNet: got 768, expected 1024");
        refused(
            r#"{"cross_attention_dim": 1024, "layers_per_block": 1}"#,
            "residuals of the ControlNet: got 9 of blocks with these channels and layers: [(320, 1), (640, 1), (1280, 1), \
             (1280, 1)], expected 13 of blocks with these channels and layers: [(320, 2), (640, 2)",
        );
        refused(
            r#"{"cross_attention_dim": 1024, "block_out_channels": [64, 640, 1280, 1280]}"#,
            "got 64, expected 320",
        );
        let added = r#"{"cross_attention_dim": 1024, "addition_embed_type": "text_time",
                        "addition_time_embed_dim": 256, "projection_class_embeddings_input_dim": 2816}"#;
        refused(added, "got 1280 channels of pooled text with 256 of each size, expected none");
        assert!(fits.check_fits(&unet, 4).unwrap_err().to_string().contains("got 8, expected 4"));
    }
}
