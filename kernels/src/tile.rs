//! The product of a few rows and a panel of weights, with all sums in registers.

use super::Tile;
use super::simd::{Simd, Storage};

/// Groups of rows of a narrow tile: enough to amortize computing addresses and storing sums.
pub(super) const GROUPS: usize = 4;

/// See [`Tile`]. `ROWS * VECTORS` sums, `VECTORS` weights and one element of a row are in registers simultaneously.
#[inline(always)]
pub(super) unsafe fn tile<S: Simd, M: Storage<S>, const ROWS: usize, const VECTORS: usize>(args: &Tile) {
    // Weights of a group of channels.
    let width = VECTORS * S::LANES * M::GROUP;
    // SAFETY: the caller promises that `sums` has ROWS rows of as many numbers as the panel is wide, `start` is null or
    // has one such row, as what sums are scaled by has, `rows` has a pointer per tap and row to `offset + len` numbers,
    // and `panel` has `width` numbers per tap and group of channels.
    unsafe {
        let mut sums = [[S::splat(0.0); VECTORS]; ROWS];
        for (i, row) in sums.iter_mut().enumerate() {
            let from = if args.start.is_null() { args.sums.add(i * args.sums_ld).cast_const() } else { args.start };
            for (j, sum) in row.iter_mut().enumerate() {
                *sum = S::load(from.add(j * S::LANES));
            }
        }
        M::turn(&mut sums);
        for tap in 0..args.taps {
            let mut weights = args.panel.cast::<M::Stored>().add(tap * args.tap_stride);
            let mut rows = [std::ptr::null::<M::Stored>(); ROWS];
            for (i, row) in rows.iter_mut().enumerate() {
                *row = (*args.rows.add(tap * ROWS + i)).cast::<M::Stored>().add(args.offset);
            }
            let mut k = 0;
            while k + 4 * M::GROUP <= args.len {
                M::four_steps(&rows, k, weights, &mut sums);
                weights = weights.add(4 * width);
                k += 4 * M::GROUP;
            }
            while k + M::GROUP <= args.len {
                M::step::<ROWS, VECTORS, true>(&rows, k, M::GROUP, weights, &mut sums);
                weights = weights.add(width);
                k += M::GROUP;
            }
            if k < args.len {
                M::step::<ROWS, VECTORS, false>(&rows, k, args.len - k, weights, &mut sums);
            }
        }
        M::turn(&mut sums);
        for (i, row) in sums.iter().enumerate() {
            for (j, &sum) in row.iter().enumerate() {
                let sum = match args.scaled {
                    Some([scale, bias]) if M::WHOLE => {
                        S::fma(M::numbers(sum), S::load(scale.add(j * S::LANES)), S::load(bias.add(j * S::LANES)))
                    }
                    Some(_) | None => sum,
                };
                S::store(args.sums.add(i * args.sums_ld + j * S::LANES), sum);
            }
        }
    }
}

/// The same for so few output channels that a vector of them would be mostly padding: vectors are of input channels,
/// and summed at the end. See [`Kernels::narrow`](super::Kernels::narrow) for the layout of weights. A tile is
/// [`GROUPS`] times `ROWS` rows.
#[inline(always)]
pub(super) unsafe fn narrow<S: Simd, M: Storage<S>, const ROWS: usize, const OUTS: usize>(args: &Tile) {
    for group in 0..GROUPS {
        // SAFETY: as for `tile`, with `len` a multiple of a vector of groups and `OUTS` sums a row.
        unsafe {
            let sums = narrow_sums::<S, M, ROWS, OUTS>(args, group * ROWS);
            for (i, row) in sums.iter().enumerate() {
                for (o, &sum) in row.iter().enumerate() {
                    let to = args.sums.add((group * ROWS + i) * args.sums_ld + o);
                    let before = if args.start.is_null() { *to } else { *args.start.add(o) };
                    *to = before + S::sum(sum);
                }
            }
        }
    }
}

