//! Cache of packed weights, which a start would otherwise read, convert and pack again.
//!
//! A file is made for one build, one layout of packed forms and one set of weight files, and is used only where all
//! three are the same, every digest is right and the whole is keyed with this user's secret (`secret.rs`); otherwise a
//! notice reports it and it is written again. A file with another secret stays where it is as long as there is another place. Nothing is locked: a file is
//! written under a temporary name and then renamed, so that of two processes at once each writes a complete file, and the
//! last one is kept.
//!
//! Files are read, not mapped, for the reason given at `load::bytes`.

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

/// The end of the name of a file that is being written.
const ASIDE: &str = ".tmp";
/// Packed forms of fewer bytes in all are made again sooner than a file is looked after.
const WORTH_A_FILE: usize = 32 << 20;

/// The files of one network, one for each layout.
#[derive(Debug)]
pub(crate) struct PackedFiles {
    /// Where they may lie, the best place first.
    folders: Vec<PathBuf>,
    /// What their names begin with: `unet`.
    name: String,
    fingerprint: Fingerprint,
    /// The folder of the secret; none where this user has no folder of their own.
    secret: Option<PathBuf>,
    /// Fewer bytes are not kept.
    least: usize,
}

impl PackedFiles {
    /// Returns the files of a component; none where it does not lie on disk, or `cache` is off.
    pub(crate) fn of_component(component: &Component, cache: &PackedCache) -> Option<Self> {
        let (model, name) = component.place.as_ref()?;
        let least = if matches!(cache, PackedCache::Folder(_)) { 0 } else { WORTH_A_FILE };
        Self::new(cache.folders(model), name, component.weights.fingerprint()?, cache.secret_folder(), least)
    }

    /// Returns the files of random weights for the network `name` of `model`: only in a folder that is named.
    pub(crate) fn of_random(weights: &RandomWeights, model: &str, name: &str, cache: &PackedCache) -> Option<Self> {
        let PackedCache::Folder(folder) = cache else { return None };
        Self::new(vec![folder.join(model)], name, weights.fingerprint(), cache.secret_folder(), 0)
    }

    fn new(
        folders: Vec<PathBuf>,
        name: &str,
        fingerprint: Fingerprint,
        secret: Option<PathBuf>,
        least: usize,
    ) -> Option<Self> {
        (!folders.is_empty()).then(|| Self { folders, name: name.to_owned(), fingerprint, secret, least })
    }

    /// Reads the file at `path`, if it can be believed.
    fn read(&self, path: &Path, purpose: &Purpose, parallel: Parallel<'_>) -> Result<Sections, PackedError> {
        let secret = self.secret.as_deref().map(Secret::read).transpose()?.flatten();
        let bytes = Bytes::open(path).map_err(|error| io::Error::other(format!("{error:#}")))?;
        file::read(&bytes, &secret.ok_or(PackedError::Untrusted)?, purpose, parallel)
    }

    /// Returns true if the file at `path` is one that another user wrote, as far as that can be determined.
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
                // A good file makes up for a bad one elsewhere.
                Ok(sections) => {
                    tracing::debug!(path = %path.display(), "read packed weights");
                    return (sections, Vec::new());
                }
                Err(why) => notices.push(format!("{}: {why}; the weights are packed again", path.display())),
            }
        }
        (Sections::new(), notices)
    }

    fn save(&self, layout: &PackedLayout, sections: &[(&str, Vec<&[u8]>)]) -> Vec<String> {
        let bytes: usize = sections.iter().flat_map(|(_, memories)| memories).map(|memory| memory.len()).sum();
        if bytes < self.least {
            return Vec::new();
        }
        let purpose = Purpose::new(layout, self.fingerprint);
        let cannot =
            |why: &str| vec![format!("packed weights cannot be stored, and the next start packs them again: {why}")];
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
            // Several users of one folder would otherwise write over each other's files at every start.
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

/// Reads a file of packed weights out of memory, whatever it was made for, keyed with zeros, and gives the bytes of all its sections.
///
/// # Errors
///
/// Why no such file is used.
#[doc(hidden)]
pub fn check_bytes(bytes: Vec<u8>) -> Result<usize, PackedError> {
    let bytes = Bytes::Owned(bytes.into());
    let (head, start) = Head::read(&bytes, &Secret::KNOWN)?;
    let read = file::sections(&bytes, &head.sections, start, &|count, piece| (0..count).for_each(piece))?;
    Ok(read.values().flatten().map(|memory| memory.len()).sum())
}

/// Returns a file with `table` in its head and `data` after it, sealed with the right lengths and a key of zeros, so
/// that a fuzzer comes to what lies behind them.
#[doc(hidden)]
pub fn sealed(table: &[u8], data: &[u8]) -> Option<Vec<u8>> {
    let mut file = format::seal(table, data.len() as u64, &Secret::KNOWN)?;
    file.extend(data);
    Some(file)
}

#[cfg(test)]
mod tests;
