//! Transforms of Winograd's algorithm: in the transformed domain, a 3x3 convolution is an elementwise product.
//!
//! A tile of `SIDE * SIDE` output pixels has `N * N` input pixels, `N = SIDE + 2`. Both are treated as polynomials in
//! two variables and evaluated at `N` points in each direction: at 0, 1, -1 and infinity for two output pixels per
//! side, at 0, `A`, `-A`, `B`, `-B` and infinity for four. These `A` and `B` lose less than half as much precision as
//! the usual 1 and 2.

use super::simd::{Simd, Storage};
use super::{FromPoints, ToPoints};

/// The square root of one half.
pub(super) const A: f32 = std::f32::consts::FRAC_1_SQRT_2;
/// The square root of two.
pub(super) const B: f32 = std::f32::consts::SQRT_2;

/// `x * a + b`.
#[inline(always)]
unsafe fn times<S: Simd>(x: f32, a: S::V, b: S::V) -> S::V {
    // SAFETY: the caller promises that the processor has the vectors.
    unsafe { S::fma(S::splat(x), a, b) }
}

/// Lines of columns.
#[allow(clippy::needless_range_loop, reason = "by index, the compiler keeps the numbers in registers")]
#[inline(always)]
fn turned<V: Copy, const N: usize>(columns: &[[V; N]; N]) -> [[V; N]; N] {
    let mut lines = *columns;
    for x in 0..N {
        for y in 0..N {
            lines[y][x] = columns[x][y];
        }
    }
    lines
}

/// The input transform of one line.
#[inline(always)]
unsafe fn to_points<S: Simd, const N: usize>(d: [S::V; N]) -> [S::V; N] {
    // SAFETY: the caller promises that the processor has the vectors.
    unsafe {
        let mut v = d;
        if N == 4 {
            v[0] = S::sub(d[0], d[2]);
            v[1] = S::add(d[1], d[2]);
            v[2] = S::sub(d[2], d[1]);
            v[3] = S::sub(d[1], d[3]);
        } else {
            v[0] = times::<S>(-2.5, d[2], S::add(d[0], d[4]));
            let (even, odd) = (times::<S>(-2.0, d[2], d[4]), times::<S>(-2.0, d[1], d[3]));
            v[1] = times::<S>(A, odd, even);
            v[2] = times::<S>(-A, odd, even);
            let (even, odd) = (times::<S>(-0.5, d[2], d[4]), times::<S>(-0.5, d[1], d[3]));
            v[3] = times::<S>(B, odd, even);
            v[4] = times::<S>(-B, odd, even);
            v[5] = times::<S>(-2.5, d[3], S::add(d[1], d[5]));
        }
        v
    }
}

/// The output transform of one line (the first `N - 2` results).
#[inline(always)]
unsafe fn from_points<S: Simd, const N: usize>(m: [S::V; N]) -> [S::V; N] {
    // SAFETY: the caller promises that the processor has the vectors.
    unsafe {
        let mut y = m;
        if N == 4 {
            y[0] = S::add(m[0], S::add(m[1], m[2]));
            y[1] = S::sub(S::sub(m[1], m[2]), m[3]);
        } else {
            let (near, far) = (S::add(m[1], m[2]), S::add(m[3], m[4]));
            let (near_odd, far_odd) = (S::sub(m[1], m[2]), S::sub(m[3], m[4]));
            y[0] = S::add(m[0], S::add(near, far));
            y[1] = S::mul(S::splat(A), times::<S>(2.0, far_odd, near_odd));
            y[2] = times::<S>(2.0, far, S::mul(S::splat(0.5), near));
            y[3] = times::<S>(A * 0.5, times::<S>(8.0, far_odd, near_odd), m[5]);
        }
        y
    }
}

/// A column of a tile, transformed along the lines; zeros outside the image. `n` channels remain.
#[allow(clippy::needless_range_loop, reason = "by index, the compiler keeps the numbers in registers")]
#[inline(always)]
unsafe fn column<S: Simd, M: Storage<S>, const N: usize, const WHOLE: bool>(
    args: &ToPoints,
    x: isize,
    c: usize,
    n: usize,
) -> [S::V; N] {
    // SAFETY: the caller promises the vectors, and lines of `width` pixels (half of them where each is seen twice).
    unsafe {
        let mut d = [S::splat(0.0); N];
        if x < 0 || x >= args.width as isize {
            return d;
        }
        for y in 0..N {
            let (line, ld) = args.lines[y];
            let from = line.cast::<M::Stored>().add((x as usize >> args.halve) * ld + c);
            d[y] = if WHOLE { M::get(from) } else { M::get_first(from, n) };
        }
        to_points::<S, N>(d)
    }
}

