//! Any bytes from the network after RTMP's handshake, to both sides of a connection: chunks, commands, values.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| dreamframe_server::rtmp::fuzz(bytes));
