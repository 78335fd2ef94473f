//! Memory that several threads write side by side.

#![allow(unsafe_code, reason = "threads write disjoint parts of one stretch of memory")]

use crate::net::Shape;

/// Numbers in a cache line.
pub(super) const LINE: usize = 16;

/// A value in memory: pixels of channels, `ld` numbers from one pixel to the next.
///
/// A span is made for one run of one step out of memory that the run has for itself. Who writes through it keeps to its
/// own pixels and channels; who reads does so from memory that nobody writes in this step, or that it wrote itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    ptr: *mut f32,
    pub(super) ld: usize,
    pub(super) shape: Shape,
}

// SAFETY: a span is an address; what is done with it is up to the unsafe code that uses it.
unsafe impl Send for Span {}
// SAFETY: as above.
unsafe impl Sync for Span {}

impl Span {
    pub(super) fn new(ptr: *mut f32, ld: usize, shape: Shape) -> Self {
        Self { ptr, ld, shape }
    }

    /// Its first number.
    pub(super) fn ptr(&self) -> *mut f32 {
        self.ptr
    }

    /// The first channel of a pixel, counted over all rows of the batch.
    pub(super) fn pixel(&self, pixel: usize) -> *mut f32 {
        debug_assert!(pixel < self.pixels());
        self.ptr.wrapping_add(pixel * self.ld)
    }

    /// Pixels of all rows of the batch.
    pub(super) fn pixels(&self) -> usize {
        self.shape.n * self.shape.pixels()
    }

    /// The channels of a pixel.
    ///
    /// # Safety
    ///
    /// Nobody writes them while the slice lives.
    pub(super) unsafe fn read(&self, pixel: usize) -> &[f32] {
        // SAFETY: the span's memory holds all pixels; the caller promises that they stay as they are.
        unsafe { std::slice::from_raw_parts(self.pixel(pixel), self.shape.c) }
    }

    /// The channels of a pixel, to write.
    ///
    /// # Safety
    ///
    /// Nobody else reads or writes them while the slice lives.
    #[allow(clippy::mut_from_ref, reason = "a span is an address; the caller keeps threads apart")]
    pub(super) unsafe fn write(&self, pixel: usize) -> &mut [f32] {
        // SAFETY: the span's memory holds all pixels; the caller promises that nobody else uses this one.
        unsafe { std::slice::from_raw_parts_mut(self.pixel(pixel), self.shape.c) }
    }
}

/// Scratch memory of the threads: the same length for each.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scratch {
    ptr: *mut f32,
    len: usize,
}

// SAFETY: an address, as `Span`.
unsafe impl Send for Scratch {}
// SAFETY: as above.
unsafe impl Sync for Scratch {}

impl Scratch {
    /// `len` numbers a thread (a multiple of [`LINE`]) from `ptr` on.
    pub(super) fn new(ptr: *mut f32, len: usize) -> Self {
        Self { ptr, len }
    }

    /// The memory of one thread.
    pub(super) fn of(&self, thread: usize) -> *mut f32 {
        self.ptr.wrapping_add(thread * self.len)
    }
}

/// Numbers that begin at a cache line.
#[derive(Debug)]
pub(super) struct Aligned {
    numbers: Vec<f32>,
    skip: usize,
    len: usize,
}

impl Aligned {
    /// `len` zeros; `None` where there is not that much memory.
    pub(super) fn zeros(len: usize) -> Option<Self> {
        let mut numbers = Vec::new();
        numbers.try_reserve_exact(len.checked_add(LINE)?).ok()?;
        numbers.resize(len + LINE, 0.0);
        let skip = numbers.as_ptr().align_offset(LINE * size_of::<f32>()).min(LINE);
        Some(Self { numbers, skip, len })
    }
}

impl std::ops::Deref for Aligned {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.numbers[self.skip..self.skip + self.len]
    }
}

impl std::ops::DerefMut for Aligned {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.numbers[self.skip..self.skip + self.len]
    }
}
