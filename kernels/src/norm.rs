//! Means, variances, and normalization.

use super::math::sigmoid_times;
use super::simd::{Simd, Storage};
use super::{LayerNorm, Moments, Normalise};

/// Maximum number of elements of a vector.
const MOST_LANES: usize = 16;

/// Parameters and statistics of a norm.
#[inline(always)]
unsafe fn load<S: Simd>(from: *const f32, n: usize) -> S::V {
    // SAFETY: the caller promises that `n` numbers can be read.
    unsafe { if n >= S::LANES { S::load(from) } else { S::load_first(from, n) } }
}

#[inline(always)]
unsafe fn store<S: Simd>(to: *mut f32, n: usize, v: S::V) {
    // SAFETY: the caller promises that `n` numbers can be written.
    unsafe { if n >= S::LANES { S::store(to, v) } else { S::store_first(to, n, v) } }
}

/// Elements of a value.
#[inline(always)]
unsafe fn get<S: Simd, M: Storage<S>>(from: *const M::Stored, n: usize) -> S::V {
    // SAFETY: the caller promises that `n` numbers can be read.
    unsafe { if n >= S::LANES { M::get(from) } else { M::get_first(from, n) } }
}

#[inline(always)]
unsafe fn put<S: Simd, M: Storage<S>>(to: *mut M::Stored, n: usize, v: S::V) {
    // SAFETY: the caller promises that `n` numbers can be written.
    unsafe { if n >= S::LANES { M::put(to, v) } else { M::put_first(to, n, v) } }
}

/// See [`Moments`]. Even and odd pixels are summed separately: twice the speed, and half the rounding error.
#[inline(always)]
pub(super) unsafe fn moments<S: Simd, M: Storage<S>>(args: &Moments) {
    let mut c = 0;
    while c < args.channels {
        let n = args.channels - c;
        // SAFETY: the caller promises `pixels` pixels of `channels` numbers at `x`, and `channels` numbers at `shift`,
        // `sums` and `squares`.
        unsafe {
            let shift = get::<S, M>(args.shift.cast::<M::Stored>().add(c), n);
            let mut sums = [S::splat(0.0); 2];
            let mut squares = [S::splat(0.0); 2];
            for pixel in 0..args.pixels {
                let x = S::sub(get::<S, M>(args.x.cast::<M::Stored>().add(pixel * args.ld + c), n), shift);
                let half = pixel % 2;
                sums[half] = S::add(sums[half], x);
                squares[half] = S::fma(x, x, squares[half]);
            }
            store::<S>(args.sums.add(c), n, S::add(sums[0], sums[1]));
            store::<S>(args.squares.add(c), n, S::add(squares[0], squares[1]));
        }
        c += S::LANES;
    }
}

/// See [`Normalise`].
#[inline(always)]
pub(super) unsafe fn normalise<S: Simd, M: Storage<S>>(args: &Normalise) {
    for pixel in 0..args.pixels {
        let mut c = 0;
        while c < args.channels {
            let n = args.channels - c;
            // SAFETY: the caller promises `pixels` pixels of `channels` numbers at `x` and `out`, and `channels` numbers
            // at `mean`, `factor` and `shift`.
            unsafe {
                let d = S::sub(
                    get::<S, M>(args.x.cast::<M::Stored>().add(pixel * args.ld + c), n),
                    load::<S>(args.mean.add(c), n),
                );
                let mut y = S::fma(d, load::<S>(args.factor.add(c), n), load::<S>(args.shift.add(c), n));
                if args.silu {
                    y = sigmoid_times::<S>(y, 1.0);
                }
                put::<S, M>(args.out.cast::<M::Stored>().add(pixel * args.out_ld + c), n, y);
            }
            c += S::LANES;
        }
    }
}

/// See [`LayerNorm`]: the mean first, then the mean square of the differences from it.
#[inline(always)]
pub(super) unsafe fn layer_norm<S: Simd, M: Storage<S>>(args: &LayerNorm) {
    let (channels, whole) = (args.channels, args.channels - args.channels % S::LANES);
    for pixel in 0..args.pixels {
        // SAFETY: the caller promises `pixels` pixels of `channels` numbers at `x` and `out`, and `channels` numbers at
        // `weight` and `bias`.
        unsafe {
            let x = args.x.cast::<M::Stored>().add(pixel * args.ld);
            let mut sum = S::splat(0.0);
            let mut c = 0;
            while c < channels {
                sum = S::add(sum, get::<S, M>(x.add(c), channels - c));
                c += S::LANES;
            }
            let mean = S::sum(sum) / channels as f32;
            let means = S::splat(mean);
            let mut square = S::splat(0.0);
            let mut c = 0;
            while c < whole {
                let d = S::sub(M::get(x.add(c)), means);
                square = S::fma(d, d, square);
                c += S::LANES;
            }
            let mut squares = S::sum(square);
            if whole < channels {
                // Not vectorized: lanes past the end would also differ from the mean.
                let mut rest = [0.0; MOST_LANES];
                S::store(rest.as_mut_ptr(), S::sub(M::get_first(x.add(whole), channels - whole), means));
                rest[..channels - whole].iter().for_each(|d| squares += d * d);
            }
            let factor = S::splat(1.0 / (squares / channels as f32 + args.eps).sqrt());
            let out = args.out.cast::<M::Stored>().add(pixel * args.out_ld);
            let mut c = 0;
            while c < channels {
                let n = channels - c;
                let d = S::mul(S::sub(get::<S, M>(x.add(c), n), means), factor);
                let y = S::fma(d, load::<S>(args.weight.add(c), n), load::<S>(args.bias.add(c), n));
                put::<S, M>(out.add(c), n, y);
                c += S::LANES;
            }
        }
    }
}
