//! What a host chooses when it makes a stream, as Python says it.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::str::FromStr;

use dreamframe::{Error, ErrorKind, ModelSource};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyInt, PyString};

use crate::errors::{OrRaise, wrong_call};
use crate::plain;

/// Reads an option by its name, where it is given.
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

/// Reads text, and says whose it is where it is none.
pub(crate) fn text(name: &str, value: &Bound<'_, PyAny>) -> PyResult<String> {
    value.extract().map_err(|_| wrong_type(name, value, "text"))
}

/// Reads how many threads there shall be.
pub(crate) fn count(value: &Bound<'_, PyAny>) -> PyResult<usize> {
    value.extract().map_err(|_| wrong_type("threads", value, "an integer of at least 1, or None"))
}

/// Reads a number of something of which there is at least one.
pub(crate) fn positive(name: &str, value: &Bound<'_, PyAny>) -> PyResult<NonZeroU32> {
    const EXPECTED: &str = "an integer from 1 to 4294967295, or None";

    value.extract().map_err(|_| match value.is_instance_of::<PyInt>() {
        true => wrong_call(value.py(), format!("{name}: got {value}, expected {EXPECTED}")),
        false => wrong_type(name, value, EXPECTED),
    })
}

pub(crate) fn wrong_type(name: &str, value: &Bound<'_, PyAny>, expected: &str) -> PyErr {
    PyTypeError::new_err(format!("{name}: got {value:?}, expected {expected}"))
}

/// Checks that something can be called, where it is given.
pub(crate) fn check_callable(name: &str, value: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
    match value {
        Some(value) if !value.is_callable() => Err(wrong_type(name, value, "a callable")),
        _ => Ok(()),
    }
}

/// Checks that networks can run where they shall.
pub(crate) fn check_device(name: &str) -> dreamframe::Result<()> {
    match name {
        "auto" | "cpu" => Ok(()),
        "cuda" | "metal" => {
            let text =
                format!("device: got {name:?}, which this package does not support, expected \"auto\" or \"cpu\"");
            Err(Error::new(ErrorKind::Unsupported, text))
        }
        _ => {
            let text = format!("device: got {name:?}, expected one of auto, cpu");
            Err(Error::new(ErrorKind::InvalidArgument, text))
        }
    }
}

/// Where models come from, as Python says it.
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
            Err(_) => Err(wrong_call(
                object.py(),
                format!("models: got a {}, expected \"demo\" or a folder", plain::type_name(&object)),
            )),
        }
    }
}
