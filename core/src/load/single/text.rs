//! The text encoders of a single-file checkpoint: CLIP in the formats of transformers and of OpenCLIP.

use std::collections::HashMap;

use serde_json::json;

use super::super::header::Tensor;
use super::super::key_aliases::is_harmless;
use super::Part;
use super::keys::{Keys, Modules, untold};
use crate::error::{Error, ErrorKind, Result};

/// Width of a head in every published encoder.
const HEAD_WIDTH: usize = 64;
/// Width of OpenCLIP's encoder in Stable Diffusion 2.x, and the layers that the UNet was trained on; the file has one
/// more, unless it was written from a diffusers folder.
const TWO_WIDTH: usize = 1024;
const TWO_LAYERS: usize = 23;
/// The projection of the pooled text as OpenCLIP has it: a matrix to multiply by from the right.
const PROJECTION: &str = "text_projection";

const EMBEDDINGS: [(&str, &str); 3] = [
    ("token_embedding", "text_model.embeddings.token_embedding"),
    ("ln_final", "text_model.final_layer_norm"),
    (PROJECTION, PROJECTION),
];
const LAYER: [(&str, &str); 5] = [
    ("ln_1", "layer_norm1"),
    ("ln_2", "layer_norm2"),
    ("attn.out_proj", "self_attn.out_proj"),
    ("mlp.c_fc", "mlp.fc1"),
    ("mlp.c_proj", "mlp.fc2"),
];

/// The properties of an encoder, by its tensors and its family.
struct Facts {
    words: usize,
    positions: usize,
    width: usize,
    inner: usize,
    layers: usize,
    activation: &'static str,
    pad: usize,
    projection: Option<usize>,
}

impl Facts {
    fn part(self, tensors: HashMap<String, Tensor>) -> Result<Part> {
        if self.width == 0 || !self.width.is_multiple_of(HEAD_WIDTH) || self.words < 2 {
            return Err(untold(format!(
                "text encoder: got {} tokens and {} channels, expected at least 2 tokens and a multiple of {HEAD_WIDTH} channels",
                self.words, self.width
            )));
        }
        let class = if self.projection.is_some() { "CLIPTextModelWithProjection" } else { "CLIPTextModel" };
        let config = json!({
            "architectures": [class],
            "model_type": "clip_text_model",
            "hidden_act": self.activation,
            "hidden_size": self.width,
            "intermediate_size": self.inner,
            "num_attention_heads": self.width / HEAD_WIDTH,
            "num_hidden_layers": self.layers,
            "max_position_embeddings": self.positions,
            "vocab_size": self.words,
            "bos_token_id": self.words - 2,
            "eos_token_id": self.words - 1,
            "pad_token_id": self.pad,
            "projection_dim": self.projection.unwrap_or(self.width),
        });
        Ok(Part { class, config, tensors })
    }
}

/// Determines the config and the names of an encoder in the format of transformers, under `prefix`.
pub(super) fn clip(prefix: &'static str, all: &HashMap<String, Tensor>) -> Result<Part> {
    const MODEL: &str = "text_model.";
    let keys = Keys::under(prefix, all);
    // The oldest files lack this part of the name.
    let inside = if keys.has("embeddings.token_embedding.weight") { "" } else { MODEL };
    let dim = |name: &str, axis| keys.dim(&format!("{inside}{name}"), axis);
    let words = dim("embeddings.token_embedding.weight", 0)?;
    let facts = Facts {
        words,
        positions: dim("embeddings.position_embedding.weight", 0)?,
        width: dim("embeddings.token_embedding.weight", 1)?,
        inner: dim("encoder.layers.0.mlp.fc1.weight", 0)?,
        layers: keys.count(|i| format!("{inside}encoder.layers.{i}.mlp.fc1.weight")),
        activation: "quick_gelu",
        pad: words.saturating_sub(1),
        projection: None,
    };
    let named = |(name, tensor): (&str, &Tensor)| {
        let name = if name.starts_with(MODEL) { name.to_owned() } else { format!("{MODEL}{name}") };
        (name, tensor.clone())
    };
    facts.part(keys.iter().filter(|(name, _)| !is_harmless(name)).map(named).collect())
}

