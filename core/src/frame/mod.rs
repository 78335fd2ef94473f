//! Pixels in memory: input frames and output pictures. No tensors here.
//!
//! A [`FrameView`] borrows a host's pixels and checks their layout once. A [`Frame`] owns its pixels, and returns the
//! buffer to its [`FramePool`] when it is dropped. A [`FrameConverter`] converts between pixels and the floats of the
//! networks.

mod compare;
mod convert;
mod copy;
mod device;
mod format;
mod pixels;
mod pool;
pub(crate) mod resize;
mod value_range;
mod view;
mod yuv;

use std::sync::Arc;
use std::time::Duration;

use crossbeam::queue::ArrayQueue;
use serde::Serialize;

pub use compare::{psnr, ssim};
pub use convert::FrameConverter;
pub use copy::FrameCopier;
#[cfg(feature = "onnx")]
pub(crate) use device::{DeviceBytes, DeviceBytesMut};
pub use device::{DeviceFrame, DeviceFrameMut, FrameMemory};
pub use format::{ColorSpace, Fit, MAX_SIDE, Origin, PixelFormat, YuvMatrix, YuvRange};
pub use pool::FramePool;
#[cfg(feature = "onnx")]
pub(crate) use resize::{Placement, SideFilter};
pub use view::{FrameView, FrameViewMut, Plane, PlaneMut};

use crate::Result;
use view::Head;

/// The number of a frame within its stream, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize)]
pub struct FrameId(pub u64);

/// When a frame was captured, in nanoseconds on the host's own clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// Returns the time from `earlier` to this; zero if this is not later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// What a host attaches to a frame: when it was captured, and a tag. The picture made from the frame has the same
/// stamp.
///
/// ```
/// use dreamframe::{Engine, FrameView, PixelFormat, Stamp, StreamDiffusionParams, Timestamp};
///
/// # fn main() -> dreamframe::Result<()> {
/// let params = StreamDiffusionParams { width: 64, height: 64, ..StreamDiffusionParams::demo() };
/// let mut engine = Engine::builder().params(params).build()?;
/// let pixels = vec![127_u8; 64 * 64 * 3];
/// let frame = FrameView::packed(PixelFormat::Rgb8, 64, 64, &pixels)?;
/// for tag in 0..3 {
///     let stamp = Stamp { timestamp: Timestamp(tag * 33_000_000), tag };
///     let picture = engine.process(&frame.with_stamp(stamp))?;
///     // Of the frame that the picture was made from, which can be an earlier one.
///     assert_eq!(picture.frame.stamp().tag, picture.source_id.0);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Stamp {
    /// When the frame was captured.
    pub timestamp: Timestamp,
    /// Any number of the host's; the library does not interpret it.
    pub tag: u64,
}

/// Owned, packed pixels. The buffer returns to the [`FramePool`] that it came from, if any, when the frame is dropped.
#[derive(Debug)]
pub struct Frame {
    head: Head,
    // Invariant: exactly the length that the format requires.
    pixels: Vec<u8>,
    id: FrameId,
    stamp: Stamp,
    home: Option<Arc<ArrayQueue<Vec<u8>>>>,
}

impl Frame {
    /// Creates a frame without a pool, from pixels whose rows and planes follow each other without a gap.
    ///
    /// ```
    /// use dreamframe::{Frame, PixelFormat};
    ///
    /// # fn main() -> dreamframe::Result<()> {
    /// let mut frame = Frame::from_packed(PixelFormat::Rgb8, 4, 2, vec![255; 4 * 2 * 3])?;
    /// // The top row becomes black.
    /// frame.view_mut().rows_mut(0).next().expect("a frame has a row").fill(0);
    /// assert_eq!(frame.pixels(), [[0; 12], [255; 12]].concat());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// `InvalidFrame` for a side outside 1..=8192 pixels, or fewer bytes than [`PixelFormat::packed_len`]. Bytes past
    /// the last plane are removed.
    pub fn from_packed(format: PixelFormat, width: u32, height: u32, mut pixels: Vec<u8>) -> Result<Self> {
        let head = *FrameView::packed(format, width, height, &pixels)?.head();
        pixels.truncate(format.packed_len(width, height));
        Ok(Self::from_parts(head, pixels, None))
    }

    fn from_parts(head: Head, pixels: Vec<u8>, home: Option<Arc<ArrayQueue<Vec<u8>>>>) -> Self {
        Self { head, pixels, id: FrameId::default(), stamp: Stamp::default(), home }
    }

    /// Returns a view of the pixels, with the frame's stamp.
    pub fn view(&self) -> FrameView<'_> {
        FrameView::split(self.head, &self.pixels).with_stamp(self.stamp)
    }

    /// Returns a view of the pixels for writing.
    pub fn view_mut(&mut self) -> FrameViewMut<'_> {
        FrameViewMut::split(self.head, &mut self.pixels)
    }

    /// Returns the bytes of all planes, one plane after another, without gaps.
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// Returns the bytes of all planes for writing, one plane after another, without gaps.
    pub fn pixels_mut(&mut self) -> &mut [u8] {
        &mut self.pixels
    }

    /// Returns the pixel format.
    pub fn format(&self) -> PixelFormat {
        self.head.format
    }

    /// Returns the width, in pixels.
    pub fn width(&self) -> u32 {
        self.head.width
    }

    /// Returns the height, in pixels.
    pub fn height(&self) -> u32 {
        self.head.height
    }

    /// Returns the row that is first in memory.
    pub fn origin(&self) -> Origin {
        self.head.origin
    }

    /// Sets the row that is first in memory; moves no pixels.
    pub fn set_origin(&mut self, origin: Origin) {
        self.head.origin = origin;
    }

    /// Returns the color space of NV12 and I420 pixels.
    pub fn color(&self) -> ColorSpace {
        self.head.color
    }

    /// Sets the color space of NV12 and I420 pixels; changes no pixels.
    pub fn set_color(&mut self, color: ColorSpace) {
        self.head.color = color;
    }

    /// Returns its number within the stream.
    pub fn id(&self) -> FrameId {
        self.id
    }

    /// Sets its number within the stream.
    pub fn set_id(&mut self, id: FrameId) {
        self.id = id;
    }

    /// Returns when it was captured.
    pub fn timestamp(&self) -> Timestamp {
        self.stamp.timestamp
    }

    /// Sets when it was captured.
    pub fn set_timestamp(&mut self, timestamp: Timestamp) {
        self.stamp.timestamp = timestamp;
    }

    /// Returns its stamp.
    pub fn stamp(&self) -> Stamp {
        self.stamp
    }

    /// Sets its stamp.
    pub fn set_stamp(&mut self, stamp: Stamp) {
        self.stamp = stamp;
    }
}

impl Drop for Frame {
    fn drop(&mut self) {
        if let Some(home) = self.home.take() {
            // A full pool frees the buffer.
            let _ = home.push(std::mem::take(&mut self.pixels));
        }
    }
}

#[cfg(test)]
mod tests;
