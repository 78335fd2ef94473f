//! Selection of the convolution algorithm: which convolutions use Winograd's, and with which block size.

use dreamframe_kernels::{Isa, Kernels};

use crate::net::steps::Product as Geometry;
use crate::net::{Padding, Shape};

/// Parameters of Winograd's algorithm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Form {
    /// Output pixels per side of a tile: 2 or 4.
    pub side: usize,
    /// Tiles of a block, which are transformed and multiplied together.
    pub tiles: usize,
    /// Whether all threads work on one block, for small images. Otherwise each thread has its own block.
    pub shared: bool,
}

/// The convolutions that use Winograd's algorithm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WinogradPolicy {
    Never,
    /// Those measured to be faster.
    Measured,
    /// All supported ones.
    #[cfg_attr(not(any(test, feature = "internals")), allow(dead_code, reason = "for tests and benches"))]
    Always(Form),
}

impl WinogradPolicy {
    /// Returns the parameters for a convolution from `c_in` channels to `out`; `None` if it does not use Winograd's
    /// algorithm.
    pub(super) fn form(self, geometry: &Geometry, c_in: usize, out: Shape, kernels: &Kernels) -> Option<Form> {
        let possible = geometry.kernel == 3
            && geometry.stride == 1
            && geometry.dilation == 1
            && geometry.padding == Padding::all(1)
            && !geometry.geglu
            && geometry.bytes.is_none();
        let form = match self {
            Self::Never => None,
            Self::Measured => measured(c_in, out, kernels),
            Self::Always(form) => Some(form),
        };
        // For upsampled images, four 2x2 convolutions need no more multiplications than tiles of side 2.
        form.filter(|form| possible && (form.side > 2 || !geometry.upsample))
    }
}

/// Minimum number of channels, in and out, for which the transforms pay off.
const MIN_CHANNELS_F32: usize = 32;
const MIN_CHANNELS_BF16: usize = 64;
/// Minimum number of tiles per weight: with fewer, reading the weights dominates.
const MIN_TILES: usize = 32;
/// Minimum number of tiles of side 4: with fewer, the gain over side 2 does not justify weights that are 4 times as
/// large.
const MIN_LARGE_TILES: usize = 64;
/// Minimum number of channels for a shared block: the weights are then too large to be read for a few tiles.
const SHARED_CHANNELS: usize = 192;
/// Bytes of a shared block: about the size of the L3 cache.
const SHARED: usize = 32 << 20;
/// Bytes of a thread's own block: the part of the L2 cache that weights do not need.
const ALONE: usize = 448 * 1024;
/// Minimum number of blocks of an image, to balance the threads.
const BLOCKS: usize = 32;
/// The number of tiles of a block is a multiple of this, which fills the rows of most micro-kernels.
const ROWS: usize = 12;

/// Returns the parameters if Winograd's algorithm was measured to be faster than direct convolution (by
/// `benches/winograd.rs`).
fn measured(c_in: usize, out: Shape, kernels: &Kernels) -> Option<Form> {
    // Not measured with products of tiles, whose rate is many times that of the transforms.
    if matches!(kernels.isa, Isa::AmxBf16 | Isa::AmxInt8) {
        return None;
    }
    let tiles = |side| out.n * out.h.div_ceil(side) * out.w.div_ceil(side);
    let (fewest, large) = if kernels.stores_f32() {
        (MIN_CHANNELS_F32, tiles(4) >= MIN_LARGE_TILES)
    } else {
        // With side 4, the rounding error is ten times as large.
        (MIN_CHANNELS_BF16, false)
    };
    if c_in.min(out.c) < fewest || tiles(2) < MIN_TILES {
        return None;
    }
    let side = if large { 4 } else { 2 };
    let (tiles, shared) = (tiles(side), c_in.max(out.c) >= SHARED_CHANNELS);
    let widest = kernels.tiles.len() * kernels.lanes;
    let sums = if shared { out.c } else { out.c.min(widest) };
    let each = (side + 2) * (side + 2) * (c_in * kernels.size + sums * size_of::<f32>());
    let tiles = if shared {
        // Blocks of equal size.
        tiles.div_ceil((tiles * each).div_ceil(SHARED))
    } else {
        (ALONE / each).min(tiles.div_ceil(BLOCKS)) / ROWS * ROWS
    };
    Some(Form { side, tiles: tiles.max(ROWS), shared })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bf16_never_uses_large_tiles_and_blocks_are_not_empty() {
        for isa in Isa::ALL {
            let Some(kernels) = isa.kernels() else { continue };
            for side in [1, 3, 8, 16, 31, 64, 200, 512, 2000] {
                for c in [1, 31, 32, 64, 191, 192, 1280, 5000] {
                    for c_out in [1, 32, 64, 320, 5000] {
                        let Some(form) = measured(c, Shape::new(1, side, side, c_out), kernels) else { continue };
                        assert!(form.tiles > 0 && matches!(form.side, 2 | 4));
                        assert!(form.side == 2 || kernels.stores_f32(), "{isa:?} {c} to {c_out} at {side}");
                    }
                }
            }
        }
    }
}
