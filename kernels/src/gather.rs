//! Reduction of several pixels to one, per channel.

use super::simd::{Simd, Storage};
use super::{Gather, How};

/// See [`Gather`].
#[inline(always)]
pub(super) unsafe fn gather<S: Simd, M: Storage<S>>(args: &Gather<'_>) {
    // SAFETY: the caller promises `channels` numbers at each pixel and at `out`, and as many numbers as `how` says.
    unsafe {
        match args.how {
            How::Largest => each::<S, M>(args, |_, _| None, |_, x, so_far, _, _| so_far.map_or(x, |y| S::max(x, y))),
            How::Product => each::<S, M>(args, |_, _| None, |_, x, so_far, _, _| so_far.map_or(x, |y| S::mul(x, y))),
            How::Weighted(weights) => each::<S, M>(
                args,
                |_, _| None,
                |pixel, x, so_far, _, _| {
                    let weight = S::splat(*weights.add(pixel));
                    so_far.map_or_else(|| S::mul(x, weight), |sum| S::fma(x, weight, sum))
                },
            ),
            How::ByChannel(weights) => each::<S, M>(
                args,
                |c, n| Some(load::<S>(weights.add(c), n)),
                |pixel, x, so_far, c, n| {
                    let weight = load::<S>(weights.add((pixel + 1) * args.channels + c), n);
                    S::fma(x, weight, so_far.unwrap_or(weight))
                },
            ),
        }
    }
}

/// Calls `start(c, n)` for each vector of channels and then `add(pixel, elements, result so far, c, n)` for each pixel;
/// `n` elements remain from channel `c` on.
#[inline(always)]
unsafe fn each<S: Simd, M: Storage<S>>(
    args: &Gather<'_>,
    start: impl Fn(usize, usize) -> Option<S::V>,
    add: impl Fn(usize, S::V, Option<S::V>, usize, usize) -> S::V,
) {
    let mut c = 0;
    while c < args.channels {
        let n = args.channels - c;
        let mut so_far = start(c, n);
        for (pixel, from) in args.pixels.iter().enumerate() {
            let from = from.cast::<M::Stored>().wrapping_add(c);
            // SAFETY: the caller promises `channels` numbers at each pixel.
            let x = unsafe { if n >= S::LANES { M::get(from) } else { M::get_first(from, n) } };
            so_far = Some(add(pixel, x, so_far, c, n));
        }
        if let Some(result) = so_far {
            let out = args.out.cast::<M::Stored>().wrapping_add(c);
            // SAFETY: the caller promises `channels` numbers at `out`.
            unsafe { if n >= S::LANES { M::put(out, result) } else { M::put_first(out, n, result) } }
        }
        c += S::LANES;
    }
}

#[inline(always)]
unsafe fn load<S: Simd>(from: *const f32, n: usize) -> S::V {
    // SAFETY: the caller promises that `n` numbers can be read.
    unsafe { if n >= S::LANES { S::load(from) } else { S::load_first(from, n) } }
}
