//! Philox 4x32-10, a counter-based generator (Salmon et al., 2011), with CUDA's transform to normally distributed
//! numbers.

use half::f16;

use super::radius;

/// Draws `len` normally distributed numbers, each rounded to `f16`.
pub(super) fn normal_f16(seed: u64, len: usize) -> Vec<f32> {
    (0..len as u64).map(|thread| f16::from_f32(normal(seed, thread)).to_f32()).collect()
}

/// Returns the first normally distributed number of `thread`.
fn normal(seed: u64, thread: u64) -> f32 {
    const SCALE: f32 = 1.0 / 4_294_967_296.0;
    const TURN: f32 = std::f32::consts::TAU * SCALE;

    let [x, y, ..] = block(seed, 0, thread);
    let u = x as f32 * SCALE + SCALE / 2.0;
    // Multiplied and added with one rounding, as the device does.
    let v = (f64::from(y as f32) * f64::from(TURN) + f64::from(TURN / 2.0)) as f32;
    radius(u) * f64::from(v).sin() as f32
}

/// Returns number `index` of the uniformly distributed sequence of `seed`, in (0, 1]; its counters differ from those of
/// [`normal`].
pub(super) fn uniform(seed: u64, index: u64) -> f32 {
    let [x, ..] = block(seed, 1, index);
    ((x >> 8) + 1) as f32 / (1 << 24) as f32
}

/// Returns the four words of the counter at `offset` and `thread`, with the key `seed`.
fn block(seed: u64, offset: u32, thread: u64) -> [u32; 4] {
    const ROUNDS: u32 = 10;
    const MULTIPLIERS: [u64; 2] = [0xD251_1F53, 0xCD9E_8D57];
    const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];

    let mut counter = [offset, 0, thread as u32, (thread >> 32) as u32];
    let mut key = [seed as u32, (seed >> 32) as u32];
    for _ in 0..ROUNDS {
        let left = MULTIPLIERS[0] * u64::from(counter[0]);
        let right = MULTIPLIERS[1] * u64::from(counter[2]);
        counter = [
            (right >> 32) as u32 ^ counter[1] ^ key[0],
            right as u32,
            (left >> 32) as u32 ^ counter[3] ^ key[1],
            left as u32,
        ];
        key = [key[0].wrapping_add(WEYL[0]), key[1].wrapping_add(WEYL[1])];
    }
    counter
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The known answer of Random123 (`philox4x32 10`) for a zero key and counter.
    #[test]
    fn zeros_give_the_published_answer() {
        assert_eq!(block(0, 0, 0), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
    }

    #[test]
    fn uniform_numbers_exclude_zero() {
        let numbers: Vec<f32> = (0..20_000).map(|index| uniform(7, index)).collect();
        assert!(numbers.iter().all(|&number| 0.0 < number && number <= 1.0));
        let mean = numbers.iter().map(|&number| f64::from(number)).sum::<f64>() / 20_000.0;
        assert!((mean - 0.5).abs() < 0.01, "{mean}");
    }
}
