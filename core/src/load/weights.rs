//! Weights in safetensors or pickled files: one file, or several shards with an index.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use dreamframe_kernels::numbers::{all_finite, read_bf16, read_f16, read_f32, read_f64, transpose};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::bytes::Bytes;
use super::header::{self, Dtype, Fingerprint, StoredDtype, Tensor};
use super::key_aliases::{aliases, is_harmless};
use super::tensors::Tensors;
use super::weight_names::{PICKLED, SAFETENSORS};
use crate::error::{Error, ErrorKind, Result};
use crate::net::{WeightSource, WeightSpec, elements, same_layout};

/// Bytes converted at a time; divisible by every type's size.
const CHUNK: usize = 1 << 18;
/// Maximum number of shards of a network.
const MAX_SHARDS: usize = 1024;
/// Names listed in a message; the rest is counted.
const NAMES_LISTED: usize = 5;

/// The weights of one component of a checkpoint. Opening reads the headers; values are read on demand.
pub struct WeightFiles {
    shards: Vec<Shard>,
    shard_of: HashMap<String, usize>,
}

struct Shard {
    path: String,
    bytes: Arc<Bytes>,
    tensors: HashMap<String, Tensor>,
    /// The digest of what describes the tensors of a pickled file.
    pickled: Option<Fingerprint>,
}

impl Shard {
    fn open(path: String, bytes: Bytes) -> Result<Self> {
        let Tensors { by_name, pickled } = Tensors::read(&bytes).map_err(|error| error.within(&path))?;
        Ok(Self { path, bytes: Arc::new(bytes), tensors: by_name, pickled })
    }
}

impl fmt::Debug for WeightFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let paths: Vec<&str> = self.shards.iter().map(|shard| shard.path.as_str()).collect();
        f.debug_struct("WeightFiles").field("shards", &paths).field("tensors", &self.shard_of.len()).finish()
    }
}

/// The relevant part of the index of a sharded network.
#[derive(Deserialize)]
struct ShardIndex {
    weight_map: BTreeMap<String, String>,
}

impl WeightFiles {
    /// Reads the header of a safetensors file, or the pickle of torch's file, in memory; `name` is its name in messages.
    ///
    /// # Errors
    ///
    /// `BadModel` naming the tensor, the value and the bound; `Unsupported` for another kind of file.
    pub fn from_bytes(name: &str, bytes: Vec<u8>) -> Result<Self> {
        Self::single(name.to_owned(), Bytes::Owned(bytes.into()))
    }

    /// Reads the header of a safetensors file that is part of the binary, at `path` below `models`.
    ///
    /// # Errors
    ///
    /// Those of [`from_bytes`](Self::from_bytes), and `NotFound` for a file that is not built in.
    #[cfg(any(feature = "edges", feature = "pose", feature = "safety", feature = "segmentation"))]
    pub(crate) fn embedded(path: &str) -> Result<Self> {
        let missing = || Error::new(ErrorKind::NotFound, format!("{path} is not built in"));
        Self::single(format!("built-in {path}"), Bytes::Owned(super::embedded::read(path)?.ok_or_else(missing)?))
    }

    /// Reads the header of the only file of a network.
    pub(crate) fn single(path: String, bytes: Bytes) -> Result<Self> {
        let Shard { path, bytes, tensors, pickled } = Shard::open(path, bytes)?;
        Ok(Self::view(path, bytes, Tensors { by_name: tensors, pickled }))
    }

    /// Opens a part of a file, with the given `tensors`, whose names and shapes may differ from the file's.
    pub(super) fn view(path: String, bytes: Arc<Bytes>, tensors: Tensors) -> Self {
        let Tensors { by_name: tensors, pickled } = tensors;
        let shard_of = tensors.keys().map(|name| (name.clone(), 0)).collect();
        Self { shards: vec![Shard { path, bytes, tensors, pickled }], shard_of }
    }

    /// Reads the headers of all shards that `index` (the text of the file `index_path`) names; `open` gives a shard's
    /// bytes and its path for messages.
    pub(crate) fn sharded(
        index_path: &str,
        index: &[u8],
        mut open: impl FnMut(&str) -> Result<(String, Bytes)>,
    ) -> Result<Self> {
        let bad = |text: String| Error::new(ErrorKind::BadModel, text).within(index_path);
        let index: ShardIndex = serde_json::from_slice(index)
            .map_err(|error| bad(format!("invalid index of shards: {error}")).with_source(error))?;
        let mut files: HashMap<&str, usize> = HashMap::new();
        let mut weights = Self { shards: Vec::new(), shard_of: HashMap::new() };
        for (name, file) in &index.weight_map {
            let shard = match files.get(file.as_str()) {
                Some(&shard) => shard,
                None => {
                    check_shard_name(file).map_err(|error| error.within(index_path))?;
                    if weights.shards.len() == MAX_SHARDS {
                        return Err(bad(format!(
                            "shard count: got more than {MAX_SHARDS}, expected at most {MAX_SHARDS}"
                        )));
                    }
                    let (path, bytes) = open(file).map_err(|error| error.within(index_path))?;
                    weights.add(Shard::open(path, bytes)?)?;
                    files.insert(file, weights.shards.len() - 1);
                    weights.shards.len() - 1
                }
            };
            if weights.shard_of.get(name) != Some(&shard) {
                return Err(bad(format!("tensor {name:?}: not in the shard {file:?} that the index gives for it")));
            }
        }
        Ok(weights)
    }

