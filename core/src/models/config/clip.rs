//! `CLIPTextModel`'s and `CLIPTextModelWithProjection`'s config.

use serde_json::{Value, json};

use super::reader::Reader;
use super::{MAX_LAYERS, MAX_WIDTH};
use crate::error::Result;
use crate::net::Activation;

/// What a CLIP text encoder looks like.
#[derive(Debug, Clone, PartialEq)]
pub struct ClipTextConfig {
    /// Words it knows.
    pub vocab_size: usize,
    /// Channels of a token.
    pub hidden_size: usize,
    /// Channels inside the feed-forward layers.
    pub intermediate_size: usize,
    /// Number of layers.
    pub layers: usize,
    /// Number of heads; divides `hidden_size`.
    pub heads: usize,
    /// Longest text in tokens.
    pub max_tokens: usize,
    /// Between the feed-forward layers.
    pub activation: Activation,
    /// Added to the variance in the layer norms.
    pub layer_norm_eps: f32,
    /// The token that ends a text. 2 in old files, where it means "the largest id".
    pub eos_token_id: u32,
    /// Width of the pooled text, if the model projects one.
    pub projection_dim: Option<usize>,
}

/// More words than any published tokenizer has.
const MAX_WORDS: usize = 1 << 20;

impl ClipTextConfig {
    /// Reads a text encoder's `config.json`.
    ///
    /// # Errors
    ///
    /// `BadModel` for what is no config, or has a number out of its bounds; `Unsupported` for an option that is not
    /// built here.
    pub fn from_json(text: &str) -> Result<Self> {
        let reader = Reader::new("text encoder", text)?;
        reader.only("model_type", &[json!("clip_text_model")])?;
        let hidden_size = reader.size("hidden_size", 512, 1..=MAX_WIDTH)?;
        let heads = reader.size("num_attention_heads", 8, 1..=MAX_WIDTH)?;
        if hidden_size % heads != 0 {
            return Err(reader.bad("num_attention_heads", format!("must divide hidden_size, {hidden_size}")));
        }
        let activation = match reader.value("hidden_act").map(Value::as_str) {
            None | Some(Some("quick_gelu")) => Activation::QuickGelu,
            Some(Some("gelu")) => Activation::Gelu,
            Some(_) => return Err(reader.unsupported("hidden_act")),
        };
        let classes = reader.names("architectures", &["CLIPTextModel"])?;
        if let Some(other) = classes.iter().find(|name| !name.starts_with("CLIPTextModel")) {
            return Err(reader.bad("architectures", format!("must be a CLIPTextModel, not {other:?}")));
        }
        let projection_dim = match classes.contains(&"CLIPTextModelWithProjection") {
            true => Some(reader.size("projection_dim", 512, 1..=MAX_WIDTH)?),
            false => None,
        };
        Ok(Self {
            vocab_size: reader.size("vocab_size", 49408, 1..=MAX_WORDS)?,
            hidden_size,
            intermediate_size: reader.size("intermediate_size", 2048, 1..=MAX_WIDTH * 4)?,
            layers: reader.size("num_hidden_layers", 12, 1..=MAX_LAYERS)?,
            heads,
            max_tokens: reader.size("max_position_embeddings", 77, 1..=4096)?,
            activation,
            layer_norm_eps: reader.float("layer_norm_eps", 1e-5, 0.0..=1.0)?,
            eos_token_id: reader.size("eos_token_id", 49407, 0..=MAX_WORDS)? as u32,
            projection_dim,
        })
    }

    /// The position in `ids` whose state stands for the whole text: the first end token, or, where the config has the
    /// old `eos_token_id` 2, the first of the largest id.
    pub fn eos_index(&self, ids: &[u32]) -> usize {
        const OLD: u32 = 2;
        let end = if self.eos_token_id == OLD { ids.iter().copied().max() } else { Some(self.eos_token_id) };
        ids.iter().position(|&id| Some(id) == end).unwrap_or(0)
    }
}
