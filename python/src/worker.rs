//! The thread that an engine lives on, so that whoever waits for it can still be interrupted.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use dreamframe::{Engine, Error, ErrorKind};
use pyo3::prelude::*;

use crate::errors::{OrRaise, wrong_call};
use crate::{foreign, log};

/// How long Ctrl-C may go unnoticed.
const SLICE: Duration = Duration::from_millis(50);

/// Where the engine is.
#[derive(Debug)]
pub(crate) enum Place {
    /// Here.
    Here(Box<Engine>),
    /// In a session, on whose end it comes back.
    InSession,
    /// Nowhere any more: closed, or lost to the error that the text tells of.
    Gone(String),
}

impl Place {
    /// The engine.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` while it is in a session, `Closed` where there is none.
    pub(crate) fn engine(&mut self) -> dreamframe::Result<&mut Engine> {
        match self {
            Self::Here(engine) => Ok(engine),
            Self::InSession => Err(Error::new(
                ErrorKind::InvalidArgument,
                "the stream is in a session: send frames and changes to the session, or stop it first",
            )),
            Self::Gone(why) => Err(Error::new(ErrorKind::Closed, why.as_str())),
        }
    }
}

type Work = Box<dyn FnOnce(&mut Place) + Send>;

struct Job {
    /// Set when nobody waits for it any more.
    abandoned: Arc<AtomicBool>,
    can_be_left_out: bool,
    work: Work,
}

/// Sends work to the engine's thread, which ends when nobody has this any more.
#[derive(Debug)]
pub(crate) struct Worker {
    jobs: Sender<Job>,
    thread: ThreadId,
}

/// What the engine's thread is at.
#[derive(Debug, Default)]
pub(crate) struct Current(Mutex<Arc<AtomicBool>>);

impl Current {
    /// Whether nobody waits any more for what the thread is at.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).load(Ordering::Relaxed)
    }

    fn set(&self, abandoned: &Arc<AtomicBool>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = abandoned.clone();
    }
}

impl Worker {
    /// Starts the thread, without an engine; `current` tells what it is at.
    ///
    /// # Errors
    ///
    /// `Device` where the system gives no more threads.
    pub(crate) fn start(current: Arc<Current>) -> dreamframe::Result<Self> {
        let (jobs, todo) = channel::<Job>();
        let run = move || {
            let mut place = Place::Gone("the stream is closed".into());
            for Job { abandoned, can_be_left_out, work } in todo {
                current.set(&abandoned);
                if can_be_left_out && abandoned.load(Ordering::Relaxed) {
                    continue;
                }
                if let Err(panic) = catch_unwind(AssertUnwindSafe(|| work(&mut place))) {
                    let lost = format!("the stream was lost to a bug of this library: {}", text_of(&*panic));
                    tracing::error!("{lost}");
                    place = Place::Gone(lost);
                }
            }
        };
        let thread = thread::Builder::new()
            .name("dreamframe".into())
            .spawn(run)
            .map_err(|error| Error::new(ErrorKind::Device, "failed to start a thread").with_source(error))?;
        Ok(Self { jobs, thread: thread.thread().id() })
    }

