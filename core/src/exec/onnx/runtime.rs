//! ONNX Runtime, a library that is loaded when the first executor asks for it. The only file that names the crate `ort`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use half::f16;
use half::slice::HalfFloatSliceExt as _;
use ort::environment::Environment;
use ort::ep::{self, ArbitrarilyConfigurableExecutionProvider, ExecutionProviderDispatch};
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use ort::session::{Session as OrtSession, SessionInputValue};
use ort::value::{DynValue, Tensor, TensorRef};

use super::super::Provider;
use super::graph::{Model, Port};
use super::proto::ElementType;
use super::providers::{Packaging, Row};
use crate::error::{Error, ErrorKind, Result};

/// A loaded library.
pub(super) struct Runtime {
    environment: Environment,
    path: PathBuf,
    /// The providers whose plug-ins are loaded.
    plug_ins: Mutex<Vec<Provider>>,
}

/// The library of this process: it cannot be unloaded, and a process loads only one.
static LOADED: Mutex<Option<Arc<Runtime>>> = Mutex::new(None);

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runtime").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Runtime {
    /// Loads the library `path`, or returns it if it is loaded.
    ///
    /// # Errors
    ///
    /// `NotFound` if there is no such file, `Unsupported` if it is not ONNX Runtime 1.24 or newer for this processor and
    /// system, `InvalidArgument` if another library is loaded.
    pub(super) fn load(path: &Path) -> Result<Arc<Self>> {
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(runtime) = &*loaded {
            if runtime.path != path {
                let (got, expected) = (path.display(), runtime.path.display());
                let text = format!("ONNX Runtime: got {got}, expected {expected}, which this process has loaded");
                return Err(Error::new(ErrorKind::InvalidArgument, text));
            }
            return Ok(Arc::clone(runtime));
        }
        if let Err(error) = std::fs::metadata(path) {
            return Err(Error::io(path, "open", error));
        }
        let failed = |error: String| {
            let text = format!("ONNX Runtime {}: expected version 1.24 or newer: {error}", path.display());
            Error::new(ErrorKind::Unsupported, text)
        };
        let builder = ort::init_from(path).map_err(|error| failed(error.to_string()))?;
        let environment = builder.with_telemetry(false).build().map_err(|error| failed(error.to_string()))?;
        let runtime = Arc::new(Self { environment, path: path.to_owned(), plug_ins: Mutex::default() });
        *loaded = Some(Arc::clone(&runtime));
        Ok(runtime)
    }

    /// Returns the version of the library: `1.32.0`.
    pub(super) fn version(&self) -> String {
        let info = ort::info();
        info.split_once("git-branch").map_or(info, |(version, _)| version).trim_end_matches([',', ' ']).to_owned()
    }

    /// Prepares a provider, whose plug-in is `plug_in`, if it is one.
    ///
    /// # Errors
    ///
    /// `Unsupported` if the library cannot load the plug-in, or there is no device of that index.
    pub(super) fn target(&self, row: &'static Row, index: u32, plug_in: Option<&Path>) -> Result<Target> {
        if let (Packaging::PlugIn { .. }, Some(path)) = (row.packaging, plug_in) {
            let mut registered = self.plug_ins.lock().unwrap_or_else(PoisonError::into_inner);
            if !registered.contains(&row.provider) {
                let loaded = self.environment.register_ep_library(row.ep_name, path);
                loaded.map_err(|error| {
                    let text = format!("{}: ONNX Runtime cannot load this library", path.display());
                    Error::new(ErrorKind::Unsupported, text).with_source(error)
                })?;
                registered.push(row.provider);
            }
            let count = self.devices(row).count();
            if index as usize >= count {
                let text = format!("device_index: got {index}, expected less than the number of devices, {count}");
                return Err(Error::new(ErrorKind::Unsupported, text));
            }
        }
        Ok(Target { row, index })
    }

    fn devices(&self, row: &'static Row) -> impl Iterator<Item = ort::device::Device<'_>> {
        self.environment.devices().filter(|device| device.ep().is_ok_and(|name| name == row.ep_name))
    }

    /// Returns a session that runs `model` with `threads` threads of the processor. `weights` are those of the model, in
    /// order.
    ///
    /// # Errors
    ///
    /// `Unsupported` if the library does not run a node of the model, or has no such provider or device.
    pub(super) fn session(
        &self,
        model: &Model,
        weights: &[Arc<Weight>],
        threads: usize,
        target: &Target,
    ) -> Result<Session> {
        let mut builder = self.builder(target, threads).map_err(failed)?;
        for (weight, value) in model.weights.iter().zip(weights) {
            let with_weight = builder.with_external_initializer(&weight.name, Arc::clone(&value.0));
            builder = with_weight.map_err(|error| failed(plain(error)))?;
        }
        let session = builder.commit_from_memory(&model.bytes).map_err(failed)?;
        Ok(Session { session: Mutex::new(session), inputs: model.inputs.clone(), outputs: model.outputs.clone() })
    }

    fn builder(&self, target: &Target, threads: usize) -> ort::Result<SessionBuilder> {
        let row = target.row;
        let builder = OrtSession::builder(&self.environment)?
            .with_optimization_level(GraphOptimizationLevel::All)
            .map_err(plain)?
            .with_intra_threads(threads)
            .map_err(plain)?;
        let options = row.options(target.index);
        match row.packaging {
            Packaging::BuiltIn => Ok(builder),
            Packaging::Build(_) => {
                builder.with_execution_providers([dispatch(row.provider, target.index, options)]).map_err(plain)
            }
            Packaging::PlugIn { .. } => {
                let devices = self.devices(row).skip(target.index as usize).take(1);
                let named: Vec<(String, String)> =
                    options.into_iter().map(|(name, value)| (format!("{}.{name}", row.ep_name), value)).collect();
                builder.with_devices(devices, Some(&named)).map_err(plain)
            }
        }
    }
}

