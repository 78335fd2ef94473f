//! Runs the target `single_checkpoint` with the inputs of libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dreamframe_fuzz::single_checkpoint(bytes));
