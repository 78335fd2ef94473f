//! Python's interpreter for threads that are not Python's: until it goes away.
//!
//! A thread that asks for an interpreter which is being taken down is ended where it stands, or hangs. So the threads of
//! this module pass through one gate, which Python closes at its exit, after all that are inside have left.

use std::sync::{PoisonError, RwLock};

use pyo3::prelude::*;

/// Whether Python is going away.
static GATE: RwLock<bool> = RwLock::new(false);

/// Runs `work` with the interpreter, on any thread that has none; `None` where Python is going away.
pub(crate) fn attach<T>(work: impl for<'py> FnOnce(Python<'py>) -> T) -> Option<T> {
    let going = GATE.read().unwrap_or_else(PoisonError::into_inner);
    if *going { None } else { Python::try_attach(work) }
}

/// Closes the gate; waits for those who are inside.
#[pyfunction]
#[pyo3(signature = () -> "None")]
pub(crate) fn _at_exit(py: Python<'_>) {
    py.detach(|| *GATE.write().unwrap_or_else(PoisonError::into_inner) = true);
}
