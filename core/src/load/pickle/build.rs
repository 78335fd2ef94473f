//! The values that a pickle makes from others: tensors, parameters, storages and ordered dictionaries.

use super::error::PickleError;
use super::globals::Global;
use super::value::{Heap, StorageId, Value, View, size};
use crate::load::header::MAX_DIMS;

/// Most arguments of the functions that make values.
const MOST_ARGUMENTS: usize = 8;

/// Returns what `function` makes of `args`.
pub(super) fn reduce(heap: &mut Heap, function: Value, args: Value) -> Result<Value, PickleError> {
    let Value::Tuple(at) = args else {
        return Err(PickleError::bad(format!("arguments: got {}, expected a tuple", args.kind())));
    };
    let Value::Global(global) = function else {
        return Err(PickleError::bad(format!("function: got {}, expected a name", function.kind())));
    };
    if global == Global::Ignored {
        return Ok(Value::Ignored);
    }
    // Not all of them: many calls may share a long tuple.
    let given = heap.tuples.get(at).map_or(&[][..], |args| &**args);
    let args: Vec<Value> = given.iter().take(MOST_ARGUMENTS + 1).copied().collect();
    match (global, &*args) {
        (Global::OrderedDict, []) => heap.dict(),
        (Global::OrderedDict, &[entries]) => ordered_dict(heap, entries),
        (Global::Tensor, &[storage, offset, shape, strides, _, _] | &[storage, offset, shape, strides, _, _, _]) => {
            view(heap, storage, [offset, shape, strides], None)
        }
        (
            Global::TypedTensor,
            &[storage, offset, shape, strides, _, _, dtype] | &[storage, offset, shape, strides, _, _, dtype, _],
        ) => view(heap, storage, [offset, shape, strides], Some(dtype)),
        (Global::Parameter, &[tensor @ Value::Tensor(_), _, _]) => Ok(tensor),
        _ => Err(PickleError::bad(format!("call of {global:?}: got {} arguments, expected others", args.len()))),
    }
}

/// Checks a value whose state is set. States hold no tensors that are needed.
pub(super) fn build(value: Value) -> Result<(), PickleError> {
    if matches!(value, Value::Dict(_) | Value::Ignored) {
        return Ok(());
    }
    Err(PickleError::unsupported(format!("state of {}: got one, expected none", value.kind())))
}

/// Makes a dictionary of a list of pairs.
fn ordered_dict(heap: &mut Heap, entries: Value) -> Result<Value, PickleError> {
    let wrong = || PickleError::bad("entries of an ordered dictionary: got another value, expected a list of pairs");
    let items = heap.as_items(entries).ok_or_else(wrong)?;
    let pair = |&item: &Value| match heap.as_items(item) {
        Some(&[key, value]) => Ok((key, value)),
        _ => Err(wrong()),
    };
    let pairs = items.iter().map(pair).collect::<Result<Vec<_>, _>>()?;
    let dict = heap.dict()?;
    heap.count(pairs.len())?;
    heap.dicts.last_mut().into_iter().for_each(|dict| dict.extend_from_slice(&pairs));
    Ok(dict)
}

/// Makes a storage of its persistent id: `("storage", class, key, device, elements[, view])`.
pub(super) fn persistent(heap: &mut Heap, id: Value) -> Result<Value, PickleError> {
    let wrong = || PickleError::bad(format!("persistent id: got {}, expected that of a storage", id.kind()));
    let Value::Tuple(at) = id else { return Err(wrong()) };
    let items = heap.tuples.get(at).ok_or_else(wrong)?;
    let &[kind, class, key, _, elements, ref view @ ..] = &**items else {
        let is_module = items.first().is_some_and(|&kind| heap.as_text(kind) == Some("module"));
        return Err(if is_module { module() } else { wrong() });
    };
    match heap.as_text(kind) {
        Some("storage") => {}
        Some("module") => return Err(module()),
        _ => return Err(wrong()),
    }
    let Value::Global(Global::Storage(dtype)) = class else {
        return Err(PickleError::bad(format!("class of a storage: got {}, expected a storage of torch", class.kind())));
    };
    if !matches!(view, [] | [Value::None]) {
        return Err(PickleError::unsupported("storage: got a view of another storage, expected a whole one"));
    }
    let key = heap.as_text(key).ok_or_else(wrong)?.to_owned();
    let elements = size("elements of a storage", elements)?;
    heap.count(1)?;
    heap.storages.push(StorageId { dtype, key, elements });
    Ok(Value::Storage(heap.storages.len() - 1))
}

fn module() -> PickleError {
    PickleError::unsupported("got a pickled module, expected tensors; save its state_dict")
}

/// Makes a tensor. Its bounds are checked when its storage is known.
fn view(
    heap: &mut Heap,
    storage: Value,
    [offset, shape, strides]: [Value; 3],
    dtype: Option<Value>,
) -> Result<Value, PickleError> {
    let Value::Storage(at) = storage else {
        return Err(PickleError::bad(format!("storage of a tensor: got {}, expected a storage", storage.kind())));
    };
    let own = heap.storages.get(at).and_then(|storage| storage.dtype);
    let dtype = match (dtype, own) {
        (Some(Value::Global(Global::Dtype(dtype))), None) => dtype,
        (None, Some(dtype)) => dtype,
        _ => return Err(PickleError::bad("type of a tensor: got none or two, expected one")),
    };
    let sizes = |what, value| -> Result<Vec<u64>, PickleError> {
        let Value::Tuple(_) = value else {
            return Err(PickleError::bad(format!("{what}: got {}, expected a tuple", value.kind())));
        };
        let items = heap.as_items(value).unwrap_or_default();
        if items.len() > MAX_DIMS {
            return Err(PickleError::limit("dimensions of a tensor", items.len(), MAX_DIMS));
        }
        items.iter().map(|&item| size(what, item)).collect()
    };
    let (shape, strides) = (sizes("size of a tensor", shape)?, sizes("stride of a tensor", strides)?);
    if shape.len() != strides.len() {
        return Err(PickleError::bad(format!("strides of a tensor: got {}, expected {}", strides.len(), shape.len())));
    }
    let offset = size("offset of a tensor", offset)?;
    heap.count(1 + 2 * shape.len())?;
    heap.tensors.push(View { storage: at, dtype, offset, shape, strides });
    Ok(Value::Tensor(heap.tensors.len() - 1))
}
