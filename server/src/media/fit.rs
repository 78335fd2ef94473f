//! Converts frames to the pixel format that a writer needs.

use dreamframe::frame::{ColorSpace, Fit, Frame, FrameConverter, FramePool, Origin, PixelFormat};
use dreamframe::{Error, Result};

use super::{Output, broken};

/// Turns frames of one size into one pixel format, and keeps its memory from frame to frame.
#[derive(Debug)]
pub(super) struct Wanted {
    format: PixelFormat,
    color: ColorSpace,
    size: (u32, u32),
    converter: FrameConverter,
    numbers: Vec<f32>,
    pool: FramePool,
    converted: Option<Frame>,
}

impl Wanted {
    pub(super) fn new(format: PixelFormat, color: ColorSpace, output: Output) -> Self {
        Self {
            format,
            color,
            size: (output.width, output.height),
            converter: FrameConverter::new(),
            numbers: Vec::new(),
            pool: FramePool::new(1),
            converted: None,
        }
    }

    /// Returns `picture` itself if it has the format already, else a converted copy.
    pub(super) fn of<'a>(&'a mut self, picture: &'a Frame) -> Result<&'a Frame> {
        let (width, height) = self.size;
        if (picture.width(), picture.height()) != self.size {
            let size = format!("{}x{}", picture.width(), picture.height());
            return Err(broken(format!("picture: got {size}, expected {width}x{height} as in the output")));
        }
        let planar = matches!(self.format, PixelFormat::Nv12 | PixelFormat::I420);
        let same_color = !planar || picture.color() == self.color;
        if picture.format() == self.format && same_color && picture.origin() == Origin::TopLeft {
            return Ok(picture);
        }
        self.converted = None;
        let mut frame = self.pool.frame(self.format, width, height)?;
        frame.set_color(self.color);
        self.numbers.resize(width as usize * height as usize * 3, 0.0);
        self.converter.to_signed(&picture.view(), Fit::Stretch, width, height, &mut self.numbers)?;
        self.converter.from_signed(&self.numbers, width, height, &mut frame.view_mut())?;
        Ok(self.converted.insert(frame))
    }
}

/// An error of writing to `path`.
pub(super) fn write_error(path: &std::path::Path, error: std::io::Error) -> Error {
    Error::io(path, "write", error)
}
