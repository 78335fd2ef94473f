//! Tests of whole engines.

#[cfg(feature = "demo-model")]
mod batch_streams;
#[cfg(feature = "demo-model")]
mod built_in;
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

#[cfg(feature = "demo-model")]
use std::sync::Arc;

#[cfg(feature = "demo-model")]
use super::EngineOptions;
#[cfg(feature = "demo-model")]
use super::pipeline::context::BuildContext;
#[cfg(feature = "demo-model")]
use crate::exec::Executor;
#[cfg(feature = "demo-model")]
use crate::frame::Fit;
#[cfg(feature = "demo-model")]
use crate::load::ModelSource;
#[cfg(feature = "demo-model")]
use crate::preprocess::{ExternalImages, Registry};

/// What an engine on `executor` is built with.
#[cfg(feature = "demo-model")]
fn context(source: ModelSource, options: EngineOptions, executor: Arc<dyn Executor>) -> BuildContext {
    BuildContext {
        source,
        options,
        automatic_dtype: false,
        queue: executor.queue(),
        executor,
        external: Arc::new(ExternalImages::new(Fit::Cover)),
        registry: Registry::new(),
        observers: None,
        style_images: None,
        progress: None,
        safety_checker: None,
        text_encodings: Arc::default(),
    }
}