/// Determines the config and the names of an encoder in the format of OpenCLIP, under `prefix`.
pub(super) fn open_clip(prefix: &'static str, projected: bool, all: &HashMap<String, Tensor>) -> Result<Part> {
    let keys = Keys::under(prefix, all);
    let there = keys.count(|i| format!("transformer.resblocks.{i}.mlp.c_fc.weight"));
    let width = keys.dim("token_embedding.weight", 1)?;
    let all_run = projected || (width, there) == (TWO_WIDTH, TWO_LAYERS);
    let layers = if all_run { there } else { there.saturating_sub(1) };
    let linear = keys.has("text_projection.weight");
    let facts = Facts {
        words: keys.dim("token_embedding.weight", 0)?,
        positions: keys.dim("positional_embedding", 0)?,
        width,
        inner: keys.dim("transformer.resblocks.0.mlp.c_fc.weight", 0)?,
        layers,
        activation: "gelu",
        pad: 0,
        projection: match (projected, linear) {
            (false, _) => None,
            (true, true) => Some(keys.dim("text_projection.weight", 0)?),
            (true, false) => Some(keys.dim(PROJECTION, 1)?),
        },
    };
    let mut modules = Modules::default();
    for (old, new) in EMBEDDINGS {
        modules.add(old, new);
    }
    for i in 0..layers {
        modules.add_parts(&format!("transformer.resblocks.{i}"), &format!("text_model.encoder.layers.{i}"), &LAYER);
    }
    let mut tensors = HashMap::new();
    for (name, tensor) in keys.iter().filter(|(name, _)| !is_left_out(name, layers, projected)) {
        if let Some(parts) = split(name, tensor, width)? {
            tensors.extend(parts);
        } else if name == "positional_embedding" {
            tensors.insert("text_model.embeddings.position_embedding.weight".into(), tensor.clone());
        } else if name == PROJECTION {
            tensors.insert(format!("{PROJECTION}.weight"), transposed(tensor)?);
        } else {
            tensors.insert(modules.rename(name).unwrap_or_else(|| keys.full(name)), tensor.clone());
        }
    }
    facts.part(tensors)
}

/// Returns true for a tensor that only training uses, or that the UNet does not need.
fn is_left_out(name: &str, layers: usize, projected: bool) -> bool {
    let layer = || name.strip_prefix("transformer.resblocks.")?.split('.').next()?.parse::<usize>().ok();
    name == "logit_scale"
        || name == "attn_mask"
        || (!projected && name.starts_with(PROJECTION))
        || layer().is_some_and(|layer| layer >= layers)
}

/// Returns the three projections that OpenCLIP stores in one tensor, concatenated.
fn split(name: &str, tensor: &Tensor, width: usize) -> Result<Option<[(String, Tensor); 3]>> {
    let fused = |end: &str| name.strip_prefix("transformer.resblocks.")?.strip_suffix(end);
    let (layer, kind) = match (fused(".attn.in_proj_weight"), fused(".attn.in_proj_bias")) {
        (Some(layer), _) => (layer, "weight"),
        (_, Some(layer)) => (layer, "bias"),
        (None, None) => return Ok(None),
    };
    if tensor.shape.first() != Some(&(3 * width)) {
        let text = format!(
            "tensor {name:?}: got shape {:?}, expected {} rows (queries, keys and values)",
            tensor.shape,
            3 * width
        );
        return Err(Error::new(ErrorKind::BadModel, text));
    }
    let mut shape = tensor.shape.clone();
    if let Some(rows) = shape.first_mut() {
        *rows = width;
    }
    let len = tensor.len / 3;
    Ok(Some([("q", 0), ("k", 1), ("v", 2)].map(|(part, index)| {
        let start = tensor.start + tensor.bytes_of_rows(index * width);
        let own = Tensor { shape: shape.clone(), start, len, ..tensor.clone() };
        (format!("text_model.encoder.layers.{layer}.self_attn.{part}_proj.{kind}"), own)
    })))
}

fn transposed(tensor: &Tensor) -> Result<Tensor> {
    let &[rows, columns] = tensor.shape.as_slice() else {
        let text = format!("tensor {PROJECTION:?}: got shape {:?}, expected 2 dimensions", tensor.shape);
        return Err(Error::new(ErrorKind::BadModel, text));
    };
    Ok(Tensor { shape: vec![columns, rows], transposed: true, ..tensor.clone() })
}
