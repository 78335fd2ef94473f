//! Where an executor gets weights from, and where it keeps what it made of them.

use std::any::Any;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::Result;

/// Weights by their checkpoint names: a file, several shards, or random numbers.
pub trait WeightSource: Send + Sync {
    /// The shape of `name`, outermost first; `None` where there is no such weight.
    fn shape(&self, name: &str) -> Option<Vec<usize>>;

    /// The numbers of `name`, outermost first, whatever type the file has them in.
    ///
    /// # Errors
    ///
    /// `BadModel` where `name` is missing or does not have `shape`.
    fn read(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>>;
}

/// The weights of one network: their source, and their packed forms, shared by every plan made over them.
pub struct Weights {
    source: Arc<dyn WeightSource>,
    packed: Mutex<HashMap<String, Arc<dyn Any + Send + Sync>>>,
}

impl Weights {
    /// Weights out of `source`; nothing is read yet.
    pub fn new(source: Arc<dyn WeightSource>) -> Self {
        Self { source, packed: Mutex::new(HashMap::new()) }
    }

    /// Where they come from.
    pub fn source(&self) -> &dyn WeightSource {
        &*self.source
    }

    /// What was packed under `key`, or what `make` packs now. A key names weight and layout, and always has the same
    /// type behind it.
    ///
    /// # Errors
    ///
    /// Those of `make`.
    pub fn packed<T: Send + Sync + 'static>(&self, key: &str, make: impl FnOnce() -> Result<T>) -> Result<Arc<T>> {
        let found = self.packed.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned();
        if let Some(found) = found.and_then(|found| found.downcast::<T>().ok()) {
            return Ok(found);
        }
        let made = Arc::new(make()?);
        self.packed.lock().unwrap_or_else(PoisonError::into_inner).insert(key.to_owned(), made.clone());
        Ok(made)
    }
}

impl fmt::Debug for Weights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Weights").finish_non_exhaustive()
    }
}
