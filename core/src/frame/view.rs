//! Borrowed pixels: a format, a size, planes and strides, checked once.
//!
//! Constructors truncate every plane to exactly the bytes of its pixels. The rows of a plane are then its chunks by the
//! stride, and no further checks are needed.

use super::Stamp;
use super::format::{ColorSpace, MAX_SIDE, Origin, PixelFormat, PlaneSize};
use crate::{Error, ErrorKind, Result};

/// One plane of pixels that are read.
#[derive(Debug, Clone, Copy)]
pub struct Plane<'a> {
    /// From the first byte of the first row; at least up to the last pixel of the last row.
    pub pixels: &'a [u8],
    /// Bytes from the start of a row to the start of the next.
    pub stride: usize,
}

/// One plane of pixels that are written.
#[derive(Debug)]
pub struct PlaneMut<'a> {
    /// From the first byte of the first row; at least up to the last pixel of the last row.
    pub pixels: &'a mut [u8],
    /// Bytes from the start of a row to the start of the next.
    pub stride: usize,
}

/// Borrowed pixels of a host: a format, a size in pixels, and one to three planes with strides in bytes.
///
/// ```
/// use dreamframe::frame::{ColorSpace, FrameView, PixelFormat, Plane, YuvMatrix, YuvRange};
///
/// # fn main() -> dreamframe::Result<()> {
/// // NV12 of 1000x500 pixels. Rows start every 1024 bytes; the last 24 bytes of each are padding.
/// let (luma, chroma) = (vec![16_u8; 1024 * 500], vec![128_u8; 1024 * 250]);
/// let planes = [Plane { pixels: &luma, stride: 1024 }, Plane { pixels: &chroma, stride: 1024 }];
/// let color = ColorSpace { matrix: YuvMatrix::Bt601, range: YuvRange::Limited };
/// let frame = FrameView::new(PixelFormat::Nv12, 1000, 500, &planes)?.with_color(color);
/// assert_eq!((frame.rows(0).len(), frame.rows(1).len()), (500, 250));
/// assert!(frame.rows(1).all(|row| row.len() == 1000));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy)]
pub struct FrameView<'a> {
    head: Head,
    // Invariant: exactly the length given by `head.planes` and the stride; empty past the format's planes.
    planes: [&'a [u8]; 3],
    // Invariant: at least 1, and at least the row bytes.
    strides: [usize; 3],
    stamp: Stamp,
}

/// Borrowed memory of a host into which a picture is written, with the layout of a [`FrameView`].
///
/// ```
/// use dreamframe::frame::{FrameView, FrameViewMut, Origin, PixelFormat, PlaneMut};
/// use dreamframe::{Engine, StreamDiffusionParams};
///
/// # fn main() -> dreamframe::Result<()> {
/// let params = StreamDiffusionParams { width: 64, height: 64, ..StreamDiffusionParams::demo() };
/// let mut engine = Engine::builder().params(params).build()?;
/// // The host's texture: rows start every 512 bytes, the bottom one first.
/// let mut texture = vec![0_u8; 512 * 64];
/// let plane = PlaneMut { pixels: &mut texture, stride: 512 };
/// let mut out = FrameViewMut::new(PixelFormat::Rgba8, 64, 64, [plane])?.with_origin(Origin::BottomLeft);
/// let pixels = vec![127_u8; 64 * 64 * 3];
/// engine.process_into(&FrameView::packed(PixelFormat::Rgb8, 64, 64, &pixels)?, &mut out)?;
/// assert!(out.rows_mut(0).all(|row| row.len() == 256 && row[3] == 255));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct FrameViewMut<'a> {
    head: Head,
    // The invariants of `FrameView`.
    planes: [&'a mut [u8]; 3],
    strides: [usize; 3],
}

/// The common part of both views.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) format: PixelFormat,
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) origin: Origin,
    pub(super) color: ColorSpace,
    pub(super) sizes: [PlaneSize; 3],
}

