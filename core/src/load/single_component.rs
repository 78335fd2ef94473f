//! Components stored as a single weights file without a config.

use std::path::Path;
use std::sync::Arc;

use super::bytes::Bytes;
use super::component::Component;
use super::single;
use super::weights::WeightFiles;
use crate::error::Result;

impl Component {
    /// Opens the only safetensors or pickled file in a folder that has no `config.json`, as a network of `class`; its config is
    /// empty, and follows from its tensors. `None` if there is a config, or no such file.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` if there are several, naming them, and errors of opening.
    pub fn without_config(folder: &Path, class: &str) -> Result<Option<Self>> {
        let Some(file) = single::lone_file(folder)? else { return Ok(None) };
        let path = file.display().to_string();
        let weights = WeightFiles::single(path, Bytes::open(&file)?)?;
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let place = Some((folder.to_owned(), name));
        Ok(Some(Self { class: class.to_owned(), config: String::new(), weights: Arc::new(weights), place }))
    }
}
