//! Definitions of sums and functions in `f64`, for comparison in tests.

/// The dot product.
///
/// # Panics
///
/// If the slices have different lengths.
pub fn dot(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// One minus the integral of the normal density, by Simpson's rule.
pub fn erfc(x: f64) -> f64 {
    const STEPS: usize = 2000;
    let step = x / STEPS as f64;
    let bell = |i: usize| (-(i as f64 * step).powi(2)).exp();
    let inner = (1..STEPS).map(|i| bell(i) * if i % 2 == 1 { 4.0 } else { 2.0 }).sum::<f64>();
    1.0 - 2.0 / std::f64::consts::PI.sqrt() * step / 3.0 * (bell(0) + inner + bell(STEPS))
}

/// Deterministic pseudorandom numbers between -1 and 1, by `seed`.
pub fn noise(seed: u64, len: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1_u64 << 23) as f32 - 1.0
    };
    (0..len).map(|_| next()).collect()
}
