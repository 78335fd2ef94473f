//! The running processing chains of an engine.

use crate::engine::pipeline::Pipeline;
use crate::engine::pipeline::recipes::ChainSlot;
use crate::error::Result;
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
            resizer: Resizer::default(),
        }
    }

    /// Takes `update`, and leaves in it what is no longer needed.
    pub(super) fn swap(&mut self, update: &mut ChainsUpdate) {
        for (chain, update) in self.chains.iter_mut().zip(&mut update.updates) {
            chain.update(update);
        }
        if update.resets {
            self.chains.iter_mut().for_each(Chain::reset);
        }
        if let Some([image, previous]) = &mut update.images {
            std::mem::swap(&mut self.image, image);
            std::mem::swap(&mut self.previous, previous);
        }
    }

    /// Whether the chain has no processor.
    pub(super) fn is_empty(&self, slot: ChainSlot) -> bool {
        self.chains[slot as usize].is_empty()
    }

    /// Sets the last picture, in -1..1, for this frame's processors, or none.
    pub(super) fn remember(&mut self, last: Option<&Image>) {
        match last {
            Some(last) => to_unit(last, &mut self.previous),
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

    /// Runs `image_preprocessing` on the frame, in -1..1.
    pub(super) fn frame(&mut self, frame: &mut Image) -> Result<()> {
        if self.is_empty(ChainSlot::Frame) {
            return Ok(());
        }
        to_unit(frame, &mut self.image);
        self.image(ChainSlot::Frame, frame)
    }

    /// Runs `image_postprocessing` on the picture, in -1..1, and writes to `result`, which has the size of pictures.
    pub(super) fn picture(&mut self, picture: &Image, result: &mut Image) -> Result<()> {
        if self.is_empty(ChainSlot::Picture) {
            // Sizes differ only in an engine without a pipeline.
            let size = (result.width(), result.height());
            self.resizer.resize(Interpolation::Bilinear, picture, size, result);
            return Ok(());
        }
        to_unit(picture, &mut self.image);
        self.image(ChainSlot::Picture, result)
    }

    /// Runs the chain at `slot` on `self.image`, and writes to `result`, in -1..1.
    fn image(&mut self, slot: ChainSlot, result: &mut Image) -> Result<()> {
        let Self { chains, image, previous, .. } = self;
        let context = Context { previous: filled(previous), size: (image.width(), image.height()) };
        to_signed(chains[slot as usize].run(image, &context)?, result);
        Ok(())
    }

    /// Runs `latent_preprocessing` on the noised latent of row 0, which has the shape `shape`.
    pub(super) fn noised(&mut self, row: &mut [f32], shape: Shape, last: Option<&Image>) -> Result<()> {
        if self.is_empty(ChainSlot::Noised) {
            return Ok(());
        }
        self.latent.resize(shape.w, shape.h, shape.c);
        self.latent.pixels_mut().copy_from_slice(row);
        let context = Context { previous: last, size: (shape.w, shape.h) };
        let made = self.chains[ChainSlot::Noised as usize].run(&self.latent, &context)?;
        row.copy_from_slice(made.pixels());
        Ok(())
    }

    /// Runs `latent_postprocessing` on the clean latent.
    pub(super) fn clean(&mut self, latent: &mut Image, last: Option<&Image>) -> Result<()> {
        if self.is_empty(ChainSlot::Clean) {
            return Ok(());
        }
        let context = Context { previous: last, size: (latent.width(), latent.height()) };
        let made = self.chains[ChainSlot::Clean as usize].run(latent, &context)?;
        self.latent.copy_from(made);
        std::mem::swap(latent, &mut self.latent);
        Ok(())
    }
}

/// Returns the picture before, unless it is empty.
fn filled(previous: &Image) -> Option<&Image> {
    Some(previous).filter(|previous| !previous.pixels().is_empty())
}

/// Converts from -1..1 to 0..1.
pub(super) fn to_unit(from: &Image, to: &mut Image) {
    to.resize(from.width(), from.height(), from.channels());
    for (to, from) in to.pixels_mut().iter_mut().zip(from.pixels()) {
        *to = (from * 0.5 + 0.5).clamp(0.0, 1.0);
    }
}

/// Converts from 0..1 to -1..1; NaN becomes -1.
fn to_signed(from: &Image, to: &mut Image) {
    to.resize(from.width(), from.height(), from.channels());
    for (to, from) in to.pixels_mut().iter_mut().zip(from.pixels()) {
        let signed = from * 2.0 - 1.0;
        *to = if signed.is_nan() { -1.0 } else { signed.clamp(-1.0, 1.0) };
    }
}
