//! The online softmax of attention.

use super::math::{exp2, exp2_coarse};
use super::simd::{Simd, Storage};
use super::{Scale, Softmax};

/// Number of independent maxima and sums.
const CHAINS: usize = 4;

/// See [`Softmax`].
#[inline(always)]
pub(super) unsafe fn softmax<S: Simd, M: Storage<S>>(args: &Softmax) {
    for row in 0..args.rows {
        // SAFETY: the caller guarantees `rows` rows of `keys` scores and `gathered_len` gathered numbers, both
        // multiples of the vector length, and a number per row in `largest` and `sums`.
        unsafe {
            let scores = args.scores.add(row * args.ld);
            // Several independent chains, to hide the latency.
            let mut tops = [S::load(scores); CHAINS];
            let mut k = 0;
            while k + CHAINS * S::LANES <= args.keys {
                for (j, top) in tops.iter_mut().enumerate() {
                    *top = S::max(*top, S::load(scores.add(k + j * S::LANES)));
                }
                k += CHAINS * S::LANES;
            }
            while k < args.keys {
                tops[0] = S::max(tops[0], S::load(scores.add(k)));
                k += S::LANES;
            }
            let top = S::max(S::max(tops[0], tops[1]), S::max(tops[2], tops[3]));
            let before = *args.largest.add(row);
            let scaled = S::largest(top) * args.scale;
            let largest = if scaled > before { scaled } else { before };
            let (scale, less) = (S::splat(args.scale), S::splat(-largest));
            let mut sums = [S::splat(0.0); CHAINS];
            let mut k = 0;
            while k + CHAINS * S::LANES <= args.keys {
                for (j, sum) in sums.iter_mut().enumerate() {
                    *sum = S::add(*sum, weigh::<S, M>(scores, k + j * S::LANES, scale, less));
                }
                k += CHAINS * S::LANES;
            }
            while k < args.keys {
                sums[0] = S::add(sums[0], weigh::<S, M>(scores, k, scale, less));
                k += S::LANES;
            }
            let sum = S::sum(S::add(S::add(sums[0], sums[1]), S::add(sums[2], sums[3])));
            *args.largest.add(row) = largest;
            if largest == before {
                *args.sums.add(row) += sum;
                continue;
            }
            let shrink = (before - largest).exp2();
            *args.sums.add(row) = *args.sums.add(row) * shrink + sum;
            let (gathered, shrink) = (args.gathered.add(row * args.gathered_len), S::splat(shrink));
            let mut j = 0;
            while j < args.gathered_len {
                S::store(gathered.add(j), S::mul(S::load(gathered.add(j)), shrink));
                j += S::LANES;
            }
        }
    }
}

/// Converts the scores from index `k` on to weights, and stores them. (A closure would not be compiled with the
/// instructions.)
#[inline(always)]
unsafe fn weigh<S: Simd, M: Storage<S>>(scores: *mut f32, k: usize, scale: S::V, less: S::V) -> S::V {
    // SAFETY: the caller guarantees a vector of scores there. A stored number is at most as long as a score: what is
    // written here has been read.
    unsafe {
        let power = S::fma(S::load(scores.add(k)), scale, less);
        let weight = if M::COARSE { exp2_coarse::<S>(power) } else { exp2::<S>(power) };
        M::put(scores.cast::<M::Stored>().add(k), weight);
        weight
    }
}

/// See [`Scale`].
#[inline(always)]
pub(super) unsafe fn scale<S: Simd, M: Storage<S>>(args: &Scale) {
    // SAFETY: the caller guarantees `len` numbers at both pointers.
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
