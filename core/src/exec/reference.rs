//! The reference executor: candle tensors in `f32`, one operation at a time.
//!
//! Each operation is implemented in the simplest way; norms compute their statistics in `f64`. It is not optimized for
//! speed.

mod ops;
mod past;

use std::collections::HashMap;
use std::sync::Arc;

use candle_core::{Device, Tensor};

use self::past::{LookBack, Seen};
use super::{Constants, Executor, FrameKeys, Network, RunArgs, View};
use crate::error::{Error, ErrorKind, Result};
use crate::net::{Input, Op, OpKind, Program, Rate, Shape, ValueId, Weights};

/// Runs programs with candle on the CPU.
#[derive(Debug, Clone, Copy, Default)]
pub struct ReferenceExecutor;

impl Executor for ReferenceExecutor {
    fn name(&self) -> &'static str {
        "reference"
    }

    /// candle's thread pool is shared by the whole process.
    /// One row has enough work for all cores.
    fn is_faster_in_batches(&self) -> bool {
        false
    }

    fn threads(&self) -> usize {
        candle_core::utils::get_num_threads()
    }

    fn compile(&self, program: &Arc<Program>, weights: &Weights) -> Result<Arc<dyn Network>> {
        let tensor = |name: &str, shape: &[usize]| {
            let elements = weights.source().read(name, shape)?;
            Tensor::from_vec(elements, shape, &Device::Cpu).map_err(|error| failed(format!("weight {name}"), error))
        };
        let weights = program.weights().iter().map(|spec| {
            weights.check_cancelled()?;
            weights.packed(&[&spec.name], "reference", || tensor(&spec.name, &spec.shape))
        });
        let weights = weights.collect::<Result<Vec<_>>>()?;
        Ok(Arc::new(ReferenceNetwork {
            program: program.clone(),
            weights,
            last_use: last_use(program),
            id: Arc::new(()),
        }))
    }
}

#[derive(Debug)]
struct ReferenceNetwork {
    program: Arc<Program>,
    weights: Vec<Arc<Tensor>>,
    /// For each value, the index of the last operation that reads it.
    last_use: Vec<usize>,
    /// Identifies the network's own constants.
    id: Arc<()>,
}

struct ReferenceConstants {
    network: Arc<()>,
    values: HashMap<ValueId, Tensor>,
}

/// Outputs are never dropped.
fn last_use(program: &Program) -> Vec<usize> {
    let mut last = vec![0; program.shapes().len()];
    for (place, op) in program.ops().iter().enumerate() {
        op.inputs.iter().for_each(|input| last[input.index()] = place);
    }
    program.outputs().iter().for_each(|output| last[output.value.index()] = usize::MAX);
    last
}

impl Network for ReferenceNetwork {
    fn program(&self) -> &Program {
        &self.program
    }

    fn constants(&self, inputs: &[&[f32]]) -> Result<Constants> {
        let inputs: Vec<View<'_>> = inputs.iter().map(|input| View::Host(input)).collect();
        let mut values = self.read_inputs(Rate::Constant, &inputs)?;
        let ops = self.program.ops().iter().filter(|op| self.program.is_constant(op.output));
        for op in ops {
            let result = self.apply(op, |value| values.get(&value))?;
            values.insert(op.output, result);
        }
        // Only values that frames read are kept.
        let frame_ops = || self.program.ops().iter().filter(|op| !self.program.is_constant(op.output));
        values.retain(|value, _| {
            frame_ops().any(|op| op.inputs.contains(value))
                || self.program.outputs().iter().any(|output| output.value == *value)
        });
        Ok(Constants::new(ReferenceConstants { network: self.id.clone(), values }))
    }

    fn run(&self, mut args: RunArgs<'_, '_>) -> Result<()> {
        let Some(mut past) = args.past.take() else { return self.frame(args, &mut LookBack::default()) };
        past.check(&self.program).map_err(|error| error.within(self.program.name()))?;
        let mut look_back = LookBack::new(&past, &self.id).map_err(|error| error.within(self.program.name()))?;
        self.frame(args, &mut look_back)?;
        look_back.keep(&mut past)
    }

    fn frame_keys(&self) -> Result<FrameKeys> {
        Ok(FrameKeys::new(Seen::none(self.id.clone())))
    }

    fn frame_keys_bytes(&self) -> usize {
        let keys = |op: &Op| op.inputs[1..].iter().map(|&value| self.program.shape(value).len()).sum::<usize>();
        let of_op = |op: &Op| match past::cached_layer(op) {
            Some(_) => keys(op),
            None if matches!(op.kind, OpKind::Inject { .. }) => self.program.shape(op.output).len(),
            None => 0,
        };
        self.program.ops().iter().map(of_op).sum::<usize>() * size_of::<f32>()
    }
}

