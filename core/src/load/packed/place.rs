//! Paths of the files of packed weights.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::super::cache::own_cache;

/// Where packed weights are stored between starts, so that a start need not read and pack a model again.
///
/// A file of packed weights may be removed at any time; the next start writes it again. It is used only for weight
/// files with the sizes, modification times and headers that it was made from, by the same version of this crate, for
/// the same instructions of the processor. It is authenticated with a random secret of the user,
/// `dreamframe/packed.key` in the user's cache, or `packed.key` in a named folder. A file that came with a model is
/// therefore not used.
///
/// ```
/// use dreamframe::{Engine, EngineOptions, PackedCache, StreamDiffusionParams};
///
/// # fn main() -> dreamframe::Result<()> {
/// let mut options = EngineOptions::default();
/// options.packed_cache = PackedCache::Off;
/// let params = StreamDiffusionParams { width: 64, height: 64, ..StreamDiffusionParams::demo() };
/// let engine = Engine::builder().params(params).options(options).build()?;
/// assert_eq!(engine.options().packed_cache, PackedCache::from("off"));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum PackedCache {
    /// In the folder `.dreamframe` of the model. If that cannot be written, is a symbolic link or belongs to another
    /// user, and for models in the Hugging Face cache, which other programs share, in `dreamframe/packed` of the user's
    /// cache: `XDG_CACHE_HOME`, or else `~/.cache`, on Windows `%LOCALAPPDATA%`, on macOS `~/Library/Caches`.
    #[default]
    Beside,
    /// Packed weights are not stored; they are packed at every start.
    Off,
    /// In this folder, with a folder for each model. Small networks and random weights are stored too. A user who can
    /// read `packed.key` there and write to the folder can change the weights that are used.
    Folder(PathBuf),
}

impl From<&str> for PackedCache {
    /// `beside` and `off` are the variants with these names; any other text is the path of a folder.
    fn from(text: &str) -> Self {
        match text {
            "beside" => Self::Beside,
            "off" => Self::Off,
            folder => Self::Folder(folder.into()),
        }
    }
}

/// The folder in a model's own folder.
const OWN: &str = ".dreamframe";

impl PackedCache {
    /// Returns the possible folders for the file of `model`, in order of preference.
    pub(super) fn folders(&self, model: &Path) -> Vec<PathBuf> {
        self.folders_by(model, |name| std::env::var_os(name))
    }

    /// Returns the folder of the secret.
    pub(super) fn secret_folder(&self) -> Option<PathBuf> {
        match self {
            Self::Off => None,
            Self::Folder(folder) => Some(folder.clone()),
            Self::Beside => own_cache(|name| std::env::var_os(name)),
        }
    }

    fn folders_by(&self, model: &Path, variable: impl Fn(&str) -> Option<OsString>) -> Vec<PathBuf> {
        match self {
            Self::Off => Vec::new(),
            Self::Folder(folder) => vec![folder.join(name_of(model))],
            Self::Beside => {
                let own = Some(model.join(OWN)).filter(|_| !is_in_hub_cache(model));
                let users = own_cache(variable).map(|cache| cache.join("packed").join(name_of(model)));
                own.into_iter().chain(users).collect()
            }
        }
    }
}

/// Returns true if a folder is a snapshot in the layout of the Hugging Face cache.
fn is_in_hub_cache(model: &Path) -> bool {
    let is_snapshots = |folder: &&Path| folder.file_name().is_some_and(|name| name == "snapshots");
    let repository = model.parent().filter(is_snapshots).and_then(Path::parent).and_then(Path::file_name);
    repository.is_some_and(|name| name.to_string_lossy().starts_with("models--"))
}

/// Returns a folder's name for a model: the model's name, and a hash of its path.
fn name_of(model: &Path) -> String {
    let whole = std::path::absolute(model).and_then(|path| path.canonicalize()).unwrap_or_else(|_| model.to_owned());
    let digest = Sha256::digest(whole.as_os_str().as_encoded_bytes());
    let mut name = whole.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    name.retain(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'));
    let start = name.len().min(64);
    name.truncate(start);
    name.push('-');
    for byte in digest.iter().take(8) {
        // Writing to a text cannot fail.
        write!(name, "{byte:02x}").ok();
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beside(model: &str, cache: Option<&str>) -> Vec<PathBuf> {
        PackedCache::Beside
            .folders_by(Path::new(model), |name| Some(cache.filter(|_| name == "XDG_CACHE_HOME")?.into()))
    }

    #[test]
    fn a_model_keeps_its_own_and_the_user_s_cache_has_the_rest() {
        let folders = beside("models/sd-turbo", Some("cache"));
        assert_eq!(folders[0], Path::new("models/sd-turbo/.dreamframe"));
        assert!(folders[1].starts_with("cache/dreamframe/packed"));
        assert!(folders[1].file_name().unwrap().to_str().unwrap().starts_with("sd-turbo-"));
        assert_eq!(beside("models/sd-turbo", None).len(), 1);
    }

    #[test]
    fn nothing_is_put_into_the_hub_s_cache() {
        let folders = beside("hub/models--org--name/snapshots/0123456789abcdef0123456789abcdef01234567", Some("cache"));
        assert!(folders.len() == 1 && folders[0].starts_with("cache"), "{folders:?}");
    }

    #[test]
    fn two_models_of_one_name_have_two_folders() {
        let cache = PackedCache::from("kept");
        let of = |model: &str| cache.folders(Path::new(model));
        assert_ne!(of("a/model"), of("b/model"));
        assert_eq!(of("a/model"), of("a/model"));
        assert!(PackedCache::from("off").folders(Path::new("a/model")).is_empty());
    }
}
