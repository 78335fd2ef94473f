//! `external`: an image of the host's in place of the frame.
//!
//! The host's threads and those that start processors share a lock. A running processor has a slot of its own, through
//! which it receives images without one.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use serde_json::{Map, Value};

use super::{Context, Factory, Image, Preprocessor};
use crate::error::{Error, ErrorKind, Result};
use crate::frame::{Fit, Frame, FrameConverter, FramePool, FrameView};
use crate::params::ExternalSettings;
use crate::sync::latest_slot::LatestSlot;

/// How many buffers of replaced images are kept for the next ones.
const POOLED: usize = 4;
/// The maximum number of images for single ControlNets.
const MAX_IMAGES: usize = 64;

/// The id of the ControlNet that an image is for; `None` for all `external` processors without an image of their own.
type Target = Option<Box<str>>;

/// Receives the image of a running processor; `None` if there is none any more.
type Slot = LatestSlot<Option<Arc<Frame>>>;

/// The host's images for the `external` processors of one engine.
#[derive(Debug)]
pub(crate) struct ExternalImages {
    pool: FramePool,
    fit: Fit,
    /// The number of changes so far.
    version: AtomicU64,
    shared: Mutex<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    images: BTreeMap<Target, Arc<Frame>>,
    /// The factory of each target, while a recipe uses it: a processor continues as long as its factory is the same.
    factories: BTreeMap<Target, Weak<ExternalFactory>>,
    receivers: Vec<(Target, Weak<Slot>)>,
}

impl Shared {
    /// Returns the image for `target`: its own, otherwise the one for all.
    fn image(&self, target: &Target) -> Option<Arc<Frame>> {
        self.images.get(target).or_else(|| self.images.get(&None)).cloned()
    }

    /// Sends running processors the image that a change of `target` gave them.
    fn publish(&mut self, target: &Target) {
        let mut receivers = std::mem::take(&mut self.receivers);
        receivers.retain(|(own, slot)| {
            let Some(slot) = slot.upgrade() else { return false };
            if own == target || (target.is_none() && !self.images.contains_key(own)) {
                slot.put(self.image(own));
            }
            true
        });
        self.receivers = receivers;
    }
}

