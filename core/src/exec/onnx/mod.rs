//! Runs programs with ONNX Runtime, as graphs that are written from them in memory.
//!
//! `emit` writes a program as two graphs, of the constants and of a frame, with the operators of a `dialect`; weights are
//! passed separately. Values are in the memory of the provider's device, where `queue` computes with them by graphs of its
//! own (`glue`). `runtime` is the only file that names the crate of the library.

mod device;
mod dialect;
mod emit;
mod glue;
mod graph;
mod proto;
mod providers;
mod queue;
#[cfg(test)]
mod queue_tests;
mod runtime;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use half::f16;
use half::slice::HalfFloatSliceExt as _;

pub use self::device::OnnxConfig;
use self::device::OnnxDevice;
use self::dialect::Dialect;
use self::emit::Graphs;
use self::graph::{Form, GraphWeight, Model};
use self::proto::ElementType;
pub use self::providers::{Packaging, Row};
use self::queue::OnnxQueue;
use self::runtime::{Memory, Operand, OperandMut, Session, Weight};
use super::{Constants, Dtype, Executor, FrameKeys, Network, Queue, RunArgs, View, ViewMut};
use crate::error::{Error, ErrorKind, Result};
use crate::net::{Program, Rate, Shape, ValueId, Weights};

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

    fn session(&self, program: &Program, weights: &Weights, model: &Model) -> Result<Session> {
        let tensors = model.weights.iter().map(|weight| self.weight(program, weights, weight));
        let tensors = tensors.collect::<Result<Vec<_>>>()?;
        self.device.sessions.session(model, &tensors).map_err(|error| error.within(program.name()))
    }

    fn weight(&self, program: &Program, weights: &Weights, weight: &GraphWeight) -> Result<Arc<Weight>> {
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
                let mut transposed = vec![0.0; elements.len()];
                dreamframe_kernels::numbers::transpose(&elements, weight.dims[0] as usize, &mut transposed);
                elements = transposed;
            }
            Weight::new(elements, &weight.dims, weight.element)
        })
    }

    /// Returns the network that runs the graphs of `program`.
    fn network(&self, program: &Arc<Program>, weights: &Weights, graphs: Graphs) -> Result<Arc<dyn Network>> {
        let Graphs { constant, frame, constants } = graphs;
        let constant = constant.map(|model| self.session(program, weights, &model)).transpose()?;
        let frame = self.session(program, weights, &frame)?;
        let ranges = |rate| program.inputs_at(rate).map(|input| emit::index_range(program, input.value)).collect();
        Ok(Arc::new(OnnxNetwork {
            program: Arc::clone(program),
            device: Arc::clone(&self.device),
            constant,
            frame,
            constants,
            constant_ranges: ranges(Rate::Constant),
            frame_ranges: ranges(Rate::Frame),
            id: Arc::new(()),
        }))
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

    fn threads(&self) -> usize {
        self.threads
    }

    fn queue(&self) -> Arc<dyn Queue> {
        Arc::new(OnnxQueue::new(Arc::clone(&self.device)))
    }

    fn compile(&self, program: &Arc<Program>, weights: &Weights) -> Result<Arc<dyn Network>> {
        let emit = |dialect| emit::emit(program, self.device.element, dialect);
        let dialect = self.device.row.dialect;
        match self.network(program, weights, emit(dialect)) {
            // Kernels of operators that are not standard have limits of their own.
            Err(error) if error.kind() == ErrorKind::Unsupported && dialect != Dialect::Standard => {
                tracing::debug!(network = program.name(), %error, "standard operators are used");
                self.network(program, weights, emit(Dialect::Standard))
            }
            made => made,
        }
    }
}

