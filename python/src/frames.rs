//! Iterator that processes the frames of a Python iterator.

use pyo3::prelude::*;
use pyo3::types::PyIterator;

use crate::stream::StreamDiffusion;

// Processes frames lazily.
#[pyclass(module = "dreamframe._dreamframe", frozen)]
pub(crate) struct Frames {
    pub(crate) stream: Py<StreamDiffusion>,
    pub(crate) source: Py<PyIterator>,
}

#[pymethods]
impl Frames {
    // -> "Self"
    fn __iter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    // -> "Picture"
    fn __next__(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        let frame = self.source.bind(py).clone().next().transpose()?;
        frame.map(|frame| self.stream.get().__call__(&frame)).transpose()
    }
}