impl Head {
    /// Checks the size; the origin is top-left and the colour space is the default.
    pub(super) fn new(format: PixelFormat, width: u32, height: u32) -> Result<Self> {
        if !(1..=MAX_SIDE).contains(&width) || !(1..=MAX_SIDE).contains(&height) {
            return Err(invalid(format!("frame: got {width}x{height}, expected sides from 1 to {MAX_SIDE}")));
        }
        let sizes = format.plane_sizes(width, height);
        Ok(Self { format, width, height, origin: Origin::default(), color: ColorSpace::default(), sizes })
    }

    /// Checks the stride and length of plane `index`, and returns the length of its pixels.
    pub(super) fn check_plane(&self, index: usize, len: usize, stride: usize) -> Result<usize> {
        let size = self.sizes.get(index).copied().unwrap_or_default();
        let what = || format!("plane {index} of a {} frame of {}x{}", self.format, self.width, self.height);
        // The libraries that process views take strides as 32-bit integers.
        if stride < size.row_bytes || i32::try_from(stride).is_err() {
            return Err(invalid(format!(
                "stride of {}: got {stride} bytes, expected {} to {}",
                what(),
                size.row_bytes,
                i32::MAX
            )));
        }
        match size.span(stride) {
            Some(needed) if needed <= len => Ok(needed),
            needed => Err(invalid(format!(
                "{} with a stride of {stride}: got {len} bytes, expected at least {}",
                what(),
                needed.unwrap_or(usize::MAX)
            ))),
        }
    }

    fn check_plane_count(&self, planes: usize) -> Result<()> {
        if planes == self.format.planes() {
            return Ok(());
        }
        Err(invalid(format!("plane count of a {} frame: got {planes}, expected {}", self.format, self.format.planes())))
    }

    fn check_packed(&self, len: usize) -> Result<()> {
        let needed = self.format.packed_len(self.width, self.height);
        if needed <= len {
            return Ok(());
        }
        let Self { format, width, height, .. } = self;
        Err(invalid(format!("packed {format} frame of {width}x{height}: got {len} bytes, expected at least {needed}")))
    }

    /// Returns whether the first row in memory is the bottom one.
    pub(super) fn bottom_up(&self) -> bool {
        self.origin == Origin::BottomLeft
    }
}

fn invalid(text: String) -> Error {
    Error::new(ErrorKind::InvalidFrame, text)
}

