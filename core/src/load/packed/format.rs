//! The header of a file of packed weights: the build and the weights that it was made for, and its sections.
//!
//! ```text
//! mark 8 | format u32 | byte order u32 | bytes of the table u64 | bytes of the file u64 | table | HMAC-SHA256 of all before
//! table: version of the crate, name of the layout (texts) | version of the layout u32 | fingerprint 32 | sections u32
//!        each section: key (text) | memories u32 | of each: bytes u64, SHA-256 32
//! text:  bytes u16 | UTF-8
//! ```
//!
//! Numbers are little-endian. After the header come the memories, in the order of the table, in the machine's
//! representation. A digest covers every byte, and every length is checked against the file's before memory is
//! allocated for it. The authentication code of the header is keyed with a secret of the user, which distinguishes
//! files of this user's programs from those that came with a downloaded model.

use std::io;

use super::super::bytes::Bytes;
use super::super::header::Fingerprint;
use super::secret::{MAC_LEN, Secret};
use crate::net::PackedLayout;

/// The magic bytes.
const MARK: [u8; 8] = *b"dfpacked";
/// The version of the header's layout.
const FORMAT: u32 = 2;
/// Written in the machine's byte order, so that another byte order is detected.
const BYTE_ORDER: u32 = 0x0102_0304;
/// Bytes before the table.
const PREFIX: usize = 32;
/// Longest table. The largest known networks need 300 kB.
const MAX_TABLE: u64 = 32 << 20;
/// Maximum number of memories of a section: a phase convolution has eight.
const MAX_MEMORIES: u32 = 64;
/// The version of this crate; its packing may change with each version.
const CRATE: &str = env!("CARGO_PKG_VERSION");

/// The SHA-256 of a memory.
pub(super) type Digest = [u8; 32];

/// The reason for not using a file of packed weights.
#[derive(Debug, thiserror::Error)]
pub enum PackedError {
    /// It cannot be read.
    #[error("failed to read: {0}")]
    Read(#[from] io::Error),
    /// It is another kind of file.
    #[error("not a file of packed weights")]
    Foreign,
    /// Another build wrote it.
    #[error("{what}: got {found}, expected {own}")]
    OtherVersion {
        /// The property that differs.
        what: &'static str,
        /// The file's value.
        found: String,
        /// The expected value.
        own: String,
    },
    /// A machine of another byte order wrote it.
    #[error("the byte order differs")]
    ByteOrder,
    /// The file's length is inconsistent.
    #[error("length: got {found} bytes, expected {needed}")]
    Length {
        /// Actual bytes.
        found: u64,
        /// Expected bytes.
        needed: u64,
    },
    /// Its header is not authenticated with this user's secret.
    #[error("not written by this user, or damaged")]
    Untrusted,
    /// A digest is wrong, or the table is invalid.
    #[error("damaged: {0}")]
    Damaged(String),
    /// The weights have changed since.
    #[error("written for other weights")]
    Stale,
    /// There is not enough memory for it.
    #[error("failed to allocate {0} bytes")]
    NoRoom(u64),
}

/// One memory of a section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Memory {
    pub(super) len: u64,
    pub(super) digest: Digest,
}

/// A packed form in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Section {
    pub(super) key: String,
    pub(super) memories: Vec<Memory>,
}

/// The build and the weights that a file is made for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Purpose {
    /// Version of the crate.
    pub(super) version: String,
    pub(super) layout: PackedLayout,
    pub(super) fingerprint: Fingerprint,
}

impl Purpose {
    /// Returns the purpose of files by this build for weights with this fingerprint.
    pub(super) fn new(layout: &PackedLayout, fingerprint: Fingerprint) -> Self {
        Self { version: CRATE.to_owned(), layout: layout.clone(), fingerprint }
    }

    /// Rejects files of another build, and files for other weights.
    pub(super) fn check(&self, wanted: &Self) -> Result<(), PackedError> {
        let other = |what, found: String, own: String| Err(PackedError::OtherVersion { what, found, own });
        let layout = |layout: &PackedLayout| format!("{} {}", layout.name, layout.version);
        if self.version != wanted.version {
            return other("version", self.version.clone(), wanted.version.clone());
        }
        if self.layout != wanted.layout {
            return other("layout", layout(&self.layout), layout(&wanted.layout));
        }
        if self.fingerprint == wanted.fingerprint { Ok(()) } else { Err(PackedError::Stale) }
    }
}

