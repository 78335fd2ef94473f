//! The tiny autoencoder: plain convolutions in residual blocks, of any width and number.
//!
//! Pictures are `[-1, 1]` outside and `[0, 1]` inside.

use super::config::TinyAutoencoderConfig;
use super::layers::{scale_latent, unscale_latent};
use crate::error::Result;
use crate::net::{Activation, Padding, Program, ProgramBuilder, Rate, Shape, ValueId};

/// Builds the encoder for pictures of `shape`.
pub(super) fn encoder(config: &TinyAutoencoderConfig, shape: Shape) -> Result<Program> {
    let mut builder = ProgramBuilder::new("vae_encoder");
    let b = &mut builder;
    let picture = b.input("picture", shape, Rate::Frame);
    let latent = b.scope("encoder.layers", |b| {
        let mut layers = Layers::default();
        let mut x = b.affine(picture, 0.5, 0.5);
        for (stage, &(channels, blocks)) in config.encoder.iter().enumerate() {
            let name = layers.next();
            x = match stage {
                0 => b.conv3x3(&name, x, channels),
                _ => b.conv2d(&name, x, channels, 3, 2, Padding::all(1), false, false),
            };
            x = residual_blocks(b, &mut layers, x, blocks);
        }
        b.conv3x3(&layers.next(), x, config.latent_channels)
    });
    let latent = scale_latent(b, latent, config.scaling_factor, config.shift_factor);
    b.output("latent", latent);
    builder.finish()
}

/// Builds the decoder for latents of `shape`.
pub(super) fn decoder(config: &TinyAutoencoderConfig, shape: Shape) -> Result<Program> {
    /// Latents beyond are rare and would make the picture burst.
    const LIMIT: f32 = 3.0;
    let mut builder = ProgramBuilder::new("vae_decoder");
    let b = &mut builder;
    let latent = b.input("latent", shape, Rate::Frame);
    let latent = unscale_latent(b, latent, config.scaling_factor, config.shift_factor);
    let picture = b.scope("decoder.layers", |b| {
        let mut layers = Layers::default();
        let clamped = b.activate(latent, Activation::SoftClamp { limit: LIMIT });
        let mut x = b.conv3x3(&layers.next(), clamped, config.decoder[0].0);
        x = b.activate(x, Activation::Relu);
        layers.next();
        for (stage, &(channels, blocks)) in config.decoder.iter().enumerate() {
            x = residual_blocks(b, &mut layers, x, blocks);
            x = if stage + 1 < config.decoder.len() {
                layers.next();
                b.conv2d(&layers.next(), x, channels, 3, 1, Padding::all(1), true, false)
            } else {
                b.conv3x3(&layers.next(), x, 3)
            };
        }
        x
    });
    let picture = b.affine(picture, 2.0, -1.0);
    b.output("picture", picture);
    builder.finish()
}

/// Numbers layers as the checkpoint does: activations and enlargements count too.
#[derive(Default)]
struct Layers(usize);

impl Layers {
    fn next(&mut self) -> String {
        let name = self.0.to_string();
        self.0 += 1;
        name
    }
}

fn residual_blocks(b: &mut ProgramBuilder, layers: &mut Layers, mut x: ValueId, count: usize) -> ValueId {
    let c = b.shape(x).c;
    for _ in 0..count {
        x = b.scope(layers.next(), |b| {
            let mut h = b.conv3x3("conv.0", x, c);
            for name in ["conv.2", "conv.4"] {
                h = b.activate(h, Activation::Relu);
                h = b.conv3x3(name, h, c);
            }
            let sum = b.add(h, x);
            b.activate(sum, Activation::Relu)
        });
    }
    x
}
