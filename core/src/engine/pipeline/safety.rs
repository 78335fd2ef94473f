//! Loading of the safety checker, which scores every picture.

use std::sync::{Arc, Mutex, PoisonError};

use super::cached::Cached;
use super::context::{BuildContext, Compiler, pickled, save_packed};
use super::keys::ModelKey;
use crate::conditioning::clip_picture::{ClipFilter, ClipPictures};
use crate::engine::host::SafetyChecker;
use crate::error::{Error, ErrorKind, Result};
use crate::exec::{Constants, Network, Scratch};
use crate::load::{Component, ModelSource};
use crate::models::config::ClipVisionConfig;
use crate::models::safety::{SafetyConcepts, SafetyWeights, safety_config};
use crate::models::{VisionStates, clip_patches, clip_vision_program};
use crate::params::Notice;
use crate::preprocess::Image;
#[cfg(feature = "safety")]
use crate::preprocess::networks::NsfwClassifier;

/// The checker of a model, if `use_safety_checker` is on.
pub(super) type CachedSafety = Cached<Option<ModelKey>, Option<Arc<dyn SafetyChecker>>>;

/// The published checker, for models without their own.
const PUBLISHED: &str = "CompVis/stable-diffusion-safety-checker";
/// The component's name in models.
const COMPONENT: &str = "safety_checker";

/// Loads the checker for the model with `id`: the host's, the model's own, the published one, or the built-in one.
///
/// # Errors
///
/// `NotFound` listing the searched locations, `BadModel`, `Unsupported`.
pub(super) fn load(context: &BuildContext, id: &str, notices: &mut Vec<Notice>) -> Result<Arc<dyn SafetyChecker>> {
    if let Some(given) = &context.safety_checker {
        return Ok(given.clone());
    }
    let checker = match component(&context.source, id) {
        Ok(component) => ClipSafetyChecker::load(context, &component, notices).map(|checker| Arc::new(checker) as _),
        Err(error) if error.kind() == ErrorKind::NotFound => built_in(context, error, notices),
        Err(error) => Err(error),
    };
    checker.map_err(|error| error.within(COMPONENT))
}

/// The classifier in the binary, used if there is no other checker.
#[cfg(feature = "safety")]
fn built_in(context: &BuildContext, _: Error, notices: &mut Vec<Notice>) -> Result<Arc<dyn SafetyChecker>> {
    const NOTICE: &str = "the built-in classifier scores pictures (MobileNetV2 of nsfwjs): neither the host nor the \
                        model brings a checker";

    let classifier = NsfwClassifier::load(&*context.executor)?;
    notices.push(Notice { path: "use_safety_checker".into(), message: NOTICE.to_owned() });
    Ok(Arc::new(BuiltIn(Mutex::new(classifier))))
}

#[cfg(not(feature = "safety"))]
fn built_in(_: &BuildContext, missing: Error, _: &mut Vec<Notice>) -> Result<Arc<dyn SafetyChecker>> {
    Err(missing.within("no classifier is built in (feature `safety`)"))
}

/// Locked by frames only, one at a time.
#[cfg(feature = "safety")]
#[derive(Debug)]
struct BuiltIn(Mutex<NsfwClassifier>);

#[cfg(feature = "safety")]
impl SafetyChecker for BuiltIn {
    fn score(&self, image: &Image) -> Result<f32> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).score(image)
    }
}

/// The checker of the model, or the published one.
fn component(source: &ModelSource, id: &str) -> Result<Component> {
    if !matches!(source, ModelSource::Random(_)) {
        let checkpoint = source.base(&id.parse()?)?.checkpoint;
        // Folders often refer to a checker that was not downloaded.
        let own = checkpoint.class(COMPONENT).map(|_| checkpoint.component(COMPONENT));
        if let Some(own) = own.filter(|own| own.as_ref().err().is_none_or(|error| error.kind() != ErrorKind::NotFound))
        {
            return own;
        }
    }
    source.component(&PUBLISHED.parse()?).map_err(|error| {
        let text = "the model has no safety checker, and the host sets none (EngineBuilder::safety_checker)";
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
    /// Locked by frames only, one at a time.
    room: Mutex<ScoreBuffers>,
}

/// The memory that scoring a picture writes to.
#[derive(Debug)]
struct ScoreBuffers {
    pictures: ClipPictures,
    bytes: Vec<u8>,
    square: Vec<f32>,
    patches: Vec<f32>,
    embedding: Vec<f32>,
    scratch: Scratch,
}

impl ClipSafetyChecker {
    fn load(context: &BuildContext, component: &Component, notices: &mut Vec<Notice>) -> Result<Self> {
        let config = safety_config(&component.config)?;
        let concepts = SafetyConcepts::read(&*component.weights, config.projection_dim)?;
        context.require_room(component, "the safety checker")?;
        let source = Arc::new(SafetyWeights::encoder(&config, component.weights.clone()));
        let weights = context.weights_through(component, source);
        let program = clip_vision_program(&config, 1, VisionStates::Projected)?;
        let network = Compiler { executor: &*context.executor, held: 0 }.compile(program, &weights)?;
        notices.extend(pickled(&component.weights, "use_safety_checker"));
        notices.extend(save_packed(&weights));
        let room = ScoreBuffers {
            pictures: ClipPictures::new(ClipFilter::Bicubic),
            bytes: Vec::new(),
            square: Vec::new(),
            patches: Vec::new(),
            embedding: vec![0.0; config.projection_dim],
            scratch: context.queue.scratch(network.scratch_bytes())?,
        };
        let constants = network.constants(&[])?;
        Ok(Self { config, network, constants, concepts, room: Mutex::new(room) })
    }
}

impl SafetyChecker for ClipSafetyChecker {
    fn score(&self, image: &Image) -> Result<f32> {
        let mut room = self.room.lock().unwrap_or_else(PoisonError::into_inner);
        let ScoreBuffers { pictures, bytes, square, patches, embedding, scratch } = &mut *room;
        bytes.clear();
        bytes.extend(image.pixels().iter().map(|number| (number * 255.0).round() as u8));
        let side = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
        pictures.make(bytes, (side(image.width()), side(image.height())), self.config.image_size, square)?;
        clip_patches(&self.config, square, patches)?;
        self.network.run_on_host(&self.constants, scratch, &[patches, &[0.0]], &mut [embedding])?;
        Ok(self.concepts.score(embedding))
    }
}
