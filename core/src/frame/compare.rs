//! Similarity of two pictures: signal-to-noise ratio (PSNR) and structural similarity (SSIM).
//!
//! Implemented here because available crates use other windows or colour spaces, so that their values are not
//! comparable with published ones.

use super::{Frame, PixelFormat};
use crate::error::{Error, ErrorKind, Result};

/// The maximum number of decibels that are reported: those of equal pictures.
const MOST_DECIBELS: f64 = 100.0;

/// Taps on either side of the centre of SSIM's window.
const REACH: usize = 5;
const TAPS: usize = 2 * REACH + 1;
/// The standard deviation of the Gaussian window.
const SIGMA: f64 = 1.5;
/// The constants of SSIM, for values up to 255.
const C1: f64 = (0.01 * 255.0) * (0.01 * 255.0);
const C2: f64 = (0.03 * 255.0) * (0.03 * 255.0);

/// Returns the peak signal-to-noise ratio of two `Rgb8` pictures of the same size in decibels, over all colours; at most 100,
/// that of equal pictures.
///
/// # Errors
///
/// `InvalidArgument` for pictures of different sizes or of another format.
pub fn psnr(a: &Frame, b: &Frame) -> Result<f64> {
    check(a, b)?;
    let square = |(&a, &b): (&u8, &u8)| (f64::from(a) - f64::from(b)).powi(2);
    let noise = a.pixels().iter().zip(b.pixels()).map(square).sum::<f64>() / a.pixels().len() as f64;
    let decibels = if noise > 0.0 { 10.0 * (255.0 * 255.0 / noise).log10() } else { MOST_DECIBELS };
    Ok(decibels.min(MOST_DECIBELS))
}

/// Returns the structural similarity of the luma (BT.601) of two `Rgb8` pictures of the same size, at least 11 pixels in each
/// direction: the mean over all positions of a window of 11 x 11 pixels, weighted by a Gaussian of deviation 1.5, as
/// defined by Wang, Bovik, Sheikh and Simoncelli. 1 for equal pictures.
///
/// # Errors
///
/// Like [`psnr`], and for pictures that are too small.
pub fn ssim(a: &Frame, b: &Frame) -> Result<f64> {
    check(a, b)?;
    let (width, height) = (a.width() as usize, a.height() as usize);
    if width.min(height) < TAPS {
        let text = format!("pictures: got {width}x{height}, expected at least {TAPS}x{TAPS} for SSIM");
        return Err(Error::new(ErrorKind::InvalidArgument, text));
    }
    let (a, b) = (luma(a), luma(b));
    let blurred =
        |f: &dyn Fn(f64, f64) -> f64| blur(&a.iter().zip(&b).map(|(&a, &b)| f(a, b)).collect::<Vec<_>>(), width);
    let means = (blurred(&|a, _| a), blurred(&|_, b| b));
    let products = (blurred(&|a, _| a * a), blurred(&|_, b| b * b), blurred(&|a, b| a * b));
    let places = means.0.len();
    let at = |i: usize| {
        let (mean_a, mean_b) = (means.0[i], means.1[i]);
        let (var_a, var_b) = (products.0[i] - mean_a * mean_a, products.1[i] - mean_b * mean_b);
        let both = products.2[i] - mean_a * mean_b;
        (2.0 * mean_a * mean_b + C1) * (2.0 * both + C2)
            / ((mean_a * mean_a + mean_b * mean_b + C1) * (var_a + var_b + C2))
    };
    Ok((0..places).map(at).sum::<f64>() / places as f64)
}

fn check(a: &Frame, b: &Frame) -> Result<()> {
    let of = |frame: &Frame| (frame.format(), frame.width(), frame.height());
    if of(a) == of(b) && a.format() == PixelFormat::Rgb8 {
        return Ok(());
    }
    let text = format!("pictures: got {:?} and {:?}, expected Rgb8 of the same size", of(a), of(b));
    Err(Error::new(ErrorKind::InvalidArgument, text))
}

fn luma(frame: &Frame) -> Vec<f64> {
    let of = |pixel: &[u8; 3]| {
        let [r, g, b] = pixel.map(f64::from);
        0.299 * r + 0.587 * g + 0.114 * b
    };
    frame.pixels().as_chunks().0.iter().map(of).collect()
}

