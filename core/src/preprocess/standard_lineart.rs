//! `standard_lineart`: pixels that are darker than their surroundings.

use serde_json::{Map, Value};

use super::filter::{Border, Filter, Size, gaussian};
use super::resize::{Interpolation, Resizer};
use super::{Context, Image, Preprocessor};
use crate::error::Result;
use crate::params::StandardLineartSettings;

/// Sides are padded to a multiple of this.
const MULTIPLE: usize = 64;
/// Maximum number of pixels for line detection; larger images are scaled down.
const MAX_PIXELS: f64 = 4096.0 * 4096.0;
/// Minimum darkness of a typical line, of 255.
const LEAST_DARKNESS: f32 = 16.0;
/// The output for a typical line, of 255.
const TYPICAL: f32 = 127.0;

#[derive(Debug)]
pub(super) struct StandardLineart {
    settings: StandardLineartSettings,
    kernel: Vec<f32>,
    resizer: Resizer,
    filter: Filter,
    resized: Image,
    padded: Vec<f32>,
    blurred: Vec<f32>,
    /// The darkness of each pixel relative to its surroundings.
    darkness: Vec<f32>,
    /// The darkness of the pixels that determine the typical line.
    dark: Vec<f32>,
}

impl StandardLineart {
    pub(super) fn new(settings: &Map<String, Value>) -> Self {
        let mut lineart = Self {
            settings: StandardLineartSettings::default(),
            kernel: Vec::new(),
            resizer: Resizer::default(),
            filter: Filter::default(),
            resized: Image::new(),
            padded: Vec::new(),
            blurred: Vec::new(),
            darkness: Vec::new(),
            dark: Vec::new(),
        };
        lineart.configure(settings);
        lineart
    }

    /// Scales `input` to the size for line detection, with values up to 255; returns the padded size.
    fn prepare(&mut self, input: &Image) -> Size {
        let shorter = input.width().min(input.height()).max(1);
        let largest = (MAX_PIXELS / (input.width() * input.height()) as f64).sqrt();
        let scale = (f64::from(self.settings.detect_resolution) / shorter as f64).min(largest);
        let scaled = |side: usize| ((side as f64 * scale).round() as usize).max(1);
        let how = if scale > 1.0 { Interpolation::Bicubic } else { Interpolation::Area };
        self.resizer.resize(how, input, (scaled(input.width()), scaled(input.height())), &mut self.resized);
        let Size { width, height, channels } = self.resized.size();
        let padded =
            Size { width: width.next_multiple_of(MULTIPLE), height: height.next_multiple_of(MULTIPLE), channels };
        self.padded.resize(padded.width * padded.height * channels, 0.0);
        let row = padded.width * channels;
        for (from, to) in self.resized.pixels().chunks_exact(width * channels).zip(self.padded.chunks_exact_mut(row)) {
            let (inside, outside) = to.split_at_mut(from.len());
            for (to, from) in inside.iter_mut().zip(from) {
                *to = from * 255.0;
            }
            for pixel in outside.chunks_exact_mut(channels) {
                pixel.copy_from_slice(&inside[inside.len() - channels..]);
            }
        }
        let last = (height - 1) * row;
        for y in height..padded.height {
            self.padded.copy_within(last..last + row, y * row);
        }
        padded
    }

    /// Returns the median darkness of the dark pixels.
    fn typical(&mut self) -> f32 {
        let threshold = self.settings.intensity_threshold as f32;
        self.dark.clear();
        self.dark.extend(self.darkness.iter().filter(|&&darkness| darkness > threshold));
        let middle = self.dark.len().saturating_sub(1) / 2;
        if self.dark.is_empty() {
            return LEAST_DARKNESS;
        }
        let (_, typical, _) = self.dark.select_nth_unstable_by(middle, f32::total_cmp);
        typical.max(LEAST_DARKNESS)
    }
}

impl Preprocessor for StandardLineart {
    fn run(&mut self, input: &Image, _: &Context<'_>, output: &mut Image) -> Result<()> {
        if input.pixels().is_empty() {
            output.copy_from(input);
            return Ok(());
        }
        let size = self.prepare(input);
        self.blurred.resize(self.padded.len(), 0.0);
        self.filter.blur(&self.padded, size, &self.kernel, Border::Reflect, &mut self.blurred);
        self.darkness.resize(size.width * size.height, 0.0);
        self.dark.reserve(self.darkness.len());
        let pixels = self.padded.as_chunks::<3>().0.iter().zip(self.blurred.as_chunks::<3>().0);
        for (darkness, ([r, g, b], [blurred_r, blurred_g, blurred_b])) in self.darkness.iter_mut().zip(pixels) {
            *darkness = (blurred_r - r).min(blurred_g - g).min(blurred_b - b).max(0.0);
        }
        let typical = self.typical();
        let (width, height) = (self.resized.width(), self.resized.height());
        output.resize(width, height, 3);
        let rows = output.pixels_mut().chunks_exact_mut(width * 3);
        for (to, from) in rows.zip(self.darkness.chunks_exact(size.width)) {
            for (pixel, darkness) in to.as_chunks_mut::<3>().0.iter_mut().zip(from) {
                *pixel = [f32::from((darkness / typical * TYPICAL) as u8) / 255.0; 3];
            }
        }
        Ok(())
    }

    fn configure(&mut self, settings: &Map<String, Value>) {
        self.settings = StandardLineartSettings::read(settings);
        let sigma = self.settings.gaussian_sigma;
        let reach = (3.0 * sigma).ceil();
        // The side of the kernel follows from sigma, but it is sampled over -1..1 only, so it is nearly a box filter,
        // as in the reference.
        gaussian(sigma, 2 * reach as usize + 1, 1.0 / reach, &mut self.kernel);
    }
}
