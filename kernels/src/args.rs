//! The arguments of the entry points.

use super::winograd::MOST_SIDE;

/// Maximum number of functions that [`Finish`] applies to a row.
pub const MAX_POSTS: usize = 4;

/// An elementwise function.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Activation {
    /// `x * sigmoid(x)`.
    Silu,
    /// `x * Phi(x)`, by the error function.
    Gelu,
    /// `x * sigmoid(1.702 x)`.
    QuickGelu,
    /// `max(x, 0)`.
    Relu,
    /// `max(x, 0)`, at most `limit`.
    ReluUpTo {
        /// The maximum of the result.
        limit: f32,
    },
    /// `x` if it is positive, otherwise `slope * x`; slopes are below one.
    LeakyRelu {
        /// The factor of negative values.
        slope: f32,
    },
    /// `limit * tanh(x / limit)`.
    SoftClamp {
        /// The bound of the result.
        limit: f32,
    },
}

/// A micro-kernel and its number of rows.
#[derive(Debug, Clone, Copy)]
pub struct TileKernel {
    /// Rows of a tile.
    pub rows: usize,
    /// The kernel.
    pub run: unsafe fn(&Tile),
}

/// `sums[i][j] += sum over taps and channels of row(tap, i)[channel] * panel[tap][channel][j]`.
#[derive(Debug)]
pub struct Tile {
    /// For each tap, a pointer for each row of the tile: to at least `offset + len` elements.
    pub rows: *const *const u8,
    pub taps: usize,
    /// The first channel.
    pub offset: usize,
    /// Number of channels.
    pub len: usize,
    /// Weights of the first tap's first channel; those of each channel have the width of the panel, and those of a
    /// group are interleaved.
    pub panel: *const u8,
    /// Elements between the weights of two taps.
    pub tap_stride: usize,
    /// The sums so far; a row has the width of the panel.
    pub sums: *mut f32,
    /// Elements between rows of sums.
    pub sums_ld: usize,
    /// The initial value of every row of sums; null to continue the sums.
    pub start: *const f32,
    /// For integer sums: the final factors and offsets; `None` to continue the sums.
    pub scaled: Option<[*const f32; 2]>,
}

/// Stores rows of elements: `out[i][j] = posts(from[i][j])`. `out` may be `from`.
#[derive(Debug)]
pub struct Finish<'a> {
    pub from: *const u8,
    pub from_ld: usize,
    /// Whether `from` contains sums in `f32`, not stored values.
    pub from_sums: bool,
    pub out: *mut u8,
    pub out_ld: usize,
    pub rows: usize,
    pub cols: usize,
    /// The pixel of row 0, for operands.
    pub first_pixel: usize,
    /// Pixels from one row to the next.
    pub pixel_step: usize,
    /// The channel of column 0, for operands.
    pub first_channel: usize,
    pub posts: &'a [PostAt],
}

/// A post with the address of its operand.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum PostAt {
    /// Adds another value: pixel `p` is at `(p / div % modulo) * ld`.
    Add {
        from: *const u8,
        ld: usize,
        div: usize,
        modulo: usize,
    },
    Activate(Activation),
    Affine {
        mul: f32,
        add: f32,
    },
}

// SAFETY: an address; only the unsafe code of a kernel reads it, while no thread writes there.
unsafe impl Send for PostAt {}
// SAFETY: as above.
unsafe impl Sync for PostAt {}

/// `out[i][j] = value[i][j] * gelu(gate[i][j])`.
#[derive(Debug)]
pub struct Geglu {
    pub value: *const u8,
    pub gate: *const u8,
    /// The stride of both.
    pub ld: usize,
    /// Whether both contain sums in `f32`, not stored values.
    pub from_sums: bool,
    pub out: *mut u8,
    pub out_ld: usize,
    pub rows: usize,
    pub cols: usize,
}

/// Converts `len` elements between `f32` and the storage format.
#[derive(Debug)]
pub struct Convert {
    pub from: *const u8,
    pub to: *mut u8,
    pub len: usize,
}

/// Quantizes elements: `to[j] = x[j] * inverse + zero`, where the product and the result are rounded and clamped.
#[derive(Debug)]
pub struct ToBytes {
    pub x: *const u8,
    pub ld: usize,
    /// Contiguous pixels.
    pub to: *mut u8,
    pub pixels: usize,
    pub channels: usize,
    pub inverse: f32,
    pub zero: f32,
}

