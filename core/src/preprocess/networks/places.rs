//! Locations of the weights of processors.

use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};
use crate::load::{ModelSource, WeightFiles};

/// ControlNet's authors' collection.
pub(super) const ANNOTATORS: &str = "lllyasviel/Annotators";

/// A file in the folder of a model id.
pub(super) type Place<'a> = (&'a str, &'a str);

/// Finds files of weights.
#[derive(Debug)]
pub(super) struct Places {
    source: ModelSource,
}

impl Places {
    pub(super) fn new(source: ModelSource) -> Self {
        Self { source }
    }

    /// Opens the first existing one of `places`; `None` if none exists.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for an invalid model id, `Unsupported` for a pickled file, `BadModel` for a broken one.
    pub(super) fn find(&self, places: &[Place<'_>]) -> Result<Option<Arc<WeightFiles>>> {
        for (id, file) in places {
            match self.source.weights(&id.parse()?, file) {
                Ok(weights) => return Ok(Some(Arc::new(weights))),
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Opens the first existing one of `places`.
    ///
    /// # Errors
    ///
    /// Like [`find`](Self::find), and `NotFound` naming all of them and where was looked for the first.
    pub(super) fn require(&self, places: &[Place<'_>]) -> Result<Arc<WeightFiles>> {
        if let Some(found) = self.find(places)? {
            return Ok(found);
        }
        let all: Vec<String> = places.iter().map(|(id, file)| format!("{id}/{file}")).collect();
        let why = match places.first() {
            Some((id, file)) => self.source.weights(&id.parse()?, file).err().map(|error| error.to_string()),
            None => None,
        };
        let text = format!("model files: missing, expected one of {}: {}", all.join(", "), why.unwrap_or_default());
        Err(Error::new(ErrorKind::NotFound, text))
    }
}
