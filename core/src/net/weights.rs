//! Sources of weights, and the cache of their packed forms.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::aligned::AlignedBytes;
use super::bytes::ByteScales;
use super::lora::{LowRank, MergedWeights};
use super::replaced::{ReplacedWeights, TensorSum};
use crate::error::Result;

/// A source of weights by their checkpoint names: a file, several shards, or random values.
pub trait WeightSource: Send + Sync {
    /// Returns the shape of `name`, outermost dimension first; `None` if there is no such weight.
    fn shape(&self, name: &str) -> Option<Vec<usize>>;

    /// Reads the elements of `name` in row-major order, converted to `f32`.
    ///
    /// # Errors
    ///
    /// `BadModel` if `name` is missing or does not have `shape`.
    fn read(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>>;
}

/// The layout of packed forms. Forms of different layouts are incompatible.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PackedLayout {
    /// The name of the layout, valid in file names: `avx512`.
    pub name: String,
    /// The version, which changes with the forms.
    pub version: u32,
}

/// Packed forms by key: the buffers of each.
pub type Sections = HashMap<String, Vec<AlignedBytes>>;

/// Calls its second argument with every index below the first, possibly on several threads.
pub type Parallel<'a> = &'a dyn Fn(usize, &(dyn Fn(usize) + Sync));

/// Persistent storage of packed forms.
pub trait PackedStore: Send + Sync + fmt::Debug {
    /// Returns all forms stored for `layout`, or none, with notices.
    fn load(&self, layout: &PackedLayout, parallel: Parallel<'_>) -> (Sections, Vec<String>);

    /// Stores `sections`, by key, for `layout`, replacing earlier ones; returns notices. Fewer than `least` bytes need
    /// not be stored.
    fn save(&self, layout: &PackedLayout, sections: &[(&str, Vec<&[u8]>)], least: usize) -> Vec<String>;
}

/// A packed form that a [`PackedStore`] can store.
pub trait PackedForm: Any + Send + Sync {
    /// Returns its buffers.
    fn buffers(&self) -> Vec<&[u8]>;
}

/// Packed forms of fewer bytes are not stored, since packing them is faster.
const WORTH_A_FILE: usize = 32 << 20;

/// Receives the progress of loading weights.
pub trait LoadObserver: Send + Sync + fmt::Debug {
    /// Called on any thread when `elements` more weights are loaded, or about to be.
    fn loading(&self, elements: u64);

    /// Called repeatedly on the thread that loads; an error stops loading.
    ///
    /// # Errors
    ///
    /// `Cancelled` to stop loading.
    fn check_cancelled(&self) -> Result<()>;
}

/// The weights of one network of one engine, with its int8 layers, merged LoRAs and observer. The packed forms, which
/// engines share, are in [`Forms`].
pub struct Weights {
    forms: Arc<Forms>,
    byte_scales: ByteScales,
    base: Option<Base>,
    observer: Option<Arc<dyn LoadObserver>>,
}

/// A source of weights and their packed forms, shared by all plans of all engines that use them.
pub struct Forms {
    source: Arc<dyn WeightSource>,
    packed: Mutex<HashMap<String, Arc<dyn Any + Send + Sync>>>,
    store: Option<Box<dyn PackedStore>>,
    state: Mutex<StoreState>,
}

/// The weights that merged weights are based on.
struct Base {
    weights: Arc<Weights>,
    /// The names of the weights that differ, or that the base does not have.
    changed: BTreeSet<String>,
}

/// The state of the store.
#[derive(Default)]
struct StoreState {
    layouts: HashMap<PackedLayout, LayoutState>,
    notices: Vec<String>,
}

#[derive(Default)]
struct LayoutState {
    /// Loaded, and not used yet.
    loaded: Sections,
    /// In use.
    forms: HashMap<String, Arc<dyn PackedForm>>,
    /// Whether any of `forms` was packed from the source, and so is not stored yet.
    changed: bool,
}

impl Weights {
    /// Creates weights from `source`; nothing is read yet.
    pub fn new(source: Arc<dyn WeightSource>) -> Self {
        Self::over(Arc::new(Forms::new(source, None)))
    }

    /// Creates weights with forms that others may share.
    pub fn over(forms: Arc<Forms>) -> Self {
        Self { forms, byte_scales: ByteScales::default(), base: None, observer: None }
    }

    /// Returns the weights of `base` with `changes` (a weight's name, a scale, the change) added; `base` itself if no
    /// change has an effect. Unchanged weights share the packed forms of `base`. Forms of changed weights are not
    /// stored, and changed layers are not computed in int8, since the quantization parameters were determined for
    /// `base`.
    pub fn merged(base: &Arc<Self>, changes: impl IntoIterator<Item = (String, f32, Arc<LowRank>)>) -> Arc<Self> {
        let source = MergedWeights::new(base.forms.source.clone(), changes);
        let changed = source.changed();
        base.changed_by(Arc::new(source), changed)
    }

