//! Random programs: fusion, placement and memory reuse do not change the results.

use proptest::prelude::*;

use super::check;
use super::naive::noise;
use crate::net::{ProgramBuilder, random_program};

/// A random program of `len` operations, the same for the same seed.
pub(in crate::exec) fn seeded_program(seed: u64, len: usize) -> ProgramBuilder {
    let mut choices = noise(seed, 16 * (len + 4)).into_iter();
    random_program(len, &mut |below| ((choices.next().unwrap() * 0.5 + 0.5) * below as f32) as usize % below)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]
    #[test]
    fn a_random_program_matches_the_definitions(seed in 1_u64.., len in 1_usize..25) {
        check(seeded_program(seed, len));
    }
}
