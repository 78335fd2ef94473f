//! Copies of frames in another format, of the same size.

use super::convert::FrameConverter;
use super::pool::grow;
use super::view::{FrameView, FrameViewMut};
use super::{Fit, PixelFormat};
use crate::{Error, ErrorKind, Result};

/// Copies pixels into a host's memory, in the format, origin and color space of that memory.
///
/// Scratch memory is kept between calls.
///
/// ```
/// use dreamframe::frame::{FrameCopier, FrameView, FrameViewMut, Origin, PixelFormat};
///
/// # fn main() -> dreamframe::Result<()> {
/// // Two pixels, one above the other.
/// let rgba = [1, 2, 3, 255, 4, 5, 6, 255];
/// let mut bgra = [0; 8];
/// let from = FrameView::packed(PixelFormat::Rgba8, 1, 2, &rgba)?;
/// let mut to = FrameViewMut::packed(PixelFormat::Bgra8, 1, 2, &mut bgra)?.with_origin(Origin::BottomLeft);
/// FrameCopier::new().copy(&from, &mut to)?;
/// assert_eq!(bgra, [6, 5, 4, 255, 3, 2, 1, 255]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Default)]
pub struct FrameCopier {
    converter: FrameConverter,
    floats: Vec<f32>,
}

impl FrameCopier {
    /// Creates a copier without scratch memory, which is allocated when formats differ.
    pub fn new() -> Self {
        Self::default()
    }

    /// Copies `from` into `to`. If the formats are the same, the bytes are; rows are reversed if the origins differ.
    ///
    /// # Errors
    ///
    /// `InvalidFrame` if the sizes differ, `OutOfMemory`; `to` has not changed then.
    pub fn copy(&mut self, from: &FrameView<'_>, to: &mut FrameViewMut<'_>) -> Result<()> {
        let (width, height) = (from.width(), from.height());
        if (to.width(), to.height()) != (width, height) {
            let text = format!("output frame: got {}x{}, expected {width}x{height}", to.width(), to.height());
            return Err(Error::new(ErrorKind::InvalidFrame, text));
        }
        let coded = matches!(to.format(), PixelFormat::Nv12 | PixelFormat::I420);
        if from.format() == to.format() && (!coded || from.color() == to.color()) {
            copy_rows(from, to);
            return Ok(());
        }
        let floats = grow(&mut self.floats, width as usize * height as usize * 3)?;
        self.converter.to_unit(from, Fit::Stretch, width, height, floats)?;
        self.converter.from_unit(&self.floats, width, height, to)
    }
}

fn copy_rows(from: &FrameView<'_>, to: &mut FrameViewMut<'_>) {
    let flipped = from.origin() != to.origin();
    for plane in 0..from.format().planes() {
        if flipped {
            to.rows_mut(plane).rev().zip(from.rows(plane)).for_each(|(to, from)| to.copy_from_slice(from));
        } else {
            to.rows_mut(plane).zip(from.rows(plane)).for_each(|(to, from)| to.copy_from_slice(from));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Origin, Plane, PlaneMut};

    fn pixels(width: usize, height: usize) -> Vec<u8> {
        (0..width * height).flat_map(|i| [i as u8, (i * 7) as u8, (i * 13) as u8, 255]).collect()
    }

    #[test]
    fn equal_formats_copy_bytes_across_strides_and_origins() {
        let from = pixels(3, 2);
        let view = FrameView::packed(PixelFormat::Rgba8, 3, 2, &from).unwrap();
        let mut flipped = vec![9; 16 + 12];
        let plane = PlaneMut { pixels: &mut flipped, stride: 16 };
        let mut to = FrameViewMut::new(PixelFormat::Rgba8, 3, 2, [plane]).unwrap().with_origin(Origin::BottomLeft);
        FrameCopier::new().copy(&view, &mut to).unwrap();
        assert_eq!((&flipped[..12], &flipped[16..]), (&from[12..], &from[..12]));
        assert_eq!(flipped[12..16], [9; 4]);
        let plane = Plane { pixels: &flipped, stride: 16 };
        let view = FrameView::new(PixelFormat::Rgba8, 3, 2, &[plane]).unwrap().with_origin(Origin::BottomLeft);
        let mut back = vec![0; from.len()];
        let mut to = FrameViewMut::packed(PixelFormat::Rgba8, 3, 2, &mut back).unwrap();
        FrameCopier::new().copy(&view, &mut to).unwrap();
        assert_eq!(back, from);
    }

    #[test]
    fn lossless_formats_round_trip() {
        let from = pixels(5, 3);
        let view = FrameView::packed(PixelFormat::Rgba8, 5, 3, &from).unwrap();
        let mut copier = FrameCopier::new();
        for format in [PixelFormat::Bgra8, PixelFormat::Rgb8, PixelFormat::Rgba16F] {
            let mut other = vec![0; format.packed_len(5, 3)];
            copier.copy(&view, &mut FrameViewMut::packed(format, 5, 3, &mut other).unwrap()).unwrap();
            let mut back = vec![0; from.len()];
            let mut to = FrameViewMut::packed(PixelFormat::Rgba8, 5, 3, &mut back).unwrap();
            copier.copy(&FrameView::packed(format, 5, 3, &other).unwrap(), &mut to).unwrap();
            assert_eq!(back, from, "{format}");
        }
    }

    #[test]
    fn another_size_is_rejected() {
        let from = pixels(3, 2);
        let view = FrameView::packed(PixelFormat::Rgba8, 3, 2, &from).unwrap();
        let mut to = vec![0; 24];
        let mut to = FrameViewMut::packed(PixelFormat::Rgba8, 2, 3, &mut to).unwrap();
        let refused = FrameCopier::new().copy(&view, &mut to).unwrap_err();
        assert_eq!(refused.to_string(), "output frame: got 2x3, expected 3x2");
    }
}
