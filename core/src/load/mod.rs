//! Loading of weights from folders, single files, the hub cache and the embedded models. The only file I/O of the crate.
//!
//! A [`ModelSource`] finds the [`Checkpoint`] of a [`ModelId`]; a checkpoint has the config of each [`Component`] as text,
//! and its weights by name. Configs are interpreted by `models` only.
//!
//! Files are not trusted: sizes and counts are checked before memory is allocated, and nothing that a pickled file asks
//! for is executed.

#[cfg_attr(not(feature = "internals"), allow(unreachable_pub, reason = "public for the feature `internals`"))]
mod adapter;
mod bytes;
mod cache;
mod calibration;
mod component;
mod convert;
mod convert_weights;
#[cfg(any(
    feature = "clip-tokenizer",
    feature = "demo-model",
    feature = "edges",
    feature = "pose",
    feature = "safety",
    feature = "segmentation"
))]
mod embedded;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod fuzz_api;
mod header;
#[cfg(feature = "hub")]
pub mod hub;
#[cfg_attr(
    not(feature = "internals"),
    allow(unreachable_pub, dead_code, reason = "public for the feature `internals`")
)]
mod img2img_turbo;
#[cfg(test)]
mod invalid_input_tests;
mod key_aliases;
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
#[cfg(feature = "onnx")]
mod onnx_runtime;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod packed;
#[cfg(not(feature = "internals"))]
#[allow(unreachable_pub, dead_code, reason = "public for the feature `internals`")]
mod packed;
mod pickle;
mod portable_names;
pub(crate) mod published;
#[cfg(any(feature = "safety", test))]
mod quantization;
#[cfg_attr(
    not(feature = "internals"),
    allow(unreachable_pub, dead_code, reason = "public for the feature `internals`")
)]
mod random;
mod rename;
mod single;
mod single_component;
mod source;
mod storage;
mod tensors;
mod weight_names;
pub(crate) mod weight_registry;
mod weights;

#[cfg(not(feature = "internals"))]
pub(crate) use adapter::{AdapterFiles, AdapterWanted};
#[cfg(feature = "internals")]
#[doc(hidden)]
pub use adapter::{AdapterFiles, AdapterWanted};
pub use cache::HubCache;
pub(crate) use calibration::NetworkCalibration;
pub use calibration::{Calibration, Quality};
pub use component::{Component, TokenizerFiles};
pub use convert::{ConvertOptions, ConvertProgress};
pub use convert_weights::convert_weights;
pub use header::StoredDtype;
#[cfg(not(feature = "internals"))]
pub(crate) use img2img_turbo::{Img2ImgTurboFile, TurboLayout};
#[cfg(feature = "internals")]
#[doc(hidden)]
pub use img2img_turbo::{Img2ImgTurboFile, TurboLayout};
pub use layout::Checkpoint;
#[cfg(not(feature = "internals"))]
pub(crate) use lora::LoraFile;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub use lora::LoraFile;
#[cfg(feature = "onnx")]
pub use onnx_runtime::OnnxRuntimeFiles;
pub use packed::PackedCache;
pub(crate) use packed::PackedFiles;
#[cfg(feature = "safety")]
pub(crate) use quantization::QuantizedFile;
#[cfg(not(feature = "internals"))]
pub(crate) use random::RandomWeights;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub use random::RandomWeights;
// For this repository's program, which is a crate of its own.
#[doc(hidden)]
pub use rename::rename;
pub use source::{Found, ModelId, ModelSource};
pub(crate) use weight_names::WeightFile;
pub use weight_names::is_weights;
pub(crate) use weights::listed;
pub use weights::{WeightCheck, WeightFiles};
