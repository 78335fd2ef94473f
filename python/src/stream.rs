//! `StreamDiffusion`: an engine.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};

use dreamframe::{
    Engine, EngineBuilder, Error, ErrorKind, ParamsPatch, PixelFormat, SessionOptions, Transition, Update,
};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::errors::OrRaise;
use crate::frames::Frames;
use crate::hooks::Hooks;
use crate::options::{Given, Models, check_callable, check_device, text};
use crate::picture::{self, OutputArray, PictureFormat};
use crate::running::Running;
use crate::session::Session;
use crate::shared_state::{EngineSnapshot, SharedState, lock};
use crate::work::{Processed, process, report};
use crate::worker::{Current, EngineSlot, Worker};
use crate::{frame, interpreter, log, params, results};

/// A real-time image-to-image stream.
///
/// Calls are serialized: a second thread that calls waits for the first. The interpreter is released while a frame is
/// processed, a model is loaded, or a call waits; Ctrl-C interrupts any of these. An operation that was started then
/// may still take effect.
///
/// >>> with StreamDiffusion(StreamDiffusionParams.demo()) as stream:
/// ...     picture = stream(frame)
#[pyclass(module = "dreamframe", frozen, weakref)]
pub(crate) struct StreamDiffusion {
    worker: Arc<Worker>,
    state: Arc<SharedState>,
    /// The format of pictures; that of the frame without one.
    output: Option<PixelFormat>,
    closed: AtomicBool,
    session: Mutex<Weak<Running>>,
}

