//! Parameters and their parts: the native functions for `_model.py`. All rules come from the library.

use dreamframe::params::{
    CachedAttentionConfig, ControlNetConfig, FIELDS, FeatureReuseConfig, IPAdapterConfig, Img2ImgTurboConfig,
    InterpolationConfig, Notice, ProcessingConfig, SingleProcessorConfig, schema,
};
use dreamframe::{Error, ErrorKind, ParamsPatch, StreamDiffusionParams, Transition, Violation};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::errors::{OrRaise, invalid_params};
use crate::plain::{self, Values};

/// A class of parameters: its path in the table of fields, and a valid value.
struct Part {
    path: &'static str,
    sample: fn() -> Value,
    /// Fills in missing values.
    complete: fn(Value) -> serde_json::Result<Value>,
}

const PARTS: [Part; 9] = [
    Part { path: "", sample: || json!({}), complete: complete::<StreamDiffusionParams> },
    Part { path: "controlnets[]", sample: || json!({"model_id": "-"}), complete: complete::<ControlNetConfig> },
    Part { path: "ip_adapter", sample: || json!({}), complete: complete::<IPAdapterConfig> },
    Part { path: "cached_attention", sample: || json!({}), complete: complete::<CachedAttentionConfig> },
    Part { path: "feature_reuse", sample: || json!({}), complete: complete::<FeatureReuseConfig> },
    Part { path: "interpolation", sample: || json!({}), complete: complete::<InterpolationConfig> },
    Part { path: "img2img_turbo", sample: || json!({}), complete: complete::<Img2ImgTurboConfig> },
    Part { path: "image_preprocessing", sample: || json!({}), complete: complete::<ProcessingConfig> },
    Part {
        path: "image_preprocessing.processors[]",
        sample: || json!({"type": "passthrough"}),
        complete: complete::<SingleProcessorConfig>,
    },
];

fn complete<T: Serialize + DeserializeOwned>(value: Value) -> serde_json::Result<Value> {
    serde_json::to_value(serde_json::from_value::<T>(value)?)
}

impl Part {
    fn at(path: &str) -> PyResult<&'static Self> {
        let part = PARTS.iter().find(|part| part.path == path);
        part.ok_or_else(|| PyValueError::new_err(format!("path: got {path:?}, expected a part of the parameters")))
    }

    /// Returns parameters that contain this part only.
    fn within(&self, values: Map<String, Value>) -> Value {
        self.path.rsplit('.').filter(|step| !step.is_empty()).fold(Value::Object(values), |inside, step| {
            match step.strip_suffix("[]") {
                Some(list) => json!({ list: [inside] }),
                None => json!({ step: inside }),
            }
        })
    }

    /// Converts a path in those parameters to a path in this part.
    fn relative_path(&self, path: &str) -> String {
        let prefix = self.path.replace("[]", "[0]");
        path.strip_prefix(&prefix).unwrap_or(path).trim_start_matches('.').to_owned()
    }

    /// Checks names, types and ranges, and returns the values with `null` and lists of processors replaced by what they
    /// mean.
    ///
    /// # Errors
    ///
    /// Every violation.
    fn read(&self, values: Map<String, Value>) -> Result<Map<String, Value>, Vec<Violation>> {
        let own =
            |violation: &Violation| Violation::new(self.relative_path(&violation.path), violation.message.clone());
        let patch = ParamsPatch::from_value(self.within(values));
        let patch = patch.map_err(|error| error.violations().iter().map(own).collect::<Vec<_>>())?;
        let steps = self.path.split('.').filter(|step| !step.is_empty());
        let part = steps.fold(patch.to_value(), |mut inside, step| match step.strip_suffix("[]") {
            Some(list) => inside[list][0].take(),
            None => inside[step].take(),
        });
        // As an object was put there, one is there.
        Ok(part.as_object().cloned().unwrap_or_default())
    }

    /// Checks values and fills in the missing ones.
    fn check(&self, values: Map<String, Value>) -> dreamframe::Result<Value> {
        if self.path.is_empty() {
            let (params, notices) = StreamDiffusionParams::from_json(&Value::Object(values).to_string())?;
            log_notices(&notices);
            return Ok(params.to_value());
        }
        self.completed(self.read(values).map_err(Error::invalid_params)?)
    }

    fn completed(&self, values: Map<String, Value>) -> dreamframe::Result<Value> {
        // Names and types were checked, so this does not fail.
        let wrong = |error: serde_json::Error| Error::new(ErrorKind::InvalidParams, error.to_string());
        (self.complete)(Value::Object(values)).map_err(wrong)
    }

    /// Returns the part's node in the schema.
    fn schema(&self) -> Option<&'static Value> {
        self.path.split('.').filter(|step| !step.is_empty()).try_fold(schema(), |node, step| {
            match step.strip_suffix("[]") {
                Some(list) => node.get("properties")?.get(list)?.get("items"),
                None => node.get("properties")?.get(step),
            }
        })
    }
}

