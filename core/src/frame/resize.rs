//! Placement of a frame in an image of another aspect ratio, and scaling.

use std::ops::Range;

use dreamframe_kernels::resize::{Crop, F32x3, Filter, ResizeError, Resizer};

use super::Fit;
use super::pool::grow;
use crate::{Error, ErrorKind, Result};

/// A rectangle of whole pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rect {
    pub(super) left: u32,
    pub(super) top: u32,
    pub(super) width: u32,
    pub(super) height: u32,
}

impl From<Rect> for Crop {
    fn from(rect: Rect) -> Self {
        let [left, top, width, height] = [rect.left, rect.top, rect.width, rect.height].map(f64::from);
        Self { left, top, width, height }
    }
}

/// The mapping of a part of the frame to a part of the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Placement {
    pub(super) source: Rect,
    pub(super) target: Rect,
}

impl Placement {
    /// Places a frame of `from` in an image of `to`, both width and height, each at least 1.
    ///
    /// Edges lie on whole pixels, so that a crop alone changes no pixel.
    pub(super) fn new(fit: Fit, from: (u32, u32), to: (u32, u32)) -> Self {
        let whole = |(width, height)| Rect { left: 0, top: 0, width, height };
        let (source, target) = match fit {
            Fit::Cover => (centred(to, from), whole(to)),
            Fit::Fit => (whole(from), centred(from, to)),
            Fit::Stretch => (whole(from), whole(to)),
        };
        Self { source, target }
    }

    /// Returns the placement for a frame of `height` rows whose bottom row is first in memory: the source is in memory
    /// order.
    pub(super) fn bottom_up(mut self, height: u32) -> Self {
        self.source.top = height - self.source.height - self.source.top;
        self
    }

    /// Returns whether source and target have the same size.
    pub(super) fn keeps_size(&self) -> bool {
        (self.source.width, self.source.height) == (self.target.width, self.target.height)
    }
}

/// Returns the largest centred rectangle in `within` with the aspect ratio of `shape`.
fn centred(shape: (u32, u32), within: (u32, u32)) -> Rect {
    let [shape_w, shape_h, w, h] = [shape.0, shape.1, within.0, within.1].map(u64::from);
    // a * b / c rounded to nearest, from 1 to `most`; sides are below 2^14, so it does not overflow.
    let scaled = |a: u64, b: u64, c: u64, most: u64| ((2 * a * b + c) / (2 * c)).clamp(1, most);
    let (width, height) = if w * shape_h > shape_w * h {
        (scaled(shape_w, h, shape_h, w), h)
    } else {
        (w, scaled(shape_h, w, shape_w, h))
    };
    Rect { left: ((w - width) / 2) as u32, top: ((h - height) / 2) as u32, width: width as u32, height: height as u32 }
}

/// Scales with a Catmull-Rom filter that widens as the image shrinks.
///
/// It is the filter that PIL calls bicubic, which the reference uses.
#[derive(Debug, Default)]
pub(super) struct Scaler {
    inner: Resizer,
    // Pixels of three bytes, extended to four.
    widened: Vec<u8>,
}

impl Scaler {
    /// Scales the part `crop` of packed pixels of `size` to packed pixels of `to`.
    pub(super) fn scale(
        &mut self,
        pixels: &[F32x3],
        size: (u32, u32),
        crop: Rect,
        out: &mut [F32x3],
        to: (u32, u32),
    ) -> Result<()> {
        self.inner.floats(Filter::CatmullRom, (pixels, size), crop.into(), (out, to)).map_err(failed)
    }

    /// Like [`scale`](Self::scale), with pixels of four bytes.
    pub(super) fn scale_bytes(
        &mut self,
        bytes: &[u8],
        size: (u32, u32),
        crop: Rect,
        out: &mut [u8],
        to: (u32, u32),
    ) -> Result<()> {
        self.inner.bytes(Filter::CatmullRom, (bytes, size), crop.into(), (out, to)).map_err(failed)
    }

    /// Like [`scale_bytes`](Self::scale_bytes), from pixels of three bytes to pixels of four. The library's code for
    /// three bytes would add a third of a megabyte.
    pub(super) fn scale_rgb(
        &mut self,
        bytes: &[u8],
        size: (u32, u32),
        crop: Rect,
        out: &mut [u8],
        to: (u32, u32),
    ) -> Result<()> {
        let (width, height) = (size.0 as usize, size.1 as usize);
        let columns = filter_range(crop.left, crop.width, to.0, width);
        let rows = filter_range(crop.top, crop.height, to.1, height);
        let mut widened = std::mem::take(&mut self.widened);
        // Pixels outside belong to an earlier frame, and are not read.
        let lines = grow(&mut widened, width * height * 4)?.chunks_exact_mut(width * 4);
        for (to, from) in lines.zip(bytes.chunks_exact(width * 3)).skip(rows.start).take(rows.len()) {
            let from = from.get(columns.start * 3..columns.end * 3).unwrap_or_default();
            widen(from, to.get_mut(columns.start * 4..).unwrap_or_default());
        }
        let scaled = self.scale_bytes(&widened, size, crop, out, to);
        self.widened = widened;
        scaled
    }
}

