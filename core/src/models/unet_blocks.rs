//! Blocks of the UNet: resnets and transformers at one resolution, and resampling to the next.

use std::ops::Range;

use super::config::{AttentionConfig, BlockConfig, UnetConfig};
use super::layers::{Norm, Text, Transformer, downsample, resnet, upsample};
use crate::net::{ProgramBuilder, ValueId};

fn norm(config: &UnetConfig) -> Norm {
    Norm { groups: config.norm_groups, eps: config.norm_eps }
}

/// Resnet `i` of a block, and the transformer after it if the block has them.
fn resnet_and_transformer(
    b: &mut ProgramBuilder,
    config: &UnetConfig,
    block: &BlockConfig,
    i: usize,
    x: ValueId,
    time: ValueId,
    text: Text<'_>,
) -> ValueId {
    let x = b.scope(format!("resnets.{i}"), |b| resnet(b, x, block.channels, norm(config), Some(time)));
    match &block.attention {
        Some(attention) => transformer(b, config, attention, i, x, text),
        None => x,
    }
}

/// Transformer `i` of a block.
fn transformer(
    b: &mut ProgramBuilder,
    config: &UnetConfig,
    attention: &AttentionConfig,
    i: usize,
    x: ValueId,
    text: Text<'_>,
) -> ValueId {
    let transformer = Transformer {
        heads: attention.heads,
        layers: attention.layers[i],
        only_cross: attention.only_cross,
        linear_projection: config.linear_projection,
        groups: config.norm_groups,
    };
    b.scope(format!("attentions.{i}"), |b| transformer.write(b, x, text))
}

/// Down block `i`; what the up half will want is added to `skips`.
pub(super) fn down_block(
    b: &mut ProgramBuilder,
    config: &UnetConfig,
    i: usize,
    mut x: ValueId,
    time: ValueId,
    text: Text<'_>,
    skips: &mut Vec<ValueId>,
) -> ValueId {
    let block = &config.down[i];
    for layer in 0..block.resnets {
        x = resnet_and_transformer(b, config, block, layer, x, time, text);
        skips.push(x);
    }
    if i + 1 < config.down.len() {
        x = downsample(b, x, config.downsample_padding);
        skips.push(x);
    }
    x
}

/// Returns the middle: a resnet, and if it has a transformer, that and a second resnet.
pub(super) fn mid_block(
    b: &mut ProgramBuilder,
    config: &UnetConfig,
    mid: &BlockConfig,
    x: ValueId,
    time: ValueId,
    text: Text<'_>,
) -> ValueId {
    let mut x = b.scope("resnets.0", |b| resnet(b, x, mid.channels, norm(config), Some(time)));
    for i in 1..mid.resnets {
        if let Some(attention) = &mid.attention {
            x = transformer(b, config, attention, i - 1, x, text);
        }
        x = b.scope(format!("resnets.{i}"), |b| resnet(b, x, mid.channels, norm(config), Some(time)));
    }
    x
}

/// Resnets `layers` of up block `i`, with their transformers; each resnet takes the newest of `skips` and the output of the
/// block below. After the last one, the image is enlarged, except for the last block.
pub(super) fn up_layers(
    b: &mut ProgramBuilder,
    config: &UnetConfig,
    i: usize,
    layers: Range<usize>,
    mut x: ValueId,
    (time, text): (ValueId, Text<'_>),
    skips: &mut Vec<ValueId>,
) -> ValueId {
    let block = &config.up[i];
    let is_last = layers.end == block.resnets;
    for layer in layers {
        if let Some(skip) = skips.pop() {
            x = b.concat(x, skip);
        }
        x = resnet_and_transformer(b, config, block, layer, x, time, text);
    }
    if is_last && i + 1 < config.up.len() {
        x = upsample(b, x);
    }
    x
}