/// The score of a masked key: low enough for a weight of zero, but finite.
pub const HIDDEN: f32 = -1e30;

/// One block of keys of the online softmax: converts scores to weights. If a block has scores so much larger than those
/// before that their weights would overflow, the accumulated values are rescaled.
#[derive(Debug)]
pub struct Softmax {
    /// Scores; [`HIDDEN`] for masked keys.
    pub scores: *const f32,
    /// The weights, in the storage format.
    pub weights: *mut u8,
    /// Elements between rows of scores, and of weights.
    pub ld: usize,
    pub rows: usize,
    /// A multiple of the vector length.
    pub keys: usize,
    /// The scale of scores for powers of two.
    pub scale: f32,
    /// Whether it is the first block. In it, each row must have a key that is not masked.
    pub first: bool,
    /// For each row the scaled score whose weight is 1.
    pub largest: *mut f32,
    /// For each row the sum of weights so far, as the parts of a vector.
    pub sums: *mut f32,
    /// The accumulated values; `gathered_len` elements (a multiple of the vector length) per row.
    pub gathered: *mut f32,
    pub gathered_len: usize,
}

/// `out[j] = from[j] / sum of parts`.
#[derive(Debug)]
pub struct Divide {
    pub from: *const f32,
    pub out: *mut u8,
    pub len: usize,
    /// As many as a vector has elements.
    pub parts: *const f32,
}

/// `out[c]`: a reduction over the channel `c` of some pixels.
#[derive(Debug)]
pub struct Gather<'a> {
    /// Pixels of `channels` elements each.
    pub pixels: &'a [*const u8],
    pub how: How,
    pub out: *mut u8,
    pub channels: usize,
}

/// See [`Gather`].
#[derive(Debug, Clone, Copy)]
pub enum How {
    /// The maximum.
    Largest,
    /// The product.
    Product,
    /// The sum of the pixels, each times its factor.
    Weighted(*const f32),
    /// The first `channels` of these values, plus for each pixel the product with the next ones.
    ByChannel(*const f32),
}

/// For each channel the sum of `x - shift` over some pixels, and the sum of its square.
#[derive(Debug)]
pub struct Moments {
    pub x: *const u8,
    pub ld: usize,
    pub pixels: usize,
    pub channels: usize,
    pub shift: *const u8,
    pub sums: *mut f32,
    pub squares: *mut f32,
}

/// `out = (x - mean) * factor + shift`, per channel.
#[derive(Debug)]
pub struct Normalise {
    pub x: *const u8,
    pub ld: usize,
    pub out: *mut u8,
    pub out_ld: usize,
    pub pixels: usize,
    pub channels: usize,
    pub mean: *const f32,
    pub factor: *const f32,
    pub shift: *const f32,
    /// Whether SiLU follows.
    pub silu: bool,
}

/// A layer norm over the channels of each pixel.
#[derive(Debug)]
pub struct LayerNorm {
    pub x: *const u8,
    pub ld: usize,
    pub out: *mut u8,
    pub out_ld: usize,
    pub pixels: usize,
    pub channels: usize,
    pub weight: *const f32,
    pub bias: *const f32,
    pub eps: f32,
}

/// The input transform of adjacent tiles in a line: see `winograd`.
#[derive(Debug)]
pub struct ToPoints {
    /// The input lines of the tiles, from the first pixel on, and the elements between pixels. Above and below the
    /// image, zeros that are reused for every pixel.
    pub lines: [(*const u8, usize); MOST_SIDE + 2],
    /// Number of pixels of a line, in the input of the tiles.
    pub width: usize,
    /// 1 if the image is upsampled by repeating pixels, otherwise 0.
    pub halve: u32,
    /// The first input column of the first tile; may be one before the start of the line.
    pub first: isize,
    pub tiles: usize,
    pub channels: usize,
    /// The first tile at the first point.
    pub out: *mut u8,
    /// Elements between tiles.
    pub out_ld: usize,
    /// Elements between points.
    pub point_stride: usize,
}

/// The output transform, in place: the results of a tile's pixels are stored, line by line, at its first points.
#[derive(Debug)]
pub struct FromPoints {
    /// The first tile at the first point.
    pub sums: *mut f32,
    /// Elements between points.
    pub point_stride: usize,
    pub tiles: usize,
    /// Elements of a tile at a point: whole vectors.
    pub width: usize,
    /// The bias of each pixel.
    pub bias: *const f32,
}
