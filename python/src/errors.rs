//! Converts the library's errors to Python exceptions. `errors.py` maps kinds to classes.

use std::error::Error as StdError;
use std::fmt;

use dreamframe::{Error, ErrorKind, Violation};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

/// Returns the exception for an error: its class follows from the kind, its text includes the causes.
pub(crate) fn exception(py: Python<'_>, error: &Error) -> PyErr {
    // A failure here is itself an exception.
    build(py, error).map_or_else(|error| error, |exception| PyErr::from_value(exception))
}

/// Like [`exception`], for an invalid call.
pub(crate) fn invalid_call(py: Python<'_>, text: impl Into<String>) -> PyErr {
    exception(py, &Error::new(ErrorKind::InvalidArgument, text))
}

/// Like [`exception`], for a single invalid parameter.
pub(crate) fn invalid_params(py: Python<'_>, path: impl Into<String>, message: impl Into<String>) -> PyErr {
    let violation = Violation::new(path, message);
    exception(py, &Error::invalid_params(vec![violation]))
}

fn build<'py>(py: Python<'py>, error: &Error) -> PyResult<Bound<'py, PyAny>> {
    let errors = py.import(intern!(py, "dreamframe.errors"))?;
    let class = errors.getattr(intern!(py, "_BY_KIND"))?.get_item(error.kind().name())?;
    let exception = class.call1((format!("{error:#}"),))?;
    if !error.violations().is_empty() {
        let class = errors.getattr(intern!(py, "Violation"))?;
        let violations = error.violations().iter().map(|violation| class.call1((&violation.path, &violation.message)));
        let violations = PyTuple::new(py, violations.collect::<PyResult<Vec<_>>>()?)?;
        exception.setattr(intern!(py, "violations"), violations)?;
    }
    let mut sources = std::iter::successors(StdError::source(error), |&error| error.source());
    if let Some(raised) = sources.find_map(|source| source.downcast_ref::<Raised>()) {
        exception.setattr(intern!(py, "__cause__"), raised.exception.value(py))?;
    }
    Ok(exception)
}

/// An exception of a callback, as the source of an error of the library. Its text needs no interpreter.
pub(crate) struct Raised {
    text: String,
    exception: PyErr,
}

impl Raised {
    pub(crate) fn new(exception: PyErr) -> Self {
        // The class and the message.
        Self { text: exception.to_string(), exception }
    }
}

impl fmt::Display for Raised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Raised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Raised").field(&self.text).finish()
    }
}

impl StdError for Raised {}

/// Converts a `Result` of the library to a `PyResult`.
pub(crate) trait OrRaise<T> {
    /// Returns the value, or raises the error as an exception.
    fn or_raise(self, py: Python<'_>) -> PyResult<T>;
}

impl<T> OrRaise<T> for dreamframe::Result<T> {
    fn or_raise(self, py: Python<'_>) -> PyResult<T> {
        self.map_err(|error| exception(py, &error))
    }
}
