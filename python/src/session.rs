//! `Session`: a stream on its own thread.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use dreamframe::{Error, ErrorKind, Event, Outcome};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::errors::{OrRaise, exception};
use crate::picture::PictureFormat;
use crate::running::{Caller, Next, Running, next};
use crate::shared_state::{SharedState, lock};
use crate::worker::{EngineSlot, Worker, deadline, end_later, wait_up_to};
use crate::{frame, interpreter, log, params, results};

/// Seconds that a session has for its remaining frames: two of a large model take longer than 10 on a slow processor, and
/// a stream is lost with a session that does not end in time. The default of [`Session::stop`], too.
pub(crate) const STOP_TIMEOUT: f64 = 30.0;

/// A stream on its own thread: frames are submitted and pictures taken without waiting.
///
/// Created by `StreamDiffusion.start`. All methods are thread-safe.
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
        // Releases the interpreter: the session's threads may need it, and this waits for them.
        let running = &self.running;
        if interpreter::is_in_callback() {
            // The garbage collector may run on a thread of the session.
            let running = running.clone();
            let _ = end_later(move || running.end());
            return;
        }
        let _ = Python::try_attach(|py| py.detach(|| running.end()));
    }
}

impl Session {
    /// Wraps a session that was started.
    pub(crate) fn new(
        py: Python<'_>,
        session: dreamframe::Session,
        (worker, state): (Arc<Worker>, Arc<SharedState>),
        pictures: PictureFormat,
        on_picture: Option<Py<PyAny>>,
    ) -> PyResult<Self> {
        let running = Arc::new(Running {
            handle: session.handle(),
            pictures: Arc::new(pictures),
            session: Mutex::new(Some(session)),
            worker,
            state,
            caller: Mutex::default(),
        });
        let session = Self { running };
        if let Some(callback) = on_picture {
            *lock(&session.running.caller) = Some(Caller::start(&session.running, callback).or_raise(py)?);
        }
        Ok(session)
    }

    /// Returns the shared part of the session.
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
        next.flatten().map(|picture| self.running.pictures.copied(py, &picture)).transpose()
    }
}

#[pymethods]
impl Session {
    /// Submits a copy of a frame, without waiting; it replaces a frame that is not yet processed.
    ///
    /// Returns the frame's number, which is the `source_id` of the picture made from it.
    ///
    /// Raises:
    ///     InvalidFrameError: the frame has another type or shape; the message has the details.
    ///     ClosedError: the session was stopped.
    #[pyo3(signature = (frame: "FrameLike", /) -> "int")]
    fn submit(&self, frame: &Bound<'_, PyAny>) -> PyResult<u64> {
        let py = frame.py();
        interpreter::check_not_forked().or_raise(py)?;
        let frame = frame::copied(frame)?;
        self.running.pictures.follow(frame.format());
        let id = py.detach(|| self.running.handle.submit_frame(frame));
        Ok(id.or_raise(py)?.0)
    }

    /// Returns the newest picture that has not been taken; None if there is none.
    #[pyo3(signature = () -> "Picture | None")]
    fn poll(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        log::deliver(py);
        let picture = self.running.handle.poll();
        picture.map(|picture| self.running.pictures.copied(py, &picture)).transpose()
    }

    /// Waits for a picture that has not been taken. Returns None after `timeout` seconds, or once the session has
    /// ended.
    #[pyo3(signature = (timeout: "float | None" = None) -> "Picture | None")]
    fn wait(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<Option<Py<PyAny>>> {
        self.next_picture(py, timeout)
    }

    /// Waits until `poll` has a picture, at most `timeout` seconds or until the session has ended. Returns whether it has.
    #[pyo3(signature = (timeout: "float", /) -> "bool")]
    fn _wait_ready(&self, py: Python<'_>, timeout: f64) -> PyResult<bool> {
        let handle = &self.running.handle;
        let ready = wait_up_to(py, Some(timeout), |most| match handle.wait_ready(most) {
            false if handle.is_running() => None,
            is_ready => Some(is_ready),
        })?;
        Ok(ready.unwrap_or(false))
    }

    /// Iterates over pictures until the session ends.
    // -> "Self"
    fn __iter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    // -> "Picture"
    fn __next__(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        self.next_picture(py, None)
    }

    /// Iterates over pictures until the session ends, in `async for`.
    // -> "AsyncIterator[Picture]"
    fn __aiter__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        slf.py().import("dreamframe._async")?.getattr("pictures")?.call1((slf,))
    }

