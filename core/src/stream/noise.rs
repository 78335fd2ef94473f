//! The random numbers of the frame path, which depend only on seeds.
//!
//! Both generators are those of PyTorch, so that a seed gives the same picture: `philox` is its generator on a CUDA
//! device, `torch-cpu` its generator on a CPU. Values are in the order of a `[n, 4, h, w]` tensor; [`Generator::rows`]
//! converts them to channels last.

mod mersenne;
mod philox;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use self::mersenne::Mersenne;
use crate::net::Shape;
use crate::{Error, ErrorKind, Result};

/// The generator of normally distributed numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Generator {
    /// Philox 4x32-10, keyed by all 64 bits of the seed, rounded to `f16`: a CUDA device that draws in half precision.
    ///
    /// Number `i` is the first word of counter `i`. A device with fewer threads than numbers would also use the other
    /// words of the counters; this depends on the device, and is not reproduced.
    #[default]
    Philox,
    /// Mersenne Twister 19937, seeded with the low 32 bits of the seed, in `f32`.
    TorchCpu,
}

impl Generator {
    /// Every generator.
    pub const ALL: [Self; 2] = [Self::Philox, Self::TorchCpu];

    /// Returns its name in options and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Philox => "philox",
            Self::TorchCpu => "torch-cpu",
        }
    }

    /// Draws `len` numbers of mean 0 and variance 1, as `torch.randn(len)` does after `torch.manual_seed(seed)`.
    ///
    /// With [`Generator::TorchCpu`] the last 16 numbers depend on `len` unless that is a multiple of 16.
    ///
    /// # Errors
    ///
    /// `Unsupported` for [`Generator::TorchCpu`] with `len` below 16, for which the framework has another algorithm.
    pub fn draw(self, seed: u64, len: usize) -> Result<Vec<f32>> {
        match self {
            Self::Philox => Ok(philox::normal_f16(seed, len)),
            Self::TorchCpu if len < mersenne::BLOCK => {
                let text = format!(
                    "count of numbers of the generator torch-cpu: got {len}, expected at least {}",
                    mersenne::BLOCK
                );
                Err(Error::new(ErrorKind::Unsupported, text))
            }
            Self::TorchCpu => Ok(Mersenne::new(seed).normal(len)),
        }
    }

    /// Draws the noise of rows: one draw of `[n, c, h, w]`, returned channels last, with the shape `shape`.
    ///
    /// Row `i` depends on the seed, on `i` and on the size of a row, and not on the number of rows. For that,
    /// [`Generator::TorchCpu`] draws up to the next multiple of 16 and drops the surplus. If the number of elements of
    /// `shape` is not a multiple of 16, the last elements therefore differ from those of one `torch.randn`.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for a shape with no elements, or more than 2^32.
    pub fn rows(self, seed: u64, shape: Shape) -> Result<Vec<f32>> {
        let Shape { n, h, w, c } = shape;
        let len = n.checked_mul(h).and_then(|len| len.checked_mul(w)).and_then(|len| len.checked_mul(c));
        let Some(len) = len.filter(|len| (1..=1 << 32).contains(len)) else {
            let text = format!("noise: got the shape {shape:?}, expected 1 to 2^32 elements");
            return Err(Error::new(ErrorKind::InvalidArgument, text));
        };
        let planar = self.draw(seed, len.next_multiple_of(mersenne::BLOCK))?;
        let pixels = h * w;
        let mut rows = Vec::with_capacity(len);
        for row in planar[..len].chunks_exact(pixels * c) {
            for pixel in 0..pixels {
                rows.extend(row[pixel..].iter().step_by(pixels));
            }
        }
        Ok(rows)
    }
}

impl fmt::Display for Generator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Generator {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|generator| generator.name() == name).ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            Error::new(ErrorKind::InvalidArgument, format!("generator: got {name:?}, expected one of {names}"))
        })
    }
}

/// A generator of uniformly distributed numbers for decisions of the frame path: a seed and a position in its sequence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoiseSource {
    seed: u64,
    drawn: u64,
}

impl NoiseSource {
    /// Creates the generator of `seed`, at the start of its sequence.
    pub fn new(seed: u64) -> Self {
        Self { seed, drawn: 0 }
    }

    /// Draws the next number, uniformly distributed in (0, 1].
    pub fn uniform(&mut self) -> f32 {
        let number = philox::uniform(self.seed, self.drawn);
        self.drawn = self.drawn.wrapping_add(1);
        number
    }
}

/// Returns the radius of the Box-Muller transform.
///
/// Logarithm, sine and cosine are computed in `f64` and rounded to `f32`, here and for the angle, so that results are
/// the same on every platform.
fn radius(uniform: f32) -> f32 {
    let logarithm = f64::from(uniform).ln() as f32;
    (-2.0 * logarithm).sqrt()
}

#[cfg(test)]
mod tests;
