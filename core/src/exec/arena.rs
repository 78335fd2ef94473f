//! Scratch memory on the host.

use dreamframe_kernels::numbers::extend_with_zeros;

use super::memory;
use crate::error::Result;
use crate::net::pages;

/// Memory for the values of one run, shared by networks that run one after the other.
#[derive(Debug, Default)]
pub(super) struct Arena {
    elements: Vec<f32>,
}

/// Elements in a cache line, to which arenas are aligned.
const LINE: usize = 16;
/// The name of an arena in error messages.
const WHAT: &str = "the scratch buffers of the networks";

impl Arena {
    /// Returns an arena without memory.
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// Returns an arena with memory for `len` elements.
    ///
    /// # Errors
    ///
    /// Those of [`reserve`](Self::reserve).
    pub(super) fn with_capacity(len: usize) -> Result<Self> {
        let mut arena = Self::new();
        arena.reserve(len)?;
        Ok(arena)
    }

    /// Grows to at least `len` elements, if it has fewer.
    ///
    /// # Errors
    ///
    /// `OutOfMemory` with the bytes that are needed; nothing has been allocated then, and the arena is as it was.
    pub(super) fn reserve(&mut self, len: usize) -> Result<()> {
        if self.holds(len) {
            return Ok(());
        }
        let bytes = len.saturating_add(LINE).saturating_mul(size_of::<f32>());
        memory::require(bytes, WHAT)?;
        let mut elements: Vec<f32> = Vec::new();
        elements.try_reserve_exact(len.saturating_add(LINE)).map_err(|_| memory::refused(bytes, WHAT))?;
        pages::advise_huge_pages(elements.as_ptr().cast(), bytes);
        extend_with_zeros(&mut elements, len + LINE);
        self.elements = elements;
        Ok(())
    }

    /// Returns true if there is memory for `len` elements.
    pub(super) fn holds(&self, len: usize) -> bool {
        self.elements.len() >= len.saturating_add(LINE)
    }

    /// Returns all elements, aligned to a cache line; they contain the values of the previous run.
    pub(super) fn elements(&mut self) -> &mut [f32] {
        let skip = self.elements.as_ptr().align_offset(LINE * size_of::<f32>()).min(self.elements.len());
        &mut self.elements[skip..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn failed_arena_growth_reports_bytes_and_changes_nothing() {
        let mut arena = Arena::new();
        arena.reserve(100).unwrap();
        arena.elements()[99] = 7.0;
        for len in [usize::MAX, usize::MAX / 16, 1 << 52] {
            let refused = arena.reserve(len).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::OutOfMemory);
            assert!(
                refused.to_string().contains("expected at least") && arena.holds(100) && !arena.holds(len),
                "{refused}"
            );
        }
        assert_eq!(arena.elements()[99], 7.0);
    }
}
