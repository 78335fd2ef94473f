//! Tests of whole engines.

mod lora;
#[cfg(feature = "demo-model")]
mod memory;
mod packed;
#[cfg(feature = "demo-model")]
mod safety;
