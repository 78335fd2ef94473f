//! A program: what a network does, with the names of its inputs, outputs and weights.

use super::{Op, OpKind, Shape};

/// A value of a program: an input, or what one operation wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ValueId(pub(super) usize);

/// A weight of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WeightId(pub(super) usize);

impl ValueId {
    /// Its place in [`Program::shapes`].
    pub fn index(self) -> usize {
        self.0
    }
}

impl WeightId {
    /// Its place in [`Program::weights`].
    pub fn index(self) -> usize {
        self.0
    }
}

/// The rate of an input. Values that depend on constant inputs only are computed once, outside the frame loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rate {
    /// Between frames, when a prompt or a schedule changes.
    Constant,
    /// With every run.
    Frame,
}

/// An input of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    /// Its name, for messages.
    pub name: String,
    /// The value it becomes.
    pub value: ValueId,
    /// Its rate.
    pub rate: Rate,
}

/// An output of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Its name, for messages.
    pub name: String,
    /// The value it is.
    pub value: ValueId,
}

/// A weight that a program needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WeightSpec {
    /// Its name in the checkpoint.
    pub name: String,
    /// Its shape there, outermost first.
    pub shape: Vec<usize>,
}

/// A network: operations in order, on values of fixed shape.
#[derive(Debug, Clone)]
pub struct Program {
    pub(super) name: String,
    pub(super) shapes: Vec<Shape>,
    pub(super) ops: Vec<Op>,
    pub(super) inputs: Vec<Input>,
    pub(super) outputs: Vec<Output>,
    pub(super) weights: Vec<WeightSpec>,
    pub(super) constant: Vec<bool>,
}

impl Program {
    /// The network's name, for messages and traces.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The shape of every value, by [`ValueId::index`].
    pub fn shapes(&self) -> &[Shape] {
        &self.shapes
    }

    /// The shape of one value.
    pub fn shape(&self, value: ValueId) -> Shape {
        self.shapes[value.0]
    }

    /// The operations, each after those whose results it reads.
    pub fn ops(&self) -> &[Op] {
        &self.ops
    }

    /// Returns the number of layers with cached attention.
    pub fn layers_that_look_back(&self) -> usize {
        let looks_back = |op: &&Op| matches!(op.kind, OpKind::Attention { looks_back: Some(_), .. });
        self.ops.iter().filter(looks_back).count()
    }

    /// All inputs; [`Network::constants`](crate::exec::Network::constants) takes the constant ones in this order,
    /// [`Network::run`](crate::exec::Network::run) the others.
    pub fn inputs(&self) -> &[Input] {
        &self.inputs
    }

    /// The inputs of one rate, in order.
    pub fn inputs_at(&self, rate: Rate) -> impl Iterator<Item = &Input> {
        self.inputs.iter().filter(move |input| input.rate == rate)
    }

    /// The outputs, in the order in which `run` fills them.
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

    /// The weights, by [`WeightId::index`].
    pub fn weights(&self) -> &[WeightSpec] {
        &self.weights
    }

    /// One weight.
    pub fn weight(&self, weight: WeightId) -> &WeightSpec {
        &self.weights[weight.0]
    }

    /// Whether `value` depends on constant inputs and weights alone.
    pub fn is_constant(&self, value: ValueId) -> bool {
        self.constant[value.0]
    }

    /// The same by [`ValueId::index`].
    pub(super) fn constant_at(&self, index: usize) -> bool {
        self.constant[index]
    }
}
