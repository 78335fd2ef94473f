//! RAFT-small, an optical flow network, by torchvision's names.
//!
//! Features of both pictures are computed; in each iteration, the flow is refined by the correlation of the positions that
//! it connects. The correlation and the gates of the recurrent unit are computed between the programs.

use std::sync::Arc;

use super::derived::{Derived, dimensions};
use crate::error::{Error, ErrorKind, Result};
use crate::net::{Activation, Padding, Program, ProgramBuilder, Rate, Shape, ValueId, WeightSource};

/// Pixels of a side that become one place.
pub const STEP: usize = 8;
/// The number of levels of the correlation pyramid, each half the one before.
pub const LEVELS: usize = 4;
/// Places that are looked at on each side of where the flow leads.
pub const RADIUS: usize = 3;
/// Places of a line that are looked at.
pub const WINDOW: usize = 2 * RADIUS + 1;
/// The number of correlation values of a position.
pub const LIKENESS: usize = LEVELS * WINDOW * WINDOW;
/// The epsilon added to the variance in every norm.
const NORM_EPS: f32 = 1e-5;
/// Channels of a flow: rightwards and downwards.
const FLOW: usize = 2;
/// The part of a recurrent unit's names that all of them share.
const UNIT: &str = "update_block.recurrent_block.convgru1";

/// The sizes of the network in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RaftConfig {
    /// Channels of the layers that see features; of a place in the end.
    pub features: [usize; 5],
    /// Channels of the layers that see what surrounds the motion.
    pub context: [usize; 5],
    /// Channels of what is remembered from round to round.
    pub hidden: usize,
    /// Channels that the correlation is projected to.
    alike: usize,
    /// Channels that a flow becomes.
    moved: [usize; 2],
    /// Channels of both together, and of the flow.
    motion: usize,
    /// Channels of the last layer but one.
    head: usize,
}

impl RaftConfig {
    /// Determines the sizes from the shapes of the weights.
    ///
    /// # Errors
    ///
    /// `BadModel` if they are not those of such a network.
    pub fn of(weights: &dyn WeightSource) -> Result<Self> {
        let bad = |text: String| Error::new(ErrorKind::BadModel, text);
        let sides = |name: &str| dimensions::<4>(weights, &format!("{name}.weight"));
        let encoder = |name: &str| -> Result<[usize; 5]> {
            let layer = |layer: usize| sides(&format!("{name}.layer{layer}.0.convnormrelu3.0"));
            let [first, ..] = sides(&format!("{name}.convnormrelu.0"))?;
            let [[one, ..], [two, ..], [three, ..]] = [layer(1)?, layer(2)?, layer(3)?];
            let [last, ..] = sides(&format!("{name}.conv"))?;
            if first != one || [one, two, three].iter().any(|&channels| channels < 4) {
                return Err(bad(format!(
                    "channels of the layers of {name}: got {first}, {one}, {two} and {three}, expected at least 4 and the first two equal"
                )));
            }
            Ok([first, one, two, three, last])
        };
        let part = |name: &str| sides(&format!("update_block.{name}"));
        let [alike, likeness, ..] = part("motion_encoder.convcorr1.0")?;
        if likeness != LIKENESS {
            return Err(bad(format!("correlation channels: got {likeness}, expected {LIKENESS} as in RAFT-small")));
        }
        let moved = [part("motion_encoder.convflow1.0")?[0], part("motion_encoder.convflow2.0")?[0]];
        let motion = part("motion_encoder.conv.0")?[0] + FLOW;
        let [hidden, ..] = sides(&format!("{UNIT}.convz"))?;
        let [head, ..] = part("flow_head.conv1")?;
        let (features, context) = (encoder("feature_encoder")?, encoder("context_encoder")?);
        if context[4] <= hidden {
            return Err(bad(format!(
                "context channels: got {}, expected more than {hidden}, the hidden channels",
                context[4]
            )));
        }
        Ok(Self { features, context, hidden, alike, moved, motion, head })
    }

