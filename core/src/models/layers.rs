//! Layers that several networks use. Each is written inside a scope that names it.

use crate::net::{Padding, ProgramBuilder, Rate, Shape, ValueId};

/// Groups and epsilon of a network's group norms.
#[derive(Debug, Clone, Copy)]
pub(super) struct Norm {
    pub(super) groups: usize,
    pub(super) eps: f32,
}

/// What the inputs with an image's keys and values are called, before the path of their attention.
const IMAGE_KEYS: &str = "image_keys";
const IMAGE_VALUES: &str = "image_values";
/// Epsilon of the layer norms in transformers.
const LAYER_NORM_EPS: f32 = 1e-5;
/// Epsilon of the group norm before a transformer.
const TRANSFORMER_NORM_EPS: f32 = 1e-6;

/// Channels of a head where attention makes a mean.
const MEAN_HEAD: usize = 64;

/// A group norm, then SiLU, then a 3x3 convolution to `c_out` channels.
pub(super) fn norm_silu_conv(
    b: &mut ProgramBuilder,
    [norm_name, conv_name]: [&str; 2],
    x: ValueId,
    c_out: usize,
    norm: Norm,
) -> ValueId {
    let x = b.group_norm(norm_name, x, norm.groups, norm.eps);
    let x = b.silu(x);
    b.conv3x3(conv_name, x, c_out)
}

/// Two convolutions with a shortcut; `time` (an activated embedding, one vector a row) is projected and added between
/// them.
pub(super) fn resnet(b: &mut ProgramBuilder, x: ValueId, c_out: usize, norm: Norm, time: Option<ValueId>) -> ValueId {
    let mut h = norm_silu_conv(b, ["norm1", "conv1"], x, c_out, norm);
    if let Some(time) = time {
        let shift = b.linear("time_emb_proj", time, c_out, true);
        h = b.add(h, shift);
    }
    let h = norm_silu_conv(b, ["norm2", "conv2"], h, c_out, norm);
    let shortcut = if b.shape(x).c == c_out { x } else { b.conv1x1("conv_shortcut", x, c_out) };
    b.add(h, shortcut)
}

/// Returns a convolution that halves the resolution; without padding all around, zeros stand below and right.
pub(super) fn downsample(b: &mut ProgramBuilder, x: ValueId, padding: usize) -> ValueId {
    let c = b.shape(x).c;
    let padding = if padding == 0 { Padding { top: 0, left: 0, bottom: 1, right: 1 } } else { Padding::all(padding) };
    b.scope("downsamplers.0", |b| b.conv2d("conv", x, c, 3, 2, padding, false, true))
}

/// Returns the mean of each channel over the pixels of its row, `[n, 1, 1, c]`: attention that asks for nothing sees
/// all alike.
pub(super) fn mean(b: &mut ProgramBuilder, x: ValueId) -> ValueId {
    let shape = b.shape(x);
    let first = b.refold(x, 1, 1);
    let nothing = b.affine(first, 0.0, 0.0);
    let heads = if shape.c.is_multiple_of(MEAN_HEAD) { shape.c / MEAN_HEAD } else { 1 };
    b.attention([nothing, x, x], heads, false, (0..shape.n).collect())
}

/// Returns a convolution over the twofold enlarged image.
pub(super) fn upsample(b: &mut ProgramBuilder, x: ValueId) -> ValueId {
    let c = b.shape(x).c;
    b.scope("upsamplers.0", |b| b.conv2d("conv", x, c, 3, 1, Padding::all(1), true, true))
}

/// What the rows of a batch attend to besides themselves.
#[derive(Debug, Clone, Copy)]
pub(super) struct Text<'a> {
    /// The texts, `[text_rows, tokens, 1, c]`.
    pub(super) states: ValueId,
    /// For each row of the batch, the index of its text.
    pub(super) of_row: &'a [usize],
    /// Whether they also attend to themselves as they were in earlier frames.
    pub(super) past: bool,
    /// Whether tokens of earlier frames are injected into what comes of that.
    pub(super) inject: bool,
    /// The image tokens that each row attends to besides its text; none without an IP-Adapter.
    pub(super) image_tokens: usize,
}

