//! Networks that output one value per pixel: edges, lines, depth.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::weight_locator::WeightLocator;
use crate::error::Result;
use crate::exec::Executor;
use crate::load::{WeightFile, WeightFiles};
use crate::models::annotators::{
    DepthConfig, PATCH, anime_program, anime_weights, depth_program, depth_weights, hed_mean, hed_program,
    lineart_program, lineart_weights,
};
use crate::params::HedSettings;
use crate::preprocess::network_runner::{Loaded, Running};
use crate::preprocess::resize::{Interpolation, Resizer};
use crate::preprocess::{Context, Factory, Image, Preprocessor, rgb};

/// Maximum shorter side of the input of HED.
const HED_SIDE: usize = 512;
/// Maximum shorter side of the input of TIN: it was trained at 256, and its cost grows with the pixels.
#[cfg(feature = "edges")]
const TIN_SIDE: usize = 384;
/// The mean and the standard deviation of ImageNet's pictures, for red, green and blue.
const IMAGENET: [([f32; 3], [f32; 3]); 1] = [([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])];
/// Starts processors that run a network of this kind.
#[derive(Debug)]
pub(super) struct Maps {
    loaded: Arc<Loaded>,
    /// The width and height of the network's input.
    size: (usize, usize),
    /// The factor and the offset of red, green and blue.
    input: [[f32; 3]; 2],
    shown: Shown,
}

/// Conversion of an output value.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Shown {
    /// A logit, shown as its probability.
    Probability,
    /// A logit, shown as the complement of its probability.
    Improbability,
    /// Linear, from white at -1 to black at 1.
    Darkness,
    /// Linear, from black at the minimum to white at the maximum; all black if they are nearly equal.
    Range,
}

impl Maps {
    /// Loads HED.
    pub(super) fn edges(weights: Arc<WeightFiles>, executor: &dyn Executor, size: (usize, usize)) -> Result<Self> {
        let (mean, channels) = hed_mean(&*weights)?;
        let (width, height) = at_most(size, HED_SIDE, 16);
        let loaded = Arc::new(Loaded::new(executor, hed_program(channels, height, width)?, weights)?);
        let input = [[255.0; 3], mean.map(|mean| -mean)];
        Ok(Self { loaded, size: (width, height), input, shown: Shown::Probability })
    }

