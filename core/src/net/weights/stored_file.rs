//! Files of the packed store that are computed from weights, and are not kept in memory.

use super::{AlignedBytes, Forms, PackedLayout, PackedStore, Weights};

/// A file of the store that is not kept in memory: it is read when it is needed, and written at once.
pub(crate) struct StoredFile<'a> {
    forms: &'a Forms,
    store: &'a dyn PackedStore,
    layout: &'a PackedLayout,
}

impl Weights {
    /// Returns the file for something that is computed from the weights `names`; `None` without a store, or if any of
    /// them is changed.
    pub(crate) fn file<'a>(&'a self, names: &[&str], layout: &'a PackedLayout) -> Option<StoredFile<'a>> {
        let forms = &**self.forms_of(names);
        Some(StoredFile { forms, store: &**forms.store.as_ref()?, layout })
    }
}

impl StoredFile<'_> {
    /// Returns the section `key`, if the file is valid and has it.
    pub(crate) fn load(&self, key: &str) -> Option<AlignedBytes> {
        let (mut sections, notices) = self.store.load(self.layout, &|count, piece| (0..count).for_each(piece));
        self.forms.store_state().notices.extend(notices);
        sections.remove(key)?.pop()
    }

    /// Replaces the file by one with a section.
    pub(crate) fn save(&self, key: &str, bytes: &[u8]) {
        let notices = self.store.save(self.layout, &[(key, vec![bytes])], 0);
        self.forms.store_state().notices.extend(notices);
    }

    /// Adds a notice to those of [`Weights::save`].
    pub(crate) fn add_notice(&self, notice: String) {
        self.forms.store_state().notices.push(notice);
    }
}
