//! The layout before torch 1.6: pickles of a number, a version, the machine, the tensors and the keys of storages, then
//! each storage with its length before it.

use sha2::Digest;

use super::collect::collect;
use super::error::PickleError;
use super::machine::run;
use super::place::{MAX_PICKLE, Pickled, Storages, bytes_of, place, storages};
use super::stream::Stream;
use super::value::{Heap, Value};
use crate::load::bytes::Bytes;
use crate::load::header::MAX_TENSORS;

/// The version of the layout.
const VERSION: i64 = 1001;
/// Bytes of the length before a storage, in elements.
const LENGTH: u64 = 8;

/// Reads a file in this layout.
pub(super) fn read(bytes: &Bytes) -> Result<Pickled, PickleError> {
    let mut stream = Stream::new(bytes, 0, bytes.len().min(MAX_PICKLE));
    let mut heap = Heap::default();
    if run(&mut stream, &mut heap)? != Value::Magic {
        let text = "got a pickle without the number at the start of torch's files, expected a file that torch writes";
        return Err(PickleError::unsupported(text));
    }
    let version = run(&mut stream, &mut heap)?;
    if version != Value::Int(VERSION) {
        return Err(PickleError::unsupported(format!("version of the layout: got another, expected {VERSION}")));
    }
    let system = run(&mut stream, &mut heap)?;
    let entries = heap.as_dict(system).unwrap_or_default();
    let order = entries.iter().find(|(key, _)| heap.as_text(*key) == Some("little_endian"));
    if order.is_some_and(|(_, value)| *value != Value::Bool(true)) {
        return Err(PickleError::unsupported("byte order: got \"big\", expected \"little\""));
    }
    let root = run(&mut stream, &mut heap)?;
    let keys = run(&mut stream, &mut heap)?;
    let named = collect(&heap, root)?;
    let places = data(bytes, stream.position(), &heap, keys)?;
    let tensors = place(&heap, named, &places, bytes.len())?;
    Ok(Pickled { tensors, digest: stream.digest().finalize().into() })
}

/// Returns the places of the storages `keys`, the first at `at`.
fn data(bytes: &Bytes, mut at: u64, heap: &Heap, keys: Value) -> Result<Storages, PickleError> {
    let wrong = || PickleError::bad(format!("keys of storages: got {}, expected a list of texts", keys.kind()));
    let items = heap.as_items(keys).ok_or_else(wrong)?;
    if items.len() > MAX_TENSORS {
        return Err(PickleError::limit("storage count", items.len(), MAX_TENSORS));
    }
    let known = storages(heap)?;
    let mut places = Storages::new();
    for &item in items {
        let key = heap.as_text(item).ok_or_else(wrong)?;
        let storage = known.get(key).ok_or_else(|| {
            PickleError::bad(format!("storage {key:?}: got data without a description, expected one of a tensor"))
        })?;
        let len = bytes_of(storage)?;
        let cut = || PickleError::bad(format!("data of storage {key:?}: got fewer bytes, expected {len} at {at}"));
        let start = at.checked_add(LENGTH).filter(|start| *start <= bytes.len()).ok_or_else(cut)?;
        let end = start.checked_add(len).filter(|end| *end <= bytes.len()).ok_or_else(cut)?;
        let mut length = [0; LENGTH as usize];
        bytes.read_at(at, &mut length).map_err(PickleError::Read)?;
        let elements = u64::from_le_bytes(length);
        if elements != storage.elements {
            let text = format!("elements of storage {key:?}: got {elements}, expected {}", storage.elements);
            return Err(PickleError::bad(text));
        }
        if places.insert(key.to_owned(), (start, len)).is_some() {
            return Err(PickleError::bad(format!("storage {key:?}: got its data twice, expected once")));
        }
        at = end;
    }
    if at != bytes.len() {
        return Err(PickleError::bad(format!(
            "length of the file: got {}, expected {at}, the end of the data",
            bytes.len()
        )));
    }
    Ok(places)
}
