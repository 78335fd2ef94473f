//! What the entry points are told.

use super::winograd::MOST_SIDE;
use crate::net::Activation;

/// A micro-kernel and the number of rows it works on.
#[derive(Debug, Clone, Copy)]
pub(in crate::exec::cpu) struct TileKernel {
    /// Rows of a tile.
    pub(in crate::exec::cpu) rows: usize,
    /// The kernel.
    pub(in crate::exec::cpu) run: unsafe fn(&Tile),
}

/// `sums[i][j] += sum over taps and channels of row(tap, i)[channel] * panel[tap][channel][j]`.
pub(in crate::exec::cpu) struct Tile {
    /// For each tap, a pointer for each row of the tile: to `offset + len` numbers at least.
    pub(in crate::exec::cpu) rows: *const *const u8,
    pub(in crate::exec::cpu) taps: usize,
    /// The first channel.
    pub(in crate::exec::cpu) offset: usize,
    /// How many channels.
    pub(in crate::exec::cpu) len: usize,
    /// Weights of the first tap's first channel; each channel's are as many as the panel is wide, and those of a group
    /// lie side by side.
    pub(in crate::exec::cpu) panel: *const u8,
    /// Numbers from one tap's weights to the next one's.
    pub(in crate::exec::cpu) tap_stride: usize,
    /// The sums so far, as many in a row as the panel is wide.
    pub(in crate::exec::cpu) sums: *mut f32,
    /// Numbers from one row of sums to the next.
    pub(in crate::exec::cpu) sums_ld: usize,
    /// What every row of sums starts with; null where the sums go on.
    pub(in crate::exec::cpu) start: *const f32,
    /// For sums in whole numbers: what they are multiplied by at the end, and what is then added; `None` where they go on.
    pub(in crate::exec::cpu) scaled: Option<[*const f32; 2]>,
}

/// Stores rows of numbers: `out[i][j] = posts(from[i][j])`. `out` may be `from`.
pub(in crate::exec::cpu) struct Finish<'a> {
    pub(in crate::exec::cpu) from: *const u8,
    pub(in crate::exec::cpu) from_ld: usize,
    /// Whether `from` are sums in `f32`, and not a value.
    pub(in crate::exec::cpu) from_sums: bool,
    pub(in crate::exec::cpu) out: *mut u8,
    pub(in crate::exec::cpu) out_ld: usize,
    pub(in crate::exec::cpu) rows: usize,
    pub(in crate::exec::cpu) cols: usize,
    /// The pixel that row 0 is, for operands.
    pub(in crate::exec::cpu) first_pixel: usize,
    /// Pixels from one row to the next.
    pub(in crate::exec::cpu) pixel_step: usize,
    /// The channel that column 0 is, for operands.
    pub(in crate::exec::cpu) first_channel: usize,
    pub(in crate::exec::cpu) posts: &'a [PostAt],
}

/// A post whose operand has been found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::exec::cpu) enum PostAt {
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

// SAFETY: an address; it is read in the unsafe code of a kernel, while nobody writes there.
unsafe impl Send for PostAt {}
// SAFETY: as above.
unsafe impl Sync for PostAt {}

/// `out[i][j] = value[i][j] * gelu(gate[i][j])`.
pub(in crate::exec::cpu) struct Geglu {
    pub(in crate::exec::cpu) value: *const u8,
    pub(in crate::exec::cpu) gate: *const u8,
    /// Of both.
    pub(in crate::exec::cpu) ld: usize,
    /// Whether both are sums in `f32`, and not values.
    pub(in crate::exec::cpu) from_sums: bool,
    pub(in crate::exec::cpu) out: *mut u8,
    pub(in crate::exec::cpu) out_ld: usize,
    pub(in crate::exec::cpu) rows: usize,
    pub(in crate::exec::cpu) cols: usize,
}

/// `len` numbers: `f32`s at one end, stored ones at the other.
pub(in crate::exec::cpu) struct Convert {
    pub(in crate::exec::cpu) from: *const u8,
    pub(in crate::exec::cpu) to: *mut u8,
    pub(in crate::exec::cpu) len: usize,
}

/// Numbers as bytes: `to[j] = x[j] * inverse + zero`, where the product and the end are rounded and cut off.
pub(in crate::exec::cpu) struct ToBytes {
    pub(in crate::exec::cpu) x: *const u8,
    pub(in crate::exec::cpu) ld: usize,
    /// Pixel after pixel without a gap.
    pub(in crate::exec::cpu) to: *mut u8,
    pub(in crate::exec::cpu) pixels: usize,
    pub(in crate::exec::cpu) channels: usize,
    pub(in crate::exec::cpu) inverse: f32,
    pub(in crate::exec::cpu) zero: f32,
}

/// The score of a key that is hidden: so low that its weight is nothing, and still a number.
pub(in crate::exec::cpu) const HIDDEN: f32 = -1e30;

