//! Buffers that are reused when a [`Frame`] is dropped, so that a stream of frames allocates only at its start.

use std::sync::Arc;

use crossbeam::queue::ArrayQueue;

use super::view::Head;
use super::{Frame, FrameView, PixelFormat};
use crate::{Error, ErrorKind, Result};

/// Creates frames, reusing the buffers of dropped ones.
///
/// Clones share their buffers. Frames and pools may be used on any threads, and take no lock. A pool keeps a
/// bounded number of idle buffers and frees the rest, and frames may outlive it.
///
/// ```
/// use dreamframe::frame::{FramePool, PixelFormat};
///
/// # fn main() -> dreamframe::Result<()> {
/// let pool = FramePool::new(2);
/// let first = pool.frame(PixelFormat::Rgba8, 64, 64)?;
/// let buffer = first.pixels().as_ptr();
/// drop(first);
/// let next = pool.frame(PixelFormat::Rgba8, 64, 64)?;
/// assert_eq!(next.pixels().as_ptr(), buffer);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct FramePool {
    idle: Arc<ArrayQueue<Vec<u8>>>,
}

impl FramePool {
    /// Creates an empty pool that keeps at most `idle` buffers (at least one) for the next frames.
    pub fn new(idle: usize) -> Self {
        Self { idle: Arc::new(ArrayQueue::new(idle.max(1))) }
    }

    /// Creates a packed frame of `width` x `height` pixels, top-left, in the default color space, with id 0 and
    /// timestamp 0.
    ///
    /// The contents of its pixels are unspecified.
    ///
    /// # Errors
    ///
    /// `InvalidFrame` for a side outside 1..=8192 pixels, `OutOfMemory`.
    pub fn frame(&self, format: PixelFormat, width: u32, height: u32) -> Result<Frame> {
        let head = Head::new(format, width, height)?;
        let len = format.packed_len(width, height);
        let mut pixels = self.idle.pop().unwrap_or_default();
        grow(&mut pixels, len)?;
        Ok(Frame::from_parts(head, pixels, Some(Arc::clone(&self.idle))))
    }

    /// Copies pixels of a host into a packed frame with the same format, size, origin, color space and stamp.
    ///
    /// # Errors
    ///
    /// `OutOfMemory`.
    pub fn copy(&self, view: &FrameView<'_>) -> Result<Frame> {
        let mut frame = self.frame(view.format(), view.width(), view.height())?;
        frame.set_origin(view.origin());
        frame.set_color(view.color());
        frame.set_stamp(view.stamp());
        frame.view_mut().copy_rows(view);
        Ok(frame)
    }
}

/// Resizes `buffer` to `len`, keeping its contents; returns `OutOfMemory` instead of aborting the process.
pub(super) fn grow<T: Default + Clone>(buffer: &mut Vec<T>, len: usize) -> Result<&mut [T]> {
    if buffer.len() < len {
        buffer.try_reserve_exact(len - buffer.len()).map_err(|error| {
            let bytes = len.saturating_mul(size_of::<T>());
            Error::new(ErrorKind::OutOfMemory, format!("failed to allocate {bytes} bytes for a frame"))
                .with_source(error)
        })?;
    }
    buffer.resize(len, T::default());
    Ok(buffer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_buffer_of_a_dropped_frame_is_reused() {
        let pool = FramePool::new(2);
        let first = pool.frame(PixelFormat::Rgba8, 64, 32).unwrap();
        let address = first.pixels().as_ptr();
        drop(first);
        let smaller = pool.frame(PixelFormat::Nv12, 16, 16).unwrap();
        assert_eq!(smaller.pixels().as_ptr(), address);
        assert_eq!(smaller.pixels().len(), 16 * 16 * 3 / 2);
    }

    #[test]
    fn the_number_of_idle_buffers_is_bounded() {
        let pool = FramePool::new(2);
        let frames: Vec<_> = (0..5).map(|_| pool.frame(PixelFormat::Rgb8, 8, 8).unwrap()).collect();
        drop(frames);
        assert_eq!(pool.idle.len(), 2);
    }

    #[test]
    fn a_frame_outlives_its_pool() {
        let frame = FramePool::new(1).frame(PixelFormat::Rgb8, 8, 8).unwrap();
        assert_eq!(frame.pixels().len(), 8 * 8 * 3);
    }

    #[test]
    fn an_invalid_size_is_rejected_before_allocation() {
        let error = FramePool::new(1).frame(PixelFormat::Rgba16F, 8193, 8).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidFrame);
        assert!(error.to_string().contains("8193x8"), "{error}");
    }
}
