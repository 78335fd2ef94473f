//! The anime line art network of ControlNet's authors: a U-Net.

use std::sync::Arc;

use super::derived::{Derived, dimensions, trained_prefix};
use super::transposed::{transposed, transposed_weights};
use crate::error::{Error, ErrorKind, Result};
use crate::net::{Activation, Padding, Program, ProgramBuilder, Rate, Shape, ValueId, WeightSource};

/// The epsilon added to the variance in every norm.
const NORM_EPS: f32 = 1e-5;
/// The factor of negative values in the down blocks.
const SLOPE: f32 = 0.2;
/// Maximum number of sizes; the published network has eight.
const MOST_LEVELS: usize = 10;

/// The sizes of the network in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnimeConfig {
    /// Channels of each size, the finest first: 64, 128, 256 and five times 512 in the published network.
    channels: Vec<usize>,
}

impl AnimeConfig {
    /// Sides of an image are multiples of this.
    pub fn step(&self) -> usize {
        1 << self.channels.len()
    }

    /// Returns the channels of a size after it is enlarged.
    fn outputs(&self, level: usize) -> usize {
        if level == 0 { 1 } else { self.channels[level - 1] }
    }
}

/// Determines the sizes of the network in a file, and wraps the file for [`anime_program`].
///
/// # Errors
///
/// `BadModel` if it is not such a network.
pub fn anime_weights(file: Arc<dyn WeightSource>) -> Result<(Derived, AnimeConfig)> {
    let first = format!("{}.weight", down(0));
    let prefix = trained_prefix(&*file, &first);
    let mut channels = Vec::new();
    for level in 0..=MOST_LEVELS {
        let name = format!("{prefix}{}.weight", down(level));
        if level > 0 && file.shape(&name).is_none() {
            break;
        }
        let [inner, ..] = dimensions::<4>(&*file, &name)?;
        channels.push(inner);
    }
    if !(2..=MOST_LEVELS).contains(&channels.len()) {
        let text = format!("levels of the network: got {}, expected 2 to {MOST_LEVELS}", channels.len());
        return Err(Error::new(ErrorKind::BadModel, text));
    }
    let config = AnimeConfig { channels };
    let side = config.step();
    let program = anime_program(&config, side, side)?;
    let mut weights = Derived::new(file);
    for spec in program.weights() {
        weights.rename(&spec.name, format!("{prefix}{}", spec.name));
    }
    weights.unlearned_norms(&program);
    for level in 0..config.channels.len() {
        let ours = up(level, config.channels.len());
        let theirs = format!("{prefix}{ours}");
        let outputs = config.outputs(level);
        let kept: Vec<usize> = (0..outputs).collect();
        transposed_weights(&mut weights, &ours, &theirs, &kept, outputs);
    }
    Ok((weights, config))
}

/// Builds the network for an image of `h` x `w` pixels in -1..1, both a multiple of its [step](AnimeConfig::step);
/// gives for each pixel from -1, a line, to 1, paper.
///
/// # Errors
///
/// `BadModel` if its shapes are inconsistent.
pub fn anime_program(config: &AnimeConfig, h: usize, w: usize) -> Result<Program> {
    let mut builder = ProgramBuilder::new("anime lines");
    let b = &mut builder;
    let mut x = b.input("picture", Shape::new(1, h, w, 3), Rate::Frame);
    let levels = config.channels.len();
    let mut passed = Vec::with_capacity(levels);
    for (level, &channels) in config.channels.iter().enumerate() {
        if level > 0 {
            x = b.activate(x, Activation::LeakyRelu { slope: SLOPE });
        }
        x = b.conv2d(&down(level), x, channels, 4, 2, Padding::all(1), false, true);
        if level > 0 && level + 1 < levels {
            x = norm(b, &down(level), x);
        }
        passed.push(x);
    }
    for (level, &skip) in passed.iter().enumerate().rev() {
        // Features of the down blocks precede those of the up blocks.
        x = if level + 1 < levels { b.concat(skip, x) } else { x };
        x = b.activate(x, Activation::Relu);
        x = transposed(b, &up(level, levels), x, config.outputs(level));
        if level > 0 {
            x = norm(b, &up(level, levels), x);
        }
    }
    let paper = b.activate(x, Activation::SoftClamp { limit: 1.0 });
    b.output("paper", paper);
    builder.finish()
}

/// Returns the block of a size; the finest one's has no end of its own.
fn block(level: usize) -> String {
    match level {
        0 => "model.model".into(),
        level => format!("model.model.1{}.model", ".model.3".repeat(level - 1)),
    }
}

/// Returns the convolution that halves the size.
fn down(level: usize) -> String {
    format!("{}.{}", block(level), if level == 0 { 0 } else { 1 })
}

/// Returns the convolution that doubles it.
fn up(level: usize, levels: usize) -> String {
    // Between the two there is a block, but for the innermost.
    format!("{}.{}", block(level), if level == 0 || level + 1 == levels { 3 } else { 5 })
}

/// Normalizes each channel separately.
fn norm(b: &mut ProgramBuilder, name: &str, x: ValueId) -> ValueId {
    let channels = b.shape(x).c;
    b.group_norm(&Derived::unlearned(name), x, channels, NORM_EPS)
}
