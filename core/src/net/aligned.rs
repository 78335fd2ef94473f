//! Byte buffers aligned to cache lines, as kernels require.

use std::fmt;
use std::ops::{Deref, DerefMut};

use dreamframe_kernels::numbers::extend_with_zero_bytes;

use super::pages;

/// The size of a cache line, in bytes.
const LINE: usize = 64;

/// A byte buffer that starts at a cache line.
pub struct AlignedBytes {
    bytes: Vec<u8>,
    skip: usize,
}

impl AlignedBytes {
    /// Allocates an empty buffer with a capacity of `len` bytes, without touching the memory; `None` if the allocation
    /// fails.
    pub fn with_capacity(len: usize) -> Option<Self> {
        let mut bytes: Vec<u8> = Vec::new();
        bytes.try_reserve_exact(len.checked_add(LINE)?).ok()?;
        pages::advise_huge_pages(bytes.as_ptr(), len);
        let skip = bytes.as_ptr().align_offset(LINE).min(LINE);
        bytes.resize(skip, 0);
        Some(Self { bytes, skip })
    }

    /// Allocates `len` zero bytes; `None` if the allocation fails.
    pub fn zeros(len: usize) -> Option<Self> {
        let mut zeros = Self::with_capacity(len)?;
        zeros.extend(len);
        Some(zeros)
    }

    /// Appends `additional` zero bytes, up to the capacity, and returns them for writing.
    pub fn extend(&mut self, additional: usize) -> &mut [u8] {
        let (len, capacity) = (self.bytes.len(), self.bytes.capacity());
        // A reallocation could change the alignment.
        extend_with_zero_bytes(&mut self.bytes, additional.min(capacity - len));
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
    fn buffers_stay_aligned_as_they_grow() {
        for len in [0, 1, 63, 64, 100_000] {
            let mut bytes = AlignedBytes::with_capacity(len).unwrap();
            bytes.extend(len / 3).fill(1);
            bytes.extend(len - len / 3).fill(2);
            assert_eq!((bytes.len(), bytes.as_ptr().align_offset(LINE)), (len, 0));
            assert!(bytes[..len / 3].iter().all(|&byte| byte == 1) && bytes[len / 3..].iter().all(|&byte| byte == 2));
        }
    }

    #[test]
    fn impossible_sizes_return_none() {
        assert!(
            AlignedBytes::with_capacity(usize::MAX).is_none() && AlignedBytes::zeros(isize::MAX as usize).is_none()
        );
        let mut bytes = AlignedBytes::with_capacity(8).unwrap();
        assert!(bytes.extend(usize::MAX / 2).len() >= 8);
    }
}
