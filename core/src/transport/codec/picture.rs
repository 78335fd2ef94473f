//! Converts pictures of any format to the format of encoders.

use yuv::{BufferStoreMut, YuvConversionMode, YuvPlanarImageMut, YuvRange, YuvStandardMatrix};

use super::colors::COLOR;
use crate::frame::{Frame, FrameCopier, FrameView, FrameViewMut, Origin, PixelFormat};
use crate::{Error, ErrorKind, Result};

/// Converts pictures to I420, top row first, of even size and in the colours that are sent. An odd last column or row
/// is cropped. Keeps its scratch memory between calls.
#[derive(Debug, Default)]
pub(crate) struct Converter {
    planes: Vec<u8>,
    rgb: Vec<u8>,
    copier: FrameCopier,
}

/// The library's conversion of one channel order.
type ToPlanes =
    fn(&mut YuvPlanarImageMut<'_, u8>, &[u8], u32, YuvRange, YuvStandardMatrix, YuvConversionMode) -> Converted;
type Converted = std::result::Result<(), yuv::YuvError>;

impl Converter {
    /// Converts a picture.
    ///
    /// # Errors
    ///
    /// `InvalidFrame` for one that is a single pixel wide or high, `OutOfMemory`.
    pub(crate) fn convert<'a>(&'a mut self, picture: &'a Frame) -> Result<FrameView<'a>> {
        let (width, height) = (picture.width() & !1, picture.height() & !1);
        if width == 0 || height == 0 {
            let text =
                format!("picture: got {}x{}, expected at least 2x2 for video", picture.width(), picture.height());
            return Err(Error::new(ErrorKind::InvalidFrame, text));
        }
        let is_sent = picture.color() == COLOR && picture.origin() == Origin::TopLeft;
        if picture.format() == PixelFormat::I420 && is_sent && (width, height) == (picture.width(), picture.height()) {
            return Ok(picture.view());
        }
        self.planes.resize(PixelFormat::I420.packed_len(width, height), 0);
        match picture.format() {
            PixelFormat::Rgba8 => self.take_rgb(yuv::rgba_to_yuv420, picture, 4)?,
            PixelFormat::Bgra8 => self.take_rgb(yuv::bgra_to_yuv420, picture, 4)?,
            PixelFormat::Rgb8 => self.take_rgb(yuv::rgb_to_yuv420, picture, 3)?,
            PixelFormat::I420 if is_sent => self.crop(picture),
            PixelFormat::Nv12 if is_sent => self.split(picture),
            PixelFormat::Rgba16F | PixelFormat::Nv12 | PixelFormat::I420 => self.by_way_of_rgb(picture)?,
        }
        Ok(FrameView::packed(PixelFormat::I420, width, height, &self.planes)?.with_color(COLOR))
    }

    /// The bytes of three planes of even size.
    fn planes(&mut self, picture: &Frame) -> [&mut [u8]; 3] {
        let (width, height) = (picture.width() as usize / 2, picture.height() as usize / 2);
        let all = self.planes.len();
        let (y, chroma) = self.planes.split_at_mut((width * height * 4).min(all));
        let all = chroma.len();
        let (u, v) = chroma.split_at_mut((width * height).min(all));
        [y, u, v]
    }

    fn take_rgb(&mut self, convert: ToPlanes, picture: &Frame, pixel: u32) -> Result<()> {
        let stride = picture.width() * pixel;
        self.write(convert, picture, picture.pixels(), stride)?;
        if picture.origin() == Origin::BottomLeft {
            let width = picture.width() as usize / 2;
            let [y, u, v] = self.planes(picture);
            turn(y, width * 2);
            turn(u, width);
            turn(v, width);
        }
        Ok(())
    }

    fn write(&mut self, convert: ToPlanes, picture: &Frame, pixels: &[u8], stride: u32) -> Result<()> {
        let (width, height) = (picture.width() & !1, picture.height() & !1);
        let [y, u, v] = self.planes(picture).map(BufferStoreMut::Borrowed);
        let mut planes = YuvPlanarImageMut {
            y_plane: y,
            y_stride: width,
            u_plane: u,
            u_stride: width / 2,
            v_plane: v,
            v_stride: width / 2,
            width,
            height,
        };
        let (range, matrix, mode) = (YuvRange::Limited, YuvStandardMatrix::Bt601, YuvConversionMode::Balanced);
        convert(&mut planes, pixels, stride, range, matrix, mode)
            .map_err(|error| Error::new(ErrorKind::Internal, "failed to convert a valid picture").with_source(error))
    }

    fn crop(&mut self, picture: &Frame) {
        let view = picture.view();
        let width = picture.width() as usize / 2;
        for ((plane, to), width) in self.planes(picture).into_iter().enumerate().zip([width * 2, width, width]) {
            copy_rows(to, width, view.rows(plane));
        }
    }

    /// Separates the interleaved chroma of NV12.
    fn split(&mut self, picture: &Frame) {
        let view = picture.view();
        let width = picture.width() as usize / 2;
        let [y, u, v] = self.planes(picture);
        copy_rows(y, width * 2, view.rows(0));
        for ((u, v), from) in u.chunks_exact_mut(width).zip(v.chunks_exact_mut(width)).zip(view.rows(1)) {
            for ((u, v), from) in u.iter_mut().zip(v).zip(from.as_chunks::<2>().0) {
                [*u, *v] = *from;
            }
        }
    }

    fn by_way_of_rgb(&mut self, picture: &Frame) -> Result<()> {
        let (width, height) = (picture.width(), picture.height());
        let mut rgb = std::mem::take(&mut self.rgb);
        rgb.resize(PixelFormat::Rgb8.packed_len(width, height), 0);
        let mut to = FrameViewMut::packed(PixelFormat::Rgb8, width, height, &mut rgb)?;
        self.copier.copy(&picture.view(), &mut to)?;
        let written = self.write(yuv::rgb_to_yuv420, picture, &rgb, width * 3);
        self.rgb = rgb;
        written
    }
}

/// Copies the beginnings of rows.
fn copy_rows<'a>(to: &mut [u8], width: usize, rows: impl Iterator<Item = &'a [u8]>) {
    for (to, from) in to.chunks_exact_mut(width).zip(rows) {
        to.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
    }
}

/// Reverses the order of rows.
fn turn(plane: &mut [u8], width: usize) {
    let mut rows = plane.chunks_exact_mut(width);
    while let (Some(top), Some(bottom)) = (rows.next(), rows.next_back()) {
        top.swap_with_slice(bottom);
    }
}