impl ReferenceNetwork {
    /// Runs on one frame, without keeping its keys and values.
    fn frame(&self, args: RunArgs<'_, '_>, look_back: &mut LookBack) -> Result<()> {
        let RunArgs { constants, inputs, outputs, .. } = args;
        let constants = constants
            .get::<ReferenceConstants>()
            .filter(|constants| Arc::ptr_eq(&constants.network, &self.id))
            .ok_or_else(|| self.refused("the constants belong to another network".into()))?;
        let wanted: Vec<Shape> = self.program.outputs().iter().map(|out| self.program.shape(out.value)).collect();
        if outputs.len() != wanted.len() || outputs.iter().zip(&wanted).any(|(out, shape)| out.len() != shape.len()) {
            let lens: Vec<usize> = outputs.iter().map(|out| out.len()).collect();
            return Err(self.refused(format!("outputs: got {lens:?} elements, expected the shapes {wanted:?}")));
        }
        let mut values = self.read_inputs(Rate::Frame, inputs)?;
        for (place, op) in self.program.ops().iter().enumerate() {
            if self.program.is_constant(op.output) {
                continue;
            }
            let value = |value| values.get(&value).or_else(|| constants.values.get(&value));
            let result = match past::cached_layer(op) {
                Some(layer) => self.attend_to_past(op, layer, look_back, value)?,
                None => self.apply_or_inject(op, look_back, value)?,
            };
            values.insert(op.output, result);
            op.inputs.iter().filter(|input| self.last_use[input.index()] <= place).for_each(|input| {
                values.remove(input);
            });
        }
        for (output, room) in self.program.outputs().iter().zip(outputs) {
            let value = values.get(&output.value).or_else(|| constants.values.get(&output.value));
            let value = value.ok_or_else(|| self.bug("an output is never written"))?;
            let elements = value.flatten_all().and_then(|flat| flat.to_vec1::<f32>());
            room.host()?.copy_from_slice(&elements.map_err(|error| failed(format!("output {}", output.name), error))?);
        }
        Ok(())
    }

    /// Attention including cached frames: concatenates keys and values, as for more tokens.
    fn attend_to_past<'a>(
        &self,
        op: &Op,
        layer: usize,
        look_back: &mut LookBack,
        value: impl Fn(ValueId) -> Option<&'a Tensor>,
    ) -> Result<Tensor> {
        let (Some(k), Some(v)) = (value(op.inputs[1]), value(op.inputs[2])) else {
            return Err(self.bug("attention before its keys and values"));
        };
        let [all_k, all_v] = look_back.look(layer, [k, v]).map_err(|error| failed("looking back".into(), error))?;
        let all = |id| match id {
            id if id == op.inputs[1] => Some(&all_k),
            id if id == op.inputs[2] => Some(&all_v),
            id => value(id),
        };
        self.apply(op, all)
    }

    /// Applies an operation; injects tokens of earlier frames, if it is that.
    fn apply_or_inject<'a>(
        &self,
        op: &Op,
        look_back: &mut LookBack,
        value: impl Fn(ValueId) -> Option<&'a Tensor>,
    ) -> Result<Tensor> {
        let OpKind::Inject { layer } = op.kind else { return self.apply(op, value) };
        let x = value(op.inputs[0]).ok_or_else(|| self.bug("feature injection before its input"))?;
        look_back.inject(layer, x).map_err(|error| failed("feature injection".into(), error))
    }

    fn refused(&self, text: String) -> Error {
        Error::new(ErrorKind::InvalidArgument, format!("{}: {text}", self.program.name()))
    }

    fn bug(&self, text: &str) -> Error {
        Error::new(ErrorKind::Internal, format!("{}: {text}", self.program.name()))
    }

    fn read_inputs(&self, rate: Rate, inputs: &[View<'_>]) -> Result<HashMap<ValueId, Tensor>> {
        let wanted: Vec<&Input> = self.program.inputs_at(rate).collect();
        if wanted.len() != inputs.len() {
            return Err(self.refused(format!("input count: got {}, expected {}", inputs.len(), wanted.len())));
        }
        let read = |(input, view): (&Input, &View<'_>)| {
            let elements = view.host()?;
            let shape = self.program.shape(input.value);
            if elements.len() != shape.len() {
                let (name, len) = (&input.name, elements.len());
                return Err(self
                    .refused(format!("{name}: got {len} elements, expected {} for the shape {shape:?}", shape.len())));
            }
            let tensor = Tensor::from_slice(elements, (shape.n, shape.h, shape.w, shape.c), &Device::Cpu);
            Ok((input.value, tensor.map_err(|error| failed(format!("input {}", input.name), error))?))
        };
        wanted.into_iter().zip(inputs).map(read).collect()
    }

    fn apply<'a>(&self, op: &Op, value: impl Fn(ValueId) -> Option<&'a Tensor>) -> Result<Tensor> {
        let inputs: Option<Vec<&Tensor>> = op.inputs.iter().map(|&input| value(input)).collect();
        let inputs = inputs.ok_or_else(|| self.bug("an operation reads a value before it is written"))?;
        let shape = self.program.shape(op.output);
        ops::apply(&op.kind, &inputs, &self.weights, shape)
            .map_err(|error| failed(format!("{}: {:?}", self.program.name(), op.kind), error))
    }
}

/// Ids and indices are inputs; other errors here are bugs of this library.
fn failed(what: String, error: impl Into<ops::OpError>) -> Error {
    match error.into() {
        ops::OpError::Index { index, len } => {
            Error::new(ErrorKind::InvalidArgument, format!("{what}: got index {index}, expected less than {len}"))
        }
        ops::OpError::Candle(error) => {
            Error::new(ErrorKind::Internal, format!("{what} failed in candle")).with_source(error)
        }
    }
}

#[cfg(test)]
mod tests;
