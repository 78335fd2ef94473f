//! CLIP's image encoder: from a picture to its embedding, or to the states of its tokens.
//!
//! A picture comes as patches (see [`clip_patches`]), before them a token for the whole of it. The convolution that turns
//! patches into tokens is then a linear layer, and the embeddings of that token and of the positions are one table: the
//! checkpoint's weights are read through [`ClipVisionWeights`], which sees them so.

use std::fmt;
use std::sync::Arc;

use super::clip::ClipLayer;
use super::config::ClipVisionConfig;
use crate::error::{Error, ErrorKind, Result};
use crate::net::{Program, ProgramBuilder, Rate, Shape, ValueId, WeightSource};

/// What an image encoder gives of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum VisionStates {
    /// One vector: the token for the whole picture after the last layer, normed and projected.
    Projected,
    /// All tokens after the layer before the last, not normed.
    Penultimate,
}

/// Builds the image encoder of `config` for `rows` pictures.
///
/// Inputs, at frame rate: `patches`, `[rows, tokens, 1, patch_len]`, from [`clip_patches`]; and, for
/// [`VisionStates::Projected`], `whole`, `[rows, 1, 1, 1]`, zeros: the place of the token that is projected. Output:
/// `image_embeds`, `[rows, 1, 1, projection_dim]`, or `hidden_states`, `[rows, tokens, 1, hidden_size]`.
///
/// # Errors
///
/// `InvalidArgument` for no rows, or too many; `BadModel` for an inconsistent config.
pub fn clip_vision_program(config: &ClipVisionConfig, rows: usize, states: VisionStates) -> Result<Program> {
    const MAX_ROWS: usize = 64;
    if rows == 0 || rows > MAX_ROWS {
        let text = format!("picture count: got {rows}, expected 1 to {MAX_ROWS}");
        return Err(Error::new(ErrorKind::InvalidArgument, text));
    }
    let mut builder = ProgramBuilder::new("image_encoder");
    let b = &mut builder;
    let patches = b.input("patches", Shape::tokens(rows, config.tokens(), config.patch_len()), Rate::Frame);
    match states {
        VisionStates::Projected => {
            let whole = b.input("whole", Shape::vector(rows, 1), Rate::Frame);
            let normed = b.scope("vision_model", |b| {
                let states = encoder(b, config, patches, config.layers);
                let token = b.take_token(states, whole);
                b.layer_norm("post_layernorm", token, config.layer_norm_eps)
            });
            let projected = b.linear("visual_projection", normed, config.projection_dim, false);
            b.output("image_embeds", projected);
        }
        VisionStates::Penultimate => {
            let states = b.scope("vision_model", |b| encoder(b, config, patches, config.layers - 1));
            b.output("hidden_states", states);
        }
    }
    builder.finish()
}

/// Returns the states after the first `layers` layers.
fn encoder(b: &mut ProgramBuilder, config: &ClipVisionConfig, patches: ValueId, layers: usize) -> ValueId {
    let x = b.linear("embeddings.patch_embedding", patches, config.hidden_size, false);
    let x = b.add_weight(POSITIONS, x, config.tokens());
    // Spelt as the checkpoints have it.
    let mut x = b.layer_norm("pre_layrnorm", x, config.layer_norm_eps);
    let layer = ClipLayer {
        heads: config.heads,
        intermediate_size: config.intermediate_size,
        activation: config.activation,
        eps: config.layer_norm_eps,
        causal: false,
    };
    for i in 0..layers {
        x = layer.write(b, i, x);
    }
    x
}

/// The table of positions, within the encoder.
const POSITIONS: &str = "embeddings.position_embedding.weight";
/// The convolution that makes tokens of patches.
const PATCHES: &str = "embeddings.patch_embedding.weight";
/// What is added to the token for the whole picture besides its position.
const CLASS: &str = "embeddings.class_embedding";