/// Logs notices: where parameters are only constructed, there is no other place to report them.
fn log_notices(notices: &[Notice]) {
    for notice in notices {
        tracing::info!("{notice}");
    }
}

/// Checks the values of a part, complete or as a change of others, and fills in the missing ones.
#[pyfunction]
#[pyo3(signature = (part: "str", values: "object", base: "object | None" = None, /) -> "dict[str, typing.Any]")]
pub(crate) fn _check<'py>(
    part: &str,
    values: &Bound<'py, PyAny>,
    base: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = values.py();
    let part = Part::at(part)?;
    let values = Values::read(values)?;
    let checked = match base.map(Values::read).transpose()? {
        None => values.check(|values| part.check(values)),
        Some(base) if part.path.is_empty() => values.check(|values| changed(base, values)),
        Some(mut base) => {
            base.extend(values);
            base.check(|values| part.check(values))
        }
    };
    plain::to_python(py, &checked.or_raise(py)?)
}

/// Returns complete parameters after a change.
fn changed(base: Values, values: Map<String, Value>) -> dreamframe::Result<Value> {
    let (base, _) = base.check(|base| StreamDiffusionParams::from_json(&Value::Object(base).to_string()))?;
    let (params, notices) = base.patched(&Value::Object(values).to_string())?;
    log_notices(&notices);
    Ok(params.to_value())
}

/// Checks a single value of a part, and completes it.
#[pyfunction]
#[pyo3(signature = (part: "str", name: "str", value: "object", /) -> "typing.Any")]
pub(crate) fn _check_field<'py>(part: &str, name: &str, value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = value.py();
    let part = Part::at(part)?;
    let named = PyDict::new(py);
    named.set_item(name, value)?;
    let given = Values::read(named.as_any())?;
    let completed = given.check(|given| {
        let mut values = match (part.sample)() {
            Value::Object(sample) => sample,
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => Map::new(),
        };
        values.extend(given);
        part.completed(part.read(values).map_err(Error::invalid_params)?)
    });
    let completed = completed.or_raise(py)?;
    plain::to_python(py, completed.get(name).unwrap_or(&Value::Null))
}

/// Parses JSON: returns the checked values of a part, and those that were given explicitly.
#[pyfunction]
#[pyo3(signature = (
    part: "str",
    json: "str | bytes | bytearray",
    /,
) -> "tuple[dict[str, typing.Any], dict[str, typing.Any]]")]
pub(crate) fn _check_json<'py>(
    part: &str,
    json: &Bound<'py, PyAny>,
) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyAny>)> {
    let py = json.py();
    let part = Part::at(part)?;
    let text = text_of(json)?;
    if part.path.is_empty() {
        // The library's own parser rejects more than the one below.
        let (params, notices) = StreamDiffusionParams::from_json(&text).or_raise(py)?;
        log_notices(&notices);
        let given = serde_json::from_str(&text).unwrap_or_default();
        return Ok((plain::to_python(py, &params.to_value())?, plain::to_python(py, &given)?));
    }
    let given: Value = serde_json::from_str(&text)
        .map_err(|error| invalid_params(py, "parameters", format!("invalid JSON: {error}")))?;
    let given = plain::to_python(py, &given)?;
    let checked = Values::read(&given)?.check(|values| part.check(values));
    Ok((plain::to_python(py, &checked.or_raise(py)?)?, given))
}

fn text_of(json: &Bound<'_, PyAny>) -> PyResult<String> {
    if let Ok(text) = json.cast::<PyString>() {
        return Ok(text.to_str()?.to_owned());
    }
    let bytes: Vec<u8> = json.extract()?;
    String::from_utf8(bytes).map_err(|error| invalid_params(json.py(), "parameters", format!("not UTF-8: {error}")))
}

