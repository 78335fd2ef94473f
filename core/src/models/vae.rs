//! The full autoencoder. The encoder returns the mean of its posterior, not a sample. With skip connections, as
//! img2img-turbo has them, the decoder also takes what the encoder had before each of its blocks.

use super::config::AutoencoderKlConfig;
use super::layers::{Norm, downsample, norm_silu_conv, resnet, scale_latent, unscale_latent, upsample};
use crate::error::Result;
use crate::net::{Padding, Program, ProgramBuilder, Rate, Shape, ValueId};

/// The epsilon added to the variance in every group norm.
const NORM_EPS: f32 = 1e-6;

/// The range of the pictures that an encoder was trained for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PictureRange {
    /// From -1 to 1.
    Signed,
    /// From 0 to 1.
    Unit,
}

fn norm(config: &AutoencoderKlConfig) -> Norm {
    Norm { groups: config.norm_groups, eps: NORM_EPS }
}

/// Builds the encoder for pictures of `shape`; with skip connections, its outputs after the latent are the values before each
/// of its blocks, finest first, and it sees pictures in the given range.
pub(super) fn encoder(config: &AutoencoderKlConfig, shape: Shape, with_skips: Option<PictureRange>) -> Result<Program> {
    let mut builder = ProgramBuilder::new("vae_encoder");
    let b = &mut builder;
    let mut picture = b.input("picture", shape, Rate::Frame);
    if with_skips == Some(PictureRange::Unit) {
        picture = b.affine(picture, 0.5, 0.5);
    }
    // Mean and logarithm of the variance of each number.
    let moments = config.latent_channels * 2;
    let mut skips = Vec::new();
    let mut x = b.scope("encoder", |b| {
        let mut x = b.conv3x3("conv_in", picture, config.channels[0]);
        for (i, &channels) in config.channels.iter().enumerate() {
            skips.push(x);
            x = b.scope(format!("down_blocks.{i}"), |b| {
                let x = resnets(b, config, x, channels, config.resnets);
                if i + 1 < config.channels.len() { downsample(b, x, 0) } else { x }
            });
        }
        x = b.scope("mid_block", |b| mid_block(b, config, x));
        norm_silu_conv(b, ["conv_norm_out", "conv_out"], x, moments, norm(config))
    });
    if config.quant_conv {
        x = b.conv1x1("quant_conv", x, moments);
    }
    let mean = b.slice(x, 0, config.latent_channels);
    let latent = scale_latent(b, mean, config.scaling_factor, config.shift_factor);
    b.output("latent", latent);
    for (i, skip) in skips.into_iter().enumerate().filter(|_| with_skips.is_some()) {
        b.output(format!("skip.{i}"), skip);
    }
    builder.finish()
}

/// Returns the shapes of the values before each block of the encoder, finest first, for pictures of `shape`.
fn skip_shapes(config: &AutoencoderKlConfig, shape: Shape) -> Vec<Shape> {
    let finest = config.channels.iter().take(1);
    let widths = finest.chain(&config.channels).take(config.channels.len());
    let halved = |(i, &c): (usize, &usize)| Shape::new(shape.n, shape.h >> i, shape.w >> i, c);
    widths.enumerate().map(halved).collect()
}

/// Builds the decoder for latents of `shape`; if `with_skips`, its inputs after the latent are the encoder's values
/// before each of its blocks, finest first, which are added before the decoder's blocks through convolutions of their own.
pub(super) fn decoder(config: &AutoencoderKlConfig, shape: Shape, with_skips: bool) -> Result<Program> {
    let mut builder = ProgramBuilder::new("vae_decoder");
    let b = &mut builder;
    let latent = b.input("latent", shape, Rate::Frame);
    let picture = shape.enlarged(1 << (config.channels.len() - 1));
    let skips = if with_skips { skip_shapes(config, picture) } else { Vec::new() };
    let skips = skips.into_iter().enumerate();
    let skips: Vec<ValueId> = skips.map(|(i, shape)| b.input(format!("skip.{i}"), shape, Rate::Frame)).collect();
    let mut x = unscale_latent(b, latent, config.scaling_factor, config.shift_factor);
    if config.post_quant_conv {
        x = b.conv1x1("post_quant_conv", x, config.latent_channels);
    }
    let picture = b.scope("decoder", |b| {
        let coarsest = config.channels[config.channels.len() - 1];
        x = b.conv3x3("conv_in", x, coarsest);
        x = b.scope("mid_block", |b| mid_block(b, config, x));
        let mut skips = skips.into_iter().rev();
        for (i, &channels) in config.channels.iter().rev().enumerate() {
            if let Some(skip) = skips.next() {
                let c = b.shape(x).c;
                let skip = b.conv2d(&format!("skip_conv_{}", i + 1), skip, c, 1, 1, Padding::all(0), false, false);
                x = b.add(x, skip);
            }
            x = b.scope(format!("up_blocks.{i}"), |b| {
                let x = resnets(b, config, x, channels, config.resnets + 1);
                if i + 1 < config.channels.len() { upsample(b, x) } else { x }
            });
        }
        norm_silu_conv(b, ["conv_norm_out", "conv_out"], x, 3, norm(config))
    });
    b.output("picture", picture);
    builder.finish()
}

fn resnets(
    b: &mut ProgramBuilder,
    config: &AutoencoderKlConfig,
    mut x: ValueId,
    channels: usize,
    count: usize,
) -> ValueId {
    for i in 0..count {
        x = b.scope(format!("resnets.{i}"), |b| resnet(b, x, channels, norm(config), None));
    }
    x
}

fn mid_block(b: &mut ProgramBuilder, config: &AutoencoderKlConfig, x: ValueId) -> ValueId {
    let c = b.shape(x).c;
    let mut x = b.scope("resnets.0", |b| resnet(b, x, c, norm(config), None));
    if config.mid_attention {
        x = b.scope("attentions.0", |b| attention(b, config, x));
    }
    b.scope("resnets.1", |b| resnet(b, x, c, norm(config), None))
}

/// Attention with one head over all pixels, with a shortcut.
fn attention(b: &mut ProgramBuilder, config: &AutoencoderKlConfig, x: ValueId) -> ValueId {
    let shape = b.shape(x);
    let h = b.group_norm("group_norm", x, config.norm_groups, NORM_EPS);
    let qkv = ["to_q", "to_k", "to_v"].map(|name| b.linear(name, h, shape.c, true));
    let h = b.attention(qkv, 1, false, (0..shape.n).collect());
    let h = b.linear("to_out.0", h, shape.c, true);
    b.add(h, x)
}
