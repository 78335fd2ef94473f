//! Runs the target `registry_entry` with the inputs of libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dreamframe_fuzz::registry_entry(bytes));