/// Returns the range of pixels that the filter reads to scale the `len` pixels from `start` on to `to`, including those
/// beyond the crop.
fn filter_range(start: u32, len: u32, to: u32, side: usize) -> Range<usize> {
    const LOBES: u32 = 2;

    let beyond = LOBES.saturating_mul(len.div_ceil(to.max(1))).saturating_add(2);
    let end = start.saturating_add(len).saturating_add(beyond) as usize;
    start.saturating_sub(beyond) as usize..end.min(side)
}

/// Adds a fourth byte to each pixel of three bytes, for as many pixels as `to` holds.
pub(crate) fn widen(from: &[u8], to: &mut [u8]) {
    for (to, from) in to.as_chunks_mut::<4>().0.iter_mut().zip(from.as_chunks::<3>().0) {
        let [r, g, b] = *from;
        *to = [r, g, b, u8::MAX];
    }
}

/// Sizes and crops are valid here, so an error of the library is a bug.
fn failed(error: ResizeError) -> Error {
    Error::new(ErrorKind::Internal, "failed to resize a valid image").with_source(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rect(left: u32, top: u32, width: u32, height: u32) -> Rect {
        Rect { left, top, width, height }
    }

    #[test]
    fn cover_crops_both_sides_equally() {
        let wide = Placement::new(Fit::Cover, (640, 360), (512, 512));
        assert_eq!(wide, Placement { source: rect(140, 0, 360, 360), target: rect(0, 0, 512, 512) });
        let tall = Placement::new(Fit::Cover, (100, 400), (200, 100));
        assert_eq!(tall.source, rect(0, 175, 100, 50));
    }

    #[test]
    fn fit_leaves_bars_and_stretch_leaves_none() {
        let fit = Placement::new(Fit::Fit, (640, 360), (512, 512));
        assert_eq!(fit, Placement { source: rect(0, 0, 640, 360), target: rect(0, 112, 512, 288) });
        let stretch = Placement::new(Fit::Stretch, (640, 360), (512, 512));
        assert_eq!(stretch, Placement { source: rect(0, 0, 640, 360), target: rect(0, 0, 512, 512) });
    }

    #[test]
    fn the_same_proportions_need_no_crop() {
        let half = Placement::new(Fit::Cover, (1920, 1080), (960, 540));
        assert_eq!(half.source, rect(0, 0, 1920, 1080));
        assert!(Placement::new(Fit::Cover, (96, 64), (96, 64)).keeps_size());
    }

    #[test]
    fn extreme_aspect_ratios_keep_at_least_one_pixel() {
        assert_eq!(Placement::new(Fit::Cover, (8192, 1), (1, 8192)).source, rect(4095, 0, 1, 1));
        assert_eq!(Placement::new(Fit::Fit, (8192, 1), (1, 8192)).target, rect(0, 4095, 1, 1));
    }

    #[test]
    fn scaling_of_three_byte_pixels_matches_four_byte_pixels() {
        let mut scaler = Scaler::default();
        let noise = |i: u32| (i.wrapping_mul(2_654_435_761) >> 13) as u8;
        for (size, crop, to) in [
            ((96, 64), rect(16, 0, 64, 64), (512, 512)),
            ((300, 200), rect(50, 3, 200, 190), (64, 48)),
            ((700, 90), rect(5, 5, 640, 80), (9, 7)),
            ((40, 30), rect(0, 0, 40, 30), (41, 1)),
        ] {
            let four: Vec<u8> = (0..size.0 * size.1 * 4).map(noise).collect();
            let three: Vec<u8> = four.as_chunks::<4>().0.iter().flat_map(|&[r, g, b, _]| [r, g, b]).collect();
            let [mut expected, mut found] = [(); 2].map(|()| vec![0; (to.0 * to.1 * 4) as usize]);
            scaler.scale_bytes(&four, size, crop, &mut expected, to).unwrap();
            scaler.scale_rgb(&three, size, crop, &mut found, to).unwrap();
            let colours = |pixels: &[u8]| -> Vec<[u8; 3]> {
                pixels.as_chunks::<4>().0.iter().map(|&[r, g, b, _]| [r, g, b]).collect()
            };
            assert!(colours(&expected) == colours(&found), "{size:?} {crop:?} {to:?}");
        }
    }
}
