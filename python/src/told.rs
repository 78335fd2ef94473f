//! What the engine's thread tells the others: what they may ask while it is at work.

use std::sync::{Mutex, MutexGuard, PoisonError};

use dreamframe::params::Notice;
use dreamframe::telemetry::Work;
use dreamframe::{Engine, Error, ErrorKind, StreamDiffusionParams};
use pyo3::prelude::*;

use crate::errors::exception;

/// What the engine's thread tells the others.
#[derive(Default)]
pub(crate) struct Told {
    pub(crate) facts: Mutex<Facts>,
    /// What a progress callback raised.
    pub(crate) raised: Mutex<Option<PyErr>>,
}

/// What can be said of the engine while it is at work.
#[derive(Default, Clone)]
pub(crate) struct Facts {
    pub(crate) params: StreamDiffusionParams,
    pub(crate) notices: Vec<Notice>,
    pub(crate) size: (u32, u32),
    pub(crate) delay: usize,
    pub(crate) device: String,
    pub(crate) threads: usize,
    pub(crate) model: String,
    pub(crate) work: Work,
}

/// Waits for a mutex, whatever became of who had it before.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Told {
    /// Tells what may be another after an update.
    pub(crate) fn update(&self, engine: &Engine) {
        *lock(&self.facts) = Facts {
            params: engine.params().clone(),
            notices: engine.notices().to_vec(),
            size: engine.size(),
            delay: engine.delay(),
            device: engine.device(),
            threads: engine.threads(),
            model: engine.model().to_owned(),
            work: engine.work(),
        };
    }

    /// What was told last.
    pub(crate) fn facts(&self) -> Facts {
        lock(&self.facts).clone()
    }

    /// An error of the library, or what a progress callback raised in its place.
    pub(crate) fn error(&self, py: Python<'_>, error: &Error) -> PyErr {
        let raised = lock(&self.raised).take();
        raised.filter(|_| error.kind() == ErrorKind::Cancelled).unwrap_or_else(|| exception(py, error))
    }
}
