//! Frames in the host's memory.

use std::mem::offset_of;
use std::sync::{Mutex, TryLockError};

use dreamframe::frame::{ColorSpace, FrameCopier, Plane, PlaneMut, YuvMatrix, YuvRange};
use dreamframe::{Error, ErrorKind, FrameView, FrameViewMut, Origin, PixelFormat, Result, Stamp, Timestamp};

use crate::guard::guard;
use crate::pointer::{self, OutStruct, Versioned};
use crate::status::dreamframe_status_t;

/// Pixel format of a `dreamframe_frame_t`. Zero is not a format, so that a zeroed frame is rejected.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum dreamframe_pixel_format_t {
    /// Four bytes per pixel: red, green, blue, alpha; alpha is not premultiplied, ignored in input and 255 in output.
    DREAMFRAME_PIXEL_FORMAT_RGBA8 = 1,
    /// Four bytes per pixel: blue, green, red, alpha, as above.
    DREAMFRAME_PIXEL_FORMAT_BGRA8 = 2,
    /// Three bytes per pixel: red, green, blue.
    DREAMFRAME_PIXEL_FORMAT_RGB8 = 3,
    /// Four half-precision floats per pixel: red, green, blue, alpha from 0 to 1, with the same transfer function as
    /// the 8-bit formats.
    DREAMFRAME_PIXEL_FORMAT_RGBA16F = 4,
    /// Two planes: one byte of luma per pixel, then pairs of Cb and Cr at half the width and height, rounded up.
    DREAMFRAME_PIXEL_FORMAT_NV12 = 5,
    /// Three planes: one byte of luma per pixel, then Cb, then Cr at half the width and height, rounded up.
    DREAMFRAME_PIXEL_FORMAT_I420 = 6,
}

/// The row of a frame that is first in memory.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum dreamframe_origin_t {
    /// The top row, as in files and cameras.
    DREAMFRAME_ORIGIN_TOP_LEFT = 1,
    /// The bottom row, as in OpenGL and TouchDesigner.
    DREAMFRAME_ORIGIN_BOTTOM_LEFT = 2,
}

/// The weights of red, green and blue in the luma of NV12 and I420.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum dreamframe_yuv_matrix_t {
    /// ITU-R BT.601: standard definition, JPEG, most webcams.
    DREAMFRAME_YUV_MATRIX_BT601 = 1,
    /// ITU-R BT.709: high definition.
    DREAMFRAME_YUV_MATRIX_BT709 = 2,
}

/// Which byte values NV12 and I420 use.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum dreamframe_yuv_range_t {
    /// Luma 16 to 235, chroma 16 to 240: video.
    DREAMFRAME_YUV_RANGE_LIMITED = 1,
    /// 0 to 255: JPEG.
    DREAMFRAME_YUV_RANGE_FULL = 2,
}

/// Pixels in memory that the host owns: an input frame, or the target of a picture.
///
/// Initialize with `DREAMFRAME_FRAME_INIT`. It sets `struct_size`, which identifies the fields that this header has.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct dreamframe_frame_t {
    /// The size of this struct in bytes.
    pub struct_size: usize,
    /// Width in pixels, 1 to 8192.
    pub width: u32,
    /// Height in pixels, 1 to 8192.
    pub height: u32,
    /// A `dreamframe_pixel_format_t`.
    pub format: u32,
    /// The row that is first in memory: a `dreamframe_origin_t`, or 0 for the top row.
    pub origin: u32,
    /// For NV12 and I420, a `dreamframe_yuv_matrix_t`, or 0 for BT.709.
    pub matrix: u32,
    /// For NV12 and I420, a `dreamframe_yuv_range_t`, or 0 for limited.
    pub range: u32,
    /// The first byte of each plane of the format; the others are ignored. Planes of an input frame are not written.
    pub planes: [*mut u8; 4],
    /// Bytes from the start of a row to the start of the next, in each plane.
    pub strides: [usize; 4],
    /// Capture time, in nanoseconds of the host's own clock; returned with the picture.
    pub timestamp_ns: u64,
    /// An arbitrary tag of the host; returned with the picture.
    pub user_tag: u64,
}

// SAFETY: `repr(C)`, starts with its size, and all its fields are integers and pointers.
unsafe impl Versioned for dreamframe_frame_t {
    const NAME: &'static str = "frame";
    const LEAST: usize = offset_of!(Self, user_tag) + size_of::<u64>();
}

