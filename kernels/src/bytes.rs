//! Products of bytes, and quantization to bytes.

use super::simd::{Simd, Storage};
use super::{TileKernel, ToBytes};

/// The entry points of one instruction set for bytes; unsafe for the same reasons as those of
/// [`Kernels`](super::Kernels).
#[derive(Debug)]
pub struct ByteKernels {
    /// Size of a group of interleaved channels.
    pub group: usize,
    /// Whether bytes of rows are stored as signed ones: 128 less than the quantized values.
    pub signed: bool,
    /// Products by width, as [`Kernels::tiles`](super::Kernels::tiles). Rows and panels are bytes; sums and their
    /// initial values are 32-bit integers in place of `f32`s.
    pub tiles: &'static [TileKernel],
    pub to_bytes: unsafe fn(&ToBytes),
    /// Like [`Kernels::peak`](super::Kernels::peak).
    pub peak: unsafe fn(usize) -> f32,
    pub peak_sums: usize,
}

/// See [`ToBytes`]: rounded to the nearest, ties to even, and clamped to a byte.
#[inline(always)]
pub(super) unsafe fn to_bytes<S: Simd, M: Storage<S>, B: Storage<S>>(args: &ToBytes) {
    let &ToBytes { x, ld, to, pixels, channels, inverse, zero } = args;
    let whole = channels - channels % S::LANES;
    // SAFETY: the caller promises `pixels` pixels of `channels` numbers at both pointers; the last vector of a pixel that
    // is not full is read and written in part.
    unsafe {
        let (inverse, zero) = (S::splat(inverse), S::splat(zero));
        for pixel in 0..pixels {
            let from = x.cast::<M::Stored>().add(pixel * ld);
            let to = to.cast::<B::Stored>().add(pixel * channels);
            let mut c = 0;
            while c < whole {
                B::put(to.add(c), S::add(S::round(S::mul(M::get(from.add(c)), inverse)), zero));
                c += S::LANES;
            }
            let rest = channels - whole;
            if rest > 0 {
                let v = S::add(S::round(S::mul(M::get_first(from.add(c), rest), inverse)), zero);
                B::put_first(to.add(c), rest, v);
            }
        }
    }
}

/// Creates the table of an instruction set, as `kernels!` does.
macro_rules! byte_kernels {
    ($name:ident, $simd:ty, $storage:ty, $bytes:ty, [$(#[$features:meta])*], tiles: [$(($rows:literal, $vectors:literal)),*], peak: $peak:literal) => {
        pub(super) static $name: crate::ByteKernels = {
            use crate::*;

            $(#[$features])*
            unsafe fn tile<const ROWS: usize, const VECTORS: usize>(args: &Tile) {
                // SAFETY: guaranteed by the caller, see `Kernels`.
                unsafe { tile::tile::<$simd, $bytes, ROWS, VECTORS>(args) }
            }
            $(#[$features])*
            unsafe fn to_bytes(args: &ToBytes) {
                // SAFETY: guaranteed by the caller, see `Kernels`.
                unsafe { bytes::to_bytes::<$simd, $storage, $bytes>(args) }
            }
            $(#[$features])*
            unsafe fn peak(rounds: usize) -> f32 {
                // SAFETY: guaranteed by the caller, see `Kernels`.
                unsafe { math::peak::<$simd, $bytes, $peak>(rounds) }
            }
            ByteKernels {
                group: <$bytes as simd::Storage<$simd>>::GROUP,
                signed: <$bytes as simd::Storage<$simd>>::SIGNED,
                tiles: &[$(TileKernel { rows: $rows, run: tile::<$rows, $vectors> }),*],
                to_bytes,
                peak,
                peak_sums: $peak,
            }
        };
    };
}
pub(super) use byte_kernels;
