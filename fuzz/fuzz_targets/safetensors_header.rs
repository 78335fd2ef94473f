//! Any bytes as a weight file: it is refused, or every weight it lists can be read.

#![no_main]

use dreamframe::load::WeightFiles;
use dreamframe::net::WeightSource as _;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(file) = WeightFiles::from_bytes("fuzz", bytes.to_vec()) {
        let names: Vec<String> = file.names().map(str::to_owned).collect();
        for name in names {
            let shape = file.shape(&name).expect("a listed weight has a shape");
            let numbers = file.read(&name, &shape);
            assert!(numbers.is_err() || numbers.is_ok_and(|numbers| numbers.len() == shape.iter().product::<usize>()));
        }
    }
});
