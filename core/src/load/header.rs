//! The header of a safetensors file: names, types, shapes and offsets of its tensors.
//!
//! Headers are not trusted: everything is checked before memory is allocated for it, and offsets and sizes must cover the
//! file without overlap or gap.

use std::collections::{HashMap, HashSet};
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

use super::bytes::Bytes;
use crate::error::{Error, ErrorKind};

/// Maximum length of a header, in bytes. The largest known networks have headers of 300 kB.
pub(super) const MAX_HEADER: u64 = 32 << 20;
/// Most tensors in one file.
pub(super) const MAX_TENSORS: usize = 65_536;
/// Longest name of a tensor, in bytes.
pub(super) const MAX_NAME: usize = 512;
/// Maximum number of dimensions of a tensor.
pub(super) const MAX_DIMS: usize = 8;
/// Bytes of the length prefix, little-endian.
pub(super) const LENGTH_BYTES: u64 = 8;

/// The SHA-256 that identifies weights.
pub(crate) type Fingerprint = [u8; 32];

/// The number format of a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dtype {
    /// IEEE double.
    F64,
    /// IEEE single.
    F32,
    /// IEEE half.
    F16,
    /// bfloat16.
    Bf16,
    /// A type that weights do not have, with its bytes per element.
    Other(&'static str, u64),
}

impl Dtype {
    fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "F64" => Self::F64,
            "F32" => Self::F32,
            "F16" => Self::F16,
            "BF16" => Self::Bf16,
            "BOOL" => Self::Other("BOOL", 1),
            "U8" => Self::Other("U8", 1),
            "I8" => Self::Other("I8", 1),
            "F8_E4M3" => Self::Other("F8_E4M3", 1),
            "F8_E5M2" => Self::Other("F8_E5M2", 1),
            "I16" => Self::Other("I16", 2),
            "U16" => Self::Other("U16", 2),
            "I32" => Self::Other("I32", 4),
            "U32" => Self::Other("U32", 4),
            "I64" => Self::Other("I64", 8),
            "U64" => Self::Other("U64", 8),
            _ => return None,
        })
    }

    /// Returns the bytes per element.
    pub(crate) fn bytes(self) -> u64 {
        match self {
            Self::F64 => 8,
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
            Self::Other(_, bytes) => bytes,
        }
    }
}

/// The number format of written weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoredDtype {
    /// IEEE half: 11 bits of precision, up to 65,504.
    F16,
    /// bfloat16: 8 bits of precision.
    Bf16,
    /// IEEE single.
    F32,
}

impl Dtype {
    /// Returns its name in a safetensors header.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::F64 => "F64",
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::Bf16 => "BF16",
            Self::Other(name, _) => name,
        }
    }
}

impl Tensor {
    /// Returns the distance of row `rows` from the start, in bytes.
    pub(super) fn bytes_of_rows(&self, rows: usize) -> u64 {
        let row = match (&self.strides, self.shape.first()) {
            (Some(strides), _) => strides.first().copied().unwrap_or(0).saturating_mul(self.dtype.bytes()),
            (None, Some(&all)) => self.len / (all as u64).max(1),
            (None, None) => 0,
        };
        row.saturating_mul(rows as u64)
    }
}

impl From<StoredDtype> for Dtype {
    fn from(dtype: StoredDtype) -> Self {
        match dtype {
            StoredDtype::F16 => Self::F16,
            StoredDtype::Bf16 => Self::Bf16,
            StoredDtype::F32 => Self::F32,
        }
    }
}

impl StoredDtype {
    /// Returns its name in a safetensors header.
    pub(super) fn name(self) -> &'static str {
        Dtype::from(self).name()
    }

    pub(super) fn bytes(self) -> u64 {
        Dtype::from(self).bytes()
    }
}

/// One tensor of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tensor {
    /// Its number format.
    pub(crate) dtype: Dtype,
    /// Its shape, outermost first.
    pub(crate) shape: Vec<usize>,
    /// Its offset in the file, in bytes.
    pub(crate) start: u64,
    /// Its length in bytes.
    pub(crate) len: u64,
    /// The distance of neighbours in each dimension of the file's shape, in elements; `None` if they follow each other.
    pub(crate) strides: Option<Box<[u64]>>,
    /// Whether the file has it transposed; only if names and shapes were derived.
    pub(crate) transposed: bool,
}