    /// Loads the embedded network TIN, in place of `_missing` files.
    #[cfg(feature = "edges")]
    pub(super) fn small_edges(
        _: &WeightLocator,
        _missing: &[WeightFile<'_>],
        executor: &dyn Executor,
        size: (usize, usize),
    ) -> Result<Self> {
        use crate::models::annotators::tin_program;

        let (width, height) = at_most(size, TIN_SIDE, 2);
        let weights = Arc::new(WeightFiles::embedded("edges/model.safetensors")?);
        let loaded = Arc::new(Loaded::new(executor, tin_program(height, width)?, weights)?);
        Ok(Self { loaded, size: (width, height), input: [[1.0; 3], [0.0; 3]], shown: Shown::Probability })
    }

    #[cfg(not(feature = "edges"))]
    pub(super) fn small_edges(
        locator: &WeightLocator,
        missing: &[WeightFile<'_>],
        _: &dyn Executor,
        _: (usize, usize),
    ) -> Result<Self> {
        locator.require(missing)?;
        let text = "the small edge network is not built in: build with the feature `edges`";
        Err(crate::error::Error::new(crate::error::ErrorKind::NotFound, text))
    }

    pub(super) fn lineart(
        weights: Arc<WeightFiles>,
        executor: &dyn Executor,
        size: (usize, usize),
        detect: usize,
    ) -> Result<Self> {
        let (weights, channels) = lineart_weights(weights)?;
        let (width, height) = at_most(size, detect, 8);
        let loaded = Arc::new(Loaded::new(executor, lineart_program(channels, height, width)?, Arc::new(weights))?);
        Ok(Self { loaded, size: (width, height), input: [[1.0; 3], [0.0; 3]], shown: Shown::Improbability })
    }

    pub(super) fn anime(
        weights: Arc<WeightFiles>,
        executor: &dyn Executor,
        size: (usize, usize),
        detect: usize,
    ) -> Result<Self> {
        let (weights, config) = anime_weights(weights)?;
        let (width, height) = enlarged_to(at_most(size, detect, 1), config.step());
        let loaded = Arc::new(Loaded::new(executor, anime_program(&config, height, width)?, Arc::new(weights))?);
        Ok(Self { loaded, size: (width, height), input: [[2.0; 3], [-1.0; 3]], shown: Shown::Darkness })
    }

    /// Pictures are normalized as in training, unlike in the service's engine.
    pub(super) fn depth(
        file: Arc<WeightFiles>,
        executor: &dyn Executor,
        size: (usize, usize),
        detect: usize,
    ) -> Result<Self> {
        let config = DepthConfig::of(&*file)?;
        let (width, height) = scaled_to(size, detect, PATCH);
        let (columns, rows) = (width / PATCH, height / PATCH);
        let weights = depth_weights(file, &config, positions(&config, rows, columns));
        let loaded = Arc::new(Loaded::new(executor, depth_program(&config, rows, columns)?, Arc::new(weights))?);
        let [(mean, deviation)] = IMAGENET;
        let input = [deviation.map(|x| 1.0 / x), [0, 1, 2].map(|i| -mean[i] / deviation[i])];
        Ok(Self { loaded, size: (width, height), input, shown: Shown::Range })
    }
}

/// Returns a function that resizes the position embeddings of patches to `rows` x `columns`.
fn positions(config: &DepthConfig, rows: usize, columns: usize) -> impl Fn(Vec<f32>) -> Vec<f32> + Send + Sync + use<> {
    let (side, width) = (config.side, config.width);
    move |trained| {
        let Ok(trained) = Image::from_pixels(side, side, width, trained) else { return Vec::new() };
        let mut resized = Image::new();
        Resizer::default().resize(Interpolation::Bicubic, &trained, (columns, rows), &mut resized);
        resized.pixels().to_vec()
    }
}

/// Scales `size` down to a shorter side of at most `shorter`, and rounds both sides up to a multiple of `step`.
fn at_most(size: (usize, usize), shorter: usize, step: usize) -> (usize, usize) {
    scaled_to(size, shorter.min(size.0.min(size.1)), step)
}

/// Scales `size` to a shorter side of about `shorter`, with both sides a multiple of `step`.
fn scaled_to((width, height): (usize, usize), shorter: usize, step: usize) -> (usize, usize) {
    let scale = shorter as f64 / width.min(height).max(1) as f64;
    let side = |side: usize| ((side as f64 * scale / step as f64).round() as usize).max(1) * step;
    (side(width), side(height))
}

/// Rounds both sides of `size` up to a multiple of `step`.
fn enlarged_to((width, height): (usize, usize), step: usize) -> (usize, usize) {
    (width.next_multiple_of(step), height.next_multiple_of(step))
}

impl Factory for Maps {
    fn start(&self, settings: &Map<String, Value>) -> Box<dyn Preprocessor> {
        Box::new(MapProcessor {
            safe: HedSettings::read(settings).safe,
            running: Running::new(self.loaded.clone()),
            size: self.size,
            input: self.input,
            shown: self.shown,
            resizer: Resizer::default(),
            resized: Image::new(),
        })
    }
}

#[derive(Debug)]
struct MapProcessor {
    running: Running,
    size: (usize, usize),
    input: [[f32; 3]; 2],
    shown: Shown,
    /// Whether probabilities have three values.
    safe: bool,
    resizer: Resizer,
    resized: Image,
}

impl Preprocessor for MapProcessor {
    fn run(&mut self, input: &Image, _: &Context<'_>, output: &mut Image) -> Result<()> {
        rgb(input)?;
        self.resizer.resize(Interpolation::Bilinear, input, self.size, &mut self.resized);
        let [factors, summands] = self.input;
        for pixel in self.resized.pixels_mut().as_chunks_mut::<3>().0 {
            for (x, (factor, summand)) in pixel.iter_mut().zip(factors.iter().zip(summands)) {
                *x = *x * factor + summand;
            }
        }
        let map = self.running.run(self.resized.pixels())?.first().map_or(&[] as &[f32], Vec::as_slice);
        output.resize(self.size.0, self.size.1, 3);
        let (factor, summand) = self.shown.range(map);
        for (pixel, &x) in output.pixels_mut().as_chunks_mut::<3>().0.iter_mut().zip(map) {
            let value = self.shown.show(x, factor, summand);
            *pixel = [if self.safe && self.shown == Shown::Probability { stepped(value) } else { value }; 3];
        }
        Ok(())
    }

    fn configure(&mut self, settings: &Map<String, Value>) {
        self.safe = HedSettings::read(settings).safe;
    }

    fn evaluations(&self) -> u64 {
        self.running.evaluations()
    }
}

impl Shown {
    /// Returns the factor and the summand of [`Range`](Self::Range) for the values of `map`.
    fn range(self, map: &[f32]) -> (f32, f32) {
        /// The range below which values count as equal.
        const LEAST: f32 = 1e-6;
        if self != Self::Range {
            return (1.0, 0.0);
        }
        let (least, largest) = map.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(a, b), &x| (a.min(x), b.max(x)));
        let range = largest - least;
        if range.is_finite() && range > LEAST { (1.0 / range, -least / range) } else { (0.0, 0.0) }
    }

    fn show(self, x: f32, factor: f32, summand: f32) -> f32 {
        match self {
            Self::Probability => 1.0 / (1.0 + (-x).exp()),
            Self::Improbability => 1.0 / (1.0 + x.exp()),
            Self::Darkness => (0.5 - 0.5 * x).clamp(0.0, 1.0),
            Self::Range => (x * factor + summand).clamp(0.0, 1.0),
        }
    }
}

/// Returns 0, 0.5 or 1 for a probability in the lower, middle or upper third, as the original with `safe`.
fn stepped(probability: f32) -> f32 {
    ((probability * 3.0).floor() / 2.0).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn safe_edges_have_three_values() {
        let shown = [0.0, 0.33, 0.34, 0.66, 0.67, 0.99, 1.0].map(stepped);
        assert_eq!(shown, [0.0, 0.0, 0.5, 0.5, 1.0, 1.0, 1.0]);
    }

    #[test]
    fn input_sizes_are_multiples_close_to_the_stream_s_aspect_ratio() {
        assert_eq!(at_most((512, 512), 512, 16), (512, 512));
        assert_eq!(at_most((1024, 768), 512, 16), (688, 512));
        assert_eq!(at_most((100, 60), 512, 16), (96, 64));
        assert_eq!(scaled_to((512, 512), 512, 14), (518, 518));
        assert_eq!(scaled_to((640, 384), 518, 14), (868, 518));
        assert_eq!(scaled_to((1, 4000), 16, 14), (14, 63_994));
    }

    #[test]
    fn constant_depth_is_black_and_never_nan() {
        for map in [&[2.0_f32; 4][..], &[0.0, 1e-9], &[f32::NAN, f32::INFINITY], &[]] {
            let (factor, summand) = Shown::Range.range(map);
            assert_eq!((factor, summand), (0.0, 0.0), "{map:?}");
        }
        let (factor, summand) = Shown::Range.range(&[1.0, 3.0, 2.0]);
        let shown = [1.0, 2.0, 3.0].map(|x| Shown::Range.show(x, factor, summand));
        assert_eq!(shown, [0.0, 0.5, 1.0]);
    }
}
