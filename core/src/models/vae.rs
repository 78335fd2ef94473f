//! The full autoencoder. The encoder returns the mean of its posterior, not a sample.

use super::config::AutoencoderKlConfig;
use super::layers::{Norm, downsample, norm_silu_conv, resnet, scale_latent, unscale_latent, upsample};
use crate::error::Result;
use crate::net::{Program, ProgramBuilder, Rate, Shape, ValueId};

/// The epsilon added to the variance in every group norm.
const NORM_EPS: f32 = 1e-6;

fn norm(config: &AutoencoderKlConfig) -> Norm {
    Norm { groups: config.norm_groups, eps: NORM_EPS }
}

/// Builds the encoder for pictures of `shape`.
pub(super) fn encoder(config: &AutoencoderKlConfig, shape: Shape) -> Result<Program> {
    let mut builder = ProgramBuilder::new("vae_encoder");
    let b = &mut builder;
    let picture = b.input("picture", shape, Rate::Frame);
    // Mean and logarithm of the variance of each number.
    let moments = config.latent_channels * 2;
    let mut x = b.scope("encoder", |b| {
        let mut x = b.conv3x3("conv_in", picture, config.channels[0]);
        for (i, &channels) in config.channels.iter().enumerate() {
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
    builder.finish()
}

/// Builds the decoder for latents of `shape`.
pub(super) fn decoder(config: &AutoencoderKlConfig, shape: Shape) -> Result<Program> {
    let mut builder = ProgramBuilder::new("vae_decoder");
    let b = &mut builder;
    let latent = b.input("latent", shape, Rate::Frame);
    let mut x = unscale_latent(b, latent, config.scaling_factor, config.shift_factor);
    if config.post_quant_conv {
        x = b.conv1x1("post_quant_conv", x, config.latent_channels);
    }
    let picture = b.scope("decoder", |b| {
        let coarsest = config.channels[config.channels.len() - 1];
        x = b.conv3x3("conv_in", x, coarsest);
        x = b.scope("mid_block", |b| mid_block(b, config, x));
        for (i, &channels) in config.channels.iter().rev().enumerate() {
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