/// One block of keys of the running softmax: turns scores into weights, and scales what was gathered before to the new
/// largest score.
pub(in crate::exec::cpu) struct Softmax {
    /// Scores; become weights, stored from the beginning of each row. [`HIDDEN`] where a key is hidden.
    pub(in crate::exec::cpu) scores: *mut f32,
    pub(in crate::exec::cpu) ld: usize,
    pub(in crate::exec::cpu) rows: usize,
    /// A multiple of the vector length.
    pub(in crate::exec::cpu) keys: usize,
    /// What scores are multiplied by before powers of two are taken.
    pub(in crate::exec::cpu) scale: f32,
    /// For each row the largest scaled score so far.
    pub(in crate::exec::cpu) largest: *mut f32,
    /// For each row the sum of weights so far.
    pub(in crate::exec::cpu) sums: *mut f32,
    /// What was gathered so far; `gathered_len` numbers (a multiple of the vector length) a row.
    pub(in crate::exec::cpu) gathered: *mut f32,
    pub(in crate::exec::cpu) gathered_len: usize,
}

/// `out[j] = from[j] * factor`.
pub(in crate::exec::cpu) struct Scale {
    pub(in crate::exec::cpu) from: *const f32,
    pub(in crate::exec::cpu) out: *mut u8,
    pub(in crate::exec::cpu) len: usize,
    pub(in crate::exec::cpu) factor: f32,
}

/// `out[c]`: what becomes of the numbers that some pixels have in a channel.
pub(in crate::exec::cpu) struct Gather<'a> {
    /// Pixels of `channels` numbers each.
    pub(in crate::exec::cpu) pixels: &'a [*const u8],
    pub(in crate::exec::cpu) how: How,
    pub(in crate::exec::cpu) out: *mut u8,
    pub(in crate::exec::cpu) channels: usize,
}

/// See [`Gather`].
#[derive(Debug, Clone, Copy)]
pub(in crate::exec::cpu) enum How {
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
pub(in crate::exec::cpu) struct Moments {
    pub(in crate::exec::cpu) x: *const u8,
    pub(in crate::exec::cpu) ld: usize,
    pub(in crate::exec::cpu) pixels: usize,
    pub(in crate::exec::cpu) channels: usize,
    pub(in crate::exec::cpu) shift: *const u8,
    pub(in crate::exec::cpu) sums: *mut f32,
    pub(in crate::exec::cpu) squares: *mut f32,
}

/// `out = (x - mean) * factor + shift`, per channel.
pub(in crate::exec::cpu) struct Normalise {
    pub(in crate::exec::cpu) x: *const u8,
    pub(in crate::exec::cpu) ld: usize,
    pub(in crate::exec::cpu) out: *mut u8,
    pub(in crate::exec::cpu) out_ld: usize,
    pub(in crate::exec::cpu) pixels: usize,
    pub(in crate::exec::cpu) channels: usize,
    pub(in crate::exec::cpu) mean: *const f32,
    pub(in crate::exec::cpu) factor: *const f32,
    pub(in crate::exec::cpu) shift: *const f32,
    /// Whether SiLU follows.
    pub(in crate::exec::cpu) silu: bool,
}

/// A layer norm over the channels of each pixel.
pub(in crate::exec::cpu) struct LayerNorm {
    pub(in crate::exec::cpu) x: *const u8,
    pub(in crate::exec::cpu) ld: usize,
    pub(in crate::exec::cpu) out: *mut u8,
    pub(in crate::exec::cpu) out_ld: usize,
    pub(in crate::exec::cpu) pixels: usize,
    pub(in crate::exec::cpu) channels: usize,
    pub(in crate::exec::cpu) weight: *const f32,
    pub(in crate::exec::cpu) bias: *const f32,
    pub(in crate::exec::cpu) eps: f32,
}

/// Pixels of neighbouring tiles of one line of tiles, to points: see `winograd`.
pub(in crate::exec::cpu) struct ToPoints {
    /// The lines that the tiles see, from the first pixel on, and the numbers from one pixel to the next. Above and below
    /// the image, zeros that are seen again for every pixel.
    pub(in crate::exec::cpu) lines: [(*const u8, usize); MOST_SIDE + 2],
    /// Pixels of a line, as the tiles see it.
    pub(in crate::exec::cpu) width: usize,
    /// 1 where each pixel is seen twice, else 0.
    pub(in crate::exec::cpu) halve: u32,
    /// The first column that the first tile sees; that may be one before the first of the line.
    pub(in crate::exec::cpu) first: isize,
    pub(in crate::exec::cpu) tiles: usize,
    pub(in crate::exec::cpu) channels: usize,
    /// The first tile at the first point.
    pub(in crate::exec::cpu) out: *mut u8,
    /// Numbers from one tile to the next.
    pub(in crate::exec::cpu) out_ld: usize,
    /// Numbers from one point to the next.
    pub(in crate::exec::cpu) point_stride: usize,
}

/// Sums at points to sums of pixels, in place: those of a tile's pixels come to lie, line after line, at its first points.
pub(in crate::exec::cpu) struct FromPoints {
    /// The first tile at the first point.
    pub(in crate::exec::cpu) sums: *mut f32,
    /// Numbers from one point to the next.
    pub(in crate::exec::cpu) point_stride: usize,
    pub(in crate::exec::cpu) tiles: usize,
    /// Numbers of a tile at a point: whole vectors.
    pub(in crate::exec::cpu) width: usize,
    /// What is added to the sums of each pixel.
    pub(in crate::exec::cpu) bias: *const f32,
}
