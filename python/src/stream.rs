//! `StreamDiffusion`: an engine for Python.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};

use dreamframe::{
    Engine, EngineOptions, Error, ErrorKind, ParamsPatch, PixelFormat, SessionOptions, Transition, Update,
};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::errors::OrRaise;
use crate::frames::Frames;
use crate::options::{Models, check_callable, check_device, choose, count, text};
use crate::picture::{self, Room};
use crate::running::Running;
use crate::session::Session;
use crate::told::{Facts, Told, lock};
use crate::work::{Processed, process, report};
use crate::worker::{Current, Place, Worker};
use crate::{facts, frame, log, params};

/// A real-time image-to-image stream.
///
/// Calls are made one at a time: a second thread that calls in waits for the first. Other threads of Python go on while
/// a frame is worked on, models load, or a call waits; Ctrl-C ends any of these at once. What was begun then may still
/// take effect.
///
/// >>> with StreamDiffusion(StreamDiffusionParams.demo()) as stream:
/// ...     picture = stream(frame)
#[pyclass(module = "dreamframe", frozen, weakref)]
pub(crate) struct StreamDiffusion {
    worker: Arc<Worker>,
    told: Arc<Told>,
    output: PixelFormat,
    closed: AtomicBool,
    session: Mutex<Weak<Running>>,
}

