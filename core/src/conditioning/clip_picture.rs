//! The input of CLIP's image encoders: resized, cropped and normalized pictures.

use dreamframe_kernels::resize::{Crop, Filter, Resizer};

use crate::error::{Error, ErrorKind, Result};
use crate::frame::resize::widen;

/// Maximum side of an encoder's input.
const MAX_SIDE: usize = 4096;
/// The radius of the widest filter, in source pixels at scale 1.
const REACH: f64 = 3.0;
/// The mean and the standard deviation of red, green and blue in 0..1 in CLIP's training.
const MEAN: [f32; 3] = [0.481_454_66, 0.457_827_5, 0.408_210_73];
const DEVIATION: [f32; 3] = [0.268_629_54, 0.261_302_6, 0.275_777_1];

/// The filter for scaling pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClipFilter {
    /// The filter of CLIP's training: Pillow's bicubic.
    Bicubic,
    /// The filter for style images.
    Lanczos,
}

/// Converts pictures to the input of CLIP's image encoder; reuses its memory.
#[derive(Debug)]
pub struct ClipPictures {
    filter: ClipFilter,
    resizer: Resizer,
    /// The lines that are needed, with pixels extended to four bytes, as for the other uses of the resizing library.
    wide: Vec<u8>,
    /// The picture with its lines scaled and cropped, but not its columns.
    narrow: Vec<u8>,
    square: Vec<u8>,
}

impl ClipPictures {
    /// Creates a converter without memory.
    pub fn new(filter: ClipFilter) -> Self {
        Self { filter, resizer: Resizer::default(), wide: Vec::new(), narrow: Vec::new(), square: Vec::new() }
    }

    /// Writes the centre of an RGB8 picture of `size`, width and height, to `out`, `[side, side, 3]`: scales the
    /// shorter side to `side`, crops the longer one to `side`, and normalizes values by CLIP's mean and standard
    /// deviation.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for a side of 0 or above 4096, or if the number of pixels does not match `size`.
    pub fn make(&mut self, pixels: &[u8], size: (u32, u32), side: usize, out: &mut Vec<f32>) -> Result<()> {
        let (width, height) = size;
        let refuse = |text: String| Err(Error::new(ErrorKind::InvalidArgument, text));
        if side == 0 || side > MAX_SIDE {
            return refuse(format!("image side: got {side}, expected 1 to {MAX_SIDE} pixels"));
        }
        let len = (width as usize).checked_mul(height as usize).and_then(|area| area.checked_mul(3));
        if len != Some(pixels.len()) || pixels.is_empty() {
            return refuse(format!(
                "pixels: got {} bytes, expected those of {width}x{height} RGB pixels",
                pixels.len()
            ));
        }
        self.middle(pixels, size, side as u32)?;
        let normalised = |i: usize, byte: u8| (f32::from(byte) / 255.0 - MEAN[i]) / DEVIATION[i];
        let colours = |&[r, g, b, _]: &[u8; 4]| [normalised(0, r), normalised(1, g), normalised(2, b)];
        out.clear();
        out.extend(self.square.as_chunks::<4>().0.iter().flat_map(colours));
        Ok(())
    }

    /// Scales and crops: first the lines, then the columns, with bytes in between, as in Pillow. The result depends on
    /// this order, since overshoots of the filter are clamped after each step.
    fn middle(&mut self, pixels: &[u8], (width, height): (u32, u32), side: u32) -> Result<()> {
        let (short, scaled) = (width.min(height), Span { start: 0.0, len: f64::from(side) });
        let (across, down) = (Span::middle(width, short, side), Span::middle(height, short, side));
        // The lines that the filter reads.
        let reach = REACH * (down.len / scaled.len).max(1.0) + 1.0;
        let first = (down.start - reach).floor().max(0.0) as u32;
        let last = ((down.start + down.len + reach).ceil() as u32).min(height);
        let line = width as usize * 3;
        let lines = pixels.get(first as usize * line..last as usize * line).unwrap_or_default();
        let (tall, all) = (last - first, Span { start: 0.0, len: f64::from(last - first) });
        let filter = match self.filter {
            ClipFilter::Bicubic => Filter::CatmullRom,
            ClipFilter::Lanczos => Filter::Lanczos3,
        };
        let Self { resizer, wide, narrow, square, .. } = self;
        wide.resize(lines.len() / 3 * 4, 0);
        widen(lines, wide);
        scale(resizer, filter, (wide, (width, tall)), [across, all], (narrow, (side, tall)))?;
        let down = Span { start: down.start - f64::from(first), ..down };
        scale(resizer, filter, (narrow, (side, tall)), [scaled, down], (square, (side, side)))
    }
}

