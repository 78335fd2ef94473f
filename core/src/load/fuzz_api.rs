//! Fuzzing entry points: files of models, in memory.

use std::path::Path;

use super::bytes::Bytes;
use super::single::SingleFile;
use super::{Calibration, Component, WeightFiles};
use crate::error::{Error, ErrorKind, Result};

/// Reads the text of a calibration file.
///
/// # Errors
///
/// Those of [`Calibration::read`].
pub fn calibration(text: &str) -> Result<Calibration> {
    Calibration::parse(text)
}

/// Reads a checkpoint in one file, and returns its networks.
///
/// # Errors
///
/// Those of [`Checkpoint::folder`](super::Checkpoint::folder).
pub fn single_file(bytes: Vec<u8>) -> Result<Vec<(String, Component)>> {
    let file = SingleFile::read(Path::new("fuzz.safetensors"), Bytes::Owned(bytes.into()))?;
    let networks = file.classes().into_keys().filter_map(|name| Some((name.clone(), file.component(&name)?)));
    Ok(networks.collect())
}

/// Reads an index of shards; `open` returns the bytes of a shard.
///
/// # Errors
///
/// Those of [`Component::folder`].
pub fn sharded(index: &[u8], mut open: impl FnMut(&str) -> Option<Vec<u8>>) -> Result<WeightFiles> {
    WeightFiles::sharded("index", index, |name| {
        let bytes = open(name).ok_or_else(|| Error::new(ErrorKind::NotFound, format!("shard {name:?}: not found")))?;
        Ok((name.to_owned(), Bytes::Owned(bytes.into())))
    })
}

/// Returns the files to download of a repository with `files`.
///
/// # Errors
///
/// Those of a download that is refused before the first request for a file.
#[cfg(feature = "hub")]
pub fn hub_files<'a>(files: &'a [String], id: &super::ModelId) -> Result<Vec<&'a str>> {
    super::hub::files_to_fetch(files, id)
}
