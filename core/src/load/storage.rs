//! The storage of the files of a checkpoint or network: a folder, or the binary.

use std::io::Read;
use std::path::{Path, PathBuf};
#[cfg(feature = "demo-model")]
use std::sync::Arc;

use super::bytes::Bytes;
#[cfg(feature = "demo-model")]
use super::embedded;
use crate::error::{Error, ErrorKind, Result};

/// A read-only tree of files. Paths are relative and written with `/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Storage {
    Folder(PathBuf),
    /// A folder of the built-in files.
    #[cfg(feature = "demo-model")]
    BuiltIn(&'static str),
}

impl Storage {
    /// Returns the path of a file for messages.
    pub(crate) fn describe(&self, path: &str) -> String {
        match self {
            Self::Folder(folder) => folder.join(path).display().to_string(),
            #[cfg(feature = "demo-model")]
            Self::BuiltIn(folder) => format!("built-in {}", join(folder, path)),
        }
    }

    /// Returns the folder on disk, if it is one.
    pub(crate) fn folder(&self) -> Option<&Path> {
        match self {
            Self::Folder(folder) => Some(folder),
            #[cfg(feature = "demo-model")]
            Self::BuiltIn(_) => None,
        }
    }

    /// Returns the folder `name` in it.
    ///
    /// # Errors
    ///
    /// `NotFound` if no file of such a folder is built in.
    pub(super) fn inside(&self, name: &str) -> Result<Self> {
        match self {
            Self::Folder(folder) => Ok(Self::Folder(folder.join(name))),
            #[cfg(feature = "demo-model")]
            Self::BuiltIn(folder) => {
                let path = join(folder, name);
                let missing = || Error::new(ErrorKind::NotFound, format!("{path} is not built in"));
                embedded::folder(&path).map(Self::BuiltIn).ok_or_else(missing)
            }
        }
    }

    /// Returns true if there is a file at `path`.
    pub(super) fn has_file(&self, path: &str) -> bool {
        match self {
            Self::Folder(folder) => folder.join(path).is_file(),
            #[cfg(feature = "demo-model")]
            Self::BuiltIn(folder) => embedded::has(&join(folder, path)),
        }
    }

    /// Opens a file for random access.
    pub(super) fn open(&self, path: &str) -> Result<Bytes> {
        match self {
            Self::Folder(folder) => Bytes::open(&folder.join(path)),
            #[cfg(feature = "demo-model")]
            Self::BuiltIn(folder) => built_in(folder, path).map(Bytes::Owned),
        }
    }

    /// Reads a whole text of at most `limit` bytes.
    pub(super) fn read_text(&self, path: &str, limit: u64) -> Result<String> {
        let name = self.describe(path);
        let bytes = match self {
            Self::Folder(folder) => read_file(&folder.join(path), limit)?,
            #[cfg(feature = "demo-model")]
            Self::BuiltIn(folder) => built_in(folder, path)?.to_vec(),
        };
        String::from_utf8(bytes)
            .map_err(|error| Error::new(ErrorKind::BadModel, format!("{name}: not UTF-8 text")).with_source(error))
    }

    /// Returns the names of the files in a folder, sorted; none if there is no such folder, or if it is built in.
    pub(super) fn list(&self, path: &str) -> Vec<String> {
        let mut names: Vec<String> = match self {
            Self::Folder(folder) => {
                let entries = std::fs::read_dir(folder.join(path)).into_iter().flatten().flatten();
                entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
            }
            #[cfg(feature = "demo-model")]
            Self::BuiltIn(_) => Vec::new(),
        };
        names.sort_unstable();
        names
    }
}

#[cfg(feature = "demo-model")]
fn built_in(folder: &str, path: &str) -> Result<Arc<Vec<u8>>> {
    let path = join(folder, path);
    let missing = || Error::new(ErrorKind::NotFound, format!("{path} is not built in"));
    embedded::read(&path)?.ok_or_else(missing)
}

#[cfg(feature = "demo-model")]
fn join(folder: &str, path: &str) -> String {
    if path.is_empty() { folder.to_owned() } else { format!("{folder}/{path}") }
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
