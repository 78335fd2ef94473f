//! Random weights in the shapes of a program, for benchmarks of networks that are not downloaded.

use std::collections::HashMap;

use sha2::{Digest, Sha256};

use super::header::Fingerprint;
use crate::error::{Error, ErrorKind, Result};
use crate::net::{WeightSource, WeightSpec};

/// Generators that run in parallel, so that the compiler vectorizes them.
const LANES: usize = 16;

/// Random weights: the same for the same seed and name, and small enough that activations stay finite through any
/// depth (variance one over the inputs of a neuron; norms scale by one; biases are zero).
#[derive(Debug, Clone)]
pub struct RandomWeights {
    seed: u64,
    shapes: HashMap<String, Vec<usize>>,
}

impl RandomWeights {
    /// Weights for all of `specs`. Values are generated when they are read.
    pub fn new<'a>(seed: u64, specs: impl IntoIterator<Item = &'a WeightSpec>) -> Self {
        let shapes = specs.into_iter().map(|spec| (spec.name.clone(), spec.shape.clone())).collect();
        Self { seed, shapes }
    }

    /// Identifies these weights.
    pub(super) fn fingerprint(&self) -> Fingerprint {
        let mut shapes: Vec<_> = self.shapes.iter().collect();
        shapes.sort_unstable();
        Sha256::digest(format!("random {} {shapes:?}", self.seed)).into()
    }
}

impl WeightSource for RandomWeights {
    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        self.shapes.get(name).cloned()
    }

    fn read(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        if self.shapes.get(name).is_none_or(|known| known != shape) {
            let what = format!("no random weight {name:?} of shape {shape:?} exists");
            return Err(Error::new(ErrorKind::BadModel, what));
        }
        let count = shape.iter().product();
        Ok(match shape {
            [_] | [] => vec![if name.ends_with("bias") { 0.0 } else { 1.0 }; count],
            [_, inputs @ ..] => {
                let fan_in: usize = inputs.iter().product();
                // A uniform value in -a..a has variance a*a/3.
                uniform(seed_of(self.seed, name), (3.0 / fan_in.max(1) as f32).sqrt(), count)
            }
        })
    }
}

/// FNV-1a over the name, begun with the seed.
fn seed_of(seed: u64, name: &str) -> u64 {
    name.bytes().fold(seed ^ 0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

/// Returns `count` values in `-bound..bound`, from [`LANES`] interleaved xorshift generators of 32 bits.
fn uniform(seed: u64, bound: f32, count: usize) -> Vec<f32> {
    let mut state = seed;
    let mut lanes: [u32; LANES] = std::array::from_fn(|_| {
        // splitmix64, whose outputs are far apart for neighbouring seeds; a xorshift state must not be zero.
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed >> 32) as u32) | 1
    });
    let mut numbers = vec![0.0_f32; count];
    for chunk in numbers.chunks_mut(LANES) {
        for lane in &mut lanes {
            *lane ^= *lane << 13;
            *lane ^= *lane >> 17;
            *lane ^= *lane << 5;
        }
        for (number, lane) in chunk.iter_mut().zip(&lanes) {
            // The upper bits as a fraction: a float in 1..2, moved to -1..1.
            let unit = f32::from_bits((lane >> 9) | 0x3f80_0000);
            *number = (unit * 2.0 - 3.0) * bound;
        }
    }
    numbers
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(name: &str, shape: &[usize]) -> WeightSpec {
        WeightSpec { name: name.into(), shape: shape.into() }
    }

    #[test]
    fn a_weight_is_the_same_for_the_same_seed_and_name_alone() {
        let specs = [spec("a.weight", &[40, 30]), spec("b.weight", &[40, 30])];
        let read = |seed: u64, name: &str| RandomWeights::new(seed, &specs).read(name, &[40, 30]).unwrap();
        assert_eq!(read(1, "a.weight"), read(1, "a.weight"));
        assert_ne!(read(1, "a.weight"), read(1, "b.weight"));
        assert_ne!(read(1, "a.weight"), read(2, "a.weight"));
    }

    #[test]
    fn variance_is_one_over_the_inputs() {
        let specs = [spec("conv.weight", &[64, 32, 3, 3])];
        let numbers = RandomWeights::new(7, &specs).read("conv.weight", &[64, 32, 3, 3]).unwrap();
        let count = numbers.len() as f64;
        let mean = numbers.iter().map(|&x| f64::from(x)).sum::<f64>() / count;
        let variance = numbers.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>() / count;
        let expected = 1.0 / (32.0 * 9.0);
        assert!(mean.abs() < 0.02 * f64::sqrt(expected), "{mean}");
        assert!((variance / expected - 1.0).abs() < 0.03, "{variance}");
    }

    #[test]
    fn norms_scale_by_one_and_biases_are_zero() {
        let specs = [spec("norm.weight", &[8]), spec("norm.bias", &[8])];
        let weights = RandomWeights::new(7, &specs);
        assert_eq!(weights.read("norm.weight", &[8]).unwrap(), [1.0; 8]);
        assert_eq!(weights.read("norm.bias", &[8]).unwrap(), [0.0; 8]);
        assert_eq!(weights.read("norm.bias", &[9]).unwrap_err().kind(), ErrorKind::BadModel);
        assert_eq!(weights.shape("other"), None);
    }
}
