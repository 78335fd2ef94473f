//! Callables of the host that an engine calls: processors, a safety checker, sources of style images.
//!
//! They are called on the engine's threads, while the caller waits without the interpreter. `_hooks.py` converts their
//! arguments and results.

use std::fmt;
use std::sync::Arc;

use dreamframe::params::ProcessorName;
use dreamframe::preprocess::{Context, Factory, Image, Preprocessor, Registry};
use dreamframe::{EngineBuilder, Error, ErrorKind, SafetyChecker, StyleImages};
use pyo3::buffer::PyBuffer;
use pyo3::exceptions::PyOSError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyMapping};
use serde_json::{Map, Value};

use crate::errors::{Raised, invalid_call};
use crate::options::{check_callable, text, type_error};
use crate::{interpreter, plain};

/// The callables that a stream was created with.
pub(crate) struct Hooks<'a, 'py> {
    pub(crate) processors: Option<&'a Bound<'py, PyAny>>,
    pub(crate) safety_checker: Option<&'a Bound<'py, PyAny>>,
    pub(crate) style_images: Option<&'a Bound<'py, PyAny>>,
    pub(crate) face_embeddings: Option<&'a Bound<'py, PyAny>>,
}

impl Hooks<'_, '_> {
    /// Gives the callables to an engine's builder.
    ///
    /// # Errors
    ///
    /// `TypeError` for what is not callable, `InvalidArgumentError` for the name of no processor.
    pub(crate) fn set(&self, mut builder: EngineBuilder) -> PyResult<EngineBuilder> {
        if let Some(processors) = self.processors {
            builder = builder.processors(registry(processors)?);
        }
        if let Some(checker) = self.safety_checker {
            check_callable("safety_checker", Some(checker))?;
            builder = builder.safety_checker(Arc::new(Checker(checker.clone().unbind())));
        }
        check_callable("style_images", self.style_images)?;
        check_callable("face_embeddings", self.face_embeddings)?;
        if self.style_images.is_some() || self.face_embeddings.is_some() {
            let own = |hook: Option<&Bound<'_, PyAny>>| hook.map(|hook| hook.clone().unbind());
            let styles = Styles { images: own(self.style_images), faces: own(self.face_embeddings) };
            builder = builder.style_images(Arc::new(styles));
        }
        Ok(builder)
    }
}

/// Reads the processors by name.
fn registry(processors: &Bound<'_, PyAny>) -> PyResult<Registry> {
    let py = processors.py();
    let mapping = processors
        .cast::<PyMapping>()
        .map_err(|_| type_error("processors", processors, "a mapping of names to callables, or None"))?;
    let mut registry = Registry::new();
    for entry in mapping.items()?.iter() {
        let (name, callback): (Bound<'_, PyAny>, Bound<'_, PyAny>) = entry.extract()?;
        let name = text("processors", &name)?;
        let known = ProcessorName::ALL.iter().find(|known| known.name() == name);
        let known = *known.ok_or_else(|| {
            let names: Vec<_> = ProcessorName::ALL.iter().map(|known| known.name()).collect();
            invalid_call(py, format!("processors: got {name:?}, expected one of {}", names.join(", ")))
        })?;
        check_callable(&format!("processors[{name:?}]"), Some(&callback))?;
        registry = registry.with(known, Arc::new(Processors(Arc::new(callback.unbind()))));
    }
    Ok(registry)
}

/// Returns the error for a callback that is due when the interpreter is being finalized.
fn finalized() -> Error {
    Error::new(ErrorKind::Closed, "the interpreter is being finalized")
}

fn helper<'py>(py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyAny>> {
    py.import(intern!(py, "dreamframe._hooks"))?.getattr(name)
}

/// Starts processors that call the same callable.
#[derive(Debug)]
struct Processors(Arc<Py<PyAny>>);

impl Factory for Processors {
    fn start(&self, settings: &Map<String, Value>) -> Box<dyn Preprocessor> {
        Box::new(Processor { callback: self.0.clone(), settings: settings.clone() })
    }
}

/// A processor that is a callable.
#[derive(Debug)]
struct Processor {
    callback: Arc<Py<PyAny>>,
    settings: Map<String, Value>,
}

