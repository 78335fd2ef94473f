//! Keys of the components of a pipeline: a component is kept while its key stays equal.

use super::conditioning::PromptKey;
use super::ip_adapter::{AdapterChoice, Strength};
use super::lora::Wanted;
use super::unet::{CallRows, Extras};
use crate::net::Shape;
use crate::params::{Interpolation, StyleImageUrl, Weighted};
use crate::schedule::StepTable;

#[derive(Debug, Clone, PartialEq)]
pub(super) struct ModelKey {
    pub(super) id: String,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct SizeKey {
    pub(super) models: ModelKey,
    pub(super) width: u32,
    pub(super) height: u32,
}

/// Without scales, so that a change of scale reads no file.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct LorasKey {
    pub(super) models: ModelKey,
    pub(super) ids: Vec<String>,
}

/// The key of the UNet's weights.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct WeightsKey {
    pub(super) models: ModelKey,
    /// The merged LoRAs, with a nonzero scale.
    pub(super) merged: Vec<Wanted>,
    /// The ids of the LoRAs with live branches; their scales are constants of the UNet.
    pub(super) live: Vec<String>,
}

/// The key of the text encoders' weights.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct TextWeightsKey {
    pub(super) models: ModelKey,
    /// The merged LoRAs that change text encoders, with a nonzero scale.
    pub(super) merged: Vec<Wanted>,
}

/// The key of encoded prompts.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct TextKey {
    pub(super) weights: TextWeightsKey,
    pub(super) prompt: PromptKey,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct UnetKey {
    pub(super) weights: WeightsKey,
    pub(super) size: SizeKey,
    pub(super) call_rows: CallRows,
    pub(super) extras: Extras,
}

/// The key of an IP-Adapter.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct AdapterKey {
    pub(super) models: ModelKey,
    pub(super) choice: AdapterChoice,
}

/// The key of an encoded style image.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ImageKey {
    pub(super) adapter: AdapterKey,
    pub(super) url: StyleImageUrl,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct ConstantsKey {
    pub(super) unet: UnetKey,
    pub(super) text: TextKey,
    pub(super) table: StepTable,
    pub(super) adapter: Option<AdapterKey>,
    pub(super) image: Option<(ImageKey, Strength)>,
    /// The scales of the LoRAs with live branches, in order.
    pub(super) lora_scales: Vec<f32>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct NoiseKey {
    pub(super) seed: Weighted<u64>,
    pub(super) method: Interpolation,
    pub(super) normalise: bool,
    pub(super) shape: Shape,
}
