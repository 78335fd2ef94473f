//! The components of a checkpoint: networks with their config and weights, and the files of tokenizers.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::Value;

use super::storage::Storage;
use super::weight_names::SAFETENSORS;
use super::weights::{WeightFiles, listed};
use crate::error::{Error, ErrorKind, Result};

/// Maximum length of a config, in bytes; known ones have 2 kB.
pub(super) const MAX_CONFIG: u64 = 1 << 20;
/// Maximum size of a tokenizer file, in bytes; CLIP's have 2 MB.
const MAX_TOKENIZER_FILE: u64 = 32 << 20;
/// Longest index of shards, in bytes.
const MAX_SHARD_INDEX: u64 = 32 << 20;
/// The base names of weight files: in diffusers, and in transformers.
pub(super) const WEIGHT_NAMES: [&str; 2] = ["diffusion_pytorch_model", "model"];
/// Suffixes of the names; full precision first, because everything is computed in `f32`.
const VARIANTS: [&str; 3] = ["", ".fp16", ".bf16"];
/// The same of pickled files, and their ending.
pub(super) const PICKLED_NAMES: [&str; 2] = ["diffusion_pytorch_model", "pytorch_model"];
pub(super) const PICKLED_ENDING: &str = "bin";
/// The name of a component that is alone in its folder.
const ALONE: &str = "weights";

/// One network of a checkpoint.
#[derive(Debug, Clone)]
pub struct Component {
    /// Its class: `UNet2DConditionModel`, `AutoencoderKL`, `CLIPTextModel` …
    pub class: String,
    /// The text of its `config.json`.
    pub config: String,
    /// Its weights.
    pub weights: Arc<WeightFiles>,
    /// The folder of its model and its name there; `None` if it is not on disk.
    pub place: Option<(PathBuf, String)>,
}

/// The files of a tokenizer: `json`, or both `vocab` and `merges`.
#[derive(Debug, Clone, Default)]
pub struct TokenizerFiles {
    /// `tokenizer.json`: all in one.
    pub json: Option<String>,
    /// `vocab.json`: tokens and their ids.
    pub vocab: Option<String>,
    /// `merges.txt`: pairs that are merged into one token, most frequent first.
    pub merges: Option<String>,
    /// `tokenizer_config.json`.
    pub config: Option<String>,
    /// `special_tokens_map.json`.
    pub special_tokens: Option<String>,
}

impl Component {
    /// Opens a network that is alone in a folder, such as a ControlNet or a tiny autoencoder.
    ///
    /// # Errors
    ///
    /// Those of [`Checkpoint::component`](super::Checkpoint::component); also `BadModel` if its config names no class.
    pub fn folder(path: impl Into<PathBuf>) -> Result<Self> {
        Self::alone(&Storage::Folder(path.into()))
    }

    /// Like [`folder`](Self::folder), of a folder or of built-in files.
    pub(crate) fn alone(storage: &Storage) -> Result<Self> {
        read_component(storage, "", None)
    }
}

/// Reads the files of the tokenizer `name`.
pub(super) fn read_tokenizer(storage: &Storage, name: &str) -> Result<TokenizerFiles> {
    let optional = |file: &str, limit: u64| -> Result<Option<String>> {
        let path = format!("{name}/{file}");
        storage.has_file(&path).then(|| storage.read_text(&path, limit)).transpose()
    };
    let mut files = TokenizerFiles {
        json: None,
        vocab: optional("vocab.json", MAX_TOKENIZER_FILE)?,
        merges: optional("merges.txt", MAX_TOKENIZER_FILE)?,
        config: optional("tokenizer_config.json", MAX_CONFIG)?,
        special_tokens: optional("special_tokens_map.json", MAX_CONFIG)?,
    };
    if files.vocab.is_none() || files.merges.is_none() {
        files.json = optional("tokenizer.json", MAX_TOKENIZER_FILE)?;
    }
    if files.json.is_none() && (files.vocab.is_none() || files.merges.is_none()) {
        let what =
            format!("no tokenizer in {}: tried vocab.json with merges.txt, and tokenizer.json", storage.describe(name));
        return Err(Error::new(ErrorKind::NotFound, what));
    }
    Ok(files)
}

/// Reads a component out of `folder` (`""` for the root). Without a `class`, the config must name it.
pub(super) fn read_component(storage: &Storage, folder: &str, class: Option<String>) -> Result<Component> {
    let inside = |file: &str| if folder.is_empty() { file.to_owned() } else { format!("{folder}/{file}") };
    let path = inside("config.json");
    let config = storage.read_text(&path, MAX_CONFIG)?;
    let bad = |text: String| Error::new(ErrorKind::BadModel, format!("{}: {text}", storage.describe(&path)));
    let parsed: serde_json::Map<String, Value> = serde_json::from_str(&config)
        .map_err(|error| bad(format!("invalid JSON object: {error}")).with_source(error))?;
    let own_class = parsed.get("_class_name").or_else(|| parsed.get("architectures")?.get(0)).and_then(Value::as_str);
    let class = match (class, own_class) {
        (Some(class), _) => class,
        (None, Some(class)) => class.to_owned(),
        (None, None) => return Err(bad("class: missing, expected _class_name or architectures".into())),
    };
    let name = if folder.is_empty() { ALONE } else { folder };
    let place = storage.folder().map(|root| (root.to_owned(), name.to_owned()));
    Ok(Component { class, config, weights: Arc::new(open_weights(storage, &inside)?), place })
}

/// Opens the first existing file of weights: safetensors, or else pickled.
fn open_weights(storage: &Storage, inside: &dyn Fn(&str) -> String) -> Result<WeightFiles> {
    let mut tried = Vec::new();
    for (names, ending) in [(WEIGHT_NAMES, SAFETENSORS), (PICKLED_NAMES, PICKLED_ENDING)] {
        for variant in VARIANTS {
            for name in names {
                let whole = inside(&format!("{name}{variant}.{ending}"));
                if storage.has_file(&whole) {
                    return WeightFiles::single(storage.describe(&whole), storage.open(&whole)?);
                }
                // Two spellings of a variant's index are in use.
                let indices =
                    [format!("{name}{variant}.{ending}.index.json"), format!("{name}.{ending}.index{variant}.json")];
                for index in indices.map(|index| inside(&index)) {
                    if storage.has_file(&index) {
                        return open_shards(storage, inside, &index);
                    }
                }
                tried.push(storage.describe(&whole));
            }
        }
    }
    Err(Error::new(ErrorKind::NotFound, format!("no weights: tried {}", listed(&tried))))
}

/// Opens the files that `index` names.
fn open_shards(storage: &Storage, inside: &dyn Fn(&str) -> String, index: &str) -> Result<WeightFiles> {
    let text = storage.read_text(index, MAX_SHARD_INDEX)?;
    WeightFiles::sharded(&storage.describe(index), text.as_bytes(), |shard| {
        let path = inside(shard);
        Ok((storage.describe(&path), storage.open(&path)?))
    })
}
