//! Checkpoints in one file, with the tensor names of the original Stable Diffusion code.
//!
//! Family, configs and the diffusers name of every tensor are determined from the names and shapes in the header. Each
//! network is then a view of the same open file.

mod family;
mod keys;
mod text;
mod tokenizer;
mod unet;
mod vae;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};

use self::family::{FileLayout, TextFormat, family_of, layout};
use super::bytes::Bytes;
use super::calibration::Calibration;
use super::component::{Component, TokenizerFiles};
use super::header::{Fingerprint, Tensor};
use super::tensors::Tensors;
use super::weight_names::preferred;
use super::weights::{WeightFiles, listed};
use crate::error::{Error, ErrorKind, Result};
use crate::families::ModelFamily;

/// The prefix of each network's names.
const UNET: &str = "model.diffusion_model.";
const VAE: &str = "first_stage_model.";
const CLIP: &str = "cond_stage_model.transformer.";
const OPEN_CLIP: &str = "cond_stage_model.model.";
const CLIP_XL: &str = "conditioner.embedders.0.transformer.";
const OPEN_CLIP_XL: &str = "conditioner.embedders.1.model.";

/// A checkpoint in one file.
#[derive(Debug, Clone)]
pub(super) struct SingleFile {
    path: PathBuf,
    bytes: Arc<Bytes>,
    /// The digest of what describes the tensors of a pickled file.
    pickled: Option<Fingerprint>,
    layout: &'static FileLayout,
    parts: BTreeMap<&'static str, Arc<Part>>,
}

/// One network: its class, its config, and its tensors by their diffusers names.
#[derive(Debug)]
struct Part {
    class: &'static str,
    config: Value,
    tensors: HashMap<String, Tensor>,
}

impl SingleFile {
    /// Reads the header of `path`, and determines the networks in it.
    ///
    /// # Errors
    ///
    /// `Unsupported` naming what it is instead, `NotFound` for a missing network, `BadModel` for a broken file.
    pub(super) fn open(path: &Path) -> Result<Self> {
        Self::read(path, Bytes::open(path)?)
    }

    /// Like [`open`](Self::open), for the `bytes` of the file.
    pub(super) fn read(path: &Path, bytes: Bytes) -> Result<Self> {
        let name = path.display().to_string();
        let Tensors { by_name: tensors, pickled } = Tensors::read(&bytes).map_err(|error| error.within(&name))?;
        let family = family_of(&tensors).map_err(|error| error.within(&name))?;
        let parts = parts(family, &tensors).map_err(|error| error.within(&name))?;
        Ok(Self { path: path.to_owned(), bytes: Arc::new(bytes), pickled, layout: layout(family), parts })
    }

    /// Returns the file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the classes of a pipeline of this family, by component.
    pub(super) fn classes(&self) -> BTreeMap<String, String> {
        let networks = self.parts.iter().map(|(&name, part)| (name, part.class));
        let tokenizers = self.layout.text_encoders.iter().map(|text| (text.tokenizer, "CLIPTokenizer"));
        let scheduler = [("scheduler", self.layout.scheduler)];
        networks.chain(tokenizers).chain(scheduler).map(|(name, class)| (name.to_owned(), class.to_owned())).collect()
    }

    /// Returns the network `name`, if the file has it.
    pub(super) fn component(&self, name: &str) -> Option<Component> {
        let part = self.parts.get(name)?;
        let tensors = Tensors { by_name: part.tensors.clone(), pickled: self.pickled };
        let weights = WeightFiles::view(self.path.display().to_string(), self.bytes.clone(), tensors);
        // Several files in one folder need separate derived files.
        let place = self.path.parent().map(|folder| (folder.to_owned(), format!("{}.{name}", self.stem())));
        let config = format!("{:#}\n", part.config);
        Some(Component { class: part.class.to_owned(), config, weights: Arc::new(weights), place })
    }

    /// Returns the text of a scheduler's config: the noise that the family was trained with.
    pub(super) fn scheduler_config(&self) -> String {
        let config = json!({
            "_class_name": self.layout.scheduler,
            "beta_end": 0.012,
            "beta_schedule": "scaled_linear",
            "beta_start": 0.00085,
            "num_train_timesteps": 1000,
            "prediction_type": prediction_type(&self.stem()),
            "set_alpha_to_one": false,
            "skip_prk_steps": true,
            "steps_offset": 1,
            "timestep_spacing": "leading",
        });
        format!("{config:#}\n")
    }

    /// Returns the text of a `model_index.json` for it.
    pub(super) fn index(&self) -> String {
        let mut index = json!({"_class_name": self.layout.pipeline});
        for (name, class) in self.classes() {
            let library = if class.starts_with("CLIP") { "transformers" } else { "diffusers" };
            index[name] = json!([library, class]);
        }
        if self.layout.text_encoders.len() > 1 {
            index["force_zeros_for_empty_prompt"] = true.into();
        } else {
            index["safety_checker"] = json!([null, null]);
            index["requires_safety_checker"] = false.into();
        }
        for without in ["feature_extractor", "image_encoder"] {
            index[without] = json!([null, null]);
        }
        format!("{index:#}\n")
    }

