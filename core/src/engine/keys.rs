//! What the pieces of a pipeline are made from: a piece is kept while its key stays.

use super::conditioning::PromptKey;
use super::ip_adapter::Strength;
use super::lora::Wanted;
use super::unet::{Extras, Layout};
use crate::net::Shape;
use crate::params::{IPAdapterType, Interpolation, Weighted};
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

/// Without their scales, so that these change without a file being read.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct LorasKey {
    pub(super) models: ModelKey,
    pub(super) ids: Vec<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct WeightsKey {
    pub(super) models: ModelKey,
    /// Those that count: of scale 0 none does.
    pub(super) loras: Vec<Wanted>,
}

/// What encoded prompts are made from.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct TextKey {
    /// Of the text encoders, too.
    pub(super) weights: WeightsKey,
    pub(super) prompt: PromptKey,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct UnetKey {
    pub(super) weights: WeightsKey,
    pub(super) size: SizeKey,
    pub(super) layout: Layout,
    pub(super) extras: Extras,
}

/// What an IP-Adapter is made from, where one is installed.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct AdapterKey {
    pub(super) models: ModelKey,
    pub(super) kind: IPAdapterType,
}

/// What an adapter made tokens of, where there is a style image.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ImageKey {
    pub(super) adapter: AdapterKey,
    pub(super) text: String,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct ConstantsKey {
    pub(super) unet: UnetKey,
    pub(super) text: TextKey,
    pub(super) table: StepTable,
    pub(super) adapter: Option<AdapterKey>,
    pub(super) image: Option<(ImageKey, Strength)>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct NoiseKey {
    pub(super) seed: Weighted<u64>,
    pub(super) method: Interpolation,
    pub(super) normalise: bool,
    pub(super) shape: Shape,
}
