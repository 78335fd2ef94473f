//! The buffers of a frame.

use crate::engine::pipeline::frame_memory::{FrameMemory, MAX_SKIPS, elements};
use crate::error::Result;
use crate::exec::{Buffer, Queue, View, ViewMut};
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
    /// What the autoencoder's encoder passes to its decoder besides the latent.
    pub(super) skips: Vec<Buffer>,
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
        let skips = needed.skips.iter().filter(|&&len| len > 0);
        Ok(Self {
            frame: needed.frame,
            picture: needed.picture,
            latent_shape: needed.latent,
            image: queue.buffer(elements(needed.frame))?,
            latent: latent()?,
            skips: skips.map(|&len| queue.buffer(len)).collect::<Result<_>>()?,
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

    /// Returns the image, the next picture for writing, and the staging memory.
    pub(super) fn image_and_result(&mut self) -> (&mut Buffer, &mut Buffer, &mut Vec<f32>) {
        let next = self.next_index();
        (&mut self.image, &mut self.results[next], &mut self.staging)
    }

    /// Runs the autoencoder's encoder by `run`, with the image as its input and its outputs, first the latent.
    pub(super) fn encode(&mut self, run: impl FnOnce(&[View<'_>], &mut [ViewMut<'_>]) -> Result<()>) -> Result<()> {
        let mut outputs: [ViewMut<'_>; MAX_SKIPS + 1] = Default::default();
        let views = [&mut self.latent].into_iter().chain(&mut self.skips).map(Buffer::view_mut);
        let count = outputs.iter_mut().zip(views).map(|(output, view)| *output = view).count();
        run(&[self.image.view()], &mut outputs[..count])
    }

    /// Runs the autoencoder's decoder by `run`, with its inputs, first the clean latent, and its output: the next picture
    /// if `plain`, else the image.
    pub(super) fn decode(
        &mut self,
        plain: bool,
        run: impl FnOnce(&[View<'_>], &mut [ViewMut<'_>]) -> Result<()>,
    ) -> Result<()> {
        let mut inputs: [View<'_>; MAX_SKIPS + 1] = Default::default();
        let views = [&self.clean].into_iter().chain(&self.skips).map(Buffer::view);
        let count = inputs.iter_mut().zip(views).map(|(input, view)| *input = view).count();
        let next = self.next_index();
        let output = if plain { &mut self.results[next] } else { &mut self.image };
        run(&inputs[..count], &mut [output.view_mut()])
    }
}