    /// Channels of the recurrent unit's input, without its state.
    fn seen(&self) -> usize {
        self.context[4] - self.hidden + self.motion
    }
}

/// Builds the feature encoder for an image of `h` x `w` pixels in -1..1, both a multiple of [`STEP`]; outputs those of each
/// place.
///
/// # Errors
///
/// `BadModel` if its shapes are inconsistent.
pub fn raft_features_program(config: &RaftConfig, h: usize, w: usize) -> Result<Program> {
    let mut builder = ProgramBuilder::new("flow features");
    let b = &mut builder;
    let x = b.input("picture", Shape::new(1, h, w, 3), Rate::Frame);
    let x = b.scope("feature_encoder", |b| encoder(b, x, config.features, true));
    b.output("features", x);
    builder.finish()
}

/// Builds what sees the surroundings in such an image: what is remembered at first, and what every round is given.
///
/// # Errors
///
/// `BadModel` if its shapes are inconsistent.
pub fn raft_context_program(config: &RaftConfig, h: usize, w: usize) -> Result<Program> {
    let mut builder = ProgramBuilder::new("flow context");
    let b = &mut builder;
    let x = b.input("picture", Shape::new(1, h, w, 3), Rate::Frame);
    let x = b.scope("context_encoder", |b| encoder(b, x, config.context, false));
    let hidden = b.slice(x, 0, config.hidden);
    let hidden = b.activate(hidden, Activation::SoftClamp { limit: 1.0 });
    let context = b.slice(x, config.hidden, config.context[4] - config.hidden);
    let context = b.activate(context, Activation::Relu);
    b.output("hidden", hidden);
    b.output("context", context);
    builder.finish()
}

/// Builds the first part of a round for `h` x `w` places. Takes what is remembered, the context, likeness and flow; gives
/// the gates before their sigmoid, the one for what is new before the one for what was, and what the second part is given.
///
/// # Errors
///
/// `BadModel` if its shapes are inconsistent.
pub fn raft_motion_program(config: &RaftConfig, h: usize, w: usize) -> Result<Program> {
    let mut builder = ProgramBuilder::new("flow motion");
    let b = &mut builder;
    let mut input = |name, c| b.input(name, Shape::new(1, h, w, c), Rate::Frame);
    let hidden = input("hidden", config.hidden);
    let context = input("context", config.context[4] - config.hidden);
    let likeness = input("likeness", LIKENESS);
    let flow = input("flow", FLOW);
    let motion = b.scope("update_block.motion_encoder", |b| {
        let alike = seen(b, "convcorr1.0", likeness, config.alike, 1);
        let moved = seen(b, "convflow1.0", flow, config.moved[0], 7);
        let moved = seen(b, "convflow2.0", moved, config.moved[1], 3);
        let both = b.concat(alike, moved);
        seen(b, "conv.0", both, config.motion - FLOW, 3)
    });
    let motion = b.concat(motion, flow);
    let given = b.concat(context, motion);
    let all = b.concat(hidden, given);
    let gates = b.conv3x3(&format!("{UNIT}.gates"), all, 2 * config.hidden);
    b.output("gates", gates);
    b.output("given", given);
    builder.finish()
}

/// Builds the second part of a round for `h` x `w` places: out of what of the past passed its gate, and of what the first
/// part gives, what may be remembered.
///
/// # Errors
///
/// `BadModel` if its shapes are inconsistent.
pub fn raft_candidate_program(config: &RaftConfig, h: usize, w: usize) -> Result<Program> {
    let mut builder = ProgramBuilder::new("flow candidate");
    let b = &mut builder;
    let passed = b.input("passed", Shape::new(1, h, w, config.hidden), Rate::Frame);
    let given = b.input("given", Shape::new(1, h, w, config.seen()), Rate::Frame);
    let all = b.concat(passed, given);
    let candidate = b.conv3x3(&format!("{UNIT}.convq"), all, config.hidden);
    let candidate = b.activate(candidate, Activation::SoftClamp { limit: 1.0 });
    b.output("candidate", candidate);
    builder.finish()
}

