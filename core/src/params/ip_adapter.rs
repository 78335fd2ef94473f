//! The parameters of the IP-Adapter and of the cached attention.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::names::named_enum;

/// The IP-Adapter, which adds tokens of a style image to those of the prompt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct IPAdapterConfig {
    /// What the style image is encoded for.
    #[serde(rename = "type")]
    pub kind: IPAdapterType,
    /// Whether the IP-Adapter is loaded.
    pub enabled: bool,
    /// The scale of the style image.
    pub scale: f64,
    /// How the scale is distributed over the layers.
    pub weight_type: WeightType,
    /// Another adapter than the one that `type` and the base model choose: a file or folder of the models,
    /// `organisation/name/path`. A published adapter of another type or base model is not used.
    pub ip_adapter_model_path: Option<String>,
    /// The folder of the image encoder, `organisation/name/path`; default: `image_encoder` in the folder of the adapter.
    pub image_encoder_path: Option<String>,
    /// The face model of the service (deprecated; not used, since faces are not detected here).
    pub insightface_model_name: Option<String>,
}

impl Default for IPAdapterConfig {
    fn default() -> Self {
        Self {
            kind: IPAdapterType::Regular,
            enabled: false,
            scale: 1.0,
            weight_type: WeightType::Linear,
            ip_adapter_model_path: None,
            image_encoder_path: None,
            insightface_model_name: None,
        }
    }
}

named_enum! {
    /// What an IP-Adapter encodes the style image for.
    pub enum IPAdapterType {
        /// The whole image: colors, texture, subject.
        Regular = "regular",
        /// A face, by its embedding; of the models that are known by name, for SDXL only.
        Faceid = "faceid",
    }
}

named_enum! {
    /// How the scale of an IP-Adapter is distributed over the layers of the UNet.
    pub enum WeightType {
        /// The same everywhere.
        Linear = "linear",
        /// Strong in the first layers, weak in the last.
        EaseIn = "ease in",
        /// Weak in the first layers, strong in the last.
        EaseOut = "ease out",
        /// Strong in the middle layers.
        EaseInOut = "ease in-out",
        /// Strong in the first and last layers.
        ReverseInOut = "reverse in-out",
        /// Weak in the first steps.
        WeakInput = "weak input",
        /// Weak in the last steps.
        WeakOutput = "weak output",
        /// Weak in the middle steps.
        WeakMiddle = "weak middle",
        /// Strong in the middle steps.
        StrongMiddle = "strong middle",
        /// The layers that carry style.
        StyleTransfer = "style transfer",
        /// The layers that carry composition.
        Composition = "composition",
        /// All layers except those that carry composition.
        StrongStyleTransfer = "strong style transfer",
        /// The layers of both.
        StyleAndComposition = "style and composition",
        /// As `style transfer`.
        StyleTransferPrecise = "style transfer precise",
        /// As `composition`.
        CompositionPrecise = "composition precise",
    }
}

/// Cached attention: self-attention that also attends to earlier frames.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CachedAttentionConfig {
    /// Whether self-attention attends to keys and values of earlier frames.
    pub enabled: bool,
    /// How many earlier frames are kept. With `token_merging` it has no effect.
    pub max_frames: u32,
    /// Every how many frames one is stored.
    pub interval: u32,
    /// How much of each token in the deepest blocks of the UNet is replaced by the most similar one of earlier frames; 0
    /// for none.
    pub feature_injection_strength: f64,
    /// The least similarity of two tokens, as a cosine, from which one is injected for the other.
    pub feature_similarity_threshold: f64,
    /// Whether a stored frame is merged with the one that is kept, token by token, so that one frame stands for all earlier
    /// ones.
    pub token_merging: bool,
}

impl Default for CachedAttentionConfig {
    fn default() -> Self {
        Self {
            enabled: false,
            max_frames: 1,
            interval: 1,
            feature_injection_strength: 0.0,
            feature_similarity_threshold: 0.98,
            token_merging: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weight_types_are_serialized_with_spaces() {
        assert_eq!(serde_json::to_string(&WeightType::EaseInOut).unwrap(), r#""ease in-out""#);
        assert_eq!(WeightType::NAMES.len(), 15);
    }
}
