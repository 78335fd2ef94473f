//! The line art network of ControlNet's authors: a generator with residual blocks.

use std::sync::Arc;

use super::derived::{Derived, dimensions};
use crate::error::Result;
use crate::net::{Activation, Padding, Program, ProgramBuilder, Rate, Shape, ValueId, WeightSource, elements};

/// The epsilon added to the variance in every norm.
const NORM_EPS: f32 = 1e-5;
/// Residual blocks in the middle.
const BLOCKS: usize = 3;
/// Names of the two convolutions that enlarge.
const ENLARGING: [&str; 2] = ["model3.0", "model3.3"];

/// Builds the network for an image of `h` x `w` pixels in 0..1, both a multiple of 4 and at least 8; outputs the logit of
/// paper for each pixel. `channels` are those of the outermost layers, 64 in the published network.
///
/// # Errors
///
/// `BadModel` if its shapes are inconsistent.
pub fn lineart_program(channels: usize, h: usize, w: usize) -> Result<Program> {
    let mut builder = ProgramBuilder::new("lineart");
    let b = &mut builder;
    let x = b.input("picture", Shape::new(1, h, w, 3), Rate::Frame);
    let x = mirrored(b, "model0.1", x, channels, 7);
    let mut x = norm(b, x, true);
    for (name, times) in [("model1.0", 2), ("model1.3", 4)] {
        x = b.conv2d(name, x, channels * times, 3, 2, Padding::all(1), false, true);
        x = norm(b, x, true);
    }
    for block in 0..BLOCKS {
        x = b.scope(format!("model2.{block}.conv_block"), |b| {
            let h = mirrored(b, "1", x, channels * 4, 3);
            let h = norm(b, h, true);
            let h = mirrored(b, "5", h, channels * 4, 3);
            let h = norm(b, h, false);
            b.add(h, x)
        });
    }
    for (name, times) in ENLARGING.into_iter().zip([2, 1]) {
        // Each of the four pixels that one becomes sees that one and those right of it and below.
        let padding = Padding { top: 0, left: 0, bottom: 1, right: 1 };
        x = b.conv2d(&format!("{name}.enlarged"), x, channels * times * 4, 2, 1, padding, false, true);
        x = b.depth_to_space(x, 2);
        x = norm(b, x, true);
    }
    let paper = mirrored(b, "model4.1", x, 1, 7);
    b.output("paper", paper);
    builder.finish()
}

/// Returns a convolution that sees mirrored pixels around the image.
fn mirrored(b: &mut ProgramBuilder, name: &str, x: ValueId, channels: usize, kernel: usize) -> ValueId {
    let x = b.reflect(x, kernel / 2);
    b.conv2d(name, x, channels, kernel, 1, Padding::all(0), false, true)
}

/// Normalizes each channel separately; scale and shift are [not learned](lineart_weights).
fn norm(b: &mut ProgramBuilder, x: ValueId, relu: bool) -> ValueId {
    let channels = b.shape(x).c;
    let name = unlearned(channels);
    // Not inside a scope's prefix twice: the weights are made for every prefix.
    let x = b.group_norm(&name, x, channels, NORM_EPS);
    if relu { b.activate(x, Activation::Relu) } else { x }
}

fn unlearned(channels: usize) -> String {
    format!("norm{channels}")
}

/// Wraps a file for [`lineart_program`], and returns its channels.
///
/// # Errors
///
/// `BadModel` if it has no first layer of that network.
pub fn lineart_weights(file: Arc<dyn WeightSource>) -> Result<(Derived, usize)> {
    let [channels, ..] = dimensions::<4>(&*file, "model0.1.weight")?;
    let mut weights = Derived::new(file);
    let scopes = (0..BLOCKS).map(|block| format!("model2.{block}.conv_block."));
    for scope in scopes.chain([String::new()]) {
        for times in [1, 2, 4] {
            let name = format!("{scope}{}", unlearned(channels * times));
            weights.constant(format!("{name}.weight"), 1.0);
            weights.constant(format!("{name}.bias"), 0.0);
        }
    }
    for name in ENLARGING {
        weights.rule(format!("{name}.enlarged.weight"), move |file, shape| {
            let (c_out, c_in) = (shape[0] / 4, shape[1]);
            enlarging(&file.read(&format!("{name}.weight"), &[c_in, c_out, 3, 3])?, c_in, c_out)
        });
        weights.rule(format!("{name}.enlarged.bias"), move |file, shape| {
            Ok(file.read(&format!("{name}.bias"), &[shape[0] / 4])?.repeat(4))
        });
    }
    Ok((weights, channels))
}

/// Returns a transposed convolution of side 3, step 2 and padding 1 as one of side 2 that makes four pixels of each:
/// `[c_in, c_out, 3, 3]` becomes `[4 * c_out, c_in, 2, 2]`.
fn enlarging(numbers: &[f32], c_in: usize, c_out: usize) -> Result<Vec<f32>> {
    // Which tap a pixel sees itself through, and which one its neighbour, in one direction; by which of two it becomes.
    const SEEN: [[Option<usize>; 2]; 2] = [[Some(1), None], [Some(2), Some(0)]];
    let mut out = elements::zeros(16 * c_in * c_out)?;
    for (i, to) in out.iter_mut().enumerate() {
        let (part, output) = (i / (4 * c_in) / c_out, i / (4 * c_in) % c_out);
        let (input, tap) = (i / 4 % c_in, i % 4);
        if let (Some(y), Some(x)) = (SEEN[part / 2][tap / 2], SEEN[part % 2][tap % 2]) {
            *to = numbers[(input * c_out + output) * 9 + y * 3 + x];
        }
    }
    Ok(out)
}