#[derive(Debug)]
struct OnnxNetwork {
    program: Arc<Program>,
    device: Arc<OnnxDevice>,
    /// Computes the constants that are not inputs of the program.
    constant: Option<Session>,
    frame: Session,
    /// The constants that a frame reads.
    constants: Vec<ValueId>,
    /// For each constant input with indices, the number of entries that they select from.
    constant_ranges: Vec<Option<usize>>,
    /// The same for frame inputs.
    frame_ranges: Vec<Option<usize>>,
    /// Identifies the network's own constants.
    id: Arc<()>,
}

/// The constants of a network.
struct OnnxConstants {
    network: Arc<()>,
    /// In the order of [`OnnxNetwork::constants`].
    values: Vec<Memory>,
}

impl Network for OnnxNetwork {
    fn program(&self) -> &Program {
        &self.program
    }

    fn constants(&self, inputs: &[&[f32]]) -> Result<Constants> {
        let shapes =
            self.program.inputs_at(Rate::Constant).map(|input| (&*input.name, self.program.shape(input.value)));
        self.check("input", shapes, inputs.iter().map(|input| input.len()))?;
        for ((input, elements), range) in self.program.inputs_at(Rate::Constant).zip(inputs).zip(&self.constant_ranges)
        {
            self.check_indices(&input.name, elements, *range)?;
        }
        let mut values = Vec::with_capacity(self.constants.len());
        for &value in &self.constants {
            values.push(self.device.allocate(self.program.shape(value).len(), self.element(value))?);
        }
        let input_of = |value: &ValueId| self.program.inputs_at(Rate::Constant).position(|input| input.value == *value);
        let mut computed = Vec::new();
        for (value, memory) in self.constants.iter().zip(&mut values) {
            let range = 0..memory.len;
            match input_of(value) {
                Some(index) => self.device.fill(memory, inputs[index])?,
                None => computed.push(OperandMut::Device(memory, range)),
            }
        }
        if let Some(session) = &self.constant {
            let mut converted: Vec<Vec<f16>> = vec![Vec::new(); inputs.len()];
            let program_inputs = self.program.inputs_at(Rate::Constant).zip(inputs).zip(&mut converted);
            let operands: Vec<Operand<'_>> = program_inputs
                .map(|((input, elements), converted)| host_operand(elements, self.element(input.value), converted))
                .collect();
            session.run(&operands, &mut computed).map_err(|error| error.within(self.program.name()))?;
        }
        Ok(Constants::new(OnnxConstants { network: Arc::clone(&self.id), values }))
    }

    fn run(&self, args: RunArgs<'_, '_>) -> Result<()> {
        let RunArgs { constants, inputs, outputs, past, .. } = args;
        if past.is_some_and(|past| !past.frames.is_empty()) {
            self.frame_keys()?;
        }
        let constants = constants
            .get::<OnnxConstants>()
            .filter(|constants| Arc::ptr_eq(&constants.network, &self.id))
            .ok_or_else(|| self.invalid("the constants belong to another network".into()))?;
        let shapes = self.program.inputs_at(Rate::Frame).map(|input| (&*input.name, self.program.shape(input.value)));
        self.check("input", shapes, inputs.iter().map(View::len))?;
        let shapes = self.program.outputs().iter().map(|output| (&*output.name, self.program.shape(output.value)));
        self.check("output", shapes, outputs.iter().map(|output| output.len()))?;
        let mut converted: Vec<Vec<f16>> = vec![Vec::new(); inputs.len()];
        let mut operands = Vec::with_capacity(inputs.len() + constants.values.len());
        let program_inputs = self.program.inputs_at(Rate::Frame).zip(&self.frame_ranges);
        for (((input, range), view), converted) in program_inputs.zip(inputs).zip(&mut converted) {
            operands.push(match view {
                View::Host(elements) => {
                    self.check_indices(&input.name, elements, *range)?;
                    host_operand(elements, self.element(input.value), converted)
                }
                View::Device(_) => self.device.on_device(view)?,
            });
        }
        operands.extend(constants.values.iter().map(|memory| Operand::Device(memory, 0..memory.len)));
        self.run_frame(&operands, outputs)
    }

