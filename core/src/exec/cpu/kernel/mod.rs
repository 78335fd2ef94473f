//! The innermost loops, once for each set of instructions. The only place with `std::arch`.
//!
//! The loops are written once, generic in [`simd::Simd`]; each instruction set has its vectors, its tile shapes, and its
//! own table of entry points, compiled with its instructions and chosen at run time.

#![allow(unsafe_code, reason = "vector instructions and tiles that several threads write side by side")]

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod finish;
mod math;
mod norm;
mod portable;
mod simd;
mod softmax;
mod tile;

use std::fmt;

use crate::net::Activation;

/// A set of vector instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Isa {
    /// Whatever the compiler makes of plain code.
    Portable,
    /// AVX2 and FMA: eight numbers at a time.
    Avx2,
    /// AVX-512F: sixteen numbers at a time.
    Avx512,
}

impl Isa {
    /// All of them, slowest first.
    pub const ALL: [Self; 3] = [Self::Portable, Self::Avx2, Self::Avx512];

    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
        }
    }

    /// Whether this machine has it.
    pub fn available(self) -> bool {
        self.kernels().is_some()
    }

    /// The fastest that this machine has.
    pub fn best() -> Self {
        Self::ALL.into_iter().rev().find(|isa| isa.available()).unwrap_or(Self::Portable)
    }

    /// Its kernels, if this machine can run them.
    pub(super) fn kernels(self) -> Option<&'static Kernels> {
        match self {
            Self::Portable => Some(&portable::KERNELS),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => {
                (is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")).then_some(&avx2::KERNELS)
            }
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => is_x86_feature_detected!("avx512f").then_some(&avx512::KERNELS),
            #[cfg(not(target_arch = "x86_64"))]
            Self::Avx2 | Self::Avx512 => None,
        }
    }
}

/// The entry points of one instruction set.
///
/// All are unsafe for the same two reasons: the processor must have the instructions (whoever got the table from
/// [`Isa::kernels`] knows that), and what the pointers in the argument reach must be readable or writable as the
/// argument's fields say.
pub(super) struct Kernels {
    /// Which instruction set.
    pub(super) isa: Isa,
    /// Numbers in a vector.
    pub(super) lanes: usize,
    /// Products by width: entry `i` is for panels of `i + 1` vectors.
    pub(super) tiles: &'static [TileKernel],
    /// The same for attention, where all widths have the same number of rows.
    pub(super) attend: &'static [TileKernel],
    /// Products with very few output channels: entry `i` is for `i + 1`. Weights lie a vector of input channels at a
    /// time, in it output channel after output channel; channels come in whole vectors.
    pub(super) narrow: &'static [TileKernel],
    pub(super) finish: unsafe fn(&Finish<'_>),
    pub(super) geglu: unsafe fn(&Geglu),
    pub(super) softmax: unsafe fn(&Softmax),
    pub(super) scale: unsafe fn(&Scale),
    pub(super) moments: unsafe fn(&Moments),
    pub(super) normalise: unsafe fn(&Normalise),
    pub(super) layer_norm: unsafe fn(&LayerNorm),
    /// Does so many rounds of [`PEAK_SUMS`] vector multiplications and additions, all in registers.
    pub(super) peak: unsafe fn(usize) -> f32,
    #[cfg(test)]
    pub(super) exp: unsafe fn(&mut [f32]),
}

/// Independent sums of a round of [`Kernels::peak`]: enough to hide how long one takes.
pub(super) const PEAK_SUMS: usize = 12;

impl fmt::Debug for Kernels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kernels").field("isa", &self.isa).finish_non_exhaustive()
    }
}

/// A micro-kernel and the number of rows it works on.
#[derive(Debug, Clone, Copy)]
pub(super) struct TileKernel {
    /// Rows of a tile.
    pub(super) rows: usize,
    /// The kernel.
    pub(super) run: unsafe fn(&Tile),
}

