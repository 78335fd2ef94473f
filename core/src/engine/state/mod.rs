//! The state of an engine between frames: buffers, running processors, cached attention and frames in flight.
//!
//! A [`StateUpdate`] has everything that a [`FrameState`] needs for another pipeline. It is prepared while frames are
//! processed, on any thread, and swapped in between two of them; what it replaces is left in it.

mod buffers;
mod cached_attention;
mod chains;
mod control;
mod control_calls;
mod deep_features;
mod guard;
mod predict;
mod restyle;
mod sources;
mod timer;
mod unchanged;

use std::sync::Arc;

use self::buffers::FrameBuffers;
use self::cached_attention::AttentionCache;
use self::chains::{Chains, ChainsUpdate};
use self::control::{ControlState, ControlUpdate};
use self::deep_features::DeepFeatures;
use self::guard::Guard;
pub(super) use self::sources::Source;
use self::sources::SourceFrames;
pub(super) use self::timer::{FrameTimer, Stage};
use self::unchanged::KeptAutoencoder;
use super::pipeline::Pipeline;
use crate::error::{Error, ErrorKind, Result};
use crate::exec::{Queue, Scratch, View};
use crate::filter::SimilarFilter;
use crate::params::StreamDiffusionParams;
use crate::stream::{StreamBatch, StreamRows};
use crate::telemetry::{ControlWork, Work};

/// The state of an engine between frames.
#[derive(Debug)]
pub(super) struct FrameState {
    /// The queue of the executor.
    queue: Arc<dyn Queue>,
    /// The frames in flight.
    stream: StreamBatch,
    filter: SimilarFilter,
    /// Scratch memory of the networks.
    scratch: Scratch,
    attention: AttentionCache,
    features: DeepFeatures,
    autoencoder: KeptAutoencoder,
    guard: Guard,
    buffers: FrameBuffers,
    chains: Chains,
    control: ControlState,
    work: Work,
    sources: SourceFrames,
    /// The frame that the last picture was made from; `None` before the first picture.
    last_source: Option<Source>,
    /// Whether there is a last clean latent.
    has_latent: bool,
}

/// Everything that takes a state from one pipeline to the next; after [`FrameState::swap`], what the state no longer
/// needs.
///
/// A part is `None` if that of the state serves the next pipeline as well.
#[derive(Debug)]
pub(super) struct StateUpdate {
    stream: Option<StreamBatch>,
    /// The rows of the stream, if their number changes.
    rows: Option<StreamRows>,
    filter: Option<SimilarFilter>,
    scratch: Option<Scratch>,
    attention: Option<AttentionCache>,
    features: Option<DeepFeatures>,
    autoencoder: Option<KeptAutoencoder>,
    guard: Option<Guard>,
    buffers: Option<FrameBuffers>,
    chains: ChainsUpdate,
    control: ControlUpdate,
}

impl StateUpdate {
    /// Allocates what `next` needs and the state of `base` lacks; all of it without `base`.
    ///
    /// # Errors
    ///
    /// `OutOfMemory` with the bytes that are needed.
    pub(super) fn prepare(queue: &Arc<dyn Queue>, base: Option<&Pipeline>, next: &Pipeline) -> Result<Self> {
        let (needed, held) = (next.memory, base.map(|base| base.memory));
        let continuing = base.filter(|base| next.continues(base));
        let continues = continuing.is_some();
        let same_sizes = held.is_some_and(|held| held.same_sizes(&needed));
        let scratch_fits = held.is_some_and(|held| needed.scratch <= held.scratch);
        // Frames in flight are dropped where successive frames stop or begin to share a call.
        let in_flight = continues && base.is_some_and(|base| base.stream.batched == next.stream.batched);
        let controls = base.map(|base| &base.components.controls);
        Ok(Self {
            stream: (!continues).then(|| new_stream(queue, next)).transpose()?,
            rows: continuing.map(|base| new_rows(&**queue, base, next)).transpose()?.flatten(),
            filter: base.is_none_or(|base| !same_filter(base, next)).then(|| new_filter(&next.params)),
            scratch: (!scratch_fits).then(|| queue.scratch(needed.scratch)).transpose()?,
            attention: AttentionCache::replacing(&**queue, base, next)?,
            features: DeepFeatures::replacing(&**queue, base, next)?,
            autoencoder: KeptAutoencoder::replacing(base, next)?,
            guard: Guard::replacing(base, next)?,
            buffers: (!same_sizes).then(|| FrameBuffers::new(&**queue, needed)).transpose()?,
            chains: ChainsUpdate::prepare(base, next),
            control: ControlUpdate::new(&**queue, &next.components.controls, controls, in_flight)?,
        })
    }
}

impl FrameState {
    /// Allocates the state of an engine that has had no frame yet.
    ///
    /// # Errors
    ///
    /// `OutOfMemory` with the bytes that are needed.
    pub(super) fn new(queue: Arc<dyn Queue>, pipeline: &Pipeline) -> Result<Self> {
        let mut update = StateUpdate::prepare(&queue, None, pipeline)?;
        let (stream, filter, buffers) = (update.stream.take(), update.filter.take(), update.buffers.take());
        let (Some(stream), Some(filter), Some(buffers)) = (stream, filter, buffers) else {
            return Err(Error::new(ErrorKind::Internal, "the update of a state without a base lacks a part"));
        };
        let mut state = Self {
            queue,
            stream,
            filter,
            scratch: Scratch::new(),
            attention: AttentionCache::default(),
            features: DeepFeatures::default(),
            autoencoder: KeptAutoencoder::default(),
            guard: Guard::default(),
            buffers,
            chains: Chains::new(),
            control: ControlState::default(),
            work: Work::default(),
            sources: SourceFrames::default(),
            last_source: None,
            has_latent: false,
        };
        state.swap(&mut update, pipeline)?;
        Ok(state)
    }

