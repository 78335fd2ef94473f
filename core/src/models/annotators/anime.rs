//! The anime line art network of ControlNet's authors: a U-Net.

use std::sync::Arc;

use super::derived::{Derived, dimensions};
use crate::error::{Error, ErrorKind, Result};
use crate::net::{Activation, Padding, Program, ProgramBuilder, Rate, Shape, ValueId, WeightSource};

/// The epsilon added to the variance in every norm.
const NORM_EPS: f32 = 1e-5;
/// The factor of negative values in the down blocks.
const SLOPE: f32 = 0.2;
/// Maximum number of sizes; the published network has eight.
const MOST_LEVELS: usize = 10;
/// What names start with where a network was saved as it was trained.
const TRAINED: &str = "module.";

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
}

/// Determines the sizes of the network in a file, and wraps the file for [`anime_program`].
///
/// # Errors
///
/// `BadModel` if it is not such a network.
pub fn anime_weights(file: Arc<dyn WeightSource>) -> Result<(Derived, AnimeConfig)> {
    let first = format!("{}.weight", down(0));
    let trained = file.shape(&format!("{TRAINED}{first}")).is_some();
    let prefix = if trained { TRAINED } else { "" };
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
        for part in 0..4 {
            weights.rename(format!("{ours}.{part}.bias"), format!("{theirs}.bias"));
            let theirs = theirs.clone();
            weights.rule(format!("{ours}.{part}.weight"), move |file, shape| {
                let (c_out, c_in) = (shape[0], shape[1]);
                Ok(quarter(&file.read(&format!("{theirs}.weight"), &[c_in, c_out, 4, 4])?, c_in, c_out, part))
            });
        }
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
        let channels = if level == 0 { 1 } else { config.channels[level - 1] };
        x = enlarged(b, &up(level, levels), x, channels);
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

/// Returns a transposed convolution of side 4, step 2 and padding 1: four convolutions of side 2, one for each of the
/// four pixels that one becomes.
fn enlarged(b: &mut ProgramBuilder, name: &str, x: ValueId, channels: usize) -> ValueId {
    let mut part = |part: usize| {
        let (lower, right) = (part / 2, part % 2);
        let padding = Padding { top: 1 - lower, left: 1 - right, bottom: lower, right };
        b.conv2d(&format!("{name}.{part}"), x, channels, 2, 1, padding, false, true)
    };
    let [upper, lower] = [[part(0), part(1)], [part(2), part(3)]].map(|[left, right]| b.concat(left, right));
    let all = b.concat(upper, lower);
    b.depth_to_space(all, 2)
}

/// Returns the part of a transposed convolution that computes one of four pixels: of `[c_in, c_out, 4, 4]`, `[c_out,
/// c_in, 2, 2]`.
fn quarter(numbers: &[f32], c_in: usize, c_out: usize, part: usize) -> Vec<f32> {
    // Which tap a pixel sees the two pixels next to it through, in one direction; by which of two it is.
    const SEEN: [[usize; 2]; 2] = [[3, 1], [2, 0]];
    let mut out = Vec::with_capacity(4 * c_in * c_out);
    for output in 0..c_out {
        for input in 0..c_in {
            let taps = &numbers[(input * c_out + output) * 16..][..16];
            for y in SEEN[part / 2] {
                out.extend(SEEN[part % 2].map(|x| taps[4 * y + x]));
            }
        }
    }
    out
}