/// The header of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) purpose: Purpose,
    pub(super) sections: Vec<Section>,
}

impl Head {
    /// Serializes the header with `secret`; `None` if a text or a count exceeds the limits of the format.
    pub(super) fn encode(&self, secret: &Secret) -> Option<Vec<u8>> {
        let mut table = Vec::new();
        put_text(&mut table, &self.purpose.version)?;
        put_text(&mut table, &self.purpose.layout.name)?;
        table.extend(self.purpose.layout.version.to_le_bytes());
        table.extend(self.purpose.fingerprint);
        table.extend(u32::try_from(self.sections.len()).ok()?.to_le_bytes());
        let mut data = 0_u64;
        for section in &self.sections {
            put_text(&mut table, &section.key)?;
            let count = u32::try_from(section.memories.len()).ok().filter(|&count| count <= MAX_MEMORIES)?;
            table.extend(count.to_le_bytes());
            for memory in &section.memories {
                table.extend(memory.len.to_le_bytes());
                table.extend(memory.digest);
                data = data.checked_add(memory.len)?;
            }
        }
        seal(&table, data, secret)
    }

    /// Reads the header of `bytes` and checks its authentication with `secret`; returns it with the offset of the first
    /// memory.
    pub(super) fn read(bytes: &Bytes, secret: &Secret) -> Result<(Self, u64), PackedError> {
        let found = bytes.len();
        let mut prefix = [0; PREFIX];
        let there = usize::try_from(found).unwrap_or(PREFIX).min(PREFIX);
        bytes.read_at(0, &mut prefix[..there])?;
        if !prefix.starts_with(&MARK) {
            return Err(PackedError::Foreign);
        }
        if found < PREFIX as u64 {
            return Err(PackedError::Length { found, needed: PREFIX as u64 });
        }
        let mut fields = Reader(&prefix[MARK.len()..]);
        let format = fields.number32()?;
        if format != FORMAT {
            return Err(PackedError::OtherVersion {
                what: "format",
                found: format.to_string(),
                own: FORMAT.to_string(),
            });
        }
        if fields.array::<4>()? != BYTE_ORDER.to_ne_bytes() {
            return Err(PackedError::ByteOrder);
        }
        let (table, needed) = (fields.number64()?, fields.number64()?);
        if found != needed {
            return Err(PackedError::Length { found, needed });
        }
        let start = PREFIX as u64 + table.min(MAX_TABLE) + MAC_LEN as u64;
        if table > MAX_TABLE || start > found {
            return Err(damaged(format!(
                "table length: got {table} bytes, expected at most {MAX_TABLE}, within the file"
            )));
        }
        let mut head = vec![0; start as usize];
        bytes.read_at(0, &mut head)?;
        let (head, mac) = head.split_at(start as usize - MAC_LEN);
        if !secret.has_made(mac, head) {
            return Err(PackedError::Untrusted);
        }
        Ok((Self::parse(&head[PREFIX..], found - start)?, start))
    }

    /// Parses a table; the memories must fill the `data` bytes after it.
    fn parse(table: &[u8], data: u64) -> Result<Self, PackedError> {
        let mut fields = Reader(table);
        let version = fields.text()?;
        let layout = PackedLayout { name: fields.text()?, version: fields.number32()? };
        let purpose = Purpose { version, layout, fingerprint: fields.array()? };
        let mut sections = Vec::new();
        let mut left = data;
        for _ in 0..fields.number32()? {
            let key = fields.text()?;
            let count = fields.number32()?;
            if count > MAX_MEMORIES {
                return Err(damaged(format!("blocks of {key:?}: got {count}, expected at most {MAX_MEMORIES}")));
            }
            let mut memories = Vec::new();
            for _ in 0..count {
                let memory = Memory { len: fields.number64()?, digest: fields.array()? };
                let after = left.checked_sub(memory.len);
                left = after.ok_or_else(|| {
                    damaged(format!(
                        "length of {key:?}: got {} bytes, expected at most the remaining {left}",
                        memory.len
                    ))
                })?;
                memories.push(memory);
            }
            sections.push(Section { key, memories });
        }
        if left != 0 || !fields.0.is_empty() {
            return Err(damaged(format!(
                "got {left} bytes after the last section, and {} after its table, expected none",
                fields.0.len()
            )));
        }
        Ok(Self { purpose, sections })
    }
}

