//! The buffers of a frame.

use crate::engine::pipeline::frame_memory::{FrameMemory, elements};
use crate::error::Result;
use crate::exec::{Buffer, Queue, View};
use crate::net::Shape;

/// The buffers of a frame. Images are `[height, width, 3]` in -1..1.
#[derive(Debug)]
pub(super) struct FrameBuffers {
    /// Width and height of `image`.
    pub(super) frame: (usize, usize),
    /// Width and height of pictures.
    pub(super) picture: (usize, usize),
    /// The shape of a latent.
    pub(super) latent_shape: Shape,
    /// The frame, and later the decoded picture before `image_postprocessing`.
    pub(super) image: Buffer,
    pub(super) latent: Buffer,
    /// The last clean latent.
    pub(super) clean: Buffer,
    /// The next clean latent, while it is computed.
    pub(super) next: Buffer,
    /// The last pictures: as many as may be in transfer to the host.
    results: Vec<Buffer>,
    /// The index of the last picture in `results`, which a skipped frame returns again.
    current: usize,
    /// Elements on their way between a device and the host.
    pub(super) staging: Vec<f32>,
    /// The frame in host memory, for the similar-image filter.
    pub(super) filtered: Vec<f32>,
}

impl FrameBuffers {
    /// Allocates the buffers that `needed` describes.
    ///
    /// # Errors
    ///
    /// `OutOfMemory`.
    pub(super) fn new(queue: &dyn Queue, needed: FrameMemory) -> Result<Self> {
        let latent = || queue.buffer(Shape { n: 1, ..needed.latent }.len());
        Ok(Self {
            frame: needed.frame,
            picture: needed.picture,
            latent_shape: needed.latent,
            image: queue.buffer(elements(needed.frame))?,
            latent: latent()?,
            clean: latent()?,
            next: latent()?,
            results: (0..queue.depth().max(1))
                .map(|_| queue.buffer(elements(needed.picture)))
                .collect::<Result<_>>()?,
            current: 0,
            staging: Vec::new(),
            filtered: Vec::new(),
        })
    }

    /// Returns the index of the last picture.
    pub(super) fn current(&self) -> usize {
        self.current
    }

    /// Makes the written picture the last one.
    pub(super) fn finish_result(&mut self) {
        self.current = self.next_index();
    }

    fn next_index(&self) -> usize {
        (self.current + 1) % self.results.len()
    }

    /// Returns the picture at `index`.
    pub(super) fn result(&self, index: usize) -> View<'_> {
        self.results.get(index).map(Buffer::view).unwrap_or_default()
    }

    /// Returns the last picture.
    pub(super) fn last_result(&self) -> View<'_> {
        self.result(self.current)
    }

    /// Returns the clean latent, the image, the next picture for writing, and the staging memory.
    pub(super) fn clean_image_and_result(&mut self) -> (&Buffer, &mut Buffer, &mut Buffer, &mut Vec<f32>) {
        let next = self.next_index();
        (&self.clean, &mut self.image, &mut self.results[next], &mut self.staging)
    }
}
