//! The running processing chains of an engine.

use crate::engine::pipeline::Pipeline;
use crate::engine::pipeline::recipes::ChainSlot;
use crate::error::{Error, ErrorKind, Result};
use crate::exec::{Buffer, Queue, ViewMut};
use crate::net::Shape;
use crate::preprocess::{Chain, ChainUpdate, Context, Image, Interpolation, Resizer};

/// The running chains of an engine.
///
/// Their inputs and outputs are images in -1..1; processors see them in 0..1. Latents are not scaled.
#[derive(Debug)]
pub(super) struct Chains {
    chains: [Chain; 4],
    /// The input of an image chain.
    image: Image,
    /// The last picture, for processors that use it; empty if none does, and before the first picture.
    previous: Image,
    /// The input of a latent chain.
    latent: Image,
    /// The last clean latent, for a latent chain.
    last_latent: Image,
    resizer: Resizer,
}

/// A change of the chains from one pipeline to the next; after it was swapped in, what is no longer needed.
#[derive(Debug)]
pub(super) struct ChainsUpdate {
    updates: [ChainUpdate; 4],
    /// Buffers for [`Chains::image`] and [`Chains::previous`], if they have none.
    images: Option<[Image; 2]>,
    /// Whether the size of frames changes.
    resets: bool,
}

impl ChainsUpdate {
    /// Starts the processors that `new` needs and `old` lacks.
    pub(super) fn prepare(old: Option<&Pipeline>, new: &Pipeline) -> Self {
        let recipes = new.components.recipes();
        let before = |slot| old.map_or(&[][..], |old| old.components.recipes().of(slot));
        let same_size = old.is_some_and(|old| old.memory.same_sizes(&new.memory));
        let has_memory = same_size && old.is_some_and(|old| old.components.looks_back());
        let image = |(width, height)| {
            let mut image = Image::new();
            image.resize(width, height, 3);
            image
        };
        let images =
            (new.components.looks_back() && !has_memory).then(|| [new.memory.frame, new.memory.picture].map(image));
        let updates = ChainSlot::ALL.map(|slot| ChainUpdate::prepare(before(slot), recipes.of(slot)));
        Self { updates, images, resets: !same_size }
    }
}

impl Chains {
    /// Returns chains without processors.
    pub(super) fn new() -> Self {
        Self {
            chains: ChainSlot::ALL.map(|slot| Chain::new(slot.kind())),
            image: Image::new(),
            previous: Image::new(),
            latent: Image::new(),
            last_latent: Image::new(),
            resizer: Resizer::default(),
        }
    }

    /// Takes `update`, and leaves in it what is no longer needed.
    pub(super) fn swap(&mut self, update: &mut ChainsUpdate) {
        for (chain, update) in self.chains.iter_mut().zip(&mut update.updates) {
            chain.update(update);
        }
        if update.resets {
            self.reset();
        }
        if let Some([image, previous]) = &mut update.images {
            std::mem::swap(&mut self.image, image);
            std::mem::swap(&mut self.previous, previous);
        }
    }

    /// Resets the state of every processor.
    pub(super) fn reset(&mut self) {
        self.chains.iter_mut().for_each(Chain::reset);
    }

    /// Whether the chain has no processor.
    pub(super) fn is_empty(&self, slot: ChainSlot) -> bool {
        self.chains[slot as usize].is_empty()
    }

    /// Sets the last picture, elements in -1..1 with its width and height, for this frame's processors, or none.
    pub(super) fn remember(&mut self, last: Option<(&[f32], (usize, usize))>) {
        match last {
            Some((last, size)) => to_unit(last, size, &mut self.previous),
            None => self.previous.resize(0, 0, 0),
        }
    }

    /// Returns the last picture, in 0..1, if there is one and a processor uses it.
    pub(super) fn previous(&self) -> Option<&Image> {
        filled(&self.previous)
    }

    /// Returns how many networks ran since the last call.
    pub(super) fn take_evaluations(&mut self) -> u64 {
        self.chains.iter_mut().map(Chain::take_evaluations).sum()
    }

    /// Runs `image_preprocessing` on the frame, in -1..1, of the width and height `size`.
    ///
    /// # Errors
    ///
    /// Those of the processors and of the device.
    pub(super) fn frame(
        &mut self,
        queue: &dyn Queue,
        frame: &mut Buffer,
        size: (usize, usize),
        staging: &mut Vec<f32>,
    ) -> Result<()> {
        if self.is_empty(ChainSlot::Frame) {
            return Ok(());
        }
        to_unit(queue.read(frame.view(), staging)?, size, &mut self.image);
        self.image(queue, ChainSlot::Frame, frame, staging)
    }

