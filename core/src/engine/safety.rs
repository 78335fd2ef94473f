//! The safety checker: judges every picture before it leaves.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use super::keys::ModelKey;
use super::memory::numbers;
use super::options::Flagged;
use super::piece::Piece;
use super::pipeline::Pipeline;
use super::source::Source;
use super::workshop::{Compiler, Workshop, save_packed};
use crate::conditioning::clip_picture::{ClipFilter, ClipPictures};
use crate::error::{Error, ErrorKind, Result};
use crate::exec::{Arena, Constants, Network};
use crate::load::{Component, ModelSource};
use crate::models::config::ClipVisionConfig;
use crate::models::safety::{SafetyConcepts, SafetyWeights, safety_config};
use crate::models::{VisionStates, clip_patches, clip_vision_program};
use crate::params::Notice;
use crate::preprocess::Image;

/// Judges pictures, one after the other, on the frame path.
pub trait SafetyChecker: Send + Sync + fmt::Debug {
    /// Tells how unsafe `image` (`[height, width, 3]`, red, green and blue in 0..1) is: 0 for harmless up to 1. Pictures are
    /// flagged from `safety_checker_threshold` on.
    ///
    /// # Errors
    ///
    /// What kept it from judging; the picture then counts as flagged, and the frame fails.
    fn score(&self, image: &Image) -> Result<f32>;
}

/// What judges the pictures of a model, where anything does.
pub(super) type SafetyPiece = Piece<Option<ModelKey>, Option<Arc<dyn SafetyChecker>>>;

/// The published checker, for models that bring none of their own.
const PUBLISHED: &str = "CompVis/stable-diffusion-safety-checker";
/// What models call theirs.
const COMPONENT: &str = "safety_checker";

/// Loads the checker for the model with `id`: the host's, or the model's own, or the published one.
///
/// # Errors
///
/// `NotFound` listing where was looked, `BadModel`, `Unsupported`.
pub(super) fn load(workshop: &Workshop, id: &str, notices: &mut Vec<Notice>) -> Result<Arc<dyn SafetyChecker>> {
    if let Some(given) = &workshop.safety_checker {
        return Ok(given.clone());
    }
    let component = component(&workshop.source, id);
    let checker = component.and_then(|component| ClipSafetyChecker::load(workshop, &component, notices));
    Ok(Arc::new(checker.map_err(|error| error.within(COMPONENT))?))
}

/// The checker that the model brings, or the published one.
fn component(source: &ModelSource, id: &str) -> Result<Component> {
    if !matches!(source, ModelSource::Random(_)) {
        let checkpoint = source.base(&id.parse()?)?.checkpoint;
        // Folders often name a checker that was never fetched.
        let own = checkpoint.class(COMPONENT).map(|_| checkpoint.component(COMPONENT));
        if let Some(own) = own.filter(|own| own.as_ref().err().is_none_or(|error| error.kind() != ErrorKind::NotFound))
        {
            return own;
        }
    }
    source.component(&PUBLISHED.parse()?).map_err(|error| {
        let text = "the model brings no checker, and the host gives none (EngineBuilder::safety_checker)";
        error.within(text)
    })
}

/// The checker of diffusers' pipelines.
#[derive(Debug)]
struct ClipSafetyChecker {
    config: ClipVisionConfig,
    network: Arc<dyn Network>,
    constants: Constants,
    concepts: SafetyConcepts,
    /// Only frames use it, one after the other.
    room: Mutex<Room>,
}

/// What judging a picture writes.
#[derive(Debug)]
struct Room {
    pictures: ClipPictures,
    bytes: Vec<u8>,
    square: Vec<f32>,
    patches: Vec<f32>,
    embedding: Vec<f32>,
    arena: Arena,
}

impl ClipSafetyChecker {
    fn load(workshop: &Workshop, component: &Component, notices: &mut Vec<Notice>) -> Result<Self> {
        let config = safety_config(&component.config)?;
        let concepts = SafetyConcepts::read(&*component.weights, config.projection_dim)?;
        workshop.require_room(component, "the safety checker")?;
        let source = Arc::new(SafetyWeights::encoder(&config, component.weights.clone()));
        let weights = workshop.weights_through(component, source);
        let program = clip_vision_program(&config, 1, VisionStates::Projected)?;
        let network = Compiler { executor: &*workshop.executor, held: 0 }.compile(program, &weights)?;
        notices.extend(save_packed(&weights));
        let room = Room {
            pictures: ClipPictures::new(ClipFilter::Bicubic),
            bytes: Vec::new(),
            square: Vec::new(),
            patches: Vec::new(),
            embedding: vec![0.0; config.projection_dim],
            arena: Arena::with_room(network.arena_len())?,
        };
        let constants = network.constants(&[])?;
        Ok(Self { config, network, constants, concepts, room: Mutex::new(room) })
    }
}

