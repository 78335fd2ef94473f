//! The adapter's own networks: features to tokens, tokens to keys and values.

use super::checkpoint::{AdapterConfig, Projection, Resampler};
use crate::error::{Error, ErrorKind, Result};
use crate::net::{Activation, Padding, Program, ProgramBuilder, Rate, Shape, ValueId};

/// The epsilon added to the variance in the layer norms.
const EPS: f32 = 1e-5;
/// Maximum number of features of an image.
const MAX_FEATURES: usize = 4097;

/// Builds the network that turns the features of one image into tokens.
///
/// Inputs, at frame rate: `features`, `[1, count, 1, feature_dim]`, and for [`AdapterKind::Plus`](super::AdapterKind::Plus)
/// `latents`, the tensor `image_proj.latents`, `[1, tokens, 1, width]`. Output: `tokens`, `tokens * text_dim` numbers,
/// token after token.
///
/// # Errors
///
/// `InvalidArgument` for a number of features that the adapter does not read; `BadModel` for an inconsistent config.
pub fn tokens_program(config: &AdapterConfig, count: usize) -> Result<Program> {
    let resampler = match config.projection {
        Projection::Resampler(resampler) => Some(resampler),
        Projection::Linear | Projection::Mlp(_) => None,
    };
    let most = if resampler.is_some() { MAX_FEATURES } else { 1 };
    if count == 0 || count > most {
        let text = format!("image features: got {count}, expected 1 to {most}");
        return Err(Error::new(ErrorKind::InvalidArgument, text));
    }
    let mut builder = ProgramBuilder::new("image_proj");
    let b = &mut builder;
    let features = b.input("features", Shape::tokens(1, count, config.feature_dim), Rate::Frame);
    let tokens = match resampler {
        Some(sizes) => {
            let latents = b.input("latents", Shape::tokens(1, config.tokens, sizes.width), Rate::Frame);
            b.scope("image_proj", |b| resample(b, config, sizes, features, latents))
        }
        None => b.scope("image_proj", |b| project(b, config, features)),
    };
    b.output("tokens", tokens);
    builder.finish()
}

/// Returns all tokens out of one vector, each normed.
fn project(b: &mut ProgramBuilder, config: &AdapterConfig, features: ValueId) -> ValueId {
    let numbers = config.tokens * config.text_dim;
    let all = if let Projection::Mlp(inner) = config.projection {
        let h = b.linear("proj.0", features, inner, true);
        let h = b.activate(h, Activation::Gelu);
        b.linear("proj.2", h, numbers, true)
    } else {
        b.linear("proj", features, numbers, true)
    };
    let normed = |b: &mut ProgramBuilder, token: usize| {
        let token = b.slice(all, token * config.text_dim, config.text_dim);
        b.layer_norm("norm", token, EPS)
    };
    let first = normed(b, 0);
    (1..config.tokens).fold(first, |tokens, i| {
        let token = normed(b, i);
        b.concat(tokens, token)
    })
}

/// Learnt tokens that look at the features and at one another.
fn resample(
    b: &mut ProgramBuilder,
    config: &AdapterConfig,
    sizes: Resampler,
    features: ValueId,
    mut latents: ValueId,
) -> ValueId {
    let x = b.linear("proj_in", features, sizes.width, true);
    for i in 0..sizes.depth {
        b.scope(format!("layers.{i}"), |b| {
            let seen = b.scope("0", |b| attend(b, sizes, x, latents));
            latents = b.add(seen, latents);
            let h = b.layer_norm("1.0", latents, EPS);
            let h = b.linear("1.1", h, sizes.width * 4, false);
            let h = b.activate(h, Activation::Gelu);
            let h = b.linear("1.3", h, sizes.width, false);
            latents = b.add(h, latents);
        });
    }
    let tokens = b.linear("proj_out", latents, config.text_dim, true);
    b.layer_norm("norm_out", tokens, EPS)
}

/// Attention of `latents` over `x` and `latents` themselves.
fn attend(b: &mut ProgramBuilder, sizes: Resampler, x: ValueId, latents: ValueId) -> ValueId {
    let x = b.layer_norm("norm1", x, EPS);
    let latents = b.layer_norm("norm2", latents, EPS);
    let q = b.linear("to_q", latents, sizes.inner, false);
    // Keys and values of both, one below the other: each with zeros where the other has its own, and then the sum.
    let (above, below) = (b.shape(x).h, b.shape(latents).h);
    let mut padded = |x: ValueId, padding: Padding| b.conv2d("to_kv", x, sizes.inner * 2, 1, 1, padding, false, false);
    let of_x = padded(x, Padding { bottom: below, ..Padding::all(0) });
    let of_latents = padded(latents, Padding { top: above, ..Padding::all(0) });
    let both = b.add(of_x, of_latents);
    let (k, v) = (b.slice(both, 0, sizes.inner), b.slice(both, sizes.inner, sizes.inner));
    let seen = b.attention([q, k, v], sizes.heads, false, vec![0]);
    b.linear("to_out", seen, sizes.width, false)
}

/// Builds the network that makes keys and values of an image's tokens: input `tokens`, `[1, tokens, 1, text_dim]`, at frame
/// rate; outputs the keys and then the values with each of `numbers` in turn (see [`AdapterConfig::fit`]),
/// `[1, tokens, 1, channels]`.
///
/// # Errors
///
/// `InvalidArgument` for a number that the adapter does not have, or none; `BadModel` for an inconsistent config.
pub fn keys_program(config: &AdapterConfig, numbers: &[usize]) -> Result<Program> {
    let refuse = |text: String| Error::new(ErrorKind::InvalidArgument, text);
    if numbers.is_empty() {
        return Err(refuse("cross attentions of the adapter: got none, expected at least one".into()));
    }
    let mut builder = ProgramBuilder::new("ip_adapter");
    let b = &mut builder;
    let tokens = b.input("tokens", Shape::tokens(1, config.tokens, config.text_dim), Rate::Frame);
    for &number in numbers {
        let channels = config.channels(number);
        let channels = channels.ok_or_else(|| refuse(format!("the adapter has no keys with the number {number}")))?;
        for part in ["to_k_ip", "to_v_ip"] {
            let name = format!("ip_adapter.{number}.{part}");
            let made = b.linear(&name, tokens, channels, false);
            b.output(name, made);
        }
    }
    builder.finish()
}