    /// Returns the weights of `base` with those of `sums` (by the weight's name) in place of its own or in addition;
    /// their parts are read from `tensors`. `base` itself if there are none. Packed forms, their storage and layers in
    /// int8 are as for [`merged`](Self::merged).
    pub fn replaced(base: &Arc<Self>, tensors: Arc<dyn WeightSource>, sums: BTreeMap<String, TensorSum>) -> Arc<Self> {
        let source = ReplacedWeights::new(base.forms.source.clone(), tensors, sums);
        let changed = source.changed();
        base.changed_by(Arc::new(source), changed)
    }

    /// Returns these weights with those of `source` for the names `changed`; these themselves if there are none.
    fn changed_by(self: &Arc<Self>, source: Arc<dyn WeightSource>, changed: BTreeSet<String>) -> Arc<Self> {
        if changed.is_empty() {
            return self.clone();
        }
        let byte_scales = self.byte_scales.without(&changed);
        Arc::new(Self {
            byte_scales,
            observer: self.observer.clone(),
            base: Some(Base { weights: self.clone(), changed }),
            ..Self::new(source)
        })
    }

    /// Returns these weights and further ones with `names`, all of which the source has that `extend` makes of this
    /// one. These weights share their packed forms, and their layers in int8 stay in int8; forms of the further ones
    /// are not stored.
    pub(super) fn extended(
        self: &Arc<Self>,
        names: BTreeSet<String>,
        extend: impl FnOnce(Arc<dyn WeightSource>) -> Arc<dyn WeightSource>,
    ) -> Arc<Self> {
        let source = extend(self.forms.source.clone());
        Arc::new(Self {
            byte_scales: self.byte_scales.clone(),
            observer: self.observer.clone(),
            base: Some(Base { weights: self.clone(), changed: names }),
            ..Self::new(source)
        })
    }

    /// Reports the progress of loading to `observer`.
    #[must_use]
    pub fn with_observer(self, observer: Option<Arc<dyn LoadObserver>>) -> Self {
        Self { observer, ..self }
    }

    /// Returns the observer's error if loading was cancelled. Compilers call it between steps, on their own thread.
    ///
    /// # Errors
    ///
    /// `Cancelled`.
    pub fn check_cancelled(&self) -> Result<()> {
        self.observer.as_ref().map_or(Ok(()), |observer| observer.check_cancelled())
    }

    /// Sets the layers to be computed in int8, by executors that support it.
    #[must_use]
    pub fn with_byte_scales(self, byte_scales: ByteScales) -> Self {
        Self { byte_scales, ..self }
    }

    /// Returns the scales of layers to be computed in int8; none by default.
    pub fn byte_scales(&self) -> &ByteScales {
        &self.byte_scales
    }

    /// Returns the shareable packed forms.
    #[cfg(test)]
    pub(crate) fn forms(&self) -> &Arc<Forms> {
        &self.forms
    }

    /// Returns the forms that weights of these names are from: those of the base if none of them is changed. Two
    /// networks with the same program and the same forms are equal.
    pub(crate) fn forms_of(&self, names: &[&str]) -> &Arc<Forms> {
        self.shared(names).map_or(&self.forms, |base| base.forms_of(names))
    }

    /// Returns these weights without an observer, if their packed forms are not those of one engine: `None` if any of
    /// `names` is changed.
    pub(crate) fn shared_by_engines(&self, names: &[&str]) -> Option<Self> {
        let mut weights = self;
        while weights.base.is_some() {
            weights = weights.shared(names)?;
        }
        Some(Self::over(weights.forms.clone()).with_byte_scales(self.byte_scales.clone()))
    }

    /// Returns their source.
    pub fn source(&self) -> &dyn WeightSource {
        &*self.forms.source
    }

    /// Returns the base if these weights are merged and none of `names` is changed.
    fn shared(&self, names: &[&str]) -> Option<&Self> {
        let base = self.base.as_ref()?;
        (!names.iter().any(|&name| base.changed.contains(name))).then_some(&*base.weights)
    }

    /// Returns the packed form `form` of the weights `names`; calls `make` if it is not cached. Every use of the same
    /// names and form must have the same type `T`.
    ///
    /// # Errors
    ///
    /// Those of `make`.
    pub fn packed<T: Send + Sync + 'static>(
        &self,
        names: &[&str],
        form: &str,
        make: impl FnOnce() -> Result<T>,
    ) -> Result<Arc<T>> {
        if let Some(base) = self.shared(names) {
            return base.packed(names, form, make);
        }
        let key = key(names, form);
        self.report_loaded(names);
        if let Some(found) = self.forms.find(&key) {
            return Ok(found);
        }
        Ok(self.forms.insert(&key, Arc::new(make()?)))
    }

