//! Which convolutions are done in Winograd's form, and in blocks of what size.

use dreamframe_kernels::Kernels;

use crate::exec::Dtype;
use crate::net::steps::Product as Geometry;
use crate::net::{Padding, Shape};

/// How a convolution is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Form {
    /// Output pixels of a side of a tile: 2 or 4.
    pub side: usize,
    /// Tiles of a block, which are worked on between one turn to points and back.
    pub tiles: usize,
    /// Whether all threads work on one block: on small images. Otherwise each has a block of its own.
    pub shared: bool,
}

/// Which convolutions are done in this way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Choice {
    Never,
    /// Those that were measured to be faster.
    Measured,
    /// All that can be.
    #[cfg_attr(not(any(test, feature = "internals")), allow(dead_code, reason = "for tests and benches"))]
    Always(Form),
}

impl Choice {
    /// How to do a convolution from `c_in` channels to `out`; `None` where it is not done in this way.
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
        // Enlarging, four convolutions of side 2 multiply no more than tiles of side 2 do.
        form.filter(|form| possible && (form.side > 2 || !geometry.upsample))
    }
}

/// Fewest channels, on both sides, that are worth turning to points and back.
const FEWEST_CHANNELS_F32: usize = 32;
const FEWEST_CHANNELS_BF16: usize = 64;
/// Fewest tiles for each weight that is read: with fewer, reading the weights takes longest.
const FEWEST_TILES: usize = 32;
/// Fewest tiles of side 4: with fewer, memory for weights that are 4 times as large is not worth what is gained beside
/// side 2.
const FEWEST_LARGE_TILES: usize = 64;
/// Channels from which on a block is shared: its weights are then too large to be gone through for a few tiles.
const SHARED_CHANNELS: usize = 192;
/// Bytes of a shared block: about the size of the third cache.
const SHARED: usize = 32 << 20;
/// Bytes of a thread's own block: what the second-level cache holds besides weights.
const ALONE: usize = 448 * 1024;
/// Blocks that an image is cut into, so that many threads have about as much to do.
const BLOCKS: usize = 32;
/// Blocks have a multiple of this many tiles, which fills the rows of most micro-kernels.
const ROWS: usize = 12;

/// Where it was measured to be faster than nine products a pixel (`benches/winograd.rs` does it).
fn measured(c_in: usize, out: Shape, kernels: &Kernels) -> Option<Form> {
    let tiles = |side| out.n * out.h.div_ceil(side) * out.w.div_ceil(side);
    let (fewest, large) = match Dtype::of(kernels.isa) {
        Dtype::F32 => (FEWEST_CHANNELS_F32, tiles(4) >= FEWEST_LARGE_TILES),
        // Of side 4, ten times as much would be lost by rounding as is without.
        Dtype::Auto | Dtype::F16 | Dtype::Bf16 | Dtype::Int8 => (FEWEST_CHANNELS_BF16, false),
    };
    if c_in.min(out.c) < fewest || tiles(2) < FEWEST_TILES {
        return None;
    }
    let side = if large { 4 } else { 2 };
    let (tiles, shared) = (tiles(side), c_in.max(out.c) >= SHARED_CHANNELS);
    let widest = kernels.tiles.len() * kernels.lanes;
    let sums = if shared { out.c } else { out.c.min(widest) };
    let each = (side + 2) * (side + 2) * (c_in * kernels.size + sums * size_of::<f32>());
    let tiles = if shared {
        // Blocks of one size.
        tiles.div_ceil((tiles * each).div_ceil(SHARED))
    } else {
        (ALONE / each).min(tiles.div_ceil(BLOCKS)) / ROWS * ROWS
    };
    Some(Form { side, tiles: tiles.max(ROWS), shared })
}

#[cfg(test)]
mod tests {
    use super::*;
    use dreamframe_kernels::Isa;

    #[test]
    fn bf16_never_gets_large_tiles_and_blocks_have_some() {
        for isa in Isa::ALL {
            let Some(kernels) = isa.kernels() else { continue };
            for side in [1, 3, 8, 16, 31, 64, 200, 512, 2000] {
                for c in [1, 31, 32, 64, 191, 192, 1280, 5000] {
                    for c_out in [1, 32, 64, 320, 5000] {
                        let Some(form) = measured(c, Shape::new(1, side, side, c_out), kernels) else { continue };
                        assert!(form.tiles > 0 && matches!(form.side, 2 | 4));
                        assert!(form.side == 2 || Dtype::of(isa) == Dtype::F32, "{isa:?} {c} to {c_out} at {side}");
                    }
                }
            }
        }
    }
}
