//! The engine's thread, so that a caller that waits for it can be interrupted.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use dreamframe::{Engine, Error, ErrorKind};
use pyo3::prelude::*;

use crate::errors::{OrRaise, invalid_call};
use crate::{interpreter, log};

/// Maximum delay before Ctrl-C is noticed.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Where the engine is.
#[derive(Debug)]
pub(crate) enum EngineSlot {
    /// On the worker thread.
    Available(Box<Engine>),
    /// In a session, which returns it when it ends.
    InSession,
    /// Closed, or lost to the error in the text.
    Closed(String),
}

impl EngineSlot {
    /// Returns the engine.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` while it is in a session, `Closed` if there is none.
    pub(crate) fn engine(&mut self) -> dreamframe::Result<&mut Engine> {
        match self {
            Self::Available(engine) => Ok(engine),
            Self::InSession => Err(Error::new(
                ErrorKind::InvalidArgument,
                "the stream is in a session: send frames and changes to the session, or stop it first",
            )),
            Self::Closed(why) => Err(Error::new(ErrorKind::Closed, why.as_str())),
        }
    }
}

type Work = Box<dyn FnOnce(&mut EngineSlot) + Send>;

struct Job {
    /// Set when the caller no longer waits.
    abandoned: Arc<AtomicBool>,
    skippable: bool,
    work: Work,
}

/// Sends jobs to the engine's thread, which ends when the last clone is dropped.
#[derive(Debug)]
pub(crate) struct Worker {
    jobs: Sender<Job>,
    thread: ThreadId,
}

/// The job that the engine's thread is running.
#[derive(Debug, Default)]
pub(crate) struct Current(Mutex<Arc<AtomicBool>>);

impl Current {
    /// Returns true if the caller of the current job no longer waits.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).load(Ordering::Relaxed)
    }

    fn set(&self, abandoned: &Arc<AtomicBool>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = abandoned.clone();
    }
}

impl Worker {
    /// Starts the thread, without an engine; `current` refers to its running job.
    ///
    /// # Errors
    ///
    /// `Device` if no thread can be started.
    pub(crate) fn start(current: Arc<Current>) -> dreamframe::Result<Self> {
        let (jobs, todo) = channel::<Job>();
        let run = move || {
            let mut slot = EngineSlot::Closed("the stream is closed".into());
            for Job { abandoned, skippable, work } in todo {
                current.set(&abandoned);
                if skippable && abandoned.load(Ordering::Relaxed) {
                    continue;
                }
                if let Err(panic) = catch_unwind(AssertUnwindSafe(|| work(&mut slot))) {
                    let lost = format!("the stream was lost to a bug of this library: {}", text_of(&*panic));
                    tracing::error!("{lost}");
                    slot = EngineSlot::Closed(lost);
                }
            }
        };
        let thread = thread::Builder::new()
            .name("dreamframe".into())
            .spawn(run)
            .map_err(|error| Error::new(ErrorKind::Device, "failed to start a thread").with_source(error))?;
        Ok(Self { jobs, thread: thread.thread().id() })
    }

    /// Runs a job on the thread, and waits for it without the interpreter.
    ///
    /// # Errors
    ///
    /// The exception of an interrupt, such as Ctrl-C; a job that has not started is then skipped, and loading is
    /// cancelled.
    pub(crate) fn call<T: Send + 'static>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&mut EngineSlot) -> T + Send + 'static,
    ) -> PyResult<T> {
        self.ask(py, true, work)
    }

    /// Like [`call`](Self::call), but the job runs even if the caller stops waiting.
    pub(crate) fn call_anyway<T: Send + 'static>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&mut EngineSlot) -> T + Send + 'static,
    ) -> PyResult<T> {
        self.ask(py, false, work)
    }

    fn ask<T: Send + 'static>(
        &self,
        py: Python<'_>,
        skippable: bool,
        work: impl FnOnce(&mut EngineSlot) -> T + Send + 'static,
    ) -> PyResult<T> {
        interpreter::check_not_forked().or_raise(py)?;
        if thread::current().id() == self.thread {
            return Err(invalid_call(py, "a stream cannot be used in its own callbacks, such as `progress`"));
        }
        let abandoned = Arc::new(AtomicBool::new(false));
        let (done, result) = sync_channel(1);
        // The caller may have stopped waiting.
        let work: Work = Box::new(move |slot| drop(done.send(work(slot))));
        // If the thread has ended, the job is dropped here, and the receiver sees a disconnect.
        let _ = self.jobs.send(Job { abandoned: abandoned.clone(), skippable, work });
        let result = wait(py, move || match result.recv_timeout(POLL_INTERVAL) {
            Ok(value) => Some(Some(value)),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => Some(None),
        });
        log::deliver(py);
        match result {
            Ok(Some(value)) => Ok(value),
            Ok(None) => {
                Err(Error::new(ErrorKind::Internal, "the stream was lost to a bug of this library; see the log"))
                    .or_raise(py)
            }
            Err(interrupt) => {
                abandoned.store(true, Ordering::Relaxed);
                Err(interrupt)
            }
        }
    }

    /// Runs a job on the thread, without waiting.
    pub(crate) fn send(&self, work: impl FnOnce(&mut EngineSlot) + Send + 'static) {
        // The thread lives at least as long as `self`.
        let _ = self.jobs.send(Job { abandoned: Arc::default(), skippable: false, work: Box::new(work) });
    }
}

