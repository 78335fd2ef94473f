//! What every pipeline of an engine is made with.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::progress::ProgressWatch;
use super::{EngineOptions, SafetyChecker, StyleImages};
use crate::error::Result;
use crate::exec::observe::{Observer, Observing};
use crate::exec::{Dtype, Executor, Network, memory};
use crate::load::{Component, ModelSource, shared};
use crate::net::{Program, WeightSource, Weights};
use crate::params::Notice;
use crate::preprocess::Registry;

/// What every pipeline of an engine is made with.
#[derive(Debug)]
pub(crate) struct Workshop {
    pub(crate) source: ModelSource,
    pub(crate) options: EngineOptions,
    pub(crate) executor: Arc<dyn Executor>,
    /// What processors there are.
    pub(crate) registry: Registry,
    /// Who watches the UNet, if anybody.
    pub(crate) observer: Option<Arc<Observer>>,
    /// Who brings style images from elsewhere, if anybody.
    pub(crate) style_images: Option<Arc<dyn StyleImages>>,
    /// Who is told how loading goes, if anybody.
    pub(crate) progress: Option<ProgressWatch>,
    /// The host's own judge of pictures, in the place of a loaded one.
    pub(crate) safety_checker: Option<Arc<dyn SafetyChecker>>,
    /// How many texts were encoded.
    pub(crate) text_encodings: Arc<AtomicU64>,
}

impl Workshop {
    /// What runs the UNet.
    pub(crate) fn unet_executor(&self) -> Arc<dyn Executor> {
        match &self.observer {
            Some(observer) => Arc::new(Observing::new(self.executor.clone(), observer.clone())),
            None => self.executor.clone(),
        }
    }

    /// The weights of a component, shared with other engines that use them, and with the files that have them packed.
    pub(crate) fn weights(&self, component: &Component) -> Weights {
        self.weights_through(component, component.weights.clone())
    }

    /// The same, read through `source`, which shapes them otherwise.
    pub(crate) fn weights_through(&self, component: &Component, source: Arc<dyn WeightSource>) -> Weights {
        let watch = self.progress.as_ref().map(|progress| progress.of(component));
        Weights::over(shared::forms(component, source, &self.options.packed_cache)).with_watch(watch)
    }

    /// Bytes that so many weights take, as the executor stores them.
    pub(crate) fn stored_bytes(&self, numbers: u64) -> u64 {
        let each = match self.options.dtype {
            Dtype::F32 => 4,
            Dtype::Bf16 | Dtype::Int8 => 2,
        };
        numbers.saturating_mul(each)
    }

    /// Refuses a component, `what`, that there is no memory for, before its weights are read.
    ///
    /// # Errors
    ///
    /// `OutOfMemory` with the bytes that it needs.
    pub(crate) fn require_room(&self, component: &Component, what: &str) -> Result<()> {
        if shared::in_use(component, &self.options.packed_cache) {
            return Ok(());
        }
        let bytes = self.stored_bytes(component.weights.numbers());
        memory::require(usize::try_from(bytes).unwrap_or(usize::MAX), what)
    }
}

/// What compiles the networks of a pipeline, and refuses those that there is no memory for before it reads their weights.
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
        let needed = self.executor.least_arena_bytes(&program);
        if needed > self.held {
            memory::require(needed, program.name())?;
        }
        self.executor.compile(&Arc::new(program), weights)
    }
}

/// Keeps what was packed for the next start, and gives what there is to tell about that.
pub(crate) fn save_packed(weights: &Weights) -> impl Iterator<Item = Notice> + use<> {
    weights.save().into_iter().map(|message| Notice { path: "packed_cache".into(), message })
}
