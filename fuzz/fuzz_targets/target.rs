//! Runs one target with the inputs of libFuzzer: the one that the environment variable `DREAMFRAME_FUZZ_TARGET` names
//! when this program is compiled. After each input, libFuzzer reads the counters of everything that is linked; with all
//! targets in one program, that took ten times as long as most inputs.

#![no_main]

use dreamframe_fuzz::Target;

const TARGET: Target =
    dreamframe_fuzz::find(env!("DREAMFRAME_FUZZ_TARGET")).expect("DREAMFRAME_FUZZ_TARGET has to name a fuzz target");

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| TARGET(bytes));
