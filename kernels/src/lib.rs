//! The innermost loops of dreamframe: the vector kernels of its CPU executor, once for each instruction set, and plain
//! loops over weights and pixels.
//!
//! An implementation detail of the crate `dreamframe`, with no promise of stability. It is a crate of its own so that
//! it is compiled once, with full optimisation, for the library and for its unit tests, which are compiled without.
//!
//! The vector kernels are written once, generic in the trait `Simd`; each instruction set has its vectors, its tile
//! shapes, and its own table of entry points, compiled with its instructions and chosen at run time.

#![allow(unsafe_code, reason = "vector instructions and tiles that several threads write side by side")]
#![allow(
    missing_docs,
    reason = "fields of arguments are described where their names and the text above do not suffice"
)]

mod args;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod bf16;
mod bytes;
#[cfg(feature = "testing")]
pub mod definitions;
pub mod filter;
mod finish;
mod gather;
#[cfg(target_arch = "x86_64")]
mod int8;
mod isa;
mod keys;
mod math;
mod norm;
pub mod numbers;
mod panels;
#[cfg(feature = "testing")]
pub mod plain_bytes;
mod portable;
mod quantize;
pub mod resize;
mod simd;
mod softmax;
mod tile;
mod winograd;

use std::fmt;

pub use self::args::{
    Activation, Convert, Finish, FromPoints, Gather, Geglu, HIDDEN, How, LayerNorm, MAX_POSTS, Moments, Normalise,
    PostAt, Scale, Softmax, Tile, TileKernel, ToBytes, ToPoints,
};
pub use self::bytes::ByteKernels;
use self::bytes::byte_kernels;
pub use self::isa::Isa;
pub use self::keys::{Keys, key_panels};
pub use self::numbers::Number;
pub use self::panels::{Panel, Panels, phase_of};
pub use self::quantize::{ByteScale, weight_bytes};
pub use self::tile::row_addresses;
pub use self::winograd::MOST_SIDE;

/// The entry points of one instruction set.
///
/// All are unsafe for the same two reasons: the processor must have the instructions (callers that got the table from
/// [`Isa::kernels`] knows that), and what the pointers in the argument reach must be readable or writable as the
/// argument's fields say.
pub struct Kernels {
    /// Which instruction set.
    pub isa: Isa,
    /// Numbers in a vector.
    pub lanes: usize,
    /// Bytes of a stored number. Pointers to bytes in arguments are to such numbers, and count in them.
    pub size: usize,
    /// Channels that weights lie side by side for: those of a group are multiplied and summed up at once.
    pub group: usize,
    /// Products by width: entry `i` is for panels of `i + 1` vectors.
    pub tiles: &'static [TileKernel],
    /// The same for attention, where all widths have the same number of rows.
    pub attend: &'static [TileKernel],
    /// Products with very few output channels: entry `i` is for `i + 1`. Weights lie a vector of input channels at a
    /// time, in it output channel after output channel; channels come in whole vectors.
    pub narrow: &'static [TileKernel],
    pub finish: unsafe fn(&Finish<'_>),
    pub geglu: unsafe fn(&Geglu),
    pub softmax: unsafe fn(&Softmax),
    pub scale: unsafe fn(&Scale),
    pub moments: unsafe fn(&Moments),
    pub normalise: unsafe fn(&Normalise),
    pub layer_norm: unsafe fn(&LayerNorm),
    pub gather: unsafe fn(&Gather<'_>),
    /// Stores `f32`s as values are.
    pub store: unsafe fn(&Convert),
    /// Makes `f32`s of stored numbers.
    pub load: unsafe fn(&Convert),
    /// For tiles of two output pixels a side, and of four.
    pub to_points: [unsafe fn(&ToPoints); 2],
    pub from_points: [unsafe fn(&FromPoints); 2],
    /// Does this many rounds of [`peak_sums`](Self::peak_sums) vector multiplications and additions, all in registers.
    pub peak: unsafe fn(usize) -> f32,
    /// Independent sums of a round: enough to hide how long one takes.
    pub peak_sums: usize,
    /// Products of bytes, where there are some.
    pub bytes: Option<&'static ByteKernels>,
    #[cfg(feature = "testing")]
    pub exp: unsafe fn(&mut [f32]),
}

impl Kernels {
    /// Whether values are stored as they are calculated, and not as bf16.
    pub fn stores_f32(&self) -> bool {
        self.size == size_of::<f32>()
    }
}

impl fmt::Debug for Kernels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kernels").field("isa", &self.isa).finish_non_exhaustive()
    }
}

