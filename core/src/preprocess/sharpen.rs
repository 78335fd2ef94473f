//! `sharpen`: unsharp masking, with enhancement of edges and details.

use serde_json::{Map, Value};

use super::filter::{Border, Filter, Size, gaussian};
use super::{Context, Image, Preprocessor};
use crate::error::Result;
use crate::params::SharpenSettings;

/// The standard deviation of the denoising blur, in pixels.
const NOISE_SIGMA: f64 = 0.3;
/// The radii, as multiples of the setting, and their weights.
const SCALES: [(f64, f32); 3] = [(0.5, 0.3), (1.0, 0.5), (2.0, 0.2)];

#[derive(Debug)]
pub(super) struct Sharpen {
    settings: SharpenSettings,
    noise: Vec<f32>,
    /// A Gaussian for each of [`SCALES`].
    kernels: [Vec<f32>; 3],
    filter: Filter,
    blurred: Vec<f32>,
    /// The weight of one step.
    added: Vec<f32>,
    gradient: Vec<f32>,
}

impl Sharpen {
    pub(super) fn new(settings: &Map<String, Value>) -> Self {
        let mut sharpen = Self {
            settings: SharpenSettings::default(),
            noise: Vec::new(),
            kernels: Default::default(),
            filter: Filter::default(),
            blurred: Vec::new(),
            added: Vec::new(),
            gradient: Vec::new(),
        };
        sharpen.configure(settings);
        sharpen
    }

    /// Adds the differences between `x` and its blurs to `x`.
    fn unsharp(&mut self, x: &mut [f32], size: Size) {
        let intensity = self.settings.sharpen_intensity as f32;
        if !self.settings.multi_scale {
            self.filter.blur(x, size, &self.kernels[1], Border::Zero, &mut self.blurred);
            for (x, blurred) in x.iter_mut().zip(&self.blurred) {
                *x = (*x + intensity * (*x - blurred)).clamp(0.0, 1.0);
            }
            return;
        }
        self.added.fill(0.0);
        for (kernel, (_, weight)) in self.kernels.iter().zip(SCALES) {
            self.filter.blur(x, size, kernel, Border::Zero, &mut self.blurred);
            // The weight is applied twice, as in the reference.
            for ((x, blurred), added) in x.iter().zip(&self.blurred).zip(&mut self.added) {
                let sharp = (x + intensity * weight * (x - blurred)).clamp(0.0, 1.0);
                *added += weight * (sharp - x);
            }
        }
        add(x, &self.added, 1.0);
    }

    /// Brightens edges by the magnitude of the Sobel gradient.
    fn brighten_edges(&mut self, x: &mut [f32], size: Size) {
        const SLOPE: &[f32] = &[-1.0, 0.0, 1.0];
        const SMOOTH: &[f32] = &[1.0, 2.0, 1.0];
        let Self { filter, added, gradient, .. } = self;
        added.fill(0.0);
        gradient.fill(0.0);
        filter.add(x, size, (SLOPE, SMOOTH), Border::Zero, added);
        filter.add(x, size, (SMOOTH, SLOPE), Border::Zero, gradient);
        for (across, down) in added.iter_mut().zip(gradient.iter()) {
            *across = (*across * *across + down * down).sqrt();
        }
        add(x, added, self.settings.edge_enhancement as f32);
    }

    /// Adds the Laplacian.
    fn boost_detail(&mut self, x: &mut [f32], size: Size) {
        const MIDDLE: &[f32] = &[0.0, 1.0, 0.0];
        const ACROSS: &[f32] = &[-1.0, 4.0, -1.0];
        const DOWN: &[f32] = &[-1.0, 0.0, -1.0];
        self.added.fill(0.0);
        self.filter.add(x, size, (ACROSS, MIDDLE), Border::Zero, &mut self.added);
        self.filter.add(x, size, (MIDDLE, DOWN), Border::Zero, &mut self.added);
        add(x, &self.added, self.settings.detail_boost as f32);
    }
}

/// Adds `added` times `factor` to `x`, and clamps the result to 0..1.
fn add(x: &mut [f32], added: &[f32], factor: f32) {
    for (x, added) in x.iter_mut().zip(added) {
        *x = (*x + factor * added).clamp(0.0, 1.0);
    }
}

impl Preprocessor for Sharpen {
    fn run(&mut self, input: &Image, _: &Context<'_>, output: &mut Image) -> Result<()> {
        output.copy_from(input);
        let size = input.size();
        let len = input.pixels().len();
        for buffer in [&mut self.blurred, &mut self.added, &mut self.gradient] {
            buffer.resize(len, 0.0);
        }
        let x = output.pixels_mut();
        let noise = self.settings.noise_reduction as f32;
        if noise > 0.0 {
            self.filter.blur(x, size, &self.noise, Border::Zero, &mut self.blurred);
            for (x, blurred) in x.iter_mut().zip(&self.blurred) {
                *x = (1.0 - noise) * *x + noise * blurred;
            }
        }
        self.unsharp(x, size);
        self.brighten_edges(x, size);
        self.boost_detail(x, size);
        Ok(())
    }

    fn configure(&mut self, settings: &Map<String, Value>) {
        self.settings = SharpenSettings::read(settings);
        let side = |sigma: f64| ((6.0 * sigma + 1.0) as usize).max(3) | 1;
        gaussian(NOISE_SIGMA, side(NOISE_SIGMA), 1.0, &mut self.noise);
        for (kernel, (times, _)) in self.kernels.iter_mut().zip(SCALES) {
            let sigma = self.settings.unsharp_radius * times;
            gaussian(sigma, side(sigma), 1.0, kernel);
        }
    }
}
