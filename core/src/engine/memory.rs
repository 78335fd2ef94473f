//! The memory that frames write, taken when a pipeline is made, so that frames take none.

use dreamframe_kernels::numbers::extend_with_zeros;

use crate::error::{Error, ErrorKind, Result};
use crate::exec::memory;
use crate::net::Shape;
use crate::preprocess::Image;

/// What a frame needs memory for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FrameMemory {
    /// Numbers of the networks' scratch memory; they run one after the other.
    pub(crate) arena: usize,
    /// Width and height of a frame as the networks see it.
    pub(crate) frame: (usize, usize),
    /// A latent; there are three.
    pub(crate) latent: Shape,
    /// Width and height of a picture as it leaves.
    pub(crate) picture: (usize, usize),
    /// Numbers that the image chains keep, more or less.
    pub(crate) chains: usize,
    /// All that ControlNets keep from frame to frame.
    pub(crate) control: usize,
}

/// Numbers of an image of RGB.
pub(super) fn numbers((width, height): (usize, usize)) -> usize {
    width.saturating_mul(height).saturating_mul(3)
}

impl FrameMemory {
    /// Refuses what does not fit beside the memory of `base`, which stays until this one is there.
    pub(super) fn require(self, base: Option<Self>) -> Result<()> {
        let grown =
            |len: fn(&Self) -> usize| if base.is_some_and(|old| len(&self) <= len(&old)) { 0 } else { len(&self) };
        let needed = grown(|memory| memory.arena)
            .saturating_add(grown(|memory| numbers(memory.frame)))
            .saturating_add(grown(|memory| numbers(memory.picture)))
            .saturating_add(grown(|memory| memory.latent.len()).saturating_mul(3))
            .saturating_add(grown(|memory| memory.chains))
            .saturating_add(grown(|memory| memory.control));
        memory::require(needed.saturating_mul(size_of::<f32>()), "a frame of this size")
    }

    /// Whether frames, latents and pictures have the sizes that `other` has.
    pub(super) fn same_sizes(&self, other: &Self) -> bool {
        (self.frame, self.latent, self.picture) == (other.frame, other.latent, other.picture)
    }
}

/// A frame on its way, as the networks see it; pictures are in -1..1.
#[derive(Debug)]
pub(crate) struct FrameBuffers {
    /// The frame, and later the picture before its chain.
    pub(crate) image: Image,
    pub(crate) latent: Vec<f32>,
    /// The last clean latent.
    pub(crate) clean: Image,
    /// The clean latent that is being made.
    pub(crate) next: Image,
    /// The last picture; what a skipped frame gives again.
    pub(crate) result: Image,
}

impl FrameBuffers {
    /// Takes the memory that `needed` says.
    ///
    /// # Errors
    ///
    /// `OutOfMemory`.
    pub(super) fn new(needed: FrameMemory) -> Result<Self> {
        let zeros = |len: usize| {
            let mut buffer = Vec::new();
            buffer.try_reserve_exact(len).map_err(|error| {
                Error::new(ErrorKind::OutOfMemory, format!("no memory for a frame's {len} numbers")).with_source(error)
            })?;
            extend_with_zeros(&mut buffer, len);
            Ok::<_, Error>(buffer)
        };
        let rgb = |size: (usize, usize)| Image::from_pixels(size.0, size.1, 3, zeros(numbers(size))?);
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