    /// Returns the files of `tokenizer` or `tokenizer_2`.
    pub(super) fn tokenizer(&self, name: &str) -> Result<TokenizerFiles> {
        let text = self.layout.text_encoders.iter().find(|text| text.tokenizer == name);
        let is_clip = text.is_some_and(|text| text.format == TextFormat::Clip);
        tokenizer::clip(if is_clip { tokenizer::CLIP_PAD } else { tokenizer::OPEN_CLIP_PAD })
    }

    /// Returns the path of the calibration file: next to it, with its name.
    pub(super) fn calibration_path(&self) -> PathBuf {
        self.path.with_file_name(format!("{}.{}", self.stem(), Calibration::FILE))
    }

    /// Returns a notice of assumed properties, which no tensor determines.
    pub(super) fn notice(&self) -> Option<String> {
        (!self.layout.has_prediction).then(|| {
            format!(
                "{} does not state whether it predicts noise or velocity (v_prediction, as Stable Diffusion 2.x at 768 \
                 pixels does); the prediction of noise is assumed",
                self.path.display()
            )
        })
    }

    fn stem(&self) -> String {
        self.path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
    }
}

/// Returns what the UNet of a file with this name predicts. Nothing in the file says so; `_x0` at the end of the name means
/// the clean sample, as in `sdxl_lightning_1step_x0.safetensors`.
fn prediction_type(stem: &str) -> &'static str {
    if stem.ends_with("_x0") { "sample" } else { "epsilon" }
}

/// Returns the networks of a file. The autoencoder may be missing: a stream can be given another.
fn parts(family: ModelFamily, tensors: &HashMap<String, Tensor>) -> Result<BTreeMap<&'static str, Arc<Part>>> {
    let layout = layout(family);
    let mut parts = BTreeMap::new();
    let mut pooled = None;
    for text in layout.text_encoders {
        let part = match text.format {
            TextFormat::Clip => text::clip(text.prefix, tensors)?,
            TextFormat::OpenClip { projected } => text::open_clip(text.prefix, projected, tensors)?,
        };
        pooled = part.config["projection_dim"].as_u64().and_then(|dim| usize::try_from(dim).ok());
        parts.insert(text.component, Arc::new(part));
    }
    parts.insert("unet", Arc::new(unet::part(family, pooled, tensors)?));
    if tensors.keys().any(|name| name.starts_with(VAE)) {
        parts.insert("vae", Arc::new(vae::part(layout, tensors)?));
    }
    Ok(parts)
}

/// Returns the checkpoint in `path` that is one large file; `None` if it has the parts of a diffusers folder, or
/// none.
///
/// # Errors
///
/// `InvalidArgument` if there are several.
pub(super) fn lone_file(path: &Path) -> Result<Option<PathBuf>> {
    if path.is_file() {
        return Ok(Some(path.to_owned()));
    }
    if path.join("unet").is_dir() || path.join("config.json").is_file() {
        return Ok(None);
    }
    match files(path).as_slice() {
        [] => Ok(None),
        [file] => Ok(Some(file.clone())),
        several => {
            let names: Vec<String> = several.iter().map(|file| file.display().to_string()).collect();
            let text = format!(
                "{}: got {} checkpoints in single files, expected one; use the path of one of them: {}",
                path.display(),
                several.len(),
                listed(&names)
            );
            Err(Error::new(ErrorKind::InvalidArgument, text))
        }
    }
}

/// Returns true for a tensor that such files have and diffusers does not use.
pub(super) fn is_unknown(name: &str) -> bool {
    [UNET, VAE, CLIP, OPEN_CLIP, CLIP_XL, OPEN_CLIP_XL].iter().any(|prefix| name.starts_with(prefix))
}

/// Returns true if the folder `path` has one file of weights and no other folder.
pub(super) fn is_alone(path: &Path) -> bool {
    let folders = || std::fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
    files(path).len() == 1 && !folders().any(|path| path.is_dir() && !is_hidden(&path))
}

/// Returns true if `path` is a file, or a folder that contains checkpoints in files, including pickled ones.
pub(super) fn holds_any(path: &Path) -> bool {
    path.is_file() || !files(path).is_empty()
}

/// Returns true if a folder's name begins with a dot, such as that of the packed weights of a model.
fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}

/// Returns the safetensors files in the folder `path`, or else the pickled ones, sorted.
fn files(path: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut files = preferred(entries.filter(|file| file.is_file()).collect());
    files.sort_unstable();
    files
}

#[cfg(test)]
mod tests;
