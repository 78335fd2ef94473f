//! `CLIPVisionModelWithProjection`'s config.

use serde_json::json;

use super::clip::activation;
use super::reader::Reader;
use super::{MAX_LAYERS, MAX_WIDTH};
use crate::error::Result;
use crate::net::Activation;

/// The config of a CLIP image encoder.
#[derive(Debug, Clone, PartialEq)]
pub struct ClipVisionConfig {
    /// Channels of a token.
    pub hidden_size: usize,
    /// Channels inside the feed-forward layers.
    pub intermediate_size: usize,
    /// Number of layers.
    pub layers: usize,
    /// Number of heads; divides `hidden_size`.
    pub heads: usize,
    /// Side of the square pictures that it takes, in pixels; a multiple of `patch_size`.
    pub image_size: usize,
    /// Side of the square that becomes one token, in pixels.
    pub patch_size: usize,
    /// The activation between the feed-forward layers.
    pub activation: Activation,
    /// The epsilon added to the variance in the layer norms.
    pub layer_norm_eps: f32,
    /// Width of the vector that represents the whole picture.
    pub projection_dim: usize,
}

/// Largest picture; published encoders take up to 448.
const MAX_SIDE: usize = 1024;
/// Maximum number of patches of a picture.
const MAX_PATCHES: usize = 4096;

impl ClipVisionConfig {
    /// Channels of a pixel.
    pub const CHANNELS: usize = 3;

    /// Reads an image encoder's `config.json`.
    ///
    /// # Errors
    ///
    /// `BadModel` for an invalid config, or a value out of range; `Unsupported` for an option that is not
    /// supported.
    pub fn from_json(text: &str) -> Result<Self> {
        const CLASS: &str = "CLIPVisionModelWithProjection";
        let reader = Reader::new("image encoder", text)?;
        reader.only("model_type", &[json!("clip_vision_model")])?;
        reader.only("num_channels", &[json!(Self::CHANNELS)])?;
        if reader.names("architectures", &[CLASS])?.iter().any(|&name| name != CLASS) {
            return Err(reader.bad("architectures", CLASS));
        }
        let hidden_size = reader.size("hidden_size", 768, 1..=MAX_WIDTH)?;
        let heads = reader.size("num_attention_heads", 12, 1..=MAX_WIDTH)?;
        if hidden_size % heads != 0 {
            return Err(reader.bad("num_attention_heads", format!("a divisor of hidden_size ({hidden_size})")));
        }
        let image_size = reader.size("image_size", 224, 1..=MAX_SIDE)?;
        let patch_size = reader.size("patch_size", 32, 1..=MAX_SIDE)?;
        let side = image_size / patch_size;
        if image_size % patch_size != 0 || side * side > MAX_PATCHES {
            let rule = format!("a divisor of image_size ({image_size}) that makes at most {MAX_PATCHES} patches");
            return Err(reader.bad("patch_size", rule));
        }
        Ok(Self {
            hidden_size,
            intermediate_size: reader.size("intermediate_size", 3072, 1..=MAX_WIDTH * 4)?,
            layers: reader.size("num_hidden_layers", 12, 1..=MAX_LAYERS)?,
            heads,
            image_size,
            patch_size,
            activation: activation(&reader)?,
            layer_norm_eps: reader.float("layer_norm_eps", 1e-5, 0.0..=1.0)?,
            projection_dim: reader.size("projection_dim", 512, 1..=MAX_WIDTH)?,
        })
    }

    /// Tokens of a picture: one for the whole of it, then one for each patch, line by line.
    pub fn tokens(&self) -> usize {
        let side = self.image_size / self.patch_size;
        1 + side * side
    }

    /// Elements of a patch.
    pub fn patch_len(&self) -> usize {
        self.patch_size * self.patch_size * Self::CHANNELS
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn the_published_encoder_has_257_tokens() {
        let text = r#"{"architectures": ["CLIPVisionModelWithProjection"], "hidden_size": 1280, "hidden_act": "gelu",
            "intermediate_size": 5120, "num_attention_heads": 16, "num_hidden_layers": 32, "patch_size": 14,
            "projection_dim": 1024}"#;
        let config = ClipVisionConfig::from_json(text).unwrap();
        assert_eq!((config.tokens(), config.patch_len(), config.activation), (257, 588, Activation::Gelu));
    }

    #[test]
    fn what_does_not_fit_is_refused_with_its_name() {
        for (text, kind, part) in [
            (
                r#"{"hidden_act": "relu"}"#,
                ErrorKind::Unsupported,
                "hidden_act of the image encoder config: got \"relu\"",
            ),
            (r#"{"model_type": "siglip_vision_model"}"#, ErrorKind::Unsupported, "model_type"),
            (
                r#"{"architectures": ["CLIPTextModel"]}"#,
                ErrorKind::BadModel,
                "got [\"CLIPTextModel\"], expected CLIPVisionModelWithProjection",
            ),
            (
                r#"{"num_attention_heads": 7}"#,
                ErrorKind::BadModel,
                "num_attention_heads of the image encoder config: got 7, expected a divisor",
            ),
            (
                r#"{"patch_size": 13}"#,
                ErrorKind::BadModel,
                "patch_size of the image encoder config: got 13, expected a divisor of image_size (224)",
            ),
            (r#"{"patch_size": 1}"#, ErrorKind::BadModel, "at most 4096 patches"),
            (r#"{"image_size": 1000000}"#, ErrorKind::BadModel, "image_size of the image encoder config: got 1000000"),
        ] {
            let error = ClipVisionConfig::from_json(text).unwrap_err();
            assert_eq!(error.kind(), kind, "{text}");
            assert!(error.to_string().contains(part), "{error}");
        }
    }
}
