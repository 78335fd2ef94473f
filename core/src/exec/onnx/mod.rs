//! Runs programs with ONNX Runtime, as graphs that are written from them in memory.
//!
//! `emit` writes a program as two graphs, of the constants and of a frame; weights are passed separately. `runtime` is the
//! only file that names the crate of the library.

mod emit;
mod graph;
mod proto;
mod providers;
mod runtime;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;

use self::emit::Graphs;
use self::graph::{Form, GraphBuilder, GraphWeight, Model, Port};
use self::proto::ElementType;
pub use self::providers::{Packaging, Row};
use self::runtime::{Runtime, Session, Target, Weight};
use super::{Constants, Dtype, Executor, FrameKeys, Network, Provider, RunArgs, View, ViewMut};
use crate::error::{Error, ErrorKind, Result};
use crate::net::{Program, Rate, Shape, ValueId, Weights};

/// Runs programs with ONNX Runtime.
#[derive(Debug, Clone)]
pub struct OnnxExecutor {
    runtime: Arc<Runtime>,
    target: Arc<Target>,
    row: &'static Row,
    element: ElementType,
    threads: usize,
}

/// What an [`OnnxExecutor`] runs on.
#[derive(Debug, Clone, Copy)]
pub struct OnnxConfig<'a> {
    /// ONNX Runtime's library.
    pub library: &'a Path,
    /// The execution provider; the CPU's for [`Provider::Auto`].
    pub provider: Provider,
    /// The library of the provider, if it is a plug-in.
    pub plug_in: Option<&'a Path>,
    /// The index of the device among those of the provider.
    pub device_index: u32,
    /// The number format: `F32`, `F16`, or `Auto` for the provider's own.
    pub dtype: Dtype,
    /// Number of threads of the processor.
    pub threads: usize,
}

impl OnnxExecutor {
    /// Loads the library, once per process, and runs a small graph on the device.
    ///
    /// # Errors
    ///
    /// `NotFound` if there is no such library, `Unsupported` if it is not ONNX Runtime 1.24 or newer, if it lacks the
    /// provider or the device, or for another number format, `InvalidArgument` if the process has loaded another library.
    pub fn new(config: &OnnxConfig<'_>) -> Result<Self> {
        let row = Row::of(config.provider);
        let element = match if config.dtype == Dtype::Auto { row.dtype } else { config.dtype } {
            Dtype::Auto | Dtype::F32 => ElementType::F32,
            Dtype::F16 => ElementType::F16,
            dtype @ (Dtype::Bf16 | Dtype::Int8) => {
                let text = format!("dtype: got {dtype} for the executor onnx, expected auto, f32 or f16");
                return Err(Error::new(ErrorKind::Unsupported, text));
            }
        };
        if !row.systems.contains(&std::env::consts::OS) {
            let (got, expected) = (std::env::consts::OS, row.systems.join(" or "));
            let text = format!("provider {}: got the system {got}, expected {expected}", row.provider);
            return Err(Error::new(ErrorKind::Unsupported, text));
        }
        let runtime = Runtime::load(config.library)?;
        let named = |error: Error| error.within(&format!("provider {}", row.provider));
        let target = runtime.target(row, config.device_index, config.plug_in).map_err(named)?;
        let executor = Self { runtime, target: Arc::new(target), row, element, threads: config.threads };
        // The CPU is in every build and machine.
        if row.provider != Provider::Cpu {
            executor.check().map_err(named)?;
        }
        Ok(executor)
    }

    /// Returns the version of ONNX Runtime.
    pub fn version(&self) -> String {
        self.runtime.version()
    }

    /// Adds two numbers on the device.
    fn check(&self) -> Result<()> {
        let mut graph = GraphBuilder::default();
        let port = |name: &str| Port { name: name.to_owned(), element: self.element, dims: vec![1, 1] };
        ["a", "b"].map(port).into_iter().for_each(|port| graph.input(port));
        graph.node_with_outputs("Add", &["a", "b"], &["sum"], &[]);
        graph.output(port("sum"));
        let session = self.runtime.session(&graph.finish("check"), &[], self.threads, &self.target)?;
        let mut sum = [0.0];
        session.run(&[&[1.0], &[2.0]], &mut [&mut sum])?;
        if sum == [3.0] {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Device, format!("1 + 2 on the device: got {}, expected 3", sum[0])))
    }

    fn session(&self, program: &Program, weights: &Weights, model: &Model) -> Result<Session> {
        let tensors = model.weights.iter().map(|weight| self.weight(program, weights, weight));
        let tensors = tensors.collect::<Result<Vec<_>>>()?;
        self.runtime.session(model, &tensors, self.threads, &self.target).map_err(|error| error.within(program.name()))
    }

    fn weight(&self, program: &Program, weights: &Weights, weight: &GraphWeight) -> Result<Arc<Weight>> {
        let spec = &program.weights()[weight.weight];
        let form = match (weight.form, self.element) {
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
            Weight::new(elements, &weight.dims, self.element)
        })
    }
}

