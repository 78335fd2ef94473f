//! Tensors out of a safetensors file, whatever type they have there, as `f32`.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::sync::Mutex;

use dreamframe::net::WeightSource;
use dreamframe::{Error, ErrorKind, Result};
use half::f16;
use safetensors::Dtype;
use safetensors::tensor::Metadata;

/// The tensors of a file, read when they are asked for: a checkpoint may be larger than memory.
#[derive(Debug)]
pub struct Tensors {
    /// Locked by a read, since the position is the file's.
    file: Mutex<File>,
    tensors: HashMap<String, Place>,
}

/// The location of a tensor.
#[derive(Debug)]
struct Place {
    dtype: Dtype,
    shape: Vec<usize>,
    start: u64,
    len: usize,
}

impl Tensors {
    /// Reads the header of `path`.
    ///
    /// # Panics
    ///
    /// On anything but a safetensors file.
    pub fn open(path: impl AsRef<Path>) -> Self {
        let path = path.as_ref();
        let mut file = File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let mut length = [0; 8];
        file.read_exact(&mut length).unwrap();
        let length = u64::from_le_bytes(length);
        let mut header = vec![0; length as usize];
        file.read_exact(&mut header).unwrap();
        let metadata: Metadata = serde_json::from_slice(&header).unwrap();
        let tensors = metadata.tensors().into_iter().map(|(name, info)| {
            let (from, to) = info.data_offsets;
            let start = 8 + length + from as u64;
            (name, Place { dtype: info.dtype, shape: info.shape.clone(), start, len: to - from })
        });
        Self { tensors: tensors.collect(), file: Mutex::new(file) }
    }

    /// Whether there is a `name`.
    pub fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// The names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// The shape of `name`.
    ///
    /// # Panics
    ///
    /// Where there is no `name`.
    pub fn shape(&self, name: &str) -> &[usize] {
        &self.place(name).shape
    }

    /// The numbers of `name`, outermost first.
    ///
    /// # Panics
    ///
    /// Where there is no `name`, or it is not `f32`, `f16` or `i32`.
    pub fn numbers(&self, name: &str) -> Vec<f32> {
        let place = self.place(name);
        let mut bytes = vec![0; place.len];
        let mut file = self.file.lock().unwrap();
        file.seek(SeekFrom::Start(place.start)).unwrap();
        file.read_exact(&mut bytes).unwrap();
        drop(file);
        if place.dtype == Dtype::F32 {
            words(&bytes, f32::from_le_bytes)
        } else if place.dtype == Dtype::F16 {
            words(&bytes, |bytes| f16::from_le_bytes(bytes).to_f32())
        } else {
            assert_eq!(place.dtype, Dtype::I32, "{name}");
            words(&bytes, |bytes| i32::from_le_bytes(bytes) as f32)
        }
    }

    fn place(&self, name: &str) -> &Place {
        self.tensors.get(name).unwrap_or_else(|| panic!("no {name}"))
    }
}

fn words<const N: usize>(bytes: &[u8], number: impl Fn([u8; N]) -> f32) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|&word| number(word)).collect()
}

impl WeightSource for Tensors {
    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        self.tensors.get(name).map(|place| place.shape.clone())
    }

    fn read(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        match self.tensors.get(name) {
            Some(place) if place.shape == shape => Ok(self.numbers(name)),
            Some(place) => {
                Err(Error::new(ErrorKind::BadModel, format!("{name} has shape {:?}, not {shape:?}", place.shape)))
            }
            None => Err(Error::new(ErrorKind::BadModel, format!("no weight {name}"))),
        }
    }
}
