//! A further network that is one file of weights, without a config beside it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::bytes::Bytes;
use super::layout::Component;
use super::weights::{WeightFiles, told};
use crate::error::{Error, ErrorKind, Result};

impl Component {
    /// Opens the one safetensors file in a folder that has no `config.json`, as a network of `class`; its config is empty,
    /// for its tensors to tell. `None` where there is a config, or no such file.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` where there are several, naming them, and what opening reports.
    pub fn without_config(folder: &Path, class: &str) -> Result<Option<Self>> {
        if folder.join("config.json").is_file() {
            return Ok(None);
        }
        let entries = folder.read_dir().into_iter().flatten().flatten().map(|entry| entry.path());
        let mut files: Vec<PathBuf> =
            entries.filter(|file| file.is_file() && file.extension().is_some_and(|end| end == "safetensors")).collect();
        files.sort_unstable();
        let file = match files.as_slice() {
            [] => return Ok(None),
            [file] => file,
            several => {
                let names: Vec<String> = several.iter().map(|file| file.display().to_string()).collect();
                let text = format!("there is no config.json, and several files may be meant: {}", told(&names));
                return Err(Error::new(ErrorKind::InvalidArgument, text));
            }
        };
        let weights = WeightFiles::single(file.display().to_string(), Bytes::open(file)?)?;
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let place = Some((folder.to_owned(), name));
        Ok(Some(Self { class: class.to_owned(), config: String::new(), weights: Arc::new(weights), place }))
    }
}
