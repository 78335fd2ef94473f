//! A session shared between threads, and waiting for its pictures.

use std::cell::Cell;
use std::mem;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use dreamframe::{Error, ErrorKind, Picture, SessionHandle};
use pyo3::prelude::*;

use crate::interpreter;
use crate::picture::PictureFormat;
use crate::shared_state::{SharedState, lock};
use crate::worker::{EngineSlot, Worker};

/// A session shared between threads.
pub(crate) struct Running {
    pub(crate) handle: SessionHandle,
    pub(crate) pictures: Arc<PictureFormat>,
    pub(crate) session: Mutex<Option<dreamframe::Session>>,
    pub(crate) worker: Arc<Worker>,
    pub(crate) state: Arc<SharedState>,
    pub(crate) caller: Mutex<Option<Caller>>,
}

/// The thread that calls `on_picture`.
pub(crate) struct Caller {
    id: ThreadId,
    /// Disconnected when the last call has returned.
    ended: Receiver<()>,
}

/// How long an `on_picture` callback waits for another session's callback thread: two that stop each other's sessions
/// would otherwise deadlock. The documentation states the value.
const NESTED_WAIT: Duration = Duration::from_secs(5);

thread_local! {
    static IN_CALLBACK: Cell<bool> = const { Cell::new(false) };
}

impl Caller {
    /// Starts a thread that calls `callback` with each picture.
    ///
    /// # Errors
    ///
    /// `Device` if no thread can be started.
    pub(crate) fn start(running: &Running, callback: Py<PyAny>) -> dreamframe::Result<Self> {
        let (sender, ended) = channel();
        let (handle, pictures) = (running.handle.clone(), running.pictures.clone());
        let run = move || {
            IN_CALLBACK.set(true);
            call_back(&handle, &pictures, &callback);
            drop(sender);
        };
        let thread = thread::Builder::new().name("dreamframe-pictures".into()).spawn(run);
        let thread =
            thread.map_err(|error| Error::new(ErrorKind::Device, "failed to start a thread").with_source(error))?;
        Ok(Self { id: thread.thread().id(), ended })
    }
}

impl Running {
    /// Ends the session, dropping frames that wait. Releases the interpreter, which the session's threads may need.
    pub(crate) fn end(&self) {
        let session = lock(&self.session).take();
        if interpreter::is_forked() {
            // In a forked process there is no thread to wait for.
            mem::forget((session, lock(&self.caller).take()));
            return;
        }
        // Waits for the frame being processed.
        let ended = session.is_some();
        drop(session);
        self.join();
        if ended {
            self.lost("the stream ended with its session, which was not stopped");
        }
    }

    /// Waits for the last call of `on_picture`. Does not wait on the callback's own thread, and waits at most
    /// [`NESTED_WAIT`] in the callback of another session.
    pub(crate) fn join(&self) {
        let caller = lock(&self.caller).take();
        let Some(caller) = caller.filter(|caller| caller.id != thread::current().id()) else { return };
        // Nothing is ever sent: the result is either a disconnect or a timeout.
        if IN_CALLBACK.get() {
            let _ = caller.ended.recv_timeout(NESTED_WAIT);
        } else {
            let _ = caller.ended.recv();
        }
    }

    fn lost(&self, why: &str) {
        let why = why.to_owned();
        self.worker.send(move |slot| {
            if matches!(slot, EngineSlot::InSession) {
                *slot = EngineSlot::Closed(why);
            }
        });
    }
}

/// The result of waiting for a picture.
pub(crate) enum Next {
    Picture(Box<Picture>),
    NotYet,
    /// The session has ended.
    NoMore,
}

/// Waits up to `most` for a picture.
pub(crate) fn next(handle: &SessionHandle, most: Duration) -> Next {
    let before = Instant::now();
    match handle.wait(most) {
        Some(picture) => Next::Picture(Box::new(picture)),
        // The wait ends early only if no further picture can come.
        None if before.elapsed() < most && !handle.is_running() => Next::NoMore,
        None => Next::NotYet,
    }
}

/// Calls Python with each picture, until the session ends.
fn call_back(handle: &SessionHandle, pictures: &PictureFormat, callback: &Py<PyAny>) {
    const MOMENT: Duration = Duration::from_millis(100);

    loop {
        let picture = match next(handle, MOMENT) {
            Next::Picture(picture) => picture,
            Next::NotYet => continue,
            Next::NoMore => return,
        };
        let attached = interpreter::attach(|py| {
            let copied = pictures.copied(py, &picture);
            let called = copied.and_then(|picture| callback.call1(py, (picture,)));
            if let Err(error) = called {
                error.write_unraisable(py, Some(callback.bind(py)));
            }
        });
        if attached.is_none() {
            return;
        }
    }
}
