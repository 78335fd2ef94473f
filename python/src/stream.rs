//! `StreamDiffusion`: an engine for Python.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use dreamframe::params::Notice;
use dreamframe::telemetry::Work;
use dreamframe::{
    Engine, EngineOptions, Error, ErrorKind, ModelSource, ParamsPatch, PictureInfo, PixelFormat, SessionOptions,
    StreamDiffusionParams, Transition, Update,
};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyIterator, PyString};

use crate::errors::{OrRaise, exception, wrong_call};
use crate::facts;
use crate::picture::{self, Room};
use crate::session::{Inner, Session};
use crate::worker::{Current, Place, Worker};
use crate::{foreign, frame, log, params, plain};

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
    session: Mutex<Weak<Inner>>,
}

/// What the engine's thread tells the others.
#[derive(Default)]
pub(crate) struct Told {
    facts: Mutex<Facts>,
    /// What a progress callback raised.
    raised: Mutex<Option<PyErr>>,
}

/// What can be said of the engine while it is at work.
#[derive(Default, Clone)]
struct Facts {
    params: StreamDiffusionParams,
    notices: Vec<Notice>,
    size: (u32, u32),
    delay: usize,
    device: String,
    threads: usize,
    model: String,
    work: Work,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Told {
    /// Tells what may be another after an update.
    pub(crate) fn update(&self, engine: &Engine) {
        *lock(&self.facts) = Facts {
            params: engine.params().clone(),
            notices: engine.notices().to_vec(),
            size: engine.size(),
            delay: engine.delay(),
            device: engine.device(),
            threads: engine.threads(),
            model: engine.model().to_owned(),
            work: engine.work(),
        };
    }

    fn facts(&self) -> Facts {
        lock(&self.facts).clone()
    }

    /// An error of the library, or what a progress callback raised in its place.
    fn error(&self, py: Python<'_>, error: &Error) -> PyErr {
        let raised = lock(&self.raised).take();
        raised.filter(|_| error.kind() == ErrorKind::Cancelled).unwrap_or_else(|| exception(py, error))
    }
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
        dtype: "typing.Literal['f32', 'bf16', 'int8'] | None" = None,
        threads: "int | None" = None,
        cfg_type: "typing.Literal['none', 'full', 'self', 'initialize'] | None" = None,
        noise: "typing.Literal['philox', 'torch-cpu'] | None" = None,
        allow_any_size: "bool" = false,
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
        executor: Option<&str>,
        dtype: Option<&str>,
        threads: Option<usize>,
        cfg_type: Option<&str>,
        noise: Option<&str>,
        allow_any_size: bool,
        fit: Option<&str>,
        output: Option<&str>,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<Self> {
        log::refresh(py);
        check_device(device).or_raise(py)?;
        let mut options = EngineOptions::default();
        options.allow_any_size = allow_any_size;
        options.threads = threads;
        choose(py, executor, &mut options.executor)?;
        choose(py, dtype, &mut options.dtype)?;
        choose(py, cfg_type, &mut options.cfg_type)?;
        choose(py, noise, &mut options.noise)?;
        if let Some(fit) = fit {
            options.fit = facts::fit(py, fit)?;
        }
        if let Some(output) = output {
            options.output = picture::output(py, output)?;
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
    fn __call__(&self, frame: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
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
    /// `on_picture` is called with each picture, on a thread of its own; nothing is left for `poll` then.
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
        let mut options = SessionOptions::default();
        if let Some(name) = failed_frame {
            options.failed_frame = facts::failed_frame(py, name)?;
        }
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
        *lock(&self.session) = Arc::downgrade(session.inner());
        Ok(session)
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
    fn close(&self, py: Python<'_>) -> PyResult<()> {
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
        self.close(py)
    }

    fn __repr__(&self) -> String {
        let Facts { size: (width, height), delay, model, device, .. } = self.told.facts();
        let closed = if self.closed() { "closed, " } else { "" };
        format!("<StreamDiffusion {closed}{model}, {width}x{height}, delay {delay}, {device}>")
    }
}

impl StreamDiffusion {
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

/// What became of a frame.
enum Processed {
    /// The picture is in the room, or there is none; the frame can be given back.
    Picture(dreamframe::Result<PictureInfo>, frame::Pixels, Room),
    /// Pictures have another size by now.
    OtherSize(frame::Pixels),
}

fn process(place: &mut Place, told: &Told, pixels: frame::Pixels, mut room: Room) -> Processed {
    let engine = match place.engine() {
        Ok(engine) if engine.size() != room.size() => return Processed::OtherSize(pixels),
        Ok(engine) => engine,
        Err(error) => return Processed::Picture(Err(error), pixels, room),
    };
    let result = pixels.view().and_then(|frame| engine.process_into(&frame, &mut room.view()?));
    let mut facts = lock(&told.facts);
    (facts.work, facts.delay) = (engine.work(), engine.delay());
    Processed::Picture(result, pixels, room)
}

/// Tells Python how loading goes.
fn report(callback: &Py<PyAny>, loaded: &dreamframe::Progress<'_>, told: &Told) -> ControlFlow<()> {
    let (done, total, what) = (loaded.done, loaded.total, loaded.component);
    let called = foreign::attach(|py| callback.call1(py, (done, total, what)).map(drop));
    match called {
        Some(Ok(())) => ControlFlow::Continue(()),
        Some(Err(error)) => {
            *lock(&told.raised) = Some(error);
            ControlFlow::Break(())
        }
        None => ControlFlow::Break(()),
    }
}

/// Reads an option by its name, where it is given.
fn choose<T: std::str::FromStr<Err = Error>>(py: Python<'_>, name: Option<&str>, option: &mut T) -> PyResult<()> {
    if let Some(name) = name {
        *option = name.parse::<T>().or_raise(py)?;
    }
    Ok(())
}

fn check_device(name: &str) -> dreamframe::Result<()> {
    match name {
        "auto" | "cpu" => Ok(()),
        "cuda" | "metal" => {
            let text = format!("device {name:?} is not built into this package; \"auto\" and \"cpu\" are");
            Err(Error::new(ErrorKind::Unsupported, text))
        }
        _ => {
            let text = format!("device is {name:?}, but must be one of: auto, cpu");
            Err(Error::new(ErrorKind::InvalidArgument, text))
        }
    }
}

/// Where models come from, as Python says it.
struct Models(ModelSource);

impl Default for Models {
    fn default() -> Self {
        Self(ModelSource::Demo)
    }
}

impl<'py> FromPyObject<'_, 'py> for Models {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        if let Ok(name) = object.cast::<PyString>() {
            return Ok(Self(ModelSource::from(name.to_str()?)));
        }
        match object.extract::<PathBuf>() {
            Ok(path) => Ok(Self(ModelSource::folder(path))),
            Err(_) => Err(wrong_call(
                object.py(),
                format!("models is a {}, but must be \"demo\" or a folder", plain::type_name(&object)),
            )),
        }
    }
}

// Works on frames as they are asked for.
#[pyclass(module = "dreamframe._dreamframe", frozen)]
pub(crate) struct Frames {
    stream: Py<StreamDiffusion>,
    source: Py<PyIterator>,
}

#[pymethods]
impl Frames {
    // -> "Self"
    fn __iter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    // -> "Picture"
    fn __next__(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        let frame = self.source.bind(py).clone().next().transpose()?;
        frame.map(|frame| self.stream.get().__call__(&frame)).transpose()
    }
}
