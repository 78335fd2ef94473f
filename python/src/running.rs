//! A session as several threads know it, and how pictures are waited for.

use std::cell::Cell;
use std::mem;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use dreamframe::{Error, ErrorKind, Picture, SessionHandle};
use pyo3::prelude::*;

use crate::told::{Told, lock};
use crate::worker::{Place, Worker};
use crate::{foreign, picture};

/// A session, which several threads know of.
pub(crate) struct Running {
    pub(crate) handle: SessionHandle,
    pub(crate) session: Mutex<Option<dreamframe::Session>>,
    pub(crate) worker: Arc<Worker>,
    pub(crate) told: Arc<Told>,
    pub(crate) caller: Mutex<Option<Caller>>,
}

/// The thread that calls `on_picture`.
pub(crate) struct Caller {
    id: ThreadId,
    /// Disconnected when it has made its last call.
    ended: Receiver<()>,
}

/// How long a thread that is in an `on_picture` waits for another session's: two that stop each other's sessions would
/// otherwise wait for ever. The documentation names the figure.
const NESTED_WAIT: Duration = Duration::from_secs(5);

thread_local! {
    static IN_CALLBACK: Cell<bool> = const { Cell::new(false) };
}

impl Caller {
    /// Starts to call `callback` with each picture.
    ///
    /// # Errors
    ///
    /// `Device` where the system gives no more threads.
    pub(crate) fn start(handle: SessionHandle, callback: Py<PyAny>) -> dreamframe::Result<Self> {
        let (sender, ended) = channel();
        let run = move || {
            IN_CALLBACK.set(true);
            call_back(&handle, &callback);
            drop(sender);
        };
        let thread = thread::Builder::new().name("dreamframe-pictures".into()).spawn(run);
        let thread =
            thread.map_err(|error| Error::new(ErrorKind::Device, "failed to start a thread").with_source(error))?;
        Ok(Self { id: thread.thread().id(), ended })
    }
}

impl Running {
    /// Ends the session without doing what waits. Without the interpreter: its threads may want it.
    pub(crate) fn end(&self) {
        let session = lock(&self.session).take();
        if foreign::is_forked() {
            // There is no thread to wait for.
            mem::forget((session, lock(&self.caller).take()));
            return;
        }
        // Waits for the frame under way.
        let ended = session.is_some();
        drop(session);
        self.join();
        if ended {
            self.lost("the stream ended with its session, which was not stopped");
        }
    }

    /// Waits for the last call of `on_picture`, but for one that is waiting here itself, and from within that of another
    /// session no longer than [`NESTED_WAIT`].
    pub(crate) fn join(&self) {
        let caller = lock(&self.caller).take();
        let Some(caller) = caller.filter(|caller| caller.id != thread::current().id()) else { return };
        // Nothing is ever sent: either answer is that it has ended, or that it takes too long.
        if IN_CALLBACK.get() {
            let _ = caller.ended.recv_timeout(NESTED_WAIT);
        } else {
            let _ = caller.ended.recv();
        }
    }

    fn lost(&self, why: &str) {
        let why = why.to_owned();
        self.worker.send(move |place| {
            if matches!(place, Place::InSession) {
                *place = Place::Gone(why);
            }
        });
    }
}

/// What came of waiting for a picture.
pub(crate) enum Next {
    Picture(Box<Picture>),
    NotYet,
    /// The session has ended.
    NoMore,
}

/// Waits for a picture, for `most` at the longest.
pub(crate) fn next(handle: &SessionHandle, most: Duration) -> Next {
    let before = Instant::now();
    match handle.wait(most) {
        Some(picture) => Next::Picture(Box::new(picture)),
        // Only where no picture comes any more, waiting ends early.
        None if before.elapsed() < most && !handle.is_running() => Next::NoMore,
        None => Next::NotYet,
    }
}

/// Calls Python with each picture, until the session ends.
fn call_back(handle: &SessionHandle, callback: &Py<PyAny>) {
    const MOMENT: Duration = Duration::from_millis(100);

    loop {
        let picture = match next(handle, MOMENT) {
            Next::Picture(picture) => picture,
            Next::NotYet => continue,
            Next::NoMore => return,
        };
        let attached = foreign::attach(|py| {
            let called = picture::copied(py, &picture).and_then(|picture| callback.call1(py, (picture,)));
            if let Err(error) = called {
                error.write_unraisable(py, Some(callback.bind(py)));
            }
        });
        if attached.is_none() {
            return;
        }
    }
}
