//! Depth Anything V2: a DINOv2 transformer over patches, and a head that combines four of its layers.
//!
//! Published in two layouts, the authors' and transformers'; [`depth_weights`] brings both to the names used here.

use std::sync::Arc;

use super::derived::{Derived, dimensions, unfolded};
use crate::error::{Error, ErrorKind, Result};
use crate::net::{Activation, Padding, Program, ProgramBuilder, Rate, Shape, ValueId, WeightSource};

/// Side of a patch in pixels.
pub const PATCH: usize = 14;
/// Width of a head of attention; a network narrower than that has one.
const HEAD: usize = 64;
/// The epsilon added to the variance in every layer norm.
const NORM_EPS: f32 = 1e-6;
/// Maximum number of layers; the largest published network has 40.
const MOST_LAYERS: usize = 64;

/// The sizes of the network in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DepthConfig {
    /// Channels of a token.
    pub width: usize,
    /// Layers of the transformer.
    pub layers: usize,
    /// Channels that the four layers are brought to.
    pub channels: [usize; 4],
    /// Channels of the head.
    pub features: usize,
    /// Channels of its last layer but one.
    pub last: usize,
    /// Patches of a side of the pictures it was trained on.
    pub side: usize,
    /// Whether names are transformers'.
    hugging_face: bool,
}

impl DepthConfig {
    /// Determines the sizes from the shapes of the weights.
    ///
    /// # Errors
    ///
    /// `BadModel` if they are not those of such a network.
    pub fn of(weights: &dyn WeightSource) -> Result<Self> {
        let bad = |text: String| Error::new(ErrorKind::BadModel, text);
        let hugging_face = weights.shape("backbone.embeddings.patch_embeddings.projection.weight").is_some();
        let names = Names { hugging_face };
        let [width, _, patch, _] = dimensions::<4>(weights, &format!("{}.weight", names.patches()))?;
        if patch != PATCH || (width > HEAD && !width.is_multiple_of(HEAD)) {
            return Err(bad(format!(
                "patches: got a side of {patch} and {width} channels, expected a side of {PATCH} and a multiple of {HEAD} channels"
            )));
        }
        let there = |layer: &usize| weights.shape(&format!("{}.weight", names.layer(*layer, "norm1"))).is_some();
        let layers = (0..MOST_LAYERS).take_while(there).count();
        if layers < 4 {
            return Err(bad(format!("layers: got {layers}, expected at least 4")));
        }
        let [_, places, _] = dimensions::<3>(weights, names.positions())?;
        let side = (places - 1).isqrt();
        if side * side + 1 != places {
            return Err(bad(format!("positions: got {places}, expected one more than a square number")));
        }
        let mut channels = [0; 4];
        for (i, channels) in channels.iter_mut().enumerate() {
            [*channels, ..] = dimensions::<4>(weights, &format!("{}.weight", names.project(i)))?;
        }
        let [features, ..] = dimensions::<4>(weights, &format!("{}.weight", names.bring(0)))?;
        let [last, ..] = dimensions::<4>(weights, &format!("{}.weight", names.outer(1)))?;
        Ok(Self { width, layers, channels, features, last, side, hugging_face })
    }

    /// Returns the four layers that the head sees.
    fn seen(&self) -> [usize; 4] {
        match self.layers {
            24 => [4, 11, 17, 23],
            layers => [1, 2, 3, 4].map(|i| i * layers / 4 - 1),
        }
    }
}