    /// Has something done, and waits for it without the interpreter.
    ///
    /// # Errors
    ///
    /// What Python raises where it is interrupted, with Ctrl-C: what was not begun is then left out, and loading ends.
    pub(crate) fn call<T: Send + 'static>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&mut Place) -> T + Send + 'static,
    ) -> PyResult<T> {
        self.ask(py, true, work)
    }

    /// As [`call`](Self::call), for what is done even where nobody waits for it any more.
    pub(crate) fn call_anyway<T: Send + 'static>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&mut Place) -> T + Send + 'static,
    ) -> PyResult<T> {
        self.ask(py, false, work)
    }

    fn ask<T: Send + 'static>(
        &self,
        py: Python<'_>,
        can_be_left_out: bool,
        work: impl FnOnce(&mut Place) -> T + Send + 'static,
    ) -> PyResult<T> {
        foreign::check_home().or_raise(py)?;
        if thread::current().id() == self.thread {
            return Err(wrong_call(py, "a stream cannot be used from within its own `progress`"));
        }
        let abandoned = Arc::new(AtomicBool::new(false));
        let (done, result) = sync_channel(1);
        // Nobody may be waiting any more.
        let work: Work = Box::new(move |place| drop(done.send(work(place))));
        // Where the thread is gone, the job drops here, and the result is as of one that was lost.
        let _ = self.jobs.send(Job { abandoned: abandoned.clone(), can_be_left_out, work });
        let result = wait(py, move || match result.recv_timeout(SLICE) {
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

    /// Has something done, without waiting for it.
    pub(crate) fn send(&self, work: impl FnOnce(&mut Place) + Send + 'static) {
        // The thread lives as long as `self`.
        let _ = self.jobs.send(Job { abandoned: Arc::default(), can_be_left_out: false, work: Box::new(work) });
    }
}

/// Asks again and again, without the interpreter and a moment each time, until there is an answer.
///
/// # Errors
///
/// What Python raises where it is interrupted.
pub(crate) fn wait<T: Send>(py: Python<'_>, mut poll: impl FnMut() -> Option<T> + Send) -> PyResult<T> {
    loop {
        if let Some(value) = py.detach(&mut poll) {
            return Ok(value);
        }
        py.check_signals()?;
    }
}

/// As [`wait`], until `timeout` seconds are over; an answer is asked for in moments of at most as long as `ask` is told.
///
/// # Errors
///
/// What Python raises where it is interrupted; `InvalidArgumentError` for no time; `ClosedError` in a forked process.
pub(crate) fn wait_up_to<T: Send>(
    py: Python<'_>,
    timeout: Option<f64>,
    mut ask: impl FnMut(Duration) -> Option<T> + Send,
) -> PyResult<Option<T>> {
    foreign::check_home().or_raise(py)?;
    let deadline = deadline(py, timeout)?;
    let answer = wait(py, move || {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        match ask(left.map_or(SLICE, |left| left.min(SLICE))) {
            None if left == Some(Duration::ZERO) => Some(None),
            None => None,
            answer => Some(answer),
        }
    });
    log::deliver(py);
    answer
}

/// When `timeout` seconds are over; never, without one.
pub(crate) fn deadline(py: Python<'_>, timeout: Option<f64>) -> PyResult<Option<Instant>> {
    let Some(seconds) = timeout else { return Ok(None) };
    let duration = Duration::try_from_secs_f64(seconds.min(1e9)).map_err(|_| {
        wrong_call(py, format!("timeout: got {seconds}, expected seconds of at least 0, or None for no limit"))
    })?;
    Ok(Instant::now().checked_add(duration))
}

/// Ends something on a thread of its own, and waits for that without the interpreter. It goes on ending where Python is
/// interrupted.
///
/// # Errors
///
/// What Python raises where it is interrupted; `ClosedError` in a forked process.
pub(crate) fn end(py: Python<'_>, work: impl FnOnce() + Send + 'static) -> PyResult<()> {
    foreign::check_home().or_raise(py)?;
    let (done, ended) = sync_channel(1);
    let thread = end_later(move || {
        work();
        // Nobody may be waiting any more.
        let _ = done.send(());
    });
    thread.or_raise(py)?;
    let ended = wait(py, move || match ended.recv_timeout(SLICE) {
        Err(RecvTimeoutError::Timeout) => None,
        Ok(()) | Err(RecvTimeoutError::Disconnected) => Some(()),
    });
    log::deliver(py);
    ended
}

/// As [`end`], for what nobody waits for.
///
/// # Errors
///
/// `Device` where the system gives no more threads.
pub(crate) fn end_later(work: impl FnOnce() + Send + 'static) -> dreamframe::Result<()> {
    let thread = thread::Builder::new().name("dreamframe-end".into()).spawn(work);
    thread.map(drop).map_err(|error| Error::new(ErrorKind::Device, "failed to start a thread").with_source(error))
}

/// What a panic said.
pub(crate) fn text_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "(no message)".into())
}