/// Returns the format with the given number.
///
/// # Errors
///
/// `InvalidFrame` if there is none.
pub(crate) fn format_of(number: u32) -> Result<PixelFormat> {
    const ALL: [PixelFormat; 6] = [
        PixelFormat::Rgba8,
        PixelFormat::Bgra8,
        PixelFormat::Rgb8,
        PixelFormat::Rgba16F,
        PixelFormat::Nv12,
        PixelFormat::I420,
    ];
    choose("format", number, ALL.map(|format| (format as u32, format)))
}

/// Returns the origin with the given number; the top row for 0.
///
/// # Errors
///
/// `InvalidFrame` if there is none.
pub(crate) fn origin_of(number: u32) -> Result<Origin> {
    choose_or("origin", number, [Origin::TopLeft, Origin::BottomLeft].map(|origin| (origin as u32, origin)))
}

/// Returns the value with the given number.
fn choose<T, const N: usize>(what: &str, number: u32, all: [(u32, T); N]) -> Result<T> {
    let found = all.into_iter().find(|(known, _)| *known == number);
    found
        .map(|(_, value)| value)
        .ok_or_else(|| invalid(format!("{what} of the frame: got {number}, expected 1 to {N}")))
}

fn choose_or<T: Default, const N: usize>(what: &str, number: u32, all: [(u32, T); N]) -> Result<T> {
    if number == 0 { Ok(T::default()) } else { choose(what, number, all) }
}

impl dreamframe_frame_t {
    fn origin(&self) -> Result<Origin> {
        origin_of(self.origin)
    }

    fn color(&self) -> Result<ColorSpace> {
        let matrices = [YuvMatrix::Bt601, YuvMatrix::Bt709].map(|matrix| (matrix as u32, matrix));
        let ranges = [YuvRange::Limited, YuvRange::Full].map(|range| (range as u32, range));
        let (matrix, range) = (choose_or("matrix", self.matrix, matrices)?, choose_or("range", self.range, ranges)?);
        Ok(ColorSpace { matrix, range })
    }

    /// Returns the bytes of plane `index`; `None` if its stride or the size of the frame is invalid.
    fn span(&self, format: PixelFormat, index: usize) -> Result<Span> {
        let (Some(&start), Some(&stride)) = (self.planes.get(index), self.strides.get(index)) else {
            return Err(invalid(format!("plane index: got {index}, expected less than {}", self.planes.len())));
        };
        if start.is_null() {
            return Err(invalid(format!(
                "plane {index} of the {format} frame: got NULL, expected the address of its first row"
            )));
        }
        let len = format.plane_span(index, self.width, self.height, stride).unwrap_or(0);
        if start.addr().checked_add(len).is_none() {
            return Err(invalid(format!(
                "plane {index} of the {format} frame: got an address and a size beyond the address space"
            )));
        }
        Ok(Span { start, len, stride })
    }

    /// Returns the bytes of all planes of the format.
    fn spans(&self, format: PixelFormat) -> Result<[Span; 3]> {
        let mut spans = [Span::NONE; 3];
        for (index, span) in spans.iter_mut().enumerate().take(format.planes()) {
            *span = self.span(format, index)?;
        }
        Ok(spans)
    }

    /// Returns a view of the pixels.
    ///
    /// # Errors
    ///
    /// `InvalidFrame` for an invalid frame.
    ///
    /// # Safety
    ///
    /// The planes are readable during `'a`, to the extent given by size, format and strides.
    pub(crate) unsafe fn view<'a>(&self) -> Result<FrameView<'a>> {
        let format = format_of(self.format)?;
        let planes = self.spans(format)?.map(|Span { start, len, stride }| {
            // SAFETY: not NULL, within the address space, and the caller's guarantee.
            Plane { pixels: unsafe { std::slice::from_raw_parts(start, len) }, stride }
        });
        let planes = planes.get(..format.planes()).unwrap_or_default();
        let view = FrameView::new(format, self.width, self.height, planes)?;
        let stamp = Stamp { timestamp: Timestamp(self.timestamp_ns), tag: self.user_tag };
        Ok(view.with_origin(self.origin()?).with_color(self.color()?).with_stamp(stamp))
    }

