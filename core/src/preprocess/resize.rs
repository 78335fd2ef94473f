//! Resizing of images, equivalent to PyTorch's `interpolate` without aligned corners, and to Pillow's Lanczos filter.

use std::f64::consts::PI;

use super::Image;

/// The interpolation of pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Interpolation {
    /// Nearest neighbour, rounded down.
    Nearest,
    /// Bilinear, without anti-aliasing.
    Bilinear,
    /// Bicubic with the parameter -0.75, without anti-aliasing.
    Bicubic,
    /// Lanczos with three lobes on either side; the filter widens when an image is scaled down.
    Lanczos,
    /// The mean of all source pixels that an output pixel covers.
    Area,
}

/// Resizes images, and reuses its tables and memory.
#[derive(Debug, Default)]
pub(crate) struct Resizer {
    columns: Taps,
    rows: Taps,
    /// The image after the resizing of its rows.
    wide: Vec<f32>,
}

impl Resizer {
    /// Resizes `from` to `size`, width and height, and writes the result to `output`.
    pub(crate) fn resize(&mut self, how: Interpolation, from: &Image, size: (usize, usize), output: &mut Image) {
        let (width, height) = size;
        let channels = from.channels();
        output.resize(width, height, channels);
        if (from.width(), from.height()) == size {
            output.pixels_mut().copy_from_slice(from.pixels());
            return;
        }
        if from.pixels().is_empty() || output.pixels().is_empty() {
            output.pixels_mut().fill(0.0);
            return;
        }
        self.columns.prepare(how, from.width(), width);
        self.rows.prepare(how, from.height(), height);
        let row = width * channels;
        self.wide.resize(from.height() * row, 0.0);
        let lines = from.pixels().chunks_exact(from.width() * channels);
        for (line, wide) in lines.zip(self.wide.chunks_exact_mut(row)) {
            match channels {
                3 => self.columns.along::<3>(line, wide),
                4 => self.columns.along::<4>(line, wide),
                _ => {
                    for channel in 0..channels {
                        self.columns.along_channel(line, wide, channel, channels);
                    }
                }
            }
        }
        for (taps, line) in self.rows.each().zip(output.pixels_mut().chunks_exact_mut(row)) {
            line.fill(0.0);
            for &(index, weight) in taps {
                for (to, from) in line.iter_mut().zip(&self.wide[index * row..]) {
                    *to += weight * from;
                }
            }
        }
    }
}

/// Returns the size scaled to a shorter side of `side`, with the longer side limited to eight times as much.
pub(super) fn with_shorter_side((width, height): (usize, usize), side: usize) -> (usize, usize) {
    let scale = side as f64 / width.min(height).max(1) as f64;
    let scaled = |x: usize| ((x as f64 * scale).round() as usize).clamp(1, 8 * side.max(1));
    (scaled(width), scaled(height))
}

/// The filter taps of each output position, in one direction.
#[derive(Debug, Default)]
struct Taps {
    made_for: Option<(Interpolation, usize, usize)>,
    /// The end of the taps of each position.
    ends: Vec<usize>,
    taps: Vec<(usize, f32)>,
}

impl Taps {
    /// Creates the table for resizing `from` positions to `to`, unless it exists.
    fn prepare(&mut self, how: Interpolation, from: usize, to: usize) {
        if self.made_for == Some((how, from, to)) {
            return;
        }
        self.made_for = Some((how, from, to));
        self.ends.clear();
        self.taps.clear();
        let scale = from as f32 / to as f32;
        let last = from - 1;
        for position in 0..to {
            match how {
                Interpolation::Nearest => self.taps.push((((position as f32 * scale) as usize).min(last), 1.0)),
                Interpolation::Bilinear => {
                    let source = ((position as f32 + 0.5) * scale - 0.5).max(0.0);
                    let first = (source as usize).min(last);
                    let weight = (source - first as f32).clamp(0.0, 1.0);
                    self.taps.extend([(first, 1.0 - weight), ((first + 1).min(last), weight)]);
                }
                Interpolation::Bicubic => {
                    let source = (position as f32 + 0.5) * scale - 0.5;
                    let first = source.floor();
                    for (offset, weight) in (-1..=2).zip(cubic(source - first)) {
                        let index = (first as isize + offset).clamp(0, last as isize);
                        self.taps.push((index as usize, weight));
                    }
                }
                Interpolation::Lanczos => self.push_lanczos(position, from, to),
                Interpolation::Area => self.push_area(position, from, to),
            }
            self.ends.push(self.taps.len());
        }
    }

    /// Adds the source pixels that the output position covers, with equal weights.
    fn push_area(&mut self, position: usize, from: usize, to: usize) {
        let (begin, end) = (position * from / to, ((position + 1) * from).div_ceil(to));
        let share = 1.0 / (end - begin) as f32;
        self.taps.extend((begin..end).map(|index| (index, share)));
    }

    /// Adds the source pixels within three lobes of the output position. Those outside the image are left out, and the
    /// weights of the others sum to one.
    fn push_lanczos(&mut self, position: usize, from: usize, to: usize) {
        let scale = from as f64 / to as f64;
        let stretch = scale.max(1.0);
        let (centre, reach) = ((position as f64 + 0.5) * scale, LOBES * stretch);
        let begin = (centre - reach + 0.5).max(0.0) as usize;
        let end = ((centre + reach + 0.5) as usize).min(from);
        let weight = |index: usize| lanczos((index as f64 + 0.5 - centre) / stretch);
        let sum: f64 = (begin..end).map(weight).sum();
        self.taps.extend((begin..end).map(|index| (index, (weight(index) / sum) as f32)));
    }

