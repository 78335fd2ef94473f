//! Any bytes as encoded pictures of a publisher: parameter sets and slices are refused, or no picture is larger than allowed.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    dreamframe::transport::fuzz_api::h264_decode(bytes);
});
