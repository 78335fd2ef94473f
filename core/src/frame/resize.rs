//! Placement of a frame in an image of another aspect ratio, and scaling.

use std::ops::Range;

use dreamframe_kernels::resize::{Crop, F32x3, Filter, ResizeError, Resizer};

use super::Fit;
use super::pool::grow;
use crate::{Error, ErrorKind, Result};

/// A rectangle of whole pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rect {
    pub(crate) left: u32,
    pub(crate) top: u32,
    pub(crate) width: u32,
    pub(crate) height: u32,
}

impl From<Rect> for Crop {
    fn from(rect: Rect) -> Self {
        let [left, top, width, height] = [rect.left, rect.top, rect.width, rect.height].map(f64::from);
        Self { left, top, width, height }
    }
}

/// The mapping of a part of the frame to a part of the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Placement {
    pub(crate) source: Rect,
    pub(crate) target: Rect,
}

impl Placement {
    /// Places a frame of `from` in an image of `to`, both width and height, each at least 1.
    ///
    /// Edges lie on whole pixels, so that a crop alone changes no pixel.
    pub(crate) fn new(fit: Fit, from: (u32, u32), to: (u32, u32)) -> Self {
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
    pub(crate) fn bottom_up(mut self, height: u32) -> Self {
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

/// How one side of an image of bytes is scaled, as a product with a matrix.
#[cfg(any(test, feature = "onnx"))]
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SideFilter {
    /// The pixels that are read.
    pub(crate) range: Range<usize>,
    /// The weight of each of them in each scaled pixel, `[scaled pixels, pixels of the range]`; `None` if the side keeps
    /// its size.
    pub(crate) weights: Option<Vec<f32>>,
}

#[cfg(any(test, feature = "onnx"))]
impl SideFilter {
    /// Returns the filter that scales the `len` pixels from `start` on, of `side`, to `to`: the one of
    /// [`Scaler::scale_bytes`], which scales columns first, and rounds and clamps to bytes after each side.
    ///
    /// # Errors
    ///
    /// `Internal` for pixels beyond the side.
    pub(crate) fn new(start: u32, len: u32, to: u32, side: u32) -> Result<Self> {
        /// Rows of an image in which one colour of one pixel is 1, so that the scaled pixels are its weights.
        const ROWS: usize = 64;

        if len == to {
            return Ok(Self { range: start as usize..(start + len) as usize, weights: None });
        }
        let range = filter_range(start, len, to, side as usize);
        let (width, scaled_width) = (side as usize, to as usize);
        let mut weights = vec![0.0; scaled_width * range.len()];
        let mut scaled = vec![F32x3::new([0.0; 3]); ROWS * scaled_width];
        let mut resizer = Resizer::default();
        for first in range.clone().step_by(ROWS * 3) {
            let mut image = vec![F32x3::new([0.0; 3]); ROWS * width];
            let block = first..range.end.min(first + ROWS * 3);
            for (index, pixel) in block.clone().enumerate() {
                image[index / 3 * width + pixel].0[index % 3] = 1.0;
            }
            let part = Crop { left: start.into(), top: 0.0, width: len.into(), height: ROWS as f64 };
            let (from, to) = ((&*image, (side, ROWS as u32)), (&mut *scaled, (to, ROWS as u32)));
            resizer.floats(Filter::CatmullRom, from, part, to).map_err(failed)?;
            for (index, pixel) in block.enumerate() {
                let row = &scaled[index / 3 * scaled_width..][..scaled_width];
                for (weights, scaled) in weights.chunks_exact_mut(range.len()).zip(row) {
                    weights[pixel - range.start] = scaled.0[index % 3];
                }
            }
        }
        round_weights(&mut weights);
        Ok(Self { range, weights: Some(weights) })
    }
}

/// Rounds weights as the library does for bytes: to multiples of the smallest power of two for which the largest weight
/// is below 2^15 of them.
#[cfg(any(test, feature = "onnx"))]
fn round_weights(weights: &mut [f32]) {
    const MOST_BITS: u32 = 21;

    let largest = weights.iter().copied().fold(0.0, f32::max);
    let is_too_large = |bits: u32| (f64::from(largest) * f64::from(2_u32 << bits)).round() >= f64::from(1 << 15);
    let bits = (0..MOST_BITS).find(|&bits| is_too_large(bits)).unwrap_or(MOST_BITS);
    let scale = (1_u32 << bits) as f32;
    weights.iter_mut().for_each(|weight| *weight = (*weight * scale).round() / scale);
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

    /// Applies a filter to rows of one colour.
    fn filtered(filter: &SideFilter, to: usize, pixels: &[u8]) -> Vec<u8> {
        let read = &pixels[filter.range.clone()];
        let Some(weights) = &filter.weights else { return read.to_vec() };
        let sum = |weights: &[f32]| -> f32 {
            weights.iter().zip(read).map(|(weight, &pixel)| weight * f32::from(pixel)).sum()
        };
        let rows = weights.chunks_exact(read.len());
        assert_eq!(rows.len(), to);
        rows.map(|weights| (f32::floor(sum(weights) + 0.5)).clamp(0.0, 255.0) as u8).collect()
    }

    #[test]
    fn products_with_the_weights_equal_scaled_bytes() {
        let mut scaler = Scaler::default();
        let noise = |i: u32| (i.wrapping_mul(2_654_435_761) >> 13) as u8;
        for (side, start, len, to) in [
            (96, 16, 64, 200),
            (300, 0, 300, 100),
            (300, 50, 200, 199),
            (700, 5, 640, 9),
            (40, 3, 30, 30),
            (5, 2, 1, 7),
        ] {
            let row: Vec<u8> = (0..side).map(noise).collect();
            let pixels: Vec<u8> = row.iter().flat_map(|&byte| [byte; 4]).collect();
            let crop = Rect { left: start, top: 0, width: len, height: 1 };
            let mut expected = vec![0; to as usize * 4];
            scaler.scale_bytes(&pixels, (side, 1), crop, &mut expected, (to, 1)).unwrap();
            let expected: Vec<u8> = expected.iter().step_by(4).copied().collect();
            let filter = SideFilter::new(start, len, to, side).unwrap();
            assert_eq!(filtered(&filter, to as usize, &row), expected, "{len} of {side} to {to}");
        }
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
