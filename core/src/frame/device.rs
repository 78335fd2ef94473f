//! Frames in the memory of a device, which the host allocated there: where their pixels are, checked once.

#![allow(unsafe_code, reason = "the constructors take addresses, whose validity only the host knows")]

use std::ffi::c_void;
use std::fmt;
use std::marker::PhantomData;
use std::num::NonZeroUsize;
use std::ptr::NonNull;

use super::view::Head;
use super::{Origin, PixelFormat, Stamp};
use crate::{Error, ErrorKind, Result};

/// Kinds of memory that [`DeviceFrame`]s and [`DeviceFrameMut`]s can be in.
///
/// [`Engine::frame_memory`](crate::Engine::frame_memory) returns the one that an engine reads and writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FrameMemory {
    /// Memory of the host: that of ONNX Runtime's provider `cpu`, for tests without a GPU.
    Host,
    /// Memory of a CUDA device.
    Cuda {
        /// The index of the device, as in CUDA.
        device: u32,
    },
}

impl fmt::Display for FrameMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host => f.write_str("memory of the host"),
            Self::Cuda { device } => write!(f, "memory of CUDA device {device}"),
        }
    }
}

/// A frame in the memory of a device: a format of 8 bits with one plane, a size in pixels, and a stride in bytes.
///
/// [`Engine::process_device`](crate::Engine::process_device) and
/// [`Engine::submit_device`](crate::Engine::submit_device) read it without a transfer through the host.
#[derive(Debug, Clone, Copy)]
pub struct DeviceFrame<'a> {
    layout: DeviceLayout,
    stamp: Stamp,
    pixels: PhantomData<&'a [u8]>,
}

/// Memory of a device into which a picture is written, with the layout of a [`DeviceFrame`].
#[derive(Debug)]
pub struct DeviceFrameMut<'a> {
    layout: DeviceLayout,
    pixels: PhantomData<&'a mut [u8]>,
}

/// The common part of both.
#[derive(Debug, Clone, Copy)]
struct DeviceLayout {
    head: Head,
    // Invariant: not 0, and `span` bytes from it on are within the address space.
    address: usize,
    // Invariant: at least the bytes of a row.
    stride: usize,
    // Bytes from the first pixel to the last.
    span: usize,
    memory: FrameMemory,
    stream: Option<NonZeroUsize>,
}

impl DeviceLayout {
    fn new(
        format: PixelFormat,
        (width, height): (u32, u32),
        (address, stride): (usize, usize),
        memory: FrameMemory,
    ) -> Result<Self> {
        if !matches!(format, PixelFormat::Rgba8 | PixelFormat::Bgra8 | PixelFormat::Rgb8) {
            return Err(invalid(format!("format of a frame on a device: got {format}, expected RGBA8, BGRA8 or RGB8")));
        }
        let head = Head::new(format, width, height)?;
        if address == 0 {
            return Err(invalid("address of a frame on a device: got NULL, expected that of its first row".to_owned()));
        }
        let span = head.check_plane(0, usize::MAX, stride)?;
        if address.checked_add(span).is_none() {
            let text = format!(
                "address of a frame on a device: got {address:#x} with {span} bytes, expected an end within the address \
                 space"
            );
            return Err(invalid(text));
        }
        Ok(Self { head, address, stride, span, memory, stream: None })
    }

    /// Returns the number of bytes in all rows but the last if rows are not contiguous, otherwise 0.
    fn padded_len(&self) -> usize {
        if self.stride == self.row_bytes() { 0 } else { self.span - self.row_bytes() }
    }

    fn row_bytes(&self) -> usize {
        self.head.sizes[0].row_bytes
    }
}

fn invalid(text: String) -> Error {
    Error::new(ErrorKind::InvalidFrame, text)
}

/// Bytes of a frame on a device. Only a frame makes them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DeviceBytes<'a> {
    address: usize,
    len: usize,
    bytes: PhantomData<&'a [u8]>,
}

/// Bytes of a frame on a device, for writing. Only a frame makes them.
#[derive(Debug)]
pub(crate) struct DeviceBytesMut<'a> {
    address: usize,
    len: usize,
    bytes: PhantomData<&'a mut [u8]>,
}

