//! Resolution of model ids: the demo model, a folder or file, one of those in a directory, or the hub cache.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::bytes::Bytes;
use super::cache::HubCache;
use super::component::Component;
#[cfg(feature = "demo-model")]
use super::embedded;
use super::layout::Checkpoint;
use super::lora::LoraFile;
use super::portable_names::unportable_part;
use super::single;
use super::storage::Storage;
use super::weight_names::{PICKLED, SAFETENSORS, existing, is_weights};
use super::weights::{WeightFiles, listed};
use crate::error::{Error, ErrorKind, Result};
use crate::params::DEMO_MODEL;

/// Maximum length of a id, in bytes.
const MAX_ID: usize = 256;

/// The name of a model: `demo`, `name` or `organisation/name`, at most 256 bytes. Never a path out of a folder: parsing
/// returns `InvalidArgument` for empty parts, parts that start with `.`, parts that Windows reserves (such as `NUL`) or
/// that end in a dot or a space, and characters that are invalid in file names.
///
/// ```
/// use dreamframe::load::ModelId;
///
/// # fn main() -> dreamframe::Result<()> {
/// let id: ModelId = "stabilityai/sd-turbo".parse()?;
/// assert_eq!((id.as_str(), id.name()), ("stabilityai/sd-turbo", "sd-turbo"));
/// assert!("../secrets".parse::<ModelId>().is_err());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ModelId(String);

impl ModelId {
    /// Returns the whole id.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns true if it is the embedded model.
    pub fn is_demo(&self) -> bool {
        self.0 == DEMO_MODEL
    }

    /// Returns true if it is the embedded model, or a network that was trained for it and is embedded, too: a ControlNet, a
    /// LoRA or an IP-Adapter.
    pub fn is_built_in(&self) -> bool {
        self.is_demo() || self.built_in().is_some()
    }

    /// Returns the files of a network that is built in.
    #[cfg(feature = "demo-model")]
    pub(super) fn built_in(&self) -> Option<Storage> {
        // Other folders of built-in files have no ids.
        let is_companion = self.0.strip_prefix(DEMO_MODEL).is_some_and(|rest| rest.starts_with('-'));
        embedded::folder(&self.0).filter(|_| is_companion).map(Storage::BuiltIn)
    }

    #[cfg(not(feature = "demo-model"))]
    pub(super) fn built_in(&self) -> Option<Storage> {
        None
    }

    /// Splits `organisation/name/path`, a path inside a repository; `None` for an id without a path.
    pub(super) fn in_repository(&self) -> Option<(Self, &str)> {
        let at = self.0.match_indices('/').nth(1)?.0;
        let (repository, path) = self.0.split_at(at);
        Some((Self(repository.to_owned()), path.strip_prefix('/')?))
    }

    /// Returns the last part, without the organisation.
    pub fn name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }
}

impl FromStr for ModelId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let usable =
            |part: &str| !part.is_empty() && !part.starts_with('.') && !part.contains(|c: char| bad_in_path(c));
        let short: String = text.chars().take(80).collect();
        if text.len() <= MAX_ID && text.split('/').all(usable) {
            let Some(part) = unportable_part(text) else { return Ok(Self(text.to_owned())) };
            let what =
                format!("model id: got {part:?} in {short:?}, expected parts that are file names on Windows, too");
            return Err(Error::new(ErrorKind::InvalidArgument, what));
        }
        let what = format!(
            "model id: got {short:?}, expected `name` or `organisation/name` of at most {MAX_ID} bytes, without `..`, \
             backslashes or a leading `/` or `.`"
        );
        Err(Error::new(ErrorKind::InvalidArgument, what))
    }
}

impl fmt::Display for ModelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn bad_in_path(c: char) -> bool {
    c.is_control() || matches!(c, '\\' | ':' | '*' | '?' | '"' | '<' | '>' | '|')
}

/// The source of models.
///
/// ```
/// use dreamframe::load::HubCache;
/// use dreamframe::{Engine, ErrorKind, ModelSource, StreamDiffusionParams};
///
/// assert_eq!(ModelSource::from("demo"), ModelSource::Demo);
/// assert_eq!(ModelSource::from("/srv/models"), ModelSource::folder("/srv/models"));
/// let empty = ModelSource::Cache(HubCache::at("/nonexistent"));
/// // The default `model_id` is stabilityai/sd-turbo.
/// let build = Engine::builder().models(empty).params(StreamDiffusionParams::default()).build();
/// assert_eq!(build.unwrap_err().kind(), ErrorKind::NotFound);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ModelSource {
    /// The embedded demo model, for every `model_id`.
    Demo,
    /// A diffusers folder or a checkpoint in a single file, which is the base model for every `model_id`; or a
    /// directory of them. Models are searched in it and in the Hugging Face cache only.
    Folder(PathBuf),
    /// The Hugging Face cache; nothing is downloaded.
    Cache(HubCache),
    /// Networks of full size with random weights, for benchmarks: `sd-turbo-random`, `sdxl-turbo-random`, `sdxs-random`
    /// and others. Pictures are noise.
    Random(String),
}