/// Builds the last part of a round for `h` x `w` places: what is remembered becomes what the flow is moved on by.
///
/// # Errors
///
/// `BadModel` if its shapes are inconsistent.
pub fn raft_head_program(config: &RaftConfig, h: usize, w: usize) -> Result<Program> {
    let mut builder = ProgramBuilder::new("flow head");
    let b = &mut builder;
    let hidden = b.input("hidden", Shape::new(1, h, w, config.hidden), Rate::Frame);
    let change = b.scope("update_block.flow_head", |b| {
        let x = seen(b, "conv1", hidden, config.head, 3);
        b.conv3x3("conv2", x, FLOW)
    });
    b.output("change", change);
    builder.finish()
}

/// Wraps a file for these programs.
///
/// # Errors
///
/// `BadModel` if its shapes are inconsistent.
pub fn raft_weights(file: Arc<dyn WeightSource>, config: &RaftConfig) -> Result<Derived> {
    let mut weights = Derived::new(file);
    weights.unlearned_norms(&raft_features_program(config, STEP, STEP)?);
    for end in ["weight", "bias"] {
        weights.rule(format!("{UNIT}.gates.{end}"), move |file, shape| {
            let mut half = shape.to_vec();
            half.iter_mut().take(1).for_each(|channels| *channels /= 2);
            let mut both = file.read(&format!("{UNIT}.convz.{end}"), &half)?;
            both.extend(file.read(&format!("{UNIT}.convr.{end}"), &half)?);
            Ok(both)
        });
    }
    Ok(weights)
}

/// A stem, three layers of two blocks each, and a last convolution: an eighth as large.
fn encoder(b: &mut ProgramBuilder, x: ValueId, channels: [usize; 5], normed: bool) -> ValueId {
    let mut x = convolution(b, "convnormrelu", x, channels[0], [7, 2], normed);
    x = b.activate(x, Activation::Relu);
    for (layer, stride) in [(1, 1), (2, 2), (3, 2)] {
        for (block, stride) in [(0, stride), (1, 1)] {
            let name = format!("layer{layer}.{block}");
            x = b.scope(name, |b| bottleneck(b, x, channels[layer], stride, normed));
        }
    }
    b.conv1x1("conv", x, channels[4])
}

fn bottleneck(b: &mut ProgramBuilder, x: ValueId, channels: usize, stride: usize, normed: bool) -> ValueId {
    let narrow = channels / 4;
    let mut h = x;
    for (name, channels, kernel) in
        [("convnormrelu1", narrow, [1, 1]), ("convnormrelu2", narrow, [3, stride]), ("convnormrelu3", channels, [1, 1])]
    {
        h = convolution(b, name, h, channels, kernel, normed);
        h = b.activate(h, Activation::Relu);
    }
    let x = if stride == 1 { x } else { convolution(b, "downsample", x, channels, [1, stride], normed) };
    let sum = b.add(h, x);
    b.activate(sum, Activation::Relu)
}

/// A convolution, and each channel normalised by itself if `normed`.
fn convolution(
    b: &mut ProgramBuilder,
    name: &str,
    x: ValueId,
    channels: usize,
    [kernel, stride]: [usize; 2],
    normed: bool,
) -> ValueId {
    let x = b.conv2d(&format!("{name}.0"), x, channels, kernel, stride, Padding::all(kernel / 2), false, true);
    if normed { b.group_norm(&Derived::unlearned(name), x, channels, NORM_EPS) } else { x }
}

/// Returns a convolution that keeps the size, and what is above zero of it.
fn seen(b: &mut ProgramBuilder, name: &str, x: ValueId, channels: usize, kernel: usize) -> ValueId {
    let x = b.conv2d(name, x, channels, kernel, 1, Padding::all(kernel / 2), false, true);
    b.activate(x, Activation::Relu)
}
