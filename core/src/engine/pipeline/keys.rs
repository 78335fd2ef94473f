//! Keys of the components of a pipeline: a component is kept while its key stays equal.

use super::conditioning::PromptKey;
use super::ip_adapter::{AdapterChoice, Strength};
use super::lora::Wanted;
use super::unet::{CallRows, Extras};
use crate::net::Shape;
use crate::params::{Interpolation, StyleImageUrl, TurboDirection, Weighted};
use crate::schedule::StepTable;

#[derive(Debug, Clone, PartialEq)]
pub(super) struct ModelKey {
    pub(super) id: String,
    /// Whether the model's own autoencoder is preferred to a tiny one.
    pub(super) full_vae: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct SizeKey {
    pub(super) models: ModelKey,
    pub(super) width: u32,
    pub(super) height: u32,
}

/// The key of the changes by img2img-turbo; without the strength, so that a change of it reads no LoRA again.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct TurboKey {
    pub(super) models: ModelKey,
    pub(super) weights: String,
    pub(super) direction: TurboDirection,
}

/// Changes by img2img-turbo, and their strength.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct TurboUse {
    pub(super) key: TurboKey,
    pub(super) strength: f64,
}

/// The key of the autoencoder's networks.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct AutoencoderKey {
    pub(super) size: SizeKey,
    pub(super) turbo: Option<TurboUse>,
}

impl AutoencoderKey {
    /// Returns whether latents of both have the same size and meaning.
    pub(super) fn has_latents_of(&self, other: &Self) -> bool {
        let [own, others] = [self, other].map(|key| key.turbo.as_ref().map(|turbo| &turbo.key));
        self.size == other.size && own == others
    }
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
    pub(super) turbo: Option<TurboUse>,
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

/// The key of the network that interpolates between pictures.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct InterpolationKey {
    pub(super) id: String,
    /// The width and height of pictures.
    pub(super) picture: (usize, usize),
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