#[pymethods]
impl StreamDiffusion {
    /// Loads the models that `params` names; without `params`, the demo model with its own settings.
    ///
    /// `models` is `demo` for the model in the package, or a folder: a model, or a folder of models. Options that are
    /// None are the library's own choice. `progress(done, total, what)` is called while weights load, with numbers of
    /// the network `what`; what it raises ends loading.
    ///
    /// Raises:
    ///     InvalidParamsError: a value is out of range; `violations` lists every one, with its path.
    ///     ModelNotFoundError: a model is not under `models`.
    ///     BadModelError: a file is broken, or its names and shapes do not fit.
    ///     UnsupportedError: the device, executor or dtype is not of this machine.
    ///     OutOfMemoryError: there is too little memory.
    #[new]
    #[pyo3(signature = (
        params: "StreamDiffusionParams | Mapping[str, typing.Any] | None" = None,
        *,
        models: "str | PathLike[str]" = Models::default(),
        device: "typing.Literal['auto', 'cpu']" = "auto",
        executor: "typing.Literal['cpu', 'reference'] | None" = None,
        dtype: "typing.Literal['auto', 'f32', 'f16', 'bf16', 'int8'] | None" = None,
        threads: "int | None" = None,
        cfg_type: "typing.Literal['none', 'full', 'self', 'initialize'] | None" = None,
        noise: "typing.Literal['philox', 'torch-cpu'] | None" = None,
        fit: "typing.Literal['cover', 'fit', 'stretch'] | None" = None,
        output: "typing.Literal['rgba', 'bgra', 'rgb'] | None" = None,
        progress: "Callable[[int, int, str], object] | None" = None,
    ))]
    #[expect(clippy::too_many_arguments, reason = "each is a keyword in Python")]
    fn new(
        py: Python<'_>,
        params: Option<&Bound<'_, PyAny>>,
        models: Models,
        device: &str,
        executor: Option<&Bound<'_, PyAny>>,
        dtype: Option<&Bound<'_, PyAny>>,
        threads: Option<&Bound<'_, PyAny>>,
        cfg_type: Option<&Bound<'_, PyAny>>,
        noise: Option<&Bound<'_, PyAny>>,
        fit: Option<&Bound<'_, PyAny>>,
        output: Option<&Bound<'_, PyAny>>,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<Self> {
        log::refresh(py);
        check_device(device).or_raise(py)?;
        check_callable("progress", progress.as_ref().map(|progress| progress.bind(py)))?;
        let mut options = EngineOptions::default();
        options.threads = threads.map(count).transpose()?;
        choose("executor", executor, &mut options.executor)?;
        choose("dtype", dtype, &mut options.dtype)?;
        choose("cfg_type", cfg_type, &mut options.cfg_type)?;
        choose("noise", noise, &mut options.noise)?;
        if let Some(fit) = fit {
            options.fit = facts::fit(py, &text("fit", fit)?)?;
        }
        if let Some(output) = output {
            options.output = picture::output(py, &text("output", output)?)?;
        }
        let output = options.output;
        let mut builder = Engine::builder().models(models.0).options(options);
        if let Some(params) = params {
            builder = builder.params(params::whole(params)?);
        }
        let (told, current) = (Arc::new(Told::default()), Arc::new(Current::default()));
        let (watched, failed) = (current.clone(), told.clone());
        let builder = builder.progress(move |loaded| match &progress {
            _ if watched.is_abandoned() => ControlFlow::Break(()),
            Some(callback) => report(callback, loaded, &failed),
            None => ControlFlow::Continue(()),
        });
        let worker = Arc::new(Worker::start(current).or_raise(py)?);
        let facts = told.clone();
        let built = worker.call(py, move |place| {
            let engine = builder.build()?;
            facts.update(&engine);
            *place = Place::Here(Box::new(engine));
            Ok(())
        })?;
        built.map_err(|error| told.error(py, &error))?;
        Ok(Self { worker, told, output, closed: AtomicBool::new(false), session: Mutex::default() })
    }

    /// Works on one frame, and gives the picture of the frame `delay` calls ago.
    ///
    /// A frame whose rows lie whole in memory is not copied; nobody may write to it before the picture is there.
    ///
    /// Raises:
    ///     InvalidFrameError: the frame has another type or shape; the text says what to do about it.
    ///     ClosedError: the stream was closed.
    #[pyo3(signature = (frame: "FrameLike", /) -> "Picture")]
    pub(crate) fn __call__(&self, frame: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        let py = frame.py();
        let mut pixels = frame::pixels(frame)?;
        loop {
            let size = lock(&self.told.facts).size;
            let room = Room::new(py, self.output, size)?;
            let told = self.told.clone();
            let done = self.worker.call(py, move |place| process(place, &told, pixels, room))?;
            match done {
                Processed::Picture(result, lent, room) => {
                    drop(lent);
                    return room.done(py, &result.map_err(|error| self.told.error(py, &error))?);
                }
                // An update came between.
                Processed::OtherSize(back) => pixels = back,
            }
        }
    }

    /// Changes parameters before the next frame: by a mapping, by keywords, or by both.
    ///
    /// Lists are replaced; objects such as `ip_adapter` keep the fields that are not named. Gives what the change cost,
    /// None where nothing changed.
    ///
    /// Raises:
    ///     InvalidParamsError: a value is out of range; `violations` lists every one, and nothing has changed.
    ///     ModelNotFoundError: a model that is asked for is not there; nothing has changed.
    #[pyo3(signature = (
        patch: "StreamDiffusionParams | Mapping[str, typing.Any] | None" = None,
        /,
        **changes: "Unpack[ParamsPatch]",
    ) -> "Cost | None")]
    fn update(
        &self,
        py: Python<'_>,
        patch: Option<&Bound<'_, PyAny>>,
        changes: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Option<Py<PyAny>>> {
        let patch = params::patch(py, patch, changes)?;
        self.change(py, move |engine| engine.update(&patch))
    }

    /// Opens the parameters for changes in a `with` block, which count together when it ends without an error.
    ///
    /// >>> with stream.edit() as params:
    /// ...     params.guidance_scale = 1.4
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
        let patch: ParamsPatch = params::patch(py, patch, changes)?;
        let plan = self.worker.call(py, move |place| place.engine()?.plan(&patch))?;
        facts::plan(py, &plan.or_raise(py)?)
    }

    /// Changes the prompt little by little, over the next `num_steps` pictures.
    ///
    /// Raises:
    ///     InvalidParamsError: the prompts are not what `prompt` may be.
    #[pyo3(signature = (
        target_prompts: "str | Sequence[tuple[str, float]]",
        num_steps: "int | None" = None,
        temporal_interpolation_method: "Interpolation | None" = None,
    ) -> "Cost | None")]
    fn transition(
        &self,
        target_prompts: &Bound<'_, PyAny>,
        num_steps: Option<u32>,
        temporal_interpolation_method: Option<&str>,
    ) -> PyResult<Option<Py<PyAny>>> {
        let py = target_prompts.py();
        let transition: Transition = params::transition(target_prompts, num_steps, temporal_interpolation_method)?;
        self.change(py, move |engine| engine.transition(&transition))
    }

    /// Works on one frame after another, and gives a picture for each.
    #[pyo3(signature = (source: "Iterable[FrameLike]", /) -> "Iterator[Picture]")]
    fn frames(slf: &Bound<'_, Self>, source: &Bound<'_, PyAny>) -> PyResult<Frames> {
        Ok(Frames { stream: slf.clone().unbind(), source: source.try_iter()?.unbind() })
    }

    /// Goes on on a thread of its own, until the session is stopped; other calls of the stream raise till then.
    ///
    /// `on_picture` is called with each picture, on a thread of its own; nothing is left for `poll` then. What it raises
    /// goes to `sys.unraisablehook`, and pictures go on.
    /// `failed_frame` says what becomes of a frame that fails: the last picture again (`repeat`), or none (`skip`).
    ///
    /// Raises:
    ///     ClosedError: the stream was closed.
    #[pyo3(signature = (
        *,
        on_picture: "Callable[[Picture], object] | None" = None,
        failed_frame: "typing.Literal['repeat', 'skip'] | None" = None,
    ) -> "Session")]
    fn start(&self, py: Python<'_>, on_picture: Option<Py<PyAny>>, failed_frame: Option<&str>) -> PyResult<Session> {
        log::refresh(py);
        check_callable("on_picture", on_picture.as_ref().map(|callback| callback.bind(py)))?;
        let mut options = SessionOptions::default();
        if let Some(name) = failed_frame {
            options.failed_frame = facts::failed_frame(py, name)?;
        }
        self.begin(py, options, on_picture)
    }

    /// The parameters in use, as a copy.
    #[getter] // -> "StreamDiffusionParams"
    fn params<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        params::to_python(py, &self.told.facts().params)
    }

    /// What was accepted at the start and means something else here.
    #[getter] // -> "list[Notice]"
    fn notices<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyAny>>> {
        facts::notices(py, &self.told.facts().notices)
    }

    /// Width and height of pictures, in pixels.
    #[getter]
    fn size(&self) -> (u32, u32) {
        lock(&self.told.facts).size
    }

    /// How many frames later than its frame a picture leaves.
    #[getter]
    fn delay(&self) -> usize {
        lock(&self.told.facts).delay
    }

    /// What runs the networks and what it uses of this machine, in words.
    #[getter]
    fn device(&self) -> String {
        self.told.facts().device
    }

    /// How many threads work on a frame.
    #[getter]
    fn threads(&self) -> usize {
        lock(&self.told.facts).threads
    }

    /// Where the base model was found.
    #[getter]
    fn model(&self) -> String {
        self.told.facts().model
    }

    /// Whether the stream was closed.
    #[getter]
    fn closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// Counts what frames took, since the stream was made.
    #[pyo3(signature = () -> "Work")]
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        facts::serialized(py, &self.told.facts().work)
    }

    /// Ends a session that still runs, and lets go of the models. Further calls raise `ClosedError`; closing once more
    /// does nothing.
    pub(crate) fn close(&self, py: Python<'_>) -> PyResult<()> {
        if self.closed.swap(true, Ordering::Relaxed) {
            return Ok(());
        }
        let session = lock(&self.session).upgrade();
        if let Some(session) = session {
            py.detach(|| session.end());
        }
        self.worker.call(py, |place| *place = Place::Gone("the stream is closed".into()))
    }

    #[pyo3(signature = () -> "Self")]
    fn __enter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    #[pyo3(signature = (*exc: "object") -> "None")]
    fn __exit__(&self, py: Python<'_>, exc: &Bound<'_, PyTuple>) -> PyResult<()> {
        let _ = exc;
        self.close(py)
    }

    fn __repr__(&self) -> String {
        let Facts { size: (width, height), delay, model, device, .. } = self.told.facts();
        let closed = if self.closed() { "closed, " } else { "" };
        format!("<StreamDiffusion {closed}{model}, {width}x{height}, delay {delay}, {device}>")
    }
}