    fn add(&mut self, shard: Shard) -> Result<()> {
        for name in shard.tensors.keys() {
            if let Some(&other) = self.shard_of.get(name) {
                let (here, there) = (&shard.path, self.shards.get(other).map_or("", |shard| &shard.path));
                return Err(Error::new(
                    ErrorKind::BadModel,
                    format!("tensor {name:?}: got it in {here} and {there}, expected it in one of them"),
                ));
            }
            self.shard_of.insert(name.clone(), self.shards.len());
        }
        self.shards.push(shard);
        Ok(())
    }

    /// Returns a fingerprint of these files: of their names, sizes, modification times and headers. `None` if they are
    /// not on disk.
    pub(crate) fn fingerprint(&self) -> Option<Fingerprint> {
        let mut digest = Sha256::new();
        for shard in &self.shards {
            let (len, changed) = shard.bytes.stamp()?;
            let changed = changed.duration_since(SystemTime::UNIX_EPOCH).ok()?;
            let header = match shard.pickled {
                Some(digest) => digest.to_vec(),
                None => header::read_text(&shard.bytes).ok()?.0,
            };
            let name = Path::new(&shard.path).file_name()?.as_encoded_bytes();
            for (bytes, number) in [(name, len as u128), (&header, changed.as_nanos())] {
                digest.update((bytes.len() as u64).to_le_bytes());
                digest.update(bytes);
                digest.update(number.to_le_bytes());
            }
        }
        Some(digest.finalize().into())
    }

    /// Returns the metadata in the header of the first file.
    pub(crate) fn metadata(&self) -> Result<HashMap<String, String>> {
        let Some(shard) = self.shards.first().filter(|shard| shard.pickled.is_none()) else {
            return Ok(HashMap::new());
        };
        header::read_metadata(&shard.bytes).map_err(|error| Error::from(error).within(&shard.path))
    }

    /// Returns a notice if a file is pickled.
    pub fn notice(&self) -> Option<String> {
        let shard = self.shards.iter().find(|shard| shard.pickled.is_some())?;
        Some(format!(
            "{} is a pickled file: its tensors were read, and nothing in it was executed; `dreamframe models convert FILE \
             FILE.safetensors` writes safetensors",
            shard.path
        ))
    }

    /// Counts the elements of all tensors.
    pub(crate) fn numbers(&self) -> u64 {
        let tensors = self.shards.iter().flat_map(|shard| shard.tensors.values());
        tensors.map(|tensor| tensor.len / tensor.dtype.bytes().max(1)).fold(0, u64::saturating_add)
    }