impl ExternalImages {
    /// Creates a store without images, which are fitted to the size of the stream as `fit` says.
    pub(crate) fn new(fit: Fit) -> Self {
        Self { pool: FramePool::new(POOLED), fit, version: AtomicU64::new(0), shared: Mutex::default() }
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Copies the image for the ControlNet of this id, or for all `external` processors without one of their own.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for an empty id, and for images of more than 64 ControlNets; `OutOfMemory`.
    pub(crate) fn set(&self, controlnet: Option<&str>, image: &FrameView<'_>) -> Result<()> {
        if controlnet.is_some_and(str::is_empty) {
            let text = "external image: got an empty id, expected the model_id of a ControlNet";
            return Err(Error::new(ErrorKind::InvalidArgument, text));
        }
        let target: Target = controlnet.map(Into::into);
        let image = Arc::new(self.pool.copy(image)?);
        let mut shared = self.shared();
        let named = shared.images.keys().filter(|target| target.is_some()).count();
        if target.is_some() && named >= MAX_IMAGES && !shared.images.contains_key(&target) {
            let text = format!(
                "external images of ControlNets: got {}, expected at most {MAX_IMAGES}; clear others before",
                named + 1
            );
            return Err(Error::new(ErrorKind::InvalidArgument, text));
        }
        shared.images.insert(target.clone(), image);
        shared.publish(&target);
        drop(shared);
        self.version.fetch_add(1, Ordering::Release);
        Ok(())
    }

    /// Removes the image of the ControlNet of this id, or the one for all.
    pub(crate) fn clear(&self, controlnet: Option<&str>) {
        let target: Target = controlnet.map(Into::into);
        let mut shared = self.shared();
        if shared.images.remove(&target).is_none() {
            return;
        }
        shared.publish(&target);
        drop(shared);
        self.version.fetch_add(1, Ordering::Release);
    }

    /// Whether there is an image for the ControlNet of this id, or for a processor of a chain.
    pub(super) fn has_image(&self, controlnet: Option<&str>) -> bool {
        self.shared().image(&controlnet.map(Into::into)).is_some()
    }

    /// Returns the number of changes so far.
    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Returns the factory of the processor of the ControlNet of this id, or of those of chains; the same as long as a
    /// recipe has it.
    pub(super) fn factory(self: &Arc<Self>, controlnet: Option<&str>) -> Arc<dyn Factory> {
        let target: Target = controlnet.map(Into::into);
        let mut shared = self.shared();
        if let Some(factory) = shared.factories.get(&target).and_then(Weak::upgrade) {
            return factory;
        }
        shared.factories.retain(|_, factory| factory.strong_count() > 0);
        let factory = Arc::new(ExternalFactory { images: self.clone(), target: target.clone() });
        shared.factories.insert(target, Arc::downgrade(&factory));
        factory
    }

    fn subscribe(&self, target: &Target) -> Arc<Slot> {
        let slot = Arc::new(Slot::new());
        let mut shared = self.shared();
        shared.receivers.retain(|(_, slot)| slot.strong_count() > 0);
        slot.put(shared.image(target));
        shared.receivers.push((target.clone(), Arc::downgrade(&slot)));
        slot
    }
}

/// Starts the processors of a target.
#[derive(Debug)]
struct ExternalFactory {
    images: Arc<ExternalImages>,
    target: Target,
}

impl Factory for ExternalFactory {
    fn start(&self, settings: &Map<String, Value>) -> Box<dyn Preprocessor> {
        let given = Given {
            slot: self.images.subscribe(&self.target),
            fit: self.images.fit,
            frame: None,
            image: Image::new(),
            is_stale: false,
            converter: FrameConverter::new(),
        };
        Box::new(External { settings: ExternalSettings::read(settings), given: Some(given) })
    }
}

/// Returns the host's image; without one its input, after checking the input's size.
#[derive(Debug)]
pub(super) struct External {
    settings: ExternalSettings,
    /// `None` in a registry without an engine.
    given: Option<Given>,
}

/// The image that a processor received.
#[derive(Debug)]
struct Given {
    slot: Arc<Slot>,
    fit: Fit,
    /// As the host gave it, for other sizes of the stream.
    frame: Option<Arc<Frame>>,
    /// The frame, in 0..1.
    image: Image,
    /// Whether `image` was not made from `frame`.
    is_stale: bool,
    converter: FrameConverter,
}

impl Given {
    /// Returns the image in this width and height; `None` if the host gave none.
    fn image(&mut self, (width, height): (usize, usize)) -> Result<Option<&Image>> {
        if let Some(frame) = self.slot.take() {
            (self.frame, self.is_stale) = (frame, true);
        }
        let Some(frame) = &self.frame else { return Ok(None) };
        if self.is_stale || (self.image.width(), self.image.height()) != (width, height) {
            self.is_stale = true;
            self.image.resize(width, height, 3);
            let pixels = self.image.pixels_mut();
            self.converter.to_unit(&frame.view(), self.fit, width as u32, height as u32, pixels)?;
            self.is_stale = false;
        }
        Ok(Some(&self.image))
    }
}

impl External {
    /// Creates one without an image of the host's.
    pub(super) fn new(settings: &Map<String, Value>) -> Self {
        Self { settings: ExternalSettings::read(settings), given: None }
    }
}

impl Preprocessor for External {
    fn run(&mut self, input: &Image, context: &Context<'_>, output: &mut Image) -> Result<()> {
        let (width, height) = context.size;
        // A latent has no image to replace it.
        let given = self.given.as_mut().filter(|_| input.channels() == 3);
        if let Some(image) = given.map(|given| given.image(context.size)).transpose()?.flatten() {
            output.copy_from(image);
            return Ok(());
        }
        if self.settings.validate_input && (input.width(), input.height()) != (width, height) {
            let text = format!("image: got {}x{}, expected {width}x{height}", input.width(), input.height());
            return Err(Error::new(ErrorKind::InvalidFrame, text));
        }
        output.copy_from(input);
        Ok(())
    }

