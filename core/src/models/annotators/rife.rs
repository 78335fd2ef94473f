//! RIFE's network for a picture between two others (IFNet of version 4.5 and later), by the published names.
//!
//! Each block refines the flow from the picture between to both pictures, and the mask that blends them, at a scale of
//! its own; before the next block, both pictures and their features are warped by the flow. The warping is between the
//! programs.
//!
//! | versions | encoder | blocks | carried | mask |
//! |---|---|---|---|---|
//! | 4.5, 4.6 | none | 4 | nothing | the sum of the blocks' |
//! | 4.7 to 4.20, 4.24 | two to four convolutions | 4 | nothing | the last block's |
//! | 4.21 to 4.23 | four convolutions | 4 | 8 channels | the last block's |
//! | 4.25, 4.26 | four convolutions | 5 | 8 channels | the last block's |

use std::sync::Arc;

use super::derived::{Derived, dimensions, trained_prefix};
use super::transposed::{transposed, transposed_weights};
use crate::error::{Error, ErrorKind, Result};
use crate::net::{Activation, Padding, Program, ProgramBuilder, Rate, Shape, ValueId, WeightSource};

/// The factor of negative values.
const SLOPE: f32 = 0.2;
/// Channels of a picture.
const COLOURS: usize = 3;
/// Channels of both flows: to the first picture and to the second one, each rightwards and downwards.
pub const FLOWS: usize = 4;
/// Channels of a block's output, before those that the next block gets: both flows, and the mask.
const REFINED: usize = FLOWS + 1;
/// Residual convolutions of a block.
const RESIDUALS: usize = 8;
/// Pixels of a side that a block's own downsampling turns into one.
const BLOCK_STEP: usize = 4;
/// Pixels of a side that become one by the last pixel shuffle.
const SHUFFLED: usize = 2;
/// The channels of a picture's features that published networks have.
const FEATURES: [usize; 3] = [4, 8, 16];
/// The factors by which the blocks see everything reduced.
const FOUR_SCALES: &[usize] = &[8, 4, 2, 1];
const FIVE_SCALES: &[usize] = &[16, 8, 4, 2, 1];
const LITE_SCALES: &[usize] = &[32, 16, 8, 4, 1];
/// The channels of the last of five blocks in version 4.25.lite, by which it is recognised: no name and no other shape
/// differs from version 4.25 in kind.
const LITE_CHANNELS: usize = 24;

/// The names of an encoder's layers.
#[derive(Debug, PartialEq, Eq)]
struct EncoderNames {
    /// The first one halves the size.
    convolutions: &'static [&'static str],
    /// The transposed convolution that restores it.
    enlarging: &'static str,
}

/// Of versions 4.7 to 4.9, without activations; of 4.10 to 4.12, and of later ones.
const ENCODERS: [EncoderNames; 3] = [
    EncoderNames { convolutions: &["encode.0"], enlarging: "encode.1" },
    EncoderNames { convolutions: &["encode.0", "encode.2", "encode.4"], enlarging: "encode.6" },
    EncoderNames { convolutions: &["encode.cnn0", "encode.cnn1", "encode.cnn2"], enlarging: "encode.cnn3" },
];

/// An encoder of pictures.
#[derive(Debug, Clone, PartialEq, Eq)]
struct EncoderConfig {
    names: &'static EncoderNames,
    /// Channels between its layers.
    hidden: usize,
    /// Channels of its output.
    features: usize,
}

/// The sizes of the network in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RifeConfig {
    encoder: Option<EncoderConfig>,
    /// Channels of each block: after its first convolution, and after its second one.
    blocks: Vec<[usize; 2]>,
    /// The factor by which each block sees everything reduced.
    scales: &'static [usize],
    /// Channels that a block passes to the next one, besides flows and mask.
    carried: usize,
    /// The channels of the last convolution of a block for each pixel of its output; there may be more than are used.
    outputs: usize,
}

