//! The only random numbers of the frame path, from a seed alone.
//!
//! Both generators are those of the reference framework, so that a seed means the same picture here: `philox` is what it
//! has on a CUDA device, `torch-cpu` what it has on a processor.
//! Values come in the order of a `[n, 4, h, w]` tensor; [`Generator::rows`] turns them to channels last.

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
    /// Number `i` is the first of counter `i`. A device with fewer threads than numbers would take the rest from the
    /// same counters' other words; that depends on the device, so it is not followed.
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

    /// Draws the noise of rows: one draw of `[n, c, h, w]`, returned channels last as `shape` has it.
    ///
    /// Row `i` depends on the seed, on `i` and on the size of a row, never on how many rows there are. For that,
    /// [`Generator::TorchCpu`] draws up to the next multiple of 16 and drops the surplus, so where `shape` holds no
    /// multiple of 16 the last numbers differ from those of one `torch.randn`.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for a shape without numbers, or with more than 2^32.
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

/// Evenly distributed numbers for decisions of the frame path: a seed and a place in its sequence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoiseSource {
    seed: u64,
    drawn: u64,
}

impl NoiseSource {
    /// Starts the sequence of `seed`.
    pub fn new(seed: u64) -> Self {
        Self { seed, drawn: 0 }
    }

    /// Draws the next number, evenly distributed in (0, 1].
    pub fn uniform(&mut self) -> f32 {
        let number = philox::uniform(self.seed, self.drawn);
        self.drawn = self.drawn.wrapping_add(1);
        number
    }
}

/// Returns the radius of the Box-Muller transform.
///
/// Logarithm, sine and cosine are taken in `f64` and rounded to `f32`, here and where the angle is used: the same numbers
/// on every platform, whatever its mathematical library.
fn radius(uniform: f32) -> f32 {
    let logarithm = f64::from(uniform).ln() as f32;
    (-2.0 * logarithm).sqrt()
}

#[cfg(test)]
mod tests;
