//! Sequential reading of a part of a file, through a window of fixed size.

use sha2::{Digest, Sha256};

use super::error::PickleError;
use crate::load::bytes::Bytes;

/// Bytes in the window; also the longest piece that can be taken at once.
const WINDOW: usize = 1 << 16;

/// A part of a file, read from its start to its end, and its digest.
pub(super) struct Stream<'a> {
    bytes: &'a Bytes,
    /// The offset in the file of the first byte after the window.
    next: u64,
    end: u64,
    window: Vec<u8>,
    /// The position in the window.
    at: usize,
    digest: Sha256,
}

impl<'a> Stream<'a> {
    /// Reads from `start` to `end`, offsets in the file.
    pub(super) fn new(bytes: &'a Bytes, start: u64, end: u64) -> Self {
        Self { bytes, next: start, end, window: Vec::new(), at: 0, digest: Sha256::new() }
    }

    /// Returns the offset in the file of the next byte.
    pub(super) fn position(&self) -> u64 {
        self.next - (self.window.len() - self.at) as u64
    }

    /// Returns the number of bytes to the end.
    pub(super) fn rest(&self) -> u64 {
        self.end.saturating_sub(self.position())
    }

    /// Returns the next `len` bytes, at most the window's size.
    pub(super) fn take(&mut self, len: usize) -> Result<&[u8], PickleError> {
        if self.window.len() - self.at < len {
            self.fill(len)?;
        }
        let taken = self.window.get(self.at..self.at + len).ok_or_else(|| self.cut(len as u64))?;
        self.at += len;
        Ok(taken)
    }

    /// Returns the next `N` bytes.
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], PickleError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    /// Returns the next byte.
    pub(super) fn byte(&mut self) -> Result<u8, PickleError> {
        self.array().map(|[byte]| byte)
    }

    /// Skips `len` bytes.
    pub(super) fn skip(&mut self, mut len: u64) -> Result<(), PickleError> {
        if len > self.rest() {
            return Err(self.cut(len));
        }
        while len > 0 {
            let piece = len.min(WINDOW as u64) as usize;
            self.take(piece)?;
            len -= piece as u64;
        }
        Ok(())
    }

    /// Returns the bytes up to a line feed, which is skipped; at most `limit`.
    pub(super) fn line(&mut self, limit: usize) -> Result<Vec<u8>, PickleError> {
        let mut line = Vec::new();
        loop {
            match self.byte()? {
                b'\n' => return Ok(line),
                _ if line.len() == limit => return Err(PickleError::limit("length of a line", "more", limit)),
                byte => line.push(byte),
            }
        }
    }

    /// Returns the digest of everything that was read.
    pub(super) fn digest(self) -> Sha256 {
        self.digest
    }

    /// Moves the rest of the window to its front, and fills it up; at least `len` bytes.
    fn fill(&mut self, len: usize) -> Result<(), PickleError> {
        if len > WINDOW || len as u64 > self.rest() {
            return Err(self.cut(len as u64));
        }
        self.window.drain(..self.at);
        self.at = 0;
        let kept = self.window.len();
        let more = ((WINDOW - kept) as u64).min(self.end - self.next);
        self.window.resize(kept + more as usize, 0);
        let new = self.window.get_mut(kept..).unwrap_or_default();
        self.bytes.read_at(self.next, new).map_err(PickleError::Read)?;
        self.digest.update(&*new);
        self.next += more;
        Ok(())
    }

    fn cut(&self, len: u64) -> PickleError {
        PickleError::bad(format!(
            "length of the pickle: got {} bytes after {}, expected {len}",
            self.rest(),
            self.position()
        ))
    }
}
