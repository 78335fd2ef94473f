//! Tensors out of a safetensors file, all as `f32`.

use std::collections::HashMap;
use std::path::Path;

use dreamframe::net::WeightSource;
use dreamframe::{Error, ErrorKind, Result};
use half::f16;
use safetensors::{Dtype, SafeTensors};

/// Named numbers and their shapes.
#[derive(Debug, Clone)]
pub struct Tensors(HashMap<String, (Vec<usize>, Vec<f32>)>);

impl Tensors {
    /// Reads all of `path`.
    ///
    /// # Panics
    ///
    /// On anything but a safetensors file of `f32`, `f16` and `i32`.
    pub fn open(path: impl AsRef<Path>) -> Self {
        let path = path.as_ref();
        let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let file = SafeTensors::deserialize(&bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let tensors = file.iter().map(|(name, view)| {
            let numbers = match view.dtype() {
                Dtype::F32 => words(view.data(), f32::from_le_bytes),
                Dtype::F16 => words(view.data(), |bytes| f16::from_le_bytes(bytes).to_f32()),
                Dtype::I32 => words(view.data(), |bytes| i32::from_le_bytes(bytes) as f32),
                other => panic!("{name}: {other:?}"),
            };
            (name.to_owned(), (view.shape().to_vec(), numbers))
        });
        Self(tensors.collect())
    }

    /// Whether there is a `name`.
    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// The names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// The shape and numbers of `name`.
    ///
    /// # Panics
    ///
    /// Where there is no `name`.
    pub fn get(&self, name: &str) -> (&[usize], &[f32]) {
        let (shape, numbers) = self.0.get(name).unwrap_or_else(|| panic!("no {name}"));
        (shape, numbers)
    }
}

fn words<const N: usize>(bytes: &[u8], number: impl Fn([u8; N]) -> f32) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|&word| number(word)).collect()
}

impl WeightSource for Tensors {
    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        self.0.get(name).map(|(shape, _)| shape.clone())
    }

    fn read(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        match self.0.get(name) {
            Some((found, numbers)) if found == shape => Ok(numbers.clone()),
            Some((found, _)) => {
                Err(Error::new(ErrorKind::BadModel, format!("{name} has shape {found:?}, not {shape:?}")))
            }
            None => Err(Error::new(ErrorKind::BadModel, format!("no weight {name}"))),
        }
    }
}
