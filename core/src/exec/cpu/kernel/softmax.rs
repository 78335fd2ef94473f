//! The running softmax of attention.

use super::math::exp2;
use super::simd::Simd;
use super::{Scale, Softmax};

/// See [`Softmax`].
#[inline(always)]
pub(super) unsafe fn softmax<S: Simd>(args: &Softmax) {
    for row in 0..args.rows {
        // SAFETY: the caller promises `rows` rows of `keys` scores and `gathered_len` gathered numbers, both multiples
        // of the vector length, and a number per row in `largest` and `sums`.
        unsafe {
            let scores = args.scores.add(row * args.ld);
            let mut top = S::load(scores);
            let mut k = S::LANES;
            while k < args.keys {
                top = S::max(top, S::load(scores.add(k)));
                k += S::LANES;
            }
            let before = *args.largest.add(row);
            let scaled = S::largest(top) * args.scale;
            let largest = if scaled > before { scaled } else { before };
            let (scale, less) = (S::splat(args.scale), S::splat(-largest));
            let mut sum = S::splat(0.0);
            let mut k = 0;
            while k < args.keys {
                let weight = exp2::<S>(S::fma(S::load(scores.add(k)), scale, less));
                sum = S::add(sum, weight);
                S::store(scores.add(k), weight);
                k += S::LANES;
            }
            let shrink = (before - largest).exp2();
            *args.largest.add(row) = largest;
            *args.sums.add(row) = *args.sums.add(row) * shrink + S::sum(sum);
            if largest != before {
                let (gathered, shrink) = (args.gathered.add(row * args.gathered_len), S::splat(shrink));
                let mut j = 0;
                while j < args.gathered_len {
                    S::store(gathered.add(j), S::mul(S::load(gathered.add(j)), shrink));
                    j += S::LANES;
                }
            }
        }
    }
}

/// See [`Scale`].
#[inline(always)]
pub(super) unsafe fn scale<S: Simd>(args: &Scale) {
    // SAFETY: the caller promises `len` numbers at both pointers.
    unsafe {
        let factor = S::splat(args.factor);
        let mut j = 0;
        while j + S::LANES <= args.len {
            S::store(args.out.add(j), S::mul(S::load(args.from.add(j)), factor));
            j += S::LANES;
        }
        let rest = args.len - j;
        if rest > 0 {
            S::store_first(args.out.add(j), rest, S::mul(S::load_first(args.from.add(j), rest), factor));
        }
    }
}
