//! Converts between Python objects and plain data: JSON types and numpy scalars.

use dreamframe::{Error, Violation};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyList, PyMapping, PyString, PyTuple};
use serde_json::{Map, Number, Value};

use crate::errors::{exception, invalid_params};

/// Maximum nesting of lists and dicts; a list that contains itself is infinite.
const MAX_DEPTH: usize = 16;

/// Most values that are reported as not plain data.
const MAX_VIOLATIONS: usize = 64;

/// The name of the root value in violations.
const ROOT: &str = "parameters";

/// Values that were read from Python, and what was not plain data among them.
#[derive(Debug, Default)]
pub(crate) struct Values {
    map: Map<String, Value>,
    violations: Vec<Violation>,
}

impl Values {
    /// Reads a mapping or a model. In place of a value that is not plain data, there is one that every field refuses.
    ///
    /// # Errors
    ///
    /// `InvalidParamsError` for other types, and exceptions of the object's own methods.
    pub(crate) fn read(object: &Bound<'_, PyAny>) -> PyResult<Self> {
        let mut reader = Reader::default();
        match reader.read(object)? {
            Value::Object(map) => Ok(Self { map, violations: reader.violations }),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                let shown = format!("got the type {}, expected a StreamDiffusionParams or a dict", type_name(object));
                Err(invalid_params(object.py(), ROOT, shown))
            }
        }
    }

    /// Adds values, which replace those of the same name.
    pub(crate) fn extend(&mut self, other: Self) {
        self.violations.retain(|violation| !other.map.keys().any(|name| is_inside(&violation.path, name)));
        self.map.extend(other.map);
        self.violations.extend(other.violations);
    }

    /// Checks the values.
    ///
    /// # Errors
    ///
    /// Those of `check`; `InvalidParams` with its violations and those of reading.
    pub(crate) fn check<T>(
        self,
        check: impl FnOnce(Map<String, Value>) -> dreamframe::Result<T>,
    ) -> dreamframe::Result<T> {
        let Self { map, mut violations } = self;
        let checked = check(map);
        if violations.is_empty() {
            return checked;
        }
        if let Err(error) = checked {
            // A value that was replaced is reported once.
            let others = error.violations().iter();
            let others = others.filter(|other| !violations.iter().any(|own| is_inside(&other.path, &own.path)));
            let others: Vec<Violation> = others.cloned().collect();
            violations.extend(others);
        }
        Err(Error::invalid_params(violations))
    }
}

/// Returns true if `path` is `part`, or inside it.
fn is_inside(path: &str, part: &str) -> bool {
    path.strip_prefix(part).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// Converts plain data to a JSON value.
///
/// # Errors
///
/// `InvalidParamsError`, with every value that is not plain data.
pub(crate) fn from_python(object: &Bound<'_, PyAny>) -> PyResult<Value> {
    let mut reader = Reader::default();
    let value = reader.read(object)?;
    if reader.violations.is_empty() {
        return Ok(value);
    }
    Err(exception(object.py(), &Error::invalid_params(reader.violations)))
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

/// Reads Python objects, and collects what is not plain data.
#[derive(Default)]
struct Reader {
    steps: Vec<Step>,
    violations: Vec<Violation>,
}

impl Reader {
    /// Reports the value at the current path, and returns one that every field refuses: a list of an empty list.
    fn refuse(&mut self, message: String) -> Value {
        self.violations.push(Violation::new(path(&self.steps), message));
        Value::Array(vec![Value::Array(Vec::new())])
    }

    fn read(&mut self, object: &Bound<'_, PyAny>) -> PyResult<Value> {
        let py = object.py();
        if self.steps.len() > MAX_DEPTH {
            let message = format!("got more than {MAX_DEPTH} levels of nesting, expected at most {MAX_DEPTH}");
            return Ok(self.refuse(message));
        }
        Ok(if object.is_none() {
            Value::Null
        } else if let Ok(flag) = object.cast::<PyBool>() {
            flag.is_true().into()
        } else if let Ok(text) = object.cast::<PyString>() {
            match text.to_str() {
                Ok(text) => text.into(),
                Err(error) => self.refuse(format!("not Unicode text: {error}")),
            }
        } else if object.is_instance_of::<PyInt>() {
            match (object.extract::<u64>(), object.extract::<i64>()) {
                (Ok(number), _) => number.into(),
                (_, Ok(number)) => number.into(),
                // Out of every range, which validation reports.
                _ => self.number(object),
            }
        } else if object.is_instance_of::<PyFloat>() {
            self.number(object)
        } else if object.is_instance_of::<PyList>() || object.is_instance_of::<PyTuple>() {
            self.list(object)?
        } else if let Ok(mapping) = object.cast::<PyMapping>() {
            self.dict(mapping)?
        } else if let Some(dump) = object.getattr_opt(intern!(py, "model_dump"))? {
            self.read(&dump.call0()?)?
        } else if let Some(tolist) = object.getattr_opt(intern!(py, "tolist"))? {
            // Numpy scalars and arrays.
            let plain = tolist.call0()?;
            if plain.get_type().is(object.get_type()) { self.not_plain_data(object) } else { self.read(&plain)? }
        } else {
            self.not_plain_data(object)
        })
    }

    fn number(&mut self, object: &Bound<'_, PyAny>) -> Value {
        let number = object.extract::<f64>().unwrap_or(f64::INFINITY);
        let plain = Number::from_f64(number).map(Value::Number);
        plain.unwrap_or_else(|| self.refuse(format!("got {object}, expected a finite number")))
    }

    fn list(&mut self, object: &Bound<'_, PyAny>) -> PyResult<Value> {
        let mut items = Vec::new();
        for (index, item) in object.try_iter()?.enumerate() {
            items.push(self.inside(Step::Index(index), &item?)?);
        }
        Ok(Value::Array(items))
    }

    fn dict(&mut self, mapping: &Bound<'_, PyMapping>) -> PyResult<Value> {
        let mut entries = Map::new();
        for entry in mapping.items()?.iter() {
            let (name, value): (Bound<'_, PyAny>, Bound<'_, PyAny>) = entry.extract()?;
            match name.extract::<String>() {
                Ok(name) => {
                    let value = self.inside(Step::Name(name.clone()), &value)?;
                    entries.insert(name, value);
                }
                Err(_) => {
                    let message = format!("got the name {}, expected text", name.repr()?);
                    self.refuse(message);
                }
            }
        }
        Ok(Value::Object(entries))
    }

    fn inside(&mut self, step: Step, object: &Bound<'_, PyAny>) -> PyResult<Value> {
        if self.violations.len() >= MAX_VIOLATIONS {
            // A list that contains itself several times has more than can be reported.
            return Ok(Value::Null);
        }
        self.steps.push(step);
        let value = self.read(object);
        self.steps.pop();
        value
    }

    fn not_plain_data(&mut self, object: &Bound<'_, PyAny>) -> Value {
        let name = type_name(object);
        self.refuse(format!(
            "got the type {name}, expected plain data: text, a number, a flag, None, a list, a tuple or a dict"
        ))
    }
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
