//! The operators that graphs are written with, by the provider of ONNX Runtime that runs them.

use std::collections::HashMap;

use crate::net::{Activation, Op, OpKind, Program, ValueId, WeightId};

/// The operators that a graph is written with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// Operators of ONNX alone.
    Standard,
    /// Older operators of ONNX, for providers that lack `Attention` or `GroupNormalization`: attention is two products
    /// and a softmax, a group norm is a norm of instances.
    Basic,
    /// For the CUDA provider: its own operators for group norms, attention and GEGLU, which have fused kernels there.
    Cuda,
}

/// The operators of ONNX that every dialect has. Only operations between networks have the last six.
const COMMON: [&str; 30] = [
    "Add",
    "Cast",
    "Clip",
    "Concat",
    "Conv",
    "DepthToSpace",
    "Gather",
    "GatherND",
    "Gelu",
    "Identity",
    "LayerNormalization",
    "LeakyRelu",
    "MatMul",
    "MaxPool",
    "Mul",
    "Pad",
    "Relu",
    "Reshape",
    "Resize",
    "Sigmoid",
    "Slice",
    "Split",
    "Tanh",
    "Transpose",
    "ConstantOfShape",
    "Div",
    "Floor",
    "IsNaN",
    "Shape",
    "Where",
];

pub(super) const GROUP_NORM: &str = "com.microsoft.GroupNorm";
pub(super) const SKIP_GROUP_NORM: &str = "com.microsoft.SkipGroupNorm";
pub(super) const MULTI_HEAD_ATTENTION: &str = "com.microsoft.MultiHeadAttention";
pub(super) const BIAS_SPLIT_GELU: &str = "com.microsoft.BiasSplitGelu";

impl Dialect {
    /// All dialects.
    #[cfg(test)]
    pub(super) const ALL: [Self; 3] = [Self::Standard, Self::Basic, Self::Cuda];

    /// Returns the operators of its graphs. The domain, if it is not that of ONNX, precedes the name with a dot.
    pub(super) fn operators(self) -> impl Iterator<Item = &'static str> {
        let own: &[&str] = match self {
            Self::Standard => &["Attention", "GroupNormalization"],
            Self::Basic => &["InstanceNormalization", "Softmax"],
            Self::Cuda => &[GROUP_NORM, SKIP_GROUP_NORM, MULTI_HEAD_ATTENTION, BIAS_SPLIT_GELU],
        };
        COMMON.iter().chain(own).copied()
    }

    /// Returns the version of the operators of ONNX: the first that has all that the dialect uses.
    pub(super) const fn standard_version(self) -> i64 {
        match self {
            // `Attention`
            Self::Standard => 23,
            // `Gelu`
            Self::Basic | Self::Cuda => 20,
        }
    }
}

/// The parameters of a group norm.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct GroupNorm {
    pub(super) groups: usize,
    pub(super) eps: f32,
    pub(super) weight: WeightId,
    pub(super) bias: WeightId,
}

/// An operation that is a part of the node of the operation after it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum FusedOp {
    /// A group norm of a value, before SiLU.
    GroupNorm(ValueId, GroupNorm),
    /// The sum of a value and one vector for each of its rows, before a group norm.
    Sum(ValueId, ValueId),
    /// A linear layer of a value, with weight and bias, before GEGLU, which adds the bias.
    Linear(ValueId, WeightId, WeightId),
}

/// Widths of the input for which the CUDA provider has a kernel of `BiasSplitGelu`.
const SPLIT_GELU_WIDTHS: [usize; 3] = [2560, 5120, 10240];

/// Returns the operations that a dialect fuses with the operation after them, by their outputs, which no other operation
/// reads.
pub(super) fn fused_ops(program: &Program, dialect: Dialect) -> HashMap<ValueId, FusedOp> {
    if dialect != Dialect::Cuda {
        return HashMap::new();
    }
    let mut readers: HashMap<ValueId, usize> = HashMap::new();
    let outputs = program.outputs().iter().map(|output| output.value);
    for value in program.ops().iter().flat_map(|op| op.inputs.iter().copied()).chain(outputs) {
        *readers.entry(value).or_default() += 1;
    }
    let producers: HashMap<ValueId, &Op> = program.ops().iter().map(|op| (op.output, op)).collect();
    let fused = |reader: &Op| {
        let value = reader.inputs[0];
        let producer = producers.get(&value).filter(|_| readers[&value] == 1)?;
        Some((value, fused_op(program, producer, &reader.kind)?))
    };
    program.ops().iter().filter_map(fused).collect()
}

/// Returns `op` if the CUDA provider has an operator that is `op` followed by `reader`.
fn fused_op(program: &Program, op: &Op, reader: &OpKind) -> Option<FusedOp> {
    match (&op.kind, reader) {
        (&OpKind::GroupNorm { groups, eps, weight, bias }, OpKind::Activate(Activation::Silu)) => {
            Some(FusedOp::GroupNorm(op.inputs[0], GroupNorm { groups, eps, weight, bias }))
        }
        (OpKind::Add, OpKind::GroupNorm { .. }) => {
            let [value, vector] = [op.inputs[0], op.inputs[1]];
            let (shape, summand) = (program.shape(value), program.shape(vector));
            (summand.pixels() == 1 && summand.n == shape.n).then_some(FusedOp::Sum(value, vector))
        }
        (&OpKind::Linear { weight, bias: Some(bias) }, OpKind::Geglu) => {
            let is_supported = SPLIT_GELU_WIDTHS.contains(&program.shape(op.output).c);
            is_supported.then_some(FusedOp::Linear(op.inputs[0], weight, bias))
        }
        _ => None,
    }
}
