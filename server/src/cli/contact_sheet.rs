//! A contact sheet: frames of a video above, the pictures made from them below.

use std::path::Path;

use dreamframe::Result;
use dreamframe::frame::{Fit, Frame, FrameConverter, PixelFormat};

use super::options::Size;
use crate::media;

/// The number of frames that are shown.
const COLUMNS: u32 = 6;
/// The width of each; the height follows from the aspect ratio of the pictures.
const CELL_WIDTH: u32 = 256;
/// Bytes a pixel.
const RGB: usize = 3;

/// A contact sheet.
#[derive(Debug)]
pub(super) struct ContactSheet {
    /// The number of frames of the video between two that are shown.
    every: u64,
    cell: Size,
    canvas: Frame,
    converter: FrameConverter,
    numbers: Vec<f32>,
    small: Frame,
}

impl ContactSheet {
    /// An empty sheet for a video of `frames` frames that becomes pictures of `size`.
    pub(super) fn new(frames: u64, size: Size) -> Result<Self> {
        let height = (CELL_WIDTH * size.height / size.width.max(1)).max(1);
        let cell = Size { width: CELL_WIDTH, height };
        let empty = |width: u32, height: u32| {
            Frame::from_packed(PixelFormat::Rgb8, width, height, vec![0; RGB * width as usize * height as usize])
        };
        Ok(Self {
            every: (frames / u64::from(COLUMNS)).max(1),
            cell,
            canvas: empty(COLUMNS * cell.width, 2 * cell.height)?,
            converter: FrameConverter::new(),
            numbers: vec![0.0; RGB * cell.width as usize * cell.height as usize],
            small: empty(cell.width, cell.height)?,
        })
    }

    /// Shows frame `number` of the video, if it is one of those shown.
    pub(super) fn frame(&mut self, number: u64, frame: &Frame) -> Result<()> {
        self.put(number, 0, frame)
    }

    /// Shows the picture of frame `number`, if it is one of those shown.
    pub(super) fn picture(&mut self, number: u64, picture: &Frame) -> Result<()> {
        self.put(number, 1, picture)
    }

    fn put(&mut self, number: u64, row: u32, frame: &Frame) -> Result<()> {
        // From the middle of each part of the video: its first frame has a prompt's change still under way.
        let middle = self.every / 2;
        let Some(column) = column(number, self.every, middle) else { return Ok(()) };
        let Size { width, height } = self.cell;
        self.converter.to_signed(&frame.view(), Fit::Cover, width, height, &mut self.numbers)?;
        self.converter.from_signed(&self.numbers, width, height, &mut self.small.view_mut())?;
        let (skip, line) = (RGB * (column * width) as usize, RGB * width as usize);
        let stride = RGB * self.canvas.width() as usize;
        let rows = self.canvas.pixels_mut().chunks_exact_mut(stride).skip((row * height) as usize);
        for (to, from) in rows.zip(self.small.pixels().chunks_exact(line)) {
            if let Some(to) = to.get_mut(skip..skip + line) {
                to.copy_from_slice(from);
            }
        }
        Ok(())
    }

    /// Writes it as a PNG.
    pub(super) fn write(self, path: &Path) -> Result<()> {
        let (width, height) = (self.canvas.width(), self.canvas.height());
        let output = media::Output { width, height, rate: media::Rate::default(), pictures: Some(1) };
        let mut writer = media::create(path, output)?;
        writer.write(&self.canvas, None)?;
        writer.finish()
    }
}

/// The column that shows frame `number`, where one frame in `every` is shown, the first being `first`.
fn column(number: u64, every: u64, first: u64) -> Option<u32> {
    let past = number.checked_sub(first)?;
    u32::try_from(past / every).ok().filter(|&column| past.is_multiple_of(every) && column < COLUMNS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flat(value: u8) -> Frame {
        Frame::from_packed(PixelFormat::Rgb8, 64, 64, vec![value; 64 * 64 * RGB]).unwrap()
    }

    #[test]
    fn frames_are_above_their_pictures() {
        let mut sheet = ContactSheet::new(12, Size { width: 512, height: 256 }).unwrap();
        for number in 0..12 {
            sheet.frame(number, &flat(10 * number as u8)).unwrap();
            sheet.picture(number, &flat(255 - 10 * number as u8)).unwrap();
        }
        assert_eq!((sheet.canvas.width(), sheet.canvas.height()), (6 * 256, 2 * 128));
        let pixel = |x: usize, y: usize| sheet.canvas.pixels()[RGB * (y * 6 * 256 + x)];
        assert_eq!([pixel(0, 0), pixel(256, 0), pixel(5 * 256, 0)], [10, 30, 110]);
        assert_eq!([pixel(0, 128), pixel(256, 255)], [245, 225]);
    }

    #[test]
    fn a_short_film_leaves_columns_empty() {
        assert_eq!([0, 1, 5, 6].map(|number| column(number, 1, 0)), [Some(0), Some(1), Some(5), None]);
    }
}