/// A base model that was found.
#[derive(Debug)]
pub struct Found {
    /// The checkpoint of the model.
    pub checkpoint: Checkpoint,
    /// A notice for the user if the model is not the one that the id names, or if some of its properties were assumed.
    pub notice: Option<String>,
}

impl Found {
    fn new(checkpoint: Checkpoint, notice: Option<String>) -> Self {
        let notices: Vec<String> = notice.into_iter().chain(checkpoint.notice()).collect();
        Self { checkpoint, notice: (!notices.is_empty()).then(|| notices.join("; ")) }
    }
}

impl ModelSource {
    /// Returns the source of a diffusers folder, a checkpoint in a single file, or a directory of them. Reads nothing.
    pub fn folder(path: impl Into<PathBuf>) -> Self {
        Self::Folder(path.into())
    }

    /// Finds the base model that `id` names.
    ///
    /// # Errors
    ///
    /// `NotFound` with the places that were searched; those of [`Checkpoint::folder`].
    pub fn base(&self, id: &ModelId) -> Result<Found> {
        if let Self::Random(name) = self {
            return Err(Error::new(ErrorKind::NotFound, format!("{name} has random weights and no checkpoint")));
        }
        if let Self::Folder(folder) = self
            && (is_checkpoint(folder) || folder.is_file())
        {
            return itself(folder, id);
        }
        if *self == Self::Demo || id.is_demo() {
            let notice = (!id.is_demo()).then(|| format!("model_id {id} is ignored: the demo model is used"));
            return Ok(Found::new(demo()?, notice));
        }
        let alone = match self {
            Self::Folder(folder) if single::is_alone(folder) => Some(itself(folder, id)),
            Self::Folder(_) | Self::Cache(_) | Self::Demo | Self::Random(_) => None,
        };
        match (alone, self.search(id, &is_model)) {
            (Some(Ok(found)), _) => Ok(found),
            // The one file is something else, such as a LoRA.
            (_, Ok(folder)) => Ok(Found::new(Checkpoint::folder(folder)?, None)),
            (Some(Err(error)), Err(_)) | (None, Err(error)) => Err(error),
        }
    }

    /// Finds the network `id`: an autoencoder or a ControlNet. Built-in ones come first. A source that is a
    /// directory or a diffusers folder is searched next, then the Hugging Face cache; for a checkpoint in a single
    /// file, the cache only.
    ///
    /// # Errors
    ///
    /// `NotFound` with the places that were searched.
    pub(crate) fn network(&self, id: &ModelId) -> Result<Storage> {
        id.built_in().map_or_else(|| self.find(id).map(Storage::Folder), Ok)
    }

    /// Finds the folder `id`.
    ///
    /// # Errors
    ///
    /// `NotFound` with the places that were searched.
    pub(super) fn find(&self, id: &ModelId) -> Result<PathBuf> {
        self.search(id, &Path::is_dir)
    }

    /// Reads the LoRA `id`.
    ///
    /// # Errors
    ///
    /// Those of [`lora`](Self::lora) and [`LoraFile::read`].
    pub(crate) fn read_lora(&self, id: &ModelId) -> Result<LoraFile> {
        match id.built_in() {
            Some(storage) => LoraFile::built_in(&storage),
            None => LoraFile::read(&self.lora(id)?),
        }
    }

    /// Finds the LoRA or file of img2img-turbo `id`: a folder, a `.safetensors` or pickled file (with or without that
    /// ending), or
    /// `organisation/name/file.safetensors` for one file of several in the hub cache.
    ///
    /// # Errors
    ///
    /// `NotFound` with the places that were searched.
    pub(super) fn lora(&self, id: &ModelId) -> Result<PathBuf> {
        let file = |place: &Path| existing(&place.with_file_name(format!("{}.{SAFETENSORS}", file_name(place))));
        let mut places: Vec<PathBuf> = self
            .places(id)
            .into_iter()
            .flat_map(|place| file(&place).into_iter().chain([place]))
            .filter(|place| place.exists())
            .collect();
        if places.is_empty()
            && let Some((repository, name)) = id.in_repository()
            && is_weights(Path::new(name))
        {
            places.extend(self.places(&repository).iter().map(|place| place.join(name)).find(|file| file.is_file()));
        }
        match places.into_iter().next() {
            Some(found) => Ok(found),
            None => self.search(id, &|_| false),
        }
    }

    /// Finds a file of weights or a folder, `id`; in place of a missing file, one of the same name with another ending of
    /// weights.
    ///
    /// # Errors
    ///
    /// `NotFound` with the places that were searched.
    pub(super) fn file_or_folder(&self, id: &ModelId) -> Result<PathBuf> {
        let named = self.lora(id);
        let path = Path::new(id.as_str());
        if named.is_ok() || !is_weights(path) {
            return named;
        }
        let others = [SAFETENSORS].iter().chain(&PICKLED).filter_map(|ending| {
            let id: ModelId = path.with_extension(ending).to_str()?.parse().ok()?;
            self.lora(&id).ok()
        });
        others.into_iter().next().map_or(named, Ok)
    }

