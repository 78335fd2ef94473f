//! Frames in the memory of a device.

use std::ffi::c_void;
use std::mem::offset_of;
use std::ptr::NonNull;

use dreamframe::frame::{DeviceFrame, DeviceFrameMut, FrameMemory};
use dreamframe::{Engine, Error, ErrorKind, Result, Stamp, Timestamp};

use crate::engine::{check_size, dreamframe_engine_t, with};
use crate::frame::{format_of, origin_of};
use crate::guard::guard;
use crate::picture::dreamframe_picture_info_t;
use crate::pointer::{self, Out, OutStruct, Versioned};
use crate::status::dreamframe_status_t;

/// Memory that a `dreamframe_device_frame_t` is in.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum dreamframe_frame_memory_t {
    /// Memory of the host: that of the provider `cpu` of ONNX Runtime, for tests without a GPU.
    DREAMFRAME_FRAME_MEMORY_HOST = 1,
    /// Linear memory of a CUDA device, as of `cudaMalloc` or `cuMemAlloc`; not an array or a texture.
    DREAMFRAME_FRAME_MEMORY_CUDA = 2,
}

/// Pixels in the memory of a device that the host allocated: an input frame, or the target of a picture.
///
/// Initialize with `DREAMFRAME_DEVICE_FRAME_INIT`. It sets `struct_size`, which identifies the fields that this header has.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct dreamframe_device_frame_t {
    /// The size of this struct in bytes.
    pub struct_size: usize,
    /// Width in pixels, 1 to 8192.
    pub width: u32,
    /// Height in pixels, 1 to 8192.
    pub height: u32,
    /// `DREAMFRAME_PIXEL_FORMAT_RGBA8`, `_BGRA8` or `_RGB8`.
    pub format: u32,
    /// The row that is first in memory: a `dreamframe_origin_t`, or 0 for the top row.
    pub origin: u32,
    /// A `dreamframe_frame_memory_t`.
    pub memory: u32,
    /// The index of the CUDA device; 0 for memory of the host.
    pub device: u32,
    /// The first byte of the first row: an address of `memory`.
    pub address: *mut c_void,
    /// Bytes from the start of a row to the start of the next. The bytes between rows of a target keep their values, but are
    /// read and written.
    pub stride: usize,
    /// The CUDA stream (`cudaStream_t` or `CUstream`) with the host's work on the pixels, for which the call waits; NULL if
    /// that work is finished. The default stream is `cudaStreamLegacy` here, not NULL. Always NULL for memory of the host.
    pub stream: *mut c_void,
    /// Capture time, in nanoseconds of the host's own clock; returned with the picture.
    pub timestamp_ns: u64,
    /// An arbitrary tag of the host; returned with the picture.
    pub user_tag: u64,
}

// SAFETY: `repr(C)`, starts with its size, and all its fields are integers and pointers.
unsafe impl Versioned for dreamframe_device_frame_t {
    const NAME: &'static str = "device_frame";
    const LEAST: usize = offset_of!(Self, user_tag) + size_of::<u64>();
}

impl dreamframe_device_frame_t {
    /// Returns the memory of the frame.
    ///
    /// # Errors
    ///
    /// `InvalidFrame` for an unknown number, and for an index of a device with memory of the host.
    fn memory(&self) -> Result<FrameMemory> {
        const HOST: u32 = dreamframe_frame_memory_t::DREAMFRAME_FRAME_MEMORY_HOST as u32;
        const CUDA: u32 = dreamframe_frame_memory_t::DREAMFRAME_FRAME_MEMORY_CUDA as u32;
        match (self.memory, self.device) {
            (HOST, 0) => Ok(FrameMemory::Host),
            (HOST, device) => {
                Err(invalid(format!("device of a frame in memory of the host: got {device}, expected 0")))
            }
            (CUDA, device) => Ok(FrameMemory::Cuda { device }),
            (other, _) => Err(invalid(format!("memory of the frame: got {other}, expected 1 to 2"))),
        }
    }

    /// Returns the description of a frame to read.
    ///
    /// # Errors
    ///
    /// `InvalidFrame` for an invalid frame.
    ///
    /// # Safety
    ///
    /// That of [`DeviceFrame::new`] and [`DeviceFrame::with_stream`].
    unsafe fn frame<'a>(&self) -> Result<DeviceFrame<'a>> {
        let (format, memory) = (format_of(self.format)?, self.memory()?);
        let address = self.address.cast_const().cast();
        // SAFETY: the caller's promise.
        let frame = unsafe { DeviceFrame::new(format, self.width, self.height, address, self.stride, memory) }?;
        let stamp = Stamp { timestamp: Timestamp(self.timestamp_ns), tag: self.user_tag };
        let frame = frame.with_origin(origin_of(self.origin)?).with_stamp(stamp);
        let Some(stream) = NonNull::new(self.stream) else { return Ok(frame) };
        // SAFETY: likewise.
        Ok(unsafe { frame.with_stream(stream) })
    }