impl StreamDiffusion {
    /// Starts a session.
    pub(crate) fn begin(
        &self,
        py: Python<'_>,
        options: SessionOptions,
        on_picture: Option<Py<PyAny>>,
    ) -> PyResult<Session> {
        let started = self.worker.call(py, move |place| {
            place.engine()?;
            let lost = Place::Gone("the stream was lost when its session did not start".into());
            let Place::Here(engine) = std::mem::replace(place, lost) else {
                return Err(Error::new(ErrorKind::Internal, "the stream has no engine"));
            };
            let session = engine.start(options)?;
            *place = Place::InSession;
            Ok(session)
        })?;
        let session = Session::new(py, started.or_raise(py)?, self.worker.clone(), self.told.clone(), on_picture)?;
        *lock(&self.session) = Arc::downgrade(session.running());
        Ok(session)
    }

    /// Changes the engine, and tells what it cost.
    fn change(
        &self,
        py: Python<'_>,
        change: impl FnOnce(&mut Engine) -> dreamframe::Result<Update> + Send + 'static,
    ) -> PyResult<Option<Py<PyAny>>> {
        log::refresh(py);
        let told = self.told.clone();
        let update = self.worker.call(py, move |place| {
            let engine = place.engine()?;
            let update = change(engine);
            told.update(engine);
            update
        })?;
        let update = update.map_err(|error| self.told.error(py, &error))?;
        for notice in &update.notices {
            tracing::info!("{notice}");
        }
        log::deliver(py);
        update.cost.map(|cost| facts::cost(py, cost)).transpose()
    }
}
