//! Bytes aligned to cache lines, as kernels require.

use std::fmt;
use std::ops::{Deref, DerefMut};

use dreamframe_kernels::numbers::extend_with_zero_bytes;

use super::pages;

/// Bytes in a cache line.
const LINE: usize = 64;

/// Bytes that begin at a cache line.
pub struct AlignedBytes {
    bytes: Vec<u8>,
    skip: usize,
}

impl AlignedBytes {
    /// None yet, with room for `len`; `None` if there is not that much memory. Touches no memory.
    pub fn with_room(len: usize) -> Option<Self> {
        let mut bytes: Vec<u8> = Vec::new();
        bytes.try_reserve_exact(len.checked_add(LINE)?).ok()?;
        pages::prefer_large(bytes.as_ptr(), len);
        let skip = bytes.as_ptr().align_offset(LINE).min(LINE);
        bytes.resize(skip, 0);
        Some(Self { bytes, skip })
    }

    /// `len` zeros; `None` if there is not that much memory.
    pub fn zeros(len: usize) -> Option<Self> {
        let mut zeros = Self::with_room(len)?;
        zeros.extend(len);
        Some(zeros)
    }

    /// Appends `more` zeros, up to the capacity, and returns them for writing.
    pub fn extend(&mut self, more: usize) -> &mut [u8] {
        let (len, room) = (self.bytes.len(), self.bytes.capacity());
        // Growing past the room would move the bytes off their line.
        extend_with_zero_bytes(&mut self.bytes, more.min(room - len));
        &mut self.bytes[len..]
    }
}

impl Deref for AlignedBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[self.skip..]
    }
}

impl DerefMut for AlignedBytes {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.skip..]
    }
}

impl fmt::Debug for AlignedBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AlignedBytes").field("len", &self.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_begin_at_a_line_however_they_grow() {
        for len in [0, 1, 63, 64, 100_000] {
            let mut bytes = AlignedBytes::with_room(len).unwrap();
            bytes.extend(len / 3).fill(1);
            bytes.extend(len - len / 3).fill(2);
            assert_eq!((bytes.len(), bytes.as_ptr().align_offset(LINE)), (len, 0));
            assert!(bytes[..len / 3].iter().all(|&byte| byte == 1) && bytes[len / 3..].iter().all(|&byte| byte == 2));
        }
    }

    #[test]
    fn more_than_there_can_be_is_no_panic() {
        assert!(AlignedBytes::with_room(usize::MAX).is_none() && AlignedBytes::zeros(isize::MAX as usize).is_none());
        let mut bytes = AlignedBytes::with_room(8).unwrap();
        assert!(bytes.extend(usize::MAX / 2).len() >= 8);
    }
}
