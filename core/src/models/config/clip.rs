//! `CLIPTextModel`'s and `CLIPTextModelWithProjection`'s config.

use serde_json::{Value, json};

use super::reader::Reader;
use super::{MAX_LAYERS, MAX_WIDTH};
use crate::error::Result;
use crate::net::Activation;

/// The config of a CLIP text encoder.
#[derive(Debug, Clone, PartialEq)]
pub struct ClipTextConfig {
    /// Size of the vocabulary.
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
    /// The activation between the feed-forward layers.
    pub activation: Activation,
    /// The epsilon added to the variance in the layer norms.
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
    /// `BadModel` for an invalid config, or a value out of range; `Unsupported` for an option that is not
    /// supported.
    pub fn from_json(text: &str) -> Result<Self> {
        let reader = Reader::new("text encoder", text)?;
        reader.only("model_type", &[json!("clip_text_model")])?;
        let hidden_size = reader.size("hidden_size", 512, 1..=MAX_WIDTH)?;
        let heads = reader.size("num_attention_heads", 8, 1..=MAX_WIDTH)?;
        if hidden_size % heads != 0 {
            return Err(reader.bad("num_attention_heads", format!("a divisor of hidden_size ({hidden_size})")));
        }
        let activation = activation(&reader)?;
        let classes = reader.names("architectures", &["CLIPTextModel"])?;
        if classes.iter().any(|name| !name.starts_with("CLIPTextModel")) {
            return Err(reader.bad("architectures", "CLIPTextModel or a class that starts with it"));
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

    /// Returns the position in `ids` whose state represents the whole text: the first end token, or, if the config
    /// has the old `eos_token_id` 2, the first of the largest id.
    pub fn eos_index(&self, ids: &[u32]) -> usize {
        const OLD: u32 = 2;
        let end = if self.eos_token_id == OLD { ids.iter().copied().max() } else { Some(self.eos_token_id) };
        ids.iter().position(|&id| Some(id) == end).unwrap_or(0)
    }
}

/// The activation between the feed-forward layers of a CLIP encoder.
pub(super) fn activation(reader: &Reader) -> Result<Activation> {
    match reader.value("hidden_act").map(Value::as_str) {
        None | Some(Some("quick_gelu")) => Ok(Activation::QuickGelu),
        Some(Some("gelu")) => Ok(Activation::Gelu),
        Some(_) => Err(reader.unsupported("hidden_act")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn the_pooled_position_is_the_first_end_token_or_by_the_old_rule_the_largest_id() {
        let config = |eos: u32| ClipTextConfig::from_json(&format!("{{\"eos_token_id\": {eos}}}")).unwrap();
        let ids = [49406, 320, 2, 49407, 49407];
        assert_eq!(config(49407).eos_index(&ids), 3);
        assert_eq!(config(2).eos_index(&ids), 3);
        assert_eq!(config(320).eos_index(&ids), 1);
        assert_eq!(config(5).eos_index(&ids), 0);
        assert_eq!(config(2).eos_index(&[]), 0);
    }

    #[test]
    fn only_a_projection_makes_a_pooled_text() {
        let config = |class: &str| {
            let text = format!("{{\"architectures\": [\"{class}\"], \"projection_dim\": 24}}");
            ClipTextConfig::from_json(&text)
        };
        assert_eq!(config("CLIPTextModel").unwrap().projection_dim, None);
        assert_eq!(config("CLIPTextModelWithProjection").unwrap().projection_dim, Some(24));
        assert_eq!(config("T5EncoderModel").unwrap_err().kind(), ErrorKind::BadModel);
    }

    #[test]
    fn what_does_not_fit_is_refused_with_its_name() {
        for (text, kind, part) in [
            (
                r#"{"hidden_act": "relu"}"#,
                ErrorKind::Unsupported,
                "hidden_act of the text encoder config: got \"relu\"",
            ),
            (
                r#"{"num_attention_heads": 7}"#,
                ErrorKind::BadModel,
                "num_attention_heads of the text encoder config: got 7, expected a divisor",
            ),
            (
                r#"{"vocab_size": 1000000000}"#,
                ErrorKind::BadModel,
                "vocab_size of the text encoder config: got 1000000000, expected",
            ),
            (
                r#"{"layer_norm_eps": -1}"#,
                ErrorKind::BadModel,
                "layer_norm_eps of the text encoder config: got -1, expected",
            ),
            (r#"{"num_hidden_layers": 0}"#, ErrorKind::BadModel, "num_hidden_layers of the text encoder config: got 0"),
        ] {
            let error = ClipTextConfig::from_json(text).unwrap_err();
            assert_eq!(error.kind(), kind, "{text}");
            assert!(error.to_string().contains(part), "{error}");
        }
    }
}
