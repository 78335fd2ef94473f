//! ONNX Runtime, a library that is loaded when the first executor asks for it. The only file that names the crate `ort`.

#![allow(unsafe_code, reason = "binds operands where they are, for which the crate has no safe function")]

mod at_exit;
mod available;
mod binding;
mod compile;
mod graph_captures;
mod operand;
mod session;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};

use half::f16;
use ort::environment::Environment;
use ort::ep::{self, ArbitrarilyConfigurableExecutionProvider, ExecutionProviderDispatch};
use ort::memory::{AllocationDevice, Allocator, AllocatorType, MemoryInfo, MemoryType};
use ort::session::Session as OrtSession;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use ort::value::{DynTensor, DynValue, Tensor, TensorElementType};

use self::at_exit::{Call, Owned};
use self::operand::Place;
pub(super) use self::operand::{Operand, OperandMut};
pub(super) use self::session::Session;
use super::super::Provider;
use super::cuda_driver;
use super::graph::{Model, Port};
use super::libraries;
use super::proto::ElementType;
use super::providers::{DeviceKind, Packaging, Row};
use crate::error::{Error, ErrorKind, Result};
use crate::frame::FrameMemory;

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
    /// system, `InvalidArgument` if another library is loaded, `Cancelled` if the process is ending, as in all functions
    /// that call the library.
    pub(super) fn load(path: &Path) -> Result<Arc<Self>> {
        let _call = Call::first()?;
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
        libraries::load(path).map_err(failed)?;
        let builder = ort::init_from(path).map_err(|error| failed(error.to_string()))?;
        let environment = builder.with_telemetry(false).build().map_err(|error| failed(error.to_string()))?;
        let runtime = Arc::new(Self { environment, path: path.to_owned(), plug_ins: Mutex::default() });
        *loaded = Some(Arc::clone(&runtime));
        Ok(runtime)
    }

    /// Returns the version of the library, from its file name: `1.32.0`; `1.32` if the name has none.
    pub(super) fn version(&self) -> String {
        version_in(&self.path).unwrap_or_else(|| match ort::util::probe(&self.path) {
            Some(minor) => format!("1.{minor}"),
            None => "unknown".to_owned(),
        })
    }

    /// Prepares a provider, whose plug-in is `plug_in`, if it is one.
    ///
    /// # Errors
    ///
    /// `Unsupported` if the library cannot load the plug-in, or there is no device of that index.
    pub(super) fn target(&self, row: &'static Row, index: u32, plug_in: Option<&Path>) -> Result<Target> {
        let _call = Call::first()?;
        if let (Packaging::PlugIn { .. }, Some(path)) = (row.packaging, plug_in) {
            let mut registered = self.plug_ins.lock().unwrap_or_else(PoisonError::into_inner);
            if !registered.contains(&row.provider) {
                libraries::check_complete(path).map_err(|error| Error::new(ErrorKind::Unsupported, error))?;
                let loaded = self.environment.register_ep_library(row.ep_name, path);
                loaded.map_err(|error| {
                    let text = format!("{}: ONNX Runtime cannot load this library", path.display());
                    Error::new(ErrorKind::Unsupported, text).with_source(error)
                })?;
                registered.push(row.provider);
            }
            let count = self.devices(row).count();
            if count == 0 {
                return Err(Error::new(ErrorKind::Unsupported, "got no device, expected at least one"));
            }
            if index as usize >= count {
                let text = format!("device_index: got {index}, expected less than the number of devices, {count}");
                return Err(Error::new(ErrorKind::Unsupported, text));
            }
        }
        if let Packaging::Build(_) = row.packaging
            && !available::has_provider(row)
        {
            let text = format!(
                "ONNX Runtime: got a build without the provider, expected that of the Python package {}",
                row.package
            );
            return Err(Error::new(ErrorKind::Unsupported, text));
        }
        if row.has_graphs() {
            cuda_driver::prepare();
        }
        Ok(Target { row, index, counts: Arc::default() })
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
        captures: bool,
    ) -> Result<Session> {
        let _call = Call::first()?;
        let _exclusion = graph_captures::exclude();
        let mut builder = self.builder(target, threads, captures, &[]).map_err(failed)?;
        for (weight, value) in model.weights.iter().zip(weights) {
            let with_weight = builder.with_external_initializer(&weight.name, Arc::clone(&value.0));
            builder = with_weight.map_err(|error| failed(plain(error)))?;
        }
        self.commit(builder, &model.bytes, model, target, captures)
    }

    /// Returns a session of the encoded model `bytes`, with the inputs and outputs of `model`.
    fn commit(
        &self,
        mut builder: SessionBuilder,
        bytes: &[u8],
        model: &Model,
        target: &Target,
        captures: bool,
    ) -> Result<Session> {
        let session = builder.commit_from_memory(bytes).map_err(failed)?;
        let info = self.memory_info(target).map_err(failed)?;
        Ok(Session::new(session, model, info, &target.counts, captures))
    }

    /// Returns the memory of the device, for which `session` runs there.
    ///
    /// # Errors
    ///
    /// `Unsupported` if the library does not allocate there.
    pub(super) fn memory(&self, target: &Target, session: &Session) -> Result<Arc<DeviceMemory>> {
        let _call = Call::first()?;
        let allocator = if target.row.memory == DeviceKind::Host {
            None
        } else {
            let info = self.memory_info(target).map_err(failed)?;
            Some(Owned::new(Mutex::new(session.allocator(info).map_err(failed)?)))
        };
        // The CPU's provider reads memory of the host where it is.
        let is_copied = allocator.is_none() && target.row.packaging != Packaging::BuiltIn;
        let frames = match target.row.memory {
            DeviceKind::Host => (target.row.packaging == Packaging::BuiltIn).then_some(FrameMemory::Host),
            // The plug-in with memory of its own is that of TensorRT for RTX.
            DeviceKind::Cuda | DeviceKind::PlugIn => {
                let device = self.memory_info(target).map_err(failed)?.device_id();
                u32::try_from(device).ok().map(|device| FrameMemory::Cuda { device })
            }
        };
        Ok(Arc::new(DeviceMemory { allocator, is_copied, frames }))
    }

    fn memory_info(&self, target: &Target) -> ort::Result<MemoryInfo<'static>> {
        match target.row.memory {
            DeviceKind::Host => Ok(Allocator::default().memory_info().to_owned()),
            DeviceKind::Cuda => {
                let index = i32::try_from(target.index).unwrap_or(i32::MAX);
                MemoryInfo::new(AllocationDevice::CUDA, index, AllocatorType::Device, MemoryType::Default)
            }
            DeviceKind::PlugIn => {
                let device = self.devices(target.row).nth(target.index as usize);
                let device = device.ok_or_else(|| ort::Error::new("the device is gone"))?;
                Ok(device.memory_info(false).to_owned())
            }
        }
    }

    fn builder(
        &self,
        target: &Target,
        threads: usize,
        captures: bool,
        more: &[(String, String)],
    ) -> ort::Result<SessionBuilder> {
        let row = target.row;
        let builder = OrtSession::builder(&self.environment)?
            .with_optimization_level(GraphOptimizationLevel::All)
            .map_err(plain)?
            .with_intra_threads(threads)
            .map_err(plain)?;
        let options = row.options(target.index, captures).into_iter().chain(more.iter().cloned());
        match row.packaging {
            Packaging::BuiltIn => Ok(builder),
            Packaging::Build(_) => builder
                .with_execution_providers([dispatch(row.provider, target.index, options.collect())])
                .map_err(plain),
            Packaging::PlugIn { .. } => {
                let devices = self.devices(row).skip(target.index as usize).take(1);
                let named: Vec<(String, String)> =
                    options.map(|(name, value)| (format!("{}.{name}", row.ep_name), value)).collect();
                builder.with_devices(devices, Some(&named)).map_err(plain)
            }
        }
    }
}

