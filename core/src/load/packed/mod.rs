//! Cache of packed weights, which otherwise have to be read, converted and packed at each start.
//!
//! A file is made for one build, one layout of packed forms and one set of weight files. It is used only if all three
//! match, every digest is correct and it is authenticated with this user's secret (`secret.rs`). Otherwise a notice
//! reports it and it is replaced. A file with another secret is not replaced if another location is available. There
//! are no locks: a file is written under a temporary name and then renamed, so that of two concurrent processes each
//! writes a complete file, and the last one is kept.
//!
//! Files are read, not mapped, for the reason given in `load::bytes`.

mod file;
mod format;
mod place;
mod secret;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

pub use self::format::PackedError;
use self::format::{Head, Purpose};
pub use self::place::PackedCache;
use self::secret::Secret;
use super::bytes::Bytes;
use super::component::Component;
use super::header::Fingerprint;
use super::random::RandomWeights;
use crate::net::{PackedLayout, PackedStore, Parallel, Sections};

/// The suffix of temporary files.
const ASIDE: &str = ".tmp";

/// The files of one network, one for each layout.
#[derive(Debug)]
pub(crate) struct PackedFiles {
    /// Their possible folders, in order of preference.
    folders: Vec<PathBuf>,
    /// The prefix of their names: `unet`.
    name: String,
    fingerprint: Fingerprint,
    /// The folder of the secret; `None` if this user has none.
    secret: Option<PathBuf>,
    /// Whether files of any size are stored.
    takes_all: bool,
}

impl PackedFiles {
    /// Returns the files of a component; `None` if it is not on disk, or `cache` is off.
    pub(crate) fn of_component(component: &Component, cache: &PackedCache) -> Option<Self> {
        let (model, name) = component.place.as_ref()?;
        let takes_all = matches!(cache, PackedCache::Folder(_));
        Self::new(cache.folders(model), name, component.weights.fingerprint()?, cache.secret_folder(), takes_all)
    }

    /// Returns the files of random weights for the network `name` of `model`: only in an explicit folder.
    pub(crate) fn of_random(weights: &RandomWeights, model: &str, name: &str, cache: &PackedCache) -> Option<Self> {
        let PackedCache::Folder(folder) = cache else { return None };
        Self::new(vec![folder.join(model)], name, weights.fingerprint(), cache.secret_folder(), true)
    }

    fn new(
        folders: Vec<PathBuf>,
        name: &str,
        fingerprint: Fingerprint,
        secret: Option<PathBuf>,
        takes_all: bool,
    ) -> Option<Self> {
        (!folders.is_empty()).then(|| Self { folders, name: name.to_owned(), fingerprint, secret, takes_all })
    }

    /// Reads the file at `path`, if it is valid.
    fn read(&self, path: &Path, purpose: &Purpose, parallel: Parallel<'_>) -> Result<Sections, PackedError> {
        let secret = self.secret.as_deref().map(Secret::read).transpose()?.flatten();
        let bytes = Bytes::open(path).map_err(|error| io::Error::other(format!("{error:#}")))?;
        file::read(&bytes, &secret.ok_or(PackedError::Untrusted)?, purpose, parallel)
    }

    /// Returns true if another user wrote the file at `path`, as far as that can be determined.
    fn is_foreign(path: &Path, secret: &Secret) -> bool {
        let head = |bytes| Head::read(&bytes, secret);
        Bytes::open(path).is_ok_and(|bytes| matches!(head(bytes), Err(PackedError::Untrusted)))
    }

    fn path(&self, folder: &Path, layout: &PackedLayout) -> PathBuf {
        folder.join(format!("{}.{}.packed", self.name, layout.name))
    }
}

impl PackedStore for PackedFiles {
    fn load(&self, layout: &PackedLayout, parallel: Parallel<'_>) -> (Sections, Vec<String>) {
        let purpose = Purpose::new(layout, self.fingerprint);
        let mut notices = Vec::new();
        for folder in &self.folders {
            let path = self.path(folder, layout);
            if !path.is_file() || file::check_folder(folder).is_err() {
                continue;
            }
            match self.read(&path, &purpose, parallel) {
                // A valid file makes notices of invalid ones elsewhere unnecessary.
                Ok(sections) => {
                    tracing::debug!(path = %path.display(), "read packed weights");
                    return (sections, Vec::new());
                }
                Err(why) => notices.push(format!("{}: {why}; the file is written again", path.display())),
            }
        }
        (Sections::new(), notices)
    }

    fn save(&self, layout: &PackedLayout, sections: &[(&str, Vec<&[u8]>)], least: usize) -> Vec<String> {
        let bytes: usize = sections.iter().flat_map(|(_, memories)| memories).map(|memory| memory.len()).sum();
        if bytes < least && !self.takes_all {
            return Vec::new();
        }
        let purpose = Purpose::new(layout, self.fingerprint);
        let cannot =
            |why: &str| vec![format!("packed weights cannot be stored, and the next start makes them again: {why}")];
        let Some(place) = &self.secret else {
            return cannot("no cache folder: set XDG_CACHE_HOME or HOME");
        };
        let secret = match Secret::read_or_make(place) {
            Ok(secret) => secret,
            Err(error) => return cannot(&format!("{}: {error}", place.display())),
        };
        let mut failures = Vec::new();
        for (i, folder) in self.folders.iter().enumerate() {
            let path = self.path(folder, layout);
            // Several users of one folder would otherwise replace each other's files at every start.
            if i + 1 < self.folders.len() && Self::is_foreign(&path, &secret) {
                failures.push(format!("{}: not written by this user", path.display()));
                continue;
            }
            match fs::create_dir_all(folder).and_then(|()| file::write(&path, &secret, &purpose, sections)) {
                Ok(()) => {
                    tracing::info!(path = %path.display(), "stored packed weights for the next start");
                    return Vec::new();
                }
                Err(error) => failures.push(format!("{}: {error}", path.display())),
            }
        }
        cannot(&failures.join("; "))
    }
}

/// Parses a file of packed weights in memory, for any purpose, with a key of zeros, and returns the bytes of all its
/// sections.
///
/// # Errors
///
/// The reason for not using such a file.
#[doc(hidden)]
pub fn check_bytes(bytes: Vec<u8>) -> Result<usize, PackedError> {
    let bytes = Bytes::Owned(bytes.into());
    let (head, start) = Head::read(&bytes, &Secret::KNOWN)?;
    let read = file::sections(&bytes, &head.sections, start, &|count, piece| (0..count).for_each(piece))?;
    Ok(read.values().flatten().map(|memory| memory.len()).sum())
}

/// Returns a file with `table` in its header and `data` after it, with correct lengths and a key of zeros, so that a
/// fuzzer reaches the parser of the table.
#[doc(hidden)]
pub fn sealed(table: &[u8], data: &[u8]) -> Option<Vec<u8>> {
    let mut file = format::seal(table, data.len() as u64, &Secret::KNOWN)?;
    file.extend(data);
    Some(file)
}

#[cfg(test)]
mod tests;