impl<'a> DeviceFrame<'a> {
    /// Describes pixels on a device. The first byte of the first row is at `address`, an address of `memory`, and rows
    /// start every `stride` bytes. The formats are [`Rgba8`](PixelFormat::Rgba8), [`Bgra8`](PixelFormat::Bgra8) and
    /// [`Rgb8`](PixelFormat::Rgb8). The origin is top-left until [`with_origin`](Self::with_origin) changes it.
    ///
    /// ```
    /// use dreamframe::frame::{DeviceFrame, FrameMemory, FrameView};
    /// use dreamframe::{Engine, ErrorKind, PixelFormat, StreamDiffusionParams};
    ///
    /// # fn main() -> dreamframe::Result<()> {
    /// let params = StreamDiffusionParams { width: 64, height: 64, ..StreamDiffusionParams::demo() };
    /// let mut engine = Engine::builder().params(params).build()?;
    /// let pixels = vec![127; 64 * 64 * 4];
    /// // SAFETY: the pixels are in memory of the host, and outlive the frame.
    /// let frame = unsafe { DeviceFrame::new(PixelFormat::Rgba8, 64, 64, pixels.as_ptr(), 64 * 4, FrameMemory::Host)? };
    /// // The executor `cpu` has no device: a host uses its own way through host memory then.
    /// assert_eq!(engine.frame_memory(), None);
    /// assert_eq!(engine.submit_device(&frame).unwrap_err().kind(), ErrorKind::Unsupported);
    /// engine.process(&FrameView::packed(PixelFormat::Rgba8, 64, 64, &pixels)?)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// `InvalidFrame` for another format, a side outside 1..=8192 pixels, an address of NULL, a stride shorter than a row
    /// or longer than 2^31 - 1 bytes, or an end beyond the address space.
    ///
    /// # Safety
    ///
    /// During `'a`:
    ///
    /// - All bytes from the first pixel to the last, with the padding between rows, are allocated in `memory` and can be
    ///   read: by the host for [`FrameMemory::Host`], by kernels of that CUDA device for [`FrameMemory::Cuda`]. CUDA's
    ///   memory is linear (`cuMemAlloc`, `cuMemAllocPitch` or `cudaMalloc`, not an array or a texture), and allocated in
    ///   the device's primary context, which is that of CUDA's runtime.
    /// - Nothing writes to them. Work that writes them was finished before the frame is used, or was queued before on the
    ///   stream of [`with_stream`](Self::with_stream).
    pub unsafe fn new(
        format: PixelFormat,
        width: u32,
        height: u32,
        address: *const u8,
        stride: usize,
        memory: FrameMemory,
    ) -> Result<Self> {
        let layout = DeviceLayout::new(format, (width, height), (address.expose_provenance(), stride), memory)?;
        Ok(Self { layout, stamp: Stamp::default(), pixels: PhantomData })
    }

    /// Sets when the frame was captured, and the host's tag.
    #[must_use]
    pub fn with_stamp(mut self, stamp: Stamp) -> Self {
        self.stamp = stamp;
        self
    }

    /// Returns its stamp; zeros if the host set none.
    pub fn stamp(&self) -> Stamp {
        self.stamp
    }

    /// Returns the bytes of the frame: all at once if its rows are contiguous, otherwise all rows but the last with their
    /// padding, and the last row.
    #[cfg_attr(not(feature = "onnx"), allow(dead_code, reason = "only the executor onnx reads frames on a device"))]
    pub(crate) fn parts(&self) -> impl Iterator<Item = DeviceBytes<'a>> + use<'a> {
        let DeviceLayout { address, span, .. } = self.layout;
        let padded = self.layout.padded_len();
        let part = move |(start, len)| DeviceBytes { address: address + start, len, bytes: PhantomData };
        [(0, padded), (padded, span - padded)].into_iter().filter(|(_, len)| *len > 0).map(part)
    }
}

impl DeviceFrameMut<'_> {
    /// Describes memory on a device; as [`DeviceFrame::new`].
    ///
    /// The bytes of the padding between rows keep their values; they are read and written back with the picture.
    ///
    /// # Errors
    ///
    /// Those of [`DeviceFrame::new`].
    ///
    /// # Safety
    ///
    /// As for [`DeviceFrame::new`], with all bytes initialized and writable, and nothing else that reads or writes them,
    /// the padding included, while a picture is written.
    pub unsafe fn new(
        format: PixelFormat,
        width: u32,
        height: u32,
        address: *mut u8,
        stride: usize,
        memory: FrameMemory,
    ) -> Result<Self> {
        let layout = DeviceLayout::new(format, (width, height), (address.expose_provenance(), stride), memory)?;
        Ok(Self { layout, pixels: PhantomData })
    }

    /// Returns the bytes of the frame: all rows but the last with their padding, empty if rows are contiguous, and the
    /// rest.
    #[cfg_attr(not(feature = "onnx"), allow(dead_code, reason = "only the executor onnx writes frames on a device"))]
    pub(crate) fn parts_mut(&mut self) -> [DeviceBytesMut<'_>; 2] {
        let DeviceLayout { address, span, .. } = self.layout;
        let padded = self.layout.padded_len();
        [(0, padded), (padded, span - padded)].map(|(start, len)| DeviceBytesMut {
            address: address + start,
            len,
            bytes: PhantomData,
        })
    }
}

