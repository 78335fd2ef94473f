//! The four processing chains of a pipeline: which processors each has, and at which point of a frame's processing they run.

use super::cached::Cached;
use super::frame_memory::elements;
use crate::error::{Error, ErrorKind, Result, Violation};
use crate::frame::MAX_SIDE;
use crate::params::{
    FlowOutput, Notice, ProcessingConfig, ProcessorName, SingleProcessorConfig, StreamDiffusionParams,
    TemporalNetSettings,
};
use crate::preprocess::{ChainKind, Recipe, Registry};

/// The position of a chain, in the order in which chains run for a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) enum ChainSlot {
    /// The frame, before it is encoded.
    Frame,
    /// The noised latent of row 0.
    Noised,
    /// The clean latent, before it is decoded.
    Clean,
    /// The picture.
    Picture,
}

impl ChainSlot {
    pub(in crate::engine) const ALL: [Self; 4] = [Self::Frame, Self::Noised, Self::Clean, Self::Picture];

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

    pub(in crate::engine) fn kind(self) -> ChainKind {
        match self {
            Self::Frame => ChainKind::Frame,
            Self::Noised | Self::Clean => ChainKind::Latent,
            Self::Picture => ChainKind::Picture,
        }
    }
}

/// Returns the notice of an `external` processor, at `path` of the parameters, for which the host gave no image.
pub(super) fn no_external_image(path: String) -> Notice {
    let message = "is \"external\", and the host gave no image: its input is used until there is one".into();
    Notice { path, message }
}

/// Returns notices of `external` processors of an image chain for which the host gave no image.
fn missing_images(registry: &Registry, slot: ChainSlot, config: &ProcessingConfig) -> Vec<Notice> {
    if slot.kind() == ChainKind::Latent || !registry.lacks_external(None) {
        return Vec::new();
    }
    let external = config.active().filter(|(_, one)| one.kind == ProcessorName::External);
    external.map(|(place, _)| no_external_image(format!("{}.processors[{place}].type", slot.name()))).collect()
}

/// The recipes of the four chains. Each is cached by its part of the parameters and the size of frames.
#[derive(Debug)]
pub(crate) struct Recipes([Cached<RecipesKey, [Recipe]>; 4]);

#[derive(Debug, PartialEq)]
struct RecipesKey {
    config: ProcessingConfig,
    size: (usize, usize),
}

impl Recipes {
    /// Returns the recipes that `params` describe; takes those that `previous` have.
    ///
    /// # Errors
    ///
    /// Those of [`Registry::recipe`], with the path of the processor.
    pub(in crate::engine) fn new(
        registry: &Registry,
        params: &StreamDiffusionParams,
        previous: &[&Self],
        notices: &mut Vec<Notice>,
    ) -> Result<Self> {
        let size = (params.width as usize, params.height as usize);
        let mut chain = |slot: ChainSlot| {
            let kept = previous.iter().map(|recipes| &recipes.0[slot as usize]);
            let key = RecipesKey { config: slot.config(params).clone(), size };
            Cached::reuse(kept, key, |key| {
                notices.extend(missing_images(registry, slot, &key.config));
                recipes(&registry.sized(size), slot, &key.config).map(Into::into)
            })
        };
        let [frame, noised, clean, picture] = ChainSlot::ALL;
        Ok(Self([chain(frame)?, chain(noised)?, chain(clean)?, chain(picture)?]))
    }

    pub(in crate::engine) fn of(&self, slot: ChainSlot) -> &[Recipe] {
        self.0[slot as usize].get()
    }

    /// Whether any processor works on images.
    pub(in crate::engine) fn has_image_chain(&self) -> bool {
        !self.of(ChainSlot::Frame).is_empty() || !self.of(ChainSlot::Picture).is_empty()
    }

    /// The size, width and height, of the pictures of a stream of `size`.
    ///
    /// # Errors
    ///
    /// `InvalidParams` naming the processor that makes pictures larger than any frame may be.
    pub(in crate::engine) fn picture_size(&self, size: (usize, usize)) -> Result<(usize, usize)> {
        let mut pictures = size;
        let picture = &self.0[ChainSlot::Picture as usize];
        for ((place, _), recipe) in picture.key().config.active().zip(picture.get().iter()) {
            pictures = recipe.enlarged(pictures);
            let (width, height) = pictures;
            if width.max(height) > MAX_SIDE as usize {
                let path = format!("{}.processors[{place}]", ChainSlot::Picture.name());
                let message =
                    format!("got {width}x{height} as the size of the result, expected sides of at most {MAX_SIDE}");
                return Err(Error::invalid_params(vec![Violation { path, message }]));
            }
        }
        Ok(pictures)
    }

    /// Estimates how many elements the image chains keep, for frames and pictures of these widths and heights.
    pub(in crate::engine) fn memory(&self, frame: (usize, usize), picture: (usize, usize)) -> usize {
        /// Images that a processor keeps, estimated.
        const OWN: usize = 6;

        if !self.has_image_chain() {
            return 0;
        }
        let (before, after) = (self.of(ChainSlot::Frame).len(), self.of(ChainSlot::Picture).len());
        let of = |size, processors: usize| elements(size).saturating_mul(OWN * processors + 4);
        of(frame, before).saturating_add(of(picture, after))
    }
}

fn recipes(registry: &Registry, slot: ChainSlot, config: &ProcessingConfig) -> Result<Vec<Recipe>> {
    let recipe = |(place, processor): (usize, &SingleProcessorConfig)| {
        let path = format!("{}.processors[{place}]", slot.name());
        let flow = || TemporalNetSettings::read(&processor.params).output_format;
        if processor.kind == ProcessorName::TemporalNetTensorrt && flow() == FlowOutput::Concat {
            let name = processor.kind.name();
            let text = format!(
                "{path}: processor {name:?} returns six channels with output_format \"concat\", which processing chains do not support"
            );
            return Err(Error::new(ErrorKind::Unsupported, text));
        }
        registry.recipe(processor.kind, &processor.params).map_err(|error| error.within(path))
    };
    config.active().map(recipe).collect()
}
