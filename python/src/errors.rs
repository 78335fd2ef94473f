//! The library's errors as Python's exceptions. Which class stands for which kind, `errors.py` says.

use dreamframe::{Error, ErrorKind, Violation};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

/// Makes the exception of an error: its class by the kind, its text with the causes.
pub(crate) fn exception(py: Python<'_>, error: &Error) -> PyErr {
    // What goes wrong here is itself an exception.
    build(py, error).map_or_else(|error| error, |exception| PyErr::from_value(exception))
}

/// As [`exception`], for a call that is wrong in itself.
pub(crate) fn wrong_call(py: Python<'_>, text: impl Into<String>) -> PyErr {
    exception(py, &Error::new(ErrorKind::InvalidArgument, text))
}

/// As [`exception`], for parameters of which one thing is wrong.
pub(crate) fn wrong_params(py: Python<'_>, path: impl Into<String>, message: impl Into<String>) -> PyErr {
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
    Ok(exception)
}

/// Lets a result of the library go on as one of Python's.
pub(crate) trait OrRaise<T> {
    /// Raises the error, if it is one.
    fn or_raise(self, py: Python<'_>) -> PyResult<T>;
}

impl<T> OrRaise<T> for dreamframe::Result<T> {
    fn or_raise(self, py: Python<'_>) -> PyResult<T> {
        self.map_err(|error| exception(py, &error))
    }
}