/// The reason why a file is not a supported safetensors file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HeaderError {
    #[error("got {what}, expected a safetensors file; {advice}")]
    OtherFormat { what: &'static str, advice: &'static str },
    #[error("got {0} bytes, expected at least 8")]
    TooShort(u64),
    #[error("header length: got {0}, expected at most {MAX_HEADER}")]
    HeaderTooLarge(u64),
    #[error("header length: got {header}, expected at most the {rest} bytes that follow")]
    HeaderPastEnd { header: u64, rest: u64 },
    #[error("invalid safetensors header: {0}")]
    Json(serde_json::Error),
    #[error("type of tensor {name:?}: got {dtype:?}, expected one of the safetensors format")]
    UnknownDtype { name: String, dtype: String },
    #[error("size of tensor {name:?} of shape {shape:?}: got more than 2^64 - 1 bytes")]
    Overflow { name: String, shape: Vec<u64> },
    #[error("offsets of tensor {name:?} of shape {shape:?}: got {begin}..{end}, expected {need} bytes")]
    SizeMismatch { name: String, shape: Vec<u64>, need: u64, begin: u64, end: u64 },
    #[error("end of tensor {name:?}: got {end}, expected at most {data}, the length of the data")]
    PastEnd { name: String, end: u64, data: u64 },
    #[error("start of tensor {name:?}: got {begin}, expected {before}, the end of the tensor before it; they overlap")]
    Overlap { name: String, begin: u64, before: u64 },
    #[error(
        "start of tensor {name:?}: got {begin}, expected {before}, the end of the tensor before it; there is a gap"
    )]
    Hole { name: String, begin: u64, before: u64 },
    #[error("length of the data: got {data} bytes, expected {end}, the end of the last tensor")]
    LeftOver { end: u64, data: u64 },
    #[error("failed to read the header")]
    Read(#[source] std::io::Error),
}

impl From<HeaderError> for Error {
    fn from(error: HeaderError) -> Self {
        if let HeaderError::Read(source) = error {
            return Self::new(ErrorKind::Io, "failed to read the header").with_source(source);
        }
        let other_format = matches!(error, HeaderError::OtherFormat { .. });
        let kind = if other_format { ErrorKind::Unsupported } else { ErrorKind::BadModel };
        Self::new(kind, error.to_string())
    }
}

/// Reads and checks the header of `bytes`.
pub(crate) fn read_header(bytes: &Bytes) -> Result<HashMap<String, Tensor>, HeaderError> {
    let (text, data) = read_text(bytes)?;
    let mut json = serde_json::Deserializer::from_slice(&text);
    let entries = Entries::deserialize(&mut json).map_err(HeaderError::Json)?;
    json.end().map_err(HeaderError::Json)?;
    place(entries.0, LENGTH_BYTES + text.len() as u64, data)
}

/// Returns the metadata in the header of `bytes`.
pub(crate) fn read_metadata(bytes: &Bytes) -> Result<HashMap<String, String>, HeaderError> {
    #[derive(Deserialize)]
    struct Metadata {
        #[serde(rename = "__metadata__", default)]
        texts: HashMap<String, String>,
    }
    let (text, _) = read_text(bytes)?;
    serde_json::from_slice::<Metadata>(&text).map(|metadata| metadata.texts).map_err(HeaderError::Json)
}

/// Returns the text of the header of `bytes`, and how many bytes follow it.
pub(crate) fn read_text(bytes: &Bytes) -> Result<(Vec<u8>, u64), HeaderError> {
    let file = bytes.len();
    let mut prefix = [0; LENGTH_BYTES as usize];
    if file < LENGTH_BYTES {
        return Err(HeaderError::TooShort(file));
    }
    bytes.read_at(0, &mut prefix).map_err(HeaderError::Read)?;
    let header = u64::from_le_bytes(prefix);
    let rest = file - LENGTH_BYTES;
    // Only if the length is invalid: a valid one can begin with the magic bytes of another format.
    if header > MAX_HEADER.min(rest)
        && let Some(error) = other_format(&prefix)
    {
        return Err(error);
    }
    if header > MAX_HEADER {
        return Err(HeaderError::HeaderTooLarge(header));
    }
    if header > rest {
        return Err(HeaderError::HeaderPastEnd { header, rest });
    }
    let mut text = vec![0; header as usize];
    bytes.read_at(LENGTH_BYTES, &mut text).map_err(HeaderError::Read)?;
    Ok((text, rest - header))
}

