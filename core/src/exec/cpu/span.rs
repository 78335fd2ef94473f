//! Memory that several threads write concurrently.

#![allow(unsafe_code, reason = "threads write disjoint parts of one allocation")]

use dreamframe_kernels::Number;

use crate::net::{AlignedBytes, PackedForm, Shape};

/// Elements in a cache line.
pub(super) const LINE: usize = 16;

/// A value in memory: pixels of channels, with a stride of `ld` elements of `size` bytes between pixels.
///
/// A span is created for one step of one run, in memory that belongs to the run. A writer accesses only its own pixels
/// and channels. A reader accesses memory that no thread writes in this step, or that it wrote itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    ptr: *mut u8,
    size: usize,
    pub(super) ld: usize,
    pub(super) shape: Shape,
}

// SAFETY: a span is an address; the unsafe code that dereferences it is responsible for its use.
unsafe impl Send for Span {}
// SAFETY: as above.
unsafe impl Sync for Span {}

impl Span {
    pub(super) fn new(ptr: *mut u8, size: usize, ld: usize, shape: Shape) -> Self {
        Self { ptr, size, ld, shape }
    }

    /// Creates a span of contiguous `f32` elements.
    pub(super) fn of_f32(ptr: *mut f32, shape: Shape) -> Self {
        Self::new(ptr.cast(), size_of::<f32>(), shape.c, shape)
    }

    /// Returns the address of its first element.
    pub(super) fn ptr(&self) -> *mut u8 {
        self.ptr
    }

    /// Returns the bytes per element.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// Returns the address of the first channel of a pixel, counted over all rows of the batch.
    pub(super) fn pixel(&self, pixel: usize) -> *mut u8 {
        debug_assert!(pixel < self.pixels());
        self.ptr.wrapping_add(pixel * self.ld * self.size)
    }

    /// Returns the address of a channel of a pixel.
    pub(super) fn channel(&self, pixel: usize, channel: usize) -> *mut u8 {
        self.pixel(pixel).wrapping_add(channel * self.size)
    }

    /// Returns the number of pixels of all rows of the batch.
    pub(super) fn pixels(&self) -> usize {
        self.shape.n * self.shape.pixels()
    }

    /// Returns the channels of a pixel, as bytes.
    ///
    /// # Safety
    ///
    /// Nothing writes them while the slice lives.
    pub(super) unsafe fn read(&self, pixel: usize) -> &[u8] {
        // SAFETY: the span's memory contains all pixels; the caller guarantees that nothing writes them.
        unsafe { std::slice::from_raw_parts(self.pixel(pixel), self.shape.c * self.size) }
    }

    /// Returns the channels of a pixel of a span of `f32`.
    ///
    /// # Safety
    ///
    /// Like [`read`](Self::read); the span is one of `f32`.
    pub(super) unsafe fn read_f32(&self, pixel: usize) -> &[f32] {
        debug_assert_eq!(self.size, size_of::<f32>());
        // SAFETY: as `read`; spans of `f32` are aligned.
        unsafe { std::slice::from_raw_parts(self.pixel(pixel).cast(), self.shape.c) }
    }

    /// Returns the channels of a pixel, as bytes, for writing.
    ///
    /// # Safety
    ///
    /// Nothing else reads or writes them while the slice lives.
    #[allow(clippy::mut_from_ref, reason = "a span is an address; the caller keeps threads apart")]
    pub(super) unsafe fn write(&self, pixel: usize) -> &mut [u8] {
        // SAFETY: the span's memory contains all pixels; the caller guarantees that nothing else uses this one.
        unsafe { std::slice::from_raw_parts_mut(self.pixel(pixel), self.shape.c * self.size) }
    }
}

/// Scratch memory of the threads, of the same length for each.
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
    /// Creates scratch memory of `len` elements per thread (a multiple of [`LINE`]), starting at `ptr`.
    pub(super) fn new(ptr: *mut f32, len: usize) -> Self {
        Self { ptr, len }
    }

    /// Returns the memory of one thread.
    pub(super) fn of(&self, thread: usize) -> *mut f32 {
        self.ptr.wrapping_add(thread * self.len)
    }
}

/// Bytes aligned to a cache line, for elements of one type.
#[derive(Debug)]
pub(super) struct Aligned(AlignedBytes);

impl Aligned {
    /// Allocates `len` zeros of type `T`; `None` if there is not enough memory.
    pub(super) fn zeros<T: Number>(len: usize) -> Option<Self> {
        Self::zeroed_bytes(len.checked_mul(size_of::<T>())?)
    }

    /// Allocates `len` zero bytes.
    pub(super) fn zeroed_bytes(bytes: usize) -> Option<Self> {
        AlignedBytes::zeros(bytes).map(Self)
    }

    /// Returns `bytes` if it has the length `len`.
    pub(super) fn of_len(bytes: AlignedBytes, len: usize) -> Option<Self> {
        (bytes.len() == len).then_some(Self(bytes))
    }

    /// Returns the number of bytes.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns the address of the first byte.
    pub(super) fn ptr(&self) -> *const u8 {
        self.0.as_ptr()
    }

    /// Returns the mutable address of the first byte.
    pub(super) fn ptr_mut(&mut self) -> *mut u8 {
        self.0.as_mut_ptr()
    }

    /// Returns all bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Returns the elements.
    pub(super) fn elements<T: Number>(&self) -> &[T] {
        // SAFETY: all bytes are valid as a `T`; the memory is owned, sufficiently aligned, and has this length.
        unsafe { std::slice::from_raw_parts(self.ptr().cast(), self.len() / size_of::<T>()) }
    }

    /// Returns the elements for writing.
    pub(super) fn elements_mut<T: Number>(&mut self) -> &mut [T] {
        // SAFETY: as in `elements`, and borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.ptr_mut().cast(), self.len() / size_of::<T>()) }
    }
}

impl PackedForm for Aligned {
    fn buffers(&self) -> Vec<&[u8]> {
        vec![self.bytes()]
    }
}
