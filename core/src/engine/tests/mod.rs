//! Tests of whole engines.

#[cfg(feature = "demo-model")]
mod batch_streams;
#[cfg(feature = "demo-model")]
mod built_in;
#[cfg(feature = "demo-model")]
mod context;
#[cfg(feature = "demo-model")]
mod feature_reuse;
#[cfg(feature = "demo-model")]
mod int8;
mod live_lora;
mod lora;
#[cfg(feature = "demo-model")]
mod memory;
mod packed;
#[cfg(feature = "demo-model")]
mod region_reuse;
#[cfg(feature = "demo-model")]
mod repeats;
#[cfg(feature = "demo-model")]
mod safety;
#[cfg(feature = "demo-model")]
mod stack;
#[cfg(feature = "demo-model")]
mod text_to_image;
mod vae;
