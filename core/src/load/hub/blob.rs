//! A file of the hub: its announced length and digest, and its download.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use sha1::Sha1;
use sha2::Sha256;
use ureq::http::{HeaderMap, StatusCode, header};

use super::http::{Client, Failure};
use crate::error::{Error, ErrorKind, Result};
use crate::load::rename::rename;

/// Bytes read at a time.
const CHUNK: usize = 1 << 16;

/// A file as announced by the hub.
#[derive(Debug)]
pub(super) struct Blob {
    url: String,
    digest: ContentDigest,
    /// Its length in bytes.
    pub(super) size: u64,
}

impl Blob {
    /// Requests name and size of the file at `url`.
    pub(super) fn announced(client: &Client, url: String) -> Result<Self> {
        let response = client.again(|| client.head(&url))?;
        let headers = response.headers();
        let etag = text(headers, "x-linked-etag").or_else(|| text(headers, header::ETAG.as_str()));
        let etag = etag.map(|etag| etag.trim_start_matches("W/").trim_matches('"').to_owned());
        let size = text(headers, "x-linked-size").or_else(|| {
            let is_body = response.status().is_success();
            text(headers, header::CONTENT_LENGTH.as_str()).filter(|_| is_body)
        });
        let digest = etag.as_deref().and_then(ContentDigest::parse);
        match (digest, size.and_then(|size| size.parse().ok())) {
            (Some(digest), Some(size)) => Ok(Self { url, digest, size }),
            _ => {
                let what = format!(
                    "{url}: got no size or the ETag {etag:?}, expected a size and an ETag of 40 or 64 \
                     hexadecimal digits"
                );
                Err(Error::new(ErrorKind::Io, what))
            }
        }
    }
}

impl Blob {
    /// Returns true if the file at `path` has the blob's content. Reads the whole file if it has the blob's length.
    pub(super) fn is_at(&self, path: &Path) -> bool {
        let is_regular = fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.len() == self.size);
        is_regular
            && File::open(path)
                .and_then(|mut file| self.digest.mismatch(&mut file, self.size))
                .is_ok_and(|mismatch| mismatch.is_none())
    }
}

/// The digest of a file's content. The hub sends it as the ETag, and it is the file's name in the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
enum ContentDigest {
    /// For a large file, the SHA-256 of its content: 64 hexadecimal digits.
    Sha256(String),
    /// For a small file, git's object id: the SHA-1 of `blob LENGTH`, a zero byte, and the content. 40 hexadecimal
    /// digits.
    GitObject(String),
}

impl ContentDigest {
    /// `None` for an ETag of another form: the content could not be checked, and it could be a path.
    fn parse(etag: &str) -> Option<Self> {
        let hex = etag.bytes().all(|byte| byte.is_ascii_hexdigit());
        match etag.len() {
            64 if hex => Some(Self::Sha256(etag.to_ascii_lowercase())),
            40 if hex => Some(Self::GitObject(etag.to_ascii_lowercase())),
            _ => None,
        }
    }

    /// Returns the file's name in the cache.
    fn name(&self) -> &str {
        match self {
            Self::Sha256(hex) | Self::GitObject(hex) => hex,
        }
    }

