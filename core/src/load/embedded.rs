//! Files that are part of the binary: the demo model, and the small networks and tables of features. They are those of the
//! packages `dreamframe-demo-model` and `dreamframe-networks`, packed by `build.rs`.

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use dreamframe_kernels::numbers::interleave;
use flate2::read::DeflateDecoder;

use crate::error::Result;
use crate::net::elements;

/// One file.
struct Embedded {
    /// Path in its package.
    path: &'static str,
    /// Uncompressed size in bytes.
    len: usize,
    form: Form,
    packed: &'static [u8],
}

/// How a file is packed.
#[allow(dead_code, reason = "which forms there are is for what is built in to say")]
enum Form {
    /// As a DEFLATE stream.
    Deflated,
    /// The bytes at even positions and those at odd positions, as DEFLATE streams; before them, the length of the first as
    /// four bytes, little-endian. Of 16-bit floats, the former are lower bits of mantissas, the latter exponents.
    Halves,
}

include!(concat!(env!("OUT_DIR"), "/embedded.rs"));

/// Returns true if there is a file at `path` in a package of built-in files.
pub(crate) fn has(path: &str) -> bool {
    find(path).is_some()
}

/// Returns the file at `path` in a package of built-in files; `None` if it is not built in. It is in memory once, as long as
/// it is in use.
///
/// # Errors
///
/// `OutOfMemory`.
pub(crate) fn read(path: &str) -> Result<Option<Arc<Vec<u8>>>> {
    static IN_USE: Mutex<BTreeMap<&str, Weak<Vec<u8>>>> = Mutex::new(BTreeMap::new());

    let Some(file) = find(path) else { return Ok(None) };
    let mut in_use = IN_USE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(bytes) = in_use.get(file.path).and_then(Weak::upgrade) {
        return Ok(Some(bytes));
    }
    let bytes = file.unpack()?.map(Arc::new);
    if let Some(bytes) = &bytes {
        in_use.insert(file.path, Arc::downgrade(bytes));
    }
    Ok(bytes)
}

/// Returns the path of a folder of built-in files; `None` if there is none.
#[cfg(feature = "demo-model")]
pub(crate) fn folder(path: &str) -> Option<&'static str> {
    FILES.iter().find_map(|file| {
        let rest = file.path.strip_prefix(path)?;
        rest.starts_with('/').then(|| file.path.strip_suffix(rest))?
    })
}

fn find(path: &str) -> Option<&'static Embedded> {
    FILES.iter().find(|file| file.path == path)
}

impl Embedded {
    /// Returns its bytes; `None` if they are not packed as `form` says.
    fn unpack(&self) -> Result<Option<Vec<u8>>> {
        match self.form {
            Form::Deflated => inflated(self.packed, self.len),
            Form::Halves => {
                let parts = self.packed.split_first_chunk();
                let parts = parts.and_then(|(len, both)| both.split_at_checked(u32::from_le_bytes(*len) as usize));
                let Some((low, high)) = parts else { return Ok(None) };
                let parts = inflated(low, self.len.div_ceil(2))?.zip(inflated(high, self.len / 2)?);
                let Some((low, high)) = parts else { return Ok(None) };
                let mut bytes = elements::zero_bytes(self.len)?;
                interleave(&low, &high, &mut bytes);
                if let (1, Some(last), Some(low)) = (self.len % 2, bytes.last_mut(), low.last()) {
                    *last = *low;
                }
                Ok(Some(bytes))
            }
        }
    }
}

fn inflated(packed: &[u8], len: usize) -> Result<Option<Vec<u8>>> {
    // A vector without room for one byte more would grow before it detects the end.
    let mut bytes = elements::with_capacity(len + 1)?;
    let read = DeflateDecoder::new(packed).take(len as u64 + 1).read_to_end(&mut bytes);
    Ok((read.is_ok() && bytes.len() == len).then_some(bytes))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn every_file_that_is_built_in_is_that_of_the_folder() {
        let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models");
        for file in FILES {
            let mut packages = ["demo", "networks"].map(|package| models.join(package).join(file.path)).into_iter();
            let bytes = std::fs::read(packages.find(|path| path.exists()).unwrap()).unwrap();
            assert!(file.unpack().unwrap().unwrap() == bytes, "{}", file.path);
        }
        assert!(read("dreamframe-tiny/nothing").unwrap().is_none());
    }

    #[test]
    #[cfg(feature = "demo-model")]
    fn a_file_that_is_in_use_is_unpacked_once() {
        let [one, two] = [(), ()].map(|()| read("dreamframe-tiny/unet/config.json").unwrap().unwrap());
        assert!(Arc::ptr_eq(&one, &two));
    }

    #[test]
    fn odd_number_of_bytes_round_trips() {
        // Streams of one stored block: bytes, their number and its complement.
        let (low, high): (&[u8], &[u8]) = (&[1, 2, 0, 0xfd, 0xff, b'a', b'c'], &[1, 1, 0, 0xfe, 0xff, b'b']);
        let packed: &'static [u8] = Box::leak([&[7, 0, 0, 0], low, high].concat().into_boxed_slice());
        let file = Embedded { path: "odd", len: 3, form: Form::Halves, packed };
        assert_eq!(file.unpack().unwrap().unwrap(), b"abc");
        let short = Embedded { len: 9, ..file };
        assert!(short.unpack().unwrap().is_none());
    }
}