/// Builds the network for an image of `rows` x `columns` patches, normalised as ImageNet is; outputs for each pixel how near
/// it is.
///
/// # Errors
///
/// `BadModel` if its shapes are inconsistent.
pub fn depth_program(config: &DepthConfig, rows: usize, columns: usize) -> Result<Program> {
    let mut builder = ProgramBuilder::new("depth");
    let b = &mut builder;
    let picture = b.input("picture", Shape::new(1, rows * PATCH, columns * PATCH, 3), Rate::Frame);
    let patches = b.conv2d("patches", picture, config.width, PATCH, PATCH, Padding::all(0), false, true);
    // One token more for the whole picture: last, so that the patches stay where they are.
    let tokens = b.refold(patches, rows * columns + 1, 1);
    let mut x = b.add_weight("positions", tokens, rows * columns + 1);
    let mut stages = Vec::new();
    for layer in 0..config.layers {
        x = b.scope(format!("layers.{layer}"), |b| transformer_layer(b, x));
        if config.seen().contains(&layer) {
            let seen = b.layer_norm("norm", x, NORM_EPS);
            stages.push(b.refold(seen, rows, columns));
        }
    }
    let paths: Vec<ValueId> = stages.iter().enumerate().map(|(i, &stage)| path(b, config, i, stage)).collect();
    let mut fused: Option<ValueId> = None;
    for (i, &path) in paths.iter().enumerate().rev() {
        let next = match i {
            0 => b.shape(path).enlarged(2),
            _ => b.shape(paths[i - 1]),
        };
        fused = Some(b.scope(format!("fusion.{i}"), |b| fusion(b, path, fused, next)));
    }
    let x = b.conv3x3("outer.0", fused.unwrap_or(x), config.features / 2);
    let x = b.resize(x, rows * PATCH, columns * PATCH, true);
    let x = b.conv3x3("outer.1", x, config.last);
    let x = b.activate(x, Activation::Relu);
    let x = b.conv1x1("outer.2", x, 1);
    let depth = b.activate(x, Activation::Relu);
    b.output("depth", depth);
    builder.finish()
}

fn transformer_layer(b: &mut ProgramBuilder, x: ValueId) -> ValueId {
    let c = b.shape(x).c;
    let h = b.layer_norm("norm1", x, NORM_EPS);
    let qkv = ["q", "k", "v"].map(|name| b.linear(name, h, c, true));
    let h = b.attention(qkv, (c / HEAD).max(1), false, vec![0]);
    let h = b.linear("out", h, c, true);
    let x = b.add(h, x);
    let h = b.layer_norm("norm2", x, NORM_EPS);
    let h = b.linear("fc1", h, 4 * c, true);
    let h = b.activate(h, Activation::Gelu);
    let h = b.linear("fc2", h, c, true);
    b.add(h, x)
}

/// Returns a layer brought to the size and the channels that the head wants: four, two, one times and half as large.
fn path(b: &mut ProgramBuilder, config: &DepthConfig, i: usize, stage: ValueId) -> ValueId {
    let channels = config.channels[i];
    let x = b.conv1x1(&format!("project.{i}"), stage, channels);
    let x = match i {
        0 | 1 => {
            let side = if i == 0 { 4 } else { 2 };
            let x = b.linear(&format!("size.{i}"), x, channels * side * side, true);
            b.depth_to_space(x, side)
        }
        2 => x,
        _ => b.conv2d(&format!("size.{i}"), x, channels, 3, 2, Padding::all(1), false, true),
    };
    b.conv2d(&format!("bring.{i}"), x, config.features, 3, 1, Padding::all(1), false, false)
}

/// Adds a path to what came from the coarser ones, and brings it to the size of `next`.
fn fusion(b: &mut ProgramBuilder, path: ValueId, coarser: Option<ValueId>, next: Shape) -> ValueId {
    let c = b.shape(path).c;
    let x = match coarser {
        Some(coarser) => {
            let path = b.scope("unit1", |b| unit(b, path));
            b.add(path, coarser)
        }
        None => path,
    };
    let x = b.scope("unit2", |b| unit(b, x));
    let x = b.resize(x, next.h, next.w, true);
    b.conv1x1("out", x, c)
}

fn unit(b: &mut ProgramBuilder, x: ValueId) -> ValueId {
    let mut h = x;
    for name in ["conv1", "conv2"] {
        h = b.activate(h, Activation::Relu);
        let c = b.shape(h).c;
        h = b.conv3x3(name, h, c);
    }
    b.add(h, x)
}