/// Recognizes other file types.
fn other_format(prefix: &[u8; LENGTH_BYTES as usize]) -> Option<HeaderError> {
    let (what, advice) = match prefix {
        [b'v', b'e', b'r', b's', b'i', b'o', b'n', b' '] => ("a Git LFS pointer", "fetch the file that it points to"),
        [b'G', b'G', b'U', b'F', ..] => ("a GGUF file", "convert the checkpoint to a diffusers folder"),
        _ => return None,
    };
    Some(HeaderError::OtherFormat { what, advice })
}

/// Checks that the tensors fill the `data` bytes after `start` exactly, one after the other.
fn place(mut entries: Vec<(String, Entry)>, start: u64, data: u64) -> Result<HashMap<String, Tensor>, HeaderError> {
    entries.sort_by_key(|(_, entry)| entry.data_offsets);
    let mut tensors = HashMap::with_capacity(entries.len());
    let mut before = 0;
    for (name, Entry { dtype, shape: Dims(shape), data_offsets: (begin, end) }) in entries {
        let Some(dtype) = Dtype::parse(&dtype) else {
            return Err(HeaderError::UnknownDtype { name, dtype });
        };
        let Some(need) = shape.iter().try_fold(dtype.bytes(), |size, &dim| size.checked_mul(dim)) else {
            return Err(HeaderError::Overflow { name, shape });
        };
        if end.checked_sub(begin) != Some(need) {
            return Err(HeaderError::SizeMismatch { name, shape, need, begin, end });
        }
        if end > data {
            return Err(HeaderError::PastEnd { name, end, data });
        }
        if begin < before {
            return Err(HeaderError::Overlap { name, begin, before });
        }
        if begin > before {
            return Err(HeaderError::Hole { name, begin, before });
        }
        before = end;
        let dims: Option<Vec<usize>> = shape.iter().map(|&dim| usize::try_from(dim).ok()).collect();
        let Some(dims) = dims else { return Err(HeaderError::Overflow { name, shape }) };
        tensors.insert(
            name,
            Tensor { dtype, shape: dims, start: start + begin, len: need, strides: None, transposed: false },
        );
    }
    if before != data {
        return Err(HeaderError::LeftOver { end: before, data });
    }
    Ok(tensors)
}

/// A tensor's entry in the header.
#[derive(Deserialize)]
struct Entry {
    dtype: String,
    shape: Dims,
    data_offsets: (u64, u64),
}

/// A shape; rejected while parsing if it has too many dimensions.
struct Dims(Vec<u64>);

impl<'de> Deserialize<'de> for Dims {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct DimsVisitor;

        impl<'de> Visitor<'de> for DimsVisitor {
            type Value = Dims;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a shape: an array of whole numbers")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Dims, A::Error> {
                let mut dims = Vec::with_capacity(4);
                while let Some(dim) = seq.next_element()? {
                    if dims.len() == MAX_DIMS {
                        return Err(A::Error::custom(format_args!(
                            "shape: got more than {MAX_DIMS} dimensions, expected at most {MAX_DIMS}"
                        )));
                    }
                    dims.push(dim);
                }
                Ok(Dims(dims))
            }
        }

        deserializer.deserialize_seq(DimsVisitor)
    }
}

/// All tensors of a header, in order; rejected while parsing if there are too many, or duplicates.
struct Entries(Vec<(String, Entry)>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EntriesVisitor;

        impl<'de> Visitor<'de> for EntriesVisitor {
            type Value = Entries;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
                let mut entries = Vec::new();
                let mut names = HashSet::new();
                while let Some(name) = map.next_key::<String>()? {
                    if name == "__metadata__" {
                        // Strings by name, as specified by the format; see `read_metadata`.
                        map.next_value::<HashMap<String, String>>()?;
                        continue;
                    }
                    if name.len() > MAX_NAME {
                        let len = name.len();
                        return Err(A::Error::custom(format_args!(
                            "length of a tensor's name: got {len} bytes, expected at most {MAX_NAME}"
                        )));
                    }
                    if entries.len() == MAX_TENSORS {
                        return Err(A::Error::custom(format_args!(
                            "tensor count: got more than {MAX_TENSORS}, expected at most {MAX_TENSORS}"
                        )));
                    }
                    if !names.insert(name.clone()) {
                        return Err(A::Error::custom(format_args!("tensor {name:?}: got two entries, expected one")));
                    }
                    let entry =
                        map.next_value().map_err(|error| A::Error::custom(format_args!("tensor {name:?}: {error}")))?;
                    entries.push((name, entry));
                }
                Ok(Entries(entries))
            }
        }

        deserializer.deserialize_map(EntriesVisitor)
    }
}