    /// Changes parameters. The update is validated as a whole now, prepared in the background, and applied between two
    /// frames.
    ///
    /// A later failure, such as a missing model, is reported by an event with the ticket's version.
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
        let patch = params::patch(py, patch, changes, || self.running.handle.params())?;
        let ticket = py.detach(|| self.running.handle.update(&patch)).or_raise(py)?;
        results::ticket(py, ticket)
    }

    /// Sets the image of `external` processors, from the next frame on: the control image of the ControlNet whose
    /// `model_id` is `controlnet`; without one, that of all ControlNets without an image of their own, and the result of
    /// `external` in `image_preprocessing` and `image_postprocessing`.
    ///
    /// The image has any size, is fitted to the size of the stream as frames are, and stays until it is replaced or
    /// cleared. Without an image, `external` returns its input.
    ///
    /// Raises:
    ///     InvalidArgumentError: the id is empty, or more than 64 ControlNets have an image.
    ///     ClosedError: the session was stopped.
    #[pyo3(signature = (image: "FrameLike", /, controlnet: "str | None" = None) -> "None")]
    fn set_external_image(&self, image: &Bound<'_, PyAny>, controlnet: Option<&str>) -> PyResult<()> {
        let pixels = frame::pixels(image)?;
        let set = pixels.view().and_then(|view| self.running.handle.set_external_image(controlnet, &view));
        set.or_raise(image.py())
    }

    /// Removes the image that `set_external_image` set for `controlnet`, if there is one.
    ///
    /// Raises:
    ///     ClosedError: the session was stopped.
    #[pyo3(signature = (controlnet: "str | None" = None) -> "None")]
    fn clear_external_image(&self, py: Python<'_>, controlnet: Option<&str>) -> PyResult<()> {
        self.running.handle.clear_external_image(controlnet).or_raise(py)
    }

    /// Sets the style image of the IP-Adapter, as `ip_adapter_style_image_url`: the central square, scaled to 512x512 if it
    /// is larger. It is encoded in the background.
    ///
    /// Raises:
    ///     ClosedError: the session was stopped.
    #[pyo3(signature = (image: "FrameLike", /) -> "Ticket")]
    fn set_style_image(&self, image: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        let py = image.py();
        let copied = frame::copied(image)?;
        let ticket = py.detach(|| self.running.handle.set_style_image(&copied.view())).or_raise(py)?;
        results::ticket(py, ticket)
    }

    /// Changes the prompt gradually over `num_steps` pictures, one step with each.
    ///
    /// Raises:
    ///     InvalidParamsError: the prompts are not valid values of `prompt`.
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
        results::ticket(py, ticket)
    }

    /// Returns a context manager for a `with` block: changes to its parameters apply together when it ends without an
    /// error.
    #[pyo3(signature = () -> "Edit")]
    fn edit<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        results::edit(slf.as_any())
    }

    /// Returns the effect and the cost that a change would have, without applying it.
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
        let patch = params::patch(py, patch, changes, || self.running.handle.params())?;
        results::plan(py, &py.detach(|| self.running.handle.plan(&patch)).or_raise(py)?)
    }

    /// Waits until an update has ended. Returns "applied", or "superseded" if later updates changed all of its fields.
    ///
    /// Raises:
    ///     DreamframeError: the reason for which the update was rejected.
    ///     TimeoutError: it has not ended after `timeout` seconds.
    ///     ClosedError: the session ended first.
    #[pyo3(signature = (
        ticket: "Ticket",
        timeout: "float | None" = None,
    ) -> "typing.Literal['applied', 'superseded']")]
    fn wait_for(&self, ticket: &Bound<'_, PyAny>, timeout: Option<f64>) -> PyResult<&'static str> {
        let py = ticket.py();
        let accepted = results::accepted(ticket)?;
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

    /// Returns the events that have not been taken, oldest first.
    #[pyo3(signature = () -> "list[Event]")]
    fn events(&self, py: Python<'_>) -> PyResult<Vec<Py<PyAny>>> {
        log::deliver(py);
        self.running.handle.events().try_iter().map(|event| results::event(py, &event)).collect()
    }

    /// Waits for the next event; None after `timeout` seconds.
    #[pyo3(signature = (timeout: "float | None" = None) -> "Event | None")]
    fn wait_event(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<Option<Py<PyAny>>> {
        let events = self.running.handle.events();
        let event: Option<Event> = wait_up_to(py, timeout, |most| events.next_within(most))?;
        event.map(|event| results::event(py, &event)).transpose()
    }

    /// Returns statistics of the session.
    #[pyo3(signature = () -> "Stats")]
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        results::serialized(py, &self.running.handle.stats())
    }

    /// The desired parameters: those accepted last, minus updates that were rejected since.
    #[getter] // -> "StreamDiffusionParams"
    pub(crate) fn params<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        params::to_python(py, &self.running.handle.params())
    }

    /// The version of the newest update applied; 0 before the first.
    #[getter]
    fn active_version(&self) -> u64 {
        self.running.handle.active_version()
    }

    /// Whether the session accepts frames.
    #[getter]
    fn is_running(&self) -> bool {
        self.running.handle.is_running()
    }

    /// Ends the session. A frame that waits is still processed; then the stream can be called again. Has no effect on a
    /// stopped session. In the `on_picture` callback of another session, this waits at most 5 seconds for this
    /// session's callback, so that two sessions that stop each other do not deadlock.
    ///
    /// Raises:
    ///     TimeoutError: the remaining work takes longer than `timeout` seconds; the session then ends in the
    ///         background, and the stream is closed with it.
    #[pyo3(signature = (timeout: "float" = 30.0))]
    pub(crate) fn stop(&self, py: Python<'_>, timeout: f64) -> PyResult<()> {
        let left =
            deadline(py, Some(timeout))?.map_or(Duration::MAX, |end| end.saturating_duration_since(Instant::now()));
        interpreter::check_not_forked().or_raise(py)?;
        interpreter::check_not_in_callback().or_raise(py)?;
        let Some(session) = lock(&self.running.session).take() else { return Ok(()) };
        let running = self.running.clone();
        // On the stream's own thread, which is idle while the session runs, so that the wait can be interrupted.
        let stopped = self.running.worker.call_anyway(py, move |slot| {
            let stopped = session.stop(left);
            match stopped {
                Ok(engine) => {
                    running.state.update(&engine);
                    if matches!(slot, EngineSlot::InSession) {
                        *slot = EngineSlot::Available(Box::new(engine));
                    }
                    Ok(())
                }
                Err(error) => {
                    *slot =
                        EngineSlot::Closed("the stream was lost with its session, which did not stop in time".into());
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
        self.stop(py, STOP_TIMEOUT)
    }

    fn __repr__(&self) -> String {
        let state = if self.is_running() { "running" } else { "stopped" };
        format!("<Session {state}, version {}>", self.active_version())
    }
}
