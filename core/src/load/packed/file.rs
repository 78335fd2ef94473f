//! Files of packed weights: read on several threads, written under a temporary name and then renamed.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::process;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use sha2::{Digest as _, Sha256};

use super::super::bytes::Bytes;
use super::super::rename::rename;
use super::ASIDE;
use super::format::{Head, Memory, PackedError, Purpose, Section, damaged};
use super::secret::Secret;
use crate::net::{AlignedBytes, Parallel, Sections};

/// Bytes read at a time, and hashed while they are in the cache.
const CHUNK: usize = 1 << 18;
/// The age at which a temporary file is assumed to be abandoned.
const ABANDONED: Duration = Duration::from_secs(3600);

/// Reads all sections of a file made for `purpose` with `secret`, each memory directly into its destination.
pub(super) fn read(
    bytes: &Bytes,
    secret: &Secret,
    purpose: &Purpose,
    parallel: Parallel<'_>,
) -> Result<Sections, PackedError> {
    let (head, start) = Head::read(bytes, secret)?;
    head.purpose.check(purpose)?;
    sections(bytes, &head.sections, start, parallel)
}

/// Reads `sections`, whose memories begin at `start`.
pub(super) fn sections(
    bytes: &Bytes,
    sections: &[Section],
    start: u64,
    parallel: Parallel<'_>,
) -> Result<Sections, PackedError> {
    let mut offset = start;
    let mut places = Vec::new();
    for section in sections {
        for &memory in &section.memories {
            places.push((offset, memory, section.key.as_str()));
            offset += memory.len;
        }
    }
    // The largest first, to balance the threads.
    let mut order: Vec<usize> = (0..places.len()).collect();
    order.sort_by_key(|&i| std::cmp::Reverse(places[i].1.len));
    let memories: Vec<OnceLock<AlignedBytes>> = places.iter().map(|_| OnceLock::new()).collect();
    let failed = AtomicBool::new(false);
    let failure = Mutex::new(None);
    parallel(places.len(), &|i| {
        if failed.load(Ordering::Relaxed) {
            return;
        }
        let (offset, memory, key) = places[order[i]];
        match read_memory(bytes, offset, memory, key) {
            Ok(read) => {
                memories[order[i]].set(read).ok();
            }
            Err(error) => {
                failed.store(true, Ordering::Relaxed);
                *failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            }
        }
    });
    if let Some(error) = failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(error);
    }
    let mut memories = memories.into_iter().map(OnceLock::into_inner);
    let mut read = Sections::new();
    for section in sections {
        let parts: Option<Vec<_>> = section.memories.iter().map(|_| memories.next().flatten()).collect();
        let parts = parts.ok_or_else(|| damaged(format!("{:?} was not read", section.key)))?;
        read.insert(section.key.clone(), parts);
    }
    Ok(read)
}

fn read_memory(bytes: &Bytes, offset: u64, memory: Memory, key: &str) -> Result<AlignedBytes, PackedError> {
    let no_room = || PackedError::NoRoom(memory.len);
    let len = usize::try_from(memory.len).map_err(|_| no_room())?;
    let mut read = AlignedBytes::with_capacity(len).ok_or_else(no_room)?;
    let mut digest = Sha256::new();
    for done in (0..len).step_by(CHUNK) {
        let chunk = read.extend(CHUNK.min(len - done));
        bytes.read_at(offset + done as u64, chunk)?;
        digest.update(chunk);
    }
    let whole = digest.finalize().as_slice() == memory.digest;
    if whole { Ok(read) } else { Err(damaged(format!("the digest of {key:?}"))) }
}

/// Writes `sections` to `path` atomically: on an error, the old file stays.
///
/// # Errors
///
/// Errors of the file system; `InvalidInput` for names beyond the limits of the format; those of [`replace`].
pub(super) fn write(
    path: &Path,
    secret: &Secret,
    purpose: &Purpose,
    sections: &[(&str, Vec<&[u8]>)],
) -> io::Result<()> {
    let memory = |bytes: &&[u8]| Memory { len: bytes.len() as u64, digest: Sha256::digest(bytes).into() };
    let section = |(key, memories): &(&str, Vec<&[u8]>)| Section {
        key: (*key).to_owned(),
        memories: memories.iter().map(memory).collect(),
    };
    let head = Head { purpose: purpose.clone(), sections: sections.iter().map(section).collect() };
    let head = head.encode(secret).ok_or(io::ErrorKind::InvalidInput)?;
    replace(path, &|file| {
        file.write_all(&head)?;
        sections.iter().flat_map(|(_, memories)| memories).try_for_each(|memory| file.write_all(memory))
    })
}

/// Writes the output of `fill` to `path`: first to a temporary file, which is removed on an error.
///
/// # Errors
///
/// Errors of the file system and of `fill`; `PermissionDenied` for a folder that is a symbolic link, or another user's.
fn replace(path: &Path, fill: &dyn Fn(&mut File) -> io::Result<()>) -> io::Result<()> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    check_folder(folder)?;
    // Processes in two containers may have the same id, and share the folder.
    let moment = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos();
    let own = format!("{}-{moment}-{}", process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let aside = folder.join(format!("{}.{own}{ASIDE}", name.to_string_lossy()));
    let mut file = File::create_new(&aside)?;
    let done = check_owner(folder, &file).and_then(|()| {
        sweep(folder);
        fill(&mut file)?;
        file.sync_all()
    });
    drop(file);
    if let Err(error) = done.and_then(|()| rename(&aside, path)) {
        fs::remove_file(&aside).ok();
        return Err(error);
    }
    // So that the rename survives a loss of power; if folders cannot be opened, that depends on the system.
    File::open(folder).and_then(|folder| folder.sync_all()).ok();
    Ok(())
}

/// Rejects a folder that is a symbolic link, whose target does not belong to this cache.
pub(super) fn check_folder(folder: &Path) -> io::Result<()> {
    if fs::symlink_metadata(folder)?.is_dir() { Ok(()) } else { Err(denied("is a symbolic link or not a folder")) }
}

/// Rejects a folder that belongs to another user than `file`, which this process has just created in it: its owner
/// could replace the file.
#[cfg(unix)]
fn check_owner(folder: &Path, file: &File) -> io::Result<()> {
    use std::os::unix::fs::MetadataExt as _;
    let (owner, own) = (fs::symlink_metadata(folder)?.uid(), file.metadata()?.uid());
    if owner == own { Ok(()) } else { Err(denied(&format!("belongs to user {owner}, expected user {own}"))) }
}

#[cfg(not(unix))]
#[allow(clippy::unnecessary_wraps, reason = "it fails on Unix")]
fn check_owner(_: &Path, _: &File) -> io::Result<()> {
    Ok(())
}

fn denied(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, format!("the folder {why}"))
}

/// Removes abandoned temporary files.
fn sweep(folder: &Path) {
    for file in fs::read_dir(folder).into_iter().flatten().flatten() {
        let abandoned = || file.metadata().ok()?.modified().ok()?.elapsed().ok().map(|age| age > ABANDONED);
        if file.file_name().to_string_lossy().ends_with(ASIDE) && abandoned().unwrap_or(false) {
            fs::remove_file(file.path()).ok();
        }
    }
}

#[cfg(test)]
mod tests;
