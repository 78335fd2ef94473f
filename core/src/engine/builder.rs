//! Construction of engines.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::pipeline::context::{BuildContext, Observers};
use super::pipeline::quantization::is_calibrated;
use super::progress::{Progress, ProgressWatch};
use super::{Device, Engine, EngineOptions, SafetyChecker, StyleImages};
use crate::error::{Error, ErrorKind, Result};
use crate::exec::Dtype;
#[cfg(any(test, feature = "internals"))]
use crate::exec::Executor;
use crate::load::ModelSource;
use crate::params::{StreamDiffusionParams, notices};
use crate::preprocess::networks::ModelNetworks;
use crate::preprocess::{ExternalImages, Registry};

/// Builds an [`Engine`] from a source of models, the first parameters, and options.
#[derive(Debug, Clone)]
#[must_use]
pub struct EngineBuilder {
    source: ModelSource,
    params: StreamDiffusionParams,
    options: EngineOptions,
    registry: Registry,
    observing: bool,
    style_images: Option<Arc<dyn StyleImages>>,
    safety_checker: Option<Arc<dyn SafetyChecker>>,
    progress: Option<ProgressWatch>,
    /// Replaces the device that the options name.
    device: Option<Device>,
}

impl EngineBuilder {
    pub(super) fn new() -> Self {
        Self {
            source: ModelSource::Demo,
            params: StreamDiffusionParams::demo(),
            options: EngineOptions::default(),
            registry: Registry::new(),
            observing: false,
            style_images: None,
            safety_checker: None,
            progress: None,
            device: None,
        }
    }

    /// Sets where models come from. Default: the embedded demo model.
    pub fn models(mut self, source: ModelSource) -> Self {
        self.source = source;
        self
    }

    /// Sets the first parameters. Default: those of the demo model.
    pub fn params(mut self, params: StreamDiffusionParams) -> Self {
        self.params = params;
        self
    }

    /// Sets the options, which are fixed for the engine's lifetime.
    pub fn options(mut self, options: EngineOptions) -> Self {
        self.options = options;
        self
    }

    /// Sets the available processors, which may include the host's own. Default: those of the library.
    pub fn processors(mut self, registry: Registry) -> Self {
        self.registry = registry;
        self
    }

    /// Records the activations of the UNet's layers for [`Engine::calibration`]. Slow, and takes memory for all values
    /// of a frame.
    pub fn observing(mut self) -> Self {
        self.observing = true;
        self
    }

    /// Sets the source of IP-Adapter style images that are not part of the parameters. Default: none.
    pub fn style_images(mut self, images: Arc<dyn StyleImages>) -> Self {
        self.style_images = Some(images);
        self
    }

    /// Sets what scores pictures if `use_safety_checker` is on. Default: the model's own checker, else the published
    /// one, else the built-in classifier.
    pub fn safety_checker(mut self, checker: Arc<dyn SafetyChecker>) -> Self {
        self.safety_checker = Some(checker);
        self
    }

    /// Sets a callback for the progress of loading, during `build` and later updates. It is called often, on the
    /// loading thread, and must return quickly. If it returns `Break`, loading ends with
    /// [`Cancelled`](crate::ErrorKind::Cancelled).
    pub fn progress(mut self, callback: impl Fn(&Progress<'_>) -> ControlFlow<()> + Send + Sync + 'static) -> Self {
        self.progress = Some(ProgressWatch::new(callback));
        self
    }

    /// Sets the device, in place of the one that `executor`, `dtype` and `threads` of the options name. Default: the
    /// processor of this machine.
    pub fn device(mut self, device: Device) -> Self {
        self.device = Some(device);
        self
    }

    /// Runs networks with `executor`, regardless of the options.
    #[cfg(any(test, feature = "internals"))]
    #[doc(hidden)]
    pub fn executor(self, executor: Arc<dyn Executor>) -> Self {
        self.device(Device::of(executor))
    }

    /// Loads the model and prepares everything for the first frame. Slow.
    ///
    /// # Errors
    ///
    /// `InvalidParams` with every violation, `Unsupported`, `NotFound`, `BadModel`, `OutOfMemory`, `Cancelled`.
    pub fn build(self) -> Result<Engine> {
        let Self { source, params, mut options, registry, observing, device, style_images, safety_checker, progress } =
            self;
        params.validate()?;
        check_threshold(options.region_threshold)?;
        let automatic_dtype = device.is_none() && options.dtype == Dtype::Auto;
        let calibration = options.calibration.clone();
        // What is recorded for a calibration are exact activations.
        let calibrated = || !observing && is_calibrated(&source, &params.model_id, calibration.as_deref());
        let executor = device.map_or_else(|| Device::of_options(&mut options, calibrated), Ok)?.executor();
        #[cfg(any(test, feature = "internals"))]
        let executor = for_tests(executor);
        options.dtype = executor.dtype();
        let notices = notices(&params);
        let observers = observing.then(Observers::default);
        let networks = ModelNetworks::new(source.clone(), executor.clone());
        let external = Arc::new(ExternalImages::new(options.fit));
        let registry = registry.or_networks(Arc::new(networks)).with_external(external.clone());
        let text_encodings = Arc::default();
        let context = BuildContext {
            source,
            options,
            automatic_dtype,
            queue: executor.queue(),
            executor,
            registry,
            external,
            observers,
            style_images,
            progress,
            safety_checker,
            text_encodings,
        };
        Engine::new(context, params, notices)
    }
}

fn check_threshold(threshold: f32) -> Result<()> {
    if (0.0..=255.0).contains(&threshold) {
        return Ok(());
    }
    let text = format!("region_threshold: got {threshold}, expected 0 to 255");
    Err(Error::new(ErrorKind::InvalidArgument, text))
}

/// Replaces the executor as the environment variable `DREAMFRAME_TEST_DEVICE` says, so that tests which build engines in
/// their own ways run on another one: `simulated` puts it behind a simulated device; `onnx` replaces the CPU's by ONNX
/// Runtime in `f32`, if it computes in that, on the provider that `DREAMFRAME_TEST_PROVIDER` names or the CPU's.
#[cfg(any(test, feature = "internals"))]
fn for_tests(executor: Arc<dyn Executor>) -> Arc<dyn Executor> {
    use crate::exec::simulated::SimulatedExecutor;

    match std::env::var("DREAMFRAME_TEST_DEVICE").as_deref() {
        Ok("simulated") if executor.name() != "simulated" => Arc::new(SimulatedExecutor::new(executor)),
        #[cfg(feature = "onnx")]
        Ok("onnx") if executor.name() == "cpu" && executor.dtype() == Dtype::F32 => {
            let provider = std::env::var("DREAMFRAME_TEST_PROVIDER").unwrap_or_else(|_| "cpu".to_owned());
            let provider = provider.parse().expect("DREAMFRAME_TEST_PROVIDER names a provider");
            let options = super::OnnxOptions::default().with_provider(provider);
            let device = Device::onnx(&options, Dtype::F32, Some(executor.threads()));
            device.expect("DREAMFRAME_ONNXRUNTIME names the library").executor()
        }
        Ok(_) | Err(_) => executor,
    }
}