impl Executor for OnnxExecutor {
    fn name(&self) -> &'static str {
        "onnx"
    }

    fn describe(&self) -> String {
        format!("onnx ({}, {}, ONNX Runtime {})", self.row.provider, self.dtype(), self.version())
    }

    fn dtype(&self) -> Dtype {
        if self.element == ElementType::F16 { Dtype::F16 } else { Dtype::F32 }
    }

    fn threads(&self) -> usize {
        self.threads
    }

    fn compile(&self, program: &Arc<Program>, weights: &Weights) -> Result<Arc<dyn Network>> {
        let Graphs { constant, frame, constants } = emit::emit(program, self.element);
        let constant = constant.map(|model| self.session(program, weights, &model)).transpose()?;
        let frame = self.session(program, weights, &frame)?;
        let ranges = |rate| program.inputs_at(rate).map(|input| emit::index_range(program, input.value)).collect();
        Ok(Arc::new(OnnxNetwork {
            program: Arc::clone(program),
            constant,
            frame,
            constants,
            constant_ranges: ranges(Rate::Constant),
            frame_ranges: ranges(Rate::Frame),
            id: Arc::new(()),
        }))
    }
}

#[derive(Debug)]
struct OnnxNetwork {
    program: Arc<Program>,
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
    values: Vec<Vec<f32>>,
}

impl Network for OnnxNetwork {
    fn program(&self) -> &Program {
        &self.program
    }

    fn constants(&self, inputs: &[&[f32]]) -> Result<Constants> {
        let shapes =
            self.program.inputs_at(Rate::Constant).map(|input| (&*input.name, self.program.shape(input.value)));
        self.check("input", shapes, inputs.iter().map(|input| input.len()))?;
        self.check_indices(Rate::Constant, inputs)?;
        let mut values: Vec<Vec<f32>> =
            self.constants.iter().map(|&value| vec![0.0; self.program.shape(value).len()]).collect();
        let input_of = |value: &ValueId| self.program.inputs_at(Rate::Constant).position(|input| input.value == *value);
        let mut computed = Vec::new();
        for (value, elements) in self.constants.iter().zip(&mut values) {
            match input_of(value) {
                Some(index) => elements.copy_from_slice(inputs[index]),
                None => computed.push(&mut **elements),
            }
        }
        if let Some(session) = &self.constant {
            session.run(inputs, &mut computed).map_err(|error| error.within(self.program.name()))?;
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
        let mut elements = inputs.iter().map(View::host).collect::<Result<Vec<_>>>()?;
        self.check_indices(Rate::Frame, &elements)?;
        elements.extend(constants.values.iter().map(Vec::as_slice));
        let mut outputs = outputs.iter_mut().map(ViewMut::host).collect::<Result<Vec<_>>>()?;
        self.frame.run(&elements, &mut outputs).map_err(|error| error.within(self.program.name()))
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

impl OnnxNetwork {
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

    /// Checks that token ids and indices are in the range of what they select from.
    fn check_indices(&self, rate: Rate, inputs: &[&[f32]]) -> Result<()> {
        let ranges = match rate {
            Rate::Constant => &self.constant_ranges,
            Rate::Frame => &self.frame_ranges,
        };
        for ((input, elements), range) in self.program.inputs_at(rate).zip(inputs).zip(ranges) {
            let Some(len) = *range else { continue };
            let is_valid = |index: f32| index >= 0.0 && index < len as f32 && index.fract() == 0.0;
            if let Some(index) = elements.iter().find(|&&index| !is_valid(index)) {
                let text = format!("{}: got index {index}, expected a whole number less than {len}", input.name);
                return Err(self.invalid(text));
            }
        }
        Ok(())
    }

    fn invalid(&self, text: String) -> Error {
        Error::new(ErrorKind::InvalidArgument, text).within(self.program.name())
    }
}
