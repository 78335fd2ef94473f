//! Any bytes as a file of packed weights, as they are and as a table behind the right checksum: the file is refused, or
//! what it has is no longer than it is.

#![no_main]

use dreamframe::load::packed::{check_bytes, sealed};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    check(input.to_vec());
    let Some((&split, rest)) = input.split_first() else { return };
    let (table, data) = rest.split_at(usize::from(split).min(rest.len()));
    if let Some(file) = sealed(table, data) {
        check(file);
    }
});

fn check(file: Vec<u8>) {
    let whole = file.len();
    if let Ok(len) = check_bytes(file) {
        assert!(len < whole);
    }
}
