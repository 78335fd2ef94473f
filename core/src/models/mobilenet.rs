//! MobileNetV2, the backbone of several networks.

use crate::net::{Activation, Padding, ProgramBuilder, ValueId};

/// The stages: channels inside a block are this many times those before it, then channels, blocks and step of the first
/// one.
const STAGES: [[usize; 4]; 7] =
    [[1, 16, 1, 1], [6, 24, 2, 2], [6, 32, 3, 2], [6, 64, 4, 2], [6, 96, 3, 1], [6, 160, 3, 2], [6, 320, 1, 1]];
/// Channels after the last stage.
const TOP: usize = 1280;

/// Padding of a kernel of side 3 that halves an even size.
const HALVING: Padding = Padding { top: 0, left: 0, bottom: 1, right: 1 };

/// Builds it over `picture`, whose sides are multiples of 32, and gives what its stages make and what comes after the
/// last one: a thirty-second of the size, and 1280 channels.
pub(super) fn mobilenet(b: &mut ProgramBuilder, picture: ValueId) -> (Vec<ValueId>, ValueId) {
    let x = b.conv2d("stem", picture, 32, 3, 2, HALVING, false, true);
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
    let top = b.conv1x1("top", x, TOP);
    (seen, relu6(b, top))
}

fn relu6(b: &mut ProgramBuilder, x: ValueId) -> ValueId {
    b.activate(x, Activation::ReluUpTo { limit: 6.0 })
}

/// An inverted residual block: expansion, depthwise convolution, projection; with a shortcut if the shape stays.
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