    /// Returns the names of all tensors, in no order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.shard_of.keys().map(String::as_str)
    }

    /// Returns the number format for writing `name`; single precision for types without a written form.
    ///
    /// # Errors
    ///
    /// `BadModel` if there is no `name`.
    pub(super) fn stored(&self, name: &str) -> Result<StoredDtype> {
        let (_, _, tensor) = self.find(name).ok_or_else(|| self.missing(name))?;
        Ok(match tensor.dtype {
            Dtype::F16 => StoredDtype::F16,
            Dtype::Bf16 => StoredDtype::Bf16,
            Dtype::F32 | Dtype::F64 | Dtype::Other(..) => StoredDtype::F32,
        })
    }

    fn missing(&self, name: &str) -> Error {
        let paths: Vec<&str> = self.shards.iter().map(|shard| shard.path.as_str()).collect();
        Error::new(ErrorKind::BadModel, format!("tensor {name:?}: missing in {}", listed(&paths)))
    }

    /// Compares the weights that programs need with those in the files.
    pub fn check<'a>(&self, specs: impl IntoIterator<Item = &'a WeightSpec>) -> WeightCheck {
        let mut check = WeightCheck::default();
        let mut used: HashSet<&str> = HashSet::new();
        for spec in specs {
            let Some((name, _, tensor)) = self.find(&spec.name) else {
                check.missing.push(spec.name.clone());
                continue;
            };
            used.insert(name);
            if !same_layout(&tensor.shape, &spec.shape) {
                check.misshapen.push(misshapen(&spec.name, &tensor.shape, &spec.shape));
            }
        }
        check.unused =
            self.names().filter(|name| !used.contains(name) && !is_harmless(name)).map(str::to_owned).collect();
        check.unused.sort_unstable();
        check
    }

    /// Reads a tensor of bytes.
    ///
    /// # Errors
    ///
    /// `BadModel` if there is none, or it has another shape or type.
    #[cfg(any(feature = "safety", test))]
    pub(super) fn read_bytes(&self, name: &str, shape: &[usize]) -> Result<Vec<u8>> {
        let (_, shard, tensor) = self.find(name).ok_or_else(|| self.missing(name))?;
        let bad = |text: String| Error::new(ErrorKind::BadModel, text).within(&shard.path);
        if tensor.shape != shape {
            return Err(bad(misshapen(name, &tensor.shape, shape)));
        }
        if tensor.dtype != Dtype::Other("U8", 1) {
            return Err(bad(format!("tensor {name:?}: got another type, expected U8")));
        }
        stored_bytes(&shard.bytes, tensor).map_err(|error| error.within(&shard.path))
    }

    /// Reads the bytes of a tensor as a safetensors file has them, with its type and shape.
    ///
    /// # Errors
    ///
    /// `BadModel` if there is none; `OutOfMemory`; `Io`.
    pub(super) fn read_stored(&self, name: &str) -> Result<(Dtype, &[usize], Vec<u8>)> {
        let (_, shard, tensor) = self.find(name).ok_or_else(|| self.missing(name))?;
        let bytes = stored_bytes(&shard.bytes, tensor).map_err(|error| error.within(&shard.path))?;
        Ok((tensor.dtype, &tensor.shape, bytes))
    }

    /// Returns the type of a tensor, and its length in bytes.
    pub(super) fn stored_dtype(&self, name: &str) -> Result<(Dtype, u64)> {
        let (_, _, tensor) = self.find(name).ok_or_else(|| self.missing(name))?;
        Ok((tensor.dtype, tensor.len))
    }

    /// Returns the tensor of `name` or one of its older names, with its name in the file.
    fn find(&self, name: &str) -> Option<(&str, &Shard, &Tensor)> {
        let lookup = |name: &str| {
            let (name, &shard) = self.shard_of.get_key_value(name)?;
            let shard = self.shards.get(shard)?;
            Some((name.as_str(), shard, shard.tensors.get(name)?))
        };
        lookup(name).or_else(|| aliases(name).find_map(|alias| lookup(&alias)))
    }
}

impl WeightSource for WeightFiles {
    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        self.find(name).map(|(_, _, tensor)| tensor.shape.clone())
    }

    fn read(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let Some((_, shard, tensor)) = self.find(name) else {
            return Err(self.missing(name));
        };
        if !same_layout(&tensor.shape, shape) {
            return Err(Error::new(ErrorKind::BadModel, misshapen(name, &tensor.shape, shape)).within(&shard.path));
        }
        read_tensor(&shard.bytes, tensor).map_err(|error| error.within(format_args!("{}: tensor {name:?}", shard.path)))
    }
}

/// The result of checking the weights of a checkpoint against programs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WeightCheck {
    /// Missing weights, in the program's order.
    pub missing: Vec<String>,
    /// Weights of a wrong shape, with both shapes.
    pub misshapen: Vec<String>,
    /// Unused tensors, sorted.
    pub unused: Vec<String>,
}

impl WeightCheck {
    /// Rejects missing or misshapen weights, naming the first few. Unused ones are no error.
    ///
    /// # Errors
    ///
    /// `BadModel`.
    pub fn require(&self) -> Result<()> {
        let mut problems = Vec::new();
        if !self.missing.is_empty() {
            problems.push(format!("{} weights are missing: {}", self.missing.len(), listed(&self.missing)));
        }
        if !self.misshapen.is_empty() {
            problems.push(format!("{} weights have another shape: {}", self.misshapen.len(), listed(&self.misshapen)));
        }
        if problems.is_empty() { Ok(()) } else { Err(Error::new(ErrorKind::BadModel, problems.join("; "))) }
    }
}

/// Returns the first few of `items`, and how many more there are.
pub(crate) fn listed<T: AsRef<str>>(items: &[T]) -> String {
    let mut text = items.iter().take(NAMES_LISTED).map(AsRef::as_ref).collect::<Vec<_>>().join(", ");
    if items.len() > NAMES_LISTED {
        text.push_str(&format!(" and {} more", items.len() - NAMES_LISTED));
    }
    text
}

fn misshapen(name: &str, found: &[usize], needed: &[usize]) -> String {
    format!("tensor {name:?}: got shape {found:?}, expected {needed:?}")
}

