//! The parts of a plan: values, and steps on a device.

use super::bytes::ByteScale;
use super::{Activation, ImageOp, Padding, Shape, WeightId};

/// A value of a plan: first the values of the program, by [`ValueId::index`](super::ValueId::index), then those that
/// only the plan has.
pub type Slot = usize;

// Longer chains of posts continue in a separate step.
pub use dreamframe_kernels::MAX_POSTS;

/// The storage format and the additional memory of a device. Lengths are in stored elements.
pub trait StorageLayout {
    /// Returns whether values are stored as `f32`, so that inputs and outputs need no conversion.
    fn stores_f32(&self) -> bool;

    /// Returns the quantization of the input of the layer with `weight`; `None` if the layer is not quantized.
    fn byte_scale(&self, weight: WeightId) -> Option<ByteScale>;

    /// Returns the number of elements of keys `k` and values `v` with `heads` heads in its layout.
    fn keys_len(&self, k: Shape, v: Shape, heads: usize) -> usize;

    /// Returns the number of elements of scratch memory of a step; `input` is the shape of its first input.
    fn scratch_len(&self, step: &Step, input: Shape, output: Shape) -> usize;
}

/// A step on a device.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// The kind of step.
    pub kind: StepKind,
    /// Its inputs, apart from the operands of `posts`.
    pub inputs: Vec<Slot>,
    /// Elementwise operations on the result, in order.
    pub posts: Vec<Post>,
    /// The value that it writes.
    pub output: Slot,
}

impl Step {
    /// Returns all values that it reads.
    pub fn reads(&self) -> impl Iterator<Item = Slot> {
        self.inputs.iter().copied().chain(self.posts.iter().filter_map(Post::operand))
    }
}

/// The classes of [`StepKind`] that plans distinguish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepClass {
    /// A matrix product; posts are applied as results are stored.
    Product,
    /// Each element of the output depends on several of the input; takes posts.
    Window,
    /// Normalizes its input, which it may overwrite; takes posts.
    Norm,
    /// Element by element of one input, which it may overwrite; takes posts.
    Elementwise,
    /// Element by element of two inputs; takes posts.
    Binary,
    /// All others, which take no posts.
    Other,
}

/// The main operation of a step, before its posts.
#[derive(Debug, Clone, PartialEq)]
pub enum StepKind {
    /// `[x]`: a convolution; a linear layer is one of side 1.
    Product(Product),
    /// `[x]`: as the operation.
    Depthwise(Depthwise),
    /// `[x]`: as the operation.
    Image(ImageOp),
    /// `[x]`: as the operation.
    GroupNorm {
        /// Number of groups.
        groups: usize,
        /// Added to the variance.
        eps: f32,
        /// Scale.
        weight: WeightId,
        /// Shift.
        bias: WeightId,
    },
    /// `[x]`: as the operation.
    LayerNorm {
        /// Added to the variance.
        eps: f32,
        /// Scale.
        weight: WeightId,
        /// Shift.
        bias: WeightId,
    },
    /// `[k, v]`: packs keys and values in the device's layout; a value of the plan only.
    PackKeys {
        /// Number of heads.
        heads: usize,
    },
    /// `[q, packed]`: as the operation.
    Attention {
        /// Number of heads.
        heads: usize,
        /// Whether attention is causal.
        causal: bool,
        /// The row of the keys for each row of `q`.
        kv_row: Vec<usize>,
        /// The number of keys in a row.
        keys: usize,
        /// As for the operation.
        cached_layer: Option<usize>,
    },
    /// `[x]`: as the operation.
    Inject {
        /// The index of the layer with cached attention.
        layer: usize,
    },
    /// `[x]`: `x` itself; the posts do the work.
    Pointwise,
    /// `[a, b]`: as the operation.
    Mul,
    /// `[x]`: as the operation.
    Geglu,
    /// `[a, b]`: as the operation; an input that was computed in place is not copied.
    Concat,
    /// `[x]`: as the operation.
    Upsample,
    /// `[ids]`: as the operation.
    Embed {
        /// The table.
        weight: WeightId,
    },
    /// `[x]`: as the operation.
    AddWeight {
        /// The value that is added.
        weight: WeightId,
    },
    /// `[x, index]`: as the operation.
    TakeToken,
    /// `[x]`: converts an input of the program to the device's format.
    Import,
    /// `[x]`: quantizes elements to bytes, with contiguous pixels; a value of the plan only.
    ToBytes {
        /// The quantization.
        scale: ByteScale,
    },
}