/// A part of a line or a column, in pixels.
#[derive(Debug, Clone, Copy)]
struct Span {
    start: f64,
    len: f64,
}

impl Span {
    /// Returns the central part of a side of `length` if the `short` side is scaled to `side`, rounded down to whole
    /// pixels of the scaled image, as in the reference.
    fn middle(length: u32, short: u32, side: u32) -> Self {
        let scaled = u64::from(length) * u64::from(side) / u64::from(short);
        let before = (scaled - u64::from(side)) / 2;
        let unscaled = |pixels: u64| pixels as f64 * f64::from(length) / scaled as f64;
        Self { start: unscaled(before), len: unscaled(side.into()) }
    }
}

/// Scales a part of an image; an image is given by its pixels and its width and height.
fn scale(
    resizer: &mut Resizer,
    filter: Filter,
    (pixels, from): (&[u8], (u32, u32)),
    [across, down]: [Span; 2],
    (out, to): (&mut Vec<u8>, (u32, u32)),
) -> Result<()> {
    out.resize(to.0 as usize * to.1 as usize * 4, 0);
    let crop = Crop { left: across.start, top: down.start, width: across.len, height: down.len };
    resizer
        .bytes(filter, (pixels, from), crop, (out, to))
        .map_err(|error| Error::new(ErrorKind::Internal, "failed to resize a valid image").with_source(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(pixels: &[u8], size: (u32, u32), side: usize) -> Vec<f32> {
        let mut out = Vec::new();
        ClipPictures::new(ClipFilter::Lanczos).make(pixels, size, side, &mut out).unwrap();
        out
    }

    fn normalised(byte: u8, channel: usize) -> f32 {
        (f32::from(byte) / 255.0 - MEAN[channel]) / DEVIATION[channel]
    }

    #[test]
    fn bright_and_dark_images_are_scaled_to_unit_range_once() {
        // The reference divides dark images twice.
        for byte in [0, 1, 2, 127, 255] {
            let clip = made(&[byte; 40 * 30 * 3], (40, 30), 8);
            assert_eq!(clip.len(), 8 * 8 * 3);
            for (i, number) in clip.into_iter().enumerate() {
                assert!((number - normalised(byte, i % 3)).abs() < 1e-6, "{byte}: {number}");
            }
        }
    }

    #[test]
    fn the_longer_side_is_cropped_to_its_centre() {
        // Black, white, black: the crop is white.
        let line: Vec<u8> = (0..90).flat_map(|x| [if (30..60).contains(&x) { 255 } else { 0 }; 3]).collect();
        let white: Vec<f32> = (0..30 * 30 * 3).map(|i| normalised(255, i % 3)).collect();
        assert_eq!(made(&line.repeat(30), (90, 30), 30), white);
    }

    #[test]
    fn extreme_aspect_ratios_are_supported() {
        for size in [(1, 9000), (9000, 1), (1, 1)] {
            let sliver = made(&[10, 20, 30].repeat((size.0 * size.1) as usize), size, 4);
            assert_eq!(
                sliver,
                [10, 20, 30].repeat(16).iter().enumerate().map(|(i, &b)| normalised(b, i % 3)).collect::<Vec<_>>()
            );
        }
    }

    #[test]
    fn invalid_pictures_are_rejected() {
        let mut pictures = ClipPictures::new(ClipFilter::Bicubic);
        for (len, size, side) in [(12, (2, 2), 0), (12, (2, 2), 1 << 20), (11, (2, 2), 4), (0, (0, 7), 4)] {
            let refused = pictures.make(&vec![0; len], size, side, &mut Vec::new()).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::InvalidArgument);
        }
    }
}
