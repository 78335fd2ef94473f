//! Locations of the weights of processors.

use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};
use crate::load::{ModelSource, WeightFile, WeightFiles};

/// Finds weight files.
#[derive(Debug)]
pub(super) struct WeightLocator {
    source: ModelSource,
}

impl WeightLocator {
    pub(super) fn new(source: ModelSource) -> Self {
        Self { source }
    }

    /// Opens the first existing one of `files`; `None` if none exists.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for an invalid model id, `BadModel` for a broken file, `Unsupported` for one with more than
    /// tensors.
    pub(super) fn find(&self, files: &[WeightFile<'_>]) -> Result<Option<Arc<WeightFiles>>> {
        for (id, file) in files {
            match self.source.weights(&id.parse()?, file) {
                Ok(weights) => {
                    if let Some(notice) = weights.notice() {
                        tracing::info!("{notice}");
                    }
                    return Ok(Some(Arc::new(weights)));
                }
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Opens the first existing one of `files`.
    ///
    /// # Errors
    ///
    /// Like [`find`](Self::find), and `NotFound` with all of `files` and the folders that were searched for the first.
    pub(super) fn require(&self, files: &[WeightFile<'_>]) -> Result<Arc<WeightFiles>> {
        if let Some(found) = self.find(files)? {
            return Ok(found);
        }
        let all: Vec<String> = files.iter().map(|(id, file)| format!("{id}/{file}")).collect();
        let why = match files.first() {
            Some((id, file)) => self.source.weights(&id.parse()?, file).err().map(|error| error.to_string()),
            None => None,
        };
        let text = format!("model files: missing, expected one of {}: {}", all.join(", "), why.unwrap_or_default());
        Err(Error::new(ErrorKind::NotFound, text))
    }
}
