//! Registry of the weights in use: several engines of a process share them, so that they are read and packed once. They are
//! freed with their last user.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::component::Component;
use super::header::Fingerprint;
use super::packed::{PackedCache, PackedFiles};
use crate::net::{Forms, WeightSource};

/// The identity of a component's weights.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Key {
    /// They determine how the weights are read.
    class: String,
    config: String,
    /// The path and the fingerprint of the files; `None` for the embedded demo model.
    files: Option<(PathBuf, String, Fingerprint)>,
    cache: PackedCache,
}

type Known = Vec<(Key, Weak<Forms>)>;

impl Key {
    /// `None` if the files have no fingerprint.
    fn new(component: &Component, cache: &PackedCache) -> Option<Self> {
        let files = match &component.place {
            None => None,
            Some((folder, name)) => {
                // The same folder by another path.
                let folder = folder.canonicalize().ok()?;
                Some((folder, name.clone(), component.weights.fingerprint()?))
            }
        };
        let (class, config) = (component.class.clone(), component.config.clone());
        Some(Self { class, config, files, cache: cache.clone() })
    }
}

fn known() -> MutexGuard<'static, Known> {
    static KNOWN: Mutex<Known> = Mutex::new(Vec::new());
    KNOWN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns the packed forms of a component's weights, read through `source`: those in use, if there are
/// any.
pub(crate) fn forms(component: &Component, source: Arc<dyn WeightSource>, cache: &PackedCache) -> Arc<Forms> {
    let make = || {
        let files = PackedFiles::of_component(component, cache);
        Arc::new(Forms::new(source, files.map(|files| Box::new(files) as _)))
    };
    let Some(key) = Key::new(component, cache) else { return make() };
    let mut known = known();
    known.retain(|(_, forms)| forms.strong_count() > 0);
    if let Some(forms) = known.iter().find(|(other, _)| *other == key).and_then(|(_, forms)| forms.upgrade()) {
        return forms;
    }
    let forms = make();
    known.push((key, Arc::downgrade(&forms)));
    forms
}

/// Returns true if the component's weights are in use already, so that they need no more memory.
pub(crate) fn in_use(component: &Component, cache: &PackedCache) -> bool {
    let key = Key::new(component, cache);
    known().iter().any(|(other, forms)| Some(other) == key.as_ref() && forms.strong_count() > 0)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use safetensors::tensor::{Dtype, TensorView};

    use super::*;

    fn component(folder: &Path) -> Component {
        Component::folder(folder).unwrap()
    }

    /// Writes a component with one weight of `len` numbers.
    fn write(folder: &Path, len: usize) {
        let zeros = vec![0; 4 * len];
        let weight = TensorView::new(Dtype::F32, vec![len], &zeros).unwrap();
        fs::write(folder.join("config.json"), r#"{"_class_name": "Toy"}"#).unwrap();
        fs::write(folder.join("model.safetensors"), safetensors::serialize([("w", weight)], None).unwrap()).unwrap();
    }

    fn forms_of(component: &Component, cache: &PackedCache) -> Arc<Forms> {
        forms(component, component.weights.clone(), cache)
    }

    #[test]
    fn weights_of_the_same_files_are_shared_while_in_use() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        write(path, 1);
        let off = PackedCache::Off;
        let first = forms_of(&component(path), &off);
        assert!(Arc::ptr_eq(&first, &forms_of(&component(&path.join(".")), &off)));
        assert!(!Arc::ptr_eq(&first, &forms_of(&component(path), &PackedCache::Beside)));
        assert!(in_use(&component(path), &off));
        // With another config they may be read differently.
        fs::write(path.join("config.json"), r#"{"_class_name": "Toy", "sides": 3}"#).unwrap();
        assert!(!Arc::ptr_eq(&first, &forms_of(&component(path), &off)));
        write(path, 2);
        assert!(!Arc::ptr_eq(&first, &forms_of(&component(path), &off)));
        assert!(!in_use(&component(path), &off));
    }

    #[test]
    fn unused_weights_are_freed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        write(path, 1);
        let first = Arc::downgrade(&forms_of(&component(path), &PackedCache::Off));
        assert!(first.upgrade().is_none() && !in_use(&component(path), &PackedCache::Off));
    }
}