    /// Runs `image_postprocessing` on the picture, in -1..1, of the width and height `size`, and writes to `result`,
    /// which has those of pictures, `result_size`.
    ///
    /// # Errors
    ///
    /// Those of the processors and of the device.
    pub(super) fn picture(
        &mut self,
        queue: &dyn Queue,
        (picture, size): (&Buffer, (usize, usize)),
        (result, result_size): (&mut Buffer, (usize, usize)),
        staging: &mut Vec<f32>,
    ) -> Result<()> {
        if !self.is_empty(ChainSlot::Picture) {
            to_unit(queue.read(picture.view(), staging)?, size, &mut self.image);
            return self.image(queue, ChainSlot::Picture, result, staging);
        }
        if size == result_size {
            return queue.copy(picture.view(), result.view_mut());
        }
        // Sizes differ only in an engine without a pipeline.
        copy(queue.read(picture.view(), staging)?, (size, 3), &mut self.image);
        self.resizer.resize(Interpolation::Bilinear, &self.image, result_size, &mut self.previous);
        let made = self.previous.pixels();
        queue.write(result.view_mut(), staging, |elements| elements.copy_from_slice(made))
    }

    /// Runs the chain at `slot` on `self.image`, and writes to `result`, in -1..1.
    fn image(&mut self, queue: &dyn Queue, slot: ChainSlot, result: &mut Buffer, staging: &mut Vec<f32>) -> Result<()> {
        let Self { chains, image, previous, .. } = self;
        let context = Context { previous: filled(previous), size: (image.width(), image.height()) };
        let made = chains[slot as usize].run(image, &context)?.pixels();
        check_len(made.len(), result.len())?;
        queue.write(result.view_mut(), staging, |elements| to_signed(made, elements))
    }

    /// Runs `latent_preprocessing` on the noised latent of row 0, which has the shape `shape`. `last` is the last clean
    /// latent.
    ///
    /// # Errors
    ///
    /// Those of the processors and of the device.
    pub(super) fn noised(
        &mut self,
        queue: &dyn Queue,
        row: ViewMut<'_>,
        shape: Shape,
        last: Option<&Buffer>,
        staging: &mut Vec<f32>,
    ) -> Result<()> {
        self.latent(queue, ChainSlot::Noised, row, shape, last, staging)
    }

    /// Runs `latent_postprocessing` on the clean latent, which has the shape `shape`. `last` is the one before.
    ///
    /// # Errors
    ///
    /// Those of the processors and of the device.
    pub(super) fn clean(
        &mut self,
        queue: &dyn Queue,
        latent: ViewMut<'_>,
        shape: Shape,
        last: Option<&Buffer>,
        staging: &mut Vec<f32>,
    ) -> Result<()> {
        self.latent(queue, ChainSlot::Clean, latent, shape, last, staging)
    }

    /// Runs the chain at `slot` on a latent.
    fn latent(
        &mut self,
        queue: &dyn Queue,
        slot: ChainSlot,
        latent: ViewMut<'_>,
        Shape { w, h, c, .. }: Shape,
        last: Option<&Buffer>,
        staging: &mut Vec<f32>,
    ) -> Result<()> {
        if self.is_empty(slot) {
            return Ok(());
        }
        copy(queue.read(latent.as_view(), staging)?, ((w, h), c), &mut self.latent);
        if let Some(last) = last {
            copy(queue.read(last.view(), staging)?, ((w, h), c), &mut self.last_latent);
        }
        let context = Context { previous: last.map(|_| &self.last_latent), size: (w, h) };
        let made = self.chains[slot as usize].run(&self.latent, &context)?.pixels();
        check_len(made.len(), latent.len())?;
        queue.write(latent, staging, |elements| elements.copy_from_slice(made))
    }
}

/// Returns the picture before, unless it is empty.
fn filled(previous: &Image) -> Option<&Image> {
    Some(previous).filter(|previous| !previous.pixels().is_empty())
}

/// A chain keeps the size that its result must have; another one is a bug.
fn check_len(got: usize, expected: usize) -> Result<()> {
    if got == expected {
        return Ok(());
    }
    let text = format!("processing chain: got {got} elements, expected {expected}");
    Err(Error::new(ErrorKind::Internal, text))
}

/// Copies elements to an image of this size and number of channels.
fn copy(from: &[f32], ((width, height), channels): ((usize, usize), usize), to: &mut Image) {
    to.resize(width, height, channels);
    to.pixels_mut().iter_mut().zip(from).for_each(|(to, from)| *to = *from);
}

/// Converts an image of this width and height from -1..1 to 0..1.
pub(super) fn to_unit(from: &[f32], (width, height): (usize, usize), to: &mut Image) {
    to.resize(width, height, 3);
    for (to, from) in to.pixels_mut().iter_mut().zip(from) {
        *to = (from * 0.5 + 0.5).clamp(0.0, 1.0);
    }
}

/// Converts from 0..1 to -1..1; NaN becomes -1.
fn to_signed(from: &[f32], to: &mut [f32]) {
    for (to, from) in to.iter_mut().zip(from) {
        let signed = from * 2.0 - 1.0;
        *to = if signed.is_nan() { -1.0 } else { signed.clamp(-1.0, 1.0) };
    }
}
