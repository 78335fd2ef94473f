//! Runs the target `byte_range` with the inputs of libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dreamframe_fuzz::byte_range(bytes));
