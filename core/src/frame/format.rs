//! Pixel formats and color spaces.

use std::fmt;

/// The maximum width and height of a frame, in pixels.
pub const MAX_SIDE: u32 = 8192;

/// The layout of a frame's pixels in memory.
///
/// The values are part of the binary interface and never change. Zero is no format, so that a zeroed frame is rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u32)]
#[non_exhaustive]
pub enum PixelFormat {
    /// Four bytes a pixel: red, green, blue, alpha. Alpha is not premultiplied. It is ignored in frames, and 255 in
    /// pictures.
    Rgba8 = 1,
    /// Four bytes a pixel: blue, green, red, alpha, with the rules of [`Rgba8`](Self::Rgba8).
    Bgra8 = 2,
    /// Three bytes a pixel: red, green, blue.
    Rgb8 = 3,
    /// Four half-precision floats a pixel in native byte order: red, green, blue, alpha in 0..=1, gamma-encoded as the
    /// 8-bit formats are (not linear light). Values outside are clamped, NaN becomes 0.
    Rgba16F = 4,
    /// Two planes: a byte of luma a pixel, then pairs of Cb and Cr at half the width and height, rounded up.
    Nv12 = 5,
    /// Three planes: a byte of luma a pixel, then Cb, then Cr at half the width and height, rounded up.
    I420 = 6,
}

/// The size of the pixels of one plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct PlaneSize {
    /// Bytes of pixels in a row; a stride is at least this.
    pub(crate) row_bytes: usize,
    /// Rows.
    pub(crate) rows: usize,
}

impl PlaneSize {
    /// Returns the bytes of the plane if its rows are contiguous.
    pub(crate) fn packed(self) -> usize {
        self.row_bytes.saturating_mul(self.rows)
    }

    /// Returns the bytes from the first pixel to the last if rows start every `stride` bytes; `None` on overflow.
    pub(crate) fn span(self, stride: usize) -> Option<usize> {
        self.rows.checked_sub(1)?.checked_mul(stride)?.checked_add(self.row_bytes)
    }
}

impl PixelFormat {
    /// Returns the number of planes, 1 to 3.
    pub fn planes(self) -> usize {
        match self {
            Self::Rgba8 | Self::Bgra8 | Self::Rgb8 | Self::Rgba16F => 1,
            Self::Nv12 => 2,
            Self::I420 => 3,
        }
    }

    /// Returns the number of bytes of a frame of `width` x `height` pixels whose rows and planes follow each other
    /// without a gap; at most `usize::MAX`.
    ///
    /// ```
    /// use dreamframe::PixelFormat;
    ///
    /// assert_eq!(PixelFormat::Rgba8.packed_len(5, 3), 5 * 3 * 4);
    /// // Luma, and two planes of chroma of 3x2.
    /// assert_eq!(PixelFormat::I420.packed_len(5, 3), 5 * 3 + 2 * (3 * 2));
    /// ```
    pub fn packed_len(self, width: u32, height: u32) -> usize {
        self.plane_sizes(width, height).iter().fold(0, |sum: usize, plane| sum.saturating_add(plane.packed()))
    }

    /// Returns the number of bytes of plane `index`, from its first pixel to its last, if rows start every `stride`
    /// bytes.
    ///
    /// `None` for a plane that the format does not have, a stride shorter than a row, a side outside 1..=[`MAX_SIDE`],
    /// and more than `isize::MAX` bytes.
    pub fn plane_span(self, index: usize, width: u32, height: u32, stride: usize) -> Option<usize> {
        let sides = 1..=MAX_SIDE;
        if index >= self.planes() || !sides.contains(&width) || !sides.contains(&height) {
            return None;
        }
        let size = *self.plane_sizes(width, height).get(index)?;
        size.span(stride).filter(|&span| size.row_bytes <= stride && isize::try_from(span).is_ok())
    }

    /// Returns the size of every plane; planes that the format does not have are empty.
    pub(crate) fn plane_sizes(self, width: u32, height: u32) -> [PlaneSize; 3] {
        let (w, h) = (width as usize, height as usize);
        let plane = |row_bytes, rows| PlaneSize { row_bytes, rows };
        let none = PlaneSize::default();
        let (half_w, half_h) = (w.div_ceil(2), h.div_ceil(2));
        match self {
            Self::Rgba8 | Self::Bgra8 => [plane(w.saturating_mul(4), h), none, none],
            Self::Rgb8 => [plane(w.saturating_mul(3), h), none, none],
            Self::Rgba16F => [plane(w.saturating_mul(8), h), none, none],
            Self::Nv12 => [plane(w, h), plane(half_w.saturating_mul(2), half_h), none],
            Self::I420 => [plane(w, h), plane(half_w, half_h), plane(half_w, half_h)],
        }
    }
}

impl fmt::Display for PixelFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rgba8 => "RGBA8",
            Self::Bgra8 => "BGRA8",
            Self::Rgb8 => "RGB8",
            Self::Rgba16F => "RGBA16F",
            Self::Nv12 => "NV12",
            Self::I420 => "I420",
        })
    }
}

/// The row of a frame that is first in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(u32)]
pub enum Origin {
    /// The top row, as in files and cameras.
    #[default]
    TopLeft = 1,
    /// The bottom row, as in OpenGL and TouchDesigner.
    BottomLeft = 2,
}

/// The weights of red, green and blue in luma.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(u32)]
pub enum YuvMatrix {
    /// ITU-R BT.601: standard definition, JPEG, most webcams.
    Bt601 = 1,
    /// ITU-R BT.709: high definition.
    #[default]
    Bt709 = 2,
}

/// The range of byte values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(u32)]
pub enum YuvRange {
    /// Luma 16..=235, chroma 16..=240: video.
    #[default]
    Limited = 1,
    /// 0..=255: JPEG.
    Full = 2,
}

/// The color space of NV12 and I420 pixels; other formats ignore it.
///
/// The default is BT.709 in limited range, as in high-definition video.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct ColorSpace {
    /// The weights of red, green and blue in luma.
    pub matrix: YuvMatrix,
    /// The range of byte values.
    pub range: YuvRange,
}

/// How a frame is scaled to an image of another aspect ratio.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Fit {
    /// Fills the image, and crops the frame equally on both sides.
    #[default]
    Cover,
    /// Shows the whole frame, with black bars at the sides or above and below.
    Fit,
    /// Fills the image with the whole frame, and does not keep its aspect ratio.
    Stretch,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_span_of_a_plane_excludes_the_padding_of_its_last_row() {
        assert_eq!(PixelFormat::Rgba8.plane_span(0, 3, 2, 16), Some(28));
        assert_eq!(PixelFormat::Nv12.plane_span(1, 5, 3, 6), Some(12));
        assert_eq!(PixelFormat::I420.plane_span(2, 5, 3, 3), Some(6));
    }

    #[test]
    fn an_invalid_plane_has_no_span() {
        let format = PixelFormat::Rgba8;
        for (index, width, height, stride) in
            [(1, 3, 2, 16), (0, 3, 2, 11), (0, 0, 2, 16), (0, 3, 8193, 16), (0, 3, 2, usize::MAX), (9, 3, 2, 16)]
        {
            assert_eq!(format.plane_span(index, width, height, stride), None);
        }
    }
}
