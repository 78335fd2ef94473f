//! MoveNet Lightning: MobileNetV2, a pyramid of its stages, and four heads over a grid of 48 by 48 places.

use super::super::mobilenet::mobilenet;
use crate::error::Result;
use crate::net::{Activation, Padding, Program, ProgramBuilder, Rate, Shape, ValueId};

/// Side of the picture in pixels.
pub const SIDE: usize = 192;
/// Side of the grid.
pub const GRID: usize = SIDE / 4;
/// Joints of a person, in COCO's order.
pub const JOINTS: usize = 17;

/// Stages, by place, that the pyramid sees on its way up, with the lateral layer, and the channels after it.
const PYRAMID: [(usize, usize, usize); 3] = [(3, 64, 32), (2, 32, 24), (1, 24, 24)];
/// Channels inside a head.
const HEAD: usize = 96;

/// Builds the network for a picture in 0..1. Its outputs, over the grid: the logit of a person's middle, the logits of
/// joints, where joints are from a person's middle (line, column each), and where they are from a place of the grid.
///
/// # Errors
///
/// `BadModel` if its shapes are inconsistent.
pub fn movenet_program() -> Result<Program> {
    let mut builder = ProgramBuilder::new("pose");
    let b = &mut builder;
    let picture = b.input("picture", Shape::new(1, SIDE, SIDE, 3), Rate::Frame);
    let x = b.affine(picture, 2.0, -1.0);
    let (seen, top) = mobilenet(b, x);
    let mut x = b.conv1x1("lateral.0", top, 64);
    for (level, (stage, lateral, channels)) in PYRAMID.into_iter().enumerate() {
        let shape = b.shape(seen[stage]);
        let side = b.conv1x1(&format!("lateral.{}", level + 1), seen[stage], lateral);
        let wide = b.resize(x, shape.h, shape.w, false);
        let sum = b.add(wide, side);
        x = b.scope(format!("smooth.{level}"), |b| separable(b, sum, channels));
    }
    for (name, channels) in [("center", 1), ("heatmap", JOINTS), ("regress", 2 * JOINTS), ("offset", 2 * JOINTS)] {
        let out = b.scope(name, |b| {
            let x = separable(b, x, HEAD);
            b.conv1x1("out", x, channels)
        });
        b.output(name, out);
    }
    builder.finish()
}

fn separable(b: &mut ProgramBuilder, x: ValueId, channels: usize) -> ValueId {
    let x = b.depthwise("depthwise", x, 3, 1, Padding::all(1), false);
    let x = b.conv1x1("pointwise", x, channels);
    b.activate(x, Activation::Relu)
}