/// A provider with one of its devices.
#[derive(Debug)]
pub(super) struct Target {
    row: &'static Row,
    index: u32,
}

/// Returns a provider of another build of the library, with its options. It must exist.
fn dispatch(provider: Provider, device_index: u32, options: Vec<(String, String)>) -> ExecutionProviderDispatch {
    fn with<P: ArbitrarilyConfigurableExecutionProvider>(provider: P, options: Vec<(String, String)>) -> P {
        options.into_iter().fold(provider, |provider, (name, value)| provider.with_arbitrary_config(name, value))
    }

    let index = i32::try_from(device_index).unwrap_or(i32::MAX);
    let built = match provider {
        Provider::Cuda => with(ep::CUDA::default(), options).build(),
        Provider::TensorRt => with(ep::TensorRT::default(), options).build(),
        Provider::DirectMl => ep::DirectML::default().with_device_id(index).build(),
        Provider::CoreMl => with(ep::CoreML::default(), options).build(),
        Provider::MiGraphX => ep::MIGraphX::default().with_device_id(index).build(),
        Provider::OpenVino => with(ep::OpenVINO::default(), options).build(),
        Provider::Auto | Provider::Cpu | Provider::TensorRtRtx | Provider::WebGpu => ep::CPU::default().build(),
    };
    built.error_on_failure()
}

fn failed(error: ort::Error<()>) -> Error {
    Error::new(ErrorKind::Unsupported, "ONNX Runtime does not run the network").with_source(error)
}

/// Returns the error without the builder.
fn plain(error: ort::Error<SessionBuilder>) -> ort::Error<()> {
    ort::Error::new(error.to_string())
}

/// A weight in the memory of the library.
pub(super) struct Weight(Arc<DynValue>);

impl Weight {
    /// Copies `elements` with dimensions `dims`, as type `element`.
    ///
    /// # Errors
    ///
    /// `Internal` if the dimensions are not those of the elements.
    pub(super) fn new(elements: Vec<f32>, dims: &[i64], element: ElementType) -> Result<Self> {
        let value = match element {
            ElementType::F16 => {
                let elements: Vec<f16> = elements.into_iter().map(f16::from_f32).collect();
                Tensor::from_array((dims.to_vec(), elements)).map(Tensor::into_dyn)
            }
            ElementType::F32 | ElementType::I64 => Tensor::from_array((dims.to_vec(), elements)).map(Tensor::into_dyn),
        };
        value.map(|value| Self(Arc::new(value))).map_err(|error| internal("a weight", error))
    }
}

impl fmt::Debug for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Weight").finish_non_exhaustive()
    }
}

/// A graph that is ready to run.
pub(super) struct Session {
    /// The library runs a session on several threads at once, but the crate does not.
    session: Mutex<OrtSession>,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("inputs", &self.inputs.len()).finish_non_exhaustive()
    }
}

impl Session {
    /// Runs the graph. `inputs` and `outputs` have the lengths of the graph's, in its order.
    ///
    /// # Errors
    ///
    /// `Device` if the library fails.
    pub(super) fn run(&self, inputs: &[&[f32]], outputs: &mut [&mut [f32]]) -> Result<()> {
        let halves: Vec<Vec<f16>> = self.inputs.iter().zip(inputs).map(|(port, input)| to_half(port, input)).collect();
        let mut values: Vec<SessionInputValue<'_>> = Vec::with_capacity(inputs.len());
        for ((port, input), half) in self.inputs.iter().zip(inputs).zip(&halves) {
            let value = match port.element {
                ElementType::F16 => TensorRef::from_array_view((port.dims.clone(), half.as_slice())).map(Into::into),
                ElementType::F32 | ElementType::I64 => {
                    TensorRef::from_array_view((port.dims.clone(), *input)).map(Into::into)
                }
            };
            values.push(value.map_err(|error| internal("an input", error))?);
        }
        let mut session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        let results = session.run(values.as_slice()).map_err(|error| {
            Error::new(ErrorKind::Device, "ONNX Runtime failed to run the network").with_source(error)
        })?;
        for (port, output) in self.outputs.iter().zip(outputs) {
            let value = &results[port.name.as_str()];
            match port.element {
                ElementType::F16 => {
                    let (_, elements) =
                        value.try_extract_tensor::<f16>().map_err(|error| internal("an output", error))?;
                    elements.convert_to_f32_slice(output);
                }
                ElementType::F32 | ElementType::I64 => {
                    let (_, elements) =
                        value.try_extract_tensor::<f32>().map_err(|error| internal("an output", error))?;
                    output.copy_from_slice(elements);
                }
            }
        }
        Ok(())
    }
}

/// Returns the elements in half precision, if `port` has that.
fn to_half(port: &Port, elements: &[f32]) -> Vec<f16> {
    match port.element {
        ElementType::F16 => elements.iter().map(|&element| f16::from_f32(element)).collect(),
        ElementType::F32 | ElementType::I64 => Vec::new(),
    }
}

fn internal(what: &str, error: ort::Error<()>) -> Error {
    Error::new(ErrorKind::Internal, format!("failed to create {what} for ONNX Runtime")).with_source(error)
}
