//! Runs programs with ONNX Runtime, as graphs that are written from them in memory.
//!
//! `emit` writes a program as two graphs, of the constants and of a frame, with the operators of a `dialect`; weights are
//! passed separately. Values are in the memory of the provider's device, where `queue` computes with them by graphs of its
//! own (`glue`). `runtime`, with its folder, is the only file that names the crate of
//! the library.

mod compiled;
#[cfg(any(test, feature = "internals"))]
mod compiler;
mod conversions;
mod cuda_driver;
#[cfg(any(test, feature = "internals"))]
#[cfg_attr(not(test), allow(dead_code, reason = "tests read more of a model"))]
mod decode;
mod device;
mod dialect;
mod emit;
#[cfg(test)]
mod frame_tests;
mod glue;
mod graph;
mod libraries;
mod network;
mod proto;
mod providers;
mod queue;
#[cfg(test)]
mod queue_tests;
mod runtime;
mod sessions;
#[cfg(test)]
pub(super) mod tests;

use std::sync::Arc;

#[cfg(any(test, feature = "internals"))]
pub use self::compiler::{Compiled, OnnxCompiler};
use self::device::OnnxDevice;
pub use self::device::{OnnxConfig, OnnxCounts};
use self::dialect::Dialect;
use self::emit::Graphs;
use self::graph::{Form, GraphWeight, Model};
use self::network::OnnxNetwork;
use self::proto::ElementType;
pub use self::providers::{Packaging, Row};
use self::queue::OnnxQueue;
pub use self::runtime::preload;
use self::runtime::{Session, Weight};
use super::{Dtype, Executor, Network, Provider, Queue};
use crate::error::{Error, ErrorKind, Result};
use crate::net::{Program, Weights, elements};

/// Runs programs with ONNX Runtime.
#[derive(Debug, Clone)]
pub struct OnnxExecutor {
    device: Arc<OnnxDevice>,
    threads: usize,
}

impl OnnxExecutor {
    /// Loads the library, once per process, and adds two numbers on the device.
    ///
    /// # Errors
    ///
    /// `NotFound` if there is no such library, `Unsupported` if it is not ONNX Runtime 1.24 or newer, if it lacks the
    /// provider or the device, or for another number format, `InvalidArgument` if the process has loaded another library.
    pub fn new(config: &OnnxConfig<'_>) -> Result<Self> {
        Ok(Self { device: Arc::new(OnnxDevice::open(config)?), threads: config.threads })
    }

    /// Returns the version of ONNX Runtime.
    pub fn version(&self) -> String {
        self.device.version()
    }

    /// Returns the counters since the last call.
    pub fn take_counts(&self) -> OnnxCounts {
        self.device.take_counts()
    }

    fn session(&self, program: &Program, weights: &Weights, model: &Model) -> Result<Session> {
        if self.device.compiles
            && let Some(session) = self.compiled_session(program, weights, model)?
        {
            return Ok(session);
        }
        let tensors = model.weights.iter().map(|weight| Self::weight(program, weights, weight));
        let tensors = tensors.collect::<Result<Vec<_>>>()?;
        self.device.sessions.frame_session(model, &tensors).map_err(|error| error.within(program.name()))
    }

    fn weight(program: &Program, weights: &Weights, weight: &GraphWeight) -> Result<Arc<Weight>> {
        let spec = &program.weights()[weight.weight];
        let form = match (weight.form, weight.element) {
            (Form::Plain, ElementType::F16) => "onnx-f16",
            (Form::Plain, _) => "onnx-f32",
            (Form::Transposed, ElementType::F16) => "onnx-f16-transposed",
            (Form::Transposed, _) => "onnx-f32-transposed",
        };
        weights.check_cancelled()?;
        weights.packed(&[&spec.name], form, || {
            let mut elements = weights.source().read(&spec.name, &spec.shape)?;
            if weight.form == Form::Transposed {
                let mut transposed = elements::zeros(elements.len())?;
                dreamframe_kernels::numbers::transpose(&elements, weight.dims[0] as usize, &mut transposed);
                elements = transposed;
            }
            Weight::new(elements, &weight.dims, weight.element)
        })
    }

    /// Returns the network that runs the graphs of `program`, after a first run.
    fn network(&self, program: &Arc<Program>, weights: &Weights, graphs: Graphs) -> Result<Arc<OnnxNetwork>> {
        let constant = graphs.constant.as_ref().map(|model| self.session(program, weights, model)).transpose()?;
        let frame = self.session(program, weights, &graphs.frame)?;
        let network = OnnxNetwork::new(Arc::clone(program), Arc::clone(&self.device), (constant, frame), graphs)?;
        weights.check_cancelled()?;
        network.warm_up()?;
        Ok(Arc::new(network))
    }
}

impl Executor for OnnxExecutor {
    fn name(&self) -> &'static str {
        "onnx"
    }

    fn describe(&self) -> String {
        format!("onnx ({}, {}, ONNX Runtime {})", self.device.row.provider, self.dtype(), self.version())
    }

    fn dtype(&self) -> Dtype {
        if self.device.element == ElementType::F16 { Dtype::F16 } else { Dtype::F32 }
    }

    fn is_faster_in_batches(&self) -> bool {
        self.device.row.provider != Provider::Cpu
    }

    fn device_key(&self) -> Option<String> {
        Some(format!("onnx {:p}", Arc::as_ptr(&self.device)))
    }

    fn threads(&self) -> usize {
        self.threads
    }

    fn queue(&self) -> Arc<dyn Queue> {
        Arc::new(OnnxQueue::new(Arc::clone(&self.device)))
    }

    /// Engines share networks, and with them the weights on the device.
    fn compile(&self, program: &Arc<Program>, weights: &Weights) -> Result<Arc<dyn Network>> {
        check_supported(program)?;
        let names: Vec<&str> = program.weights().iter().map(|weight| &*weight.name).collect();
        let forms = weights.forms_of(&names);
        if let Some(network) = self.device.network(program, forms) {
            weights.report_loaded(&names);
            return Ok(network);
        }
        let emit = |dialect| emit::emit(program, self.device.element, dialect);
        let dialect = self.device.row.dialect;
        let network: Arc<dyn Network> = match self.network(program, weights, emit(dialect)) {
            // Kernels of operators that are not standard have limits of their own.
            Err(error) if error.kind() == ErrorKind::Unsupported && dialect == Dialect::Cuda => {
                tracing::debug!(network = program.name(), %error, "standard operators are used");
                self.network(program, weights, emit(Dialect::Standard))?
            }
            made => made?,
        };
        self.device.add_network(program, forms, &network);
        Ok(network)
    }
}

/// Checks that graphs have all operations of `program`.
///
/// # Errors
///
/// `Unsupported` for feature injection and token merging.
fn check_supported(program: &Program) -> Result<()> {
    if program.injects() || program.merges_tokens() {
        let text = "feature injection or token merging: got ONNX Runtime, expected the CPU executor";
        return Err(Error::new(ErrorKind::Unsupported, text).within(program.name()));
    }
    Ok(())
}
