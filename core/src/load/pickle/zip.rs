//! The central directory of a zip archive without compression, as torch writes it: the places of its entries.

use std::collections::HashMap;

use flate2::Crc;
use sha2::{Digest, Sha256};

use super::error::PickleError;
use crate::load::bytes::Bytes;
use crate::load::header::MAX_TENSORS;

/// Most entries: one for each storage, and some others.
const MAX_ENTRIES: u64 = MAX_TENSORS as u64 + 1024;
/// Longest central directory, in bytes.
const MAX_DIRECTORY: u64 = 32 << 20;
/// Longest name of an entry, in bytes.
const MAX_NAME: usize = 512;
/// Bytes of the fixed part of the record at the end, of the locator of the 64-bit record and of that record.
const END: u64 = 22;
const LOCATOR: u64 = 20;
const END64: u64 = 56;
/// Bytes of the fixed part of an entry in the directory, and before its data.
const ENTRY: usize = 46;
const LOCAL: u64 = 30;
/// In fields of 16 and 32 bits: the value is in a field of 64 bits.
const WIDE16: u64 = 0xffff;
const WIDE32: u64 = 0xffff_ffff;
/// The flag of encrypted entries.
const ENCRYPTED: u64 = 1;

/// An entry: its place in the file, in bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub(super) start: u64,
    pub(super) len: u64,
    /// Its CRC-32; zero if it was not computed.
    crc: u32,
    method: u64,
    header: u64,
}

/// The entries of an archive by name.
#[derive(Debug)]
pub(super) struct Archive {
    pub(super) entries: HashMap<String, Entry>,
    /// The digest of the directory, which has the checksum of each entry.
    pub(super) digest: Sha256,
}

/// Little-endian fields.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    /// Returns the field of `len` bytes at `at`.
    fn get(&self, at: usize, len: usize) -> Result<u64, PickleError> {
        let field = self.0.get(at..).and_then(|rest| rest.get(..len)).ok_or_else(cut)?;
        Ok(field.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte)))
    }

    fn expect(&self, mark: &[u8; 4], what: &str) -> Result<(), PickleError> {
        if self.0.get(..4) == Some(&mark[..]) {
            return Ok(());
        }
        Err(PickleError::bad(format!("{what} of the zip archive: got other bytes, expected its signature")))
    }
}

fn cut() -> PickleError {
    PickleError::bad("directory of the zip archive: got fewer bytes, expected whole entries")
}

fn read<const N: usize>(bytes: &Bytes, at: u64) -> Result<[u8; N], PickleError> {
    let mut buffer = [0; N];
    if at.checked_add(N as u64).is_none_or(|end| end > bytes.len()) {
        return Err(PickleError::bad(format!("zip archive: got {} bytes, expected {N} more at {at}", bytes.len())));
    }
    bytes.read_at(at, &mut buffer).map_err(PickleError::Read)?;
    Ok(buffer)
}

impl Archive {
    /// Reads the directory of `bytes`, and checks that its entries are inside the file and do not overlap.
    pub(super) fn read(bytes: &Bytes) -> Result<Self, PickleError> {
        let (count, start, len) = directory(bytes)?;
        let mut directory = vec![0; len as usize];
        bytes.read_at(start, &mut directory).map_err(PickleError::Read)?;
        let mut rest = &directory[..];
        let mut entries = HashMap::new();
        for _ in 0..count {
            let (name, entry, length) = entry(rest)?;
            rest = rest.get(length..).ok_or_else(cut)?;
            if entries.contains_key(&name) {
                return Err(PickleError::bad(format!("zip entry {name:?}: got two, expected one")));
            }
            entries.insert(name, entry);
        }
        if !rest.is_empty() {
            let text = format!("directory of the zip archive: got {} further bytes, expected none", rest.len());
            return Err(PickleError::bad(text));
        }
        Ok(Self { entries, digest: Sha256::new_with_prefix(&directory) })
    }

    /// Refuses compressed entries, and finds the data of all others.
    pub(super) fn locate(&mut self, bytes: &Bytes) -> Result<(), PickleError> {
        let mut entries: Vec<(&String, &mut Entry)> = self.entries.iter_mut().collect();
        entries.sort_by_key(|(_, entry)| entry.header);
        let mut before = 0;
        for (name, entry) in entries {
            if entry.method != 0 {
                let text = format!("zip entry {name:?}: got compression method {}, expected 0, none", entry.method);
                return Err(PickleError::unsupported(text));
            }
            if entry.header < before {
                let text = format!(
                    "zip entry {name:?}: got offset {}, expected at least {before}; entries overlap",
                    entry.header
                );
                return Err(PickleError::bad(text));
            }
            let local = read::<{ LOCAL as usize }>(bytes, entry.header)?;
            let local = Fields(&local);
            local.expect(b"PK\x03\x04", "entry")?;
            let (name_len, extra) = (local.get(26, 2)?, local.get(28, 2)?);
            let mut own = vec![0; name_len as usize];
            let named = bytes.read_at(entry.header + LOCAL, &mut own);
            if named.is_err() || own != name.as_bytes() || local.get(8, 2)? != 0 {
                return Err(PickleError::bad(format!(
                    "zip entry {name:?}: got another header before its data, expected the same"
                )));
            }
            entry.start = entry.header + LOCAL + name_len + extra;
            before = entry.start.saturating_add(entry.len);
            if before > bytes.len() {
                let text = format!("zip entry {name:?}: got {} bytes, expected at most those of the file", entry.len);
                return Err(PickleError::bad(text));
            }
        }
        Ok(())
    }
}