/// Returns the version in a file name: `libonnxruntime.so.1.32.0`, `libonnxruntime.1.32.0.dylib`.
fn version_in(path: &Path) -> Option<String> {
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let name = path.file_name()?.to_str()?;
    let number = |part: &&str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let numbers: Vec<&str> = name.split('.').filter(number).collect();
    (numbers.len() > 1).then(|| numbers.join("."))
}

/// Loads libraries that those of a provider depend on. The system's loader then takes these, wherever they are: it knows the
/// names of loaded libraries. One that cannot be loaded is missing for the provider, whose error names it.
pub fn preload(libraries: &[PathBuf]) {
    let Ok(_call) = Call::first() else { return };
    for path in libraries {
        if let Err(error) = libraries::load(path) {
            tracing::debug!(path = %path.display(), %error, "library cannot be loaded");
        }
    }
}

/// A provider with one of its devices.
#[derive(Debug)]
pub(super) struct Target {
    row: &'static Row,
    index: u32,
    pub(super) counts: Arc<Counts>,
}

/// What the sessions of a target did.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// Inputs in host memory.
    pub(super) uploads: AtomicU64,
    /// Outputs in host memory.
    pub(super) downloads: AtomicU64,
    pub(super) runs: AtomicU64,
    /// Nanoseconds in runs.
    pub(super) nanos: AtomicU64,
    /// Operands that were bound at new addresses.
    pub(super) bindings: AtomicU64,
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