    /// Fails for networks with cached attention, so that an update which switches it on is rejected.
    fn frame_keys(&self) -> Result<FrameKeys> {
        if self.program.cached_attention_layers() == 0 {
            return Ok(FrameKeys::new(()));
        }
        let text = "the executor onnx does not support cached attention";
        Err(Error::new(ErrorKind::Unsupported, text).within(self.program.name()))
    }
}

/// Returns elements of the host in the format `element`.
fn host_operand<'a>(elements: &'a [f32], element: ElementType, converted: &'a mut Vec<f16>) -> Operand<'a> {
    if element != ElementType::F16 {
        return Operand::Floats(elements);
    }
    converted.clear();
    converted.extend(elements.iter().map(|&element| f16::from_f32(element)));
    Operand::Halves(converted)
}

impl OnnxNetwork {
    /// Runs the graph of a frame on all of its inputs.
    fn run_frame(&self, operands: &[Operand<'_>], outputs: &mut [ViewMut<'_>]) -> Result<()> {
        let is_half =
            |output: &ViewMut<'_>| matches!(output, ViewMut::Host(_)) && self.device.element == ElementType::F16;
        let mut halves: Vec<Vec<f16>> =
            outputs.iter().map(|output| vec![f16::ZERO; if is_half(output) { output.len() } else { 0 }]).collect();
        let mut rooms = Vec::with_capacity(outputs.len());
        for (output, halves) in outputs.iter_mut().zip(&mut halves) {
            rooms.push(match output {
                ViewMut::Device(_) => self.device.on_device_mut(output)?,
                ViewMut::Host(_) if !halves.is_empty() => OperandMut::Halves(halves),
                ViewMut::Host(elements) => OperandMut::Floats(elements),
            });
        }
        self.frame.run(operands, &mut rooms).map_err(|error| error.within(self.program.name()))?;
        for (output, halves) in outputs.iter_mut().zip(&halves) {
            if let (ViewMut::Host(elements), false) = (output, halves.is_empty()) {
                halves.convert_to_f32_slice(elements);
            }
        }
        Ok(())
    }

    /// Returns the format of a value: token ids and indices are in single precision.
    fn element(&self, value: ValueId) -> ElementType {
        if emit::index_range(&self.program, value).is_some() { ElementType::F32 } else { self.device.element }
    }

    /// Checks the number of inputs or outputs, and their lengths.
    fn check<'a>(
        &self,
        what: &str,
        shapes: impl Iterator<Item = (&'a str, Shape)>,
        lens: impl ExactSizeIterator<Item = usize>,
    ) -> Result<()> {
        let shapes: Vec<(&str, Shape)> = shapes.collect();
        if lens.len() != shapes.len() {
            return Err(self.invalid(format!("{what} count: got {}, expected {}", lens.len(), shapes.len())));
        }
        let misfit = shapes.iter().zip(lens).find(|((_, shape), len)| shape.len() != *len);
        misfit.map_or(Ok(()), |((name, shape), len)| {
            Err(self.invalid(format!("{name}: got {len} elements, expected {} for the shape {shape:?}", shape.len())))
        })
    }

    /// Checks that token ids and indices are less than `range`, the number of entries that they select from.
    fn check_indices(&self, name: &str, elements: &[f32], range: Option<usize>) -> Result<()> {
        let Some(len) = range else { return Ok(()) };
        let is_valid = |index: f32| index >= 0.0 && index < len as f32 && index.fract() == 0.0;
        elements.iter().find(|&&index| !is_valid(index)).map_or(Ok(()), |index| {
            Err(self.invalid(format!("{name}: got index {index}, expected a whole number less than {len}")))
        })
    }

    fn invalid(&self, text: String) -> Error {
        Error::new(ErrorKind::InvalidArgument, text).within(self.program.name())
    }
}
