//! Any bytes as an `.mp4`: its tables are refused, or its frames are decoded or refused.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| dreamframe_server::fuzz_api::mp4(bytes));
