//! The four processing chains of an engine: what their recipes are, and where they stand in a frame's way.

use super::memory::numbers;
use super::piece::Piece;
use super::pipeline::Pipeline;
use crate::error::{Error, ErrorKind, Result, Violation};
use crate::frame::MAX_SIDE;
use crate::net::Shape;
use crate::params::{
    FlowOutput, ProcessingConfig, ProcessorName, SingleProcessorConfig, StreamDiffusionParams, TemporalNetSettings,
};
use crate::preprocess::{Chain, ChainKind, ChainUpdate, Context, Image, Interpolation, Recipe, Registry, Resizer};

/// Where a chain stands, in the order in which a frame comes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// The frame, before it is encoded.
    Frame,
    /// The noised latent of row 0.
    Noised,
    /// The clean latent, before it is decoded.
    Clean,
    /// The picture.
    Picture,
}

impl Stage {
    const ALL: [Self; 4] = [Self::Frame, Self::Noised, Self::Clean, Self::Picture];

    fn name(self) -> &'static str {
        match self {
            Self::Frame => "image_preprocessing",
            Self::Noised => "latent_preprocessing",
            Self::Clean => "latent_postprocessing",
            Self::Picture => "image_postprocessing",
        }
    }

    fn config(self, params: &StreamDiffusionParams) -> &ProcessingConfig {
        match self {
            Self::Frame => &params.image_preprocessing,
            Self::Noised => &params.latent_preprocessing,
            Self::Clean => &params.latent_postprocessing,
            Self::Picture => &params.image_postprocessing,
        }
    }

    fn kind(self) -> ChainKind {
        match self {
            Self::Frame => ChainKind::Frame,
            Self::Noised | Self::Clean => ChainKind::Latent,
            Self::Picture => ChainKind::Picture,
        }
    }
}

/// The recipes of the four chains, each kept as long as its part of the parameters and the size of frames stay.
#[derive(Debug)]
pub(crate) struct Recipes([Piece<RecipesKey, [Recipe]>; 4]);

#[derive(Debug, PartialEq)]
struct RecipesKey {
    config: ProcessingConfig,
    size: (usize, usize),
}

impl Recipes {
    /// Makes the recipes that `params` ask for, but for those that `previous` have.
    ///
    /// # Errors
    ///
    /// What [`Registry::recipe`] reports, with the path of the processor.
    pub(super) fn new(registry: &Registry, params: &StreamDiffusionParams, previous: &[&Self]) -> Result<Self> {
        let size = (params.width as usize, params.height as usize);
        let piece = |stage: Stage| {
            let kept = previous.iter().map(|recipes| &recipes.0[stage as usize]);
            let key = RecipesKey { config: stage.config(params).clone(), size };
            Piece::reuse(kept, key, |key| recipes(&registry.sized(size), stage, &key.config).map(Into::into))
        };
        let [frame, noised, clean, picture] = Stage::ALL;
        Ok(Self([piece(frame)?, piece(noised)?, piece(clean)?, piece(picture)?]))
    }

    fn of(&self, stage: Stage) -> &[Recipe] {
        self.0[stage as usize].get()
    }

    /// Whether any processor works on images.
    pub(super) fn has_image_chain(&self) -> bool {
        !self.of(Stage::Frame).is_empty() || !self.of(Stage::Picture).is_empty()
    }

    /// The size, width and height, of the pictures of a stream of `size`.
    ///
    /// # Errors
    ///
    /// `InvalidParams` naming the processor that makes pictures larger than any frame may be.
    pub(super) fn picture_size(&self, size: (usize, usize)) -> Result<(usize, usize)> {
        let mut pictures = size;
        let picture = &self.0[Stage::Picture as usize];
        for ((place, _), recipe) in picture.key().config.active().zip(picture.get().iter()) {
            pictures = recipe.enlarged(pictures);
            let (width, height) = pictures;
            if width.max(height) > MAX_SIDE as usize {
                let path = format!("{}.processors[{place}]", Stage::Picture.name());
                let message = format!("makes pictures of {width}x{height}, but a side must be at most {MAX_SIDE}");
                return Err(Error::invalid_params(vec![Violation { path, message }]));
            }
        }
        Ok(pictures)
    }

