//! `Session`: a stream on its own thread, for Python.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use dreamframe::{Error, ErrorKind, Event, Outcome};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::errors::{OrRaise, exception};
use crate::running::{Caller, Next, Running, next};
use crate::told::{Told, lock};
use crate::worker::{Place, Worker, deadline, wait_up_to};
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
    running: Arc<Running>,
}

impl Drop for Session {
    fn drop(&mut self) {
        // Without the interpreter: the session's threads may want it, and are waited for.
        let running = &self.running;
        let _ = Python::try_attach(|py| py.detach(|| running.end()));
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
        let running = Arc::new(Running {
            handle: handle.clone(),
            session: Mutex::new(Some(session)),
            worker,
            told,
            caller: Mutex::default(),
        });
        let session = Self { running };
        if let Some(callback) = on_picture {
            *lock(&session.running.caller) = Some(Caller::start(handle, callback).or_raise(py)?);
        }
        Ok(session)
    }

    /// What others know of it.
    pub(crate) fn running(&self) -> &Arc<Running> {
        &self.running
    }

    fn next_picture(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<Option<Py<PyAny>>> {
        let handle = &self.running.handle;
        let next = wait_up_to(py, timeout, |most| match next(handle, most) {
            Next::Picture(picture) => Some(Some(picture)),
            Next::NotYet => None,
            Next::NoMore => Some(None),
        })?;
        next.flatten().map(|picture| picture::copied(py, &picture)).transpose()
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
        foreign::check_home().or_raise(py)?;
        let frame = frame::copied(frame)?;
        let id = py.detach(|| self.running.handle.submit_frame(frame));
        Ok(id.or_raise(py)?.0)
    }

    /// Takes the newest picture, if there is one that nobody has taken.
    #[pyo3(signature = () -> "Picture | None")]
    fn poll(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        log::deliver(py);
        self.running.handle.poll().map(|picture| picture::copied(py, &picture)).transpose()
    }

    /// Waits for a picture that nobody has taken; None after `timeout` seconds, and once the session has ended.
    #[pyo3(signature = (timeout: "float | None" = None) -> "Picture | None")]
    fn wait(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<Option<Py<PyAny>>> {
        self.next_picture(py, timeout)
    }

    /// Returns pictures as they come, until the session ends.
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
    pub(crate) fn update(
        &self,
        py: Python<'_>,
        patch: Option<&Bound<'_, PyAny>>,
        changes: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Py<PyAny>> {
        let patch = params::patch(py, patch, changes)?;
        let ticket = py.detach(|| self.running.handle.update(&patch)).or_raise(py)?;
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
        let ticket = py.detach(|| self.running.handle.transition(&transition)).or_raise(py)?;
        facts::ticket(py, ticket)
    }

    /// Opens the parameters for changes in a `with` block, which count together when it ends without an error.
    #[pyo3(signature = () -> "Edit")]
    fn edit<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        facts::edit(slf.as_any())
    }

    /// Returns what a change would come to, and what it would cost; changes nothing.
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
        facts::plan(py, &py.detach(|| self.running.handle.plan(&patch)).or_raise(py)?)
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
        let (handle, ticket) = (&self.running.handle, &accepted.get().0);
        let outcome = wait_up_to(py, timeout, |most| match handle.wait_for(ticket, most) {
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
        self.running.handle.events().try_iter().map(|event| facts::event(py, &event)).collect()
    }

    /// Waits for the next event; None after `timeout` seconds.
    #[pyo3(signature = (timeout: "float | None" = None) -> "Event | None")]
    fn wait_event(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<Option<Py<PyAny>>> {
        let events = self.running.handle.events();
        let event: Option<Event> = wait_up_to(py, timeout, |most| events.next_within(most))?;
        event.map(|event| facts::event(py, &event)).transpose()
    }

    /// Returns what the session has done so far, and does now.
    #[pyo3(signature = () -> "Stats")]
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        facts::serialized(py, &self.running.handle.stats())
    }

    /// The desired parameters: what was accepted last, without what was refused since.
    #[getter] // -> "StreamDiffusionParams"
    pub(crate) fn params<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        params::to_python(py, &self.running.handle.params())
    }

    /// The newest version applied; 0 before the first.
    #[getter]
    fn active_version(&self) -> u64 {
        self.running.handle.active_version()
    }

    /// Whether the session takes frames.
    #[getter]
    fn is_running(&self) -> bool {
        self.running.handle.is_running()
    }

    /// Ends the session: the frame that waits is still worked on, and the stream can be called again. Stopping once
    /// more does nothing. From within the `on_picture` of another session, this session's own is waited for no longer than
    /// 5 seconds, so that two sessions which stop each other both go on.
    ///
    /// Raises:
    ///     TimeoutError: what waits takes longer than `timeout` seconds; the session then ends by itself, and with it
    ///         the stream.
    #[pyo3(signature = (timeout: "float" = 5.0))]
    pub(crate) fn stop(&self, py: Python<'_>, timeout: f64) -> PyResult<()> {
        let left =
            deadline(py, Some(timeout))?.map_or(Duration::MAX, |end| end.saturating_duration_since(Instant::now()));
        foreign::check_home().or_raise(py)?;
        let Some(session) = lock(&self.running.session).take() else { return Ok(()) };
        let running = self.running.clone();
        // On the stream's own thread, which is free while the session runs: so the wait can be interrupted.
        let stopped = self.running.worker.call_anyway(py, move |place| {
            let stopped = session.stop(left);
            match stopped {
                Ok(engine) => {
                    running.told.update(&engine);
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
        py.detach(|| self.running.join());
        log::deliver(py);
        stopped.or_raise(py)
    }

    #[pyo3(signature = () -> "Self")]
    fn __enter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    #[pyo3(signature = (*exc: "object") -> "None")]
    fn __exit__(&self, py: Python<'_>, exc: &Bound<'_, PyTuple>) -> PyResult<()> {
        let _ = exc;
        self.stop(py, 5.0)
    }

    fn __repr__(&self) -> String {
        let state = if self.is_running() { "running" } else { "stopped" };
        format!("<Session {state}, version {}>", self.active_version())
    }
}
