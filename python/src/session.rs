//! `Session`: a stream on its own thread, for Python.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use dreamframe::{Error, ErrorKind, Event, Outcome, Picture, SessionHandle};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::errors::{OrRaise, exception, wrong_call};
use crate::stream::Told;
use crate::worker::{Place, Worker, slice, wait};
use crate::{facts, foreign, frame, log, params, picture};

/// A stream on its own thread: frames go in and pictures come out without waiting.
///
/// Made by `StreamDiffusion.start`. Every method may be called from any thread.
///
/// >>> with stream.start() as live:
/// ...     live.submit(frame)
/// ...     picture = live.wait()
#[pyclass(module = "dreamframe", frozen, weakref)]
pub(crate) struct Session {
    inner: Arc<Inner>,
}

/// A session, which several threads know of.
pub(crate) struct Inner {
    handle: SessionHandle,
    session: Mutex<Option<dreamframe::Session>>,
    worker: Arc<Worker>,
    told: Arc<Told>,
    caller: Mutex<Option<JoinHandle<()>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Inner {
    /// Ends the session without doing what waits. Without the interpreter: its threads may want it.
    pub(crate) fn end(&self) {
        // Waits for the frame under way.
        let session = lock(&self.session).take();
        let ended = session.is_some();
        drop(session);
        self.join();
        if ended {
            self.lost("the stream ended with its session, which was not stopped");
        }
    }

    /// Waits for the last call of `on_picture`, but for one that is waiting here itself.
    fn join(&self) {
        let caller = lock(&self.caller).take();
        if let Some(caller) = caller.filter(|caller| caller.thread().id() != thread::current().id()) {
            // It does not panic: what Python raises is told and goes on.
            let _ = caller.join();
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

impl Drop for Session {
    fn drop(&mut self) {
        // Without the interpreter: the session's threads may want it, and are waited for.
        let inner = &self.inner;
        let _ = Python::try_attach(|py| py.detach(|| inner.end()));
    }
}

impl Session {
    /// Takes a session that has started.
    pub(crate) fn new(
        py: Python<'_>,
        session: dreamframe::Session,
        worker: Arc<Worker>,
        told: Arc<Told>,
        on_picture: Option<Py<PyAny>>,
    ) -> PyResult<Self> {
        let handle = session.handle();
        let inner = Arc::new(Inner {
            handle: handle.clone(),
            session: Mutex::new(Some(session)),
            worker,
            told,
            caller: Mutex::default(),
        });
        let session = Self { inner };
        if let Some(callback) = on_picture {
            let caller = thread::Builder::new().name("dreamframe-pictures".into());
            let caller = caller.spawn(move || call_back(&handle, &callback)).map_err(|error| {
                exception(py, &Error::new(ErrorKind::Device, "cannot start a thread").with_source(error))
            })?;
            *lock(&session.inner.caller) = Some(caller);
        }
        Ok(session)
    }

    /// What others know of it.
    pub(crate) fn inner(&self) -> &Arc<Inner> {
        &self.inner
    }

    /// Asks again and again until there is an answer or `timeout` seconds are over.
    fn wait_up_to<T: Send>(
        &self,
        py: Python<'_>,
        timeout: Option<f64>,
        mut ask: impl FnMut(Duration) -> Option<T> + Send,
    ) -> PyResult<Option<T>> {
        let deadline = deadline(py, timeout)?;
        let answer = wait(py, move || {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            match ask(slice(left)) {
                None if left == Some(Duration::ZERO) => Some(None),
                None => None,
                answer => Some(answer),
            }
        });
        log::deliver(py);
        answer
    }

    fn next_picture(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<Option<Py<PyAny>>> {
        let handle = &self.inner.handle;
        let next = self.wait_up_to(py, timeout, |most| match next(handle, most) {
            Next::Picture(picture) => Some(Some(picture)),
            Next::NotYet => None,
            Next::NoMore => Some(None),
        })?;
        next.flatten().map(|picture| picture::copied(py, &picture)).transpose()
    }
}

/// What came of waiting for a picture.
enum Next {
    Picture(Box<Picture>),
    NotYet,
    /// The session has ended.
    NoMore,
}

fn next(handle: &SessionHandle, most: Duration) -> Next {
    let before = Instant::now();
    match handle.wait(most) {
        Some(picture) => Next::Picture(Box::new(picture)),
        // Only where no picture comes any more, waiting ends early.
        None if before.elapsed() < most && !handle.is_running() => Next::NoMore,
        None => Next::NotYet,
    }
}

/// When `timeout` seconds are over; never, without one.
fn deadline(py: Python<'_>, timeout: Option<f64>) -> PyResult<Option<Instant>> {
    let Some(seconds) = timeout else { return Ok(None) };
    let duration = Duration::try_from_secs_f64(seconds.min(1e9)).map_err(|_| {
        wrong_call(py, format!("timeout is {seconds}, but must be seconds from 0 on, or None for no end"))
    })?;
    Ok(Instant::now().checked_add(duration))
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

#[pymethods]
impl Session {
    /// Copies a frame and hands it over, then returns at once; a frame that still waits is replaced.
    ///
    /// The number that comes back is the `source_id` of the picture made from it.
    ///
    /// Raises:
    ///     InvalidFrameError: the frame has another type or shape; the text says what to do about it.
    ///     ClosedError: the session was stopped.
    #[pyo3(signature = (frame: "FrameLike", /) -> "int")]
    fn submit(&self, frame: &Bound<'_, PyAny>) -> PyResult<u64> {
        let py = frame.py();
        let pixels = frame::pixels(frame)?;
        let id = py.detach(|| self.inner.handle.submit(&pixels.view()?));
        Ok(id.or_raise(py)?.0)
    }

    /// Takes the newest picture, if there is one that nobody has taken.
    #[pyo3(signature = () -> "Picture | None")]
    fn poll(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        log::deliver(py);
        self.inner.handle.poll().map(|picture| picture::copied(py, &picture)).transpose()
    }

    /// Waits for a picture that nobody has taken; None after `timeout` seconds, and once the session has ended.
    #[pyo3(signature = (timeout: "float | None" = None) -> "Picture | None")]
    fn wait(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<Option<Py<PyAny>>> {
        self.next_picture(py, timeout)
    }

    /// Gives pictures as they come, until the session ends.
    // -> "Self"
    fn __iter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    // -> "Picture"
    fn __next__(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        self.next_picture(py, None)
    }

    /// Changes parameters: checked now and as a whole, prepared beside the frames, and applied between two of them.
    ///
    /// What turns out later, such as a missing model, comes as an event with the ticket's version.
    ///
    /// Raises:
    ///     InvalidParamsError: a value is out of range; `violations` lists every one, and nothing has changed.
    ///     ClosedError: the session was stopped.
    #[pyo3(signature = (
        patch: "StreamDiffusionParams | Mapping[str, typing.Any] | None" = None,
        /,
        **changes: "Unpack[ParamsPatch]",
    ) -> "Ticket")]
    fn update(
        &self,
        py: Python<'_>,
        patch: Option<&Bound<'_, PyAny>>,
        changes: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Py<PyAny>> {
        let patch = params::patch(py, patch, changes)?;
        let ticket = py.detach(|| self.inner.handle.update(&patch)).or_raise(py)?;
        facts::ticket(py, ticket)
    }

    /// Changes the prompt little by little, over `num_steps` pictures; one step is taken with each.
    ///
    /// Raises:
    ///     InvalidParamsError: the prompts are not what `prompt` may be.
    ///     ClosedError: the session was stopped.
    #[pyo3(signature = (
        target_prompts: "str | Sequence[tuple[str, float]]",
        num_steps: "int | None" = None,
        temporal_interpolation_method: "Interpolation | None" = None,
    ) -> "Ticket")]
    fn transition(
        &self,
        target_prompts: &Bound<'_, PyAny>,
        num_steps: Option<u32>,
        temporal_interpolation_method: Option<&str>,
    ) -> PyResult<Py<PyAny>> {
        let py = target_prompts.py();
        let transition = params::transition(target_prompts, num_steps, temporal_interpolation_method)?;
        let ticket = py.detach(|| self.inner.handle.transition(&transition)).or_raise(py)?;
        facts::ticket(py, ticket)
    }

    /// Opens the parameters for changes in a `with` block, which count together when it ends without an error.
    #[pyo3(signature = () -> "Edit")]
    fn edit<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        facts::edit(slf.as_any())
    }

    /// Says what a change would come to, and what it would cost; changes nothing.
    ///
    /// Raises:
    ///     InvalidParamsError: a value is out of range; `violations` lists every one.
    #[pyo3(signature = (
        patch: "StreamDiffusionParams | Mapping[str, typing.Any] | None" = None,
        /,
        **changes: "Unpack[ParamsPatch]",
    ) -> "Plan")]
    fn plan(
        &self,
        py: Python<'_>,
        patch: Option<&Bound<'_, PyAny>>,
        changes: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Py<PyAny>> {
        let patch = params::patch(py, patch, changes)?;
        facts::plan(py, &py.detach(|| self.inner.handle.plan(&patch)).or_raise(py)?)
    }

    /// Waits until an update has ended, and says how: "applied", or "superseded" where later ones changed all of it.
    ///
    /// Raises:
    ///     DreamframeError: what the update was rejected for.
    ///     TimeoutError: it has not ended after `timeout` seconds.
    ///     ClosedError: the session ended first.
    #[pyo3(signature = (
        ticket: "Ticket",
        timeout: "float | None" = None,
    ) -> "typing.Literal['applied', 'superseded']")]
    fn wait_for(&self, ticket: &Bound<'_, PyAny>, timeout: Option<f64>) -> PyResult<&'static str> {
        let py = ticket.py();
        let accepted = facts::accepted(ticket)?;
        let (handle, ticket) = (&self.inner.handle, &accepted.get().0);
        let outcome = self.wait_up_to(py, timeout, |most| match handle.wait_for(ticket, most) {
            Err(error) if error.kind() == ErrorKind::Timeout => None,
            ended => Some(ended),
        })?;
        let late = || Err(Error::new(ErrorKind::Timeout, format!("update {} has not ended in time", ticket.version)));
        match outcome.unwrap_or_else(late).or_raise(py)? {
            Outcome::Superseded => Ok("superseded"),
            Outcome::Rejected(error) => Err(exception(py, &error)),
            Outcome::Applied | _ => Ok("applied"),
        }
    }

    /// Takes the events that there are, oldest first.
    #[pyo3(signature = () -> "list[Event]")]
    fn events(&self, py: Python<'_>) -> PyResult<Vec<Py<PyAny>>> {
        log::deliver(py);
        self.inner.handle.events().try_iter().map(|event| facts::event(py, &event)).collect()
    }

    /// Waits for the next event; None after `timeout` seconds.
    #[pyo3(signature = (timeout: "float | None" = None) -> "Event | None")]
    fn wait_event(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<Option<Py<PyAny>>> {
        let events = self.inner.handle.events();
        let event: Option<Event> = self.wait_up_to(py, timeout, |most| events.next_within(most))?;
        event.map(|event| facts::event(py, &event)).transpose()
    }

    /// Says what the session has done so far, and does now.
    #[pyo3(signature = () -> "Stats")]
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        facts::serialized(py, &self.inner.handle.stats())
    }

    /// The desired parameters: what was accepted last, without what was refused since.
    #[getter] // -> "StreamDiffusionParams"
    fn params<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        params::to_python(py, &self.inner.handle.params())
    }

    /// The newest version applied; 0 before the first.
    #[getter]
    fn active_version(&self) -> u64 {
        self.inner.handle.active_version()
    }

    /// Whether the session takes frames.
    #[getter]
    fn is_running(&self) -> bool {
        self.inner.handle.is_running()
    }

    /// Ends the session: the frame that waits is still worked on, and the stream can be called again. Stopping once
    /// more does nothing.
    ///
    /// Raises:
    ///     TimeoutError: what waits takes longer than `timeout` seconds; the session then ends by itself, and with it
    ///         the stream.
    #[pyo3(signature = (timeout: "float" = 5.0))]
    fn stop(&self, py: Python<'_>, timeout: f64) -> PyResult<()> {
        let left =
            deadline(py, Some(timeout))?.map_or(Duration::MAX, |end| end.saturating_duration_since(Instant::now()));
        let Some(session) = lock(&self.inner.session).take() else { return Ok(()) };
        let inner = self.inner.clone();
        // On the stream's own thread, which is free while the session runs: so the wait can be interrupted.
        let stopped = self.inner.worker.call_anyway(py, move |place| {
            let stopped = session.stop(left);
            match stopped {
                Ok(engine) => {
                    inner.told.update(&engine);
                    if matches!(place, Place::InSession) {
                        *place = Place::Here(Box::new(engine));
                    }
                    Ok(())
                }
                Err(error) => {
                    *place = Place::Gone("the stream was lost with its session, which did not stop in time".into());
                    Err(error)
                }
            }
        })?;
        py.detach(|| self.inner.join());
        log::deliver(py);
        stopped.or_raise(py)
    }

    #[pyo3(signature = () -> "Self")]
    fn __enter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    #[pyo3(signature = (
        exc_type: "type[BaseException] | None",
        exc: "BaseException | None",
        traceback: "TracebackType | None",
        /,
    ) -> "None")]
    fn __exit__(
        &self,
        py: Python<'_>,
        exc_type: &Bound<'_, PyAny>,
        exc: &Bound<'_, PyAny>,
        traceback: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let _ = (exc_type, exc, traceback);
        self.stop(py, 5.0)
    }

    fn __repr__(&self) -> String {
        let state = if self.is_running() { "running" } else { "stopped" };
        format!("<Session {state}, version {}>", self.active_version())
    }
}
