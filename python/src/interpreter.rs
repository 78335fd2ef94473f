//! Attaches threads that Python did not start to the interpreter, until the interpreter is finalized.
//!
//! A thread that attaches to an interpreter which is being finalized is terminated or hangs. So the threads of this
//! module attach through one gate. Python closes it at exit, and waits for the attached threads. A thread that comes to a
//! closed gate never waits: an attached thread may wait for that thread's work.

use std::cell::Cell;
use std::process;
use std::sync::{Condvar, Mutex, OnceLock, PoisonError};

use dreamframe::{Error, ErrorKind};
use pyo3::prelude::*;

use crate::shared_state::lock;

/// The gate; see the module's documentation.
static GATE: Gate = Gate { state: Mutex::new(GateState { is_closed: false, attached: 0 }), left: Condvar::new() };

struct Gate {
    state: Mutex<GateState>,
    /// Notified when a thread has detached.
    left: Condvar,
}

struct GateState {
    is_closed: bool,
    /// The number of attached threads.
    attached: usize,
}

/// An attached thread, until it is dropped.
struct Attached;

impl Attached {
    fn new() -> Option<Self> {
        let mut state = lock(&GATE.state);
        if state.is_closed {
            return None;
        }
        state.attached += 1;
        Some(Self)
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        lock(&GATE.state).attached -= 1;
        GATE.left.notify_all();
    }
}

thread_local! {
    /// Set while a thread of an engine runs a callback.
    static IN_CALLBACK: Cell<bool> = const { Cell::new(false) };
}

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
    let _attached = Attached::new()?;
    Python::try_attach(work)
}

/// Like [`attach`], on a thread that an engine needs to continue. In `work`, [`is_in_callback`] is true.
pub(crate) fn attach_engine<T>(work: impl for<'py> FnOnce(Python<'py>) -> T) -> Option<T> {
    attach(|py| {
        let before = IN_CALLBACK.replace(true);
        let result = work(py);
        IN_CALLBACK.set(before);
        result
    })
}

/// Returns true on a thread that an engine needs to continue, where waiting for that engine is a deadlock.
pub(crate) fn is_in_callback() -> bool {
    IN_CALLBACK.get()
}

/// Returns an error where a call would wait for an engine that may be waiting for this thread.
///
/// # Errors
///
/// `InvalidArgument` in a callback of an engine.
pub(crate) fn check_not_in_callback() -> dreamframe::Result<()> {
    if is_in_callback() {
        let text = "a stream, session or server cannot be ended in a callback of an engine: in `progress`, a processor, \
                    the safety checker, or a source of style images";
        return Err(Error::new(ErrorKind::InvalidArgument, text));
    }
    Ok(())
}

/// Closes the gate, and waits for the threads that are attached.
#[pyfunction]
#[pyo3(signature = () -> "None")]
pub(crate) fn _at_exit(py: Python<'_>) {
    if is_forked() {
        return;
    }
    py.detach(|| {
        let mut state = lock(&GATE.state);
        state.is_closed = true;
        let left = GATE.left.wait_while(state, |state| state.attached > 0);
        drop(left.unwrap_or_else(PoisonError::into_inner));
    });
}
