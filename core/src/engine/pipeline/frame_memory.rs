//! Memory that the frames of a pipeline need.

use crate::error::Result;
use crate::exec::Queue;
use crate::net::Shape;

/// The memory that a frame needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FrameMemory {
    /// Bytes of the scratch memory, which the networks use one after the other.
    pub(crate) scratch: usize,
    /// Width and height of a frame as the networks see it.
    pub(crate) frame: (usize, usize),
    /// The shape of a latent; there are three.
    pub(crate) latent: Shape,
    /// Width and height of a picture in the output.
    pub(crate) picture: (usize, usize),
    /// Elements that the image chains keep, estimated.
    pub(crate) chains: usize,
    /// Elements that ControlNets keep between frames.
    pub(crate) control: usize,
}

/// Elements of an RGB image of this width and height.
pub(in crate::engine) fn elements((width, height): (usize, usize)) -> usize {
    width.saturating_mul(height).saturating_mul(3)
}

impl FrameMemory {
    /// Checks that there is memory for it in addition to that of `base`, which is freed later.
    ///
    /// # Errors
    ///
    /// `OutOfMemory` with the bytes that are needed.
    pub(in crate::engine) fn require(self, queue: &dyn Queue, base: Option<Self>) -> Result<()> {
        let grown =
            |len: fn(&Self) -> usize| if base.is_some_and(|old| len(&self) <= len(&old)) { 0 } else { len(&self) };
        let elements = grown(|memory| elements(memory.frame))
            .saturating_add(grown(|memory| elements(memory.picture)))
            .saturating_add(grown(|memory| memory.latent.len()).saturating_mul(3))
            .saturating_add(grown(|memory| memory.chains))
            .saturating_add(grown(|memory| memory.control));
        let bytes = elements.saturating_mul(size_of::<f32>()).saturating_add(grown(|memory| memory.scratch));
        queue.require(bytes, "a frame of this size")
    }

    /// Whether frames, latents and pictures have the sizes of `other`.
    pub(in crate::engine) fn same_sizes(&self, other: &Self) -> bool {
        (self.frame, self.latent, self.picture) == (other.frame, other.latent, other.picture)
    }
}
