//! Puts an engine together.

use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::sync::Arc;

use super::progress::{Progress, ProgressWatch};
use super::workshop::Workshop;
use super::{Engine, EngineOptions, ExecutorKind, SafetyChecker, StyleImages, check_dtype};
use crate::error::{Error, ErrorKind, Result};
use crate::exec::Executor;
use crate::exec::cpu::{CpuExecutor, CpuOptions};
use crate::load::ModelSource;
use crate::params::{StreamDiffusionParams, notices};
use crate::preprocess::Registry;
use crate::preprocess::networks::ModelNetworks;

/// Puts an [`Engine`] together: where models come from, the first parameters, options.
#[derive(Debug, Clone)]
#[must_use]
pub struct EngineBuilder {
    source: ModelSource,
    params: StreamDiffusionParams,
    options: EngineOptions,
    registry: Registry,
    observing: bool,
    style_images: Option<Arc<dyn StyleImages>>,
    safety_checker: Option<Arc<dyn SafetyChecker>>,
    progress: Option<ProgressWatch>,
    /// In the place of the one that the options name.
    executor: Option<Arc<dyn Executor>>,
}

impl EngineBuilder {
    pub(super) fn new() -> Self {
        Self {
            source: ModelSource::Demo,
            params: StreamDiffusionParams::demo(),
            options: EngineOptions::default(),
            registry: Registry::new(),
            observing: false,
            style_images: None,
            safety_checker: None,
            progress: None,
            executor: None,
        }
    }

    /// Says where models come from; the embedded demo model, if not told.
    pub fn models(mut self, source: ModelSource) -> Self {
        self.source = source;
        self
    }

    /// Sets the first parameters; the demo model's own, if not told.
    pub fn params(mut self, params: StreamDiffusionParams) -> Self {
        self.params = params;
        self
    }

    /// Sets what is fixed for the engine's life.
    pub fn options(mut self, options: EngineOptions) -> Self {
        self.options = options;
        self
    }

    /// Sets what processors there are, with those of the host's own; the library's, if not told.
    pub fn processors(mut self, registry: Registry) -> Self {
        self.registry = registry;
        self
    }

    /// Watches what the UNet's layers read, so that [`Engine::calibration`] can say how they become bytes: slow, and takes
    /// memory for every value of a frame.
    pub fn observing(mut self) -> Self {
        self.observing = true;
        self
    }

    /// Says who brings the style images of an IP-Adapter that are not in the parameters themselves; nobody, if not told.
    pub fn style_images(mut self, images: Arc<dyn StyleImages>) -> Self {
        self.style_images = Some(images);
        self
    }

    /// Gives what judges pictures where `use_safety_checker` is on; if not told, the model's own checker, the published one
    /// or the built-in classifier.
    pub fn safety_checker(mut self, checker: Arc<dyn SafetyChecker>) -> Self {
        self.safety_checker = Some(checker);
        self
    }

    /// Is told how loading goes, now and with later updates, on the thread that loads: often, so that it must be quick.
    /// Where it says `Break`, loading ends as [`Cancelled`](ErrorKind::Cancelled).
    pub fn progress(mut self, callback: impl Fn(&Progress<'_>) -> ControlFlow<()> + Send + Sync + 'static) -> Self {
        self.progress = Some(ProgressWatch::new(callback));
        self
    }

    /// Runs networks with `executor`, whatever the options say.
    #[cfg(any(test, feature = "internals"))]
    #[doc(hidden)]
    pub fn executor(mut self, executor: Arc<dyn Executor>) -> Self {
        self.executor = Some(executor);
        self
    }

    /// Loads the model and gets everything ready for the first frame. Slow.
    ///
    /// # Errors
    ///
    /// `InvalidParams` with every violation, `Unsupported`, `NotFound`, `BadModel`, `OutOfMemory`, `Cancelled`.
    pub fn build(self) -> Result<Engine> {
        let Self { source, params, mut options, registry, observing, executor, style_images, safety_checker, progress } =
            self;
        params.validate()?;
        check_dtype(&options)?;
        let executor = executor.map_or_else(|| new_executor(&options), Ok)?;
        // The environment may have named instructions for another one.
        options.dtype = executor.dtype();
        let notices = notices(&params);
        let observer = observing.then(Arc::default);
        let networks = ModelNetworks::new(source.clone(), executor.clone());
        let registry = registry.or_networks(Arc::new(networks));
        let text_encodings = Arc::default();
        let workshop = Workshop {
            source,
            options,
            executor,
            registry,
            observer,
            style_images,
            progress,
            safety_checker,
            text_encodings,
        };
        Engine::new(workshop, params, notices)
    }
}

fn new_executor(options: &EngineOptions) -> Result<Arc<dyn Executor>> {
    Ok(match options.executor {
        ExecutorKind::Cpu => {
            let (threads, dtype) = (threads(options)?, options.dtype);
            Arc::new(CpuExecutor::new(CpuOptions { threads, dtype, ..Default::default() })?)
        }
        ExecutorKind::Reference => reference()?,
    })
}

#[cfg(any(test, feature = "reference"))]
#[allow(clippy::unnecessary_wraps, reason = "it fails where the feature is off")]
fn reference() -> Result<Arc<dyn Executor>> {
    Ok(Arc::new(crate::exec::reference::ReferenceExecutor))
}

#[cfg(not(any(test, feature = "reference")))]
fn reference() -> Result<Arc<dyn Executor>> {
    let text =
        "executor is \"reference\", which this build leaves out (feature `reference`); \"cpu\" makes the pictures";
    Err(Error::new(ErrorKind::Unsupported, text))
}

fn threads(options: &EngineOptions) -> Result<Option<NonZeroUsize>> {
    let at_least_one = |threads| {
        NonZeroUsize::new(threads)
            .ok_or_else(|| Error::new(ErrorKind::InvalidArgument, "threads is 0, but must be at least 1"))
    };
    options.threads.map(at_least_one).transpose()
}
