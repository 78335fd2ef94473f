//! The places of tensors in the file: views of storages, checked against the storages' bounds.

use std::collections::HashMap;

use super::error::PickleError;
use super::value::{Heap, StorageId, View};
use crate::load::header::{Dtype, Fingerprint, Tensor};

/// Longest pickle, in bytes: that of the longest header of a safetensors file.
pub(super) const MAX_PICKLE: u64 = 32 << 20;
/// Most bytes that all tensors read together, as a multiple of the file's length: tensors may share storages.
const MAX_SHARING: u64 = 16;

/// The tensors of a pickled file.
#[derive(Debug)]
pub(crate) struct Pickled {
    pub(crate) tensors: HashMap<String, Tensor>,
    /// The digest of what describes them.
    pub(crate) digest: Fingerprint,
}

/// Where the data of storages is: offset and length, in bytes, by key.
pub(super) type Storages = HashMap<String, (u64, u64)>;

/// Returns the storages that tensors refer to, by key.
pub(super) fn storages(heap: &Heap) -> Result<HashMap<&str, &StorageId>, PickleError> {
    let mut storages: HashMap<&str, &StorageId> = HashMap::new();
    for storage in &heap.storages {
        if let Some(other) = storages.insert(&storage.key, storage)
            && other != storage
        {
            let text = format!("storage {:?}: got two descriptions that differ, expected one", storage.key);
            return Err(PickleError::bad(text));
        }
    }
    Ok(storages)
}

/// Returns the bytes of a storage.
pub(super) fn bytes_of(storage: &StorageId) -> Result<u64, PickleError> {
    let width = storage.dtype.map_or(1, Dtype::bytes);
    storage.elements.checked_mul(width).ok_or_else(|| {
        PickleError::bad(format!(
            "size of storage {:?}: got {} elements, expected fewer",
            storage.key, storage.elements
        ))
    })
}

/// Returns the tensors `named` of a file of `file` bytes.
pub(super) fn place(
    heap: &Heap,
    named: Vec<(String, usize)>,
    places: &Storages,
    file: u64,
) -> Result<HashMap<String, Tensor>, PickleError> {
    let mut tensors = HashMap::with_capacity(named.len());
    let mut read = 0_u64;
    for (name, at) in named {
        let view = heap.tensors.get(at).ok_or_else(|| PickleError::bad("tensor: missing"))?;
        let storage = heap.storages.get(view.storage).ok_or_else(|| PickleError::bad("storage: missing"))?;
        let &(start, len) = places.get(&storage.key).ok_or_else(|| {
            PickleError::bad(format!("data of storage {:?} of tensor {name:?}: missing in the file", storage.key))
        })?;
        let (tensor, span) = placed(&name, view, start, len)?;
        read = read.saturating_add(span.max(tensor.len));
        tensors.insert(name, tensor);
    }
    if read > file.saturating_mul(MAX_SHARING) {
        let limit = file.saturating_mul(MAX_SHARING);
        return Err(PickleError::limit("bytes of all tensors, which share storages", read, limit));
    }
    Ok(tensors)
}

/// Returns a view of a storage of `len` bytes at `start`, and the number of bytes from its first to its last element.
fn placed(name: &str, view: &View, start: u64, len: u64) -> Result<(Tensor, u64), PickleError> {
    let View { dtype, offset, ref shape, ref strides, .. } = *view;
    let stored = len / dtype.bytes().max(1);
    let bad = |what: &str| {
        PickleError::bad(format!(
            "tensor {name:?} of shape {shape:?}, strides {strides:?} and offset {offset}: got {what}, expected at most \
             the {stored} elements of its storage"
        ))
    };
    let count =
        shape.iter().try_fold(1_u64, |count, &dim| count.checked_mul(dim)).ok_or_else(|| bad("too many elements"))?;
    if count > stored {
        return Err(bad("more elements"));
    }
    let last = || {
        let dims = shape.iter().zip(strides);
        dims.into_iter().try_fold(0_u64, |last, (&dim, &stride)| (dim - 1).checked_mul(stride)?.checked_add(last))
    };
    let span = if count == 0 {
        0
    } else {
        last().and_then(|last| last.checked_add(1)).ok_or_else(|| bad("too large strides"))?
    };
    if offset.checked_add(span).is_none_or(|end| end > stored) {
        return Err(bad("elements past its end"));
    }
    let dims: Option<Vec<usize>> = shape.iter().map(|&dim| usize::try_from(dim).ok()).collect();
    let dims = dims.ok_or_else(|| bad("too many elements"))?;
    let width = dtype.bytes();
    let strides = (count > 0 && !is_contiguous(shape, strides)).then(|| strides.clone().into_boxed_slice());
    let tensor =
        Tensor { dtype, shape: dims, start: start + offset * width, len: count * width, strides, transposed: false };
    Ok((tensor, span * width))
}

fn is_contiguous(shape: &[u64], strides: &[u64]) -> bool {
    let mut expected = 1_u64;
    for (&dim, &stride) in shape.iter().zip(strides).rev() {
        if dim != 1 && stride != expected {
            return false;
        }
        expected = expected.saturating_mul(dim);
    }
    true
}