    /// Opens the file of weights `id`, or the file `name` in the folder `id`; in place of either, a pickled file of the
    /// same name.
    ///
    /// # Errors
    ///
    /// `NotFound` with the places that were searched, `BadModel` for an invalid file, `Unsupported` for one with more
    /// than tensors.
    pub(crate) fn file_or_weights(&self, id: &ModelId, name: &str) -> Result<WeightFiles> {
        let place = self.file_or_folder(id)?;
        let path = if place.is_dir() {
            existing(&place.join(name)).ok_or_else(|| {
                let what = format!("{}: missing, expected {name} or a pickled file of that name", place.display());
                Error::new(ErrorKind::NotFound, what)
            })?
        } else {
            place
        };
        WeightFiles::single(path.display().to_string(), Bytes::open(&path)?)
    }

    /// Opens the network `id`, which is alone in its folder, or built in.
    ///
    /// # Errors
    ///
    /// `NotFound` with the places that were searched, and those of [`Component::folder`].
    pub fn component(&self, id: &ModelId) -> Result<Component> {
        Component::alone(&self.network(id)?)
    }

    /// Opens the safetensors file `name`, or else a pickled file of that name, in the folder of `id`: a network without a
    /// config.
    ///
    /// # Errors
    ///
    /// `NotFound` with the places that were searched, `BadModel` for an invalid file, `Unsupported` for one with more than
    /// tensors.
    pub fn weights(&self, id: &ModelId, name: &str) -> Result<WeightFiles> {
        let file = |place: &Path| existing(&place.join(name));
        let folder = self.search(id, &|place| file(place).is_some());
        let path = folder.map(|folder| file(&folder).unwrap_or_else(|| folder.join(name)));
        let path = path.map_err(|missing| missing.within(format_args!("file {name}")))?;
        WeightFiles::single(path.display().to_string(), Bytes::open(&path)?)
    }

    fn search(&self, id: &ModelId, fits: &dyn Fn(&Path) -> bool) -> Result<PathBuf> {
        let places = self.places(id);
        if let Some(found) = places.iter().find(|place| fits(place)) {
            return Ok(found.clone());
        }
        let tried: Vec<String> = places.iter().map(|place| place.display().to_string()).collect();
        let what = if tried.is_empty() {
            format!("model {id} not found: no folder of models is set")
        } else {
            format!("model {id} not found: tried {}", listed(&tried))
        };
        Err(Error::new(ErrorKind::NotFound, what))
    }

    /// Returns the possible folders of `id`, in order of preference.
    fn places(&self, id: &ModelId) -> Vec<PathBuf> {
        let cached = |cache: HubCache| cache.find(id).unwrap_or_else(|| cache.repository(id));
        match self {
            Self::Demo | Self::Random(_) => Vec::new(),
            Self::Cache(cache) => vec![cached(cache.clone())],
            Self::Folder(folder) => {
                let mut places = Vec::new();
                if !folder.is_file() {
                    places.extend([
                        folder.join(id.as_str()),
                        folder.join(id.as_str().replace('/', "--")),
                        cached(HubCache::at(folder)),
                        folder.join(id.name()),
                    ]);
                    for ending in [SAFETENSORS].iter().chain(&PICKLED) {
                        places.extend([id.as_str(), id.name()].map(|name| folder.join(format!("{name}.{ending}"))));
                    }
                }
                places.extend(HubCache::from_env().map(cached));
                places.dedup();
                places
            }
        }
    }
}

impl From<&str> for ModelSource {
    /// `demo` is the embedded model; any other text is the path of a folder.
    fn from(text: &str) -> Self {
        if text == DEMO_MODEL { Self::Demo } else { Self::folder(text) }
    }
}

/// Returns the checkpoint at `path`, whatever `id` is.
fn itself(path: &Path, id: &ModelId) -> Result<Found> {
    let named = if path.is_file() { path.file_stem() } else { path.file_name() };
    let same = named.is_some_and(|name| name == id.name());
    let notice = (!same).then(|| format!("model_id {id} is ignored: {} is itself a model", path.display()));
    Ok(Found::new(Checkpoint::folder(path)?, notice))
}

fn file_name(path: &Path) -> String {
    path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

fn is_checkpoint(path: &Path) -> bool {
    path.join("model_index.json").is_file()
}

/// Returns true if a folder looks like a model, so that its errors are reported instead of searching further.
fn is_model(path: &Path) -> bool {
    is_checkpoint(path) || path.join("unet").is_dir() || single::holds_any(path)
}

#[cfg(feature = "demo-model")]
fn demo() -> Result<Checkpoint> {
    Checkpoint::demo()
}

#[cfg(not(feature = "demo-model"))]
fn demo() -> Result<Checkpoint> {
    Err(Error::new(ErrorKind::Unsupported, "the demo model is not built in: build with the feature `demo-model`"))
}

#[cfg(test)]
mod tests;