/// Returns the error of a network that cannot be prepared.
fn failed(error: ort::Error<()>) -> Error {
    error_of(ErrorKind::Unsupported, "ONNX Runtime does not run the network", error)
}

/// Returns an error with a kind and a text, or `OutOfMemory` if that is the cause, of which the library has no code.
fn error_of(kind: ErrorKind, text: &str, error: ort::Error<()>) -> Error {
    if is_out_of_memory(&error.to_string()) {
        Error::new(ErrorKind::OutOfMemory, "too little memory on the device for the network").with_source(error)
    } else {
        Error::new(kind, text).with_source(error)
    }
}

/// Returns whether the text is that of an allocation that failed: one of the library's own memory, of CUDA, cuDNN or cuBLAS.
fn is_out_of_memory(text: &str) -> bool {
    const TEXTS: [&str; 6] = [
        "Failed to allocate memory",
        "is smaller than requested bytes of",
        "out of memory",
        "CUDNN_STATUS_ALLOC_FAILED",
        "CUBLAS_STATUS_ALLOC_FAILED",
        "CUBLAS failure 3: the resource allocation failed",
    ];
    TEXTS.iter().any(|part| text.contains(part))
}

/// Returns the error without the builder.
fn plain(error: ort::Error<SessionBuilder>) -> ort::Error<()> {
    ort::Error::new(error.to_string())
}

/// A weight in the memory of the library.
pub(super) struct Weight(Owned<Arc<DynValue>>);

impl Weight {
    /// Copies `elements` with dimensions `dims`, as type `element`.
    ///
    /// # Errors
    ///
    /// `Internal` if the dimensions are not those of the elements.
    pub(super) fn new(elements: Vec<f32>, dims: &[i64], element: ElementType) -> Result<Self> {
        let _call = Call::again()?;
        let value = match element {
            ElementType::F16 => {
                let elements: Vec<f16> = elements.into_iter().map(f16::from_f32).collect();
                Tensor::from_array((dims.to_vec(), elements)).map(Tensor::into_dyn)
            }
            ElementType::F32 | ElementType::I64 | ElementType::U8 => {
                Tensor::from_array((dims.to_vec(), elements)).map(Tensor::into_dyn)
            }
        };
        value.map(|value| Self(Owned::new(Arc::new(value)))).map_err(|error| internal("a weight", error))
    }
}

