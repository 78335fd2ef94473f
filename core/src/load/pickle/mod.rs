//! Pickled weights, as torch's `save` writes them: zip archives, and the layout before torch 1.6.
//!
//! A pickle is a program for a stack machine that can call any function of Python. [`machine`] only knows the opcodes
//! and the names that tensors, dictionaries and plain values need; it calls nothing, and refuses everything else by
//! name. It yields the names, types, shapes and places of tensors, as the header of a safetensors file does, and values
//! are read from the file in the same way.
//!
//! ```text
//! file ─► layout: zip, legacy ─► stream ─► machine ─► heap of values ─► collect: names ─► place: offsets, bounds
//! ```
//!
//! Files are not trusted: lengths, counts and depths are checked before memory is allocated, and nothing recurses.

mod build;
mod collect;
mod error;
mod globals;
mod legacy;
mod machine;
mod place;
mod stream;
#[cfg(test)]
mod tests;
mod value;
mod zip;

use sha2::Digest;

use self::collect::collect;
pub(crate) use self::error::PickleError;
pub(crate) use self::place::Pickled;
use self::place::{MAX_PICKLE, Storages, bytes_of, place, storages};
use self::stream::Stream;
use self::value::Heap;
use self::zip::Archive;
use super::bytes::Bytes;

/// The entry with the pickle.
const PICKLE: &str = "data.pkl";
/// Longest text in an entry about the format, in bytes.
const MAX_NOTE: u64 = 16;

/// Returns true if a file with these first bytes can be pickled.
pub(crate) fn is_pickled(prefix: &[u8]) -> bool {
    matches!(prefix, [b'P', b'K', 3, 4, ..] | [b'P', b'K', 5, 6, ..] | [0x80, 2..=5, ..])
}

/// Reads the tensors of `bytes`.
///
/// # Errors
///
/// `Unsupported` naming what the file contains besides tensors, `Bad` for a broken file, and errors of reading.
pub(crate) fn read(bytes: &Bytes) -> Result<Pickled, PickleError> {
    let mut prefix = [0; 2];
    if bytes.len() < 2 {
        return Err(PickleError::bad(format!("got {} bytes, expected at least 2", bytes.len())));
    }
    bytes.read_at(0, &mut prefix).map_err(PickleError::Read)?;
    if prefix == *b"PK" { read_zip(bytes) } else { legacy::read(bytes) }
}

/// Reads a zip archive: `archive/data.pkl`, and a storage in each `archive/data/KEY`.
fn read_zip(bytes: &Bytes) -> Result<Pickled, PickleError> {
    let mut archive = Archive::read(bytes)?;
    let folder = folder(&archive)?;
    archive.locate(bytes)?;
    check_notes(&archive, &folder, bytes)?;
    let name = format!("{folder}{PICKLE}");
    let entry = archive.entries.get(&name).copied().ok_or_else(|| PickleError::bad(format!("{name}: missing")))?;
    if entry.len > MAX_PICKLE {
        return Err(PickleError::limit("length of the pickle", entry.len, MAX_PICKLE));
    }
    entry.check(&name, bytes)?;
    let mut stream = Stream::new(bytes, entry.start, entry.start + entry.len);
    let mut heap = Heap::default();
    let root = machine::run(&mut stream, &mut heap)?;
    if stream.rest() > 0 {
        return Err(PickleError::bad(format!("end of the pickle: got {} further bytes, expected none", stream.rest())));
    }
    let named = collect(&heap, root)?;
    let mut places = Storages::new();
    for (key, storage) in storages(&heap)? {
        let name = format!("{folder}data/{key}");
        let Some(entry) = archive.entries.get(&name) else {
            return Err(PickleError::bad(format!("{name}: missing, expected the data of a storage")));
        };
        let len = bytes_of(storage)?;
        if entry.len != len {
            return Err(PickleError::bad(format!("length of {name}: got {}, expected {len}", entry.len)));
        }
        places.insert(key.to_owned(), (entry.start, entry.len));
    }
    let tensors = place(&heap, named, &places, bytes.len())?;
    let digest = archive.digest.chain_update(stream.digest().finalize()).finalize().into();
    Ok(Pickled { tensors, digest })
}

/// Returns the folder of the archive's entries, with its slash. Refuses programs.
fn folder(archive: &Archive) -> Result<String, PickleError> {
    let parts =
        || archive.entries.keys().filter_map(|name| name.split_once('/').map(|(folder, file)| (name, folder, file)));
    let is_program = |file: &str| file == "constants.pkl" || file.starts_with("code/");
    if let Some((name, _, _)) = parts().find(|(_, _, file)| is_program(file)) {
        let text = format!("got a TorchScript archive, with {name:?}, expected tensors; save the module's state_dict");
        return Err(PickleError::unsupported(text));
    }
    let mut folders = parts().filter(|(_, _, file)| *file == PICKLE).map(|(_, folder, _)| folder);
    match (folders.next(), folders.next()) {
        (Some(folder), None) => Ok(format!("{folder}/")),
        (None, _) => {
            Err(PickleError::unsupported("got a zip archive without data.pkl, expected one that torch writes"))
        }
        (Some(_), Some(_)) => Err(PickleError::bad("data.pkl: got several, expected one")),
    }
}

/// Checks the entries `byteorder` and `version`, which may be missing.
fn check_notes(archive: &Archive, folder: &str, bytes: &Bytes) -> Result<(), PickleError> {
    let note = |name: &str| -> Result<Option<String>, PickleError> {
        let Some(entry) = archive.entries.get(&format!("{folder}{name}")) else { return Ok(None) };
        if entry.len > MAX_NOTE {
            return Err(PickleError::limit(&format!("length of {name}"), entry.len, MAX_NOTE));
        }
        let mut text = vec![0; entry.len as usize];
        bytes.read_at(entry.start, &mut text).map_err(PickleError::Read)?;
        Ok(Some(String::from_utf8_lossy(&text).trim().to_owned()))
    };
    if let Some(order) = note("byteorder")?
        && order != "little"
    {
        return Err(PickleError::unsupported(format!("byte order: got {order:?}, expected \"little\"")));
    }
    const NEWEST: u32 = 10;
    if let Some(version) = note("version")?
        && !version.parse::<u32>().is_ok_and(|version| version <= NEWEST)
    {
        return Err(PickleError::unsupported(format!(
            "version of the archive: got {version:?}, expected at most {NEWEST}"
        )));
    }
    Ok(())
}

/// A file that torch wrote, for tests: a state dictionary.
#[cfg(test)]
pub(crate) fn toy_file() -> &'static [u8] {
    include_bytes!("../../../../tests/golden/pickle/zip.pt")
}