/// Cuts a picture into `patches` for [`clip_vision_program`]: a patch of zeros for the token of the whole, then line by line
/// the patches, each with all its reds, greens and blues in turn.
///
/// # Errors
///
/// `InvalidArgument` if `picture` is not `[image_size, image_size, 3]`.
pub fn clip_patches(config: &ClipVisionConfig, picture: &[f32], patches: &mut Vec<f32>) -> Result<()> {
    let (side, patch, channels) = (config.image_size, config.patch_size, ClipVisionConfig::CHANNELS);
    if picture.len() != side * side * channels {
        let text = format!("picture: got {} elements, expected {side}x{side} with {channels} channels", picture.len());
        return Err(Error::new(ErrorKind::InvalidArgument, text));
    }
    patches.clear();
    patches.resize(config.tokens() * config.patch_len(), 0.0);
    let across = side / patch;
    for (y, line) in picture.chunks_exact(side * channels).enumerate() {
        for (x, pixel) in line.chunks_exact(channels).enumerate() {
            let token = 1 + y / patch * across + x / patch;
            let start = token * config.patch_len() + y % patch * patch + x % patch;
            for (place, &number) in patches.iter_mut().skip(start).step_by(patch * patch).zip(pixel) {
                *place = number;
            }
        }
    }
    Ok(())
}

/// A checkpoint's weights as [`clip_vision_program`] names and shapes them.
pub struct ClipVisionWeights {
    source: Arc<dyn WeightSource>,
    patch_size: usize,
}

impl ClipVisionWeights {
    /// Those of the encoder of `config` out of `source`.
    pub fn new(config: &ClipVisionConfig, source: Arc<dyn WeightSource>) -> Self {
        Self { source, patch_size: config.patch_size }
    }
}

impl fmt::Debug for ClipVisionWeights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClipVisionWeights").field("patch_size", &self.patch_size).finish_non_exhaustive()
    }
}

impl WeightSource for ClipVisionWeights {
    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        let shape = self.source.shape(name)?;
        match *shape.as_slice() {
            [out, channels, height, width] if name.ends_with(PATCHES) => Some(vec![out, channels * height * width]),
            _ => Some(shape),
        }
    }

    fn read(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        match *shape {
            [out, _] if name.ends_with(PATCHES) => {
                let patch = self.patch_size;
                self.source.read(name, &[out, ClipVisionConfig::CHANNELS, patch, patch])
            }
            [_, width] if name.ends_with(POSITIONS) => {
                let mut positions = self.source.read(name, shape)?;
                let class = self.source.read(&name.replace(POSITIONS, CLASS), &[width])?;
                positions.iter_mut().zip(class).for_each(|(position, class)| *position += class);
                Ok(positions)
            }
            _ => self.source.read(name, shape),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> ClipVisionConfig {
        ClipVisionConfig::from_json(r#"{"image_size": 4, "patch_size": 2}"#).unwrap()
    }

    #[test]
    fn a_patch_has_its_reds_then_its_greens_then_its_blues() {
        // Each value is 100 y + 10 x + channel.
        let picture: Vec<f32> = (0..4 * 4 * 3).map(|i| (100 * (i / 12) + 10 * (i / 3 % 4) + i % 3) as f32).collect();
        let mut patches = Vec::new();
        clip_patches(&config(), &picture, &mut patches).unwrap();
        assert_eq!(patches.len(), 5 * 12);
        assert_eq!(patches[..12], [0.0; 12]);
        let third = [200.0, 210.0, 300.0, 310.0, 201.0, 211.0, 301.0, 311.0, 202.0, 212.0, 302.0, 312.0];
        assert_eq!(patches[36..48], third);
    }

    #[test]
    fn a_picture_of_another_size_and_too_many_rows_are_refused() {
        let refused = clip_patches(&config(), &[0.0; 47], &mut Vec::new()).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidArgument);
        assert!(refused.to_string().contains("got 47 elements, expected 4x4"), "{refused}");
        for rows in [0, 1 << 40] {
            let refused = clip_vision_program(&config(), rows, VisionStates::Projected).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::InvalidArgument);
        }
    }
}