/// `sums[i][j] += sum over taps and channels of row(tap, i)[channel] * panel[tap][channel][j]`.
pub(super) struct Tile {
    /// For each tap, a pointer for each row of the tile: to `offset + len` numbers at least.
    pub(super) rows: *const *const f32,
    pub(super) taps: usize,
    /// The first channel.
    pub(super) offset: usize,
    /// How many channels.
    pub(super) len: usize,
    /// Weights of the first tap's first channel; each channel's are as many as the panel is wide.
    pub(super) panel: *const f32,
    /// Numbers from one tap's weights to the next one's.
    pub(super) tap_stride: usize,
    /// The sums so far, as many in a row as the panel is wide.
    pub(super) sums: *mut f32,
    /// Numbers from one row of sums to the next.
    pub(super) sums_ld: usize,
    /// What every row of sums starts with; null where the sums go on.
    pub(super) start: *const f32,
}

/// Stores rows of sums: `out[i][j] = posts(from[i][j])`. `out` may be `from`.
pub(super) struct Finish<'a> {
    pub(super) from: *const f32,
    pub(super) from_ld: usize,
    /// `from` once more where it may be written over; null where not.
    pub(super) spare: *mut f32,
    pub(super) out: *mut f32,
    pub(super) out_ld: usize,
    pub(super) rows: usize,
    pub(super) cols: usize,
    /// The pixel that row 0 is, for operands.
    pub(super) first_pixel: usize,
    /// Pixels from one row to the next.
    pub(super) pixel_step: usize,
    /// The channel that column 0 is, for operands.
    pub(super) first_channel: usize,
    pub(super) posts: &'a [PostAt],
}

