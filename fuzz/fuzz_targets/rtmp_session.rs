//! Runs the target `rtmp_session` with the inputs of libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dreamframe_fuzz::rtmp_session(bytes));
