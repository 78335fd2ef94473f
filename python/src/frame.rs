//! Reads pixels of Python objects as frames. They are borrowed if their rows are contiguous. They are copied otherwise,
//! or if other Python threads may run before the library has read them.

use std::slice;
use std::sync::LazyLock;

use dreamframe::frame::{FramePool, Plane};
use dreamframe::{Error, ErrorKind, Frame, FrameView, PixelFormat};
use pyo3::buffer::{ElementType, PyUntypedBuffer};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

use crate::errors::{OrRaise, exception};
use crate::plain::type_name;

/// The number of pooled frames, for all sessions and publishers; further frames are allocated.
const POOLED: usize = 16;

/// The pool for copied frames, so that a stream of frames allocates only at its start.
static POOL: LazyLock<FramePool> = LazyLock::new(|| FramePool::new(POOLED));

/// Copies a frame, in any form that Python has for pixels, without releasing the interpreter: no other Python thread
/// can write to it meanwhile.
///
/// # Errors
///
/// `InvalidFrameError`, with the reason; `OutOfMemoryError`.
pub(crate) fn copied(object: &Bound<'_, PyAny>) -> PyResult<Frame> {
    let py = object.py();
    let pixels = pixels(object)?;
    pixels.view().and_then(|view| POOL.copy(&view)).or_raise(py)
}

/// The pixels of one frame, valid for the lifetime of this value.
#[derive(Debug)]
pub(crate) struct Pixels {
    memory: Memory,
    format: PixelFormat,
    width: u32,
    height: u32,
    stride: usize,
}

enum Memory {
    /// Borrowed from a Python object, which neither moves nor frees it until the buffer is released.
    Lent(PyUntypedBuffer),
    Copied(Vec<u8>),
}

impl std::fmt::Debug for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Lent(_) => "Lent",
            Self::Copied(_) => "Copied",
        })
    }
}

impl Pixels {
    /// Returns the format of pictures of this frame: with its channels, in its order.
    pub(crate) fn picture_format(&self) -> PixelFormat {
        picture_format(self.format)
    }

    /// Returns a view of the pixels.
    ///
    /// # Errors
    ///
    /// `InvalidFrame` if the size is not a valid frame size.
    pub(crate) fn view(&self) -> dreamframe::Result<FrameView<'_>> {
        let pixels = match &self.memory {
            Memory::Copied(pixels) => pixels.as_slice(),
            Memory::Lent(buffer) => {
                let row = self.format.packed_len(self.width, 1);
                let len = (self.height as usize).saturating_sub(1).saturating_mul(self.stride).saturating_add(row);
                // SAFETY: `from_buffer` has checked that rows of `row` bytes lie `stride` bytes apart, starting at the
                // buffer's address. The exporting object keeps the memory in place until the buffer is released, when
                // `self` is dropped. Callers must not write to it meanwhile, as with numpy's own functions.
                unsafe { slice::from_raw_parts(buffer.buf_ptr().cast::<u8>(), len) }
            }
        };
        FrameView::new(self.format, self.width, self.height, &[Plane { pixels, stride: self.stride }])
    }
}

/// Returns the format of pictures of frames in `format`.
pub(crate) fn picture_format(format: PixelFormat) -> PixelFormat {
    if matches!(format, PixelFormat::Rgb8 | PixelFormat::Bgra8) { format } else { PixelFormat::Rgba8 }
}

/// Reads a frame in any form that Python has for pixels.
///
/// # Errors
///
/// `InvalidFrameError`, with the reason.
pub(crate) fn pixels(object: &Bound<'_, PyAny>) -> PyResult<Pixels> {
    if let Ok(buffer) = PyUntypedBuffer::get(object) {
        return from_buffer(object, buffer);
    }
    let py = object.py();
    if is_image(object)? {
        return from_image(object);
    }
    let numpy = py.import(intern!(py, "numpy"))?;
    let has = |name: &Bound<'_, PyString>| object.hasattr(name);
    let array = if has(intern!(py, "__array_interface__"))? || has(intern!(py, "__array__"))? {
        numpy.call_method1(intern!(py, "asarray"), (object,))
    } else if has(intern!(py, "__dlpack__"))? {
        numpy.call_method1(intern!(py, "from_dlpack"), (object,))
    } else {
        return Err(invalid(py, not_a_frame(object)?));
    };
    let array = array.map_err(|error| {
        let text = format!(
            "frame: got a {} that numpy cannot read ({}), expected one in the memory of the CPU",
            type_name(object),
            error.value(py)
        );
        let raised = invalid(py, text);
        raised.set_cause(py, Some(error));
        raised
    })?;
    match PyUntypedBuffer::get(&array) {
        Ok(buffer) => from_buffer(&array, buffer),
        Err(_) => Err(invalid(py, format!("frame: got a {} without pixels in memory", type_name(object)))),
    }
}

fn invalid(py: Python<'_>, text: impl Into<String>) -> PyErr {
    exception(py, &Error::new(ErrorKind::InvalidFrame, text))
}

