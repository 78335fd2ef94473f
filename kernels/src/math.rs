//! Functions of vectors: exponentials and the activations made of them.

use super::simd::{Simd, Storage};

// SAFETY, for all blocks below: plain arithmetic on vectors; the caller promises that the processor has them.

/// Powers of `ln 2` over factorials: the Taylor series of `2^r`, accurate to 1e-8 for `|r| <= 1/2`.
const POWERS: [f32; 8] = [
    1.0,
    std::f32::consts::LN_2,
    0.240_226_5,
    0.055_504_11,
    0.009_618_129,
    0.001_333_355_8,
    0.000_154_035_3,
    0.000_015_252_734,
];

/// `sum of coefficients[k] * x^k`.
#[allow(clippy::undocumented_unsafe_blocks, reason = "one reason for all, above")]
#[inline(always)]
unsafe fn polynomial<S: Simd, const N: usize>(x: S::V, coefficients: &[f32; N]) -> S::V {
    unsafe {
        let mut sum = S::splat(coefficients[N - 1]);
        for k in (0..N - 1).rev() {
            sum = S::fma(sum, x, S::splat(coefficients[k]));
        }
        sum
    }
}

/// `2^x`, infinite for `x` above 127.5; flushes results near the subnormal range to zero, since subnormal numbers would
/// slow some CPUs down a hundredfold.
#[allow(clippy::undocumented_unsafe_blocks, reason = "one reason for all, above")]
#[inline(always)]
pub(super) unsafe fn exp2<S: Simd>(x: S::V) -> S::V {
    unsafe {
        let whole = S::round(x);
        S::times_power_of_two(polynomial::<S, 8>(S::sub(x, whole), &POWERS), whole)
    }
}

/// The same with an accuracy of 8e-5, for results that are stored with fewer bits.
#[allow(clippy::undocumented_unsafe_blocks, reason = "one reason for all, above")]
#[inline(always)]
pub(super) unsafe fn exp2_coarse<S: Simd>(x: S::V) -> S::V {
    // The third-degree polynomial with the least relative error for |r| <= 1/2.
    const NEAREST: [f32; 4] = [0.999_928_1, 0.693_261, 0.242_610_8, 0.055_171_43];
    unsafe {
        let whole = S::round(x);
        S::times_power_of_two(polynomial::<S, 4>(S::sub(x, whole), &NEAREST), whole)
    }
}

/// `e^x`; clamped to the range of normal `f32`s.
#[allow(clippy::undocumented_unsafe_blocks, reason = "one reason for all, above")]
#[inline(always)]
pub(super) unsafe fn exp<S: Simd>(x: S::V) -> S::V {
    // ln 2 in two parts: the first has few enough bits that integer multiples of it are exact.
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -0.000_212_194_44;
    const TAYLOR: [f32; 8] = [1.0, 1.0, 0.5, 1.0 / 6.0, 1.0 / 24.0, 1.0 / 120.0, 1.0 / 720.0, 1.0 / 5040.0];
    unsafe {
        let x = S::min(S::splat(88.0), S::max(S::splat(-87.0), x));
        let whole = S::round(S::mul(x, S::splat(std::f32::consts::LOG2_E)));
        let rest = S::fma(whole, S::splat(-LN_2_HIGH), x);
        let rest = S::fma(whole, S::splat(-LN_2_LOW), rest);
        S::times_power_of_two(polynomial::<S, 8>(rest, &TAYLOR), whole)
    }
}

/// `x / (1 + e^(-slope x))`.
#[allow(clippy::undocumented_unsafe_blocks, reason = "one reason for all, above")]
#[inline(always)]
pub(super) unsafe fn sigmoid_times<S: Simd>(x: S::V, slope: f32) -> S::V {
    unsafe {
        let e = exp::<S>(S::mul(x, S::splat(-slope)));
        S::div(x, S::add(S::splat(1.0), e))
    }
}

/// `x * Phi(x)`. The tail of the normal distribution is a polynomial in `1 / (1 + p |x|)` times `e^(-x^2/2)`
/// (Abramowitz and Stegun 7.1.26, accurate to 1.5e-7).
#[allow(clippy::undocumented_unsafe_blocks, reason = "one reason for all, above")]
#[inline(always)]
pub(super) unsafe fn gelu<S: Simd>(x: S::V) -> S::V {
    const P: f32 = 0.327_591_1 * std::f32::consts::FRAC_1_SQRT_2;
    const TAIL: [f32; 6] = [0.0, 0.127_414_8, -0.142_248_37, 0.710_706_9, -0.726_576, 0.530_702_7];
    unsafe {
        let one = S::splat(1.0);
        let size = S::max(S::sub(S::splat(0.0), x), x);
        let t = S::div(one, S::fma(S::splat(P), size, one));
        let density = exp::<S>(S::mul(S::mul(size, size), S::splat(-0.5)));
        let tail = S::mul(polynomial::<S, 6>(t, &TAIL), density);
        S::mul(x, S::where_negative(x, tail, S::sub(one, tail)))
    }
}

/// `limit * tanh(x / limit)`.
#[allow(clippy::undocumented_unsafe_blocks, reason = "one reason for all, above")]
#[inline(always)]
pub(super) unsafe fn soft_clamp<S: Simd>(x: S::V, limit: f32) -> S::V {
    unsafe {
        let (zero, one) = (S::splat(0.0), S::splat(1.0));
        let size = S::max(S::sub(zero, x), x);
        let e = exp::<S>(S::mul(size, S::splat(-2.0 / limit)));
        let clamped = S::mul(S::splat(limit), S::div(S::sub(one, e), S::add(one, e)));
        S::where_negative(x, S::sub(zero, clamped), clamped)
    }
}

/// Multiplies and adds in registers, to measure the peak performance.
#[allow(clippy::undocumented_unsafe_blocks, reason = "one reason for all, above")]
#[inline(always)]
pub(super) unsafe fn peak<S: Simd, M: Storage<S>, const SUMS: usize>(rounds: usize) -> f32 {
    unsafe {
        let zeros = std::hint::black_box([0.0_f32; 16]);
        let (a, b) = (M::load_groups(zeros.as_ptr().cast()), M::load_groups(zeros.as_ptr().cast()));
        let mut sums = [S::splat(0.0); SUMS];
        for (i, sum) in sums.iter_mut().enumerate() {
            *sum = S::splat(i as f32);
        }
        for _ in 0..rounds {
            for sum in &mut sums {
                *sum = M::multiply(a, b, *sum);
            }
        }
        let mut total = sums[0];
        for &sum in &sums[1..] {
            total = S::add(total, sum);
        }
        S::sum(total)
    }
}

/// `e^x` of each number, for tests.
#[cfg(feature = "testing")]
#[allow(clippy::undocumented_unsafe_blocks, reason = "one reason for all, above")]
#[inline(always)]
pub(super) unsafe fn exp_slice<S: Simd>(x: &mut [f32]) {
    for x in x {
        *x = unsafe { S::largest(exp::<S>(S::splat(*x))) };
    }
}
