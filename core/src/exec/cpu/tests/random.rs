//! Random programs: fusion, placement and memory reuse do not change the results.

use proptest::prelude::*;

use super::check;
use super::naive::noise;
use crate::net::random_program;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]
    #[test]
    fn a_random_program_matches_the_definitions(seed in 1_u64.., len in 1_usize..25) {
        let mut choices = noise(seed, 16 * (len + 4)).into_iter();
        let mut pick = |below: usize| ((choices.next().unwrap() * 0.5 + 0.5) * below as f32) as usize % below;
        check(random_program(len, &mut pick));
    }
}