/// The weighted mean in the window, at all positions inside the picture.
fn blur(numbers: &[f64], width: usize) -> Vec<f64> {
    let bell: [f64; TAPS] = std::array::from_fn(|i| (-(i as f64 - REACH as f64).powi(2) / (2.0 * SIGMA * SIGMA)).exp());
    let whole: f64 = bell.iter().sum();
    let sum = |taps: &mut dyn Iterator<Item = f64>| taps.zip(bell).map(|(x, weight)| x * weight).sum::<f64>() / whole;
    let narrow = width + 1 - TAPS;
    let across: Vec<f64> = (numbers.chunks_exact(width))
        .flat_map(|row| row.windows(TAPS).map(|window| sum(&mut window.iter().copied())))
        .collect();
    let rows = across.len() / narrow;
    (0..(rows + 1 - TAPS) * narrow)
        .map(|first| sum(&mut across[first..].iter().step_by(narrow).take(TAPS).copied()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(width: u32, height: u32, of: impl Fn(u32, u32) -> u8) -> Frame {
        let pixels = (0..height).flat_map(|y| (0..width).map(move |x| (x, y))).flat_map(|(x, y)| [of(x, y); 3]);
        Frame::from_packed(PixelFormat::Rgb8, width, height, pixels.collect()).unwrap()
    }

    fn wave(x: u32, y: u32) -> u8 {
        (128.0 + 60.0 * (f64::from(x) * 0.7).sin() + 50.0 * (f64::from(y) * 0.4).cos()) as u8
    }

    #[test]
    fn equal_pictures_are_as_like_as_can_be() {
        let picture = frame(20, 13, wave);
        assert_eq!(psnr(&picture, &picture).unwrap(), MOST_DECIBELS);
        assert!((ssim(&picture, &picture).unwrap() - 1.0).abs() < 1e-9);
    }

    #[test]
    fn a_step_of_one_everywhere_is_48_decibels() {
        let (a, b) = (frame(16, 16, |_, _| 100), frame(16, 16, |_, _| 101));
        assert!((psnr(&a, &b).unwrap() - 48.130_803_608_679_1).abs() < 1e-9);
        let (black, white) = (frame(16, 16, |_, _| 0), frame(16, 16, |_, _| 255));
        assert!(psnr(&black, &white).unwrap().abs() < 1e-9);
    }

    #[test]
    fn plain_pictures_differ_by_their_brightness_alone() {
        let (a, b) = (frame(16, 16, |_, _| 100), frame(16, 16, |_, _| 110));
        let expected = (2.0 * 100.0 * 110.0 + C1) / (100.0 * 100.0 + 110.0 * 110.0 + C1);
        assert!((ssim(&a, &b).unwrap() - expected).abs() < 1e-9);
    }

    /// The definition for one position, with a two-dimensional window.
    #[test]
    fn one_window_is_what_the_definition_says() {
        let (a, b) = (frame(11, 11, wave), frame(11, 11, |x, y| wave(x, y) / 2 + (x * y % 7) as u8));
        let bell = |i: u32| (-(f64::from(i) - 5.0).powi(2) / 4.5).exp();
        let mut sums = [0.0; 6];
        for (x, y) in (0..11).flat_map(|y| (0..11).map(move |x| (x, y))) {
            let weight = bell(x) * bell(y);
            let at = |frame: &Frame| f64::from(frame.pixels()[3 * (11 * y + x) as usize]);
            let (a, b) = (at(&a), at(&b));
            for (sum, value) in sums.iter_mut().zip([1.0, a, b, a * a, b * b, a * b]) {
                *sum += weight * value;
            }
        }
        let [whole, rest @ ..] = sums;
        let [mean_a, mean_b, aa, bb, ab] = rest.map(|sum| sum / whole);
        let expected = (2.0 * mean_a * mean_b + C1) * (2.0 * (ab - mean_a * mean_b) + C2)
            / ((mean_a.powi(2) + mean_b.powi(2) + C1) * (aa - mean_a.powi(2) + bb - mean_b.powi(2) + C2));
        let found = ssim(&a, &b).unwrap();
        assert!((found - expected).abs() < 1e-9, "{found} for {expected}");
        assert!(found < 0.9);
    }

    #[test]
    fn pictures_that_cannot_be_compared_are_refused() {
        let (a, b) = (frame(16, 16, wave), frame(16, 17, wave));
        assert!(psnr(&a, &b).unwrap_err().to_string().contains("17"));
        let small = frame(10, 16, wave);
        assert!(ssim(&small, &small).unwrap_err().to_string().contains("10x16"));
        let bgra = Frame::from_packed(PixelFormat::Bgra8, 2, 2, vec![0; 16]).unwrap();
        assert_eq!(psnr(&bgra, &bgra).unwrap_err().kind(), ErrorKind::InvalidArgument);
    }
}
