//! The names of the tensors in a file's value: those of a state dictionary.

use std::collections::HashSet;

use super::error::PickleError;
use super::value::{Heap, Value};
use crate::load::header::{MAX_NAME, MAX_TENSORS};

/// The entries that hold the state dictionary in files with more than one, the preferred first: Lightning's and others'
/// training states, and averaged weights before the last ones.
const WRAPPERS: [&str; 7] = ["state_dict", "params_ema", "params", "model_state_dict", "model", "net", "weights"];
/// Most wrappers around each other.
const MAX_WRAPPERS: usize = 4;
/// Deepest nesting of dictionaries whose names are joined.
const MAX_DEPTH: usize = 8;

/// Returns the names of the tensors in `root`, and their indices in the heap. Names of nested dictionaries are joined
/// with dots; values other than tensors are ignored.
pub(super) fn collect(heap: &Heap, root: Value) -> Result<Vec<(String, usize)>, PickleError> {
    let Value::Dict(root) = unwrap(heap, root)? else {
        return Err(PickleError::unsupported(format!("got {}, expected a dictionary of tensors", root.kind())));
    };
    let mut tensors = Vec::new();
    let mut names = HashSet::new();
    let mut seen = HashSet::from([root]);
    let mut open = vec![(root, String::new(), 0)];
    while let Some((dict, prefix, depth)) = open.pop() {
        for &(key, value) in heap.dicts.get(dict).into_iter().flatten() {
            let Some(key) = heap.as_text(key) else { continue };
            if let Value::Tensor(at) = value {
                let name = checked(&prefix, key)?;
                if tensors.len() == MAX_TENSORS {
                    return Err(PickleError::limit("tensor count", MAX_TENSORS + 1, MAX_TENSORS));
                }
                if !names.insert(name.clone()) {
                    return Err(PickleError::bad(format!("tensor {name:?}: got two entries, expected one")));
                }
                tensors.push((name, at));
            } else if let Value::Dict(at) = value {
                let name = checked(&prefix, key)?;
                if depth == MAX_DEPTH {
                    return Err(PickleError::limit("depth of dictionaries", MAX_DEPTH + 1, MAX_DEPTH));
                }
                if !seen.insert(at) {
                    return Err(PickleError::bad(format!("dictionary {name:?}: got it twice, expected once")));
                }
                open.push((at, format!("{name}."), depth + 1));
            }
        }
    }
    if tensors.is_empty() {
        return Err(PickleError::unsupported("got no tensors, expected a dictionary of tensors"));
    }
    Ok(tensors)
}

fn checked(prefix: &str, key: &str) -> Result<String, PickleError> {
    let len = prefix.len() + key.len();
    if len > MAX_NAME {
        return Err(PickleError::limit("length of a tensor's name", len, MAX_NAME));
    }
    Ok(format!("{prefix}{key}"))
}

/// Returns the state dictionary in `root`.
fn unwrap(heap: &Heap, mut root: Value) -> Result<Value, PickleError> {
    for _ in 0..MAX_WRAPPERS {
        let entries = heap.as_dict(root).unwrap_or_default();
        if entries.iter().any(|(_, value)| matches!(value, Value::Tensor(_))) {
            break;
        }
        let mut inner = None;
        for wrapper in WRAPPERS {
            let of_name = |&&(key, value): &&(Value, Value)| {
                heap.as_text(key) == Some(wrapper) && heap.as_dict(value).is_some_and(|dict| !dict.is_empty())
            };
            let mut found = entries.iter().filter(of_name);
            inner = found.next().map(|&(_, value)| value);
            if found.next().is_some() {
                return Err(PickleError::bad(format!("entry {wrapper:?}: got two, expected one")));
            }
            if inner.is_some() {
                break;
            }
        }
        match inner {
            Some(inner) => root = inner,
            None => break,
        }
    }
    Ok(root)
}
