//! Edge networks: TIN, a small one, and HED as ControlNet's authors trained it.

use crate::error::Result;
use crate::net::{Activation, Program, ProgramBuilder, Rate, Shape, ValueId, WeightSource};

/// Largest number of a pixel in the pictures that both were trained on.
const BYTE: f32 = 255.0;

/// Builds TIN's two stages for an image of `h` x `w` pixels in 0..1; outputs the logit of an edge for each pixel.
///
/// # Errors
///
/// `BadModel` if its shapes are inconsistent.
pub fn tin_program(h: usize, w: usize) -> Result<Program> {
    let mut builder = ProgramBuilder::new("edges");
    let b = &mut builder;
    let x = b.input("picture", Shape::new(1, h, w, 3), Rate::Frame);
    let x = b.affine(x, BYTE, 0.0);
    let (first, x) = tin_stage(b, x, 1, 16);
    let x = b.max_pool(x);
    let (second, _) = tin_stage(b, x, 2, 64);
    let second = b.resize(second, h, w, true);
    let both = b.concat(first, second);
    let edges = b.conv1x1("score_final", both, 1);
    b.output("edges", edges);
    builder.finish()
}

/// Two convolutions, each seen by an [`enrichment`]; outputs the score of both, and the second convolution.
fn tin_stage(b: &mut ProgramBuilder, mut x: ValueId, stage: usize, channels: usize) -> (ValueId, ValueId) {
    let mut sum: Option<ValueId> = None;
    for layer in [1, 2] {
        let name = format!("{stage}_{layer}");
        x = relu3x3(b, &format!("conv{name}"), x, channels);
        let seen = b.scope(format!("em{name}"), |b| enrichment(b, x));
        let seen = b.conv1x1(&format!("conv{name}_down"), seen, 8);
        sum = Some(sum.map_or(seen, |sum| b.add(seen, sum)));
    }
    let score = b.conv1x1(&format!("score_stage{stage}"), sum.unwrap_or(x), 1);
    (score, x)
}

/// Returns a convolution, and four that look ever further around it.
fn enrichment(b: &mut ProgramBuilder, x: ValueId) -> ValueId {
    const CHANNELS: usize = 32;
    const RATE: usize = 4;
    let near = relu3x3(b, "conv", x, CHANNELS);
    (1..=4).fold(near, |sum, i| {
        let far = b.dilated3x3(&format!("conv{i}"), near, CHANNELS, RATE * i);
        let far = b.activate(far, Activation::Relu);
        b.add(far, sum)
    })
}

fn relu3x3(b: &mut ProgramBuilder, name: &str, x: ValueId, channels: usize) -> ValueId {
    let x = b.conv3x3(name, x, channels);
    b.activate(x, Activation::Relu)
}

/// Convolutions of HED's five blocks.
const HED_CONVOLUTIONS: [usize; 5] = [2, 2, 3, 3, 3];

/// Builds HED for an image of `h` x `w` pixels in 0..255 less [`hed_mean`]; outputs the mean logit of its five blocks for
/// each pixel. `channels` are those of the blocks: 64, 128, 256, 512 and 512 in the published network.
///
/// # Errors
///
/// `BadModel` if its shapes are inconsistent.
pub fn hed_program(channels: [usize; 5], h: usize, w: usize) -> Result<Program> {
    let mut builder = ProgramBuilder::new("hed");
    let b = &mut builder;
    let mut x = b.input("picture", Shape::new(1, h, w, 3), Rate::Frame);
    let mut sum: Option<ValueId> = None;
    for (block, (channels, convolutions)) in channels.into_iter().zip(HED_CONVOLUTIONS).enumerate() {
        if block > 0 {
            x = b.max_pool(x);
        }
        let side = b.scope(format!("block{}", block + 1), |b| {
            for i in 0..convolutions {
                x = relu3x3(b, &format!("convs.{i}"), x, channels);
            }
            b.conv1x1("projection", x, 1)
        });
        let side = b.resize(side, h, w, false);
        sum = Some(sum.map_or(side, |sum| b.add(side, sum)));
    }
    let mean = b.affine(sum.unwrap_or(x), 1.0 / HED_CONVOLUTIONS.len() as f32, 0.0);
    b.output("edges", mean);
    builder.finish()
}

/// Reads what is taken away from red, green and blue before HED, and the channels of its blocks.
///
/// # Errors
///
/// `BadModel` if a file does not have them.
pub fn hed_mean(weights: &dyn WeightSource) -> Result<([f32; 3], [usize; 5])> {
    let norm = weights.read("norm", &[1, 3, 1, 1])?;
    let mut channels = [0; 5];
    for (block, channels) in channels.iter_mut().enumerate() {
        let name = format!("block{}.convs.0.weight", block + 1);
        *channels = super::derived::dimensions::<4>(weights, &name)?[0];
    }
    Ok(([0, 1, 2].map(|i| norm.get(i).copied().unwrap_or(0.0)), channels))
}