/// Adds prefix and checksum to a table, for a file with `data` bytes after its header.
pub(super) fn seal(table: &[u8], data: u64, secret: &Secret) -> Option<Vec<u8>> {
    let len = table.len() as u64;
    let file = ((PREFIX + MAC_LEN) as u64).checked_add(len)?.checked_add(data)?;
    let mut head = Vec::with_capacity(PREFIX + table.len() + MAC_LEN);
    head.extend(MARK);
    head.extend(FORMAT.to_le_bytes());
    head.extend(BYTE_ORDER.to_ne_bytes());
    head.extend(len.to_le_bytes());
    head.extend(file.to_le_bytes());
    head.extend(table);
    head.extend(secret.mac(&head));
    (len <= MAX_TABLE).then_some(head)
}

pub(super) fn damaged(what: String) -> PackedError {
    PackedError::Damaged(what)
}

fn put_text(table: &mut Vec<u8>, text: &str) -> Option<()> {
    table.extend(u16::try_from(text.len()).ok()?.to_le_bytes());
    table.extend(text.as_bytes());
    Some(())
}

/// The unparsed part of a table.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], PackedError> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or_else(|| damaged("the table is too short".into()))?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], PackedError> {
        self.take(N)?.try_into().map_err(|_| damaged("the table is too short".into()))
    }

    fn number32(&mut self) -> Result<u32, PackedError> {
        self.array().map(u32::from_le_bytes)
    }

    fn number64(&mut self) -> Result<u64, PackedError> {
        self.array().map(u64::from_le_bytes)
    }

    fn text(&mut self) -> Result<String, PackedError> {
        let len = u16::from_le_bytes(self.array()?);
        let text = std::str::from_utf8(self.take(usize::from(len))?);
        text.map(str::to_owned).map_err(|_| damaged("a name is not UTF-8".into()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    prop_compose! {
        fn heads()(
            version in ".{0,12}",
            name in "[a-z0-9.]{0,12}",
            number: u32,
            fingerprint: Fingerprint,
            sections in prop::collection::vec(
                (".{0,20}", prop::collection::vec((0_u64..1 << 40, any::<Digest>()), 0..9)),
                0..9,
            ),
        ) -> Head {
            let section = |(key, memories): (String, Vec<(u64, Digest)>)| Section {
                key,
                memories: memories.into_iter().map(|(len, digest)| Memory { len, digest }).collect(),
            };
            let purpose = Purpose { version, layout: PackedLayout { name, version: number }, fingerprint };
            Head { purpose, sections: sections.into_iter().map(section).collect() }
        }
    }

    proptest! {
        #[test]
        fn table_round_trips(head in heads()) {
            let data = head.sections.iter().flat_map(|section| &section.memories).map(|memory| memory.len).sum();
            let bytes = head.encode(&Secret::KNOWN).unwrap();
            prop_assert_eq!(Head::parse(&bytes[PREFIX..bytes.len() - MAC_LEN], data).unwrap(), head);
        }

        #[test]
        fn any_bytes_are_a_table_or_an_error(table in prop::collection::vec(any::<u8>(), 0..200), data: u64) {
            if let Ok(head) = Head::parse(&table, data) {
                prop_assert!(head.encode(&Secret::KNOWN).is_some());
            }
        }
    }

    #[test]
    fn text_longer_than_its_length_field_is_not_written() {
        let purpose = Purpose::new(&PackedLayout { name: "x".repeat(70_000), version: 1 }, [0; 32]);
        assert_eq!(Head { purpose, sections: Vec::new() }.encode(&Secret::KNOWN), None);
    }
}
