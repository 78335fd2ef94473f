//! Snapshot of the engine's state, which other threads read while the engine is busy.

use std::sync::{Mutex, MutexGuard, PoisonError};

use dreamframe::params::Notice;
use dreamframe::telemetry::Work;
use dreamframe::{Engine, Error, ErrorKind, StreamDiffusionParams};
use pyo3::prelude::*;

use crate::errors::exception;

/// State that the engine's thread shares with other threads.
#[derive(Default)]
pub(crate) struct SharedState {
    pub(crate) snapshot: Mutex<EngineSnapshot>,
    /// The exception that a progress callback raised.
    pub(crate) raised: Mutex<Option<PyErr>>,
}

/// The engine's state after its last change.
#[derive(Default, Clone)]
pub(crate) struct EngineSnapshot {
    pub(crate) params: StreamDiffusionParams,
    pub(crate) notices: Vec<Notice>,
    pub(crate) size: (u32, u32),
    pub(crate) delay: usize,
    pub(crate) device: String,
    pub(crate) threads: usize,
    pub(crate) model: String,
    pub(crate) work: Work,
}

/// Locks a mutex, and ignores poisoning: the data stays consistent.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl SharedState {
    /// Replaces the snapshot, after an update.
    pub(crate) fn update(&self, engine: &Engine) {
        *lock(&self.snapshot) = EngineSnapshot {
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

    /// Returns a copy of the snapshot.
    pub(crate) fn snapshot(&self) -> EngineSnapshot {
        lock(&self.snapshot).clone()
    }

    /// Converts an error of the library, or returns the exception of the progress callback that caused it.
    pub(crate) fn error(&self, py: Python<'_>, error: &Error) -> PyErr {
        let raised = lock(&self.raised).take();
        raised.filter(|_| error.kind() == ErrorKind::Cancelled).unwrap_or_else(|| exception(py, error))
    }
}
