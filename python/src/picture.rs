//! Pictures and frames as numpy arrays with metadata.

use std::slice;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use dreamframe::frame::FrameCopier;
use dreamframe::{Error, ErrorKind, FrameViewMut, PictureInfo, PictureKind, PixelFormat};
use pyo3::buffer::PyBuffer;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use crate::errors::{OrRaise, exception, invalid_call};
use crate::frame;
use crate::shared_state::lock;

/// The values of `output`, with the number of channels of each.
const OUTPUTS: [(&str, PixelFormat, u32); 3] =
    [("rgba", PixelFormat::Rgba8, 4), ("bgra", PixelFormat::Bgra8, 4), ("rgb", PixelFormat::Rgb8, 3)];

/// Parses a pixel format by its name.
pub(crate) fn output(py: Python<'_>, name: &str) -> PyResult<PixelFormat> {
    let known = OUTPUTS.iter().find(|(known, _, _)| *known == name);
    known.map(|(_, format, _)| *format).ok_or_else(|| {
        let names = OUTPUTS.map(|(name, _, _)| name).join(", ");
        invalid_call(py, format!("output: got {name:?}, expected one of {names}"))
    })
}

/// A new array for a picture or a frame, not yet visible to Python.
pub(crate) struct OutputArray {
    picture: Py<PyAny>,
    buffer: PyBuffer<u8>,
    format: PixelFormat,
    width: u32,
    height: u32,
}

impl OutputArray {
    /// Creates a numpy array for a picture.
    pub(crate) fn new(py: Python<'_>, format: PixelFormat, size: (u32, u32)) -> PyResult<Self> {
        Self::of_class(py, intern!(py, "Picture"), format, size)
    }

    /// Creates a numpy array for a frame.
    pub(crate) fn for_frame(py: Python<'_>, format: PixelFormat, size: (u32, u32)) -> PyResult<Self> {
        Self::of_class(py, intern!(py, "Frame"), format, size)
    }

    fn of_class(
        py: Python<'_>,
        class: &Bound<'_, PyString>,
        format: PixelFormat,
        (width, height): (u32, u32),
    ) -> PyResult<Self> {
        let known = OUTPUTS.iter().find(|(_, known, _)| *known == format);
        let &(name, _, channels) = known.ok_or_else(|| {
            exception(py, &Error::new(ErrorKind::Internal, format!("{format} has no format in Python")))
        })?;
        let module = py.import(intern!(py, "dreamframe._picture"))?;
        let picture = module.getattr(class)?.call_method1(intern!(py, "_empty"), (height, width, channels))?;
        picture.setattr(intern!(py, "order"), name)?;
        let buffer = PyBuffer::<u8>::get(&picture)?;
        if buffer.readonly() || !buffer.is_c_contiguous() || buffer.item_count() != format.packed_len(width, height) {
            return Err(exception(py, &Error::new(ErrorKind::Internal, "numpy returned an array of another shape")));
        }
        Ok(Self { picture: picture.unbind(), buffer, format, width, height })
    }

    /// Returns the size of the array, in pixels.
    pub(crate) fn size(&self) -> (u32, u32) {
        (self.width, self.height)
    }

    /// Returns a mutable view of the pixels.
    pub(crate) fn view(&mut self) -> dreamframe::Result<FrameViewMut<'_>> {
        // SAFETY: `new` has checked that the buffer is writable, contiguous and of this length; it keeps the memory in
        // place. No other reference to the array exists until `done` takes `self`.
        let pixels = unsafe { slice::from_raw_parts_mut(self.buffer.buf_ptr().cast::<u8>(), self.buffer.item_count()) };
        FrameViewMut::packed(self.format, self.width, self.height, pixels)
    }

    /// Returns the array, without metadata.
    pub(crate) fn into_array(self) -> Py<PyAny> {
        self.picture
    }

    /// Returns the array, with the picture's metadata.
    pub(crate) fn into_picture(self, py: Python<'_>, info: &PictureInfo) -> PyResult<Py<PyAny>> {
        drop(self.buffer);
        let picture = self.picture.bind(py);
        picture.setattr(intern!(py, "id"), info.id.0)?;
        picture.setattr(intern!(py, "source_id"), info.source_id.0)?;
        picture.setattr(intern!(py, "kind"), kind(info.kind))?;
        picture.setattr(intern!(py, "version"), info.version)?;
        let timings = PyDict::new(py);
        for (stage, micros) in info.timings.stages() {
            timings.set_item(stage, micros)?;
        }
        picture.setattr(intern!(py, "timings"), timings)?;
        Ok(self.picture)
    }
}

/// The format of the pictures of a session: a fixed one, or that of the newest frame.
#[derive(Debug)]
pub(crate) struct PictureFormat {
    is_fixed: bool,
    /// An index into `OUTPUTS`.
    current: AtomicUsize,
    copier: Mutex<FrameCopier>,
}

impl PictureFormat {
    /// Creates a format that is `fixed`, or follows the frames.
    pub(crate) fn new(fixed: Option<PixelFormat>) -> Self {
        Self { is_fixed: fixed.is_some(), current: AtomicUsize::new(fixed.map_or(0, index)), copier: Mutex::default() }
    }

    /// Takes the format of a frame.
    pub(crate) fn follow(&self, frame: PixelFormat) {
        if !self.is_fixed {
            self.current.store(index(frame::picture_format(frame)), Ordering::Relaxed);
        }
    }

    fn get(&self) -> PixelFormat {
        OUTPUTS.get(self.current.load(Ordering::Relaxed)).map_or(PixelFormat::Rgba8, |(_, format, _)| *format)
    }

    /// Copies a picture of a session into an array of this format.
    pub(crate) fn copied(&self, py: Python<'_>, picture: &dreamframe::Picture) -> PyResult<Py<PyAny>> {
        let frame = &picture.frame;
        let mut array = OutputArray::new(py, self.get(), (frame.width(), frame.height()))?;
        let mut copier = lock(&self.copier);
        array.view().and_then(|mut view| copier.copy(&frame.view(), &mut view)).or_raise(py)?;
        drop(copier);
        array.into_picture(py, &picture.info())
    }
}

fn index(format: PixelFormat) -> usize {
    OUTPUTS.iter().position(|(_, known, _)| *known == format).unwrap_or(0)
}

fn kind(kind: PictureKind) -> &'static str {
    match kind {
        PictureKind::New => "new",
        PictureKind::Repeated => "repeated",
        PictureKind::Flagged => "flagged",
        PictureKind::Interpolated => "interpolated",
        PictureKind::Passed | _ => "passed",
    }
}
