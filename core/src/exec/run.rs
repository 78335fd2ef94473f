//! The arguments of a network's run.

use std::array;

use super::{Constants, Past, Region, Scratch, View, ViewMut};
use crate::error::{Error, ErrorKind, Result};

/// The arguments of [`Network::run`](super::Network::run).
#[derive(Debug)]
pub struct RunArgs<'a, 'b> {
    /// The network's own constants.
    pub constants: &'a Constants,
    /// Scratch memory.
    pub scratch: &'a mut Scratch,
    /// The program's frame inputs, in order, each as long as its shape.
    pub inputs: &'a [View<'a>],
    /// The program's outputs, in order, each as long as its shape.
    pub outputs: &'a mut [ViewMut<'b>],
    /// Keys and values of earlier frames; without them, each layer attends to its own only, and none are stored.
    pub past: Option<Past<'a>>,
    /// For a network of [`Executor::compile_keeping`](super::Executor::compile_keeping): the pixels of the frame inputs
    /// that may differ from those of the last run with this scratch memory, all of the same size; without it, all.
    pub changed: Option<&'a Region>,
    /// The time of each step is added to these, in order, and its jobs replace those of the run before; they are filled
    /// in if there are none yet. They stay empty if the device does not measure steps.
    pub times: Option<&'a mut Vec<StepTime>>,
}

impl<'a, 'b> RunArgs<'a, 'b> {
    /// Returns arguments without a past, a region and times.
    pub fn new(
        constants: &'a Constants,
        scratch: &'a mut Scratch,
        inputs: &'a [View<'a>],
        outputs: &'a mut [ViewMut<'b>],
    ) -> Self {
        Self { constants, scratch, inputs, outputs, past: None, changed: None, times: None }
    }
}

/// The cost of one step of a network.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct StepTime {
    /// The description of the step and its shapes; equal for steps of equal cost.
    pub what: String,
    /// Multiplications and additions of its products, counted as for the direct algorithm; 0 for other steps.
    pub operations: f64,
    /// Its duration, in nanoseconds.
    pub nanos: u64,
    /// Bytes of weights that it reads, and of values that it reads and writes, each once.
    pub bytes: StepBytes,
    /// Its jobs in the last run, in order. What it does between them, one thread does alone.
    pub jobs: Vec<JobTime>,
}

/// The bytes of the operands of a step.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StepBytes {
    /// Of weights.
    pub weights: usize,
    /// Of inputs and outputs.
    pub values: usize,
}

/// The time of a job: of pieces of work that threads take one after the other, all of which end before the step goes
/// on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JobTime {
    /// From its start until all pieces are done, in nanoseconds.
    pub nanos: u64,
    /// The duration of each piece, in the order in which they are taken, in nanoseconds.
    pub pieces: Vec<u64>,
}

impl StepTime {
    /// Returns the step `what` with a duration of 0.
    pub(super) fn new(what: String, operations: f64, bytes: StepBytes) -> Self {
        Self { what, operations, nanos: 0, bytes, jobs: Vec::new() }
    }
}

/// Maximum number of frame inputs of a network.
const MAX_INPUTS: usize = 192;

/// The inputs of a run, collected without an allocation.
#[derive(Debug)]
pub struct Inputs<'a> {
    views: [View<'a>; MAX_INPUTS],
    len: usize,
}

impl<'a> Inputs<'a> {
    /// Returns an empty list.
    pub fn new() -> Self {
        Self { views: [View::default(); MAX_INPUTS], len: 0 }
    }

    /// Adds an input.
    ///
    /// # Errors
    ///
    /// `Internal` for more than 192.
    pub fn push(&mut self, input: impl Into<View<'a>>) -> Result<()> {
        let place = self.views.get_mut(self.len);
        let text = || {
            Error::new(
                ErrorKind::Internal,
                format!("input count: got more than {MAX_INPUTS}, expected at most {MAX_INPUTS}"),
            )
        };
        *place.ok_or_else(text)? = input.into();
        self.len += 1;
        Ok(())
    }

    /// Returns all of them, in order.
    pub fn get(&self) -> &[View<'a>] {
        &self.views[..self.len]
    }
}

impl Default for Inputs<'_> {
    fn default() -> Self {
        Self::new()
    }
}

/// Calls `run` with views of the slices.
pub(super) fn with_views<'b, T>(
    inputs: &'b [&[f32]],
    outputs: &'b mut [&mut [f32]],
    run: impl FnOnce(&[View<'b>], &mut [ViewMut<'b>]) -> T,
) -> T {
    const FEW: usize = 8;
    let (inputs_len, outputs_len) = (inputs.len(), outputs.len());
    let mut inputs = inputs.iter().map(|input| View::Host(input));
    let mut outputs = outputs.iter_mut().map(|output| ViewMut::Host(output));
    if inputs_len.max(outputs_len) > FEW {
        let (inputs, mut outputs): (Vec<_>, Vec<_>) = (inputs.collect(), outputs.collect());
        return run(&inputs, &mut outputs);
    }
    let inputs: [View<'b>; FEW] = array::from_fn(|_| inputs.next().unwrap_or_default());
    let mut outputs: [ViewMut<'b>; FEW] = array::from_fn(|_| outputs.next().unwrap_or_default());
    run(&inputs[..inputs_len], &mut outputs[..outputs_len])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_keep_their_order_and_too_many_are_refused() {
        let elements = [1.0, 2.0, 3.0];
        let mut inputs = Inputs::new();
        inputs.push(&elements[..2]).unwrap();
        inputs.push(&elements[2..]).unwrap();
        let seen: Vec<&[f32]> = inputs.get().iter().map(|view| view.host().unwrap()).collect();
        assert_eq!(seen, [&[1.0, 2.0][..], &[3.0]]);
        (2..MAX_INPUTS).for_each(|_| inputs.push(&elements).unwrap());
        assert_eq!(inputs.push(&elements).unwrap_err().kind(), ErrorKind::Internal);
    }

    #[test]
    fn few_and_many_slices_become_views_in_order() {
        let elements: Vec<f32> = (0..20).map(|i| i as f32).collect();
        for len in [0, 1, 8, 9, 20] {
            let inputs: Vec<&[f32]> = elements[..len].chunks(1).collect();
            let mut room = vec![0.0; len];
            let mut outputs: Vec<&mut [f32]> = room.chunks_mut(1).collect();
            with_views(&inputs, &mut outputs, |inputs, outputs| {
                for (from, to) in inputs.iter().zip(outputs) {
                    to.host().unwrap().copy_from_slice(from.host().unwrap());
                }
            });
            assert_eq!(room, elements[..len]);
        }
    }
}