impl Processor {
    fn call(&self, py: Python<'_>, input: &Image, context: &Context<'_>, output: &mut Image) -> PyResult<()> {
        let previous = context.previous.map(|previous| to_array(py, previous)).transpose()?;
        let arguments =
            (&*self.callback, to_array(py, input)?, previous, plain::map_to_python(py, &self.settings)?, context.size);
        let result = helper(py, "process")?.call1(arguments)?;
        let buffer = PyBuffer::<f32>::get(&result)?;
        let &[height, width, channels] = buffer.shape() else {
            return Err(type_error("result of a processor", &result, "height x width x channels"));
        };
        output.resize(width, height, channels);
        buffer.copy_to_slice(py, output.pixels_mut())
    }
}

impl Preprocessor for Processor {
    /// Calls the callable. After an exception, which is reported, the result is the input.
    fn run(&mut self, input: &Image, context: &Context<'_>, output: &mut Image) -> dreamframe::Result<()> {
        let done = interpreter::attach_engine(|py| {
            if let Err(error) = self.call(py, input, context, output) {
                error.write_unraisable(py, Some(self.callback.bind(py)));
                output.copy_from(input);
            }
        });
        done.ok_or_else(finalized)
    }

    fn configure(&mut self, settings: &Map<String, Value>) {
        self.settings.clone_from(settings);
    }
}

/// Copies an image to a numpy array of float32, height x width x channels.
fn to_array<'py>(py: Python<'py>, image: &Image) -> PyResult<Bound<'py, PyAny>> {
    let array = helper(py, "empty")?.call1((image.height(), image.width(), image.channels()))?;
    PyBuffer::<f32>::get(&array)?.copy_from_slice(py, image.pixels())?;
    Ok(array)
}

/// A safety checker that is a callable.
#[derive(Debug)]
struct Checker(Py<PyAny>);

impl SafetyChecker for Checker {
    /// Calls the callable. After an exception, which is reported, the picture is flagged.
    fn score(&self, image: &Image) -> dreamframe::Result<f32> {
        const FLAGGED: f32 = 1.0;

        let scored = interpreter::attach_engine(|py| {
            let scored = to_array(py, image)
                .and_then(|image| helper(py, "score")?.call1((self.0.bind(py), image))?.extract::<f32>());
            scored.unwrap_or_else(|error| {
                error.write_unraisable(py, Some(self.0.bind(py)));
                FLAGGED
            })
        });
        scored.ok_or_else(finalized)
    }
}

/// Sources of style images and of the embeddings of faces.
struct Styles {
    images: Option<Py<PyAny>>,
    faces: Option<Py<PyAny>>,
}

impl fmt::Debug for Styles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Styles").finish_non_exhaustive()
    }
}

impl StyleImages for Styles {
    fn fetch(&self, url: &str) -> dreamframe::Result<Vec<u8>> {
        ask("style_images", self.images.as_ref(), "fetch", url, |bytes| {
            Ok(bytes.cast::<PyBytes>()?.as_bytes().to_vec())
        })
    }

    fn face(&self, source: &str) -> dreamframe::Result<Vec<f32>> {
        ask("face_embeddings", self.faces.as_ref(), "embed", source, |numbers| numbers.extract::<Vec<f32>>())
    }
}

/// Calls a callable through the function `through` of `_hooks.py`.
///
/// # Errors
///
/// `Unsupported` without a callable; `Io` if it raises an `OSError`, `InvalidArgument` if it raises anything else, with
/// the exception as the source.
fn ask<T>(
    option: &str,
    callback: Option<&Py<PyAny>>,
    through: &str,
    argument: &str,
    read: impl FnOnce(Bound<'_, PyAny>) -> PyResult<T>,
) -> dreamframe::Result<T> {
    let Some(callback) = callback else {
        return Err(Error::new(ErrorKind::Unsupported, format!("the stream was created without `{option}`")));
    };
    let asked = interpreter::attach_engine(|py| {
        let answer = helper(py, through).and_then(|through| through.call1((callback.bind(py), argument)));
        answer.and_then(read).map_err(|error| {
            let kind = if error.is_instance_of::<PyOSError>(py) { ErrorKind::Io } else { ErrorKind::InvalidArgument };
            Error::new(kind, format!("`{option}` failed")).with_source(Raised::new(error))
        })
    });
    asked.ok_or_else(finalized)?
}