/// The sums of some rows of a narrow tile, one vector each.
#[allow(clippy::needless_range_loop, reason = "by index, the compiler keeps the sums in registers")]
#[inline(always)]
unsafe fn narrow_sums<S: Simd, M: Storage<S>, const ROWS: usize, const OUTS: usize>(
    args: &Tile,
    first: usize,
) -> [[S::V; OUTS]; ROWS] {
    let step = S::LANES * M::GROUP;
    // SAFETY: as `narrow`.
    unsafe {
        let mut sums = [[S::splat(0.0); OUTS]; ROWS];
        for tap in 0..args.taps {
            let mut weights = args.panel.cast::<M::Stored>().add(tap * args.tap_stride);
            let mut rows = [std::ptr::null::<M::Stored>(); ROWS];
            for (i, row) in rows.iter_mut().enumerate() {
                *row = (*args.rows.add(tap * ROWS * GROUPS + first + i)).cast::<M::Stored>().add(args.offset);
            }
            let mut k = 0;
            while k < args.len {
                let mut w = [M::load_groups(weights); OUTS];
                for (o, w) in w.iter_mut().enumerate().skip(1) {
                    *w = M::load_groups(weights.add(o * step));
                }
                for i in 0..ROWS {
                    let x = M::load_groups(rows[i].add(k));
                    for o in 0..OUTS {
                        sums[i][o] = M::multiply(x, w[o], sums[i][o]);
                    }
                }
                weights = weights.add(OUTS * step);
                k += step;
            }
        }
        sums
    }
}

/// See [`Storage::four_steps`].
#[inline(always)]
pub(super) unsafe fn four_steps<S: Simd, M: Storage<S>, const ROWS: usize, const VECTORS: usize>(
    rows: &[*const M::Stored; ROWS],
    k: usize,
    weights: *const M::Stored,
    sums: &mut [[S::V; VECTORS]; ROWS],
) {
    let width = VECTORS * S::LANES * M::GROUP;
    for step in 0..4 {
        // SAFETY: guaranteed by the caller, passed on.
        unsafe {
            M::step::<ROWS, VECTORS, true>(rows, k + step * M::GROUP, M::GROUP, weights.add(step * width), sums);
        }
    }
}

/// See [`Storage::step`]: as many instructions as there are sums.
#[inline(always)]
pub(super) unsafe fn step<S: Simd, M: Storage<S>, const ROWS: usize, const VECTORS: usize, const WHOLE: bool>(
    rows: &[*const M::Stored; ROWS],
    k: usize,
    n: usize,
    weights: *const M::Stored,
    sums: &mut [[S::V; VECTORS]; ROWS],
) {
    // SAFETY: as `tile`, whose loop keeps `k` and `weights` within bounds.
    unsafe {
        let mut w = [M::load_groups(weights); VECTORS];
        for (j, w) in w.iter_mut().enumerate().skip(1) {
            *w = M::load_groups(weights.add(j * S::LANES * M::GROUP));
        }
        for (row, sums) in rows.iter().zip(sums) {
            let x = if WHOLE { M::splat_group(row.add(k)) } else { M::splat_part(row.add(k), n) };
            for (sum, &w) in sums.iter_mut().zip(&w) {
                *sum = M::multiply(x, w, *sum);
            }
        }
    }
}

/// Writes the addresses of the `rows` rows of a tile: the first, and then each `step` bytes further; those from `count`
/// on repeat the last one.
///
/// # Safety
///
/// `table` has memory for that many addresses.
pub unsafe fn row_addresses(first: *const u8, step: usize, count: usize, rows: usize, table: *mut *const u8) {
    for row in 0..rows {
        // SAFETY: guaranteed by the caller.
        unsafe { *table.add(row) = first.wrapping_add(row.min(count.saturating_sub(1)) * step) };
    }
}
