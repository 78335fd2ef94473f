//! A checkpoint: a diffusers folder (`model_index.json` and the components in it, each with its config and its
//! weights), or a single file.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::Value;

use super::calibration::Calibration;
use super::component::{Component, MAX_CONFIG, TokenizerFiles, read_component, read_tokenizer};
use super::single::{self, SingleFile};
use super::storage::Storage;
use crate::error::{Error, ErrorKind, Result};
#[cfg(feature = "demo-model")]
use crate::params::DEMO_MODEL;

const INDEX: &str = "model_index.json";
/// The folder of the demo model among the built-in files.
#[cfg(feature = "demo-model")]
const DEMO_FOLDER: &str = "dreamframe-tiny";

/// A checkpoint: a diffusers folder, or a single file with the names of the original Stable Diffusion 1.x, 2.x or XL.
///
/// Opening reads `model_index.json` of a folder, or the header of a file; weights are read later.
#[derive(Debug, Clone)]
pub struct Checkpoint {
    layout: Layout,
    classes: BTreeMap<String, String>,
}

#[derive(Debug, Clone)]
enum Layout {
    Folder(Storage),
    Single(SingleFile),
}

impl Checkpoint {
    /// Opens the embedded demo model.
    ///
    /// ```
    /// use dreamframe::load::Checkpoint;
    ///
    /// # fn main() -> dreamframe::Result<()> {
    /// let checkpoint = Checkpoint::demo()?;
    /// assert_eq!(checkpoint.class("unet"), Some("UNet2DConditionModel"));
    /// assert!(checkpoint.component("unet")?.weights.names().count() > 0);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// `BadModel` if the embedded files are invalid.
    #[cfg(feature = "demo-model")]
    pub fn demo() -> Result<Self> {
        Self::read(Storage::BuiltIn(DEMO_FOLDER))
    }

    /// Opens a folder that has a `model_index.json`, a checkpoint in a single file, or a folder that contains one of those.
    ///
    /// # Errors
    ///
    /// `NotFound` if there is none, `BadModel` if it is invalid, `Unsupported` if it is something else, which the text
    /// names (a LoRA, an inpainting model, a pickled file …), `InvalidArgument` if the folder has several.
    pub fn folder(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        if !path.join(INDEX).is_file()
            && let Some(file) = single::lone_file(&path)?
        {
            let single = SingleFile::open(&file)?;
            return Ok(Self { classes: single.classes(), layout: Layout::Single(single) });
        }
        Self::read(Storage::Folder(path))
    }

    fn read(storage: Storage) -> Result<Self> {
        let index = storage.read_text(INDEX, MAX_CONFIG)?;
        let name = storage.describe(INDEX);
        let index: serde_json::Map<String, Value> = serde_json::from_str(&index).map_err(|error| {
            Error::new(ErrorKind::BadModel, format!("{name}: invalid JSON object: {error}")).with_source(error)
        })?;
        let mut classes = BTreeMap::new();
        for (component, entry) in index {
            // A component is `[library, class]`, or `[null, null]` if the pipeline omits it; other entries are
            // settings.
            if let Some([Value::String(_), Value::String(class)]) = entry.as_array().map(Vec::as_slice) {
                classes.insert(component, class.clone());
            }
        }
        if classes.is_empty() {
            return Err(Error::new(ErrorKind::BadModel, format!("{name}: got no component, expected at least one")));
        }
        Ok(Self { layout: Layout::Folder(storage), classes })
    }

    /// Returns its path, or the name of an embedded model, for messages.
    pub fn location(&self) -> String {
        match &self.layout {
            Layout::Folder(Storage::Folder(folder)) => folder.display().to_string(),
            #[cfg(feature = "demo-model")]
            Layout::Folder(Storage::BuiltIn(_)) => DEMO_MODEL.to_owned(),
            Layout::Single(file) => file.path().display().to_string(),
        }
    }

    /// Returns true if it is the embedded model.
    pub(crate) fn is_demo(&self) -> bool {
        matches!(&self.layout, Layout::Folder(storage) if storage.folder().is_none())
    }

    /// Returns a notice of the properties that are assumed, because the files do not determine them.
    pub fn notice(&self) -> Option<String> {
        self.single().and_then(SingleFile::notice)
    }

    /// Returns the single-file checkpoint, if it is one.
    pub(super) fn single(&self) -> Option<&SingleFile> {
        match &self.layout {
            Layout::Single(file) => Some(file),
            Layout::Folder(_) => None,
        }
    }

    /// Returns the components and their classes, by name.
    pub fn classes(&self) -> &BTreeMap<String, String> {
        &self.classes
    }

    /// Returns the class of a component; `None` if the pipeline does not have it.
    pub fn class(&self, component: &str) -> Option<&str> {
        self.classes.get(component).map(String::as_str)
    }

