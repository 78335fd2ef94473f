//! Context shared by all pipelines of an engine.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use crate::engine::host::{SafetyChecker, StyleImages};
use crate::engine::options::{BatchStreams, Batching, EngineOptions};
use crate::engine::progress::ProgressWatch;
use crate::error::Result;
use crate::exec::observe::{Observer, Observing};
use crate::exec::{Executor, Network, Queue};
use crate::load::{Component, ModelSource, WeightFiles, weight_registry};
use crate::net::{Program, WeightSource, Weights};
use crate::params::{Notice, StreamDiffusionParams};
use crate::preprocess::{ExternalImages, Registry};

/// Context shared by all pipelines of an engine.
#[derive(Debug)]
pub(crate) struct BuildContext {
    pub(crate) source: ModelSource,
    pub(crate) options: EngineOptions,
    /// Whether the number format was chosen by the engine: if that is int8, models without a calibration run without it.
    pub(crate) automatic_dtype: bool,
    pub(crate) executor: Arc<dyn Executor>,
    /// The executor's queue.
    pub(crate) queue: Arc<dyn Queue>,
    /// The available processors.
    pub(crate) registry: Registry,
    /// The images of the host for `external` processors.
    pub(crate) external: Arc<ExternalImages>,
    /// Record activations, for a calibration.
    pub(crate) observers: Option<Observers>,
    /// The host's source of style images.
    pub(crate) style_images: Option<Arc<dyn StyleImages>>,
    /// The host's callback for the progress of loading.
    pub(crate) progress: Option<ProgressWatch>,
    /// The host's safety checker, used instead of a loaded one.
    pub(crate) safety_checker: Option<Arc<dyn SafetyChecker>>,
    /// How many texts were encoded so far.
    pub(crate) text_encodings: Arc<AtomicU64>,
}

/// Where activations are recorded for a calibration.
#[derive(Debug, Default)]
pub(crate) struct Observers {
    pub(super) unet: Arc<Observer>,
    pub(super) autoencoder: Arc<Observer>,
}

impl BuildContext {
    /// Returns whether the steps of successive frames are computed in one batch.
    pub(crate) fn is_batched(&self, params: &StreamDiffusionParams) -> bool {
        params.use_denoising_batch
            && match self.options.batching {
                Batching::AsRequested => true,
                Batching::WhereFaster => self.executor.is_faster_in_batches(),
            }
    }

    /// Returns whether the UNet may run together with those of other engines.
    pub(crate) fn shares_passes(&self) -> bool {
        let is_on = match self.options.batch_streams {
            BatchStreams::Off => false,
            BatchStreams::On => true,
            BatchStreams::Auto => self.executor.is_faster_in_batches(),
        };
        is_on && self.observers.is_none()
    }

    /// Returns the executor of the UNet.
    pub(crate) fn unet_executor(&self) -> Arc<dyn Executor> {
        self.observed_by(|observers| &observers.unet)
    }

    /// Returns the executor of the autoencoder.
    pub(crate) fn autoencoder_executor(&self) -> Arc<dyn Executor> {
        self.observed_by(|observers| &observers.autoencoder)
    }

    fn observed_by(&self, observer: impl Fn(&Observers) -> &Arc<Observer>) -> Arc<dyn Executor> {
        match &self.observers {
            Some(observers) => Arc::new(Observing::new(self.executor.clone(), observer(observers).clone())),
            None => self.executor.clone(),
        }
    }

    /// Returns the weights of a component, whose packed forms are shared with other engines, and with the packed cache.
    pub(crate) fn weights(&self, component: &Component) -> Weights {
        self.weights_through(component, component.weights.clone())
    }

    /// Like [`weights`](Self::weights), read through `source`, which changes their names or shapes.
    pub(crate) fn weights_through(&self, component: &Component, source: Arc<dyn WeightSource>) -> Weights {
        let watch = self.progress.as_ref().map(|progress| progress.of(component));
        Weights::over(weight_registry::forms(component, source, &self.options.packed_cache)).with_observer(watch)
    }

    /// Returns how many bytes the executor needs for this number of weights.
    pub(crate) fn stored_bytes(&self, numbers: u64) -> u64 {
        numbers.saturating_mul(self.options.dtype.bytes() as u64)
    }

    /// Checks that there is memory for a component, called `what` in the error, before its weights are read.
    ///
    /// # Errors
    ///
    /// `OutOfMemory` with the bytes that it needs.
    pub(crate) fn require_room(&self, component: &Component, what: &str) -> Result<()> {
        if weight_registry::in_use(component, &self.options.packed_cache) {
            return Ok(());
        }
        let bytes = self.stored_bytes(component.weights.numbers());
        self.queue.require(usize::try_from(bytes).unwrap_or(usize::MAX), what)
    }
}

/// Compiles the networks of a pipeline; checks that there is memory for each before it reads its weights.
#[derive(Debug)]
pub(crate) struct Compiler<'a> {
    pub(crate) executor: &'a dyn Executor,
    /// Bytes of scratch memory that the engine already has.
    pub(crate) held: usize,
}

impl Compiler<'_> {
    /// Compiles `program` over `weights`.
    ///
    /// # Errors
    ///
    /// Those of [`Executor::compile`].
    pub(crate) fn compile(&self, program: Program, weights: &Weights) -> Result<Arc<dyn Network>> {
        let needed = self.executor.least_scratch_bytes(&program);
        if needed > self.held {
            self.executor.queue().require(needed, program.name())?;
        }
        self.executor.compile(&Arc::new(program), weights)
    }

    /// Like [`compile`](Self::compile), for runs of changed pixels if the device and the program support them.
    ///
    /// # Errors
    ///
    /// Those of [`Executor::compile_keeping`].
    pub(crate) fn compile_keeping(&self, program: Program, weights: &Weights) -> Result<Arc<dyn Network>> {
        let program = Arc::new(program);
        match self.executor.compile_keeping(&program, weights)? {
            Some(network) => Ok(network),
            None => self.compile(Arc::unwrap_or_clone(program), weights),
        }
    }
}

/// Returns a notice about the parameter `path` if its weights are pickled.
pub(crate) fn pickled(weights: &WeightFiles, path: &str) -> Option<Notice> {
    weights.notice().map(|message| Notice { path: path.into(), message })
}

/// Saves packed weights for the next start; returns notices about it.
pub(crate) fn save_packed(weights: &Weights) -> impl Iterator<Item = Notice> + use<> {
    weights.save().into_iter().map(|message| Notice { path: "packed_cache".into(), message })
}
