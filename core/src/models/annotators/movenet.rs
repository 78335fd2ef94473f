//! MoveNet Lightning: MobileNetV2, a pyramid of its stages, and four heads over a grid of 48 by 48 places.

use crate::net::{Activation, Padding, Program, ProgramBuilder, Rate, Shape, ValueId};

/// Side of the picture in pixels.
pub const SIDE: usize = 192;
/// Side of the grid.
pub const GRID: usize = SIDE / 4;
/// Joints of a person, in COCO's order.
pub const JOINTS: usize = 17;

/// The stages of the backbone: channels inside a block are this many times those before it, then channels, blocks and
/// step of the first one.
const STAGES: [[usize; 4]; 7] =
    [[1, 16, 1, 1], [6, 24, 2, 2], [6, 32, 3, 2], [6, 64, 4, 2], [6, 96, 3, 1], [6, 160, 3, 2], [6, 320, 1, 1]];
/// Stages, by place, that the pyramid sees on its way up, with the lateral layer, and the channels after it.
const PYRAMID: [(usize, usize, usize); 3] = [(3, 64, 32), (2, 32, 24), (1, 24, 24)];
/// Channels inside a head.
const HEAD: usize = 96;

/// Writes the network for a picture in 0..1. Its outputs, over the grid: the logit of a person's middle, the logits of
/// joints, where joints are from a person's middle (line, column each), and where they are from a place of the grid.
pub fn movenet_program() -> Program {
    let mut builder = ProgramBuilder::new("pose");
    let b = &mut builder;
    let picture = b.input("picture", Shape::new(1, SIDE, SIDE, 3), Rate::Frame);
    let x = b.affine(picture, 2.0, -1.0);
    let x = b.conv2d("stem", x, 32, 3, 2, HALVING, false, true);
    let mut x = relu6(b, x);
    let (mut seen, mut block) = (Vec::new(), 0);
    for [times, channels, blocks, stride] in STAGES {
        for i in 0..blocks {
            let stride = if i == 0 { stride } else { 1 };
            x = b.scope(format!("blocks.{block}"), |b| bottleneck(b, x, times, channels, stride));
            block += 1;
        }
        seen.push(x);
    }
    let top = b.conv1x1("top", x, 1280);
    let top = relu6(b, top);
    let mut x = b.conv1x1("lateral.0", top, 64);
    for (level, (stage, lateral, channels)) in PYRAMID.into_iter().enumerate() {
        let shape = b.shape(seen[stage]);
        let beside = b.conv1x1(&format!("lateral.{}", level + 1), seen[stage], lateral);
        let wide = b.resize(x, shape.h, shape.w, false);
        let sum = b.add(wide, beside);
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

/// Padding of a kernel of side 3 that halves an even size.
const HALVING: Padding = Padding { top: 0, left: 0, bottom: 1, right: 1 };

fn relu6(b: &mut ProgramBuilder, x: ValueId) -> ValueId {
    b.activate(x, Activation::ReluUpTo { limit: 6.0 })
}

/// Widens, looks around channel by channel, narrows; beside a shortcut where the shape stays.
fn bottleneck(b: &mut ProgramBuilder, x: ValueId, times: usize, channels: usize, stride: usize) -> ValueId {
    let shape = b.shape(x);
    let mut h = x;
    if times > 1 {
        h = b.conv1x1("expand", h, shape.c * times);
        h = relu6(b, h);
    }
    let padding = if stride == 2 { HALVING } else { Padding::all(1) };
    h = b.depthwise("depthwise", h, 3, stride, padding, true);
    h = relu6(b, h);
    h = b.conv1x1("project", h, channels);
    if stride == 1 && shape.c == channels { b.add(h, x) } else { h }
}

fn separable(b: &mut ProgramBuilder, x: ValueId, channels: usize) -> ValueId {
    let x = b.depthwise("depthwise", x, 3, 1, Padding::all(1), false);
    let x = b.conv1x1("pointwise", x, channels);
    b.activate(x, Activation::Relu)
}
