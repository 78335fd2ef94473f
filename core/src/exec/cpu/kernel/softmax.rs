//! The running softmax of attention.

use super::math::{exp2, exp2_coarse};
use super::simd::{Simd, Storage};
use super::{Scale, Softmax};

/// See [`Softmax`].
#[inline(always)]
pub(super) unsafe fn softmax<S: Simd, M: Storage<S>>(args: &Softmax) {
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
                let power = S::fma(S::load(scores.add(k)), scale, less);
                let weight = if M::COARSE { exp2_coarse::<S>(power) } else { exp2::<S>(power) };
                sum = S::add(sum, weight);
                // A stored number is at most as long as a score: what is written here has been read.
                M::put(scores.cast::<M::Stored>().add(k), weight);
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
pub(super) unsafe fn scale<S: Simd, M: Storage<S>>(args: &Scale) {
    // SAFETY: the caller promises `len` numbers at both pointers.
    unsafe {
        let (factor, out) = (S::splat(args.factor), args.out.cast::<M::Stored>());
        let mut j = 0;
        while j + S::LANES <= args.len {
            M::put(out.add(j), S::mul(S::load(args.from.add(j)), factor));
            j += S::LANES;
        }
        let rest = args.len - j;
        if rest > 0 {
            M::put_first(out.add(j), rest, S::mul(S::load_first(args.from.add(j), rest), factor));
        }
    }
}