impl fmt::Debug for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Weight").finish_non_exhaustive()
    }
}

/// The memory of a target's device.
pub(super) struct DeviceMemory {
    /// `None` for memory of the host.
    allocator: Option<Owned<Mutex<Allocator>>>,
    /// Whether the provider copies inputs from there to its device when they are bound.
    is_copied: bool,
    /// The memory of frames that graphs can read and write where they are.
    pub(super) frames: Option<FrameMemory>,
}

impl fmt::Debug for DeviceMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeviceMemory").field("is_host", &self.allocator.is_none()).finish_non_exhaustive()
    }
}

/// Elements in the memory of a device, which are not initialized.
pub(super) struct Memory {
    /// Keeps the elements.
    _tensor: Owned<DynTensor>,
    address: usize,
    /// Number of elements.
    pub(super) len: usize,
    pub(super) element: ElementType,
    device: Arc<DeviceMemory>,
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").field("len", &self.len).field("element", &self.element).finish_non_exhaustive()
    }
}

impl DeviceMemory {
    /// Allocates `len` elements.
    ///
    /// # Errors
    ///
    /// `OutOfMemory` with the bytes that are needed.
    pub(super) fn allocate(self: &Arc<Self>, len: usize, element: ElementType) -> Result<Memory> {
        let _call = Call::again()?;
        let made = match &self.allocator {
            Some(allocator) => {
                let allocator = allocator.lock().unwrap_or_else(PoisonError::into_inner);
                DynTensor::new(&allocator, element_type(element), [len as i64])
            }
            None => DynTensor::new(&Allocator::default(), element_type(element), [len as i64]),
        };
        let tensor = made.map_err(|error| {
            let text = format!("failed to allocate {} bytes on the device", len * element.size());
            Error::new(ErrorKind::OutOfMemory, text).with_source(error)
        })?;
        Ok(Memory {
            address: tensor.data_ptr() as usize,
            _tensor: Owned::new(tensor),
            len,
            element,
            device: Arc::clone(self),
        })
    }
}

impl Memory {
    /// Returns true if it was allocated by `device`.
    pub(super) fn is_of(&self, device: &Arc<DeviceMemory>) -> bool {
        Arc::ptr_eq(&self.device, device)
    }
}

fn element_type(element: ElementType) -> TensorElementType {
    match element {
        ElementType::F32 => TensorElementType::Float32,
        ElementType::F16 => TensorElementType::Float16,
        ElementType::I64 => TensorElementType::Int64,
        ElementType::U8 => TensorElementType::Uint8,
    }
}

fn internal(what: &str, error: ort::Error<()>) -> Error {
    Error::new(ErrorKind::Internal, format!("failed to create {what} for ONNX Runtime")).with_source(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_for_missing_memory_has_its_own_kind() {
        let kind = |text: &str| failed(ort::Error::new(text)).kind();
        let arena = "bfc_arena.cc:358 Failed to allocate memory for requested buffer of size 67108864";
        assert_eq!(kind(arena), ErrorKind::OutOfMemory);
        assert_eq!(kind("CUDA failure 2: out of memory ; GPU=0"), ErrorKind::OutOfMemory);
        assert_eq!(kind("CUBLAS failure 3: the resource allocation failed ; GPU=0"), ErrorKind::OutOfMemory);
        assert_eq!(kind("Failed to find kernel for com.microsoft.GroupNorm(1)"), ErrorKind::Unsupported);
    }

    #[test]
    fn the_version_is_that_of_the_file_name() {
        let version = |name: &str| version_in(&Path::new("no-such-folder-1.2").join(name));
        assert_eq!(version("libonnxruntime.so.1.32.0").as_deref(), Some("1.32.0"));
        assert_eq!(version("libonnxruntime.1.32.0.dylib").as_deref(), Some("1.32.0"));
        assert_eq!((version("onnxruntime.dll"), version("libonnxruntime.so.1")), (None, None));
    }
}
