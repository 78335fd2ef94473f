//! Targets that read weight files.

use dreamframe::load::packed::{check_bytes, sealed};
use dreamframe::load::{LoraFile, WeightFiles};
use dreamframe::net::WeightSource as _;

/// The most taps of a kernel that is made of three.
const TAPS: usize = 25;

/// Any bytes as a LoRA file: it is refused, or what it adds to weights is no larger than its tensors allow.
pub fn lora_file(bytes: &[u8]) {
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
}

/// Any bytes as a file of packed weights, as they are and as a table behind the right checksum: the file is refused, or
/// what it has is no longer than it is.
pub fn packed_weights(input: &[u8]) {
    check_packed(input.to_vec());
    let Some((&split, rest)) = input.split_first() else { return };
    let (table, data) = rest.split_at(usize::from(split).min(rest.len()));
    if let Some(file) = sealed(table, data) {
        check_packed(file);
    }
}

fn check_packed(file: Vec<u8>) {
    let whole = file.len();
    if let Ok(len) = check_bytes(file) {
        assert!(len < whole);
    }
}

/// The start of the legacy layout: torch's number, its version, and an empty dictionary.
const HEAD: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M\xe9\x03.\x80\x02}.";

/// Any bytes as a pickled file, as they are and as the pickle of a file in the legacy layout: it is refused, or every weight
/// it lists can be read.
pub fn pickled_weights(bytes: &[u8]) {
    check_weights(bytes.to_vec());
    check_weights([HEAD, bytes].concat());
}

/// Any bytes as a weight file: it is refused, or every weight it lists can be read.
pub fn safetensors_header(bytes: &[u8]) {
    check_weights(bytes.to_vec());
}

/// Reads every weight that a file lists.
fn check_weights(bytes: Vec<u8>) {
    if let Ok(file) = WeightFiles::from_bytes("fuzz", bytes) {
        let names: Vec<String> = file.names().map(str::to_owned).collect();
        for name in names {
            let shape = file.shape(&name).expect("a listed weight has a shape");
            let numbers = file.read(&name, &shape);
            assert!(numbers.is_err() || numbers.is_ok_and(|numbers| numbers.len() == shape.iter().product::<usize>()));
        }
    }
}
