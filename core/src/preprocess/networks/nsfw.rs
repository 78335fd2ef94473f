//! The classifier of nsfwjs, which scores pictures for safety.

use std::sync::Arc;

use crate::error::Result;
use crate::exec::Executor;
use crate::load::{QuantizedFile, WeightFiles};
use crate::models::{NSFW_CLASSES, NSFW_SIDE, nsfw_program};
use crate::net::bilinear;
use crate::preprocess::network_runner::{Loaded, Running};
use crate::preprocess::{Image, rgb};

/// The indices of the harmless classes: drawing and neutral.
const HARMLESS: [usize; 2] = [0, 2];

/// The source of a pixel of a scaled line: the first neighbour, and the weight of the second.
type Place = (usize, f32);

/// Scores pictures for safety.
#[derive(Debug)]
pub struct NsfwClassifier {
    running: Running,
    square: Vec<f32>,
}

impl NsfwClassifier {
    /// Compiles the network.
    ///
    /// # Errors
    ///
    /// Those of the executor.
    pub fn load(executor: &dyn Executor) -> Result<Self> {
        let weights = QuantizedFile(WeightFiles::embedded("nsfw/model.safetensors")?);
        let loaded = Loaded::new(executor, nsfw_program()?, Arc::new(weights))?;
        Ok(Self { running: Running::ready(Arc::new(loaded))?, square: vec![0.0; NSFW_SIDE * NSFW_SIDE * 3] })
    }

    /// Returns the probabilities of the [`NSFW_CLASSES`] for `image`, `[height, width, 3]` in 0..1.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for an invalid picture, and errors of the executor.
    pub fn probabilities(&mut self, image: &Image) -> Result<[f32; NSFW_CLASSES.len()]> {
        rgb(image)?;
        scale(image, &mut self.square);
        let logits = self.running.run(&self.square)?.first().map_or(&[] as &[f32], Vec::as_slice);
        let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let mut shares = [0.0; NSFW_CLASSES.len()];
        for (share, logit) in shares.iter_mut().zip(logits) {
            *share = (logit - largest).exp();
        }
        let sum: f32 = shares.iter().sum();
        Ok(shares.map(|share| share / sum))
    }

    /// Returns the score of `image`, in 0..1: the probability of all classes except the harmless ones.
    ///
    /// # Errors
    ///
    /// Like [`probabilities`](Self::probabilities).
    pub fn score(&mut self, image: &Image) -> Result<f32> {
        let probabilities = self.probabilities(image)?;
        let harmless: f32 = HARMLESS.iter().filter_map(|&class| probabilities.get(class)).sum();
        Ok((1.0 - harmless).max(0.0))
    }
}

/// Resizes a picture to the network's square input by bilinear interpolation with aligned corners.
fn scale(image: &Image, square: &mut [f32]) {
    let (width, height) = (image.width(), image.height());
    let places = |from: usize| std::array::from_fn::<Place, NSFW_SIDE, _>(|at| bilinear(at, from, NSFW_SIDE, true));
    let (columns, lines) = (places(width), places(height));
    let pixels = image.pixels().as_chunks::<3>().0;
    let at = |y: usize, x: usize| pixels.get(y.min(height - 1) * width + x.min(width - 1)).copied().unwrap_or_default();
    let mix = |a: [f32; 3], b: [f32; 3], share: f32| std::array::from_fn(|i| a[i] + (b[i] - a[i]) * share);
    for ((y, low), line) in lines.into_iter().zip(square.as_chunks_mut::<3>().0.chunks_exact_mut(NSFW_SIDE)) {
        for ((x, right), to) in columns.into_iter().zip(line) {
            let upper: [f32; 3] = mix(at(y, x), at(y, x + 1), right);
            *to = mix(upper, mix(at(y + 1, x), at(y + 1, x + 1), right), low);
        }
    }
}