    /// Returns the taps of each position, in order.
    fn each(&self) -> impl Iterator<Item = &[(usize, f32)]> {
        let mut begin = 0;
        self.ends.iter().map(move |&end| {
            let taps = &self.taps[begin..end];
            begin = end;
            taps
        })
    }

    /// Resizes a line of pixels with `N` channels.
    fn along<const N: usize>(&self, from: &[f32], to: &mut [f32]) {
        let from = from.as_chunks::<N>().0;
        for (taps, to) in self.each().zip(to.as_chunks_mut::<N>().0) {
            *to = [0.0; N];
            for &(index, weight) in taps {
                for (to, from) in to.iter_mut().zip(&from[index]) {
                    *to += weight * from;
                }
            }
        }
    }

    /// Computes one channel of `to`.
    fn along_channel(&self, from: &[f32], to: &mut [f32], channel: usize, channels: usize) {
        for (position, taps) in self.each().enumerate() {
            to[position * channels + channel] =
                taps.iter().map(|&(index, weight)| weight * from[index * channels + channel]).sum();
        }
    }
}

/// Returns the weights of the four pixels around a position, `t` after the second one.
fn cubic(t: f32) -> [f32; 4] {
    const A: f32 = -0.75;
    let near = |x: f32| ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0;
    let far = |x: f32| ((A * x - 5.0 * A) * x + 8.0 * A) * x - 4.0 * A;
    [far(t + 1.0), near(t), near(1.0 - t), far(2.0 - t)]
}

/// The lobes of the Lanczos filter on either side of its centre.
const LOBES: f64 = 3.0;

/// Returns the weight of the Lanczos filter at the distance `x`.
fn lanczos(x: f64) -> f64 {
    let sinc = |x: f64| if x == 0.0 { 1.0 } else { (PI * x).sin() / (PI * x) };
    if x.abs() < LOBES { sinc(x) * sinc(x / LOBES) } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use dreamframe_kernels::resize::{Crop, F32x3, Filter, Resizer as Library};

    use super::*;

    const ALL: [Interpolation; 5] = [
        Interpolation::Nearest,
        Interpolation::Bilinear,
        Interpolation::Bicubic,
        Interpolation::Lanczos,
        Interpolation::Area,
    ];

    #[test]
    fn lanczos_equals_the_library_that_scales_frames() {
        let (width, height) = (13, 9);
        let pixels: Vec<f32> = (0..width * height * 3).map(|i| (i * 37 % 101) as f32 / 101.0).collect();
        let image = Image::from_pixels(width, height, 3, pixels.clone()).unwrap();
        let from: Vec<F32x3> = pixels.as_chunks().0.iter().map(|&pixel| F32x3::new(pixel)).collect();
        let crop = Crop { left: 0.0, top: 0.0, width: width as f64, height: height as f64 };
        for to in [(26, 18), (17, 11), (5, 4)] {
            let mut output = Image::new();
            Resizer::default().resize(Interpolation::Lanczos, &image, to, &mut output);
            let mut expected = vec![F32x3::new([0.0; 3]); to.0 * to.1];
            let (size, scaled) = ((width as u32, height as u32), (to.0 as u32, to.1 as u32));
            Library::default().floats(Filter::Lanczos3, (&from, size), crop, (&mut expected, scaled)).unwrap();
            let expected = expected.iter().flat_map(|pixel| pixel.0);
            let apart = output.pixels().iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(apart < 1e-5, "{to:?}: {apart}");
        }
    }

    #[test]
    fn a_constant_image_stays_constant_at_every_size() {
        for how in ALL {
            for channels in [1, 3, 4] {
                let mut resizer = Resizer::default();
                let mut output = Image::new();
                for (from, to) in [((1, 1), (5, 3)), ((7, 5), (3, 11)), ((5, 4), (1, 1)), ((640, 3), (641, 2))] {
                    let pixels = vec![0.25; from.0 * from.1 * channels];
                    let image = Image::from_pixels(from.0, from.1, channels, pixels).unwrap();
                    resizer.resize(how, &image, to, &mut output);
                    assert_eq!((output.width(), output.height(), output.channels()), (to.0, to.1, channels));
                    assert!(output.pixels().iter().all(|value| (value - 0.25).abs() < 1e-5), "{how:?} {from:?} {to:?}");
                }
            }
        }
    }

    #[test]
    fn doubling_and_averaging_round_trips() {
        let pixels: Vec<f32> = (0..5 * 4 * 3).map(|i| (i * 7 % 31) as f32 / 31.0).collect();
        let image = Image::from_pixels(5, 4, 3, pixels).unwrap();
        let (mut large, mut small) = (Image::new(), Image::new());
        Resizer::default().resize(Interpolation::Nearest, &image, (10, 8), &mut large);
        Resizer::default().resize(Interpolation::Area, &large, (5, 4), &mut small);
        let apart = image.pixels().iter().zip(small.pixels()).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(apart < 1e-6, "{apart}");
    }
}
