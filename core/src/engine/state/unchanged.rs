//! The autoencoder's halves with values of their last run, of which only what depends on changes is computed.

use std::sync::Arc;

use crate::engine::pipeline::Pipeline;
use crate::error::{Error, ErrorKind, Result};
use crate::exec::{Constants, Network, Region, RunArgs, Scratch, View, ViewMut};
use crate::net::Shape;

/// How much larger than the mean difference of a block its largest one may be.
const PEAK: f32 = 8.0;

/// What the halves of the autoencoder keep; nothing of those that compute everything.
#[derive(Debug, Default)]
pub(super) struct KeptAutoencoder {
    pub(super) encoder: Option<KeptHalf>,
    pub(super) decoder: Option<KeptHalf>,
}

/// What one half keeps of its last run.
#[derive(Debug)]
pub(super) struct KeptHalf {
    values: Scratch,
    /// The input of which `values` are; NaN, which differs from everything, before the first run and after an error.
    input: Vec<f32>,
    shape: Shape,
    /// The side of the blocks that are compared.
    block: usize,
    /// The mean difference up to which a block counts as unchanged.
    threshold: f32,
}

impl KeptAutoencoder {
    /// Allocates what the autoencoder of `next` needs to replace that of `base`; `None` if the memory of `base` serves it.
    ///
    /// # Errors
    ///
    /// `OutOfMemory`.
    pub(super) fn replacing(base: Option<&Pipeline>, next: &Pipeline) -> Result<Option<Self>> {
        let of = |pipeline: &Pipeline| {
            let autoencoder = pipeline.components.autoencoder();
            [&autoencoder.encoder, &autoencoder.decoder].map(|half| Arc::as_ptr(half).cast::<()>())
        };
        if base.is_some_and(|base| of(base) == of(next)) {
            return Ok(None);
        }
        let autoencoder = next.components.autoencoder();
        let (scale, threshold) = (next.memory.frame.1 / autoencoder.latent.h.max(1), autoencoder.region_threshold);
        Ok(Some(Self {
            encoder: KeptHalf::new(&*autoencoder.encoder, scale, threshold)?,
            // The values of a latent are about as far apart as those of the frame.
            decoder: KeptHalf::new(&*autoencoder.decoder, 1, threshold)?,
        }))
    }
}

impl KeptHalf {
    /// Allocates what `network` keeps; `None` if it computes everything.
    fn new(network: &dyn Network, block: usize, threshold: f32) -> Result<Option<Self>> {
        let program = network.program();
        let input = program.inputs().first().filter(|_| network.kept_bytes() > 0);
        input
            .map(|input| {
                let shape = program.shape(input.value);
                let (values, input) = (network.kept_values()?, vec![f32::NAN; shape.len()]);
                Ok(Self { values, input, shape, block: block.max(1), threshold })
            })
            .transpose()
    }