impl RifeConfig {
    /// Determines the sizes from the shapes of the weights, whose names start with `prefix`.
    fn of(file: &dyn WeightSource, prefix: &str) -> Result<Self> {
        let sides = |name: &str| dimensions::<4>(file, &format!("{prefix}{name}.weight"));
        let is_there = |name: &str| file.shape(&format!("{prefix}{name}.weight")).is_some();
        let encoder = ENCODERS.iter().find(|names| is_there(names.enlarging)).map(|names| -> Result<_> {
            let [hidden, features, ..] = sides(names.enlarging)?;
            Ok(EncoderConfig { names, hidden, features })
        });
        let encoder = encoder.transpose()?;
        let features = encoder.as_ref().map_or(0, |encoder| encoder.features);
        if encoder.is_some() && !FEATURES.contains(&features) {
            return Err(bad(format!("channels of a picture's features: got {features}, expected 4, 8 or 16")));
        }
        let mut blocks = Vec::new();
        while blocks.is_empty() || blocks.len() <= FIVE_SCALES.len() && is_there(&second(blocks.len())) {
            let [hidden, ..] = sides(&first(blocks.len()))?;
            let [channels, ..] = sides(&second(blocks.len()))?;
            blocks.push([hidden, channels]);
        }
        let scales = match *blocks {
            [_, _, _, _] => FOUR_SCALES,
            [_, _, _, _, [_, LITE_CHANNELS]] => LITE_SCALES,
            [_, _, _, _, _] => FIVE_SCALES,
            _ => return Err(bad(format!("blocks: got {}, expected 4 or 5", blocks.len()))),
        };
        let [_, outputs, ..] = sides(&last(0))?;
        let outputs = outputs / (SHUFFLED * SHUFFLED);
        let [_, inputs, ..] = sides(&first(1))?;
        let seen = 2 * (COLOURS + features) + 2 + FLOWS;
        let carried = inputs.wrapping_sub(seen);
        if outputs < REFINED || ![0, outputs - REFINED].contains(&carried) {
            return Err(bad(format!(
                "channels of block 1: got {inputs}, expected {seen} with {features} features of a picture, and those \
                 that block 0 outputs besides {REFINED} of {outputs}, or none of them"
            )));
        }
        Ok(Self { encoder, blocks, scales, carried, outputs })
    }

    /// Returns the number of blocks.
    pub fn blocks(&self) -> usize {
        self.blocks.len()
    }

    /// Returns the factor by which a block sees everything reduced.
    pub fn scale(&self, block: usize) -> usize {
        self.scales.get(block).copied().unwrap_or(1)
    }

    /// Returns what the sides of pictures are multiples of: 32, 64 or 128.
    pub fn step(&self) -> usize {
        BLOCK_STEP * self.scale(0)
    }

    /// Returns the channels of a picture's features; 0 without an encoder.
    pub fn features(&self) -> usize {
        self.encoder.as_ref().map_or(0, |encoder| encoder.features)
    }
}

/// Determines the sizes of the network in a file, and wraps the file for [`rife_encoder_program`] and
/// [`rife_block_program`].
///
/// # Errors
///
/// `BadModel` if it is not such a network.
pub fn rife_weights(file: Arc<dyn WeightSource>) -> Result<(Derived, RifeConfig)> {
    let prefix = trained_prefix(&*file, &format!("{}.weight", first(0)));
    let config = RifeConfig::of(&*file, prefix)?;
    let mut weights = Derived::new(file);
    if let Some(EncoderConfig { names, features, .. }) = config.encoder {
        for layer in names.convolutions {
            renamed(&mut weights, prefix, layer);
        }
        let kept: Vec<usize> = (0..features).collect();
        transposed_weights(&mut weights, names.enlarging, &format!("{prefix}{}", names.enlarging), &kept, features);
    }
    // A pixel shuffle has the parts of a channel side by side; a program has the channels of a part.
    let parts = SHUFFLED * SHUFFLED;
    let used = REFINED + config.carried;
    let kept: Vec<usize> = (0..parts).flat_map(|part| (0..used).map(move |channel| channel * parts + part)).collect();
    for block in 0..config.blocks() {
        renamed(&mut weights, prefix, &first(block));
        renamed(&mut weights, prefix, &second(block));
        for index in 0..RESIDUALS {
            scaled(&mut weights, prefix, &residual(block, index));
        }
        let name = last(block);
        transposed_weights(&mut weights, &name, &format!("{prefix}{name}"), &kept, config.outputs * parts);
    }
    Ok((weights, config))
}

fn renamed(weights: &mut Derived, prefix: &str, layer: &str) {
    for end in ["weight", "bias"] {
        weights.rename(format!("{layer}.{end}"), format!("{prefix}{layer}.{end}"));
    }
}

/// Multiplies a convolution by the factors of its output channels.
fn scaled(weights: &mut Derived, prefix: &str, layer: &str) {
    for end in ["weight", "bias"] {
        let theirs = format!("{prefix}{layer}");
        weights.rule(format!("{layer}.conv.{end}"), move |file, shape| {
            let channels = shape[0];
            let mut numbers = file.read(&format!("{theirs}.conv.{end}"), shape)?;
            let factors = file.read(&format!("{theirs}.beta"), &[1, channels, 1, 1])?;
            let each = numbers.len() / channels.max(1);
            for (of_channel, factor) in numbers.chunks_exact_mut(each.max(1)).zip(factors) {
                of_channel.iter_mut().for_each(|number| *number *= factor);
            }
            Ok(numbers)
        });
    }
}

fn first(block: usize) -> String {
    format!("block{block}.conv0.0.0")
}

fn second(block: usize) -> String {
    format!("block{block}.conv0.1.0")
}

fn residual(block: usize, index: usize) -> String {
    format!("block{block}.convblock.{index}")
}

