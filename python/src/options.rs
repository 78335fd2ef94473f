//! Reads the options of a stream from Python.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::str::FromStr;

use dreamframe::{Error, ErrorKind, ModelSource, Vae};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyInt, PyString};

use crate::errors::{OrRaise, invalid_call};
use crate::plain;

/// Parses an option by its name, if given.
pub(crate) fn choose<T: FromStr<Err = Error>>(
    name: &str,
    value: Option<&Bound<'_, PyAny>>,
    option: &mut T,
) -> PyResult<()> {
    if let Some(value) = value {
        *option = text(name, value)?.parse::<T>().or_raise(value.py())?;
    }
    Ok(())
}

/// Reads text; the error names the option.
pub(crate) fn text(name: &str, value: &Bound<'_, PyAny>) -> PyResult<String> {
    value.extract().map_err(|_| type_error(name, value, "text"))
}

/// Reads the autoencoder: a name, an id or a path in text, or a path object.
pub(crate) fn vae(value: &Bound<'_, PyAny>) -> PyResult<Vae> {
    if let Ok(text) = value.extract::<String>() {
        return Ok(Vae::from(text.as_str()));
    }
    value.extract().map(Vae::Folder).map_err(|_| type_error("vae", value, "text, a path, or None"))
}

/// Reads the number of threads.
pub(crate) fn count(value: &Bound<'_, PyAny>) -> PyResult<usize> {
    value.extract().map_err(|_| type_error("threads", value, "an integer of at least 1, or None"))
}

/// Reads a number that is at least one.
pub(crate) fn positive(name: &str, value: &Bound<'_, PyAny>) -> PyResult<NonZeroU32> {
    const EXPECTED: &str = "an integer from 1 to 4294967295, or None";

    value.extract().map_err(|_| match value.is_instance_of::<PyInt>() {
        true => invalid_call(value.py(), format!("{name}: got {value}, expected {EXPECTED}")),
        false => type_error(name, value, EXPECTED),
    })
}

pub(crate) fn type_error(name: &str, value: &Bound<'_, PyAny>, expected: &str) -> PyErr {
    PyTypeError::new_err(format!("{name}: got {value:?}, expected {expected}"))
}

/// Checks that an option is callable, if given.
pub(crate) fn check_callable(name: &str, value: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
    match value {
        Some(value) if !value.is_callable() => Err(type_error(name, value, "a callable")),
        _ => Ok(()),
    }
}

/// Checks that this build can run networks on the device.
pub(crate) fn check_device(name: &str) -> dreamframe::Result<()> {
    match name {
        "auto" | "cpu" => Ok(()),
        "cuda" | "metal" => {
            let text = format!(
                "device: got {name:?}, expected \"auto\" or \"cpu\"; for a GPU: executor=\"auto\", or executor=\"onnx\" and a provider"
            );
            Err(Error::new(ErrorKind::Unsupported, text))
        }
        _ => {
            let text = format!("device: got {name:?}, expected one of auto, cpu");
            Err(Error::new(ErrorKind::InvalidArgument, text))
        }
    }
}

/// The source of models, as given from Python.
pub(crate) struct Models(pub(crate) ModelSource);

impl Default for Models {
    fn default() -> Self {
        Self(ModelSource::Demo)
    }
}

impl<'py> FromPyObject<'_, 'py> for Models {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        if let Ok(name) = object.cast::<PyString>() {
            return Ok(Self(ModelSource::from(name.to_str()?)));
        }
        match object.extract::<PathBuf>() {
            Ok(path) => Ok(Self(ModelSource::folder(path))),
            Err(_) => Err(invalid_call(
                object.py(),
                format!("models: got a {}, expected \"demo\" or a folder", plain::type_name(&object)),
            )),
        }
    }
}
