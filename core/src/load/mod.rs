//! From disk to weights: folders, single files, the hub cache, the embedded demo model. The only file I/O of the crate.
//!
//! A [`ModelSource`] finds the [`Checkpoint`] that a [`ModelId`] means; a checkpoint gives each [`Component`]'s config
//! as text and its weights by name. What the configs mean is known to `models` alone.
//!
//! Files come from strangers: their sizes and counts are checked before memory is taken, and what can run code when it
//! is read (pickles) is refused.

#[cfg_attr(not(feature = "internals"), allow(unreachable_pub, reason = "public for the feature `internals`"))]
mod adapter;
mod alone;
mod bytes;
mod cache;
mod calibration;
mod component;
mod convert;
#[cfg(any(feature = "safety", test))]
mod eight_bit;
#[cfg(any(
    feature = "clip-tokenizer",
    feature = "demo-model",
    feature = "edges",
    feature = "pose",
    feature = "safety",
    feature = "segmentation"
))]
mod embedded;
mod header;
#[cfg(feature = "hub")]
pub mod hub;
mod layout;
#[cfg_attr(
    not(feature = "internals"),
    allow(unreachable_pub, dead_code, reason = "public for the feature `internals`")
)]
mod lora;
mod lora_alpha;
mod lora_keys;
#[cfg(test)]
pub(crate) mod lora_tests;
mod names;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod packed;
#[cfg(not(feature = "internals"))]
#[allow(unreachable_pub, dead_code, reason = "public for the feature `internals`")]
mod packed;
#[cfg_attr(
    not(feature = "internals"),
    allow(unreachable_pub, dead_code, reason = "public for the feature `internals`")
)]
mod random;
#[cfg(test)]
mod refusals;
pub(crate) mod shared;
mod single;
mod source;
mod storage;
mod weights;

#[cfg(not(feature = "internals"))]
pub(crate) use adapter::{AdapterFiles, AdapterWanted};
#[cfg(feature = "internals")]
#[doc(hidden)]
pub use adapter::{AdapterFiles, AdapterWanted};
pub use cache::HubCache;
pub use calibration::{Calibration, Quality};
pub use component::{Component, TokenizerFiles};
pub use convert::{ConvertOptions, ConvertProgress};
#[cfg(feature = "safety")]
pub(crate) use eight_bit::EightBit;
pub use header::StoredDtype;
pub use layout::Checkpoint;
#[cfg(not(feature = "internals"))]
pub(crate) use lora::LoraFile;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub use lora::LoraFile;
pub use packed::PackedCache;
pub(crate) use packed::PackedFiles;
#[cfg(not(feature = "internals"))]
pub(crate) use random::RandomWeights;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub use random::RandomWeights;
pub use source::{Found, ModelId, ModelSource};
pub(crate) use weights::listed;
pub use weights::{WeightCheck, WeightFiles};