#[pymethods]
impl StreamDiffusion {
    /// Loads the models named by `params`; without `params`, the demo model with its own settings.
    ///
    /// `models` is `demo` for the model in the package, or a folder: a model, or a folder of models. An option that is
    /// None has the library's default. `executor` is `cpu` by default; `onnx` runs networks on ONNX Runtime with the
    /// execution provider `provider` and its device `device_index`, and `auto` does so if a GPU works. `onnxruntime` is
    /// ONNX Runtime's library or a folder with it; by default the environment variable DREAMFRAME_ONNXRUNTIME, the
    /// package `onnxruntime`, or what `dreamframe gpu install` installed. `cuda_graphs` captures runs of networks as CUDA
    /// graphs, on providers of NVIDIA. `vae` is the autoencoder: `tiny` for the published tiny one of the model's family,
    /// `full` for the model's own, the id of another, or a folder; by default `auto`, which is `tiny` if it is
    /// installed, otherwise `full`. `calibration` is a file of `dreamframe models
    /// quantize` for `dtype="int8"`, instead of the one next to the model. `ip_adapter` is the id of a folder with an
    /// IP-Adapter, under `models`, instead of the published one. `flagged` is what is shown in place of a picture that
    /// the safety checker flags. `control_images` selects the control image of each row of the stream batch.
    /// `packed_cache` is where packed weights are stored for a quick next start: `beside` the model, `off`, or a folder.
    /// With `lora_mode="live"`, LoRAs are computed next to the layers of the UNet instead of being merged into their
    /// weights (`"merged"`): a change of a scale is cheap, and frames take longer. `"auto"`, the default, is live for
    /// those that make frames at most 5 % longer. With `batching="where-faster"`,
    /// `use_denoising_batch` is followed on GPUs only: on a CPU, a batch delays pictures and saves no time.
    /// With `batch_streams="on"`, or `"auto"` on GPUs, streams of this process with the same model, size and number of steps
    /// run the UNet together; a frame waits for those of others at most `batch_wait_ms` (10 by default) and a quarter of
    /// the interval between frames. By default they do not (`"off"`).
    /// With `region_reuse="exact"`, the autoencoder computes only what depends on changed pixels, on a CPU and without other
    /// pictures; with `"approximate"`, blocks of 8x8 pixels that differ by at most `region_threshold` levels of 0 to 255 (4
    /// by default) count as unchanged, too. By default it computes everything (`"off"`).
    ///
    /// Pictures have the channels of the frame, in its order, unless `output` names others.
    ///
    /// `processors` has callables in place of the library's processors of these names. `safety_checker` scores pictures
    /// if `use_safety_checker` is on. `style_images` and `face_embeddings` provide what `ip_adapter_style_image_url`
    /// names. `progress(done, total, what)` is called while weights load, with counts for the network `what`; an exception
    /// that it raises cancels loading. All are called on threads of the engine, and cannot use the stream.
    ///
    /// Raises:
    ///     InvalidParamsError: a value is out of range; `violations` lists every one, with its path.
    ///     ModelNotFoundError: a model is not under `models`.
    ///     BadModelError: a file is corrupt, or its names or shapes are not as expected.
    ///     UnsupportedError: this machine does not support the device, executor or dtype.
    ///     OutOfMemoryError: there is too little memory.
    #[new]
    #[pyo3(signature = (
        params: "StreamDiffusionParams | Mapping[str, typing.Any] | None" = None,
        *,
        models: "str | PathLike[str]" = Models::default(),
        device: "typing.Literal['auto', 'cpu']" = "auto",
        executor: "typing.Literal['auto', 'cpu', 'onnx', 'reference'] | None" = None,
        provider: "typing.Literal['auto', 'cpu', 'cuda', 'tensorrt-rtx', 'tensorrt', 'webgpu', 'directml', 'coreml', 'migraphx', 'openvino'] | None" = None,
        device_index: "int | None" = None,
        onnxruntime: "str | PathLike[str] | None" = None,
        cuda_graphs: "bool" = false,
        dtype: "typing.Literal['auto', 'f32', 'f16', 'bf16', 'int8'] | None" = None,
        vae: "str | PathLike[str] | None" = None,
        calibration: "str | PathLike[str] | None" = None,
        ip_adapter: "str | None" = None,
        flagged: "typing.Literal['previous', 'black'] | None" = None,
        control_images: "typing.Literal['newest', 'per-row'] | None" = None,
        packed_cache: "str | PathLike[str] | None" = None,
        threads: "int | None" = None,
        noise: "typing.Literal['philox', 'torch-cpu'] | None" = None,
        lora_mode: "typing.Literal['auto', 'merged', 'live'] | None" = None,
        batching: "typing.Literal['as-requested', 'where-faster'] | None" = None,
        batch_streams: "typing.Literal['off', 'on', 'auto'] | None" = None,
        batch_wait_ms: "int | None" = None,
        region_reuse: "typing.Literal['off', 'exact', 'approximate'] | None" = None,
        region_threshold: "float | None" = None,
        fit: "typing.Literal['cover', 'fit', 'stretch'] | None" = None,
        output: "typing.Literal['rgba', 'bgra', 'rgb'] | None" = None,
        processors: "Mapping[ProcessorName | str, Processor] | None" = None,
        safety_checker: "SafetyChecker | None" = None,
        style_images: "StyleImages | None" = None,
        face_embeddings: "FaceEmbeddings | None" = None,
        progress: "Callable[[int, int, str], object] | None" = None,
    ))]
    #[expect(clippy::too_many_arguments, reason = "each is a keyword in Python")]
    fn new(
        py: Python<'_>,
        params: Option<&Bound<'_, PyAny>>,
        models: Models,
        device: &str,
        executor: Option<&Bound<'_, PyAny>>,
        provider: Option<&Bound<'_, PyAny>>,
        device_index: Option<&Bound<'_, PyAny>>,
        onnxruntime: Option<&Bound<'_, PyAny>>,
        cuda_graphs: bool,
        dtype: Option<&Bound<'_, PyAny>>,
        vae: Option<&Bound<'_, PyAny>>,
        calibration: Option<&Bound<'_, PyAny>>,
        ip_adapter: Option<&Bound<'_, PyAny>>,
        flagged: Option<&Bound<'_, PyAny>>,
        control_images: Option<&Bound<'_, PyAny>>,
        packed_cache: Option<&Bound<'_, PyAny>>,
        threads: Option<&Bound<'_, PyAny>>,
        noise: Option<&Bound<'_, PyAny>>,
        lora_mode: Option<&Bound<'_, PyAny>>,
        batching: Option<&Bound<'_, PyAny>>,
        batch_streams: Option<&Bound<'_, PyAny>>,
        batch_wait_ms: Option<&Bound<'_, PyAny>>,
        region_reuse: Option<&Bound<'_, PyAny>>,
        region_threshold: Option<f32>,
        fit: Option<&Bound<'_, PyAny>>,
        output: Option<&Bound<'_, PyAny>>,
        processors: Option<&Bound<'_, PyAny>>,
        safety_checker: Option<&Bound<'_, PyAny>>,
        style_images: Option<&Bound<'_, PyAny>>,
        face_embeddings: Option<&Bound<'_, PyAny>>,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<Self> {
        log::refresh(py);
        check_device(device).or_raise(py)?;
        check_callable("progress", progress.as_ref().map(|progress| progress.bind(py)))?;
        let output = output.map(|output| picture::output(py, &text("output", output)?)).transpose()?;
        let hooks = Hooks { processors, safety_checker, style_images, face_embeddings };
        let given = Given {
            executor,
            provider,
            device_index,
            onnxruntime,
            cuda_graphs,
            dtype,
            vae,
            calibration,
            ip_adapter,
            flagged,
            control_images,
            packed_cache,
            threads,
            noise,
            lora_mode,
            batching,
            batch_streams,
            batch_wait_ms,
            region_reuse,
            region_threshold,
            fit,
        };
        let mut options = given.read(py)?;
        options.output = output.unwrap_or(options.output);
        let mut builder = hooks.set(Engine::builder().models(models.0).options(options))?;
        if let Some(params) = params {
            builder = builder.params(params::whole(params)?);
        }
        Self::build(py, builder, output, progress)
    }

    /// Processes one frame. Returns the picture of the frame `delay` calls ago.
    ///
    /// A frame with contiguous rows is not copied; it must not be modified during the call.
    ///
    /// Raises:
    ///     InvalidFrameError: the frame has another type or shape; the message has the details.
    ///     ClosedError: the stream was closed.
    #[pyo3(signature = (frame: "FrameLike", /) -> "Picture")]
    pub(crate) fn __call__(&self, frame: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        let py = frame.py();
        let mut pixels = frame::pixels(frame)?;
        loop {
            let size = lock(&self.state.snapshot).size;
            let array = OutputArray::new(py, self.output.unwrap_or(pixels.picture_format()), size)?;
            let state = self.state.clone();
            let done = self.worker.call(py, move |slot| {
                process(slot, &state, pixels, array, |engine, pixels, out| engine.process_into(&pixels.view()?, out))
            })?;
            match done {
                Processed::Picture(result, pixels, array) => {
                    drop(pixels);
                    return array.into_picture(py, &result.map_err(|error| self.state.error(py, &error))?);
                }
                // An update changed the size meanwhile.
                Processed::OtherSize(back) => pixels = back,
            }
        }
    }

    /// Makes a picture from the prompt alone, without a frame.
    ///
    /// Of the grey frame that is processed `delay` + 1 times, nothing remains with a first index of 0 in
    /// `t_index_list`. The picture depends on `seed`.
    ///
    /// >>> stream = StreamDiffusion(StreamDiffusionParams.demo(t_index_list=[0, 16, 32, 45]))
    /// >>> picture = stream.text_to_image()
    ///
    /// Raises:
    ///     ClosedError: the stream was closed.
    #[pyo3(signature = () -> "Picture")]
    fn text_to_image(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        loop {
            let size = lock(&self.state.snapshot).size;
            let array = OutputArray::new(py, self.output.unwrap_or(PixelFormat::Rgb8), size)?;
            let state = self.state.clone();
            let done = self.worker.call(py, move |slot| {
                process(slot, &state, (), array, |engine, (), out| engine.text_to_image_into(out))
            })?;
            if let Processed::Picture(result, (), array) = done {
                return array.into_picture(py, &result.map_err(|error| self.state.error(py, &error))?);
            }
        }
    }

    /// Changes parameters before the next frame. The changes are a mapping, keywords, or both.
    ///
    /// Lists are replaced; objects such as `ip_adapter` keep the fields that are not given. Returns the cost of the
    /// change; None if nothing changed.
    ///
    /// Raises:
    ///     InvalidParamsError: a value is out of range; `violations` lists every one, and nothing has changed.
    ///     ModelNotFoundError: a requested model does not exist; nothing has changed.
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
        let patch = params::patch(py, patch, changes, || self.state.snapshot().params)?;
        self.change(py, move |engine| engine.update(&patch))
    }

    /// Returns a context manager for a `with` block: changes to its parameters apply together when it ends without an
    /// error.
    ///
    /// >>> with stream.edit() as params:
    /// ...     params.guidance_scale = 1.4
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
        let patch: ParamsPatch = params::patch(py, patch, changes, || self.state.snapshot().params)?;
        let plan = self.worker.call(py, move |slot| slot.engine()?.plan(&patch))?;
        results::plan(py, &plan.or_raise(py)?)
    }

    /// Changes the prompt gradually over the next `num_steps` pictures.
    ///
    /// Raises:
    ///     InvalidParamsError: the prompts are not valid values of `prompt`.
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

    /// Sets the image of `external` processors, from the next frame on: the control image of the ControlNet whose
    /// `model_id` is `controlnet`; without one, that of all ControlNets without an image of their own, and the result of
    /// `external` in `image_preprocessing` and `image_postprocessing`.
    ///
    /// The image has any size, is fitted to the size of the stream as frames are, and stays until it is replaced or
    /// cleared. Without an image, `external` returns its input.
    ///
    /// Raises:
    ///     InvalidArgumentError: the id is empty, or more than 64 ControlNets have an image.
    ///     ClosedError: the stream was closed.
    #[pyo3(signature = (image: "FrameLike", /, controlnet: "str | None" = None) -> "None")]
    fn set_external_image(&self, image: &Bound<'_, PyAny>, controlnet: Option<String>) -> PyResult<()> {
        let py = image.py();
        let pixels = frame::pixels(image)?;
        // The pixels are dropped here, with the interpreter.
        let (set, _pixels) = self.worker.call(py, move |slot| {
            let view = pixels.view();
            let set = view.and_then(|view| slot.engine()?.set_external_image(controlnet.as_deref(), &view));
            (set, pixels)
        })?;
        set.or_raise(py)
    }

    /// Removes the image that `set_external_image` set for `controlnet`, if there is one.
    #[pyo3(signature = (controlnet: "str | None" = None) -> "None")]
    fn clear_external_image(&self, py: Python<'_>, controlnet: Option<String>) -> PyResult<()> {
        let clear =
            move |slot: &mut EngineSlot| slot.engine().map(|engine| engine.clear_external_image(controlnet.as_deref()));
        self.worker.call(py, clear)?.or_raise(py)
    }

    /// Sets the style image of the IP-Adapter, as `ip_adapter_style_image_url`: the central square, scaled to 512x512 if it
    /// is larger. Returns the cost of the change, as `update`.
    ///
    /// Raises:
    ///     ClosedError: the stream was closed.
    #[pyo3(signature = (image: "FrameLike", /) -> "Cost | None")]
    fn set_style_image(&self, image: &Bound<'_, PyAny>) -> PyResult<Option<Py<PyAny>>> {
        let copied = frame::copied(image)?;
        self.change(image.py(), move |engine| engine.set_style_image(&copied.view()))
    }

    /// Returns an iterator that processes frames and yields a picture for each.
    #[pyo3(signature = (source: "Iterable[FrameLike]", /) -> "Iterator[Picture]")]
    fn frames(slf: &Bound<'_, Self>, source: &Bound<'_, PyAny>) -> PyResult<Frames> {
        Ok(Frames { stream: slf.clone().unbind(), source: source.try_iter()?.unbind() })
    }

    /// Returns an asynchronous iterator that processes frames on another thread and yields a picture for each.
    ///
    /// >>> async for picture in stream.aframes(camera):
    /// ...     await websocket.send(picture.tobytes())
    #[pyo3(signature = (
        source: "AsyncIterable[FrameLike] | Iterable[FrameLike]",
        /,
    ) -> "AsyncIterator[Picture]")]
    fn aframes<'py>(slf: &Bound<'py, Self>, source: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        slf.py().import("dreamframe._async")?.getattr("frames")?.call1((slf, source))
    }

    /// Runs the stream on a thread of its own until the session is stopped; other calls of the stream raise meanwhile.
    ///
    /// `on_picture` is called with each picture, on another thread; `poll` then returns none. An exception that it
    /// raises is passed to `sys.unraisablehook`, and the session continues. `failed_frame` is what is shown when a
    /// frame fails: the last picture again (`repeat`), or nothing (`skip`).
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
            options.failed_frame = results::failed_frame(py, name)?;
        }
        self.begin(py, options, on_picture)
    }

    /// A copy of the parameters in use.
    #[getter] // -> "StreamDiffusionParams"
    fn params<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        params::to_python(py, &self.state.snapshot().params)
    }

    /// Values that were accepted at construction but are interpreted differently.
    #[getter] // -> "list[Notice]"
    fn notices<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyAny>>> {
        results::notices(py, &self.state.snapshot().notices)
    }

    /// Width and height of pictures, in pixels.
    #[getter]
    fn size(&self) -> (u32, u32) {
        lock(&self.state.snapshot).size
    }

    /// The number of frames between a frame and its picture.
    #[getter]
    fn delay(&self) -> usize {
        lock(&self.state.snapshot).delay
    }

    /// A description of the executor and the device in use.
    #[getter]
    fn device(&self) -> String {
        self.state.snapshot().device
    }

    /// The number of threads that process a frame.
    #[getter]
    fn threads(&self) -> usize {
        lock(&self.state.snapshot).threads
    }

    /// The location of the base model.
    #[getter]
    fn model(&self) -> String {
        self.state.snapshot().model
    }

    /// Whether the stream was closed.
    #[getter]
    fn closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// Returns counts of the work done since the stream was created.
    #[pyo3(signature = () -> "Work")]
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        results::serialized(py, &self.state.snapshot().work)
    }

    /// Ends a running session, and releases the models. Further calls raise `ClosedError`. Has no effect on a closed
    /// stream.
    pub(crate) fn close(&self, py: Python<'_>) -> PyResult<()> {
        interpreter::check_not_in_callback().or_raise(py)?;
        if self.closed.swap(true, Ordering::Relaxed) {
            return Ok(());
        }
        let session = lock(&self.session).upgrade();
        if let Some(session) = session {
            py.detach(|| session.end());
        }
        self.worker.call(py, |slot| *slot = EngineSlot::Closed("the stream is closed".into()))
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
        let EngineSnapshot { size: (width, height), delay, model, device, .. } = self.state.snapshot();
        let closed = if self.closed() { "closed, " } else { "" };
        format!("<StreamDiffusion {closed}{model}, {width}x{height}, delay {delay}, {device}>")
    }
}

