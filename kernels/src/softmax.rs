//! The online softmax of attention.

use super::math::{exp2, exp2_coarse};
use super::simd::{Simd, Storage};
use super::{Divide, Softmax};

/// Number of independent maxima and sums, which hide the latency of one.
const CHAINS: usize = 4;

/// The sum of a lane's weights in a block from which on the row is rescaled, 2^64. A weight is relative to the largest
/// score of the first block, or of the last rescaling: since weights are floating-point numbers, larger scores lose no
/// precision until they overflow, so that the maximum of other blocks need not be found.
const MOST_OF_BLOCK: f32 = 18_446_744_073_709_551_616.0;

/// See [`Softmax`].
#[inline(always)]
pub(super) unsafe fn softmax<S: Simd, M: Storage<S>>(args: &Softmax) {
    for row in 0..args.rows {
        // SAFETY: the caller guarantees `rows` rows of `keys` scores and weights and `gathered_len` gathered numbers,
        // all multiples of the vector length, and per row a number in `largest` and a vector in `sums`.
        unsafe {
            let sums = args.sums.add(row * S::LANES);
            if args.first {
                *args.largest.add(row) = largest::<S>(args, row);
                S::store(sums, weigh_row::<S, M>(args, row));
                continue;
            }
            let mut added = weigh_row::<S, M>(args, row);
            if !S::all_below(added, MOST_OF_BLOCK) {
                rescale::<S>(args, row);
                added = weigh_row::<S, M>(args, row);
            }
            S::store(sums, S::add(S::load(sums), added));
        }
    }
}

/// Returns the largest scaled score of a row.
#[inline(always)]
unsafe fn largest<S: Simd>(args: &Softmax, row: usize) -> f32 {
    // SAFETY: as `softmax`.
    unsafe {
        let scores = args.scores.add(row * args.ld);
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
        S::largest(S::max(S::max(tops[0], tops[1]), S::max(tops[2], tops[3]))) * args.scale
    }
}

/// Makes the weights of a row relative to the largest score of this block: those of earlier blocks, too.
#[inline(always)]
unsafe fn rescale<S: Simd>(args: &Softmax, row: usize) {
    // SAFETY: as `softmax`.
    unsafe {
        let (before, now) = (*args.largest.add(row), largest::<S>(args, row));
        *args.largest.add(row) = now;
        let shrink = S::splat((before - now).exp2());
        let sums = args.sums.add(row * S::LANES);
        S::store(sums, S::mul(S::load(sums), shrink));
        let gathered = args.gathered.add(row * args.gathered_len);
        let mut j = 0;
        while j < args.gathered_len {
            S::store(gathered.add(j), S::mul(S::load(gathered.add(j)), shrink));
            j += S::LANES;
        }
    }
}

/// Converts the scores of a row to weights, and returns their sum in parts.
#[inline(always)]
unsafe fn weigh_row<S: Simd, M: Storage<S>>(args: &Softmax, row: usize) -> S::V {
    // SAFETY: as `softmax`.
    unsafe {
        let scores = args.scores.add(row * args.ld);
        let weights = args.weights.cast::<M::Stored>().add(row * args.ld);
        let (scale, less) = (S::splat(args.scale), S::splat(-*args.largest.add(row)));
        let mut sums = [S::splat(0.0); CHAINS];
        let mut k = 0;
        while k + CHAINS * S::LANES <= args.keys {
            let mut j = 0;
            while j < CHAINS {
                let first = weigh::<S, M>(S::load(scores.add(k)), scale, less);
                let second = weigh::<S, M>(S::load(scores.add(k + S::LANES)), scale, less);
                M::put_two(weights.add(k), first, second);
                sums[j] = S::add(sums[j], first);
                sums[j + 1] = S::add(sums[j + 1], second);
                k += 2 * S::LANES;
                j += 2;
            }
        }
        while k < args.keys {
            let weight = weigh::<S, M>(S::load(scores.add(k)), scale, less);
            sums[0] = S::add(sums[0], weight);
            M::put(weights.add(k), weight);
            k += S::LANES;
        }
        S::add(S::add(sums[0], sums[1]), S::add(sums[2], sums[3]))
    }
}

/// The weights of some scores. (A closure would not be compiled with the instructions.)
#[inline(always)]
unsafe fn weigh<S: Simd, M: Storage<S>>(scores: S::V, scale: S::V, less: S::V) -> S::V {
    // SAFETY: plain arithmetic on vectors; the caller promises that the processor has them.
    unsafe {
        let power = S::fma(scores, scale, less);
        if M::COARSE { exp2_coarse::<S>(power) } else { exp2::<S>(power) }
    }
}

/// See [`Divide`].
#[inline(always)]
pub(super) unsafe fn divide<S: Simd, M: Storage<S>>(args: &Divide) {
    // SAFETY: the caller guarantees `len` numbers at both pointers, and a vector of parts.
    unsafe {
        let (factor, out) = (S::splat(1.0 / S::sum(S::load(args.parts))), args.out.cast::<M::Stored>());
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