    /// Returns a mutable view of the pixels.
    ///
    /// # Errors
    ///
    /// `InvalidFrame` for an invalid frame, and for planes that overlap each other or those of `beside`.
    ///
    /// # Safety
    ///
    /// The planes are writable during `'a`, to the extent given by size, format and strides.
    pub(crate) unsafe fn view_mut<'a>(&self, beside: Option<&Self>) -> Result<FrameViewMut<'a>> {
        let format = format_of(self.format)?;
        let spans = self.spans(format)?;
        let others = beside.map(|other| other.spans(format_of(other.format)?)).transpose()?.unwrap_or([Span::NONE; 3]);
        for (index, span) in spans.iter().enumerate() {
            let after = spans.get(index + 1..).unwrap_or_default();
            if after.iter().chain(&others).any(|other| span.overlaps(other)) {
                return Err(invalid(format!("plane {index} of the memory for the picture overlaps another plane")));
            }
        }
        let planes = spans.into_iter().take(format.planes()).map(|Span { start, len, stride }| {
            // SAFETY: not NULL, within the address space, disjoint, and the caller's guarantee.
            PlaneMut { pixels: unsafe { std::slice::from_raw_parts_mut(start, len) }, stride }
        });
        let view = FrameViewMut::new(format, self.width, self.height, planes)?;
        Ok(view.with_origin(self.origin()?).with_color(self.color()?))
    }

    /// Describes pixels of the library for the host.
    pub(crate) fn describe(view: &FrameView<'_>) -> Self {
        let plane = |index| view.plane(index);
        let stamp = view.stamp();
        Self {
            struct_size: size_of::<Self>(),
            width: view.width(),
            height: view.height(),
            format: view.format() as u32,
            origin: view.origin() as u32,
            matrix: view.color().matrix as u32,
            range: view.color().range as u32,
            planes: std::array::from_fn(|i| plane(i).map_or(std::ptr::null_mut(), |p| p.pixels.as_ptr().cast_mut())),
            strides: std::array::from_fn(|i| plane(i).map_or(0, |plane| plane.stride)),
            timestamp_ns: stamp.timestamp.0,
            user_tag: stamp.tag,
        }
    }
}

/// Bytes of a plane: address, length and stride.
#[derive(Clone, Copy)]
struct Span {
    // Never NULL.
    start: *mut u8,
    len: usize,
    stride: usize,
}

impl Span {
    const NONE: Self = Self { start: std::ptr::dangling_mut(), len: 0, stride: 0 };

    fn overlaps(&self, other: &Self) -> bool {
        self.start.addr() < other.start.addr() + other.len && other.start.addr() < self.start.addr() + self.len
    }
}

/// Copies a picture into the host's memory, with the object's copier unless another thread is using it.
///
/// # Errors
///
/// `InvalidFrame` for an invalid target or one of another size, `OutOfMemory`.
///
/// # Safety
///
/// `target` is writable, to the extent given by size, format and strides.
pub(crate) unsafe fn copy_out(
    copier: &Mutex<FrameCopier>,
    picture: &FrameView<'_>,
    target: &dreamframe_frame_t,
) -> Result<()> {
    // SAFETY: the caller's promise.
    let mut to = unsafe { target.view_mut(None) }?;
    match copier.try_lock() {
        Ok(mut copier) => copier.copy(picture, &mut to),
        Err(TryLockError::Poisoned(copier)) => copier.into_inner().copy(picture, &mut to),
        Err(TryLockError::WouldBlock) => FrameCopier::new().copy(picture, &mut to),
    }
}

fn invalid(text: String) -> Error {
    Error::new(ErrorKind::InvalidFrame, text)
}

/// Describes pixels whose rows and planes are contiguous: fills in size, format, planes and strides, and zeros for the
/// rest.
///
/// - Threads: any thread.
/// - Ownership: the host owns the pixels; the frame points to them.
/// - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL or a wrong `struct_size`; `DREAMFRAME_ERROR_INVALID_FRAME` for an
///   invalid format, a side outside 1 to 8192, or fewer bytes than the pixels need.
///
/// @param[in]  format     a `dreamframe_pixel_format_t`
/// @param[in]  width      width in pixels
/// @param[in]  height     height in pixels
/// @param[in]  pixels     the first byte
/// @param[in]  len        number of bytes
/// @param[out] out_frame  initialized with `DREAMFRAME_FRAME_INIT`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dreamframe_frame_packed(
    format: u32,
    width: u32,
    height: u32,
    pixels: *mut u8,
    len: usize,
    out_frame: *mut dreamframe_frame_t,
) -> dreamframe_status_t {
    guard(|| {
        // SAFETY: guaranteed by the host, as documented in the header.
        let out = unsafe { OutStruct::required(out_frame) }?;
        // SAFETY: likewise.
        let pixels = unsafe { pointer::slice(pixels.cast_const(), len, "pixels") }?;
        let view = FrameView::packed(format_of(format)?, width, height, pixels)?;
        out.set(&dreamframe_frame_t { origin: 0, matrix: 0, range: 0, ..dreamframe_frame_t::describe(&view) });
        Ok(())
    })
}