/// Checks the type and shape of a buffer, and copies it if its rows are not contiguous.
fn from_buffer(object: &Bound<'_, PyAny>, buffer: PyUntypedBuffer) -> PyResult<Pixels> {
    let py = object.py();
    let bytes = matches!(ElementType::from_format(buffer.format()), ElementType::UnsignedInteger { bytes: 1 });
    let shape = buffer.shape();
    let &[height, width, channels @ (3 | 4)] = shape else {
        return Err(invalid(py, shape_error(object, shape)));
    };
    if !bytes || buffer.item_size() != 1 {
        return Err(invalid(py, type_error(object, &buffer)));
    }
    let side = |pixels: usize| u32::try_from(pixels).unwrap_or(u32::MAX);
    let (width, height) = (side(width), side(height));
    let format = match channels {
        3 => PixelFormat::Rgb8,
        _ if is_bgra(object)? => PixelFormat::Bgra8,
        _ => PixelFormat::Rgba8,
    };
    let row = format.packed_len(width, 1);
    let whole = match *buffer.strides() {
        // With a single row, the stride is irrelevant.
        [_, pixel, 1] if height <= 1 && is(pixel, channels) => Some(row),
        [stride, pixel, 1] if is(pixel, channels) => usize::try_from(stride).ok().filter(|stride| row <= *stride),
        _ => None,
    };
    if let (Some(stride), None) = (whole, buffer.suboffsets()) {
        return Ok(Pixels { memory: Memory::Lent(buffer), format, width, height, stride });
    }
    let copied = buffer.as_typed::<u8>()?.to_vec(py)?;
    Ok(Pixels { memory: Memory::Copied(copied), format, width, height, stride: row })
}

/// Returns true for a `Frame` or `Picture` of this package whose channels are blue, green, red and alpha.
fn is_bgra(object: &Bound<'_, PyAny>) -> PyResult<bool> {
    let order = object.getattr_opt(intern!(object.py(), "order"))?;
    Ok(order.is_some_and(|order| order.extract::<&str>().is_ok_and(|order| order == "bgra")))
}

fn is(stride: isize, channels: usize) -> bool {
    usize::try_from(stride) == Ok(channels)
}

fn shape_error(object: &Bound<'_, PyAny>, shape: &[usize]) -> String {
    let shown = shape.iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
    let comma = if shape.len() == 1 { "," } else { "" };
    let head = format!(
        "frame ({}): got the shape ({shown}{comma}), expected (height, width, 3) or (height, width, 4)",
        type_name(object)
    );
    let advice = match shape {
        [_, _] | [_, _, 1] => "; to convert a grey one to three channels: numpy.dstack([frame] * 3)",
        [3 | 4, _, _] => "; to put the channels last: frame.transpose(1, 2, 0)",
        [1, _, _, _] => "; to remove the batch dimension: frame[0]",
        [_, _, _, _] => "; to process a batch frame by frame: stream.frames(batch)",
        [_] => "; to set the shape of bytes: numpy.frombuffer(frame, numpy.uint8).reshape(height, width, 3)",
        _ => "",
    };
    format!("{head}{advice}")
}

fn type_error(object: &Bound<'_, PyAny>, buffer: &PyUntypedBuffer) -> String {
    let name = object
        .getattr("dtype")
        .map_or_else(|_| format!("format {:?}", buffer.format().to_string_lossy()), |dtype| format!("dtype {dtype}"));
    let advice = match ElementType::from_format(buffer.format()) {
        ElementType::Float { .. } => "; to convert numbers from 0 to 1: (frame * 255).round().astype(numpy.uint8)",
        ElementType::Bool => "; to convert flags: frame.astype(numpy.uint8) * 255",
        ElementType::SignedInteger { .. } | ElementType::UnsignedInteger { .. } => {
            "; to convert numbers from 0 to 255: frame.astype(numpy.uint8)"
        }
        ElementType::Unknown => "",
    };
    format!("frame: got {name}, expected uint8{advice}")
}

/// Returns the error for an object that is not a frame.
fn not_a_frame(object: &Bound<'_, PyAny>) -> PyResult<String> {
    let name = type_name(object);
    let advice = if object.is_instance_of::<PyString>() || object.hasattr("__fspath__")? {
        format!("; to open the file: PIL.Image.open({})", object.repr()?)
    } else if object.is_none() {
        "; the camera or the video may have ended".to_owned()
    } else if object.hasattr("__next__")? || object.hasattr("__iter__")? {
        "; to process several frames: stream.frames(source)".to_owned()
    } else {
        String::new()
    };
    Ok(format!("frame: got a {name}, expected an array of uint8, a PIL image, a buffer or a tensor{advice}"))
}

/// Returns true if `object` is a PIL image. Does not import PIL.
fn is_image(object: &Bound<'_, PyAny>) -> PyResult<bool> {
    let py = object.py();
    let modules = py.import(intern!(py, "sys"))?.getattr(intern!(py, "modules"))?;
    let module = modules.call_method1(intern!(py, "get"), (intern!(py, "PIL.Image"),))?;
    if module.is_none() { Ok(false) } else { object.is_instance(&module.getattr(intern!(py, "Image"))?) }
}

/// Copies the pixels of a PIL image, whose memory is not accessible from outside.
fn from_image(image: &Bound<'_, PyAny>) -> PyResult<Pixels> {
    let py = image.py();
    let mode: String = image.getattr(intern!(py, "mode"))?.extract()?;
    let (image, format) = match mode.as_str() {
        "RGB" => (image.clone(), PixelFormat::Rgb8),
        "RGBA" | "RGBX" => (image.clone(), PixelFormat::Rgba8),
        _ => (image.call_method1(intern!(py, "convert"), (intern!(py, "RGB"),))?, PixelFormat::Rgb8),
    };
    let (width, height): (u32, u32) = image.getattr(intern!(py, "size"))?.extract()?;
    let bytes = image.call_method0(intern!(py, "tobytes"))?;
    let copied = bytes.cast::<PyBytes>().map_err(PyErr::from)?.as_bytes().to_vec();
    Ok(Pixels { memory: Memory::Copied(copied), format, width, height, stride: format.packed_len(width, 1) })
}
