//! One file: what the hub announces of it, and its way onto the disk.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use ureq::http::{HeaderMap, StatusCode, header};

use super::http::{Client, Failure};
use crate::error::{Error, ErrorKind, Result};

/// Bytes read at a time.
const CHUNK: usize = 1 << 16;

/// A file as the hub announces it.
#[derive(Debug)]
pub(super) struct Blob {
    url: String,
    /// Its name in the cache: the SHA-256 of a large file, git's object id of a small one.
    etag: String,
    /// Its length in bytes.
    pub(super) size: u64,
}

impl Blob {
    /// Asks the hub for name and size of the file at `url`.
    pub(super) fn announced(client: &Client, url: String) -> Result<Self> {
        let response = client.again(|| client.head(&url))?;
        let headers = response.headers();
        let etag = text(headers, "x-linked-etag").or_else(|| text(headers, header::ETAG.as_str()));
        let etag = etag.map(|etag| etag.trim_start_matches("W/").trim_matches('"').to_owned());
        let size = text(headers, "x-linked-size").or_else(|| {
            let is_body = response.status().is_success();
            text(headers, header::CONTENT_LENGTH.as_str()).filter(|_| is_body)
        });
        match (etag, size.and_then(|size| size.parse().ok())) {
            (Some(etag), Some(size)) if is_plain(&etag) => Ok(Self { url, etag, size }),
            (etag, _) => {
                let what = format!("{url} does not tell its size and its ETag as the hub does (ETag {etag:?})");
                Err(Error::new(ErrorKind::Io, what))
            }
        }
    }

    /// Whether the name is a SHA-256, so that the content can be checked against it.
    fn sha256(&self) -> Option<&str> {
        let hex = self.etag.bytes().all(|byte| byte.is_ascii_hexdigit());
        (self.etag.len() == 64 && hex).then_some(&self.etag)
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// Whether an ETag can be the name of a file.
fn is_plain(etag: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=128).contains(&etag.len()) && etag.bytes().all(plain)
}

/// Brings the blob into `folder`, unless it is there; `report` is told how many of its bytes are.
pub(super) fn store(client: &Client, blob: &Blob, folder: &Path, report: &mut dyn FnMut(u64)) -> Result<PathBuf> {
    let path = folder.join(&blob.etag);
    let is_there = || fs::metadata(&path).is_ok_and(|meta| meta.len() == blob.size);
    if is_there() {
        report(blob.size);
        return Ok(path);
    }
    fs::create_dir_all(folder).map_err(|error| Error::io(folder, "create", error))?;
    let half = folder.join(format!("{}.incomplete", blob.etag));
    let mut file = open_locked(&half)?;
    if is_there() {
        // Another process finished it between the look and the lock.
        let _ = fs::remove_file(&half);
        report(blob.size);
        return Ok(path);
    }
    client.again(|| {
        fetch_rest(client, blob, &mut file, &half, report)?;
        verify(blob, &mut file, &half)
    })?;
    file.sync_all().map_err(|error| Error::io(&half, "write", error))?;
    fs::rename(&half, &path).map_err(|error| Error::io(&path, "write", error))?;
    Ok(path)
}

/// Opens what is there of a file, for this process alone.
fn open_locked(half: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    let file = options.open(half).map_err(|error| Error::io(half, "open", error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            Err(Error::new(ErrorKind::Io, format!("{} is being fetched by another process", half.display())))
        }
        Err(TryLockError::Error(error)) if error.kind() == std::io::ErrorKind::Unsupported => Ok(file),
        Err(TryLockError::Error(error)) => Err(Error::io(half, "lock", error)),
    }
}

/// Fetches what is missing of the file, or all of it where the server does not take up in the middle.
fn fetch_rest(
    client: &Client,
    blob: &Blob,
    file: &mut File,
    half: &Path,
    report: &mut dyn FnMut(u64),
) -> Result<(), Failure> {
    let on_disk = |error| Failure::Final(Error::io(half, "write", error));
    let mut have = file.seek(SeekFrom::End(0)).map_err(on_disk)?;
    if have == blob.size {
        return Ok(());
    }
    if have > blob.size {
        have = restart(file).map_err(on_disk)?;
    }
    let response = client.get(&blob.url, have)?;
    let continues = response.status() == StatusCode::PARTIAL_CONTENT
        && text(response.headers(), header::CONTENT_RANGE.as_str())
            .is_some_and(|range| range.starts_with(&format!("bytes {have}-")));
    if !continues {
        if response.status() == StatusCode::PARTIAL_CONTENT {
            restart(file).map_err(on_disk)?;
            let what = format!("{} sends another part than the one from byte {have} on", blob.url);
            return Err(Failure::Passing(Error::new(ErrorKind::Io, what)));
        }
        have = restart(file).map_err(on_disk)?;
    }
    let cut = |error| {
        let what = format!("{} was cut short", blob.url);
        Failure::Passing(Error::new(ErrorKind::Io, what).with_source(error))
    };
    let mut body = response.into_body().into_reader().take(blob.size - have + 1);
    let mut buffer = vec![0; CHUNK];
    loop {
        let read = body.read(&mut buffer).map_err(|error: std::io::Error| cut(error))?;
        if read == 0 {
            break;
        }
        file.write_all(&buffer[..read]).map_err(on_disk)?;
        have += read as u64;
        report(have.min(blob.size));
    }
    if have < blob.size {
        return Err(cut(std::io::ErrorKind::UnexpectedEof.into()));
    }
    Ok(())
}

fn restart(file: &mut File) -> std::io::Result<u64> {
    file.set_len(0)?;
    file.seek(SeekFrom::Start(0))
}

/// Checks length and, where the hub names it, SHA-256; what does not fit is thrown away.
fn verify(blob: &Blob, file: &mut File, half: &Path) -> Result<(), Failure> {
    let on_disk = |error| Failure::Final(Error::io(half, "read", error));
    let have = file.seek(SeekFrom::End(0)).map_err(on_disk)?;
    let problem = if have != blob.size {
        Some(format!("has more than the {} bytes that the hub announces", blob.size))
    } else if let Some(expected) = blob.sha256() {
        let found = sha256(file).map_err(on_disk)?;
        (!found.eq_ignore_ascii_case(expected)).then(|| format!("has SHA-256 {found}, but must have {expected}"))
    } else {
        None
    };
    let Some(problem) = problem else { return Ok(()) };
    restart(file).map_err(on_disk)?;
    Err(Failure::Passing(Error::new(ErrorKind::BadModel, format!("{} {problem}", blob.url))))
}

fn sha256(file: &mut File) -> std::io::Result<String> {
    file.seek(SeekFrom::Start(0))?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; CHUNK];
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        hash.update(&buffer[..read]);
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}
