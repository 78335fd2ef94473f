//! Runs the target `rtp_pictures` with the inputs of libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dreamframe_fuzz::rtp_pictures(bytes));
