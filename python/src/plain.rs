//! Converts between Python objects and plain data: JSON types and numpy scalars.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyList, PyMapping, PyString, PyTuple};
use serde_json::{Map, Number, Value};

use crate::errors::invalid_params;

/// Maximum nesting of lists and dicts; a list that contains itself is infinite.
const MAX_DEPTH: usize = 16;

/// The name of the root value in violations.
const ROOT: &str = "parameters";

/// Converts plain data or a model to a JSON value.
///
/// # Errors
///
/// `InvalidParamsError`, with the path of a value that is not plain data.
pub(crate) fn from_python(object: &Bound<'_, PyAny>) -> PyResult<Value> {
    read(object, &mut Vec::new())
}

/// Like [`from_python`], for a mapping.
pub(crate) fn map_from_python(object: &Bound<'_, PyAny>) -> PyResult<Map<String, Value>> {
    match from_python(object)? {
        Value::Object(map) => Ok(map),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            let shown = format!("got the type {}, expected a StreamDiffusionParams or a dict", type_name(object));
            Err(invalid_params(object.py(), ROOT, shown))
        }
    }
}

/// One step of a path in the value.
enum Step {
    Name(String),
    Index(usize),
}

fn path(steps: &[Step]) -> String {
    let mut path = String::new();
    for step in steps {
        match step {
            Step::Name(name) if path.is_empty() => path.push_str(name),
            Step::Name(name) => path.extend([".", name]),
            Step::Index(index) => path.push_str(&format!("[{index}]")),
        }
    }
    if path.is_empty() { ROOT.into() } else { path }
}

fn read(object: &Bound<'_, PyAny>, steps: &mut Vec<Step>) -> PyResult<Value> {
    let py = object.py();
    if steps.len() > MAX_DEPTH {
        return Err(invalid_params(
            py,
            path(steps),
            format!("got more than {MAX_DEPTH} levels of nesting, expected at most {MAX_DEPTH}"),
        ));
    }
    if object.is_none() {
        Ok(Value::Null)
    } else if let Ok(flag) = object.cast::<PyBool>() {
        Ok(flag.is_true().into())
    } else if let Ok(text) = object.cast::<PyString>() {
        let text = text.to_str();
        text.map(Value::from).map_err(|error| invalid_params(py, path(steps), format!("not Unicode text: {error}")))
    } else if object.is_instance_of::<PyInt>() {
        match (object.extract::<u64>(), object.extract::<i64>()) {
            (Ok(number), _) => Ok(number.into()),
            (_, Ok(number)) => Ok(number.into()),
            // Out of every range, which validation reports.
            _ => number(object, steps),
        }
    } else if object.is_instance_of::<PyFloat>() {
        number(object, steps)
    } else if object.is_instance_of::<PyList>() || object.is_instance_of::<PyTuple>() {
        list(object, steps)
    } else if let Ok(mapping) = object.cast::<PyMapping>() {
        dict(mapping, steps)
    } else if let Some(dump) = object.getattr_opt(intern!(py, "model_dump"))? {
        read(&dump.call0()?, steps)
    } else if let Some(tolist) = object.getattr_opt(intern!(py, "tolist"))? {
        // Numpy scalars and arrays.
        let plain = tolist.call0()?;
        if plain.get_type().is(object.get_type()) { Err(not_plain_data(object, steps)) } else { read(&plain, steps) }
    } else {
        Err(not_plain_data(object, steps))
    }
}

fn number(object: &Bound<'_, PyAny>, steps: &[Step]) -> PyResult<Value> {
    let number = object.extract::<f64>().unwrap_or(f64::INFINITY);
    let plain = Number::from_f64(number).map(Value::Number);
    plain.ok_or_else(|| invalid_params(object.py(), path(steps), format!("got {object}, expected a finite number")))
}

fn list(object: &Bound<'_, PyAny>, steps: &mut Vec<Step>) -> PyResult<Value> {
    let mut items = Vec::new();
    for (index, item) in object.try_iter()?.enumerate() {
        steps.push(Step::Index(index));
        items.push(read(&item?, steps)?);
        steps.pop();
    }
    Ok(Value::Array(items))
}

fn dict(mapping: &Bound<'_, PyMapping>, steps: &mut Vec<Step>) -> PyResult<Value> {
    let mut entries = Map::new();
    for entry in mapping.items()?.iter() {
        let (name, value): (Bound<'_, PyAny>, Bound<'_, PyAny>) = entry.extract()?;
        let Ok(name) = name.extract::<String>() else {
            let message = format!("got the name {}, expected text", name.repr()?);
            return Err(invalid_params(mapping.py(), path(steps), message));
        };
        steps.push(Step::Name(name));
        let value = read(&value, steps)?;
        if let Some(Step::Name(name)) = steps.pop() {
            entries.insert(name, value);
        }
    }
    Ok(Value::Object(entries))
}

fn not_plain_data(object: &Bound<'_, PyAny>, steps: &[Step]) -> PyErr {
    let message = format!(
        "got the type {}, expected plain data: text, a number, a flag, None, a list, a tuple or a dict",
        type_name(object)
    );
    invalid_params(object.py(), path(steps), message)
}

/// Returns the name of an object's type, for messages.
pub(crate) fn type_name(object: &Bound<'_, PyAny>) -> String {
    object.get_type().fully_qualified_name().map_or_else(|_| "object".into(), |name| name.to_string())
}

/// Converts plain data to Python objects.
pub(crate) fn to_python<'py>(py: Python<'py>, value: &Value) -> PyResult<Bound<'py, PyAny>> {
    Ok(match value {
        Value::Null => py.None().into_bound(py),
        Value::Bool(flag) => PyBool::new(py, *flag).to_owned().into_any(),
        Value::Number(number) => match (number.as_u64(), number.as_i64()) {
            (Some(number), _) => number.into_pyobject(py)?.into_any(),
            (_, Some(number)) => number.into_pyobject(py)?.into_any(),
            _ => number.as_f64().unwrap_or(f64::NAN).into_pyobject(py)?.into_any(),
        },
        Value::String(text) => PyString::new(py, text).into_any(),
        Value::Array(items) => {
            let items = items.iter().map(|item| to_python(py, item)).collect::<PyResult<Vec<_>>>()?;
            PyList::new(py, items)?.into_any()
        }
        Value::Object(entries) => map_to_python(py, entries)?.into_any(),
    })
}

/// Converts a JSON object to a dict.
pub(crate) fn map_to_python<'py>(py: Python<'py>, entries: &Map<String, Value>) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    for (name, value) in entries {
        dict.set_item(name, to_python(py, value)?)?;
    }
    Ok(dict)
}
