//! Sources of weights, and the cache of their packed forms.

use std::any::Any;
use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::aligned::AlignedBytes;
use super::bytes::ByteScales;
use super::lora::{LowRank, MergedWeights};
use crate::error::Result;

/// Weights by their checkpoint names: a file, several shards, or random numbers.
pub trait WeightSource: Send + Sync {
    /// The shape of `name`, outermost first; `None` if there is no such weight.
    fn shape(&self, name: &str) -> Option<Vec<usize>>;

    /// The numbers of `name`, outermost first, whatever type the file has them in.
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
    /// Changes whenever the forms do.
    pub version: u32,
}

/// Packed forms by key: the memories that each is made of.
pub type Sections = HashMap<String, Vec<AlignedBytes>>;

/// Calls its second argument with every number below the first, on whatever threads there are.
pub type Parallel<'a> = &'a dyn Fn(usize, &(dyn Fn(usize) + Sync));

/// Persistent storage of packed forms.
pub trait PackedStore: Send + Sync + fmt::Debug {
    /// Returns all forms stored for `layout`, or none, with notices.
    fn load(&self, layout: &PackedLayout, parallel: Parallel<'_>) -> (Sections, Vec<String>);

    /// Stores `sections`, by key, for `layout` in place of those before; returns notices.
    fn save(&self, layout: &PackedLayout, sections: &[(&str, Vec<&[u8]>)]) -> Vec<String>;
}

/// A packed form that can be kept in a [`PackedStore`].
pub trait PackedForm: Any + Send + Sync {
    /// The memories that it is made of.
    fn memories(&self) -> Vec<&[u8]>;
}

/// Receives the progress of loading weights.
pub trait LoadWatch: Send + Sync + fmt::Debug {
    /// Called on any thread when this many more weights are ready, or about to be.
    fn loading(&self, numbers: u64);

    /// Called on the thread that loads; an error ends loading.
    ///
    /// # Errors
    ///
    /// `Cancelled` to stop here.
    fn go_on(&self) -> Result<()>;
}

/// The weights of one network as one engine sees them: which layers are done in int8, which LoRAs are merged, who
/// receives the progress of loading. What is large is in [`Forms`].
pub struct Weights {
    forms: Arc<Forms>,
    byte_scales: ByteScales,
    base: Option<Base>,
    watch: Option<Arc<dyn LoadWatch>>,
}

/// Where weights come from, and their packed forms, shared by every plan made over them, of however many engines.
pub struct Forms {
    source: Arc<dyn WeightSource>,
    packed: Mutex<HashMap<String, Arc<dyn Any + Send + Sync>>>,
    store: Option<Box<dyn PackedStore>>,
    kept: Mutex<Kept>,
}

/// The weights that merged ones were made from.
struct Base {
    weights: Arc<Weights>,
    /// The names of those that differ.
    changed: BTreeSet<String>,
}

/// State of the store.
#[derive(Default)]
struct Kept {
    layouts: HashMap<PackedLayout, KeptLayout>,
    notices: Vec<String>,
}

#[derive(Default)]
struct KeptLayout {
    /// Loaded, and not asked for yet.
    loaded: Sections,
    /// In use.
    forms: HashMap<String, Arc<dyn PackedForm>>,
    /// Whether any of `forms` was made from the source.
    changed: bool,
}

impl Weights {
    /// Weights out of `source`; nothing is read yet.
    pub fn new(source: Arc<dyn WeightSource>) -> Self {
        Self::over(Arc::new(Forms::new(source, None)))
    }

    /// Weights whose forms others may use, too.
    pub fn over(forms: Arc<Forms>) -> Self {
        Self { forms, byte_scales: ByteScales::default(), base: None, watch: None }
    }

    /// The weights of `base` with `changes` (a weight's name, a scale, the change) added; `base` itself where none
    /// counts. Packed forms of weights that stay the same are those of `base`, made there if need be. Forms of changed
    /// ones go to no store, and changed layers are not done in int8: how their inputs become bytes was found out
    /// for `base`.
    pub fn merged(base: &Arc<Self>, changes: impl IntoIterator<Item = (String, f32, Arc<LowRank>)>) -> Arc<Self> {
        let source = MergedWeights::new(base.forms.source.clone(), changes);
        let changed = source.changed();
        if changed.is_empty() {
            return base.clone();
        }
        let byte_scales = base.byte_scales.without(&changed);
        Arc::new(Self {
            byte_scales,
            watch: base.watch.clone(),
            base: Some(Base { weights: base.clone(), changed }),
            ..Self::new(Arc::new(source))
        })
    }

    /// Reports the progress of loading to `watch` from now on.
    #[must_use]
    pub fn with_watch(self, watch: Option<Arc<dyn LoadWatch>>) -> Self {
        Self { watch, ..self }
    }

    /// Returns the watch's error if loading is to end. Compilers call it between steps, on their own thread.
    ///
    /// # Errors
    ///
    /// `Cancelled`.
    pub fn go_on(&self) -> Result<()> {
        self.watch.as_ref().map_or(Ok(()), |watch| watch.go_on())
    }

    /// The same with layers that an executor which computes in int8 does so; others pass them over.
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

    /// Returns their source.
    pub fn source(&self) -> &dyn WeightSource {
        &*self.forms.source
    }