/// Attention with its four projections; `text` is what it looks at, or itself, and if `past`, itself in earlier frames.
fn attention(b: &mut ProgramBuilder, x: ValueId, text: Option<Text<'_>>, heads: usize, past: bool) -> ValueId {
    let shape = b.shape(x);
    let (source, rows) = match text {
        Some(text) => (text.states, text.of_row.to_vec()),
        None => (x, (0..shape.n).collect()),
    };
    let q = b.linear("to_q", x, shape.c, false);
    let k = b.linear("to_k", source, shape.c, false);
    let v = b.linear("to_v", source, shape.c, false);
    let mut mixed = match text {
        None if past => b.cached_attention([q, k, v], heads),
        _ => b.attention([q, k, v], heads, false, rows),
    };
    if let Some(tokens) = text.map(|text| text.image_tokens).filter(|&tokens| tokens > 0) {
        let [k, v] = [IMAGE_KEYS, IMAGE_VALUES].map(|part| {
            let name = format!("{part}.{}", b.path());
            b.input(name, Shape::tokens(shape.n, tokens, shape.c), Rate::Constant)
        });
        let image = b.attention([q, k, v], heads, false, (0..shape.n).collect());
        mixed = b.add(mixed, image);
    }
    b.linear("to_out.0", mixed, shape.c, true)
}

/// One layer: attention to itself (or, if `only_cross`, to the text), to the text, and a gated feed-forward.
fn transformer_layer(b: &mut ProgramBuilder, x: ValueId, text: Text<'_>, heads: usize, only_cross: bool) -> ValueId {
    let c = b.shape(x).c;
    let h = b.layer_norm("norm1", x, LAYER_NORM_EPS);
    // An image is looked at by the second attention alone, even where the first looks at the text, too.
    let first = only_cross.then_some(Text { image_tokens: 0, ..text });
    let mut h = b.scope("attn1", |b| attention(b, h, first, heads, text.past));
    if text.inject && !only_cross {
        h = b.inject(h);
    }
    let x = b.add(h, x);
    let h = b.layer_norm("norm2", x, LAYER_NORM_EPS);
    let h = b.scope("attn2", |b| attention(b, h, Some(text), heads, false));
    let x = b.add(h, x);
    let h = b.layer_norm("norm3", x, LAYER_NORM_EPS);
    let h = b.linear("ff.net.0.proj", h, c * 8, true);
    let h = b.geglu(h);
    let h = b.linear("ff.net.2", h, c, true);
    b.add(h, x)
}

/// The config of a transformer over pixels.
#[derive(Debug, Clone, Copy)]
pub(super) struct Transformer {
    pub(super) heads: usize,
    pub(super) layers: usize,
    pub(super) only_cross: bool,
    pub(super) linear_projection: bool,
    pub(super) groups: usize,
}

impl Transformer {
    /// Builds it: a group norm, a projection, the layers, a projection back, with a shortcut.
    pub(super) fn write(self, b: &mut ProgramBuilder, x: ValueId, text: Text<'_>) -> ValueId {
        let mut h = b.group_norm("norm", x, self.groups, TRANSFORMER_NORM_EPS);
        h = self.project(b, "proj_in", h);
        for layer in 0..self.layers {
            let name = format!("transformer_blocks.{layer}");
            h = b.scope(name, |b| transformer_layer(b, h, text, self.heads, self.only_cross));
        }
        h = self.project(b, "proj_out", h);
        b.add(h, x)
    }

    fn project(self, b: &mut ProgramBuilder, name: &str, x: ValueId) -> ValueId {
        let c = b.shape(x).c;
        if self.linear_projection { b.linear(name, x, c, true) } else { b.conv1x1(name, x, c) }
    }
}

/// Returns what an encoder made, as the UNet wants it.
pub(super) fn scale_latent(b: &mut ProgramBuilder, latent: ValueId, scaling: f32, shift: f32) -> ValueId {
    if (scaling, shift) == (1.0, 0.0) { latent } else { b.affine(latent, scaling, -shift * scaling) }
}

/// Returns what the UNet made, as a decoder wants it.
pub(super) fn unscale_latent(b: &mut ProgramBuilder, latent: ValueId, scaling: f32, shift: f32) -> ValueId {
    if (scaling, shift) == (1.0, 0.0) { latent } else { b.affine(latent, 1.0 / scaling, shift) }
}
