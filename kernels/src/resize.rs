//! Scaling of images. The library is generic, so it would otherwise be compiled in the calling crate.

use std::fmt;

use fast_image_resize::images::{TypedImage, TypedImageRef};
pub use fast_image_resize::pixels::F32x3;
use fast_image_resize::pixels::U8x4;
use fast_image_resize::{FilterType, PixelTrait, ResizeAlg, ResizeOptions};

/// The filter, which widens when an image is scaled down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filter {
    /// Pillow's bicubic filter.
    CatmullRom,
    /// Lanczos with three lobes on either side.
    Lanczos3,
}

/// The part of an image that is scaled, in pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Crop {
    pub left: f64,
    pub top: f64,
    pub width: f64,
    pub height: f64,
}

/// Inconsistent size, pixels and part of an image.
#[derive(Debug)]
pub struct ResizeError(String);

impl fmt::Display for ResizeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ResizeError {}

/// Scales images, and keeps its memory between calls; the filter's tables (a few kilobytes) are computed for each call.
#[derive(Debug, Default)]
pub struct Resizer(fast_image_resize::Resizer);

impl Resizer {
    /// Scales the part `crop` of packed pixels of four bytes, of an image of `size` (width, height), to one of `to`. The
    /// fourth byte is scaled like the others.
    ///
    /// # Errors
    ///
    /// If sizes, pixels and part are inconsistent.
    pub fn bytes(
        &mut self,
        filter: Filter,
        (pixels, size): (&[u8], (u32, u32)),
        crop: Crop,
        (out, to): (&mut [u8], (u32, u32)),
    ) -> Result<(), ResizeError> {
        let from = TypedImageRef::<U8x4>::from_buffer(size.0, size.1, pixels).map_err(failed)?;
        let to = TypedImage::<U8x4>::from_buffer(to.0, to.1, out).map_err(failed)?;
        self.run(filter, &from, crop, to)
    }

    /// The same for pixels of three `f32`s.
    ///
    /// # Errors
    ///
    /// Like [`bytes`](Self::bytes).
    pub fn floats(
        &mut self,
        filter: Filter,
        (pixels, size): (&[F32x3], (u32, u32)),
        crop: Crop,
        (out, to): (&mut [F32x3], (u32, u32)),
    ) -> Result<(), ResizeError> {
        let from = TypedImageRef::new(size.0, size.1, pixels).map_err(failed)?;
        let to = TypedImage::from_pixels_slice(to.0, to.1, out).map_err(failed)?;
        self.run(filter, &from, crop, to)
    }

    fn run<P: PixelTrait>(
        &mut self,
        filter: Filter,
        from: &TypedImageRef<'_, P>,
        crop: Crop,
        mut to: TypedImage<'_, P>,
    ) -> Result<(), ResizeError> {
        let filter = match filter {
            Filter::CatmullRom => FilterType::CatmullRom,
            Filter::Lanczos3 => FilterType::Lanczos3,
        };
        let options = ResizeOptions::new()
            .resize_alg(ResizeAlg::Convolution(filter))
            // Alpha is not used as a weight.
            .use_alpha(false)
            .crop(crop.left, crop.top, crop.width, crop.height);
        self.0.resize_typed(from, &mut to, &options).map_err(failed)
    }
}

fn failed(error: impl fmt::Display) -> ResizeError {
    ResizeError(error.to_string())
}