    /// The base's, where these are merged and none of `names` is changed.
    fn shared(&self, names: &[&str]) -> Option<&Self> {
        let base = self.base.as_ref()?;
        (!names.iter().any(|&name| base.changed.contains(name))).then_some(&*base.weights)
    }

    /// What was packed as `form` out of the weights `names`, or what `make` packs now. Names and form together always
    /// have the same type behind them.
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
        self.report(names);
        if let Some(found) = self.forms.find(&key) {
            return Ok(found);
        }
        Ok(self.forms.insert(&key, Arc::new(make()?)))
    }

    /// Like [`packed`](Self::packed), for forms of `layout` that outlive the process where there is a store: `restore`
    /// makes a form out of its memories, or nothing where they do not fit.
    ///
    /// # Errors
    ///
    /// Those of `make`.
    pub fn kept<T: PackedForm>(
        &self,
        layout: &PackedLayout,
        names: &[&str],
        form: &str,
        restore: impl FnOnce(Vec<AlignedBytes>) -> Option<T>,
        make: impl FnOnce() -> Result<T>,
    ) -> Result<Arc<T>> {
        if let Some(base) = self.shared(names) {
            return base.kept(layout, names, form, restore, make);
        }
        let key = key(names, form);
        let full_key = format!("{key}#{}", layout.name);
        let forms = &*self.forms;
        self.report(names);
        if let Some(found) = forms.find(&full_key) {
            return Ok(found);
        }
        let loaded = forms.kept_now().layouts.get_mut(layout).and_then(|kept| kept.loaded.remove(&key));
        let restored = loaded.and_then(restore);
        let changed = restored.is_none();
        let form = forms.insert(&full_key, Arc::new(restored.map_or_else(make, Ok)?));
        if forms.store.is_some() {
            let mut kept = forms.kept_now();
            let kept = kept.layouts.entry(layout.clone()).or_default();
            kept.changed |= changed;
            kept.forms.insert(key, form.clone());
        }
        Ok(form)
    }

    /// Loads what the store has for `layout`, once. Called before the forms are asked for.
    pub fn load(&self, layout: &PackedLayout, parallel: Parallel<'_>) {
        if let Some(base) = &self.base {
            return base.weights.load(layout, parallel);
        }
        let Some(store) = &self.forms.store else { return };
        let mut kept = self.forms.kept_now();
        if kept.layouts.contains_key(layout) {
            return;
        }
        let (loaded, notices) = store.load(layout, parallel);
        kept.notices.extend(notices);
        kept.layouts.insert(layout.clone(), KeptLayout { loaded, ..KeptLayout::default() });
    }

    /// Stores forms that the store lacks, and drops those that nothing used. Returns notices
    /// about the store since the last time.
    pub fn save(&self) -> Vec<String> {
        if let Some(base) = &self.base {
            return base.weights.save();
        }
        let mut kept = self.forms.kept_now();
        let Kept { layouts, notices } = &mut *kept;
        if let Some(store) = &self.forms.store {
            for (layout, kept) in layouts {
                if std::mem::take(&mut kept.changed) {
                    let forms = kept.forms.iter().map(|(key, form)| (key.as_str(), form.memories()));
                    // Forms of later sizes and row counts are cached too.
                    let rest = kept
                        .loaded
                        .iter()
                        .map(|(key, parts)| (key.as_str(), parts.iter().map(|part| &**part).collect()));
                    let mut sections: Vec<(&str, Vec<&[u8]>)> = forms.chain(rest).collect();
                    sections.sort_unstable_by_key(|(key, _)| *key);
                    notices.extend(store.save(layout, &sections));
                }
                kept.loaded = Sections::new();
            }
        }
        std::mem::take(notices)
    }

    fn report(&self, names: &[&str]) {
        if let Some(watch) = &self.watch {
            let shapes = names.iter().filter_map(|name| self.forms.source.shape(name));
            watch.loading(shapes.map(|shape| shape.iter().product::<usize>() as u64).sum());
        }
    }
}

impl Forms {
    /// No forms yet of weights out of `source`; where there is a `store`, it is looked at before a form is made.
    pub fn new(source: Arc<dyn WeightSource>, store: Option<Box<dyn PackedStore>>) -> Self {
        Self { source, packed: Mutex::default(), store, kept: Mutex::default() }
    }

    fn find<T: Send + Sync + 'static>(&self, key: &str) -> Option<Arc<T>> {
        let found = self.packed.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned();
        found?.downcast::<T>().ok()
    }

    /// Caches `form`, or returns the one that another thread has cached meanwhile.
    fn insert<T: Send + Sync + 'static>(&self, key: &str, form: Arc<T>) -> Arc<T> {
        let mut packed = self.packed.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = packed.entry(key.to_owned()).or_insert_with(|| form.clone()).clone();
        kept.downcast::<T>().unwrap_or(form)
    }

    fn kept_now(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The key of a packed form: its weights and its kind.
fn key(names: &[&str], form: &str) -> String {
    format!("{}#{form}", names.join("+"))
}

/// Whether two shapes lay out the same numbers in the same order: equal, but for ones at the end, as a linear layer
/// saved as a 1x1 convolution has them.
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

#[cfg(test)]
mod tests;
