//! CLIP's text encoder: from token ids to the states that a UNet attends to, and to the pooled embedding.

use super::config::ClipTextConfig;
use crate::error::{Error, ErrorKind, Result};
use crate::net::{Activation, Program, ProgramBuilder, Rate, Shape, ValueId};

/// Which states of its layers an encoder gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TextStates {
    /// Those of the last layer, normed.
    Last,
    /// Those of the layer before the last, not normed.
    Penultimate,
}

/// Builds the text encoder of `config` for `rows` texts of `tokens` tokens.
///
/// Inputs, at frame rate: `input_ids`, `[rows, tokens, 1, 1]`, whole numbers; and, where the model has a projection,
/// `eos_index`, `[rows, 1, 1, 1]`, from [`ClipTextConfig::eos_index`]. Outputs: `hidden_states`,
/// `[rows, tokens, 1, hidden_size]`, and with a projection `pooled`, `[rows, 1, 1, projection_dim]`.
///
/// # Errors
///
/// `InvalidArgument` for no rows or tokens, or more tokens than the model has positions for; `BadModel` for an inconsistent config.
pub fn clip_program(config: &ClipTextConfig, rows: usize, tokens: usize, states: TextStates) -> Result<Program> {
    const MAX_ROWS: usize = 256;
    if rows == 0 || rows > MAX_ROWS || tokens == 0 || tokens > config.max_tokens {
        let text = format!(
            "texts: got {rows} of {tokens} tokens, expected 1 to {MAX_ROWS} of 1 to {} tokens",
            config.max_tokens
        );
        return Err(Error::new(ErrorKind::InvalidArgument, text));
    }
    let mut builder = ProgramBuilder::new("text_encoder");
    let b = &mut builder;
    let ids = b.input("input_ids", Shape::tokens(rows, tokens, 1), Rate::Frame);
    let eos = config.projection_dim.map(|_| b.input("eos_index", Shape::vector(rows, 1), Rate::Frame));
    let (hidden, last) = b.scope("text_model", |b| encoder(b, config, ids, states));
    b.output("hidden_states", hidden);
    if let (Some(dim), Some(eos), Some(last)) = (config.projection_dim, eos, last) {
        let token = b.take_token(last, eos);
        let pooled = b.linear("text_projection", token, dim, false);
        b.output("pooled", pooled);
    }
    builder.finish()
}

/// Returns the wanted states, and the last layer's normed states where they are needed besides.
fn encoder(
    b: &mut ProgramBuilder,
    config: &ClipTextConfig,
    ids: ValueId,
    states: TextStates,
) -> (ValueId, Option<ValueId>) {
    let words = b.embed("embeddings.token_embedding.weight", ids, config.vocab_size, config.hidden_size);
    let mut x = b.add_weight("embeddings.position_embedding.weight", words, config.max_tokens);
    let layer = ClipLayer {
        heads: config.heads,
        intermediate_size: config.intermediate_size,
        activation: config.activation,
        eps: config.layer_norm_eps,
        causal: true,
    };
    for i in 0..config.layers - 1 {
        x = layer.write(b, i, x);
    }
    let penultimate = x;
    if states == TextStates::Penultimate && config.projection_dim.is_none() {
        return (penultimate, None);
    }
    x = layer.write(b, config.layers - 1, x);
    let last = b.layer_norm("final_layer_norm", x, config.layer_norm_eps);
    match states {
        TextStates::Last => (last, Some(last)),
        TextStates::Penultimate => (penultimate, Some(last)),
    }
}

/// A layer of a CLIP encoder, of texts or of pictures.
#[derive(Debug, Clone, Copy)]
pub(super) struct ClipLayer {
    pub(super) heads: usize,
    pub(super) intermediate_size: usize,
    pub(super) activation: Activation,
    pub(super) eps: f32,
    /// Whether attention is causal.
    pub(super) causal: bool,
}

impl ClipLayer {
    /// Builds layer `i` of `encoder`.
    pub(super) fn write(self, b: &mut ProgramBuilder, i: usize, x: ValueId) -> ValueId {
        let c = b.shape(x).c;
        b.scope(format!("encoder.layers.{i}"), |b| {
            let h = b.layer_norm("layer_norm1", x, self.eps);
            let h = b.scope("self_attn", |b| self.attention(b, h));
            let x = b.add(h, x);
            let h = b.layer_norm("layer_norm2", x, self.eps);
            let h = b.linear("mlp.fc1", h, self.intermediate_size, true);
            let h = b.activate(h, self.activation);
            let h = b.linear("mlp.fc2", h, c, true);
            b.add(h, x)
        })
    }

    fn attention(self, b: &mut ProgramBuilder, x: ValueId) -> ValueId {
        let shape = b.shape(x);
        let [q, k, v] = ["q_proj", "k_proj", "v_proj"].map(|name| b.linear(name, x, shape.c, true));
        let mixed = b.attention([q, k, v], self.heads, self.causal, (0..shape.n).collect());
        b.linear("out_proj", mixed, shape.c, true)
    }
}