impl StepKind {
    /// Returns its class.
    pub fn class(&self) -> StepClass {
        match self {
            Self::Product(_) => StepClass::Product,
            Self::Depthwise(_) | Self::Image(_) => StepClass::Window,
            Self::GroupNorm { .. } | Self::LayerNorm { .. } => StepClass::Norm,
            Self::Pointwise => StepClass::Elementwise,
            Self::Mul => StepClass::Binary,
            Self::PackKeys { .. }
            | Self::Attention { .. }
            | Self::Inject { .. }
            | Self::Geglu
            | Self::Concat
            | Self::Upsample
            | Self::Embed { .. }
            | Self::AddWeight { .. }
            | Self::TakeToken
            | Self::Import
            | Self::ToBytes { .. } => StepClass::Other,
        }
    }
}

/// A convolution or a linear layer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Product {
    /// The weight, `[c_out, c_in, kernel, kernel]` or `[c_out, c_in]`.
    pub weight: WeightId,
    /// The bias.
    pub bias: Option<WeightId>,
    /// The side of the kernel.
    pub kernel: usize,
    /// The stride, in pixels.
    pub stride: usize,
    /// Dilation: the step between the input pixels of an output pixel.
    pub dilation: usize,
    /// The zero padding of the input.
    pub padding: Padding,
    /// Whether the input is first upsampled by two.
    pub upsample: bool,
    /// Whether the first half of the channels is multiplied by the GELU of the second.
    pub geglu: bool,
    /// The quantization of the input, if any.
    pub bytes: Option<ByteScale>,
}

/// Depthwise convolution.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Depthwise {
    /// The weight, `[c, 1, kernel, kernel]`.
    pub weight: WeightId,
    /// The bias.
    pub bias: Option<WeightId>,
    /// The side of the kernel.
    pub kernel: usize,
    /// The stride, in pixels.
    pub stride: usize,
    /// The zero padding of the input.
    pub padding: Padding,
}

/// An elementwise operation on the result of a step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Post {
    /// Adds another value.
    Add {
        /// The value that is added.
        value: Slot,
        /// Its broadcasting.
        repeat: Repeat,
    },
    /// Applies an activation.
    Activate(Activation),
    /// Computes `x * mul + add`.
    Affine {
        /// Factor.
        mul: f32,
        /// Summand.
        add: f32,
    },
}

impl Post {
    /// The value it reads, if any.
    pub fn operand(&self) -> Option<Slot> {
        match *self {
            Self::Add { value, .. } => Some(value),
            Self::Activate(_) | Self::Affine { .. } => None,
        }
    }
}

/// The broadcasting of the second summand to the shape of the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    /// None: the shapes are equal.
    None,
    /// The second has one pixel per row.
    Pixels,
    /// The second has one row.
    Rows,
    /// The second has a single pixel.
    Both,
}

impl Repeat {
    /// Returns how `b` is broadcast to `a`.
    pub fn of(a: Shape, b: Shape) -> Self {
        match (a.n == b.n, a.pixels() == b.pixels()) {
            (true, true) => Self::None,
            (true, false) => Self::Pixels,
            (false, true) => Self::Rows,
            (false, false) => Self::Both,
        }
    }
}

/// A value of a plan.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PlanValue {
    /// Its shape.
    pub shape: Shape,
    /// Whether it depends on constant inputs and weights only.
    pub constant: bool,
    /// For a slice: the value that it is a part of, and its first channel there.
    pub part_of: Option<(Slot, usize)>,
}

/// The steps of a program, and the values between them.
#[derive(Debug)]
pub struct Fused {
    /// All values.
    pub values: Vec<PlanValue>,
    /// All steps, each after those it reads from.
    pub steps: Vec<Step>,
    /// The value of each output.
    pub outputs: Vec<Slot>,
}
