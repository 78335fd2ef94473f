//! The storage of a checkpoint's files: a folder, or the binary.

use std::io::Read;
use std::path::{Path, PathBuf};
#[cfg(feature = "demo-model")]
use std::sync::Arc;

use super::bytes::Bytes;
#[cfg(feature = "demo-model")]
use super::embedded;
use crate::error::{Error, ErrorKind, Result};

/// A read-only tree of files. Paths are relative and written with `/`.
#[derive(Debug, Clone)]
pub(super) enum Storage {
    Folder(PathBuf),
    #[cfg(feature = "demo-model")]
    Demo,
}

impl Storage {
    /// Returns the path of a file for messages.
    pub(super) fn describe(&self, path: &str) -> String {
        match self {
            Self::Folder(folder) => folder.join(path).display().to_string(),
            #[cfg(feature = "demo-model")]
            Self::Demo => format!("demo:{path}"),
        }
    }

    /// Returns the folder on disk, if it is one.
    pub(super) fn folder(&self) -> Option<&Path> {
        match self {
            Self::Folder(folder) => Some(folder),
            #[cfg(feature = "demo-model")]
            Self::Demo => None,
        }
    }

    /// Returns true if there is a file at `path`.
    pub(super) fn has_file(&self, path: &str) -> bool {
        match self {
            Self::Folder(folder) => folder.join(path).is_file(),
            #[cfg(feature = "demo-model")]
            Self::Demo => embedded::has(&demo(path)),
        }
    }

    /// Opens a file for random access.
    pub(super) fn open(&self, path: &str) -> Result<Bytes> {
        match self {
            Self::Folder(folder) => Bytes::open(&folder.join(path)),
            #[cfg(feature = "demo-model")]
            Self::Demo => demo_file(path).map(Bytes::Owned),
        }
    }

    /// Reads a whole text of at most `limit` bytes.
    pub(super) fn read_text(&self, path: &str, limit: u64) -> Result<String> {
        let name = self.describe(path);
        let bytes = match self {
            Self::Folder(folder) => read_file(&folder.join(path), limit)?,
            #[cfg(feature = "demo-model")]
            Self::Demo => demo_file(path)?.to_vec(),
        };
        String::from_utf8(bytes)
            .map_err(|error| Error::new(ErrorKind::BadModel, format!("{name}: not UTF-8 text")).with_source(error))
    }

    /// Returns the names of the files in a folder, sorted; none if there is no such folder.
    pub(super) fn list(&self, path: &str) -> Vec<String> {
        let mut names: Vec<String> = match self {
            Self::Folder(folder) => {
                let entries = std::fs::read_dir(folder.join(path)).into_iter().flatten().flatten();
                entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
            }
            #[cfg(feature = "demo-model")]
            Self::Demo => Vec::new(),
        };
        names.sort_unstable();
        names
    }
}

#[cfg(feature = "demo-model")]
fn demo_file(path: &str) -> Result<Arc<Vec<u8>>> {
    let missing = || Error::new(ErrorKind::NotFound, format!("the demo model has no file {path}"));
    embedded::read(&demo(path)).ok_or_else(missing)
}

/// Returns the path of a file of the demo model among the embedded ones.
#[cfg(feature = "demo-model")]
fn demo(path: &str) -> String {
    format!("dreamframe-tiny/{path}")
}

/// Reads a file of at most `limit` bytes; a file that grows meanwhile is also rejected.
fn read_file(path: &Path, limit: u64) -> Result<Vec<u8>> {
    let file = std::fs::File::open(path).map_err(|error| Error::io(path, "open", error))?;
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).map_err(|error| Error::io(path, "read", error))?;
    if bytes.len() as u64 > limit {
        let what = format!("{}: got more than {limit} bytes, expected at most {limit}", path.display());
        return Err(Error::new(ErrorKind::BadModel, what));
    }
    Ok(bytes)
}