/// Returns the description of each field of a part, in order.
#[pyfunction]
#[pyo3(signature = (part: "str", /) -> "dict[str, dict[str, typing.Any]]")]
pub(crate) fn _fields<'py>(py: Python<'py>, part: &str) -> PyResult<Bound<'py, PyDict>> {
    let part = Part::at(part)?;
    let fields = PyDict::new(py);
    let node = part.schema().unwrap_or(&Value::Null);
    let required = node["required"].as_array().map(Vec::as_slice).unwrap_or_default();
    for (name, node) in node["properties"].as_object().into_iter().flatten() {
        let path = if part.path.is_empty() { name.clone() } else { format!("{}.{name}", part.path) };
        let row = FIELDS.iter().find(|field| field.path == path);
        let description = json!({
            "description": node["description"].as_str().unwrap_or_default(),
            "default": node["default"],
            "required": required.contains(&Value::from(name.as_str())),
            "allowed": row.map(|row| row.constraint.to_string()).unwrap_or_default(),
            "cost": row.map(|row| row.cost.name()),
        });
        fields.set_item(name, plain::to_python(py, &description)?)?;
    }
    Ok(fields)
}

/// Returns the JSON Schema of a part.
#[pyfunction]
#[pyo3(signature = (part: "str", /) -> "dict[str, typing.Any]")]
pub(crate) fn _schema<'py>(py: Python<'py>, part: &str) -> PyResult<Bound<'py, PyAny>> {
    plain::to_python(py, Part::at(part)?.schema().unwrap_or(&Value::Null))
}

/// Returns the parameters that suit a model.
#[pyfunction]
#[pyo3(signature = (name: "str", /) -> "dict[str, typing.Any]")]
pub(crate) fn _for_model<'py>(py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyAny>> {
    plain::to_python(py, &StreamDiffusionParams::for_model(name).or_raise(py)?.to_value())
}

/// Returns a preset: a complete set of parameters to start from.
#[pyfunction]
#[pyo3(signature = (name: "str", /) -> "dict[str, typing.Any]")]
pub(crate) fn _preset<'py>(py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyAny>> {
    let params = match name {
        "demo" => StreamDiffusionParams::demo(),
        "daydream" => StreamDiffusionParams::daydream(),
        _ => return Err(PyValueError::new_err(format!("preset: got {name:?}, expected one of demo, daydream"))),
    };
    plain::to_python(py, &params.to_value())
}

/// Reads complete parameters, given as a model or as plain data.
pub(crate) fn whole(params: &Bound<'_, PyAny>) -> PyResult<StreamDiffusionParams> {
    let py = params.py();
    let parse = |values| StreamDiffusionParams::from_json(&Value::Object(values).to_string());
    let (params, notices) = Values::read(params)?.check(parse).or_raise(py)?;
    log_notices(&notices);
    Ok(params)
}

/// Reads a change of `base`, given as a mapping, a model, keywords, or both; keywords take precedence. The violations of
/// an invalid change include those of rules between fields.
pub(crate) fn patch(
    py: Python<'_>,
    patch: Option<&Bound<'_, PyAny>>,
    changes: Option<&Bound<'_, PyDict>>,
    base: impl FnOnce() -> StreamDiffusionParams,
) -> PyResult<ParamsPatch> {
    let mut values = patch.map(Values::read).transpose()?.unwrap_or_default();
    if let Some(changes) = changes {
        values.extend(Values::read(changes.as_any())?);
    }
    let read = |values| {
        let values = Value::Object(values);
        let text = values.to_string();
        ParamsPatch::from_value(values).map_err(|error| base().patched(&text).err().unwrap_or(error))
    };
    values.check(read).or_raise(py)
}

/// Reads a transition of the prompt.
pub(crate) fn transition(
    target_prompts: &Bound<'_, PyAny>,
    num_steps: Option<u32>,
    temporal_interpolation_method: Option<&str>,
) -> PyResult<Transition> {
    let py = target_prompts.py();
    let prompts = plain::from_python(target_prompts)?;
    let method = temporal_interpolation_method.map(Value::from);
    let mut checked = Map::from_iter([("prompt".to_owned(), prompts.clone())]);
    checked.extend(method.clone().map(|method| ("prompt_interpolation_method".to_owned(), method)));
    // Checked by the rules of the parameters of the same type.
    ParamsPatch::from_value(Value::Object(checked)).or_raise(py)?;
    let given = [
        ("target_prompts", Some(prompts)),
        ("num_steps", num_steps.map(Value::from)),
        ("temporal_interpolation_method", method),
    ];
    let given = given.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    serde_json::from_value(Value::Object(given.collect()))
        .map_err(|error| invalid_params(py, "transition", error.to_string()))
}

/// Converts parameters to their Python class.
pub(crate) fn to_python<'py>(py: Python<'py>, params: &StreamDiffusionParams) -> PyResult<Bound<'py, PyAny>> {
    let class = py.import("dreamframe.params")?.getattr("StreamDiffusionParams")?;
    let values = plain::to_python(py, &params.to_value())?;
    class.call_method1("_trusted", (values,))
}