    /// About how many numbers the image chains keep, for frames and pictures of these widths and heights.
    pub(super) fn memory(&self, frame: (usize, usize), picture: (usize, usize)) -> usize {
        /// Images that a processor keeps, more or less.
        const OWN: usize = 6;

        if !self.has_image_chain() {
            return 0;
        }
        let (before, after) = (self.of(Stage::Frame).len(), self.of(Stage::Picture).len());
        let of = |size, processors: usize| numbers(size).saturating_mul(OWN * processors + 4);
        of(frame, before).saturating_add(of(picture, after))
    }
}

fn recipes(registry: &Registry, stage: Stage, config: &ProcessingConfig) -> Result<Vec<Recipe>> {
    let recipe = |(place, processor): (usize, &SingleProcessorConfig)| {
        let path = format!("{}.processors[{place}]", stage.name());
        let flow = || TemporalNetSettings::read(&processor.params).output_format;
        if processor.kind == ProcessorName::TemporalNetTensorrt && flow() == FlowOutput::Concat {
            let name = processor.kind.name();
            let text = format!("{path}: processor {name:?} gives six channels where output_format is \"concat\"");
            return Err(Error::new(ErrorKind::Unsupported, text));
        }
        registry.recipe(processor.kind, &processor.params).map_err(|error| error.within(path))
    };
    config.active().map(recipe).collect()
}

/// The running chains of an engine.
///
/// Around them images are in -1..1, inside of them in 0..1; latents are as they are.
#[derive(Debug)]
pub(super) struct Chains {
    chains: [Chain; 4],
    /// What an image chain begins with.
    image: Image,
    /// The last picture, for processors that look back; without pixels where none does, or before the first.
    previous: Image,
    /// What a latent chain begins with.
    latent: Image,
    resizer: Resizer,
}

/// What takes the engine's chains from one pipeline to the next; afterwards, what is not needed any more.
#[derive(Debug)]
pub(super) struct ChainsUpdate {
    updates: [ChainUpdate; 4],
    /// Memory for the first frames: [`Chains::image`] and [`Chains::previous`].
    images: Option<[Image; 2]>,
    /// Whether frames have another size than before.
    resets: bool,
}

impl ChainsUpdate {
    /// Starts the processors that `new` needs and `old` does not have.
    pub(super) fn prepare(old: Option<&Pipeline>, new: &Pipeline) -> Self {
        let recipes = new.pieces.recipes();
        let before = |stage| old.map_or(&[][..], |old| old.pieces.recipes().of(stage));
        let same_size = old.is_some_and(|old| old.memory.same_sizes(&new.memory));
        let has_memory = same_size && old.is_some_and(|old| old.pieces.looks_back());
        let image = |(width, height)| {
            let mut image = Image::new();
            image.resize(width, height, 3);
            image
        };
        let images =
            (new.pieces.looks_back() && !has_memory).then(|| [new.memory.frame, new.memory.picture].map(image));
        let updates = Stage::ALL.map(|stage| ChainUpdate::prepare(before(stage), recipes.of(stage)));
        Self { updates, images, resets: !same_size }
    }
}

impl Chains {
    /// Makes chains without processors.
    pub(super) fn new() -> Self {
        Self {
            chains: Stage::ALL.map(|stage| Chain::new(stage.kind())),
            image: Image::new(),
            previous: Image::new(),
            latent: Image::new(),
            resizer: Resizer::default(),
        }
    }

    /// Takes what was prepared, and leaves what is not needed any more.
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

    /// Whether nothing is to be done at `stage`.
    pub(super) fn is_empty(&self, stage: Stage) -> bool {
        self.chains[stage as usize].is_empty()
    }

