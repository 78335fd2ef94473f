//! Real-ESRGAN, which doubles the size of a picture.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::error::Result;
use crate::exec::Executor;
use crate::load::WeightFiles;
use crate::models::annotators::{UpscalerConfig, upscaler_program};
use crate::preprocess::network_runner::{Loaded, Running};
use crate::preprocess::resize::{Interpolation, Resizer};
use crate::preprocess::{Context, Factory, Image, Preprocessor, rgb};

/// Starts processors that double the size.
#[derive(Debug)]
pub(super) struct Enlarging {
    loaded: Arc<Loaded>,
    size: (usize, usize),
}

impl Enlarging {
    pub(super) fn load(
        weights: Arc<WeightFiles>,
        executor: &dyn Executor,
        (width, height): (usize, usize),
    ) -> Result<Self> {
        let config = UpscalerConfig::of(&*weights)?;
        let half = |side: usize| side.div_ceil(2).max(1);
        let program = upscaler_program(config, half(height), half(width))?;
        let loaded = Arc::new(Loaded::new(executor, program, weights)?);
        Ok(Self { loaded, size: (2 * half(width), 2 * half(height)) })
    }
}

impl Factory for Enlarging {
    fn start(&self, _: &Map<String, Value>) -> Box<dyn Preprocessor> {
        Box::new(EnlargingProcessor {
            running: Running::new(self.loaded.clone()),
            size: self.size,
            resizer: Resizer::default(),
            resized: Image::new(),
            folded: Vec::new(),
        })
    }
}

#[derive(Debug)]
struct EnlargingProcessor {
    running: Running,
    size: (usize, usize),
    resizer: Resizer,
    resized: Image,
    folded: Vec<f32>,
}

impl Preprocessor for EnlargingProcessor {
    fn run(&mut self, input: &Image, _: &Context<'_>, output: &mut Image) -> Result<()> {
        rgb(input)?;
        self.resizer.resize(Interpolation::Bilinear, input, self.size, &mut self.resized);
        fold(self.resized.pixels(), self.size.0, &mut self.folded);
        let picture = self.running.run(&self.folded)?.first().map_or(&[] as &[f32], Vec::as_slice);
        output.resize(2 * self.size.0, 2 * self.size.1, 3);
        for (to, &x) in output.pixels_mut().iter_mut().zip(picture) {
            *to = x.clamp(0.0, 1.0);
        }
        Ok(())
    }

    fn configure(&mut self, _: &Map<String, Value>) {}

    fn evaluations(&self) -> u64 {
        self.running.evaluations()
    }
}

/// Turns 2x2 pixels into one with twelve channels: for each colour the upper left pixel, the upper right, the lower
/// two.
fn fold(pixels: &[f32], width: usize, folded: &mut Vec<f32>) {
    folded.resize(pixels.len(), 0.0);
    let (line, lines) = (width * 3, folded.as_chunks_mut::<12>().0.chunks_exact_mut((width / 2).max(1)));
    for (to, both) in lines.zip(pixels.chunks_exact(2 * line)) {
        let (upper, lower) = both.split_at(line);
        let pairs = upper.as_chunks::<6>().0.iter().zip(lower.as_chunks::<6>().0);
        for (to, (upper, lower)) in to.iter_mut().zip(pairs) {
            for colour in 0..3 {
                let four = [upper[colour], upper[3 + colour], lower[colour], lower[3 + colour]];
                to[4 * colour..][..4].copy_from_slice(&four);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folding_groups_pixels_by_colour() {
        // Red counts pixels, green is ten more, blue twenty.
        let pixels: Vec<f32> = (0..8).flat_map(|i| [i as f32, i as f32 + 10.0, i as f32 + 20.0]).collect();
        let mut folded = Vec::new();
        fold(&pixels, 4, &mut folded);
        assert_eq!(folded[..4], [0.0, 1.0, 4.0, 5.0]);
        assert_eq!(folded[4..8], [10.0, 11.0, 14.0, 15.0]);
        assert_eq!(folded[12..16], [2.0, 3.0, 6.0, 7.0]);
    }
}
