//! Any bytes as a pickled file, as they are and as the pickle of a file in the legacy layout: it is refused, or every weight
//! it lists can be read.

#![no_main]

use dreamframe::load::WeightFiles;
use dreamframe::net::WeightSource as _;
use libfuzzer_sys::fuzz_target;

/// The start of the legacy layout: torch's number, its version, and an empty dictionary.
const HEAD: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M\xe9\x03.\x80\x02}.";

fuzz_target!(|bytes: &[u8]| {
    check(bytes.to_vec());
    check([HEAD, bytes].concat());
});

fn check(bytes: Vec<u8>) {
    if let Ok(file) = WeightFiles::from_bytes("fuzz", bytes) {
        let names: Vec<String> = file.names().map(str::to_owned).collect();
        for name in names {
            let shape = file.shape(&name).expect("a listed weight has a shape");
            let numbers = file.read(&name, &shape);
            assert!(numbers.is_err() || numbers.is_ok_and(|numbers| numbers.len() == shape.iter().product::<usize>()));
        }
    }
}