    fn configure(&mut self, settings: &Map<String, Value>) {
        self.settings = ExternalSettings::read(settings);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::PixelFormat;

    fn give(images: &ExternalImages, controlnet: Option<&str>, grey: u8) {
        let pixels = [grey; 2 * 2 * 3];
        images.set(controlnet, &FrameView::packed(PixelFormat::Rgb8, 2, 2, &pixels).unwrap()).unwrap();
    }

    /// Returns the grey of what `processor` makes of a black image of this size.
    fn grey(processor: &mut dyn Preprocessor, size: (usize, usize)) -> u8 {
        let input = Image::from_pixels(size.0, size.1, 3, vec![0.0; size.0 * size.1 * 3]).unwrap();
        let mut output = Image::new();
        processor.run(&input, &Context { previous: None, size }, &mut output).unwrap();
        assert!(output.same_size(&input));
        let grey = output.pixels()[0];
        assert!(output.pixels().iter().all(|&value| (value - grey).abs() < 1e-6));
        (grey * 255.0).round() as u8
    }

    #[test]
    fn the_newest_image_counts_until_it_is_cleared() {
        let images = Arc::new(ExternalImages::new(Fit::Cover));
        let mut running = images.factory(Some("a")).start(&Map::new());
        assert_eq!(grey(&mut *running, (4, 2)), 0);
        give(&images, Some("a"), 10);
        give(&images, Some("a"), 20);
        // Scaled to the size of the stream, also to the next one.
        assert_eq!([(4, 2), (4, 2), (3, 5)].map(|size| grey(&mut *running, size)), [20; 3]);
        images.clear(Some("a"));
        assert_eq!(grey(&mut *running, (3, 5)), 0);
    }

    #[test]
    fn an_image_is_kept_for_processors_that_start_later() {
        let images = Arc::new(ExternalImages::new(Fit::Cover));
        give(&images, Some("a"), 10);
        let started = || images.factory(Some("a")).start(&Map::new());
        assert_eq!(grey(&mut *started(), (4, 2)), 10);
        assert_eq!(grey(&mut *started(), (4, 2)), 10);
        assert!(images.has_image(Some("a")) && !images.has_image(Some("b")) && !images.has_image(None));
    }

    #[test]
    fn the_image_for_all_is_used_by_those_without_their_own() {
        let images = Arc::new(ExternalImages::new(Fit::Cover));
        let [mut a, mut b, mut chain] = [Some("a"), Some("b"), None].map(|id| images.factory(id).start(&Map::new()));
        let mut greys = || [grey(&mut *a, (2, 2)), grey(&mut *b, (2, 2)), grey(&mut *chain, (2, 2))];
        give(&images, Some("a"), 10);
        give(&images, None, 90);
        assert_eq!(greys(), [10, 90, 90]);
        images.clear(Some("a"));
        assert_eq!(greys(), [90, 90, 90]);
        give(&images, Some("b"), 20);
        images.clear(None);
        assert_eq!(greys(), [0, 20, 0]);
    }

    #[test]
    fn a_processor_continues_while_its_factory_is_in_use() {
        let images = Arc::new(ExternalImages::new(Fit::Cover));
        let factory = images.factory(Some("a"));
        assert!(Arc::ptr_eq(&factory, &images.factory(Some("a"))));
        assert!(!Arc::ptr_eq(&factory, &images.factory(Some("b"))));
        drop(factory);
        drop(images.factory(Some("c")));
        assert_eq!(images.shared().factories.len(), 1, "those out of use are forgotten");
    }

    #[test]
    fn latents_pass_unchanged() {
        let images = Arc::new(ExternalImages::new(Fit::Cover));
        give(&images, None, 90);
        let mut processor = images.factory(None).start(&Map::new());
        let latent = Image::from_pixels(2, 2, 4, (0..16_u8).map(f32::from).collect()).unwrap();
        let mut output = Image::new();
        processor.run(&latent, &Context { previous: None, size: (2, 2) }, &mut output).unwrap();
        assert_eq!(output, latent);
    }

    #[test]
    fn too_many_images_and_empty_ids_are_rejected() {
        let images = ExternalImages::new(Fit::Cover);
        let pixels = [0; 3];
        let pixel = FrameView::packed(PixelFormat::Rgb8, 1, 1, &pixels).unwrap();
        for id in 0..MAX_IMAGES {
            images.set(Some(&id.to_string()), &pixel).unwrap();
        }
        for (id, part) in [("more", "got 65, expected at most 64"), ("", "got an empty id")] {
            let refused = images.set(Some(id), &pixel).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::InvalidArgument);
            assert!(refused.to_string().contains(part), "{refused}");
        }
        // Others are still replaced.
        images.set(Some("0"), &pixel).unwrap();
        images.set(None, &pixel).unwrap();
        images.clear(Some("0"));
        images.set(Some("more"), &pixel).unwrap();
    }

    #[test]
    fn a_change_is_counted_and_clearing_nothing_is_none() {
        let images = ExternalImages::new(Fit::Cover);
        images.clear(None);
        assert_eq!(images.version(), 0);
        give(&images, None, 1);
        images.clear(None);
        assert_eq!(images.version(), 2);
    }
}
