//! Options of the executor `onnx`.

use std::path::PathBuf;

use dreamframe::ExecutorKind;
use dreamframe::load::OnnxRuntimeFiles;
use pyo3::prelude::*;
use pyo3::types::PyInt;

use crate::errors::invalid_call;
use crate::options::type_error;

/// Reads the index of a device.
pub(crate) fn device_index(value: &Bound<'_, PyAny>) -> PyResult<u32> {
    const EXPECTED: &str = "an integer of at least 0, or None";

    value.extract().map_err(|_| match value.is_instance_of::<PyInt>() {
        true => invalid_call(value.py(), format!("device_index: got {value}, expected {EXPECTED}")),
        false => type_error("device_index", value, EXPECTED),
    })
}

/// Reads the path of ONNX Runtime. Without one, it is the package `onnxruntime` for the executors that use it, unless the
/// environment names another.
pub(crate) fn library(
    py: Python<'_>,
    path: Option<&Bound<'_, PyAny>>,
    executor: ExecutorKind,
) -> PyResult<Option<PathBuf>> {
    if matches!(executor, ExecutorKind::Auto | ExecutorKind::Onnx) {
        disable_telemetry(py)?;
    }
    if let Some(path) = path {
        let library = path.extract().map_err(|_| type_error("onnxruntime", path, "a path, or None"))?;
        return Ok(Some(library));
    }
    let is_named = std::env::var_os(OnnxRuntimeFiles::VARIABLE).is_some_and(|path| !path.is_empty());
    if is_named || !matches!(executor, ExecutorKind::Auto | ExecutorKind::Onnx) {
        return Ok(None);
    }
    // A package without ONNX Runtime's library, such as a module of the same name, does not count.
    Ok(package(py).filter(|folder| OnnxRuntimeFiles::find(Some(folder)).is_ok()))
}

/// Switches off the telemetry of ONNX Runtime, unless the environment has a value for it: its builds send events to their
/// vendor unless the variable is set before the library is loaded.
fn disable_telemetry(py: Python<'_>) -> PyResult<()> {
    py.import("os")?.getattr("environ")?.call_method1("setdefault", ("ORT_DISABLE_TELEMETRY", "1"))?;
    Ok(())
}

/// Returns the folder of the package `onnxruntime`, if it is installed. It is not imported.
fn package(py: Python<'_>) -> Option<PathBuf> {
    let found = py.import("importlib.util").and_then(|util| util.call_method1("find_spec", ("onnxruntime",)));
    let folders = found.and_then(|spec| spec.getattr("submodule_search_locations")).ok()?;
    folders.try_iter().ok()?.next()?.and_then(|folder| folder.extract()).ok()
}
