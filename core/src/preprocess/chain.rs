//! Chains of processors.

use super::resize::{Interpolation, Resizer};
use super::{Context, Image, Preprocessor, Recipe};
use crate::error::{Error, ErrorKind, Result};

/// The data of a chain, and whether its size may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChainKind {
    /// A frame that becomes a control image: the stream's size, any number of channels.
    Control,
    /// A frame: the stream's size and three channels.
    Frame,
    /// A picture: three channels, and the stream's size, multiplied by the factors of its recipes
    /// ([`Recipe::enlarged`]).
    Picture,
    /// A latent: size and channels do not change.
    Latent,
}

impl ChainKind {
    /// Returns the output size, width and height, of a chain of `recipes` for images of `size`.
    pub fn output_size(self, recipes: &[Recipe], size: (usize, usize)) -> (usize, usize) {
        recipes.iter().fold(size, |size, recipe| self.size_after(recipe, size))
    }

    /// Returns the output size of `recipe` for an input of `size`.
    fn size_after(self, recipe: &Recipe, size: (usize, usize)) -> (usize, usize) {
        match self {
            Self::Picture => recipe.enlarged(size),
            Self::Control | Self::Frame | Self::Latent => size,
        }
    }
}

/// Processors that run one after the other, in the order of a list, with their state.
///
/// The result of each processor is resized to the size that the chain's [kind](ChainKind) requires.
#[derive(Debug)]
pub struct Chain {
    kind: ChainKind,
    entries: Vec<Entry>,
    /// Buffers that the processors write alternately.
    images: [Image; 2],
    resized: Image,
    resizer: Resizer,
    /// Runs of networks that were not counted yet, of removed processors.
    evaluations: u64,
}

#[derive(Debug)]
struct Entry {
    recipe: Recipe,
    processor: Source,
}

/// The location of an entry's processor.
#[derive(Debug)]
enum Source {
    Started(Box<dyn Preprocessor>),
    /// At this index of the chain that is updated.
    GoesOn(usize),
}

/// A prepared update of a chain: new processors are started, the others continue.
///
/// After [`Chain::update`] it contains the removed processors, to be dropped on another thread.
#[derive(Debug, Default)]
pub struct ChainUpdate {
    entries: Vec<Entry>,
}

impl ChainUpdate {
    /// Starts the processors of `new` that a chain of `old` does not have. The first processor of a kind in `new`
    /// continues the first one of that kind in `old`, the second the second, and so on.
    pub fn prepare(old: &[Recipe], new: &[Recipe]) -> Self {
        let mut taken = vec![false; old.len()];
        let entry = |recipe: &Recipe| {
            let place = (0..old.len()).find(|&place| !taken[place] && recipe.continues(&old[place]));
            let processor = match place {
                Some(place) => {
                    taken[place] = true;
                    Source::GoesOn(place)
                }
                None => Source::Started(recipe.start()),
            };
            Entry { recipe: recipe.clone(), processor }
        };
        Self { entries: new.iter().map(entry).collect() }
    }
}

impl Chain {
    /// Creates a chain of `kind` that returns its input.
    pub fn new(kind: ChainKind) -> Self {
        let images = [Image::new(), Image::new()];
        Self { kind, entries: Vec::new(), images, resized: Image::new(), resizer: Resizer::default(), evaluations: 0 }
    }

    /// Creates a chain of `kind` and starts `recipes`.
    pub fn start(kind: ChainKind, recipes: &[Recipe]) -> Self {
        let mut chain = Self::new(kind);
        chain.update(&mut ChainUpdate::prepare(&[], recipes));
        chain
    }

    /// Returns whether the chain has no processors.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Swaps in the processors of `update`, and leaves in it those that were removed. Processors that continue keep
    /// their state, and take their new settings.
    pub fn update(&mut self, update: &mut ChainUpdate) {
        for (next, entry) in update.entries.iter_mut().enumerate() {
            let Source::GoesOn(place) = entry.processor else { continue };
            let old = self.entries.get_mut(place).filter(|old| entry.recipe.continues(&old.recipe));
            let old = old.map(|old| std::mem::replace(&mut old.processor, Source::GoesOn(next)));
            let mut processor = match old {
                Some(Source::Started(processor)) => processor,
                // The update was prepared for another state.
                Some(Source::GoesOn(_)) | None => entry.recipe.start(),
            };
            processor.configure(entry.recipe.settings());
            entry.processor = Source::Started(processor);
        }
        std::mem::swap(&mut self.entries, &mut update.entries);
    }

    /// Resets the state of every processor.
    pub fn reset(&mut self) {
        for entry in &mut self.entries {
            if let Source::Started(processor) = &mut entry.processor {
                processor.reset();
            }
        }
    }

    /// Returns and resets the number of networks that ran.
    pub(crate) fn take_evaluations(&mut self) -> u64 {
        std::mem::take(&mut self.evaluations)
    }

    /// Runs all processors on `input`; without any, it is the result.
    ///
    /// # Errors
    ///
    /// Errors of a processor, and `Unsupported` for a result whose channels do not fit; each names the processor.
    pub fn run<'a>(&'a mut self, input: &'a Image, context: &Context<'_>) -> Result<&'a Image> {
        let Self { kind, entries, images: [from, to], resized, resizer, evaluations } = self;
        let mut size = context.size;
        let last = entries.len().saturating_sub(1);
        for (place, Entry { recipe, processor }) in entries.iter_mut().enumerate() {
            let Source::Started(processor) = processor else { continue };
            let input = if place == 0 { input } else { &*from };
            let before = processor.evaluations();
            let run = processor.run(input, &Context { size, ..*context }, to);
            *evaluations += processor.evaluations().saturating_sub(before);
            run.map_err(|error| error.within(format_args!("processor {:?}", recipe.name().name())))?;
            let free = *kind == ChainKind::Control && place == last;
            if !free && to.channels() != input.channels() {
                let text = format!(
                    "channels from processor {:?}: got {}, expected {}",
                    recipe.name().name(),
                    to.channels(),
                    input.channels()
                );
                return Err(Error::new(ErrorKind::Unsupported, text));
            }
            size = kind.size_after(recipe, size);
            if (to.width(), to.height()) != size {
                resizer.resize(Interpolation::Bilinear, to, size, resized);
                std::mem::swap(to, resized);
            }
            std::mem::swap(from, to);
        }
        Ok(if entries.is_empty() { input } else { from })
    }
}

#[cfg(test)]
#[path = "chain_tests.rs"]
mod tests;
