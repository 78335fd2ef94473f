//! The values of a pickle. Those with parts are kept in tables and refer to each other by index, so that no depth of
//! nesting and no cycle needs recursion.

use super::error::PickleError;
use super::globals::Global;
use crate::load::header::Dtype;

/// Most containers, items of containers, texts and memo entries. Files with the most tensors have half as many.
const MAX_OBJECTS: usize = 1 << 22;

/// A value, or the index of its contents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Value {
    None,
    Bool(bool),
    Int(i64),
    /// The number at the start of a file in the legacy layout.
    Magic,
    /// A value that is ignored.
    Ignored,
    Global(Global),
    Text(usize),
    Tuple(usize),
    List(usize),
    Dict(usize),
    Storage(usize),
    Tensor(usize),
}

impl Value {
    /// Returns its kind, for errors.
    pub(super) fn kind(self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Bool(_) => "a boolean",
            Self::Int(_) | Self::Magic => "a whole number",
            Self::Ignored => "another value",
            Self::Global(_) => "a class or function",
            Self::Text(_) => "a text",
            Self::Tuple(_) => "a tuple",
            Self::List(_) => "a list",
            Self::Dict(_) => "a dictionary",
            Self::Storage(_) => "a storage",
            Self::Tensor(_) => "a tensor",
        }
    }
}

/// A reference to the data of tensors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StorageId {
    /// The type of its elements; `None` for bytes.
    pub(super) dtype: Option<Dtype>,
    /// Its name in the file.
    pub(super) key: String,
    /// The number of its elements.
    pub(super) elements: u64,
}

/// A tensor: a view of a storage.
#[derive(Debug, Clone)]
pub(super) struct View {
    /// The index of its storage.
    pub(super) storage: usize,
    pub(super) dtype: Dtype,
    /// The first element, counted in elements.
    pub(super) offset: u64,
    pub(super) shape: Vec<u64>,
    /// The distance of neighbours in each dimension, in elements.
    pub(super) strides: Vec<u64>,
}

/// The contents of values.
#[derive(Debug, Default)]
pub(super) struct Heap {
    pub(super) texts: Vec<Box<str>>,
    pub(super) tuples: Vec<Box<[Value]>>,
    pub(super) lists: Vec<Vec<Value>>,
    pub(super) dicts: Vec<Vec<(Value, Value)>>,
    pub(super) storages: Vec<StorageId>,
    pub(super) tensors: Vec<View>,
    objects: usize,
}

impl Heap {
    /// Counts new objects, before they are created.
    pub(super) fn count(&mut self, new: usize) -> Result<(), PickleError> {
        self.objects = self.objects.saturating_add(new);
        if self.objects > MAX_OBJECTS {
            return Err(PickleError::limit("number of objects", self.objects, MAX_OBJECTS));
        }
        Ok(())
    }

    pub(super) fn text(&mut self, text: &str) -> Result<Value, PickleError> {
        self.count(1)?;
        self.texts.push(text.into());
        Ok(Value::Text(self.texts.len() - 1))
    }

    pub(super) fn tuple(&mut self, items: Vec<Value>) -> Result<Value, PickleError> {
        self.count(1 + items.len())?;
        self.tuples.push(items.into());
        Ok(Value::Tuple(self.tuples.len() - 1))
    }

    pub(super) fn list(&mut self, items: Vec<Value>) -> Result<Value, PickleError> {
        self.count(1 + items.len())?;
        self.lists.push(items);
        Ok(Value::List(self.lists.len() - 1))
    }

    pub(super) fn dict(&mut self) -> Result<Value, PickleError> {
        self.count(1)?;
        self.dicts.push(Vec::new());
        Ok(Value::Dict(self.dicts.len() - 1))
    }

    /// Returns the text of a value that is one.
    pub(super) fn as_text(&self, value: Value) -> Option<&str> {
        if let Value::Text(at) = value { self.texts.get(at).map(|text| &**text) } else { None }
    }

    /// Returns the items of a tuple or list.
    pub(super) fn as_items(&self, value: Value) -> Option<&[Value]> {
        if let Value::Tuple(at) = value {
            return self.tuples.get(at).map(|items| &**items);
        }
        if let Value::List(at) = value { self.lists.get(at).map(Vec::as_slice) } else { None }
    }

    /// Returns the entries of a dictionary.
    pub(super) fn as_dict(&self, value: Value) -> Option<&[(Value, Value)]> {
        if let Value::Dict(at) = value { self.dicts.get(at).map(Vec::as_slice) } else { None }
    }
}

/// Returns a count, offset or size, which is never negative.
pub(super) fn size(what: &str, value: Value) -> Result<u64, PickleError> {
    let Value::Int(number) = value else {
        return Err(PickleError::bad(format!("{what}: got {}, expected a whole number", value.kind())));
    };
    u64::try_from(number)
        .map_err(|_| PickleError::bad(format!("{what}: got {number}, expected a number of at least 0")))
}