    /// Keeps the last picture, in -1..1, for this frame's processors, or none.
    pub(super) fn remember(&mut self, last: Option<&Image>) {
        match last {
            Some(last) => to_unit(last, &mut self.previous),
            None => self.previous.resize(0, 0, 0),
        }
    }

    /// The last picture, in 0..1, if there is one and anything looks back.
    pub(super) fn previous(&self) -> Option<&Image> {
        filled(&self.previous)
    }

    /// Takes away the count of networks that ran.
    pub(super) fn take_evaluations(&mut self) -> u64 {
        self.chains.iter_mut().map(Chain::take_evaluations).sum()
    }

    /// Takes the frame, in -1..1, through its chain.
    pub(super) fn frame(&mut self, frame: &mut Image) -> Result<()> {
        if self.is_empty(Stage::Frame) {
            return Ok(());
        }
        to_unit(frame, &mut self.image);
        self.image(Stage::Frame, frame)
    }

    /// Takes the picture, in -1..1, through its chain, to `result`, which has the size of pictures.
    pub(super) fn picture(&mut self, picture: &Image, result: &mut Image) -> Result<()> {
        if self.is_empty(Stage::Picture) {
            // Only an engine without a pipeline has pictures of another size than its frames.
            let size = (result.width(), result.height());
            self.resizer.resize(Interpolation::Bilinear, picture, size, result);
            return Ok(());
        }
        to_unit(picture, &mut self.image);
        self.image(Stage::Picture, result)
    }

    /// Takes `self.image` through the chain of `stage` to `result`, in -1..1.
    fn image(&mut self, stage: Stage, result: &mut Image) -> Result<()> {
        let Self { chains, image, previous, .. } = self;
        let context = Context { previous: filled(previous), size: (image.width(), image.height()) };
        to_signed(chains[stage as usize].run(image, &context)?, result);
        Ok(())
    }

    /// Takes the noised latent of row 0, of `shape`, through its chain.
    pub(super) fn noised(&mut self, row: &mut [f32], shape: Shape, last: Option<&Image>) -> Result<()> {
        if self.is_empty(Stage::Noised) {
            return Ok(());
        }
        self.latent.resize(shape.w, shape.h, shape.c);
        self.latent.pixels_mut().copy_from_slice(row);
        let context = Context { previous: last, size: (shape.w, shape.h) };
        let made = self.chains[Stage::Noised as usize].run(&self.latent, &context)?;
        row.copy_from_slice(made.pixels());
        Ok(())
    }

    /// Takes the clean latent through its chain.
    pub(super) fn clean(&mut self, latent: &mut Image, last: Option<&Image>) -> Result<()> {
        if self.is_empty(Stage::Clean) {
            return Ok(());
        }
        let context = Context { previous: last, size: (latent.width(), latent.height()) };
        let made = self.chains[Stage::Clean as usize].run(latent, &context)?;
        self.latent.copy_from(made);
        std::mem::swap(latent, &mut self.latent);
        Ok(())
    }
}

/// The picture before, where there is one.
fn filled(previous: &Image) -> Option<&Image> {
    Some(previous).filter(|previous| !previous.pixels().is_empty())
}

/// Brings numbers in -1..1 to 0..1.
pub(super) fn to_unit(from: &Image, to: &mut Image) {
    to.resize(from.width(), from.height(), from.channels());
    for (to, from) in to.pixels_mut().iter_mut().zip(from.pixels()) {
        *to = (from * 0.5 + 0.5).clamp(0.0, 1.0);
    }
}

/// Brings numbers in 0..1 to -1..1; what is no number becomes -1.
fn to_signed(from: &Image, to: &mut Image) {
    to.resize(from.width(), from.height(), from.channels());
    for (to, from) in to.pixels_mut().iter_mut().zip(from.pixels()) {
        let signed = from * 2.0 - 1.0;
        *to = if signed.is_nan() { -1.0 } else { signed.clamp(-1.0, 1.0) };
    }
}