/// Checks the name of a shard, which must be in the folder of its index.
fn check_shard_name(file: &str) -> Result<()> {
    let plain = file.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'));
    let ending = Path::new(file).extension().and_then(|ending| ending.to_str()).unwrap_or_default();
    let known = ending == SAFETENSORS || PICKLED.contains(&ending);
    if plain && !file.starts_with('.') && known && file.len() <= 255 {
        return Ok(());
    }
    let what = format!("shard: got {file:?}, expected the plain name of a .safetensors or pickled file");
    Err(Error::new(ErrorKind::BadModel, what))
}

fn read_tensor(bytes: &Bytes, tensor: &Tensor) -> Result<Vec<f32>> {
    let Tensor { dtype, start, len, .. } = *tensor;
    if let Dtype::Other(name, _) = dtype {
        let what = format!("got type {name}, expected F16, BF16, F32 or F64");
        return Err(Error::new(ErrorKind::Unsupported, what));
    }
    if tensor.strides.is_some() {
        let bytes = Bytes::Owned(stored_bytes(bytes, tensor)?.into());
        return read_tensor(&bytes, &Tensor { start: 0, strides: None, ..tensor.clone() });
    }
    let count = usize::try_from(len / dtype.bytes()).unwrap_or(usize::MAX);
    let mut numbers = elements::zeros(count)?;
    let width = dtype.bytes() as usize;
    let mut buffer = elements::zero_bytes(CHUNK.min(count * width))?;
    let mut offset = start;
    for out in numbers.chunks_mut(CHUNK / width) {
        let buffer = &mut buffer[..out.len() * width];
        bytes
            .read_at(offset, buffer)
            .map_err(|error| Error::new(ErrorKind::Io, "failed to read").with_source(error))?;
        offset += buffer.len() as u64;
        convert(dtype, buffer, out);
        if !all_finite(out) {
            let bad = out.iter().find(|x| !x.is_finite()).copied().unwrap_or(f32::NAN);
            return Err(Error::new(ErrorKind::BadModel, format!("got {bad}, expected finite values in f32")));
        }
    }
    if tensor.transposed { transposed(&numbers, &tensor.shape) } else { Ok(numbers) }
}

/// Returns the elements of a tensor one after the other, in the type and the layout of the file.
fn stored_bytes(bytes: &Bytes, tensor: &Tensor) -> Result<Vec<u8>> {
    let mut shape = tensor.shape.clone();
    if tensor.transposed {
        shape.reverse();
    }
    let width = tensor.dtype.bytes() as usize;
    let Some(strides) = tensor.strides.as_deref().filter(|_| tensor.len > 0) else {
        return read_bytes(bytes, tensor.start, tensor.len);
    };
    let last: u64 = shape.iter().zip(strides).map(|(&dim, &stride)| (dim as u64 - 1).saturating_mul(stride)).sum();
    let span = read_bytes(bytes, tensor.start, (last + 1).saturating_mul(width as u64))?;
    let mut packed = elements::with_capacity(tensor.len as usize)?;
    let mut index = vec![0; shape.len()];
    while packed.len() < tensor.len as usize {
        let at: u64 = index.iter().zip(strides).map(|(&at, &stride)| at as u64 * stride).sum();
        let element = span.get(at as usize * width..).and_then(|rest| rest.get(..width));
        packed.extend_from_slice(element.ok_or_else(|| Error::new(ErrorKind::Internal, "a view past its storage"))?);
        for (at, &dim) in index.iter_mut().zip(&shape).rev() {
            *at += 1;
            if *at < dim {
                break;
            }
            *at = 0;
        }
    }
    Ok(packed)
}

fn read_bytes(bytes: &Bytes, start: u64, len: u64) -> Result<Vec<u8>> {
    let mut buffer = elements::zero_bytes(usize::try_from(len).unwrap_or(usize::MAX))?;
    let read = bytes.read_at(start, &mut buffer);
    read.map_err(|error| Error::new(ErrorKind::Io, "failed to read").with_source(error))?;
    Ok(buffer)
}

/// Returns the transpose of the matrix `numbers`, which has the result's columns as rows.
fn transposed(numbers: &[f32], shape: &[usize]) -> Result<Vec<f32>> {
    let mut transposed = elements::zeros(numbers.len())?;
    transpose(numbers, shape.first().copied().unwrap_or(1).max(1), &mut transposed);
    Ok(transposed)
}

/// Converts little-endian numbers to `f32`; `bytes` has one for each element of `out`.
fn convert(dtype: Dtype, bytes: &[u8], out: &mut [f32]) {
    match dtype {
        Dtype::F32 => read_f32(bytes, out),
        Dtype::F64 => read_f64(bytes, out),
        Dtype::F16 => read_f16(bytes, out),
        Dtype::Bf16 => read_bf16(bytes, out),
        Dtype::Other(..) => {}
    }
}

#[cfg(test)]
mod tests;