    /// Runs `network`, to which this belongs, on `input`; returns the number of pixels of it that were not computed again.
    ///
    /// # Errors
    ///
    /// Those of [`Network::run`]. The next run computes everything then.
    pub(super) fn run(
        &mut self,
        network: &dyn Network,
        constants: &Constants,
        input: View<'_>,
        outputs: &mut [ViewMut<'_>],
    ) -> Result<u64> {
        let changed = self.take(input.host()?)?;
        let inputs = [View::Host(&self.input)];
        let args = RunArgs::new(constants, &mut self.values, &inputs, outputs);
        let done = network.run(RunArgs { changed: Some(&changed), ..args });
        done.inspect_err(|_| self.input.fill(f32::NAN))?;
        Ok((self.shape.pixels() - changed.pixels()) as u64)
    }

    /// Takes over all blocks of `input` that have changed; returns the rectangle around them.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for an input of another length.
    fn take(&mut self, input: &[f32]) -> Result<Region> {
        let Self { input: kept, shape, block, threshold, .. } = self;
        if kept.len() != input.len() {
            let text = format!("input: got {} elements, expected {}", input.len(), kept.len());
            return Err(Error::new(ErrorKind::InvalidArgument, text));
        }
        let (shape, block) = (*shape, *block);
        let mut changed = Region::default();
        for y in (0..shape.h).step_by(block) {
            let lines = y..(y + block).min(shape.h);
            for x in (0..shape.w).step_by(block) {
                let columns = x..(x + block).min(shape.w);
                let of =
                    |line: usize| (line * shape.w + columns.start) * shape.c..(line * shape.w + columns.end) * shape.c;
                if differs(lines.clone().map(|line| (&input[of(line)], &kept[of(line)])), *threshold) {
                    lines.clone().for_each(|line| kept[of(line)].copy_from_slice(&input[of(line)]));
                    changed = changed.union(&Region { x: columns, y: lines.clone() });
                }
            }
        }
        Ok(changed)
    }
}

/// Returns whether the lines of a block differ by more than a mean difference of `threshold`, or by [`PEAK`] times that
/// anywhere; with a threshold of 0, by a bit.
fn differs<'a>(lines: impl Iterator<Item = (&'a [f32], &'a [f32])>, threshold: f32) -> bool {
    let (mut sum, mut largest, mut count) = (0.0_f32, 0.0_f32, 0);
    for (a, b) in lines {
        if threshold == 0.0 {
            if a.iter().zip(b).any(|(a, b)| a.to_bits() != b.to_bits()) {
                return true;
            }
            continue;
        }
        for (a, b) in a.iter().zip(b) {
            let difference = (a - b).abs();
            sum += difference;
            largest = largest.max(difference);
        }
        count += a.len();
    }
    // NaN differs from everything.
    threshold > 0.0 && !(sum <= threshold * count as f32 && largest <= PEAK * threshold)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is kept of an image of 16x16 pixels with two channels.
    fn kept(threshold: f32) -> KeptHalf {
        let shape = Shape::new(1, 16, 16, 2);
        KeptHalf { values: Scratch::new(), input: vec![0.0; shape.len()], shape, block: 4, threshold }
    }

    fn at(x: usize, y: usize) -> usize {
        (y * 16 + x) * 2
    }

    #[test]
    fn the_rectangle_contains_every_block_with_another_bit() {
        let mut half = kept(0.0);
        let mut input = half.input.clone();
        assert_eq!(half.take(&input).unwrap(), Region::default());
        (input[at(5, 2)], input[at(9, 6) + 1]) = (-0.0, 1e-30);
        assert_eq!(half.take(&input).unwrap(), Region { x: 4..12, y: 0..8 });
        assert!(half.input.iter().zip(&input).all(|(a, b)| a.to_bits() == b.to_bits()));
        assert_eq!(half.take(&input).unwrap(), Region::default());
    }

    #[test]
    fn before_the_first_run_everything_has_changed() {
        for threshold in [0.0, 0.1] {
            let mut half = kept(threshold);
            let input = std::mem::replace(&mut half.input, vec![f32::NAN; 16 * 16 * 2]);
            assert_eq!(half.take(&input).unwrap(), Region { x: 0..16, y: 0..16 });
            assert_eq!(half.input, input);
            assert_eq!(half.take(&input[1..]).unwrap_err().kind(), ErrorKind::InvalidArgument);
        }
    }

    #[test]
    fn noise_below_the_threshold_is_unchanged_and_does_not_add_up() {
        let mut half = kept(0.1);
        let drift = |by: f32| vec![by; 16 * 16 * 2];
        assert_eq!(half.take(&drift(0.09)).unwrap(), Region::default());
        assert!(half.input.iter().all(|&value| value == 0.0));
        assert_eq!(half.take(&drift(0.11)).unwrap(), Region { x: 0..16, y: 0..16 });
        let mut one_pixel = drift(0.11);
        one_pixel[at(15, 15)] = 0.95;
        assert_eq!(half.take(&one_pixel).unwrap(), Region { x: 12..16, y: 12..16 });
        one_pixel[at(0, 0)] = f32::NAN;
        assert_eq!(half.take(&one_pixel).unwrap(), Region { x: 0..4, y: 0..4 });
    }
}
