//! Sources of bytes: a file, memory, or the binary.
//!
//! Files are read in place, not mapped. Every value is converted to `f32` as it is read, so a mapping would save no copy,
//! and a file that shrinks while it is mapped kills the process; here it is an error like any other.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use crate::error::{Error, Result};

/// Bytes with random access.
#[derive(Debug)]
pub(crate) enum Bytes {
    /// In memory.
    Owned(Arc<Vec<u8>>),
    /// On disk, with the length it had when it was opened.
    File(File, u64),
}

impl Bytes {
    /// Opens a file.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let is_folder = || Error::io(path, "read", io::Error::from(io::ErrorKind::IsADirectory));
        // Windows refuses to open a folder, for another reason.
        let failed = |error| if path.is_dir() { is_folder() } else { Error::io(path, "open", error) };
        let file = File::open(path).map_err(failed)?;
        let meta = file.metadata().map_err(|error| Error::io(path, "read the metadata of", error))?;
        if meta.is_dir() { Err(is_folder()) } else { Ok(Self::File(file, meta.len())) }
    }

    /// Returns the length in bytes.
    pub(crate) fn len(&self) -> u64 {
        match self {
            Self::Owned(bytes) => bytes.len() as u64,
            Self::File(_, len) => *len,
        }
    }

    /// Returns the current length and modification time of a file; `None` if unknown, or if the bytes are not a file.
    pub(crate) fn stamp(&self) -> Option<(u64, SystemTime)> {
        match self {
            Self::Owned(_) => None,
            Self::File(file, _) => {
                let meta = file.metadata().ok()?;
                Some((meta.len(), meta.modified().ok()?))
            }
        }
    }

    /// Fills `buffer` from `offset` on; thread-safe.
    pub(crate) fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let from_slice = |bytes: &[u8], buffer: &mut [u8]| {
            let start = usize::try_from(offset).ok();
            let part = start.and_then(|start| bytes.get(start..)?.get(..buffer.len()));
            buffer.copy_from_slice(part.ok_or(io::ErrorKind::UnexpectedEof)?);
            Ok(())
        };
        match self {
            Self::Owned(bytes) => from_slice(bytes, buffer),
            Self::File(file, _) => read_file_at(file, offset, buffer),
        }
    }
}

#[cfg(unix)]
fn read_file_at(file: &File, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, buffer, offset)
}

#[cfg(windows)]
fn read_file_at(file: &File, mut offset: u64, mut buffer: &mut [u8]) -> io::Result<()> {
    while !buffer.is_empty() {
        let read = std::os::windows::fs::FileExt::seek_read(file, buffer, offset)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        buffer = &mut buffer[read..];
        offset += read as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_shrank_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, [7; 64]).unwrap();
        let bytes = Bytes::open(&path).unwrap();
        std::fs::write(&path, [7; 8]).unwrap();
        let mut buffer = [0; 16];
        assert_eq!(bytes.read_at(0, &mut buffer).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn a_folder_is_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let error = Bytes::open(folder.path()).unwrap_err();
        let kind = std::error::Error::source(&error).and_then(|source| source.downcast_ref()).map(io::Error::kind);
        assert_eq!(kind, Some(io::ErrorKind::IsADirectory), "{error:#}");
    }

    #[test]
    fn reading_past_the_end_of_memory_is_an_error() {
        let bytes = Bytes::Owned(vec![1, 2, 3].into());
        let mut buffer = [0; 2];
        bytes.read_at(1, &mut buffer).unwrap();
        assert_eq!(buffer, [2, 3]);
        assert!(bytes.read_at(2, &mut buffer).is_err() && bytes.read_at(u64::MAX, &mut buffer).is_err());
    }
}