/// A post whose operand has been found.
#[derive(Debug, Clone, Copy)]
pub(super) enum PostAt {
    /// Another value is added: pixel `p` lies at `(p / div % modulo) * ld`.
    Add {
        from: *const f32,
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
pub(super) struct Geglu {
    pub(super) value: *const f32,
    pub(super) gate: *const f32,
    /// Of both.
    pub(super) ld: usize,
    pub(super) out: *mut f32,
    pub(super) out_ld: usize,
    pub(super) rows: usize,
    pub(super) cols: usize,
}

/// One block of keys of the running softmax: turns scores into weights, and scales what was gathered before to the new
/// largest score.
pub(super) struct Softmax {
    /// Scores; become weights. `-inf` where a key is hidden.
    pub(super) scores: *mut f32,
    pub(super) ld: usize,
    pub(super) rows: usize,
    /// A multiple of the vector length.
    pub(super) keys: usize,
    /// What scores are multiplied by before powers of two are taken.
    pub(super) scale: f32,
    /// For each row the largest scaled score so far.
    pub(super) largest: *mut f32,
    /// For each row the sum of weights so far.
    pub(super) sums: *mut f32,
    /// What was gathered so far; `gathered_len` numbers (a multiple of the vector length) a row.
    pub(super) gathered: *mut f32,
    pub(super) gathered_len: usize,
}

/// `out[j] = from[j] * factor`.
pub(super) struct Scale {
    pub(super) from: *const f32,
    pub(super) out: *mut f32,
    pub(super) len: usize,
    pub(super) factor: f32,
}

/// For each channel the sum of `x - shift` over some pixels, and that of its square.
pub(super) struct Moments {
    pub(super) x: *const f32,
    pub(super) ld: usize,
    pub(super) pixels: usize,
    pub(super) channels: usize,
    pub(super) shift: *const f32,
    pub(super) sums: *mut f32,
    pub(super) squares: *mut f32,
}

/// `out = (x - mean) * factor + shift`, per channel.
pub(super) struct Normalise {
    pub(super) x: *const f32,
    pub(super) ld: usize,
    pub(super) out: *mut f32,
    pub(super) out_ld: usize,
    pub(super) pixels: usize,
    pub(super) channels: usize,
    pub(super) mean: *const f32,
    pub(super) factor: *const f32,
    pub(super) shift: *const f32,
    /// Whether SiLU follows.
    pub(super) silu: bool,
}

/// A layer norm over the channels of each pixel.
pub(super) struct LayerNorm {
    pub(super) x: *const f32,
    pub(super) ld: usize,
    pub(super) out: *mut f32,
    pub(super) out_ld: usize,
    pub(super) pixels: usize,
    pub(super) channels: usize,
    pub(super) weight: *const f32,
    pub(super) bias: *const f32,
    pub(super) eps: f32,
}

/// Makes the table of an instruction set: `features` is the attribute that its entry points are compiled with.
macro_rules! kernels {
    ($isa:expr, $simd:ty, [$(#[$features:meta])*], tiles: [$(($rows:literal, $vectors:literal)),*], attend: [$(($arows:literal, $avectors:literal)),*], narrow: [$(($nrows:literal, $outs:literal)),*]) => {
        pub(super) static KERNELS: crate::exec::cpu::kernel::Kernels = {
            use crate::exec::cpu::kernel::*;
            use simd::Simd as _;

            $(#[$features])*
            unsafe fn tile<const ROWS: usize, const VECTORS: usize>(args: &Tile) {
                // SAFETY: the caller's promise, see `Kernels`.
                unsafe { tile::tile::<$simd, ROWS, VECTORS>(args) }
            }
            $(#[$features])*
            unsafe fn narrow<const ROWS: usize, const OUTS: usize>(args: &Tile) {
                // SAFETY: the caller's promise, see `Kernels`.
                unsafe { tile::narrow::<$simd, ROWS, OUTS>(args) }
            }
            $(#[$features])*
            unsafe fn finish(args: &Finish<'_>) {
                // SAFETY: the caller's promise, see `Kernels`.
                unsafe { finish::finish::<$simd>(args) }
            }
            $(#[$features])*
            unsafe fn geglu(args: &Geglu) {
                // SAFETY: the caller's promise, see `Kernels`.
                unsafe { finish::geglu::<$simd>(args) }
            }
            $(#[$features])*
            unsafe fn softmax(args: &Softmax) {
                // SAFETY: the caller's promise, see `Kernels`.
                unsafe { softmax::softmax::<$simd>(args) }
            }
            $(#[$features])*
            unsafe fn scale(args: &Scale) {
                // SAFETY: the caller's promise, see `Kernels`.
                unsafe { softmax::scale::<$simd>(args) }
            }
            $(#[$features])*
            unsafe fn moments(args: &Moments) {
                // SAFETY: the caller's promise, see `Kernels`.
                unsafe { norm::moments::<$simd>(args) }
            }
            $(#[$features])*
            unsafe fn normalise(args: &Normalise) {
                // SAFETY: the caller's promise, see `Kernels`.
                unsafe { norm::normalise::<$simd>(args) }
            }
            $(#[$features])*
            unsafe fn layer_norm(args: &LayerNorm) {
                // SAFETY: the caller's promise, see `Kernels`.
                unsafe { norm::layer_norm::<$simd>(args) }
            }
            $(#[$features])*
            unsafe fn peak(rounds: usize) -> f32 {
                // SAFETY: the caller's promise, see `Kernels`.
                unsafe { math::peak::<$simd>(rounds) }
            }
            #[cfg(test)]
            $(#[$features])*
            unsafe fn exp(x: &mut [f32]) {
                // SAFETY: the caller's promise, see `Kernels`.
                unsafe { math::exp_slice::<$simd>(x) }
            }
            Kernels {
                isa: $isa,
                lanes: <$simd>::LANES,
                tiles: &[$(TileKernel { rows: $rows, run: tile::<$rows, $vectors> }),*],
                attend: &[$(TileKernel { rows: $arows, run: tile::<$arows, $avectors> }),*],
                narrow: &[$(TileKernel { rows: $nrows * tile::GROUPS, run: narrow::<$nrows, $outs> }),*],
                finish,
                geglu,
                softmax,
                scale,
                moments,
                normalise,
                layer_norm,
                peak,
                #[cfg(test)]
                exp,
            }
        };
    };
}
use kernels;