/// Polls repeatedly, without the interpreter and for a short time each, until there is a result.
///
/// # Errors
///
/// The exception of an interrupt.
pub(crate) fn wait<T: Send>(py: Python<'_>, mut poll: impl FnMut() -> Option<T> + Send) -> PyResult<T> {
    loop {
        if let Some(value) = py.detach(&mut poll) {
            return Ok(value);
        }
        py.check_signals()?;
    }
}

/// Like [`wait`], with a timeout in seconds; `ask` receives the longest time that it may block.
///
/// # Errors
///
/// The exception of an interrupt; `InvalidArgumentError` for an invalid timeout; `ClosedError` in a forked process.
pub(crate) fn wait_up_to<T: Send>(
    py: Python<'_>,
    timeout: Option<f64>,
    mut ask: impl FnMut(Duration) -> Option<T> + Send,
) -> PyResult<Option<T>> {
    interpreter::check_not_forked().or_raise(py)?;
    let deadline = deadline(py, timeout)?;
    let answer = wait(py, move || {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        match ask(left.map_or(POLL_INTERVAL, |left| left.min(POLL_INTERVAL))) {
            None if left == Some(Duration::ZERO) => Some(None),
            None => None,
            answer => Some(answer),
        }
    });
    log::deliver(py);
    answer
}

/// Returns the deadline after `timeout` seconds; `None` without a timeout.
pub(crate) fn deadline(py: Python<'_>, timeout: Option<f64>) -> PyResult<Option<Instant>> {
    let Some(seconds) = timeout else { return Ok(None) };
    let duration = Duration::try_from_secs_f64(seconds.min(1e9)).map_err(|_| {
        invalid_call(py, format!("timeout: got {seconds}, expected seconds of at least 0, or None for no limit"))
    })?;
    Ok(Instant::now().checked_add(duration))
}

/// Runs a shutdown on a thread of its own, and waits for it without the interpreter. The shutdown continues if the wait
/// is interrupted.
///
/// # Errors
///
/// The exception of an interrupt; `ClosedError` in a forked process; `InvalidArgumentError` in a callback of an engine.
pub(crate) fn end(py: Python<'_>, work: impl FnOnce() + Send + 'static) -> PyResult<()> {
    interpreter::check_not_forked().or_raise(py)?;
    interpreter::check_not_in_callback().or_raise(py)?;
    let (done, ended) = sync_channel(1);
    let thread = end_later(move || {
        work();
        // The caller may have stopped waiting.
        let _ = done.send(());
    });
    thread.or_raise(py)?;
    let ended = wait(py, move || match ended.recv_timeout(POLL_INTERVAL) {
        Err(RecvTimeoutError::Timeout) => None,
        Ok(()) | Err(RecvTimeoutError::Disconnected) => Some(()),
    });
    log::deliver(py);
    ended
}

/// Like [`end`], without waiting.
///
/// # Errors
///
/// `Device` if no thread can be started.
pub(crate) fn end_later(work: impl FnOnce() + Send + 'static) -> dreamframe::Result<()> {
    let thread = thread::Builder::new().name("dreamframe-end".into()).spawn(work);
    thread.map(drop).map_err(|error| Error::new(ErrorKind::Device, "failed to start a thread").with_source(error))
}

/// Returns the message of a panic.
pub(crate) fn text_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "(no message)".into())
}