impl<'a> FrameView<'a> {
    /// Creates a view of planes with strides, in the order of the format.
    ///
    /// Nothing is copied, and no alignment is required. The origin is top-left and the color space BT.709 limited
    /// until [`with_origin`](Self::with_origin) and [`with_color`](Self::with_color) change them. The last row of a
    /// plane need not be followed by the rest of its stride.
    ///
    /// # Errors
    ///
    /// `InvalidFrame` for a side outside 1..=8192 pixels, another number of planes than the format's, a stride shorter
    /// than a row or longer than 2^31 - 1 bytes, or a plane too short for its rows.
    pub fn new(format: PixelFormat, width: u32, height: u32, planes: &[Plane<'a>]) -> Result<Self> {
        let head = Head::new(format, width, height)?;
        head.check_plane_count(planes.len())?;
        let mut view = Self { head, planes: [&[]; 3], strides: [1; 3], stamp: Stamp::default() };
        let slots = view.planes.iter_mut().zip(&mut view.strides);
        for (index, (plane, (pixels, stride))) in planes.iter().zip(slots).enumerate() {
            let len = head.check_plane(index, plane.pixels.len(), plane.stride)?;
            *pixels = plane.pixels.get(..len).unwrap_or_default();
            *stride = plane.stride;
        }
        Ok(view)
    }

    /// Creates a view of pixels whose rows and planes follow each other without a gap:
    /// [`packed_len`](PixelFormat::packed_len) bytes.
    ///
    /// ```
    /// use dreamframe::{ErrorKind, FrameView, PixelFormat};
    ///
    /// assert!(FrameView::packed(PixelFormat::Rgb8, 64, 48, &[0; 64 * 48 * 3]).is_ok());
    /// let error = FrameView::packed(PixelFormat::Rgb8, 64, 48, &[0; 100]).unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::InvalidFrame);
    /// // The text names the value and the bound.
    /// assert!(error.to_string().contains("100 bytes") && error.to_string().contains("9216"));
    /// ```
    ///
    /// # Errors
    ///
    /// `InvalidFrame` for a side outside 1..=8192 pixels, or fewer bytes; more bytes are not an error.
    pub fn packed(format: PixelFormat, width: u32, height: u32, pixels: &'a [u8]) -> Result<Self> {
        let head = Head::new(format, width, height)?;
        head.check_packed(pixels.len())?;
        Ok(Self::split(head, pixels))
    }

    /// Creates a view of packed pixels that are known to be long enough for `head`.
    pub(super) fn split(head: Head, pixels: &'a [u8]) -> Self {
        let mut view = Self { head, planes: [&[]; 3], strides: [1; 3], stamp: Stamp::default() };
        let mut rest = pixels;
        for ((plane, stride), size) in view.planes.iter_mut().zip(&mut view.strides).zip(head.sizes) {
            let (first, after) = rest.split_at(size.packed().min(rest.len()));
            (*plane, *stride, rest) = (first, size.row_bytes.max(1), after);
        }
        view
    }

    /// Sets the row that is first in memory.
    #[must_use]
    pub fn with_origin(mut self, origin: Origin) -> Self {
        self.head.origin = origin;
        self
    }

    /// Sets the color space of NV12 and I420 pixels.
    #[must_use]
    pub fn with_color(mut self, color: ColorSpace) -> Self {
        self.head.color = color;
        self
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

    /// Returns plane `index`, truncated to the bytes of its pixels, or `None` past the format's planes.
    pub fn plane(&self, index: usize) -> Option<Plane<'a>> {
        if index >= self.head.format.planes() {
            return None;
        }
        Some(Plane { pixels: self.planes.get(index)?, stride: *self.strides.get(index)? })
    }

    /// Returns the rows of plane `index` in memory order, without the padding; none past the format's planes.
    pub fn rows(&self, index: usize) -> impl ExactSizeIterator<Item = &'a [u8]> + DoubleEndedIterator + use<'a> {
        let pixels = self.planes.get(index).copied().unwrap_or_default();
        let stride = self.strides.get(index).copied().unwrap_or(1);
        let row_bytes = self.head.sizes.get(index).map_or(0, |size| size.row_bytes);
        pixels.chunks(stride).map(move |row| row.get(..row_bytes).unwrap_or(row))
    }

    /// Returns whether the rows of every plane are contiguous.
    pub(super) fn is_packed(&self) -> bool {
        self.strides.iter().zip(self.head.sizes).all(|(&stride, size)| stride == size.row_bytes.max(1))
    }

    pub(super) fn head(&self) -> &Head {
        &self.head
    }
}

impl<'a> FrameViewMut<'a> {
    /// Creates a view of planes with strides, in the order of the format; as [`FrameView::new`].
    ///
    /// # Errors
    ///
    /// Those of [`FrameView::new`].
    pub fn new(
        format: PixelFormat,
        width: u32,
        height: u32,
        planes: impl IntoIterator<Item = PlaneMut<'a>, IntoIter: ExactSizeIterator>,
    ) -> Result<Self> {
        let head = Head::new(format, width, height)?;
        let planes = planes.into_iter();
        head.check_plane_count(planes.len())?;
        let mut view = Self { head, planes: [&mut [], &mut [], &mut []], strides: [1; 3] };
        let slots = view.planes.iter_mut().zip(&mut view.strides);
        for (index, (plane, (pixels, stride))) in planes.zip(slots).enumerate() {
            let len = head.check_plane(index, plane.pixels.len(), plane.stride)?;
            *pixels = plane.pixels.get_mut(..len).unwrap_or_default();
            *stride = plane.stride;
        }
        Ok(view)
    }

