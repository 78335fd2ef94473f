//! Runs the target `hub_listing` with the inputs of libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dreamframe_fuzz::hub_listing(bytes));