/// Names of weights in a file.
#[derive(Debug, Clone, Copy)]
struct Names {
    hugging_face: bool,
}

impl Names {
    fn pick(self, theirs: String, authors: String) -> String {
        if self.hugging_face { theirs } else { authors }
    }

    fn patches(self) -> &'static str {
        if self.hugging_face {
            "backbone.embeddings.patch_embeddings.projection"
        } else {
            "pretrained.patch_embed.proj"
        }
    }

    fn positions(self) -> &'static str {
        if self.hugging_face { "backbone.embeddings.position_embeddings" } else { "pretrained.pos_embed" }
    }

    fn whole(self) -> &'static str {
        if self.hugging_face { "backbone.embeddings.cls_token" } else { "pretrained.cls_token" }
    }

    fn norm(self) -> &'static str {
        if self.hugging_face { "backbone.layernorm" } else { "pretrained.norm" }
    }

    fn layer(self, layer: usize, part: &str) -> String {
        self.pick(format!("backbone.encoder.layer.{layer}.{part}"), format!("pretrained.blocks.{layer}.{part}"))
    }

    fn project(self, i: usize) -> String {
        self.pick(format!("neck.reassemble_stage.layers.{i}.projection"), format!("depth_head.projects.{i}"))
    }

    fn size(self, i: usize) -> String {
        self.pick(format!("neck.reassemble_stage.layers.{i}.resize"), format!("depth_head.resize_layers.{i}"))
    }

    fn bring(self, i: usize) -> String {
        self.pick(format!("neck.convs.{i}"), format!("depth_head.scratch.layer{}_rn", i + 1))
    }

    /// Transformers counts from the coarsest.
    fn fusion(self, i: usize) -> [String; 3] {
        let inside =
            |[unit1, unit2, out]: [&str; 3], base: String| [unit1, unit2, out].map(|part| format!("{base}.{part}"));
        if self.hugging_face {
            inside(["residual_layer1", "residual_layer2", "projection"], format!("neck.fusion_stage.layers.{}", 3 - i))
        } else {
            inside(["resConfUnit1", "resConfUnit2", "out_conv"], format!("depth_head.scratch.refinenet{}", i + 1))
        }
    }

    fn unit(self, i: usize) -> String {
        self.pick(format!("convolution{i}"), format!("conv{i}"))
    }

    fn outer(self, i: usize) -> String {
        let authors = ["output_conv1", "output_conv2.0", "output_conv2.2"];
        self.pick(format!("head.conv{}", i + 1), format!("depth_head.scratch.{}", authors.get(i).unwrap_or(&"")))
    }
}

