//! Numbers that are the same in every run.

/// A generator (SplitMix64) whose numbers depend on its seed only.
#[derive(Debug, Clone)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// Returns a number below `bound`; 0 if that is 0.
    pub(super) fn below(&mut self, bound: u32) -> u32 {
        ((self.next() >> 32) as u32).checked_rem(bound).unwrap_or(0)
    }

    /// Returns a number from `least` to `most`.
    pub(super) fn between(&mut self, least: u32, most: u32) -> u32 {
        least + self.below(most.saturating_sub(least) + 1)
    }

    /// Returns true for `per_mille` of a thousand calls, on average.
    pub(super) fn is_one_of(&mut self, per_mille: u32) -> bool {
        self.below(1000) < per_mille
    }

    pub(super) fn choose<T: Copy>(&mut self, choices: &[T]) -> Option<T> {
        choices.get(self.below(u32::try_from(choices.len()).unwrap_or(u32::MAX)) as usize).copied()
    }

    pub(super) fn bytes(&mut self, count: u32) -> impl Iterator<Item = u8> {
        (0..count).map(|_| self.below(256) as u8)
    }
}