    /// Like [`packed`](Self::packed), for forms of `layout` that the store persists, if there is one. `restore` creates
    /// a form from stored buffers; `None` if their sizes do not match.
    ///
    /// # Errors
    ///
    /// Those of `make`.
    pub fn stored<T: PackedForm>(
        &self,
        layout: &PackedLayout,
        names: &[&str],
        form: &str,
        restore: impl FnOnce(Vec<AlignedBytes>) -> Option<T>,
        make: impl FnOnce() -> Result<T>,
    ) -> Result<Arc<T>> {
        if let Some(base) = self.shared(names) {
            return base.stored(layout, names, form, restore, make);
        }
        let key = key(names, form);
        let full_key = format!("{key}#{}", layout.name);
        let forms = &*self.forms;
        self.report_loaded(names);
        if let Some(found) = forms.find(&full_key) {
            return Ok(found);
        }
        let loaded = forms.store_state().layouts.get_mut(layout).and_then(|state| state.loaded.remove(&key));
        let restored = loaded.and_then(restore);
        let changed = restored.is_none();
        let form = forms.insert(&full_key, Arc::new(restored.map_or_else(make, Ok)?));
        if forms.store.is_some() {
            let mut state = forms.store_state();
            let state = state.layouts.entry(layout.clone()).or_default();
            state.changed |= changed;
            state.forms.insert(key, form.clone());
        }
        Ok(form)
    }

    /// Loads the stored forms of `layout`, once. Called before the forms are used.
    pub fn load(&self, layout: &PackedLayout, parallel: Parallel<'_>) {
        if let Some(base) = &self.base {
            return base.weights.load(layout, parallel);
        }
        let Some(store) = &self.forms.store else { return };
        let mut state = self.forms.store_state();
        if state.layouts.contains_key(layout) {
            return;
        }
        let (loaded, notices) = store.load(layout, parallel);
        state.notices.extend(notices);
        state.layouts.insert(layout.clone(), LayoutState { loaded, ..LayoutState::default() });
    }

    /// Stores new forms, and drops loaded forms that were not used. Returns the notices about the store since the last
    /// call.
    pub fn save(&self) -> Vec<String> {
        if let Some(base) = &self.base {
            return base.weights.save();
        }
        let mut state = self.forms.store_state();
        let StoreState { layouts, notices } = &mut *state;
        if let Some(store) = &self.forms.store {
            for (layout, state) in layouts {
                if std::mem::take(&mut state.changed) {
                    let forms = state.forms.iter().map(|(key, form)| (key.as_str(), form.buffers()));
                    // Unused forms, of other sizes and row counts, stay in the store.
                    let rest = state
                        .loaded
                        .iter()
                        .map(|(key, parts)| (key.as_str(), parts.iter().map(|part| &**part).collect()));
                    let mut sections: Vec<(&str, Vec<&[u8]>)> = forms.chain(rest).collect();
                    sections.sort_unstable_by_key(|(key, _)| *key);
                    notices.extend(store.save(layout, &sections, WORTH_A_FILE));
                }
                state.loaded = Sections::new();
            }
        }
        std::mem::take(notices)
    }

    /// Reports the weights `names` as loaded to the observer.
    pub(crate) fn report_loaded(&self, names: &[&str]) {
        if let Some(observer) = &self.observer {
            let shapes = names.iter().filter_map(|name| self.forms.source.shape(name));
            observer.loading(shapes.map(|shape| shape.iter().product::<usize>() as u64).sum());
        }
    }
}

impl Forms {
    /// Creates an empty cache of the packed forms of `source`. If there is a `store`, forms are taken from it if
    /// possible.
    pub fn new(source: Arc<dyn WeightSource>, store: Option<Box<dyn PackedStore>>) -> Self {
        Self { source, packed: Mutex::default(), store, state: Mutex::default() }
    }

    fn find<T: Send + Sync + 'static>(&self, key: &str) -> Option<Arc<T>> {
        let found = self.packed.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned();
        found?.downcast::<T>().ok()
    }

    /// Caches `form`, or returns the one that another thread has cached meanwhile.
    fn insert<T: Send + Sync + 'static>(&self, key: &str, form: Arc<T>) -> Arc<T> {
        let mut packed = self.packed.lock().unwrap_or_else(PoisonError::into_inner);
        let state = packed.entry(key.to_owned()).or_insert_with(|| form.clone()).clone();
        state.downcast::<T>().unwrap_or(form)
    }

    fn store_state(&self) -> MutexGuard<'_, StoreState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the key of a packed form, from its weights and its kind.
fn key(names: &[&str], form: &str) -> String {
    format!("{}#{form}", names.join("+"))
}

/// Returns whether two shapes have the same memory layout: they are equal except for trailing ones, which a linear
/// layer has if it was saved as a 1x1 convolution.
pub(crate) fn same_layout(a: &[usize], b: &[usize]) -> bool {
    let trimmed = |shape: &[usize]| shape.iter().rposition(|&dim| dim != 1).map_or(0, |last| last + 1);
    a[..trimmed(a)] == b[..trimmed(b)]
}

impl fmt::Debug for Weights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let changed = self.base.as_ref().map(|base| base.changed.len());
        f.debug_struct("Weights").field("forms", &self.forms).field("changed", &changed).finish_non_exhaustive()
    }
}

impl fmt::Debug for Forms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Forms").field("store", &self.store).finish_non_exhaustive()
    }
}

#[cfg(feature = "onnx")]
mod stored_file;
#[cfg(test)]
mod tests;