    /// Returns the error text if `file`, which has `len` bytes, has another content.
    fn mismatch(&self, file: &mut File, len: u64) -> std::io::Result<Option<String>> {
        let (kind, found) = match self {
            Self::Sha256(_) => ("SHA-256", hex_digest(Sha256::default(), file)?),
            Self::GitObject(_) => {
                let mut hash = Sha1::default();
                sha1::Digest::update(&mut hash, format!("blob {len}\0"));
                ("git object id", hex_digest(hash, file)?)
            }
        };
        Ok((found != self.name()).then(|| format!("{kind}: got {found}, expected {}", self.name())))
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// Downloads the blob into `folder`, unless it exists; `report` is called with the number of bytes so far, and can end the
/// download, which a later call continues. An existing file is used only if its content matches the digest, since the
/// cache is shared with other programs.
pub(super) fn store(
    client: &Client,
    blob: &Blob,
    folder: &Path,
    report: &mut dyn FnMut(u64) -> ControlFlow<()>,
) -> Result<PathBuf> {
    let path = folder.join(blob.digest.name());
    if blob.is_at(&path) {
        return reported(report(blob.size)).map(|()| path);
    }
    fs::create_dir_all(folder).map_err(|error| Error::io(folder, "create", error))?;
    let half = folder.join(format!("{}.incomplete", blob.digest.name()));
    let mut file = open_locked(&half)?;
    if blob.is_at(&path) {
        // Another process finished it between the check and the lock.
        let _ = fs::remove_file(&half);
        return reported(report(blob.size)).map(|()| path);
    }
    client.again(|| {
        fetch_rest(client, blob, &mut file, &half, report)?;
        verify(blob, &mut file, &half)
    })?;
    file.sync_all().map_err(|error| Error::io(&half, "write", error))?;
    rename(&half, &path).map_err(|error| Error::io(&path, "write", error))?;
    Ok(path)
}

/// Returns the error for a download that the caller ended.
fn reported(flow: ControlFlow<()>) -> Result<()> {
    match flow {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(Error::new(ErrorKind::Cancelled, "the download was cancelled")),
    }
}

/// Opens a partial file with an exclusive lock.
fn open_locked(half: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    let file = options.open(half).map_err(|error| Error::io(half, "open", error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            Err(Error::new(ErrorKind::Io, format!("{}: another process is fetching this file", half.display())))
        }
        Err(TryLockError::Error(error)) if error.kind() == std::io::ErrorKind::Unsupported => Ok(file),
        Err(TryLockError::Error(error)) => Err(Error::io(half, "lock", error)),
    }
}

/// Fetches the rest of the file, or all of it if the server does not support ranges.
fn fetch_rest(
    client: &Client,
    blob: &Blob,
    file: &mut File,
    half: &Path,
    report: &mut dyn FnMut(u64) -> ControlFlow<()>,
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
            let what = format!("{}: got another range of bytes, expected the one that starts at byte {have}", blob.url);
            return Err(Failure::Passing(Error::new(ErrorKind::Io, what)));
        }
        have = restart(file).map_err(on_disk)?;
    }
    let cut = |error| {
        let what = format!("{}: the download ended early", blob.url);
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
        reported(report(have.min(blob.size))).map_err(Failure::Final)?;
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

/// Checks length and digest; removes an invalid file.
fn verify(blob: &Blob, file: &mut File, half: &Path) -> Result<(), Failure> {
    let on_disk = |error| Failure::Final(Error::io(half, "read", error));
    let have = file.seek(SeekFrom::End(0)).map_err(on_disk)?;
    let problem = if have == blob.size {
        blob.digest.mismatch(file, have).map_err(on_disk)?
    } else {
        Some(format!("got more than {0} bytes, expected {0} as announced by the hub", blob.size))
    };
    let Some(problem) = problem else { return Ok(()) };
    restart(file).map_err(on_disk)?;
    Err(Failure::Passing(Error::new(ErrorKind::BadModel, format!("{}: {problem}", blob.url))))
}

/// Returns the digest of the data hashed so far followed by the whole of `file`, in hexadecimal digits.
fn hex_digest(mut hash: impl Hash, file: &mut File) -> std::io::Result<String> {
    file.seek(SeekFrom::Start(0))?;
    let mut buffer = vec![0; CHUNK];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => hash.add(&buffer[..read]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(hash.end().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Common interface of both digests, whose crates have no trait in common.
trait Hash {
    fn add(&mut self, bytes: &[u8]);
    fn end(self) -> Vec<u8>;
}

impl Hash for Sha256 {
    fn add(&mut self, bytes: &[u8]) {
        sha2::Digest::update(self, bytes);
    }

    fn end(self) -> Vec<u8> {
        sha2::Digest::finalize(self).to_vec()
    }
}

impl Hash for Sha1 {
    fn add(&mut self, bytes: &[u8]) {
        sha1::Digest::update(self, bytes);
    }

    fn end(self) -> Vec<u8> {
        sha1::Digest::finalize(self).to_vec()
    }
}
