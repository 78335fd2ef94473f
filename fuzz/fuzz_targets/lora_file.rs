//! Any bytes as a LoRA file: it is refused, or what it adds to weights is no larger than its tensors allow.

#![no_main]

use dreamframe::load::LoraFile;
use libfuzzer_sys::fuzz_target;

/// The most taps of a kernel that is made of three.
const TAPS: usize = 25;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(file) = LoraFile::from_bytes("fuzz", bytes.to_vec()) {
        for layer in file.layers {
            let [rows, rest @ ..] = layer.change.shape() else { panic!("a weight without rows") };
            let columns: usize = rest.iter().product();
            assert!(*rows > 0 && columns > 0 && *rows < bytes.len() && columns < TAPS * bytes.len());
            // What is small enough to be a weight can be added to one.
            if rows.saturating_mul(columns) < 1 << 16 {
                layer.change.add_to(&mut vec![0.0; rows * columns], 1.0);
            }
        }
    }
});