    /// Reads a component's config and the headers of its weights.
    ///
    /// # Errors
    ///
    /// `NotFound` with the paths that were tried, `Unsupported` if there are only pickled files, `BadModel` for an
    /// invalid file.
    pub fn component(&self, name: &str) -> Result<Component> {
        let class = self.required_class(name)?.to_owned();
        match &self.layout {
            Layout::Folder(storage) => read_component(storage, name, Some(class)),
            Layout::Single(file) => file.component(name).ok_or_else(|| {
                let what = format!("component {}: got class {class}, expected a network with weights", name);
                Error::new(ErrorKind::InvalidArgument, what)
            }),
        }
    }

    /// Returns the text of the scheduler's config.
    ///
    /// # Errors
    ///
    /// `NotFound` if there is none, `BadModel` if it is not text.
    pub fn scheduler_config(&self) -> Result<String> {
        self.required_class("scheduler")?;
        match &self.layout {
            Layout::Folder(storage) => storage.read_text("scheduler/scheduler_config.json", MAX_CONFIG),
            Layout::Single(file) => Ok(file.scheduler_config()),
        }
    }

    /// Reads how the UNet is quantized to int8; `None` if it was not calibrated.
    ///
    /// # Errors
    ///
    /// Those of [`Calibration::read`].
    pub fn calibration(&self) -> Result<Option<Calibration>> {
        match &self.layout {
            Layout::Folder(storage) => {
                let there = storage.has_file(Calibration::FILE);
                there.then(|| Calibration::inside(storage, Calibration::FILE)).transpose()
            }
            Layout::Single(file) => {
                let path = file.calibration_path();
                path.is_file().then(|| Calibration::read(&path)).transpose()
            }
        }
    }

    /// Returns the path that [`calibration`](Self::calibration) reads; `None` for the embedded model.
    pub fn calibration_path(&self) -> Option<PathBuf> {
        match &self.layout {
            Layout::Folder(storage) => Some(storage.folder()?.join(Calibration::FILE)),
            Layout::Single(file) => Some(file.calibration_path()),
        }
    }

    /// Reads the files of `tokenizer` or `tokenizer_2`.
    ///
    /// # Errors
    ///
    /// `NotFound` with the paths that were tried, `BadModel` for a file that is too long or not text.
    pub fn tokenizer(&self, name: &str) -> Result<TokenizerFiles> {
        self.required_class(name)?;
        match &self.layout {
            Layout::Folder(storage) => read_tokenizer(storage, name),
            Layout::Single(file) => file.tokenizer(name),
        }
    }

    fn required_class(&self, name: &str) -> Result<&str> {
        self.class(name).ok_or_else(|| {
            let there: Vec<&str> = self.classes.keys().map(String::as_str).collect();
            let index = match &self.layout {
                Layout::Folder(storage) => storage.describe(INDEX),
                Layout::Single(file) => file.path().display().to_string(),
            };
            let what = format!("component {name} of {index}: missing; components are {}", there.join(", "));
            Error::new(ErrorKind::NotFound, what)
        })
    }
}

#[cfg(all(test, feature = "demo-model"))]
mod tests {
    use super::*;
    use crate::net::WeightSource;

    #[test]
    fn the_demo_model_has_every_part_of_a_pipeline() {
        let demo = Checkpoint::demo().unwrap();
        for (component, class, weight, shape) in [
            ("unet", "UNet2DConditionModel", "conv_in.weight", &[96, 16, 3, 3][..]),
            ("vae", "AutoencoderTiny", "decoder.layers.0.weight", &[32, 16, 3, 3]),
            ("text_encoder", "CLIPTextModel", "text_model.embeddings.token_embedding.weight", &[3514, 128]),
        ] {
            let component = demo.component(component).unwrap();
            assert_eq!(component.class, class);
            let numbers = component.weights.read(weight, shape).unwrap();
            assert!(numbers.iter().any(|&x| x != 0.0));
            for name in component.weights.names() {
                let shape = component.weights.shape(name).unwrap();
                component.weights.read(name, &shape).unwrap();
            }
        }
        assert!(demo.scheduler_config().unwrap().contains("LCMScheduler"));
        assert!(demo.tokenizer("tokenizer").unwrap().vocab.is_some());
        let error = demo.component("text_encoder_2").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(error.to_string().contains("missing; components are scheduler, text_encoder"), "{error}");
    }

    #[test]
    fn folder_and_embedded_model_are_equal() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/demo/dreamframe-tiny");
        let (folder, demo) = (Checkpoint::folder(path).unwrap(), Checkpoint::demo().unwrap());
        assert_eq!(folder.classes(), demo.classes());
        let weight = |checkpoint: &Checkpoint| {
            checkpoint.component("unet").unwrap().weights.read("conv_in.weight", &[96, 16, 3, 3]).unwrap()
        };
        assert_eq!(weight(&folder), weight(&demo));
    }
}
