//! Reads the options of a stream from Python.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use dreamframe::load::Calibration;
use dreamframe::{EngineOptions, Error, ErrorKind, ModelSource, PackedCache, Vae};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyInt, PyString};

use crate::errors::{OrRaise, invalid_call};
use crate::{onnx, plain, results};

/// The options of a stream, as given; absent ones have the library's defaults.
pub(crate) struct Given<'a, 'py> {
    pub(crate) executor: Option<&'a Bound<'py, PyAny>>,
    pub(crate) provider: Option<&'a Bound<'py, PyAny>>,
    pub(crate) device_index: Option<&'a Bound<'py, PyAny>>,
    pub(crate) onnxruntime: Option<&'a Bound<'py, PyAny>>,
    pub(crate) cuda_graphs: bool,
    pub(crate) dtype: Option<&'a Bound<'py, PyAny>>,
    pub(crate) vae: Option<&'a Bound<'py, PyAny>>,
    pub(crate) calibration: Option<&'a Bound<'py, PyAny>>,
    pub(crate) ip_adapter: Option<&'a Bound<'py, PyAny>>,
    pub(crate) flagged: Option<&'a Bound<'py, PyAny>>,
    pub(crate) control_images: Option<&'a Bound<'py, PyAny>>,
    pub(crate) packed_cache: Option<&'a Bound<'py, PyAny>>,
    pub(crate) threads: Option<&'a Bound<'py, PyAny>>,
    pub(crate) noise: Option<&'a Bound<'py, PyAny>>,
    pub(crate) lora_mode: Option<&'a Bound<'py, PyAny>>,
    pub(crate) batching: Option<&'a Bound<'py, PyAny>>,
    pub(crate) batch_streams: Option<&'a Bound<'py, PyAny>>,
    pub(crate) batch_wait_ms: Option<&'a Bound<'py, PyAny>>,
    pub(crate) region_reuse: Option<&'a Bound<'py, PyAny>>,
    pub(crate) region_threshold: Option<f32>,
    pub(crate) fit: Option<&'a Bound<'py, PyAny>>,
}

impl Given<'_, '_> {
    /// Reads the options.
    ///
    /// # Errors
    ///
    /// `TypeError` or `InvalidArgumentError`, with the name of the option; errors of reading the calibration.
    pub(crate) fn read(&self, py: Python<'_>) -> PyResult<EngineOptions> {
        let mut options = EngineOptions::default();
        options.threads = self.threads.map(count).transpose()?;
        choose("executor", self.executor, &mut options.executor)?;
        choose("provider", self.provider, &mut options.onnx.provider)?;
        if let Some(index) = self.device_index {
            options.onnx.device_index = onnx::device_index(index)?;
        }
        options.onnx.cuda_graphs = self.cuda_graphs;
        options.onnx.library = onnx::library(py, self.onnxruntime, options.executor)?;
        choose("dtype", self.dtype, &mut options.dtype)?;
        options.vae = self.vae.map(vae).transpose()?.unwrap_or_default();
        options.calibration = self.calibration.map(calibration).transpose()?;
        options.ip_adapter = self.ip_adapter.map(|id| text("ip_adapter", id)).transpose()?;
        choose("flagged", self.flagged, &mut options.flagged)?;
        choose("control_images", self.control_images, &mut options.control_images)?;
        if let Some(place) = self.packed_cache {
            options.packed_cache = packed_cache(place)?;
        }
        choose("noise", self.noise, &mut options.noise)?;
        choose("lora_mode", self.lora_mode, &mut options.lora_mode)?;
        choose("batching", self.batching, &mut options.batching)?;
        choose("batch_streams", self.batch_streams, &mut options.batch_streams)?;
        if let Some(wait) = self.batch_wait_ms {
            options.batch_wait = Duration::from_millis(positive("batch_wait_ms", wait)?.get().into());
        }
        choose("region_reuse", self.region_reuse, &mut options.region_reuse)?;
        if let Some(threshold) = self.region_threshold {
            options.region_threshold = threshold;
        }
        if let Some(fit) = self.fit {
            options.fit = results::fit(py, &text("fit", fit)?)?;
        }
        Ok(options)
    }
}

/// Parses an option by its name, if given.
fn choose<T: FromStr<Err = Error>>(name: &str, value: Option<&Bound<'_, PyAny>>, option: &mut T) -> PyResult<()> {
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
fn vae(value: &Bound<'_, PyAny>) -> PyResult<Vae> {
    if let Ok(text) = value.extract::<String>() {
        return Ok(Vae::from(text.as_str()));
    }
    value.extract().map(Vae::Folder).map_err(|_| type_error("vae", value, "text, a path, or None"))
}

/// Reads where packed weights are stored: `beside`, `off` or a folder in text, or a path object.
fn packed_cache(value: &Bound<'_, PyAny>) -> PyResult<PackedCache> {
    if let Ok(text) = value.extract::<String>() {
        return Ok(PackedCache::from(text.as_str()));
    }
    let folder = value.extract::<PathBuf>();
    folder.map(PackedCache::Folder).map_err(|_| type_error("packed_cache", value, "text, a path, or None"))
}

/// Reads the file of a calibration.
fn calibration(value: &Bound<'_, PyAny>) -> PyResult<Arc<Calibration>> {
    let path: PathBuf = value.extract().map_err(|_| type_error("calibration", value, "a path, or None"))?;
    Calibration::read(&path).map(Arc::new).or_raise(value.py())
}

/// Reads the number of threads.
fn count(value: &Bound<'_, PyAny>) -> PyResult<usize> {
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
