//! The tensors of a file in one of the supported formats, which its first bytes determine: safetensors, or pickled.

use std::collections::HashMap;

use super::bytes::Bytes;
use super::header::{Fingerprint, LENGTH_BYTES, MAX_HEADER, Tensor, read_header};
use super::pickle;
use crate::error::{Error, ErrorKind, Result};

/// The tensors of a file.
#[derive(Debug)]
pub(super) struct Tensors {
    /// The tensors by name.
    pub(super) by_name: HashMap<String, Tensor>,
    /// The digest of what describes the tensors of a pickled file; `None` for a safetensors file.
    pub(super) pickled: Option<Fingerprint>,
}

impl Tensors {
    /// Reads what describes the tensors of `bytes`.
    ///
    /// # Errors
    ///
    /// `BadModel` for a broken file, `Unsupported` for another kind of file, `Io`.
    pub(super) fn read(bytes: &Bytes) -> Result<Self> {
        if is_pickled(bytes)? {
            let file = pickle::read(bytes)?;
            return Ok(Self { by_name: file.tensors, pickled: Some(file.digest) });
        }
        Ok(Self { by_name: read_header(bytes)?, pickled: None })
    }
}

/// Returns true if a file begins like a pickled one. The length of a safetensors header can begin with the same bytes, but
/// is then in the file.
fn is_pickled(bytes: &Bytes) -> Result<bool> {
    let mut prefix = [0; LENGTH_BYTES as usize];
    let len = bytes.len().min(LENGTH_BYTES) as usize;
    let read = bytes.read_at(0, prefix.get_mut(..len).unwrap_or_default());
    read.map_err(|error| Error::new(ErrorKind::Io, "failed to read").with_source(error))?;
    let header = u64::from_le_bytes(prefix);
    let is_header = bytes.len().checked_sub(LENGTH_BYTES).is_some_and(|rest| header <= MAX_HEADER.min(rest));
    Ok(!is_header && pickle::is_pickled(prefix.get(..len).unwrap_or_default()))
}