impl SafetyChecker for ClipSafetyChecker {
    fn score(&self, image: &Image) -> Result<f32> {
        let mut room = self.room.lock().unwrap_or_else(PoisonError::into_inner);
        let Room { pictures, bytes, square, patches, embedding, arena } = &mut *room;
        bytes.clear();
        bytes.extend(image.pixels().iter().map(|number| (number * 255.0).round() as u8));
        let side = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
        pictures.make(bytes, (side(image.width()), side(image.height())), self.config.image_size, square)?;
        clip_patches(&self.config, square, patches)?;
        self.network.run(&self.constants, arena, &[patches, &[0.0]], &mut [embedding])?;
        Ok(self.concepts.score(embedding))
    }
}

/// What stands between the decoder and the host.
#[derive(Debug, Default)]
pub(crate) struct Guard {
    /// The picture that is judged.
    image: Image,
    /// The last picture that was not flagged, as the networks see it, and the frame it was made from.
    good: Vec<f32>,
    source: Option<Source>,
}

/// How pictures are judged.
#[derive(Debug)]
pub(super) struct Judge<'a> {
    pub(super) checker: &'a dyn SafetyChecker,
    pub(super) threshold: f32,
    pub(super) instead: Flagged,
}

impl Guard {
    /// The guard that `pipeline` needs, where the one that serves `base` will not do.
    ///
    /// # Errors
    ///
    /// `OutOfMemory`.
    pub(super) fn replacing(base: Option<&Pipeline>, pipeline: &Pipeline) -> Result<Option<Self>> {
        let size = |pipeline: &Pipeline| pipeline.pieces.safety_checker().map(|_| pipeline.memory.picture);
        let Some((width, height)) = size(pipeline).filter(|_| base.and_then(size) != size(pipeline)) else {
            return Ok(None);
        };
        let len = numbers(pipeline.memory.picture);
        let mut guard = Self::default();
        guard.good.try_reserve_exact(len).map_err(|error| {
            Error::new(ErrorKind::OutOfMemory, "no memory for a picture in the place of flagged ones")
                .with_source(error)
        })?;
        guard.image.resize(width, height, 3);
        Ok(Some(guard))
    }

    /// Judges `result` (`[height, width, 3]` in -1..1), made from the frame `source`. Where it is flagged, puts another
    /// picture there and says from which frame that was made.
    ///
    /// # Errors
    ///
    /// What the checker reports; `result` then holds another picture as well.
    pub(super) fn check(&mut self, judge: &Judge<'_>, result: &mut [f32], source: Source) -> Result<Option<Source>> {
        for (to, from) in self.image.pixels_mut().iter_mut().zip(&*result) {
            *to = (from * 0.5 + 0.5).clamp(0.0, 1.0);
        }
        let score = judge.checker.score(&self.image);
        // What is no number is flagged, too.
        if score.as_ref().is_ok_and(|&score| score < judge.threshold) {
            self.good.clear();
            self.good.extend_from_slice(result);
            self.source = Some(source);
            return Ok(None);
        }
        let shown = match (judge.instead, self.source) {
            (Flagged::Previous, Some(source)) => {
                result.copy_from_slice(&self.good);
                source
            }
            (Flagged::Previous, None) | (Flagged::Black, _) => {
                result.fill(-1.0);
                source
            }
        };
        score.map(|_| Some(shown))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::FrameId;

    /// As unsafe as the picture is red.
    #[derive(Debug)]
    struct Red;

    impl SafetyChecker for Red {
        fn score(&self, image: &Image) -> Result<f32> {
            let red = image.pixels()[0];
            if red == 1.0 {
                Err(Error::new(ErrorKind::Device, "lost"))
            } else {
                Ok(if red == 0.5 { f32::NAN } else { red })
            }
        }
    }

    fn guard() -> Guard {
        let mut guard = Guard::default();
        guard.image.resize(2, 1, 3);
        guard
    }

    #[test]
    fn flagged_pictures_give_way_to_the_last_good_one_or_to_black() {
        for instead in [Flagged::Previous, Flagged::Black] {
            let judge = Judge { checker: &Red, threshold: 0.4, instead };
            let mut guard = guard();
            let mut shown = |red: f32, id: u64| {
                let mut result = vec![red; 6];
                let source = guard.check(&judge, &mut result, Source { id: FrameId(id), ..Source::default() });
                let source = source.map(|source| source.map(|source| source.id));
                (source.map_err(|error| error.kind()), result[0])
            };
            // Nothing good yet: black.
            assert_eq!(shown(0.9, 1), (Ok(Some(FrameId(1))), -1.0));
            assert_eq!(shown(-0.9, 2), (Ok(None), -0.9));
            let other = if instead == Flagged::Previous { (FrameId(2), -0.9) } else { (FrameId(3), -1.0) };
            assert_eq!(shown(0.9, 3), (Ok(Some(other.0)), other.1));
            // No number, and no verdict.
            assert_eq!(shown(0.0, 3), (Ok(Some(other.0)), other.1));
            assert_eq!(shown(1.0, 3), (Err(ErrorKind::Device), other.1));
            assert_eq!(shown(-0.5, 4), (Ok(None), -0.5));
        }
    }
}
