//! What engines of tests are built with.

use std::sync::Arc;

use crate::engine::EngineOptions;
use crate::engine::pipeline::context::BuildContext;
use crate::exec::Executor;
use crate::frame::Fit;
use crate::load::ModelSource;
use crate::preprocess::{ExternalImages, Registry};

/// What an engine on `executor` is built with.
pub(super) fn context(source: ModelSource, options: EngineOptions, executor: Arc<dyn Executor>) -> BuildContext {
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
