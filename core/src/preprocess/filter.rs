//! Convolutions of images with separable kernels.

use dreamframe_kernels::filter::{correlate, sum_rows};

/// The extension of an image beyond its border.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Border {
    /// Zeros.
    Zero,
    /// Mirrored at the centres of the outermost pixels.
    Reflect,
}

impl Border {
    /// Returns the index in `0..len` of the pixel at `place`; `None` for a zero.
    fn inside(self, place: isize, len: usize) -> Option<usize> {
        let last = len as isize - 1;
        if (0..=last).contains(&place) {
            return Some(place as usize);
        }
        match self {
            Self::Zero => None,
            Self::Reflect if last <= 0 => Some(0),
            Self::Reflect => {
                let turned = place.rem_euclid(2 * last);
                Some(turned.min(2 * last - turned) as usize)
            }
        }
    }
}

/// The size of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) channels: usize,
}

/// Convolves images, and reuses its scratch memory.
#[derive(Debug, Default)]
pub(super) struct Filter {
    /// A row with padding on both sides.
    padded: Vec<f32>,
    /// The image after the convolution of its rows.
    rows: Vec<f32>,
    /// The offsets of the input rows of an output row, with their weights.
    taps: Vec<(usize, f32)>,
}

impl Filter {
    /// Convolves `from` with `kernel` in both directions, and writes the result to `to`.
    pub(super) fn blur(&mut self, from: &[f32], size: Size, kernel: &[f32], border: Border, to: &mut [f32]) {
        to.fill(0.0);
        self.add(from, size, (kernel, kernel), border, to);
    }

    /// Correlates `from` with a row kernel and a column kernel, both of odd length, and adds the result to `to`.
    pub(super) fn add(&mut self, from: &[f32], size: Size, kernel: (&[f32], &[f32]), border: Border, to: &mut [f32]) {
        let (row, column) = kernel;
        let len = size.width * size.channels;
        if len == 0 || from.len() != size.height * len || to.len() != from.len() {
            return;
        }
        self.rows.resize(from.len(), 0.0);
        for (from, to) in from.chunks_exact(len).zip(self.rows.chunks_exact_mut(len)) {
            pad(from, size, row.len() / 2, border, &mut self.padded);
            correlate(&self.padded, row, size.channels, to);
        }
        let reach = (column.len() / 2) as isize;
        for (y, to) in to.chunks_exact_mut(len).enumerate() {
            self.taps.clear();
            for (offset, &weight) in (-reach..).zip(column) {
                if let Some(row) = border.inside(y as isize + offset, size.height).filter(|_| weight != 0.0) {
                    self.taps.push((row * len, weight));
                }
            }
            sum_rows(&self.rows, &self.taps, to);
        }
    }
}

/// Writes a row to `padded`, extended by `reach` pixels on both sides.
fn pad(row: &[f32], size: Size, reach: usize, border: Border, padded: &mut Vec<f32>) {
    let channels = size.channels;
    padded.resize((size.width + 2 * reach) * channels, 0.0);
    for (place, pixel) in padded.chunks_exact_mut(channels).enumerate() {
        let outside = !(reach..reach + size.width).contains(&place);
        if outside {
            match border.inside(place as isize - reach as isize, size.width) {
                Some(inside) => pixel.copy_from_slice(&row[inside * channels..][..channels]),
                None => pixel.fill(0.0),
            }
        }
    }
    padded[reach * channels..][..row.len()].copy_from_slice(row);
}

/// Writes a normalized Gaussian to `kernel`: `side` values (odd), `step` apart.
pub(super) fn gaussian(sigma: f64, side: usize, step: f64, kernel: &mut Vec<f32>) {
    let middle = (side / 2) as f64;
    let weight = |place: usize| {
        let x = (place as f64 - middle) * step;
        if x == 0.0 { 1.0 } else { (-x * x / (2.0 * sigma * sigma)).exp() }
    };
    let sum: f64 = (0..side).map(weight).sum();
    kernel.clear();
    kernel.extend((0..side).map(|place| (weight(place) / sum) as f32));
}

/// Writes the luma of each pixel of `rgb` to `luma`.
pub(super) fn luma(rgb: &[f32], luma: &mut Vec<f32>) {
    let pixels = rgb.as_chunks::<3>().0;
    luma.resize(pixels.len(), 0.0);
    for (luma, [red, green, blue]) in luma.iter_mut().zip(pixels) {
        *luma = 0.299 * red + 0.587 * green + 0.114 * blue;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Computes the correlation by its definition, one element at a time.
    fn plain(from: &[f32], size: Size, (row, column): (&[f32], &[f32]), border: Border) -> Vec<f32> {
        let Size { width, height, channels } = size;
        let at = |y: isize, x: isize, channel: usize| match (border.inside(y, height), border.inside(x, width)) {
            (Some(y), Some(x)) => from[(y * width + x) * channels + channel],
            _ => 0.0,
        };
        let mut out = Vec::new();
        for (y, x, channel) in
            (0..height).flat_map(|y| (0..width).flat_map(move |x| (0..channels).map(move |channel| (y, x, channel))))
        {
            let mut sum = 0.0;
            for (dy, a) in (-(column.len() as isize / 2)..).zip(column) {
                for (dx, b) in (-(row.len() as isize / 2)..).zip(row) {
                    sum += a * b * at(y as isize + dy, x as isize + dx, channel);
                }
            }
            out.push(sum);
        }
        out
    }

    #[test]
    fn convolutions_match_the_definition() {
        let mut filter = Filter::default();
        let kernels: [(&[f32], &[f32]); 3] =
            [(&[-1.0, 0.0, 1.0], &[1.0, 2.0, 1.0]), (&[0.5, 0.2, 0.0, 0.1, 0.3], &[2.0]), (&[0.1; 9], &[0.2; 7])];
        for (width, height, channels) in [(1, 1, 3), (2, 3, 1), (5, 4, 3), (19, 7, 1), (17, 6, 4)] {
            let size = Size { width, height, channels };
            let from: Vec<f32> = (0..width * height * channels).map(|i| ((i * 37 + 11) % 101) as f32 / 101.0).collect();
            for kernel in kernels {
                for border in [Border::Zero, Border::Reflect] {
                    let mut got = vec![1.0; from.len()];
                    filter.add(&from, size, kernel, border, &mut got);
                    for (got, expected) in got.iter().zip(plain(&from, size, kernel, border)) {
                        assert!((got - 1.0 - expected).abs() < 1e-5, "{size:?} {kernel:?} {border:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_gaussian_is_normalized_also_for_a_sigma_of_zero() {
        for sigma in [0.0, 1e-200, 0.3, 6.0, 100.0] {
            let mut kernel = Vec::new();
            gaussian(sigma, 15, 1.0, &mut kernel);
            assert!((kernel.iter().sum::<f32>() - 1.0).abs() < 1e-5, "{sigma}");
        }
    }
}
