//! Any bytes as the body of a request: it is refused, or what it asks for is taken and told again.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| dreamframe_server::fuzz_api::request_body(bytes));
