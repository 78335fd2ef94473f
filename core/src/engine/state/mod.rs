//! What an engine keeps between frames: buffers, running processors, cached attention and the frames in flight.
//!
//! A [`StateUpdate`] has everything that a [`FrameState`] needs for another pipeline. It is prepared while frames are
//! processed, on any thread, and swapped in between two of them; what it replaces is left in it.

mod buffers;
mod cached_attention;
mod chains;
mod control;
mod control_calls;
mod guard;
mod predict;
mod restyle;
mod sources;

use self::buffers::FrameBuffers;
use self::cached_attention::AttentionCache;
use self::chains::{Chains, ChainsUpdate};
use self::control::{ControlState, ControlUpdate};
use self::guard::Guard;
pub(super) use self::sources::Source;
use self::sources::SourceFrames;
use super::pipeline::Pipeline;
use crate::error::{Error, ErrorKind, Result};
use crate::exec::Arena;
use crate::filter::SimilarFilter;
use crate::params::StreamDiffusionParams;
use crate::preprocess::Image;
use crate::stream::StreamBatch;
use crate::telemetry::{ControlWork, Work};

/// What an engine keeps between frames.
#[derive(Debug)]
pub(super) struct FrameState {
    /// The frames in flight.
    stream: StreamBatch,
    filter: SimilarFilter,
    /// Scratch memory of the networks.
    arena: Arena,
    attention: AttentionCache,
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
    filter: Option<SimilarFilter>,
    arena: Option<Arena>,
    attention: Option<AttentionCache>,
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
    pub(super) fn prepare(base: Option<&Pipeline>, next: &Pipeline) -> Result<Self> {
        let (needed, held) = (next.memory, base.map(|base| base.memory));
        let continues = base.is_some_and(|base| next.continues(base));
        let same_sizes = held.is_some_and(|held| held.same_sizes(&needed));
        let arena_fits = held.is_some_and(|held| needed.arena <= held.arena);
        // Frames in flight are dropped where successive frames stop or begin to share a call.
        let in_flight = continues && base.is_some_and(|base| base.stream.batched == next.stream.batched);
        let controls = base.map(|base| &base.components.controls);
        Ok(Self {
            stream: (!continues).then(|| new_stream(next)).transpose()?,
            filter: base.is_none_or(|base| !same_filter(base, next)).then(|| new_filter(&next.params)),
            arena: (!arena_fits).then(|| Arena::with_room(needed.arena)).transpose()?,
            attention: AttentionCache::replacing(base, next)?,
            guard: Guard::replacing(base, next)?,
            buffers: (!same_sizes).then(|| FrameBuffers::new(needed)).transpose()?,
            chains: ChainsUpdate::prepare(base, next),
            control: ControlUpdate::new(&next.components.controls, controls, in_flight)?,
        })
    }
}

impl FrameState {
    /// Allocates the state of an engine that has had no frame yet.
    ///
    /// # Errors
    ///
    /// `OutOfMemory` with the bytes that are needed.
    pub(super) fn new(pipeline: &Pipeline) -> Result<Self> {
        let mut update = StateUpdate::prepare(None, pipeline)?;
        let (stream, filter, buffers) = (update.stream.take(), update.filter.take(), update.buffers.take());
        let (Some(stream), Some(filter), Some(buffers)) = (stream, filter, buffers) else {
            return Err(Error::new(ErrorKind::Internal, "the update of a state without a base lacks a part"));
        };
        let mut state = Self {
            stream,
            filter,
            arena: Arena::new(),
            attention: AttentionCache::default(),
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
    /// Those of [`StreamBatch::configure`]; nothing has changed then.
    pub(super) fn swap(&mut self, update: &mut StateUpdate, next: &Pipeline) -> Result<()> {
        let StateUpdate { stream, filter, arena, attention, guard, buffers, chains, control } = update;
        match stream {
            Some(stream) => std::mem::swap(&mut self.stream, stream),
            None => self.stream.configure(next.stream.clone())?,
        }
        if stream.is_some() || buffers.is_some() {
            (self.last_source, self.has_latent) = (None, false);
        }
        swap_if_some(&mut self.filter, filter);
        let params = &next.params;
        self.filter.configure(params.similar_image_filter_threshold as f32, params.similar_image_filter_max_skip_frame);
        self.filter.reset();
        swap_if_some(&mut self.arena, arena);
        if let Some(attention) = attention {
            attention.swap(&mut self.attention, params.cached_attention.max_frames as usize);
        }
        swap_if_some(&mut self.guard, guard);
        swap_if_some(&mut self.buffers, buffers);
        self.chains.swap(chains);
        self.control.swap(control);
        Ok(())
    }

    /// Frees what belongs to the networks of the last pipeline. The buffers stay: until there is another pipeline,
    /// each frame returns the last picture again. The next update, which has no base, brings all other parts.
    pub(super) fn release(&mut self) {
        self.arena = Arena::new();
        self.attention = AttentionCache::default();
        self.control = ControlState::default();
        self.chains = Chains::new();
    }

    /// Returns the last picture, `[height, width, 3]` in -1..1.
    pub(super) fn picture(&self) -> &Image {
        &self.buffers.result
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

fn new_stream(pipeline: &Pipeline) -> Result<StreamBatch> {
    StreamBatch::new(pipeline.components.autoencoder().latent.len(), pipeline.stream.clone())
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
