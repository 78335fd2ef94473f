//! Tensors out of a safetensors file, as bytes.

use std::path::Path;

use safetensors::SafeTensors;

/// The bytes of a small safetensors file.
#[derive(Debug)]
pub struct Bytes {
    file: Vec<u8>,
}

impl Bytes {
    /// Reads `path`.
    ///
    /// # Panics
    ///
    /// Where it cannot be read.
    pub fn open(path: impl AsRef<Path>) -> Self {
        let path = path.as_ref();
        Self { file: std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())) }
    }

    /// The shape and the bytes of `name`.
    ///
    /// # Panics
    ///
    /// Where there is no `name`, or the file is no safetensors file.
    pub fn get(&self, name: &str) -> (Vec<usize>, &[u8]) {
        let tensors = SafeTensors::deserialize(&self.file).unwrap();
        let tensor = tensors.tensor(name).unwrap_or_else(|_| panic!("no {name}"));
        (tensor.shape().to_vec(), tensor.data())
    }
}
