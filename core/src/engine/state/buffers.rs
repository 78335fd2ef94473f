//! The buffers that a frame is worked on in.

use dreamframe_kernels::numbers::extend_with_zeros;

use crate::engine::pipeline::frame_memory::{FrameMemory, elements};
use crate::error::{Error, ErrorKind, Result};
use crate::net::Shape;
use crate::preprocess::Image;

/// The buffers of a frame. Images are `[height, width, 3]` in -1..1.
#[derive(Debug)]
pub(crate) struct FrameBuffers {
    /// The frame, and later the decoded picture before `image_postprocessing`.
    pub(crate) image: Image,
    pub(crate) latent: Vec<f32>,
    /// The last clean latent.
    pub(crate) clean: Image,
    /// The next clean latent, while it is computed.
    pub(crate) next: Image,
    /// The last picture, which a skipped frame returns again.
    pub(crate) result: Image,
}

impl FrameBuffers {
    /// Allocates the buffers that `needed` describes.
    ///
    /// # Errors
    ///
    /// `OutOfMemory`.
    pub(super) fn new(needed: FrameMemory) -> Result<Self> {
        let zeros = |len: usize| {
            let mut buffer = Vec::new();
            buffer.try_reserve_exact(len).map_err(|error| {
                Error::new(ErrorKind::OutOfMemory, format!("failed to allocate {len} elements for a frame"))
                    .with_source(error)
            })?;
            extend_with_zeros(&mut buffer, len);
            Ok::<_, Error>(buffer)
        };
        let rgb = |size: (usize, usize)| Image::from_pixels(size.0, size.1, 3, zeros(elements(size))?);
        let Shape { h, w, c, .. } = needed.latent;
        let latent = || Image::from_pixels(w, h, c, zeros(w * h * c)?);
        Ok(Self {
            image: rgb(needed.frame)?,
            latent: zeros(w * h * c)?,
            clean: latent()?,
            next: latent()?,
            result: rgb(needed.picture)?,
        })
    }
}
