//! A network on ONNX Runtime: its sessions, constants and cached attention.

use std::sync::{Arc, Mutex, PoisonError};

use half::f16;
use half::slice::HalfFloatSliceExt as _;

use super::super::{Constants, FrameKeys, MOST_PAST_FRAMES, Network, Past, RunArgs, Scratch, View, ViewMut};
use super::device::OnnxDevice;
use super::emit::{self, Graphs};
use super::proto::ElementType;
use super::runtime::{Memory, Operand, OperandMut, Session};
use crate::error::{Error, ErrorKind, Result};
use crate::net::{Program, Rate, Shape, ValueId, elements};

/// A compiled program.
#[derive(Debug)]
pub(super) struct OnnxNetwork {
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
    /// The shapes of keys and values of each layer with cached attention.
    cached: Vec<[Shape; 2]>,
    /// Memory that keys and values of a frame are written to, before they replace those of an earlier frame, which the same
    /// run reads.
    spare: Mutex<LayerKeys>,
    /// Identifies the network's own constants and frames.
    id: Arc<()>,
}

/// The keys and values of each layer with cached attention.
type LayerKeys = Vec<[Memory; 2]>;

/// The keys and values of a frame.
struct OnnxKeys {
    network: Arc<()>,
    layers: LayerKeys,
}

/// The constants of a network.
struct OnnxConstants {
    network: Arc<()>,
    /// In the order of [`OnnxNetwork::constants`].
    values: Vec<Memory>,
    /// The place of an earlier frame that is missing.
    nothing: Memory,
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
        let nothing = self.device.allocate(1, self.device.element)?;
        Ok(Constants::new(OnnxConstants { network: Arc::clone(&self.id), values, nothing }))
    }

    fn run(&self, args: RunArgs<'_, '_>) -> Result<()> {
        let RunArgs { constants, inputs, outputs, past, .. } = args;
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
        if self.cached.is_empty() {
            return self.run_frame(&operands, outputs, &mut []);
        }
        let past = past.unwrap_or_default();
        let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        {
            let frames = self.earlier_frames(&past)?;
            for layer in 0..self.cached.len() {
                for index in 0..MOST_PAST_FRAMES {
                    let frame = frames.get(index).copied();
                    for which in 0..2 {
                        // A missing frame has no elements, wherever they are.
                        let (memory, len) = match frame {
                            Some(frame) => (&frame[layer][which], frame[layer][which].len),
                            None => (&constants.nothing, 0),
                        };
                        operands.push(Operand::Device(memory, 0..len));
                    }
                }
            }
            self.run_frame(&operands, outputs, &mut spare)?;
        }
        let Some(keep) = past.keep else { return Ok(()) };
        match past.frames.get_mut(keep).and_then(FrameKeys::get_mut::<OnnxKeys>) {
            Some(keys) => std::mem::swap(&mut keys.layers, &mut *spare),
            None => return Err(self.invalid("the earlier frames belong to another network".into())),
        }
        Ok(())
    }

    fn frame_keys_bytes(&self) -> usize {
        self.cached.iter().flatten().map(|shape| shape.len() * self.device.element.size()).sum()
    }

    fn frame_keys(&self) -> Result<FrameKeys> {
        let layers = layer_keys(&self.device, &self.cached)?;
        Ok(FrameKeys::new(OnnxKeys { network: Arc::clone(&self.id), layers }))
    }
}

/// Allocates the keys and values of a frame.
fn layer_keys(device: &OnnxDevice, shapes: &[[Shape; 2]]) -> Result<LayerKeys> {
    let layer = |[k, v]: &[Shape; 2]| {
        Ok([device.allocate(k.len(), device.element)?, device.allocate(v.len(), device.element)?])
    };
    shapes.iter().map(layer).collect()
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
    /// Prepares the sessions of the graphs, of the constants and of a frame.
    ///
    /// # Errors
    ///
    /// `OutOfMemory`.
    pub(super) fn new(
        program: Arc<Program>,
        device: Arc<OnnxDevice>,
        (constant, frame): (Option<Session>, Session),
        graphs: Graphs,
    ) -> Result<Self> {
        let ranges = |rate| program.inputs_at(rate).map(|input| emit::index_range(&program, input.value)).collect();
        let (constant_ranges, frame_ranges) = (ranges(Rate::Constant), ranges(Rate::Frame));
        let cached: Vec<[Shape; 2]> =
            graphs.cached.iter().map(|values| values.map(|value| program.shape(value))).collect();
        let spare = Mutex::new(layer_keys(&device, &cached)?);
        let (constants, id) = (graphs.constants, Arc::new(()));
        Ok(Self { program, device, constant, frame, constants, constant_ranges, frame_ranges, cached, spare, id })
    }

    /// Runs the graphs once, on zeros: at its first run a provider selects and compiles kernels, which takes seconds on CUDA.
    /// Frames would wait for that.
    ///
    /// # Errors
    ///
    /// `OutOfMemory`, and those of the device.
    pub(super) fn warm_up(&self) -> Result<()> {
        let zeros = |values: &mut dyn Iterator<Item = ValueId>| {
            values.map(|value| elements::zeros(self.program.shape(value).len())).collect::<Result<Vec<_>>>()
        };
        let constants = zeros(&mut self.program.inputs_at(Rate::Constant).map(|input| input.value))?;
        let constants = self.constants(&constants.iter().map(Vec::as_slice).collect::<Vec<_>>())?;
        let inputs = zeros(&mut self.program.inputs_at(Rate::Frame).map(|input| input.value))?;
        let inputs: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
        let mut outputs = zeros(&mut self.program.outputs().iter().map(|output| output.value))?;
        let mut outputs: Vec<&mut [f32]> = outputs.iter_mut().map(Vec::as_mut_slice).collect();
        self.run_on_host(&constants, &mut Scratch::new(), &inputs, &mut outputs)
    }

    /// Returns the keys and values of the frames that contain one.
    fn earlier_frames<'a>(&self, past: &'a Past<'_>) -> Result<Vec<&'a LayerKeys>> {
        past.check(&self.program).map_err(|error| error.within(self.program.name()))?;
        let own = |frame: &'a FrameKeys| {
            let keys: Option<&OnnxKeys> = frame.get().filter(|keys: &&OnnxKeys| Arc::ptr_eq(&keys.network, &self.id));
            keys.map(|keys| &keys.layers)
                .ok_or_else(|| self.invalid("the earlier frames belong to another network".into()))
        };
        let frames = past.frames.iter().map(own).collect::<Result<Vec<_>>>()?;
        Ok(frames[..past.filled].to_vec())
    }

    /// Runs the graph of a frame on all of its inputs; the keys and values of its layers with cached attention are `keys`.
    fn run_frame(&self, operands: &[Operand<'_>], outputs: &mut [ViewMut<'_>], keys: &mut [[Memory; 2]]) -> Result<()> {
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
        for memory in keys.iter_mut().flatten() {
            let range = 0..memory.len;
            rooms.push(OperandMut::Device(memory, range));
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
