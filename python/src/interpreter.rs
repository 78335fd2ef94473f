//! Attaches threads that Python did not start to the interpreter, until the interpreter is finalized.
//!
//! A thread that attaches to an interpreter which is being finalized is terminated or hangs. So the threads of this
//! module attach through one gate. Python closes it at exit, after all attached threads have detached.

use std::process;
use std::sync::{OnceLock, PoisonError, RwLock};

use dreamframe::{Error, ErrorKind};
use pyo3::prelude::*;

/// Set once the interpreter is being finalized.
static GATE: RwLock<bool> = RwLock::new(false);

/// The id of the process that started this module's threads; a forked child process has none of them.
static HOME: OnceLock<u32> = OnceLock::new();

/// Records that this process has the threads.
pub(crate) fn record_process() {
    HOME.get_or_init(process::id);
}

/// Returns true if this process was forked from the one that has the threads.
pub(crate) fn is_forked() -> bool {
    HOME.get().is_some_and(|home| *home != process::id())
}

/// Returns an error where a call would wait for a thread that does not exist in this process.
///
/// # Errors
///
/// `Closed` in a forked process.
pub(crate) fn check_not_forked() -> dreamframe::Result<()> {
    if is_forked() {
        let text = "the stream was created before this process was forked: create another one, or spawn processes";
        return Err(Error::new(ErrorKind::Closed, text));
    }
    Ok(())
}

/// Attaches to the interpreter and runs `work`. Returns `None` if the interpreter is being finalized.
pub(crate) fn attach<T>(work: impl for<'py> FnOnce(Python<'py>) -> T) -> Option<T> {
    let going = GATE.read().unwrap_or_else(PoisonError::into_inner);
    if *going { None } else { Python::try_attach(work) }
}

/// Closes the gate, and waits for the threads that are attached.
#[pyfunction]
#[pyo3(signature = () -> "None")]
pub(crate) fn _at_exit(py: Python<'_>) {
    if is_forked() {
        return;
    }
    py.detach(|| *GATE.write().unwrap_or_else(PoisonError::into_inner) = true);
}