/// Wraps a file for [`depth_program`]. `positions` makes the positions of other patches than the network was trained on:
/// it is given `side * side` tokens of `width` channels, and gives `rows * columns`.
pub fn depth_weights(
    file: Arc<dyn WeightSource>,
    config: &DepthConfig,
    positions: impl Fn(Vec<f32>) -> Vec<f32> + Send + Sync + 'static,
) -> Derived {
    let names = Names { hugging_face: config.hugging_face };
    let mut weights = Derived::new(file);
    let mut both = |ours: String, theirs: String| {
        for end in ["weight", "bias"] {
            weights.rename(format!("{ours}.{end}"), format!("{theirs}.{end}"));
        }
    };
    both("patches".into(), names.patches().into());
    both("norm".into(), names.norm().into());
    for layer in 0..config.layers {
        for norm in ["norm1", "norm2"] {
            both(format!("layers.{layer}.{norm}"), names.layer(layer, norm));
        }
        both(format!("layers.{layer}.fc1"), names.layer(layer, "mlp.fc1"));
    }
    for i in 0..4 {
        both(format!("project.{i}"), names.project(i));
        both(format!("size.{i}"), names.size(i));
        both(format!("bring.{i}"), names.bring(i));
        let [unit1, unit2, out] = names.fusion(i);
        for (ours, theirs) in [("unit1", unit1), ("unit2", unit2)] {
            for conv in [1, 2] {
                both(format!("fusion.{i}.{ours}.conv{conv}"), format!("{theirs}.{}", names.unit(conv)));
            }
        }
        both(format!("fusion.{i}.out"), out);
    }
    (0..3).for_each(|i| both(format!("outer.{i}"), names.outer(i)));
    for layer in 0..config.layers {
        attention_rules(&mut weights, names, layer);
    }
    for (i, side) in [(0, 4), (1, 2)] {
        let theirs = names.size(i);
        let bias = theirs.clone();
        weights.rule(format!("size.{i}.weight"), move |file, shape| {
            let (c_out, c_in) = (shape[0] / (side * side), shape[1]);
            let numbers = file.read(&format!("{theirs}.weight"), &[c_in, c_out, side, side])?;
            unfolded(&numbers, [c_in, c_out, side])
        });
        weights.rule(format!("size.{i}.bias"), move |file, shape| {
            Ok(file.read(&format!("{bias}.bias"), &[shape[0] / (side * side)])?.repeat(side * side))
        });
    }
    position_rule(&mut weights, names, config.side, positions);
    weights
}

/// Queries, keys and values, and layers that are scaled channel by channel after them.
fn attention_rules(weights: &mut Derived, names: Names, layer: usize) {
    for (i, (ours, theirs)) in [("q", "query"), ("k", "key"), ("v", "value")].into_iter().enumerate() {
        for end in ["weight", "bias"] {
            let ours = format!("layers.{layer}.{ours}.{end}");
            if names.hugging_face {
                weights.rename(ours, names.layer(layer, &format!("attention.attention.{theirs}.{end}")));
                continue;
            }
            let all = names.layer(layer, &format!("attn.qkv.{end}"));
            weights.rule(ours, move |file, shape| {
                let mut whole = shape.to_vec();
                whole[0] *= 3;
                let part: usize = shape.iter().product();
                Ok(file.read(&all, &whole)?[i * part..][..part].to_vec())
            });
        }
    }
    let (out, scale1, scale2) = if names.hugging_face {
        ("attention.output.dense", "layer_scale1.lambda1", "layer_scale2.lambda1")
    } else {
        ("attn.proj", "ls1.gamma", "ls2.gamma")
    };
    for (ours, theirs, scale) in [("out", out, scale1), ("fc2", "mlp.fc2", scale2)] {
        for end in ["weight", "bias"] {
            let (theirs, scale) = (names.layer(layer, &format!("{theirs}.{end}")), names.layer(layer, scale));
            weights.rule(format!("layers.{layer}.{ours}.{end}"), move |file, shape| {
                let mut numbers = file.read(&theirs, shape)?;
                let scales = file.read(&scale, &shape[..1])?;
                let row = numbers.len() / scales.len().max(1);
                let rows = numbers.chunks_exact_mut(row.max(1)).zip(scales);
                rows.for_each(|(row, scale)| row.iter_mut().for_each(|x| *x *= scale));
                Ok(numbers)
            });
        }
    }
}

/// Returns what is added to the tokens: positions of the patches, then that of the whole with its token.
fn position_rule(
    weights: &mut Derived,
    names: Names,
    side: usize,
    positions: impl Fn(Vec<f32>) -> Vec<f32> + Send + Sync + 'static,
) {
    weights.rule("positions", move |file, shape| {
        let width = shape[1];
        let mut whole = file.read(names.positions(), &[1, side * side + 1, width])?;
        let patches = whole.split_off(width);
        let token = file.read(names.whole(), &[1, 1, width])?;
        let mut all = positions(patches);
        all.extend(whole.iter().zip(token).map(|(position, token)| position + token));
        Ok(all)
    });
}
