//! A program: the operations of a network, with the names of its inputs, outputs and weights.

use super::{Op, OpKind, Shape};

/// A value of a program: an input, or the output of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ValueId(pub(super) usize);

/// A weight of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WeightId(pub(super) usize);

impl ValueId {
    /// Returns its index in [`Program::shapes`].
    pub fn index(self) -> usize {
        self.0
    }
}

impl WeightId {
    /// Returns its index in [`Program::weights`].
    pub fn index(self) -> usize {
        self.0
    }
}

/// The rate of an input. Values that depend on constant inputs only are computed once, outside the frame loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rate {
    /// Changes only between frames, with the prompt or the schedule.
    Constant,
    /// Changes with every frame.
    Frame,
}

/// An input of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    /// Its name, for messages.
    pub name: String,
    /// Its value.
    pub value: ValueId,
    /// Its rate.
    pub rate: Rate,
}

/// An output of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Its name, for messages.
    pub name: String,
    /// Its value.
    pub value: ValueId,
}

/// A weight that a program needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WeightSpec {
    /// Its name in the checkpoint.
    pub name: String,
    /// Its shape in the checkpoint, outermost dimension first.
    pub shape: Vec<usize>,
}

/// A network: operations in order, on values of fixed shape.
#[derive(Debug, Clone, PartialEq)]
pub struct Program {
    pub(super) name: String,
    pub(super) shapes: Vec<Shape>,
    pub(super) ops: Vec<Op>,
    pub(super) inputs: Vec<Input>,
    pub(super) outputs: Vec<Output>,
    pub(super) weights: Vec<WeightSpec>,
    pub(super) constant: Vec<bool>,
    pub(super) merges_tokens: bool,
    /// How many copies of another program it consists of.
    pub(super) copies: usize,
}

impl Program {
    /// Returns the network's name, for messages and traces.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the shape of every value, by [`ValueId::index`].
    pub fn shapes(&self) -> &[Shape] {
        &self.shapes
    }

    /// Returns the shape of a value.
    pub fn shape(&self, value: ValueId) -> Shape {
        self.shapes[value.0]
    }

    /// Returns the operations, each after the operations whose results it reads.
    pub fn ops(&self) -> &[Op] {
        &self.ops
    }

    /// Returns the number of layers with cached attention.
    pub fn cached_attention_layers(&self) -> usize {
        let cached_layer = |op: &&Op| matches!(op.kind, OpKind::Attention { cached_layer: Some(_), .. });
        self.ops.iter().filter(cached_layer).count()
    }

    /// Returns whether tokens of earlier frames are injected anywhere.
    pub fn injects(&self) -> bool {
        self.ops.iter().any(|op| matches!(op.kind, OpKind::Inject { .. }))
    }

    /// Returns whether the tokens of a frame may be merged with those that its memory contains.
    pub fn merges_tokens(&self) -> bool {
        self.merges_tokens
    }

    /// Returns the largest number of tokens in a row of a layer with cached attention; 0 without one.
    pub fn most_cached_tokens(&self) -> usize {
        let is_cached = |op: &&Op| matches!(op.kind, OpKind::Attention { cached_layer: Some(_), .. });
        self.ops.iter().filter(is_cached).map(|op| self.shape(op.inputs[1]).pixels()).max().unwrap_or(0)
    }

    /// Returns all inputs; [`Network::constants`](crate::exec::Network::constants) takes the constant ones in this
    /// order, [`Network::run`](crate::exec::Network::run) the others.
    pub fn inputs(&self) -> &[Input] {
        &self.inputs
    }

    /// Returns the inputs of one rate, in order.
    pub fn inputs_at(&self, rate: Rate) -> impl Iterator<Item = &Input> {
        self.inputs.iter().filter(move |input| input.rate == rate)
    }

    /// Returns the outputs, in the order in which `run` fills them.
    pub fn outputs(&self) -> &[Output] {
        &self.outputs
    }

    /// Returns the program with `values` as additional outputs, after its own.
    #[must_use]
    pub fn with_outputs(&self, values: &[ValueId]) -> Self {
        let mut program = self.clone();
        program.outputs.extend(values.iter().map(|&value| Output { name: format!("value {}", value.0), value }));
        program
    }

    /// Returns the weights, by [`WeightId::index`].
    pub fn weights(&self) -> &[WeightSpec] {
        &self.weights
    }

    /// Returns a weight.
    pub fn weight(&self, weight: WeightId) -> &WeightSpec {
        &self.weights[weight.0]
    }

    /// Returns whether `value` depends on constant inputs and weights only.
    pub fn is_constant(&self, value: ValueId) -> bool {
        self.constant[value.0]
    }

    /// Like [`is_constant`](Self::is_constant), by [`ValueId::index`].
    pub(super) fn constant_at(&self, index: usize) -> bool {
        self.constant[index]
    }
}