/// See [`ToPoints`]. Columns shared with the previous tile are reused.
#[inline(always)]
pub(super) unsafe fn spread<S: Simd, M: Storage<S>, const N: usize>(args: &ToPoints) {
    let whole = args.channels - args.channels % S::LANES;
    // SAFETY: guaranteed by the caller, passed on.
    unsafe {
        for c in (0..whole).step_by(S::LANES) {
            vector::<S, M, N, true>(args, c, S::LANES);
        }
        if whole < args.channels {
            vector::<S, M, N, false>(args, whole, args.channels - whole);
        }
    }
}

/// Processes a vector of channels of all tiles.
#[allow(clippy::needless_range_loop, reason = "by index, the compiler keeps the numbers in registers")]
#[inline(always)]
unsafe fn vector<S: Simd, M: Storage<S>, const N: usize, const WHOLE: bool>(args: &ToPoints, c: usize, n: usize) {
    let side = N - 2;
    // SAFETY: the caller promises lines of `width` pixels of `channels` numbers, and room for as many at every point of
    // each tile.
    unsafe {
        let mut columns = [[S::splat(0.0); N]; N];
        columns[side] = column::<S, M, N, WHOLE>(args, args.first, c, n);
        columns[side + 1] = column::<S, M, N, WHOLE>(args, args.first + 1, c, n);
        for tile in 0..args.tiles {
            (columns[0], columns[1]) = (columns[side], columns[side + 1]);
            let first = args.first + (tile * side) as isize;
            for x in 2..N {
                columns[x] = column::<S, M, N, WHOLE>(args, first + x as isize, c, n);
            }
            let to = args.out.cast::<M::Stored>().add(tile * args.out_ld + c);
            let lines = turned(&columns);
            for y in 0..N {
                let points = to_points::<S, N>(lines[y]);
                for x in 0..N {
                    let to = to.add((y * N + x) * args.point_stride);
                    if WHOLE { M::put(to, points[x]) } else { M::put_first(to, n, points[x]) }
                }
            }
        }
    }
}

/// See [`FromPoints`].
#[allow(clippy::needless_range_loop, reason = "by index, the compiler keeps the numbers in registers")]
#[inline(always)]
pub(super) unsafe fn gather<S: Simd, const N: usize>(args: &FromPoints) {
    let side = N - 2;
    for tile in 0..args.tiles {
        for j in (0..args.width).step_by(S::LANES) {
            // SAFETY: the caller promises sums of `width` numbers at every point of each tile, and as many biases.
            unsafe {
                let at = args.sums.add(tile * args.width + j);
                let mut columns = [[S::splat(0.0); N]; N];
                for x in 0..N {
                    for y in 0..N {
                        columns[x][y] = S::load(at.add((y * N + x) * args.point_stride));
                    }
                    columns[x] = from_points::<S, N>(columns[x]);
                }
                let bias = S::load(args.bias.add(j));
                let lines = turned(&columns);
                for y in 0..side {
                    let pixels = from_points::<S, N>(lines[y]);
                    for x in 0..side {
                        S::store(at.add((y * side + x) * args.point_stride), S::add(pixels[x], bias));
                    }
                }
            }
        }
    }
}

/// Transforms a 3x3 kernel to `(side + 2)^2` points; the rest of `points` is not changed.
pub(crate) fn weights_at_points(side: usize, kernel: &[f32], points: &mut [f32; MOST_POINTS]) {
    let n = side + 2;
    let of = |g: [f64; 3]| {
        let mut v = [g[0]; MOST_SIDE + 2];
        let (even, odd) = if side == 2 {
            (g[0] + g[2], g[1])
        } else {
            let (a, b) = (f64::from(A), f64::from(B));
            (v[3], v[4]) = ((g[0] + 2.0 * g[2] + b * g[1]) / 6.0, (g[0] + 2.0 * g[2] - b * g[1]) / 6.0);
            ((g[0] + 0.5 * g[2]) * (-4.0 / 3.0), a * g[1] * (-4.0 / 3.0))
        };
        (v[1], v[2]) = ((even + odd) * 0.5, (even - odd) * 0.5);
        v[n - 1] = g[2];
        v
    };
    let columns = [0, 1, 2].map(|x| of([0, 1, 2].map(|y| f64::from(kernel[y * 3 + x]))));
    for y in 0..n {
        let line = of([columns[0][y], columns[1][y], columns[2][y]]);
        for x in 0..n {
            points[y * n + x] = line[x] as f32;
        }
    }
}

/// Output pixels per side of the largest tile.
pub const MOST_SIDE: usize = 4;
/// Points of the largest tile.
pub(crate) const MOST_POINTS: usize = (MOST_SIDE + 2) * (MOST_SIDE + 2);
