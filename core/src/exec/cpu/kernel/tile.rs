//! The product of a few rows and a panel of weights, all sums in registers.

use super::Tile;
use super::simd::Simd;

/// Groups of rows of a narrow tile: enough that finding addresses and storing sums costs little beside.
pub(super) const GROUPS: usize = 4;

/// See [`Tile`]. `ROWS * VECTORS` sums, `VECTORS` weights and one number of a row are in registers at a time.
#[inline(always)]
pub(super) unsafe fn tile<S: Simd, const ROWS: usize, const VECTORS: usize>(args: &Tile) {
    let width = VECTORS * S::LANES;
    // SAFETY: the caller promises that `sums` has ROWS rows of `width` numbers, `start` is null or has one, `rows` has a
    // pointer per tap and row to `offset + len` numbers, and `panel` has `len * width` numbers per tap.
    unsafe {
        let mut sums = [[S::splat(0.0); VECTORS]; ROWS];
        for (i, row) in sums.iter_mut().enumerate() {
            let from = if args.start.is_null() { args.sums.add(i * args.sums_ld).cast_const() } else { args.start };
            for (j, sum) in row.iter_mut().enumerate() {
                *sum = S::load(from.add(j * S::LANES));
            }
        }
        for tap in 0..args.taps {
            let mut weights = args.panel.add(tap * args.tap_stride);
            let mut rows = [std::ptr::null::<f32>(); ROWS];
            for (i, row) in rows.iter_mut().enumerate() {
                *row = (*args.rows.add(tap * ROWS + i)).add(args.offset);
            }
            let mut k = 0;
            while k + 4 <= args.len {
                for step in 0..4 {
                    step_of::<S, ROWS, VECTORS>(&rows, k + step, weights.add(step * width), &mut sums);
                }
                weights = weights.add(4 * width);
                k += 4;
            }
            while k < args.len {
                step_of::<S, ROWS, VECTORS>(&rows, k, weights, &mut sums);
                weights = weights.add(width);
                k += 1;
            }
        }
        for (i, row) in sums.iter().enumerate() {
            for (j, &sum) in row.iter().enumerate() {
                S::store(args.sums.add(i * args.sums_ld + j * S::LANES), sum);
            }
        }
    }
}

/// The same for so few output channels that a vector of them would be mostly padding: vectors are of input channels, and
/// summed up at the end. See [`Kernels::narrow`](super::Kernels::narrow) for how weights lie. A tile is [`GROUPS`] times
/// `ROWS` rows, one after the other.
#[inline(always)]
pub(super) unsafe fn narrow<S: Simd, const ROWS: usize, const OUTS: usize>(args: &Tile) {
    for group in 0..GROUPS {
        // SAFETY: as for `tile`, with `len` a multiple of the vector length and `OUTS` sums a row.
        unsafe {
            let sums = narrow_sums::<S, ROWS, OUTS>(args, group * ROWS);
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

/// The sums of some rows of a narrow tile, a vector each.
#[allow(clippy::needless_range_loop, reason = "by index, the compiler keeps the sums in registers")]
#[inline(always)]
unsafe fn narrow_sums<S: Simd, const ROWS: usize, const OUTS: usize>(
    args: &Tile,
    first: usize,
) -> [[S::V; OUTS]; ROWS] {
    // SAFETY: as `narrow`.
    unsafe {
        let mut sums = [[S::splat(0.0); OUTS]; ROWS];
        for tap in 0..args.taps {
            let mut weights = args.panel.add(tap * args.tap_stride);
            let mut rows = [std::ptr::null::<f32>(); ROWS];
            for (i, row) in rows.iter_mut().enumerate() {
                *row = (*args.rows.add(tap * ROWS * GROUPS + first + i)).add(args.offset);
            }
            let mut k = 0;
            while k < args.len {
                let mut w = [S::splat(0.0); OUTS];
                for (o, w) in w.iter_mut().enumerate() {
                    *w = S::load(weights.add(o * S::LANES));
                }
                for i in 0..ROWS {
                    let x = S::load(rows[i].add(k));
                    for o in 0..OUTS {
                        sums[i][o] = S::fma(x, w[o], sums[i][o]);
                    }
                }
                weights = weights.add(OUTS * S::LANES);
                k += S::LANES;
            }
        }
        sums
    }
}

/// One channel: as many multiplications and additions as there are sums.
#[inline(always)]
unsafe fn step_of<S: Simd, const ROWS: usize, const VECTORS: usize>(
    rows: &[*const f32; ROWS],
    k: usize,
    weights: *const f32,
    sums: &mut [[S::V; VECTORS]; ROWS],
) {
    // SAFETY: as `tile`, whose loop keeps `k` and `weights` within bounds.
    unsafe {
        let mut w = [S::splat(0.0); VECTORS];
        for (j, w) in w.iter_mut().enumerate() {
            *w = S::load(weights.add(j * S::LANES));
        }
        for (row, sums) in rows.iter().zip(sums) {
            let x = S::splat(*row.add(k));
            for (sum, &w) in sums.iter_mut().zip(&w) {
                *sum = S::fma(x, w, *sum);
            }
        }
    }
}
