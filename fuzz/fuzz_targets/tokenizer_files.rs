//! Runs the target `tokenizer_files` with the inputs of libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dreamframe_fuzz::tokenizer_files(bytes));
