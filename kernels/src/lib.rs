//! The inner loops of dreamframe: the vector kernels of its CPU executor, compiled for each instruction set, and simple
//! loops over weights and pixels.
//!
//! An implementation detail of the crate `dreamframe`, without promises of stability. It is a separate crate so that it
//! is compiled once, with full optimization, also for unit tests, which are otherwise compiled without.
//!
//! The vector kernels are written once, generic in the trait `Simd`; each instruction set has its vectors, its tile
//! shapes, and its own table of entry points, compiled with its instructions and chosen at run time.

#![allow(unsafe_code, reason = "vector instructions and tiles that several threads write side by side")]
#![allow(
    missing_docs,
    reason = "fields of arguments are described where their names and the text above do not suffice"
)]

#[cfg(target_arch = "x86_64")]
mod amx;
mod args;
#[cfg(target_arch = "aarch64")]
mod arm;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod avx_vnni;
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
#[cfg(target_arch = "aarch64")]
mod neon;
#[cfg(target_arch = "aarch64")]
mod neon_blocks;
#[cfg(target_arch = "aarch64")]
mod neon_bytes;
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
#[cfg(target_arch = "x86_64")]
mod x86;

use std::fmt;

pub use self::args::{
    Activation, Convert, Divide, Finish, FromPoints, Gather, Geglu, HIDDEN, How, LayerNorm, MAX_POSTS, Moments,
    Normalise, PostAt, Softmax, Tile, TileKernel, ToBytes, ToPoints,
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
/// All are unsafe for the same two reasons: the CPU must support the instructions (which [`Isa::kernels`] guarantees),
/// and the pointers in the argument must be valid for reads or writes as documented at its fields.
pub struct Kernels {
    /// The instruction set.
    pub isa: Isa,
    /// Elements in a vector.
    pub lanes: usize,
    /// Bytes of a stored element. Byte pointers in arguments point to such elements, and lengths count them.
    pub size: usize,
    /// Size of a group of interleaved channels, which are multiplied and summed by one instruction.
    pub group: usize,
    /// Tile kernels by width: entry `i` is for panels of `i + 1` vectors.
    pub tiles: &'static [TileKernel],
    /// The same for attention, with the same number of rows for all widths.
    pub attend: &'static [TileKernel],
    /// Products with very few output channels: entry `i` is for `i + 1`. Weights lie a vector of input channels at a
    /// time, in it output channel after output channel; channels come in whole vectors.
    pub narrow: &'static [TileKernel],
    /// Called on a thread before its first products, and with [`leave`](Self::leave) after the last ones. Products of some
    /// sets have state in between, which other code on the thread may change.
    pub enter: unsafe fn(),
    /// See [`enter`](Self::enter).
    pub leave: unsafe fn(),
    pub finish: unsafe fn(&Finish<'_>),
    pub geglu: unsafe fn(&Geglu),
    pub softmax: unsafe fn(&Softmax),
    pub divide: unsafe fn(&Divide),
    pub moments: unsafe fn(&Moments),
    pub normalise: unsafe fn(&Normalise),
    pub layer_norm: unsafe fn(&LayerNorm),
    pub gather: unsafe fn(&Gather<'_>),
    /// Converts `f32`s to the storage format.
    pub store: unsafe fn(&Convert),
    /// Converts stored elements to `f32`s.
    pub load: unsafe fn(&Convert),
    /// For tiles of two output pixels per side, and of four.
    pub to_points: [unsafe fn(&ToPoints); 2],
    pub from_points: [unsafe fn(&FromPoints); 2],
    /// Runs this many rounds of [`peak_sums`](Self::peak_sums) vector multiplications and additions, all in registers.
    pub peak: unsafe fn(usize) -> f32,
    /// Independent sums of a round: enough to hide the latency.
    pub peak_sums: usize,
    /// Products of bytes, if supported.
    pub bytes: Option<&'static ByteKernels>,
    #[cfg(feature = "testing")]
    pub exp: unsafe fn(&mut [f32]),
}

impl Kernels {
    /// Whether values are stored as `f32`, not bf16.
    pub fn stores_f32(&self) -> bool {
        self.size == size_of::<f32>()
    }
}

impl fmt::Debug for Kernels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kernels").field("isa", &self.isa).finish_non_exhaustive()
    }
}

/// For [`Kernels::enter`] and [`Kernels::leave`] where products have no state.
unsafe fn without_state() {}

/// Creates the table of an instruction set; `features` is the attribute of its entry points.
macro_rules! kernels {
    ($isa:expr, $simd:ty, $storage:ty, [$(#[$features:meta])*], tiles: [$(($rows:literal, $vectors:literal)),*], attend: [$(($arows:literal, $avectors:literal)),*], narrow: [$(($nrows:literal, $outs:literal)),*], peak: $peak:literal) => {
        pub(super) static KERNELS: crate::Kernels = {
            use crate::*;
            use simd::{Simd, Storage};

            $(#[$features])*
            unsafe fn tile<const ROWS: usize, const VECTORS: usize>(args: &Tile) {
                // SAFETY: guaranteed by the caller, see `Kernels`.
                unsafe { tile::tile::<$simd, $storage, ROWS, VECTORS>(args) }
            }
            #[allow(dead_code, reason = "formats that are multiplied in blocks have no narrow products")]
            $(#[$features])*
            unsafe fn narrow<const ROWS: usize, const OUTS: usize>(args: &Tile) {
                // SAFETY: guaranteed by the caller, see `Kernels`.
                unsafe { tile::narrow::<$simd, $storage, ROWS, OUTS>(args) }
            }
            $(#[$features])*
            unsafe fn finish(args: &Finish<'_>) {
                // SAFETY: guaranteed by the caller, see `Kernels`.
                unsafe { finish::finish::<$simd, $storage>(args) }
            }
            $(#[$features])*
            unsafe fn geglu(args: &Geglu) {
                // SAFETY: guaranteed by the caller, see `Kernels`.
                unsafe { finish::geglu::<$simd, $storage>(args) }
            }
            $(#[$features])*
            unsafe fn softmax(args: &Softmax) {
                // SAFETY: guaranteed by the caller, see `Kernels`.
                unsafe { softmax::softmax::<$simd, $storage>(args) }
            }
            $(#[$features])*
            unsafe fn divide(args: &Divide) {
                // SAFETY: guaranteed by the caller, see `Kernels`.
                unsafe { softmax::divide::<$simd, $storage>(args) }
            }
            $(#[$features])*
            unsafe fn moments(args: &Moments) {
                // SAFETY: guaranteed by the caller, see `Kernels`.
                unsafe { norm::moments::<$simd, $storage>(args) }
            }
            $(#[$features])*
            unsafe fn normalise(args: &Normalise) {
                // SAFETY: guaranteed by the caller, see `Kernels`.
                unsafe { norm::normalise::<$simd, $storage>(args) }
            }
            $(#[$features])*
            unsafe fn layer_norm(args: &LayerNorm) {
                // SAFETY: guaranteed by the caller, see `Kernels`.
                unsafe { norm::layer_norm::<$simd, $storage>(args) }
            }
            $(#[$features])*
            unsafe fn gather(args: &Gather<'_>) {
                // SAFETY: guaranteed by the caller, see `Kernels`.
                unsafe { gather::gather::<$simd, $storage>(args) }
            }
            $(#[$features])*
            unsafe fn store(args: &Convert) {
                // SAFETY: guaranteed by the caller, see `Kernels`.
                unsafe { finish::store::<$simd, $storage>(args) }
            }
            $(#[$features])*
            unsafe fn load(args: &Convert) {
                // SAFETY: guaranteed by the caller, see `Kernels`.
                unsafe { finish::load::<$simd, $storage>(args) }
            }
            $(#[$features])*
            unsafe fn to_points<const N: usize>(args: &ToPoints) {
                // SAFETY: guaranteed by the caller, see `Kernels`.
                unsafe { winograd::spread::<$simd, $storage, N>(args) }
            }
            $(#[$features])*
            unsafe fn from_points<const N: usize>(args: &FromPoints) {
                // SAFETY: guaranteed by the caller, see `Kernels`.
                unsafe { winograd::gather::<$simd, N>(args) }
            }
            $(#[$features])*
            unsafe fn peak(rounds: usize) -> f32 {
                // SAFETY: guaranteed by the caller, see `Kernels`.
                unsafe { math::peak::<$simd, $storage, $peak>(rounds) }
            }
            #[cfg(feature = "testing")]
            $(#[$features])*
            unsafe fn exp(x: &mut [f32]) {
                // SAFETY: guaranteed by the caller, see `Kernels`.
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
                enter: without_state,
                leave: without_state,
                finish,
                geglu,
                softmax,
                divide,
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
