//! The operations of a program.

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
        /// The side of the kernel: 1 or 3 in the supported networks.
        kernel: usize,
        /// The stride, in pixels.
        stride: usize,
        /// Dilation: the step between the input pixels of an output pixel.
        dilation: usize,
        /// The zero padding of the input.
        padding: Padding,
        /// Whether the input is first upsampled by two by repeating pixels, before the padding.
        upsample: bool,
    },
    /// `[x]`: a depthwise convolution; weight `[c, 1, kernel, kernel]`.
    Depthwise {
        /// The weight.
        weight: WeightId,
        /// The bias, `[c]`.
        bias: Option<WeightId>,
        /// The side of the kernel.
        kernel: usize,
        /// The stride, in pixels.
        stride: usize,
        /// The zero padding of the input.
        padding: Padding,
    },
    /// `[x]`: an image operation without weights.
    Image(ImageOp),
    /// `[x]`: `x @ weight^T + bias` over the channels; weight `[c_out, c_in]`.
    Linear {
        /// The weight.
        weight: WeightId,
        /// The bias, `[c_out]`.
        bias: Option<WeightId>,
    },
    /// `[x]`: normalizes groups of channels over all pixels of a row, then scales and shifts per channel.
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
    /// `[x]`: normalizes the channels of each pixel, then scales and shifts.
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
        /// For each row of `q`, the row of `k` and `v` that it attends to.
        kv_row: Vec<usize>,
        /// For cached attention: the index of the layer among the layers with cached attention. Each row then also
        /// attends to the cached keys and values of the same row in earlier frames.
        cached_layer: Option<usize>,
    },
    /// `[x]`: replaces each token, in part, by the most similar one of the same row in earlier frames, if that is similar
    /// enough; without earlier frames `x` itself.
    ///
    /// With the similarity `s` (the cosine over the channels) of the most similar token `y`, the output is
    /// `x + strength * (y - x)` if `s` is at least the threshold, otherwise `x`. Strength and threshold are arguments of a
    /// run. Later frames see `x`, not the output.
    Inject {
        /// The index of the layer with cached attention whose output `x` is: tokens of both are merged alike.
        layer: usize,
    },
    /// `[x]`: an elementwise activation.
    Activate(Activation),
    /// `[x]`: the first half of the channels times the exact GELU of the second half.
    Geglu,
    /// `[a, b]`: the sum. `b` is broadcast if it has a single pixel, a single row, or both.
    Add,
    /// `[a, b]`: the product. `b` is broadcast if it has a single pixel, a single row, or both.
    Mul,
    /// `[x]`: `x * mul + add`.
    Affine {
        /// Factor.
        mul: f32,
        /// Summand.
        add: f32,
    },
    /// `[a, b]`: the concatenation of the channels.
    Concat,
    /// `[x]`: doubles height and width by repeating pixels.
    Upsample,
    /// `[x]`: the channels `start..start + len`.
    Slice {
        /// First channel.
        start: usize,
        /// The number of channels.
        len: usize,
    },
    /// `[ids]`: rows of a table; `ids` are integers in `f32`, one channel; weight `[entries, c]`.
    Embed {
        /// The table.
        weight: WeightId,
    },
    /// `[x]`: adds a weight `[tokens, c]` to every row (position embeddings).
    AddWeight {
        /// The value that is added.
        weight: WeightId,
    },
    /// `[x, index]`: the token `index` (an integer in `f32`, shape `[n, 1, 1, 1]`) of each row.
    TakeToken,
}

/// The zero padding of an image, in pixels.
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
    /// Creates a padding of `n` pixels on all four sides.
    pub const fn all(n: usize) -> Self {
        Self { top: n, left: n, bottom: n, right: n }
    }
}
