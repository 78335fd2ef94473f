//! Python's interpreter for threads that are not Python's: until it goes away.
//!
//! A thread that asks for an interpreter which is being taken down is ended where it stands, or hangs. So the threads of
//! this module pass through one gate, which Python closes at its exit, after all that are inside have left.

use std::process;
use std::sync::{OnceLock, PoisonError, RwLock};

use dreamframe::{Error, ErrorKind};
use pyo3::prelude::*;

/// Whether Python is going away.
static GATE: RwLock<bool> = RwLock::new(false);

/// The process that has this module's threads: a fork of it has none.
static HOME: OnceLock<u32> = OnceLock::new();

/// Notes that this process has the threads.
pub(crate) fn settle() {
    HOME.get_or_init(process::id);
}

/// Whether this process was forked off the one that has the threads.
pub(crate) fn is_forked() -> bool {
    HOME.get().is_some_and(|home| *home != process::id())
}

/// Refuses what would wait for a thread that is not there.
///
/// # Errors
///
/// `Closed` in a forked process.
pub(crate) fn check_home() -> dreamframe::Result<()> {
    if is_forked() {
        let text = "the stream was created before this process was forked: create another one, or spawn processes";
        return Err(Error::new(ErrorKind::Closed, text));
    }
    Ok(())
}

/// Runs `work` with the interpreter, on any thread that has none; `None` where Python is going away.
pub(crate) fn attach<T>(work: impl for<'py> FnOnce(Python<'py>) -> T) -> Option<T> {
    let going = GATE.read().unwrap_or_else(PoisonError::into_inner);
    if *going { None } else { Python::try_attach(work) }
}

/// Closes the gate; waits for those who are inside.
#[pyfunction]
#[pyo3(signature = () -> "None")]
pub(crate) fn _at_exit(py: Python<'_>) {
    if is_forked() {
        return;
    }
    py.detach(|| *GATE.write().unwrap_or_else(PoisonError::into_inner) = true);
}