    /// Swaps in `update`, which was prepared for `next`. Frames in flight are kept if model and size stay. What is no
    /// longer needed is left in `update`.
    ///
    /// # Errors
    ///
    /// Those of [`StreamBatch::configure_with`]; nothing has changed then.
    pub(super) fn swap(&mut self, update: &mut StateUpdate, next: &Pipeline) -> Result<()> {
        let StateUpdate {
            stream,
            rows,
            filter,
            scratch,
            attention,
            features,
            autoencoder,
            guard,
            buffers,
            chains,
            control,
        } = update;
        match stream {
            Some(stream) => std::mem::swap(&mut self.stream, stream),
            None => self.stream.configure_with(next.stream.clone(), rows)?,
        }
        if stream.is_some() || buffers.is_some() {
            (self.last_source, self.has_latent) = (None, false);
        }
        swap_if_some(&mut self.filter, filter);
        let params = &next.params;
        self.filter.configure(params.similar_image_filter_threshold as f32, params.similar_image_filter_max_skip_frame);
        self.filter.reset();
        swap_if_some(&mut self.scratch, scratch);
        if let Some(attention) = attention {
            attention.swap(&mut self.attention, next.cached_frames());
        }
        swap_if_some(&mut self.features, features);
        self.features.forget();
        swap_if_some(&mut self.autoencoder, autoencoder);
        swap_if_some(&mut self.guard, guard);
        swap_if_some(&mut self.buffers, buffers);
        self.chains.swap(chains);
        self.control.swap(&*self.queue, control);
        Ok(())
    }

    /// Frees what belongs to the networks of the last pipeline. The buffers stay: until there is another pipeline,
    /// each frame returns the last picture again. The next update, which has no base, brings all other parts.
    pub(super) fn release(&mut self) {
        self.scratch = Scratch::new();
        self.attention = AttentionCache::default();
        self.features = DeepFeatures::default();
        self.autoencoder = KeptAutoencoder::default();
        self.control = ControlState::default();
        self.chains = Chains::new();
    }

    /// Processes the next frame like the first one. After an error of the device, nothing of what it computed before can be
    /// relied on: it may have accepted work that it then did not do.
    pub(super) fn restart(&mut self) {
        (self.last_source, self.has_latent) = (None, false);
        self.stream.reset();
        self.filter.reset();
        self.attention.clear();
        self.features.forget();
        self.chains.reset();
        self.control.reset();
    }

    /// Makes a picture of the next frame even if that is similar to the last one.
    pub(super) fn compute_next(&mut self) {
        self.filter.reset();
    }

    /// Returns the queue of the executor.
    pub(super) fn queue(&self) -> &Arc<dyn Queue> {
        &self.queue
    }

    /// Returns width and height of pictures.
    pub(super) fn picture_size(&self) -> (u32, u32) {
        let (width, height) = self.buffers.picture;
        (width as u32, height as u32)
    }

    /// Returns the index of the last picture, for [`picture`](Self::picture).
    pub(super) fn last_picture(&self) -> usize {
        self.buffers.current()
    }

    /// Returns the picture at `index`, `[height, width, 3]` in -1..1. It stays until as many further pictures were made
    /// as the queue has [depth](Queue::depth).
    pub(super) fn picture(&self, index: usize) -> View<'_> {
        self.buffers.result(index)
    }

    /// Returns the frame that the last picture was made from; `None` before the first picture.
    pub(super) fn last_source(&self) -> Option<Source> {
        self.last_source
    }

    /// Returns how many frames after its frame a picture is returned.
    pub(super) fn delay(&self) -> usize {
        self.stream.delay()
    }

    /// Returns how often networks and processors ran for frames since the engine was built.
    pub(super) fn work(&self) -> Work {
        self.work
    }

    /// Returns how often the ControlNet ran that is at `index` of the parameters' list.
    pub(super) fn control_work(&self, pipeline: &Pipeline, index: usize) -> Option<ControlWork> {
        self.control.work(&pipeline.components.controls, index)
    }
}

/// Swaps `value` with that of `other`, if there is one.
fn swap_if_some<T>(value: &mut T, other: &mut Option<T>) {
    if let Some(other) = other {
        std::mem::swap(value, other);
    }
}

/// Allocates the rows of the stream of `next`, unless it has as many as that of `base`.
fn new_rows(queue: &dyn Queue, base: &Pipeline, next: &Pipeline) -> Result<Option<StreamRows>> {
    StreamRows::replacing(queue, next.components.autoencoder().latent.len(), Some(&base.stream), &next.stream)
}

fn new_stream(queue: &Arc<dyn Queue>, pipeline: &Pipeline) -> Result<StreamBatch> {
    StreamBatch::new(queue.clone(), pipeline.components.autoencoder().latent.len(), pipeline.stream.clone())
}

/// Whether the filter of `base` serves `next`, apart from its bounds.
fn same_filter(base: &Pipeline, next: &Pipeline) -> bool {
    let (old, new) = (&base.params, &next.params);
    old.seed == new.seed && old.enable_similar_image_filter == new.enable_similar_image_filter
}

fn new_filter(params: &StreamDiffusionParams) -> SimilarFilter {
    let seed = params.seed.iter().next().map_or(0, |(&seed, _)| seed);
    SimilarFilter::new(params.similar_image_filter_threshold as f32, params.similar_image_filter_max_skip_frame, seed)
}