    /// Returns the description of a frame to write.
    ///
    /// # Errors
    ///
    /// `InvalidFrame` for an invalid frame.
    ///
    /// # Safety
    ///
    /// That of [`DeviceFrameMut::new`] and [`DeviceFrameMut::with_stream`].
    unsafe fn frame_mut<'a>(&self) -> Result<DeviceFrameMut<'a>> {
        let (format, memory) = (format_of(self.format)?, self.memory()?);
        let address = self.address.cast();
        // SAFETY: the caller's promise.
        let frame = unsafe { DeviceFrameMut::new(format, self.width, self.height, address, self.stride, memory) }?;
        let frame = frame.with_origin(origin_of(self.origin)?);
        let Some(stream) = NonNull::new(self.stream) else { return Ok(frame) };
        // SAFETY: likewise.
        Ok(unsafe { frame.with_stream(stream) })
    }

    /// Checks that the bytes of this frame and of another one do not overlap.
    ///
    /// # Errors
    ///
    /// `InvalidFrame` if they do.
    fn check_apart(&self, other: &Self) -> Result<()> {
        let span = |frame: &Self| -> Result<_> {
            let span = format_of(frame.format)?.plane_span(0, frame.width, frame.height, frame.stride);
            Ok((frame.address.addr(), frame.address.addr().saturating_add(span.unwrap_or(0))))
        };
        let ((start, end), (other_start, other_end)) = (span(self)?, span(other)?);
        if (self.memory, self.device) == (other.memory, other.device) && start < other_end && other_start < end {
            let text = "memory for the picture on the device: got bytes of the frame, expected others";
            return Err(invalid(text.to_owned()));
        }
        Ok(())
    }
}

fn invalid(text: String) -> Error {
    Error::new(ErrorKind::InvalidFrame, text)
}

/// Returns the memory of frames that `dreamframe_engine_process_device()` reads and writes.
///
/// - Threads: one call at a time per object.
/// - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL, and an engine that is in use or in a session.
///
/// @param[in]  engine      from `dreamframe_engine_create()`
/// @param[out] out_memory  a `dreamframe_frame_memory_t`; 0 if the executor has no memory for frames: use
///                         `dreamframe_engine_process()` then
/// @param[out] out_device  the index of the CUDA device; 0 for other memory
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dreamframe_engine_frame_memory(
    engine: *mut dreamframe_engine_t,
    out_memory: *mut u32,
    out_device: *mut u32,
) -> dreamframe_status_t {
    guard(|| {
        // SAFETY: guaranteed by the host, as documented in the header.
        let (memory, device) =
            unsafe { (Out::required(out_memory, "out_memory")?, Out::required(out_device, "out_device")?) };
        let (kind, index) = match with(engine, |engine| Ok(engine.frame_memory()))? {
            Some(FrameMemory::Host) => (dreamframe_frame_memory_t::DREAMFRAME_FRAME_MEMORY_HOST as u32, 0),
            Some(FrameMemory::Cuda { device }) => {
                (dreamframe_frame_memory_t::DREAMFRAME_FRAME_MEMORY_CUDA as u32, device)
            }
            Some(_) | None => (0, 0),
        };
        memory.set(kind);
        device.set(index);
        Ok(())
    })
}

/// Processes one frame in the memory of the device, and writes the picture of the frame `delay` calls ago there, without a
/// transfer through the host. Everything is finished when it returns. Pixels are scaled as by
/// `dreamframe_engine_process()`, and differ by at most 1 if they are.
///
/// - Threads: one call at a time per object. If a frame has a stream, its CUDA context is current on the calling thread.
/// - Ownership: the host owns both frames; the library keeps no pointer into them. They must not overlap. No other work may
///   access them during the call, the bytes between rows of `target` included.
/// - Errors: `DREAMFRAME_ERROR_UNSUPPORTED` if the executor has no memory for frames (`dreamframe_engine_frame_memory()`), or
///   NVIDIA's driver, which a frame with a stream needs, is missing; `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL, a wrong
///   `struct_size`, other memory than the engine's, an engine that is in use or in a session;
///   `DREAMFRAME_ERROR_INVALID_FRAME` for an invalid frame or size; errors of the device. The engine continues with the next
///   frame; the pixels of `target` are then unspecified.
///
/// @param[in]  engine    from `dreamframe_engine_create()`
/// @param[in]  frame     the frame, of any size
/// @param[in]  target    receives the picture: of the size `dreamframe_engine_size()`
/// @param[out] out_info  how the picture was made; may be NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dreamframe_engine_process_device(
    engine: *mut dreamframe_engine_t,
    frame: *const dreamframe_device_frame_t,
    target: *const dreamframe_device_frame_t,
    out_info: *mut dreamframe_picture_info_t,
) -> dreamframe_status_t {
    guard(|| {
        // SAFETY: guaranteed by the host, as documented in the header.
        let (frame, target, out) =
            unsafe { (pointer::read(frame)?, pointer::read(target)?, OutStruct::optional(out_info)?) };
        with(engine, |engine: &mut Engine| {
            // SAFETY: likewise.
            let (from, mut to) = unsafe { (frame.frame()?, target.frame_mut()?) };
            target.check_apart(&frame)?;
            let size = engine.size();
            check_size((target.width, target.height), size)?;
            let info = engine.process_device(&from, &mut to)?;
            if let Some(out) = out {
                out.set(&dreamframe_picture_info_t::new(&info, size));
            }
            Ok(())
        })
    })
}
