//! The arguments of the entry points.

use super::winograd::MOST_SIDE;

/// The most functions that [`Finish`] applies to a row one after the other.
pub const MAX_POSTS: usize = 4;

/// A function of each element alone.
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
    /// `max(x, 0)`, and never more than `limit`.
    ReluUpTo {
        /// The most that the result is.
        limit: f32,
    },
    /// `x` where it is above zero, else `slope * x`; slopes are below one.
    LeakyRelu {
        /// What stays of numbers below zero.
        slope: f32,
    },
    /// `limit * tanh(x / limit)`.
    SoftClamp {
        /// What the result stays below.
        limit: f32,
    },
}

/// A micro-kernel and the number of rows it works on.
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
    /// For each tap, a pointer for each row of the tile: to `offset + len` numbers at least.
    pub rows: *const *const u8,
    pub taps: usize,
    /// The first channel.
    pub offset: usize,
    /// How many channels.
    pub len: usize,
    /// Weights of the first tap's first channel; each channel's are as many as the panel is wide, and those of a group
    /// lie side by side.
    pub panel: *const u8,
    /// Numbers from one tap's weights to the next one's.
    pub tap_stride: usize,
    /// The sums so far, as many in a row as the panel is wide.
    pub sums: *mut f32,
    /// Numbers from one row of sums to the next.
    pub sums_ld: usize,
    /// The start of every row of sums; null if sums continue.
    pub start: *const f32,
    /// For integer sums: the factors at the end, and what is then added; `None` if sums continue.
    pub scaled: Option<[*const f32; 2]>,
}

/// Stores rows of numbers: `out[i][j] = posts(from[i][j])`. `out` may be `from`.
#[derive(Debug)]
pub struct Finish<'a> {
    pub from: *const u8,
    pub from_ld: usize,
    /// Whether `from` are sums in `f32`, and not a value.
    pub from_sums: bool,
    pub out: *mut u8,
    pub out_ld: usize,
    pub rows: usize,
    pub cols: usize,
    /// The pixel that row 0 is, for operands.
    pub first_pixel: usize,
    /// Pixels from one row to the next.
    pub pixel_step: usize,
    /// The channel that column 0 is, for operands.
    pub first_channel: usize,
    pub posts: &'a [PostAt],
}

/// A post whose operand has been found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum PostAt {
    /// Another value is added: pixel `p` lies at `(p / div % modulo) * ld`.
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
    /// Of both.
    pub ld: usize,
    /// Whether both are sums in `f32`, and not values.
    pub from_sums: bool,
    pub out: *mut u8,
    pub out_ld: usize,
    pub rows: usize,
    pub cols: usize,
}

/// `len` numbers: `f32`s at one end, stored ones at the other.
#[derive(Debug)]
pub struct Convert {
    pub from: *const u8,
    pub to: *mut u8,
    pub len: usize,
}

/// Numbers as bytes: `to[j] = x[j] * inverse + zero`, where the product and the end are rounded and cut off.
#[derive(Debug)]
pub struct ToBytes {
    pub x: *const u8,
    pub ld: usize,
    /// Pixel after pixel without a gap.
    pub to: *mut u8,
    pub pixels: usize,
    pub channels: usize,
    pub inverse: f32,
    pub zero: f32,
}

/// The score of a key that is hidden: so low that its weight is nothing, and still a number.
pub const HIDDEN: f32 = -1e30;

/// One block of keys of the running softmax: turns scores into weights, and scales what was gathered before to the new
/// largest score.
#[derive(Debug)]
pub struct Softmax {
    /// Scores; become weights, stored from the beginning of each row. [`HIDDEN`] where a key is hidden.
    pub scores: *mut f32,
    pub ld: usize,
    pub rows: usize,
    /// A multiple of the vector length.
    pub keys: usize,
    /// What scores are multiplied by before powers of two are taken.
    pub scale: f32,
    /// For each row the largest scaled score so far.
    pub largest: *mut f32,
    /// For each row the sum of weights so far.
    pub sums: *mut f32,
    /// What was gathered so far; `gathered_len` numbers (a multiple of the vector length) a row.
    pub gathered: *mut f32,
    pub gathered_len: usize,
}

/// `out[j] = from[j] * factor`.
#[derive(Debug)]
pub struct Scale {
    pub from: *const f32,
    pub out: *mut u8,
    pub len: usize,
    pub factor: f32,
}

/// `out[c]`: what becomes of the numbers that some pixels have in a channel.
#[derive(Debug)]
pub struct Gather<'a> {
    /// Pixels of `channels` numbers each.
    pub pixels: &'a [*const u8],
    pub how: How,
    pub out: *mut u8,
    pub channels: usize,
}

/// See [`Gather`].
#[derive(Debug, Clone, Copy)]
pub enum How {
    /// The largest.
    Largest,
    /// The product.
    Product,
    /// The sum of each pixel times its number.
    Weighted(*const f32),
    /// The first `channels` of these numbers, and for each pixel the product with the next ones.
    ByChannel(*const f32),
}

/// For each channel the sum of `x - shift` over some pixels, and that of its square.
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

/// Pixels of neighbouring tiles of one line of tiles, to points: see `winograd`.
#[derive(Debug)]
pub struct ToPoints {
    /// The lines that the tiles see, from the first pixel on, and the numbers from one pixel to the next. Above and
    /// below the image, zeros that are seen again for every pixel.
    pub lines: [(*const u8, usize); MOST_SIDE + 2],
    /// Pixels of a line, as the tiles see it.
    pub width: usize,
    /// 1 where each pixel is seen twice, else 0.
    pub halve: u32,
    /// The first column that the first tile sees; that may be one before the first of the line.
    pub first: isize,
    pub tiles: usize,
    pub channels: usize,
    /// The first tile at the first point.
    pub out: *mut u8,
    /// Numbers from one tile to the next.
    pub out_ld: usize,
    /// Numbers from one point to the next.
    pub point_stride: usize,
}

/// Sums at points to sums of pixels, in place: those of a tile's pixels come to lie, line after line, at its first
/// points.
#[derive(Debug)]
pub struct FromPoints {
    /// The first tile at the first point.
    pub sums: *mut f32,
    /// Numbers from one point to the next.
    pub point_stride: usize,
    pub tiles: usize,
    /// Numbers of a tile at a point: whole vectors.
    pub width: usize,
    /// What is added to the sums of each pixel.
    pub bias: *const f32,
}