impl Entry {
    /// Compares the checksum of its data, if it has one, reading all of it.
    pub(super) fn check(&self, name: &str, bytes: &Bytes) -> Result<(), PickleError> {
        if self.crc == 0 {
            return Ok(());
        }
        let mut crc = Crc::new();
        let mut buffer = vec![0; self.len.min(1 << 16) as usize];
        let mut done = 0;
        while done < self.len {
            let piece = (self.len - done).min(buffer.len() as u64) as usize;
            let buffer = buffer.get_mut(..piece).unwrap_or_default();
            bytes.read_at(self.start + done, buffer).map_err(PickleError::Read)?;
            crc.update(buffer);
            done += piece as u64;
        }
        if crc.sum() != self.crc {
            let text = format!("checksum of {name:?}: got {:08x}, expected {:08x}", crc.sum(), self.crc);
            return Err(PickleError::bad(text));
        }
        Ok(())
    }
}

/// Returns the number of entries, and the place of the directory.
fn directory(bytes: &Bytes) -> Result<(u64, u64, u64), PickleError> {
    let at = bytes.len().checked_sub(END).ok_or_else(cut)?;
    let end = read::<{ END as usize }>(bytes, at)?;
    let end = Fields(&end);
    end.expect(b"PK\x05\x06", "end")?;
    let (mut count, mut len, mut start) = (end.get(10, 2)?, end.get(12, 4)?, end.get(16, 4)?);
    let mut limit = at;
    if count == WIDE16 || len == WIDE32 || start == WIDE32 {
        let at = at.checked_sub(LOCATOR).ok_or_else(cut)?;
        let locator = read::<{ LOCATOR as usize }>(bytes, at)?;
        let locator = Fields(&locator);
        locator.expect(b"PK\x06\x07", "locator")?;
        limit = locator.get(8, 8)?;
        let wide = read::<{ END64 as usize }>(bytes, limit)?;
        let wide = Fields(&wide);
        wide.expect(b"PK\x06\x06", "64-bit end")?;
        (count, len, start) = (wide.get(32, 8)?, wide.get(40, 8)?, wide.get(48, 8)?);
    }
    if count > MAX_ENTRIES {
        return Err(PickleError::limit("entries of the zip archive", count, MAX_ENTRIES));
    }
    if len > MAX_DIRECTORY {
        return Err(PickleError::limit("length of the zip archive's directory", len, MAX_DIRECTORY));
    }
    if start.checked_add(len).is_none_or(|end| end > limit) {
        return Err(PickleError::limit("end of the zip archive's directory", start.saturating_add(len), limit));
    }
    Ok((count, start, len))
}

/// Reads the first entry of a directory: its name, and the length of its record.
fn entry(record: &[u8]) -> Result<(String, Entry, usize), PickleError> {
    let fields = Fields(record);
    fields.expect(b"PK\x01\x02", "directory")?;
    let (name_len, extra_len) = (fields.get(28, 2)? as usize, fields.get(30, 2)? as usize);
    let length = ENTRY + name_len + extra_len + fields.get(32, 2)? as usize;
    if name_len > MAX_NAME {
        return Err(PickleError::limit("length of a zip entry's name", name_len, MAX_NAME));
    }
    let name = record.get(ENTRY..ENTRY + name_len).ok_or_else(cut)?;
    let name = std::str::from_utf8(name)
        .map_err(|_| PickleError::bad("name of a zip entry: got other bytes, expected UTF-8"))?;
    let mut sizes = [fields.get(24, 4)?, fields.get(20, 4)?, fields.get(42, 4)?];
    if sizes.contains(&WIDE32) {
        let extra = record.get(ENTRY + name_len..ENTRY + name_len + extra_len).ok_or_else(cut)?;
        widen(extra, &mut sizes)?;
    }
    let [len, packed, header] = sizes;
    let method = fields.get(10, 2)?;
    if fields.get(8, 2)? & ENCRYPTED != 0 {
        return Err(PickleError::unsupported(format!(
            "zip entry {name:?}: got an encrypted one, expected a plain one"
        )));
    }
    if method == 0 && len != packed {
        return Err(PickleError::bad(format!("zip entry {name:?}: got {packed} stored bytes, expected its {len}")));
    }
    let crc = fields.get(16, 4)? as u32;
    Ok((name.to_owned(), Entry { start: 0, len, crc, method, header }, length))
}

/// Reads those of `sizes` that do not fit into 32 bits from the extra fields.
fn widen(mut extra: &[u8], sizes: &mut [u64; 3]) -> Result<(), PickleError> {
    const WIDE: u64 = 1;
    loop {
        let fields = Fields(extra);
        let (id, len) = (fields.get(0, 2)?, fields.get(2, 2)? as usize);
        if id == WIDE {
            let fields = Fields(extra.get(4..4 + len).ok_or_else(cut)?);
            for (i, size) in sizes.iter_mut().filter(|size| **size == WIDE32).enumerate() {
                *size = fields.get(8 * i, 8)?;
            }
            return Ok(());
        }
        extra = extra.get(4 + len..).ok_or_else(cut)?;
    }
}