/// The accessors of both descriptions.
macro_rules! layout_accessors {
    ($frame:ident) => {
        impl $frame<'_> {
            /// Sets the row that is first in memory.
            #[must_use]
            pub fn with_origin(mut self, origin: Origin) -> Self {
                self.layout.head.origin = origin;
                self
            }

            /// Sets the CUDA stream on which the host queued work on these bytes: the engine waits until that is finished
            /// before it uses them. Without a stream, the host has waited itself. CUDA's default streams are the handles 1
            /// (`CU_STREAM_LEGACY`) and 2 (`CU_STREAM_PER_THREAD`).
            ///
            /// # Safety
            ///
            /// The handle is that of a stream, which exists when the frame is used. The thread that uses the frame has a
            /// current CUDA context in which the stream is valid.
            #[must_use]
            pub unsafe fn with_stream(mut self, stream: NonNull<c_void>) -> Self {
                self.layout.stream = NonZeroUsize::new(stream.as_ptr().expose_provenance());
                self
            }

            /// Returns the pixel format.
            pub fn format(&self) -> PixelFormat {
                self.layout.head.format
            }

            /// Returns the width, in pixels.
            pub fn width(&self) -> u32 {
                self.layout.head.width
            }

            /// Returns the height, in pixels.
            pub fn height(&self) -> u32 {
                self.layout.head.height
            }

            /// Returns the bytes from the start of a row to the start of the next.
            pub fn stride(&self) -> usize {
                self.layout.stride
            }

            /// Returns the row that is first in memory.
            pub fn origin(&self) -> Origin {
                self.layout.head.origin
            }

            /// Returns the memory that the pixels are in.
            pub fn memory(&self) -> FrameMemory {
                self.layout.memory
            }

            /// Returns the handle of the CUDA stream, if the host set one.
            #[cfg_attr(not(feature = "onnx"), allow(dead_code, reason = "only the executor onnx waits for streams"))]
            pub(crate) fn stream(&self) -> Option<NonZeroUsize> {
                self.layout.stream
            }
        }
    };
}

layout_accessors!(DeviceFrame);
layout_accessors!(DeviceFrameMut);

/// The place of bytes.
macro_rules! bytes_accessors {
    ($bytes:ident) => {
        #[cfg_attr(not(feature = "onnx"), allow(dead_code, reason = "only the executor onnx uses frames on a device"))]
        impl $bytes<'_> {
            /// Returns the address of the first byte.
            pub(crate) fn address(&self) -> usize {
                self.address
            }

            /// Returns the number of bytes.
            pub(crate) fn len(&self) -> usize {
                self.len
            }
        }
    };
}

bytes_accessors!(DeviceBytes);
bytes_accessors!(DeviceBytesMut);

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(format: PixelFormat, size: (u32, u32), address: usize, stride: usize) -> Result<DeviceFrame<'static>> {
        let address = std::ptr::without_provenance(address);
        // SAFETY: nothing reads the bytes.
        unsafe { DeviceFrame::new(format, size.0, size.1, address, stride, FrameMemory::Cuda { device: 1 }) }
    }

    fn parts(frame: &DeviceFrame<'_>) -> Vec<(usize, usize)> {
        frame.parts().map(|part| (part.address(), part.len())).collect()
    }

    #[test]
    fn rows_with_padding_have_two_parts_and_contiguous_rows_one() {
        assert_eq!(parts(&frame(PixelFormat::Rgba8, (3, 4), 0x1000, 12).unwrap()), [(0x1000, 48)]);
        assert_eq!(parts(&frame(PixelFormat::Rgba8, (3, 4), 0x1000, 16).unwrap()), [(0x1000, 48), (0x1030, 12)]);
        assert_eq!(parts(&frame(PixelFormat::Rgb8, (5, 1), 0x1001, 64).unwrap()), [(0x1001, 15)]);
    }

    #[test]
    fn invalid_frames_are_refused_with_value_and_bound() {
        for (format, size, address, stride, text) in [
            (PixelFormat::Nv12, (4, 4), 8, 4, "got NV12, expected RGBA8, BGRA8 or RGB8"),
            (PixelFormat::Rgba16F, (4, 4), 8, 32, "got RGBA16F"),
            (PixelFormat::Rgba8, (0, 4), 8, 16, "got 0x4, expected sides from 1 to 8192"),
            (PixelFormat::Rgba8, (4, 8193), 8, 16, "got 4x8193"),
            (PixelFormat::Rgba8, (4, 4), 0, 16, "got NULL"),
            (PixelFormat::Rgba8, (4, 4), 8, 15, "got 15 bytes, expected 16 to 2147483647"),
            (PixelFormat::Rgb8, (4, 4), 8, 1 << 31, "got 2147483648 bytes, expected 12 to 2147483647"),
            (PixelFormat::Rgba8, (4, 4), usize::MAX - 62, 16, "with 64 bytes, expected an end within"),
        ] {
            let refused = frame(format, size, address, stride).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::InvalidFrame);
            assert!(refused.to_string().contains(text), "{refused}");
        }
        assert!(frame(PixelFormat::Rgba8, (4, 4), usize::MAX - 64, 16).is_ok());
    }
}
