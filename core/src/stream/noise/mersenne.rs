//! Mersenne Twister 19937 (Matsumoto and Nishimura, 1998), with PyTorch's transform in blocks of 16.

use super::radius;

/// Normally distributed numbers are computed in blocks of this length.
pub(super) const BLOCK: usize = 16;

const WORDS: usize = 624;
const SHIFT: usize = 397;

/// The generator's state.
pub(super) struct Mersenne {
    state: [u32; WORDS],
    next: usize,
}

impl Mersenne {
    /// Creates a generator from the low 32 bits of `seed`.
    pub(super) fn new(seed: u64) -> Self {
        let mut state = [seed as u32; WORDS];
        for i in 1..WORDS {
            let before = state[i - 1];
            state[i] = (before ^ (before >> 30)).wrapping_mul(1_812_433_253).wrapping_add(i as u32);
        }
        Self { state, next: WORDS }
    }

    /// Draws `len` normally distributed numbers; `len` is at least [`BLOCK`].
    ///
    /// If `len` is not a multiple of [`BLOCK`], the last block overlaps the previous one and is drawn again.
    pub(super) fn normal(&mut self, len: usize) -> Vec<f32> {
        let mut numbers: Vec<f32> = (0..len).map(|_| self.uniform()).collect();
        let mut blocks = numbers.chunks_exact_mut(BLOCK);
        blocks.by_ref().for_each(box_muller);
        if !blocks.into_remainder().is_empty()
            && let Some(last) = numbers.last_chunk_mut::<BLOCK>()
        {
            last.fill_with(|| self.uniform());
            box_muller(last);
        }
        numbers
    }

    /// Draws a uniformly distributed number in [0, 1), with 24 bits.
    fn uniform(&mut self) -> f32 {
        (self.word() & 0x00FF_FFFF) as f32 / (1 << 24) as f32
    }

    fn word(&mut self) -> u32 {
        if self.next == WORDS {
            self.refill();
            self.next = 0;
        }
        let mut word = self.state[self.next];
        self.next += 1;
        word ^= word >> 11;
        word ^= (word << 7) & 0x9D2C_5680;
        word ^= (word << 15) & 0xEFC6_0000;
        word ^ (word >> 18)
    }

    fn refill(&mut self) {
        for i in 0..WORDS {
            let joined = (self.state[i] & 0x8000_0000) | (self.state[(i + 1) % WORDS] & 0x7FFF_FFFF);
            let twist = if joined & 1 == 0 { 0 } else { 0x9908_B0DF };
            self.state[i] = self.state[(i + SHIFT) % WORDS] ^ (joined >> 1) ^ twist;
        }
    }
}

/// Converts uniformly distributed numbers to normally distributed ones: the first half of a block gives the radii, the
/// second half the angles.
fn box_muller(block: &mut [f32]) {
    let (first, second) = block.split_at_mut(BLOCK / 2);
    for (a, b) in first.iter_mut().zip(second) {
        let radius = radius(1.0 - *a);
        let angle = f64::from(std::f32::consts::TAU * *b);
        (*a, *b) = (radius * angle.cos() as f32, radius * angle.sin() as f32);
    }
}
