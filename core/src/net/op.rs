//! The operations a program is made of.

use dreamframe_kernels::Activation;

use super::{ImageOp, ValueId, WeightId};

/// One operation: reads `inputs`, writes `output`. Shapes are fixed in the program.
#[derive(Debug, Clone, PartialEq)]
pub struct Op {
    /// The kind of operation.
    pub kind: OpKind,
    /// The values that it reads, in the order of the kind.
    pub inputs: Vec<ValueId>,
    /// The value that it writes, different for each operation.
    pub output: ValueId,
}

/// The kind of an operation. Each line lists the inputs in order; all values are channels-last.
#[derive(Debug, Clone, PartialEq)]
pub enum OpKind {
    /// `[x]`: a convolution; weight `[c_out, c_in, kernel, kernel]`.
    Conv2d {
        /// The weight.
        weight: WeightId,
        /// The bias, `[c_out]`.
        bias: Option<WeightId>,
        /// Side of the kernel: 1 or 3 in the networks we know.
        kernel: usize,
        /// Step between output pixels.
        stride: usize,
        /// Dilation: the step between the input pixels of an output pixel.
        dilation: usize,
        /// Zeros around the input.
        padding: Padding,
        /// Whether the input is first enlarged twofold by repeating pixels (before the padding).
        upsample: bool,
    },
    /// `[x]`: a convolution of each channel by itself; weight `[c, 1, kernel, kernel]`.
    Depthwise {
        /// The weight.
        weight: WeightId,
        /// The bias, `[c]`.
        bias: Option<WeightId>,
        /// Side of the kernel.
        kernel: usize,
        /// Step between output pixels.
        stride: usize,
        /// Zeros around the input.
        padding: Padding,
    },
    /// `[x]`: moves or mixes pixels.
    Image(ImageOp),
    /// `[x]`: `x @ weight^T + bias` over the channels; weight `[c_out, c_in]`.
    Linear {
        /// The weight.
        weight: WeightId,
        /// The bias, `[c_out]`.
        bias: Option<WeightId>,
    },
    /// `[x]`: normalises each row's groups of channels over all pixels, then scales and shifts per channel.
    GroupNorm {
        /// Number of groups; divides the channels.
        groups: usize,
        /// Added to the variance.
        eps: f32,
        /// Scale, `[c]`.
        weight: WeightId,
        /// Shift, `[c]`.
        bias: WeightId,
    },
    /// `[x]`: normalises the channels of each pixel, then scales and shifts.
    LayerNorm {
        /// Added to the variance.
        eps: f32,
        /// Scale, `[c]`.
        weight: WeightId,
        /// Shift, `[c]`.
        bias: WeightId,
    },
    /// `[q, k, v]`: softmax(q k^T / sqrt(c / heads)) v in each head; pixels are tokens.
    ///
    /// `k` and `v` may have another number of rows and tokens than `q`.
    Attention {
        /// Number of heads; divides the channels.
        heads: usize,
        /// Whether attention is causal.
        causal: bool,
        /// For each row of `q`, the row of `k` and `v` it attends to.
        kv_row: Vec<usize>,
        /// For cached attention: the index of the layer among those with it. Each row then attends to what the same row kept of
        /// earlier frames as well.
        looks_back: Option<usize>,
    },
    /// `[x]`: a function of each number alone.
    Activate(Activation),
    /// `[x]`: the first half of the channels times the exact GELU of the second half.
    Geglu,
    /// `[a, b]`: the sum. `b` may have one pixel, or one row, or both, and is then repeated.
    Add,
    /// `[a, b]`: the product. `b` may have one pixel in each row, and is then repeated.
    Mul,
    /// `[x]`: `x * mul + add`.
    Affine {
        /// Factor.
        mul: f32,
        /// Summand.
        add: f32,
    },
    /// `[a, b]`: channels of `a`, then channels of `b`.
    Concat,
    /// `[x]`: enlarges twofold by repeating pixels.
    Upsample,
    /// `[x]`: `len` channels from `start` on.
    Slice {
        /// First channel.
        start: usize,
        /// How many.
        len: usize,
    },
    /// `[ids]`: rows of a table; `ids` are whole numbers in `f32`, one channel; weight `[entries, c]`.
    Embed {
        /// The table.
        weight: WeightId,
    },
    /// `[x]`: adds a weight `[tokens, c]` to every row (position embeddings).
    AddWeight {
        /// The value that is added.
        weight: WeightId,
    },
    /// `[x, index]`: of each row the token that `index` names (a whole number in `f32`, shape `[n, 1, 1, 1]`).
    TakeToken,
}

/// Zeros around an image, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Padding {
    /// Above.
    pub top: usize,
    /// Left.
    pub left: usize,
    /// Below.
    pub bottom: usize,
    /// Right.
    pub right: usize,
}

impl Padding {
    /// The same on all four sides.
    pub const fn all(n: usize) -> Self {
        Self { top: n, left: n, bottom: n, right: n }
    }
}