    /// Creates a view of memory whose rows and planes follow each other without a gap; as [`FrameView::packed`].
    ///
    /// # Errors
    ///
    /// Those of [`FrameView::packed`].
    pub fn packed(format: PixelFormat, width: u32, height: u32, pixels: &'a mut [u8]) -> Result<Self> {
        let head = Head::new(format, width, height)?;
        head.check_packed(pixels.len())?;
        Ok(Self::split(head, pixels))
    }

    /// Creates a view of packed memory that is known to be long enough for `head`.
    pub(super) fn split(head: Head, pixels: &'a mut [u8]) -> Self {
        let mut view = Self { head, planes: [&mut [], &mut [], &mut []], strides: [1; 3] };
        let mut rest = pixels;
        for ((plane, stride), size) in view.planes.iter_mut().zip(&mut view.strides).zip(head.sizes) {
            let len = size.packed().min(rest.len());
            let (first, after) = rest.split_at_mut(len);
            (*plane, *stride, rest) = (first, size.row_bytes.max(1), after);
        }
        view
    }

    /// Sets the row that is first in memory.
    #[must_use]
    pub fn with_origin(mut self, origin: Origin) -> Self {
        self.head.origin = origin;
        self
    }

    /// Sets the color space of NV12 and I420 pixels.
    #[must_use]
    pub fn with_color(mut self, color: ColorSpace) -> Self {
        self.head.color = color;
        self
    }

    /// Returns a view of the same pixels for reading.
    pub fn as_view(&self) -> FrameView<'_> {
        let [a, b, c] = &self.planes;
        FrameView { head: self.head, planes: [a, b, c], strides: self.strides, stamp: Stamp::default() }
    }

    /// Returns plane `index`, truncated to the bytes of its pixels, or `None` past the format's planes.
    pub fn plane_mut(&mut self, index: usize) -> Option<PlaneMut<'_>> {
        if index >= self.head.format.planes() {
            return None;
        }
        let stride = *self.strides.get(index)?;
        Some(PlaneMut { pixels: self.planes.get_mut(index)?, stride })
    }

    /// Returns the rows of plane `index` in memory order, without the padding; none past the format's planes.
    pub fn rows_mut(&mut self, index: usize) -> impl ExactSizeIterator<Item = &mut [u8]> + DoubleEndedIterator {
        let stride = self.strides.get(index).copied().unwrap_or(1);
        let row_bytes = self.head.sizes.get(index).map_or(0, |size| size.row_bytes);
        let pixels: &mut [u8] = match self.planes.get_mut(index) {
            Some(plane) => plane,
            None => &mut [],
        };
        pixels.chunks_mut(stride).map(move |row| {
            let end = row_bytes.min(row.len());
            row.split_at_mut(end).0
        })
    }

    /// Copies the pixels of a view of the same format and size, in memory order.
    pub(super) fn copy_rows(&mut self, from: &FrameView<'_>) {
        for plane in 0..self.head.format.planes() {
            for (to, from) in self.rows_mut(plane).zip(from.rows(plane)) {
                to.copy_from_slice(from);
            }
        }
    }

    /// Returns all planes, with their strides.
    pub(super) fn planes_mut(&mut self) -> ([&mut [u8]; 3], [usize; 3]) {
        let [a, b, c] = &mut self.planes;
        ([a, b, c], self.strides)
    }

    pub(super) fn head(&self) -> &Head {
        &self.head
    }
}

/// The accessors of both views.
macro_rules! head_accessors {
    ($view:ident) => {
        impl $view<'_> {
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

            /// Returns the color space of NV12 and I420 pixels.
            pub fn color(&self) -> ColorSpace {
                self.head.color
            }
        }
    };
}

head_accessors!(FrameView);
head_accessors!(FrameViewMut);