impl StreamDiffusion {
    /// Builds an engine on its thread.
    fn build(
        py: Python<'_>,
        builder: EngineBuilder,
        output: Option<PixelFormat>,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<Self> {
        let (state, current) = (Arc::new(SharedState::default()), Arc::new(Current::default()));
        let (watched, failed) = (current.clone(), state.clone());
        let builder = builder.progress(move |loaded| match &progress {
            _ if watched.is_abandoned() => ControlFlow::Break(()),
            Some(callback) => report(callback, loaded, &failed),
            None => ControlFlow::Continue(()),
        });
        let worker = Arc::new(Worker::start(current).or_raise(py)?);
        let snapshot = state.clone();
        let built = worker.call(py, move |slot| {
            let engine = builder.build()?;
            snapshot.update(&engine);
            *slot = EngineSlot::Available(Box::new(engine));
            Ok(())
        })?;
        built.map_err(|error| state.error(py, &error))?;
        Ok(Self { worker, state, output, closed: AtomicBool::new(false), session: Mutex::default() })
    }

    /// Starts a session.
    pub(crate) fn begin(
        &self,
        py: Python<'_>,
        options: SessionOptions,
        on_picture: Option<Py<PyAny>>,
    ) -> PyResult<Session> {
        let started = self.worker.call(py, move |slot| {
            slot.engine()?;
            let lost = EngineSlot::Closed("the stream was lost when its session did not start".into());
            let EngineSlot::Available(engine) = std::mem::replace(slot, lost) else {
                return Err(Error::new(ErrorKind::Internal, "the stream has no engine"));
            };
            let session = engine.start(options)?;
            *slot = EngineSlot::InSession;
            Ok(session)
        })?;
        let pictures = PictureFormat::new(self.output);
        let shared = (self.worker.clone(), self.state.clone());
        let session = Session::new(py, started.or_raise(py)?, shared, pictures, on_picture)?;
        *lock(&self.session) = Arc::downgrade(session.running());
        Ok(session)
    }

    /// Changes the engine. Returns the cost.
    fn change(
        &self,
        py: Python<'_>,
        change: impl FnOnce(&mut Engine) -> dreamframe::Result<Update> + Send + 'static,
    ) -> PyResult<Option<Py<PyAny>>> {
        log::refresh(py);
        let state = self.state.clone();
        let update = self.worker.call(py, move |slot| {
            let engine = slot.engine()?;
            let update = change(engine);
            state.update(engine);
            update
        })?;
        let update = update.map_err(|error| self.state.error(py, &error))?;
        for notice in &update.notices {
            tracing::info!("{notice}");
        }
        log::deliver(py);
        update.cost.map(|cost| results::cost(py, cost)).transpose()
    }
}