/// Makes the table of an instruction set: `features` is the attribute that its entry points are compiled with.
macro_rules! kernels {
    ($isa:expr, $simd:ty, $storage:ty, [$(#[$features:meta])*], tiles: [$(($rows:literal, $vectors:literal)),*], attend: [$(($arows:literal, $avectors:literal)),*], narrow: [$(($nrows:literal, $outs:literal)),*], peak: $peak:literal) => {
        pub(super) static KERNELS: crate::Kernels = {
            use crate::*;
            use simd::{Simd, Storage};

            $(#[$features])*
            unsafe fn tile<const ROWS: usize, const VECTORS: usize>(args: &Tile) {
                // SAFETY: the caller's promise, see `Kernels`.
                unsafe { tile::tile::<$simd, $storage, ROWS, VECTORS>(args) }
            }
            $(#[$features])*
            unsafe fn narrow<const ROWS: usize, const OUTS: usize>(args: &Tile) {
                // SAFETY: the caller's promise, see `Kernels`.
                unsafe { tile::narrow::<$simd, $storage, ROWS, OUTS>(args) }
            }
            $(#[$features])*
            unsafe fn finish(args: &Finish<'_>) {
                // SAFETY: the caller's promise, see `Kernels`.
                unsafe { finish::finish::<$simd, $storage>(args) }
            }
            $(#[$features])*
            unsafe fn geglu(args: &Geglu) {
                // SAFETY: the caller's promise, see `Kernels`.
                unsafe { finish::geglu::<$simd, $storage>(args) }
            }
            $(#[$features])*
            unsafe fn softmax(args: &Softmax) {
                // SAFETY: the caller's promise, see `Kernels`.
                unsafe { softmax::softmax::<$simd, $storage>(args) }
            }
            $(#[$features])*
            unsafe fn scale(args: &Scale) {
                // SAFETY: the caller's promise, see `Kernels`.
                unsafe { softmax::scale::<$simd, $storage>(args) }
            }
            $(#[$features])*
            unsafe fn moments(args: &Moments) {
                // SAFETY: the caller's promise, see `Kernels`.
                unsafe { norm::moments::<$simd, $storage>(args) }
            }
            $(#[$features])*
            unsafe fn normalise(args: &Normalise) {
                // SAFETY: the caller's promise, see `Kernels`.
                unsafe { norm::normalise::<$simd, $storage>(args) }
            }
            $(#[$features])*
            unsafe fn layer_norm(args: &LayerNorm) {
                // SAFETY: the caller's promise, see `Kernels`.
                unsafe { norm::layer_norm::<$simd, $storage>(args) }
            }
            $(#[$features])*
            unsafe fn gather(args: &Gather<'_>) {
                // SAFETY: the caller's promise, see `Kernels`.
                unsafe { gather::gather::<$simd, $storage>(args) }
            }
            $(#[$features])*
            unsafe fn store(args: &Convert) {
                // SAFETY: the caller's promise, see `Kernels`.
                unsafe { finish::store::<$simd, $storage>(args) }
            }
            $(#[$features])*
            unsafe fn load(args: &Convert) {
                // SAFETY: the caller's promise, see `Kernels`.
                unsafe { finish::load::<$simd, $storage>(args) }
            }
            $(#[$features])*
            unsafe fn to_points<const N: usize>(args: &ToPoints) {
                // SAFETY: the caller's promise, see `Kernels`.
                unsafe { winograd::spread::<$simd, $storage, N>(args) }
            }
            $(#[$features])*
            unsafe fn from_points<const N: usize>(args: &FromPoints) {
                // SAFETY: the caller's promise, see `Kernels`.
                unsafe { winograd::gather::<$simd, N>(args) }
            }
            $(#[$features])*
            unsafe fn peak(rounds: usize) -> f32 {
                // SAFETY: the caller's promise, see `Kernels`.
                unsafe { math::peak::<$simd, $storage, $peak>(rounds) }
            }
            #[cfg(feature = "testing")]
            $(#[$features])*
            unsafe fn exp(x: &mut [f32]) {
                // SAFETY: the caller's promise, see `Kernels`.
                unsafe { math::exp_slice::<$simd>(x) }
            }
            Kernels {
                isa: $isa,
                lanes: <$simd as Simd>::LANES,
                size: size_of::<<$storage as Storage<$simd>>::Stored>(),
                group: <$storage as Storage<$simd>>::GROUP,
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
                gather,
                store,
                load,
                to_points: [to_points::<4>, to_points::<6>],
                from_points: [from_points::<4>, from_points::<6>],
                peak,
                peak_sums: $peak,
                bytes: None,
                #[cfg(feature = "testing")]
                exp,
            }
        };
    };
}
use kernels;
