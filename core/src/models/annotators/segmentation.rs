//! MediaPipe's selfie segmentation: a small MobileNetV3, and three upsampling steps. Both
//! published models have this layout.

use super::super::layers::mean;
use crate::error::Result;
use crate::net::{Activation, Padding, Program, ProgramBuilder, Rate, Shape, ValueId};

/// The kind of pictures that the network was trained on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum View {
    /// Any picture.
    General,
    /// Wide ones.
    Landscape,
}

impl View {
    /// Height and width of the picture.
    pub const fn size(self) -> (usize, usize) {
        match self {
            Self::General => (256, 256),
            Self::Landscape => (144, 256),
        }
    }
}

/// A block of the encoder.
#[derive(Debug, Clone, Copy)]
struct Block {
    /// Channels inside, then after it.
    channels: [usize; 2],
    /// Side of the kernel, then its step.
    kernel: [usize; 2],
    /// Channels of the gate; 0 without one. Blocks with a gate but for the first are smooth, the others cut off at zero.
    gate: usize,
}

const BLOCKS: [Block; 8] = [
    Block { channels: [16, 16], kernel: [3, 2], gate: 8 },
    Block { channels: [72, 24], kernel: [3, 2], gate: 0 },
    Block { channels: [88, 24], kernel: [3, 1], gate: 0 },
    Block { channels: [96, 32], kernel: [5, 2], gate: 24 },
    Block { channels: [128, 32], kernel: [5, 1], gate: 32 },
    Block { channels: [128, 32], kernel: [5, 1], gate: 32 },
    Block { channels: [96, 32], kernel: [5, 1], gate: 24 },
    Block { channels: [96, 32], kernel: [5, 1], gate: 24 },
];
/// From this block on activations are smooth.
const SMOOTH: usize = 3;
/// Blocks after which the size is halved, whose outputs the decoder uses.
const SEEN: [usize; 2] = [0, 2];
/// Channels before the decoder.
const TOP: usize = 128;

/// Builds the network for a picture in 0..1; outputs for each pixel the logit of a person.
///
/// # Errors
///
/// `BadModel` if its shapes are inconsistent.
pub fn segmentation_program(view: View) -> Result<Program> {
    let (h, w) = view.size();
    let mut builder = ProgramBuilder::new("segmentation");
    let b = &mut builder;
    let picture = b.input("picture", Shape::new(1, h, w, 3), Rate::Frame);
    let x = b.conv2d("stem", picture, 16, 3, 2, halving(3), false, true);
    let mut x = hard_swish(b, x);
    let mut seen = vec![x];
    for (i, &shape) in BLOCKS.iter().enumerate() {
        x = b.scope(format!("blocks.{i}"), |b| block(b, x, shape, i >= SMOOTH));
        if SEEN.contains(&i) {
            seen.push(x);
        }
    }
    let wide = b.conv1x1("top", x, TOP);
    let wide = b.activate(wide, Activation::Relu);
    let all = mean(b, x);
    let share = b.conv1x1("top_gate", all, TOP);
    let share = sigmoid(b, share);
    x = b.mul(wide, share);
    for (level, &skip) in seen.iter().rev().enumerate() {
        x = b.scope(format!("decoder.{level}"), |b| back(b, x, skip));
    }
    // Each pixel becomes two by two.
    let four = b.conv1x1("out", x, 4);
    let person = b.depth_to_space(four, 2);
    b.output("person", person);
    builder.finish()
}

/// Widens, looks around channel by channel, weighs channels, narrows; with a shortcut if the shape stays.
fn block(b: &mut ProgramBuilder, x: ValueId, block: Block, smooth: bool) -> ValueId {
    let Block { channels: [inside, channels], kernel: [side, stride], gate: narrow } = block;
    let activate = if smooth { hard_swish } else { relu };
    let h = b.conv1x1("expand", x, inside);
    let h = activate(b, h);
    let padding = if stride == 2 { halving(side) } else { Padding::all(side / 2) };
    let h = b.depthwise("depthwise", h, side, stride, padding, true);
    let mut h = activate(b, h);
    if narrow > 0 {
        let share = gate(b, h, narrow);
        h = b.mul(h, share);
    }
    let h = b.conv1x1("project", h, channels);
    if b.shape(h) == b.shape(x) { b.add(h, x) } else { h }
}

/// Returns a step back: twice the size, with what the encoder saw there, weighed by both.
fn back(b: &mut ProgramBuilder, x: ValueId, skip: ValueId) -> ValueId {
    let shape = b.shape(skip);
    let wide = b.resize(x, shape.h, shape.w, false);
    let up = b.conv1x1("up", wide, shape.c);
    let both = b.add(skip, up);
    let share = gate(b, both, shape.c);
    let weighed = b.mul(skip, share);
    let sum = b.add(weighed, up);
    let h = b.conv1x1("mix", sum, shape.c);
    let h = relu(b, h);
    let around = b.depthwise("depthwise", h, 3, 1, Padding::all(1), true);
    let around = relu(b, around);
    b.add(h, around)
}

/// Returns how much each channel counts, out of the mean of all.
fn gate(b: &mut ProgramBuilder, x: ValueId, narrow: usize) -> ValueId {
    let c = b.shape(x).c;
    b.scope("gate", |b| {
        let h = mean(b, x);
        let h = b.conv1x1("narrow", h, narrow);
        let h = relu(b, h);
        let h = b.conv1x1("widen", h, c);
        sigmoid(b, h)
    })
}

fn relu(b: &mut ProgramBuilder, x: ValueId) -> ValueId {
    b.activate(x, Activation::Relu)
}

/// By the hyperbolic tangent of the half.
fn sigmoid(b: &mut ProgramBuilder, x: ValueId) -> ValueId {
    let x = b.activate(x, Activation::SoftClamp { limit: 2.0 });
    b.affine(x, 0.25, 0.5)
}

/// `x` times a ramp from 0 at -3 to 1 at 3.
fn hard_swish(b: &mut ProgramBuilder, x: ValueId) -> ValueId {
    let ramp = b.affine(x, 1.0, 3.0);
    let ramp = b.activate(ramp, Activation::ReluUpTo { limit: 6.0 });
    let ramp = b.affine(ramp, 1.0 / 6.0, 0.0);
    b.mul(x, ramp)
}

/// Padding of a kernel that halves an even size.
const fn halving(side: usize) -> Padding {
    let (before, after) = ((side - 2) / 2, (side - 2).div_ceil(2));
    Padding { top: before, left: before, bottom: after, right: after }
}
