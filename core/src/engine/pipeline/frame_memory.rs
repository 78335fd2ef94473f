//! Memory that the frames of a pipeline need.

use crate::error::Result;
use crate::exec::Queue;
use crate::net::Shape;

/// The most skip connections of an autoencoder: as many as its config may have blocks.
pub(in crate::engine) const MAX_SKIPS: usize = 8;

/// The memory that a frame needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FrameMemory {
    /// Bytes of the scratch memory, which the networks use one after the other.
    pub(crate) scratch: usize,
    /// Width and height of a frame as the networks see it.
    pub(crate) frame: (usize, usize),
    /// The shape of a latent; there are three.
    pub(crate) latent: Shape,
    /// Elements of each skip connection of the autoencoder, finest first; 0 for those that it does not have.
    pub(crate) skips: [usize; MAX_SKIPS],
    /// Width and height of a picture in the output.
    pub(crate) picture: (usize, usize),
    /// Elements that the image chains keep, estimated.
    pub(crate) chains: usize,
    /// Elements that ControlNets keep between frames.
    pub(crate) control: usize,
    /// Bytes of the values that the autoencoder keeps between frames.
    pub(crate) kept: usize,
}

/// Returns the elements of each skip connection with these shapes.
pub(super) fn skip_lengths(shapes: &[Shape]) -> [usize; MAX_SKIPS] {
    let mut lengths = [0; MAX_SKIPS];
    lengths.iter_mut().zip(shapes).for_each(|(len, shape)| *len = shape.len());
    lengths
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
            .saturating_add(grown(|memory| memory.skips.iter().fold(0, |sum, &len| sum.saturating_add(len))))
            .saturating_add(grown(|memory| memory.chains))
            .saturating_add(grown(|memory| memory.control));
        let bytes = elements
            .saturating_mul(size_of::<f32>())
            .saturating_add(grown(|memory| memory.scratch))
            .saturating_add(grown(|memory| memory.kept));
        queue.require(bytes, "a frame of this size")
    }

    /// Whether frames, latents, skip connections and pictures have the sizes of `other`.
    pub(in crate::engine) fn same_sizes(&self, other: &Self) -> bool {
        let sizes = |memory: &Self| (memory.frame, memory.latent, memory.skips, memory.picture);
        sizes(self) == sizes(other)
    }
}
