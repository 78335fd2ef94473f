//! Pictures and frames for Python: arrays of numpy, with what is known of them.

use std::slice;

use dreamframe::{Error, ErrorKind, FrameViewMut, PictureInfo, PictureKind, PixelFormat};
use pyo3::buffer::PyBuffer;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use crate::errors::{exception, wrong_call};

/// What `output` may be, with the channels of each.
const OUTPUTS: [(&str, PixelFormat, u32); 3] =
    [("rgba", PixelFormat::Rgba8, 4), ("bgra", PixelFormat::Bgra8, 4), ("rgb", PixelFormat::Rgb8, 3)];

/// The pixel format that a name stands for.
pub(crate) fn output(py: Python<'_>, name: &str) -> PyResult<PixelFormat> {
    let known = OUTPUTS.iter().find(|(known, _, _)| *known == name);
    known.map(|(_, format, _)| *format).ok_or_else(|| {
        let names = OUTPUTS.map(|(name, _, _)| name).join(", ");
        wrong_call(py, format!("output: got {name:?}, expected one of {names}"))
    })
}

/// An array that a picture or a frame is written into, which nobody else has yet.
pub(crate) struct Room {
    picture: Py<PyAny>,
    buffer: PyBuffer<u8>,
    format: PixelFormat,
    width: u32,
    height: u32,
}

impl Room {
    /// Makes an array of numpy for a picture.
    pub(crate) fn new(py: Python<'_>, format: PixelFormat, size: (u32, u32)) -> PyResult<Self> {
        Self::of_class(py, intern!(py, "Picture"), format, size)
    }

    /// Makes an array of numpy for a frame.
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

    /// The size that it was made for.
    pub(crate) fn size(&self) -> (u32, u32) {
        (self.width, self.height)
    }

    /// Opens the pixels for writing.
    pub(crate) fn view(&mut self) -> dreamframe::Result<FrameViewMut<'_>> {
        // SAFETY: `new` has checked that the buffer is writable, without gaps and this long; it holds the memory in its
        // place. The array was made for this, and is given to nobody before `done` takes `self`.
        let pixels = unsafe { slice::from_raw_parts_mut(self.buffer.buf_ptr().cast::<u8>(), self.buffer.item_count()) };
        FrameViewMut::packed(self.format, self.width, self.height, pixels)
    }

    /// Returns the array away, of which no more is known.
    pub(crate) fn filled(self) -> Py<PyAny> {
        self.picture
    }

    /// Returns the array away, with what is known of the picture.
    pub(crate) fn done(self, py: Python<'_>, info: &PictureInfo) -> PyResult<Py<PyAny>> {
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

/// Copies a picture of a session into an array.
pub(crate) fn copied(py: Python<'_>, picture: &dreamframe::Picture) -> PyResult<Py<PyAny>> {
    let frame = &picture.frame;
    let room = Room::new(py, frame.format(), (frame.width(), frame.height()))?;
    room.buffer.copy_from_slice(py, frame.pixels())?;
    room.done(py, &picture.info())
}

fn kind(kind: PictureKind) -> &'static str {
    match kind {
        PictureKind::New => "new",
        PictureKind::Repeated => "repeated",
        PictureKind::Flagged => "flagged",
        PictureKind::Passed | _ => "passed",
    }
}