fn last(block: usize) -> String {
    format!("block{block}.lastconv.0")
}

fn bad(text: String) -> Error {
    Error::new(ErrorKind::BadModel, text)
}

/// Builds the encoder for a picture of `h` x `w` pixels in 0..1, both a multiple of 2; outputs the features of each
/// pixel. `None` for a network without one.
///
/// # Errors
///
/// `BadModel` if its shapes are inconsistent.
pub fn rife_encoder_program(config: &RifeConfig, h: usize, w: usize) -> Result<Option<Program>> {
    let Some(EncoderConfig { names, hidden, features }) = config.encoder else { return Ok(None) };
    let mut builder = ProgramBuilder::new("features for interpolation");
    let b = &mut builder;
    let mut x = b.input("picture", Shape::new(1, h, w, COLOURS), Rate::Frame);
    let is_activated = names.convolutions.len() > 1;
    for (layer, name) in names.convolutions.iter().enumerate() {
        let stride = if layer == 0 { 2 } else { 1 };
        x = b.conv2d(name, x, hidden, 3, stride, Padding::all(1), false, true);
        x = if is_activated { leaky(b, x) } else { x };
    }
    let x = transposed(b, names.enlarging, x, features);
    b.output("features", x);
    builder.finish().map(Some)
}

/// Builds a block for pictures of `h` x `w` pixels, both a multiple of the network's [step](RifeConfig::step).
///
/// Inputs: both pictures in 0..1 and the features of both, warped by the flows so far, `[h, w, 6 + 2 * features]`; the
/// time between them, 0..1, for each pixel that the block sees, `[h / scale, w / scale, 1]`; except for block 0 the
/// mask, what the last block carries (if any), and the flows, `[h, w, 4]`. Outputs: the new flows in pixels, the mask
/// before its sigmoid, and what is carried (if anything).
///
/// # Errors
///
/// `BadModel` if its shapes are inconsistent.
pub fn rife_block_program(config: &RifeConfig, block: usize, h: usize, w: usize) -> Result<Program> {
    let [hidden, channels] = config.blocks.get(block).copied().unwrap_or_default();
    let (scale, carried, adds_masks) = (config.scale(block), config.carried, config.encoder.is_none());
    let reduced = (h / scale, w / scale);
    let mut builder = ProgramBuilder::new("interpolation");
    let b = &mut builder;
    let mut input = |name, c| b.input(name, Shape::new(1, h, w, c), Rate::Frame);
    let warped = input("warped", 2 * (COLOURS + config.features()));
    let before = (block > 0).then(|| {
        let (mask, carried) = (input("mask", 1), (carried > 0).then(|| input("carried", carried)));
        (mask, carried, input("flows", FLOWS))
    });
    let time = b.input("time", Shape::new(1, reduced.0, reduced.1, 1), Rate::Frame);
    let x = resized(b, warped, reduced);
    let mut x = b.concat(x, time);
    if let Some((mask, carried, flows)) = before {
        for value in [Some(mask), carried].into_iter().flatten() {
            let value = resized(b, value, reduced);
            x = b.concat(x, value);
        }
        let flows = resized(b, flows, reduced);
        let flows = b.affine(flows, 1.0 / scale as f32, 0.0);
        x = b.concat(x, flows);
    }
    for (name, channels) in [(first(block), hidden), (second(block), channels)] {
        x = b.conv2d(&name, x, channels, 3, 2, Padding::all(1), false, true);
        x = leaky(b, x);
    }
    for index in 0..RESIDUALS {
        let change = b.conv3x3(&format!("{}.conv", residual(block, index)), x, channels);
        let sum = b.add(change, x);
        x = leaky(b, sum);
    }
    let x = transposed(b, &last(block), x, (REFINED + carried) * SHUFFLED * SHUFFLED);
    let x = b.depth_to_space(x, SHUFFLED);
    let x = resized(b, x, (h, w));
    let flows = b.slice(x, 0, FLOWS);
    let mut flows = b.affine(flows, scale as f32, 0.0);
    let mut mask = b.slice(x, FLOWS, 1);
    if let Some((mask_before, _, flows_before)) = before {
        flows = b.add(flows, flows_before);
        mask = if adds_masks { b.add(mask, mask_before) } else { mask };
    }
    b.output("flows", flows);
    b.output("mask", mask);
    if carried > 0 {
        let carried = b.slice(x, REFINED, carried);
        b.output("carried", carried);
    }
    builder.finish()
}

fn leaky(b: &mut ProgramBuilder, x: ValueId) -> ValueId {
    b.activate(x, Activation::LeakyRelu { slope: SLOPE })
}

/// Returns `x` at the height and width `size`.
fn resized(b: &mut ProgramBuilder, x: ValueId, size: (usize, usize)) -> ValueId {
    let Shape { h, w, .. } = b.shape(x);
    if (h, w) == size { x } else { b.resize(x, size.0, size.1, false) }
}
