//! The models that this machine can run.

use dreamframe::{Error, ErrorKind, MachineSpeed, recommend};
use pyo3::prelude::*;

use crate::errors::{OrRaise, exception};
use crate::{interpreter, plain};

/// Measures the processor, and returns a dict for each model and size.
#[pyfunction]
#[pyo3(signature = (
    threads: "int | None", sizes: "list[tuple[int, int]]", /,
) -> "list[dict[str, typing.Any]]")]
pub(crate) fn _recommend<'py>(
    py: Python<'py>,
    threads: Option<usize>,
    sizes: Vec<(u32, u32)>,
) -> PyResult<Bound<'py, PyAny>> {
    interpreter::check_not_forked().or_raise(py)?;
    if threads == Some(0) {
        let text = "threads: got 0, expected 1 to 1024";
        return Err(exception(py, &Error::new(ErrorKind::InvalidArgument, text)));
    }
    let found = py.detach(|| {
        let speed = MachineSpeed::measure(threads, &mut |_| {})?;
        recommend(&speed, &sizes)
    });
    plain::to_python(py, &serde_json::json!(found.or_raise(py)?))
}
