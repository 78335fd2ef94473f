//! All of it together, on the caller's thread: frames in, pictures out, parameters changed between two frames.
//!
//! An [`Engine`] has no thread, lock or file of its own once it is built; the same parameters and frames give the same
//! bytes. An update makes a second pipeline beside the first out of shared pieces, and then the two change places.

mod assembly;
mod builder;
mod bytes;
mod chains;
mod checks;
mod codec;
mod conditioning;
mod control;
mod facts;
mod frame;
mod ip_adapter;
mod keys;
mod lora;
#[cfg(test)]
mod lora_tests;
mod memory;
#[cfg(all(test, feature = "demo-model"))]
mod memory_tests;
mod models;
mod options;
#[cfg(test)]
mod packed_tests;
mod past;
mod picture;
mod piece;
mod pipeline;
mod progress;
mod room;
mod safety;
#[cfg(all(test, feature = "demo-model"))]
mod safety_tests;
mod source;
mod style;
mod text;
mod transition;
mod unet;
mod update;
mod workshop;

use std::sync::Arc;

pub use self::builder::EngineBuilder;
use self::chains::{Chains, ChainsUpdate};
use self::control::ControlState;
use self::memory::FrameBuffers;
pub use self::options::{ControlImages, EngineOptions, ExecutorKind, Flagged};
use self::past::PastFrames;
pub use self::picture::{Picture, PictureInfo, PictureKind};
use self::pipeline::Pipeline;
pub use self::progress::Progress;
use self::safety::Guard;
pub use self::safety::SafetyChecker;
use self::source::{Source, Sources};
pub use self::style::StyleImages;
pub use self::update::{Plan, Prepared, Snapshot, Update, Workbench};
use self::workshop::Workshop;
use crate::error::{Error, ErrorKind, Result};
use crate::exec::Arena;
pub use crate::exec::Dtype;
use crate::filter::SimilarFilter;
use crate::frame::{FrameConverter, FramePool};
use crate::load::Calibration;
use crate::params::{Notice, ParamsPatch, StreamDiffusionParams};
use crate::stream::StreamBatch;
use crate::telemetry::Work;

/// Pictures that a host may hold while their buffers still come from the pool.
const POOLED: usize = 4;

/// A StreamDiffusion engine: a frame in, a picture out, on the thread that calls.
///
/// A picture is made from the frame [`delay`](Self::delay) calls before. The first frame fills all rows of the stream, so
/// that no picture is half-made.
#[derive(Debug)]
pub struct Engine {
    workshop: Arc<Workshop>,
    active: Active,
    stream: StreamBatch,
    filter: SimilarFilter,
    converter: FrameConverter,
    pool: FramePool,
    arena: Arena,
    past: PastFrames,
    guard: Guard,
    buffers: FrameBuffers,
    chains: Chains,
    control: ControlState,
    work: Work,
    /// The frame that the last picture was made from; none before the first.
    last_source: Option<Source>,
    sources: Sources,
    /// Whether there is a last clean latent.
    has_latent: bool,
    next_id: u64,
    /// Whether each frame takes a step of the transition under way.
    steps: bool,
    /// The newest update applied.
    version: u64,
    notices: Vec<Notice>,
}

/// What frames go through.
#[derive(Debug)]
enum Active {
    Ready(Arc<Pipeline>),
    /// Nothing, to make room for the next one; these were the last parameters.
    Released(Box<StreamDiffusionParams>),
}

impl Engine {
    /// Starts to put an engine together: the demo model with its own settings, unless told otherwise.
    pub fn builder() -> EngineBuilder {
        EngineBuilder::new()
    }

    fn new(workshop: Workshop, params: StreamDiffusionParams, mut notices: Vec<Notice>) -> Result<Self> {
        let workshop = Arc::new(workshop);
        let pipeline = Arc::new(Pipeline::build(&workshop, params, None, None, &[], &mut notices)?);
        let mut chains = Chains::new();
        chains.swap(&mut ChainsUpdate::prepare(None, &pipeline));
        Ok(Self {
            filter: new_filter(&pipeline.params),
            stream: StreamBatch::new(pipeline.pieces.codec().latent.len(), pipeline.stream.clone())?,
            converter: FrameConverter::new(),
            pool: FramePool::new(POOLED),
            arena: Arena::with_room(pipeline.memory.arena)?,
            past: PastFrames::replacing(None, &pipeline)?.unwrap_or_default(),
            guard: Guard::replacing(None, &pipeline)?.unwrap_or_default(),
            buffers: FrameBuffers::new(pipeline.memory)?,
            chains,
            control: ControlState::new(&pipeline.pieces.controls)?,
            work: Work::default(),
            last_source: None,
            sources: Sources::default(),
            has_latent: false,
            next_id: 0,
            steps: false,
            version: 0,
            notices,
            active: Active::Ready(pipeline),
            workshop,
        })
    }

    /// Changes parameters between two frames: whole, or on an error not at all.
    ///
    /// Where the plan [says so](Plan::frees_first), what is in use goes before the new is made, and is made again if that
    /// fails.
    ///
    /// # Errors
    ///
    /// As [`prepare`](Self::prepare).
    pub fn update(&mut self, patch: &ParamsPatch) -> Result<Update> {
        let plan = self.plan(patch)?;
        self.carry_out(plan)
    }

    /// Changes parameters in place, by the same rules as [`update`](Self::update).
    ///
    /// # Errors
    ///
    /// As [`prepare`](Self::prepare).
    pub fn edit(&mut self, change: impl FnOnce(&mut StreamDiffusionParams)) -> Result<Update> {
        let mut params = self.params().clone();
        change(&mut params);
        let plan = self.workbench().plan(&self.snapshot()?, params, Vec::new())?;
        self.carry_out(plan)
    }

    fn carry_out(&mut self, plan: Plan) -> Result<Update> {
        if !plan.frees_first() {
            let prepared = plan.prepare()?;
            return self.apply(prepared);
        }
        let (bench, old) = (self.workbench(), self.params().clone());
        let (params, mut update) = plan.into_parts();
        self.release();
        let prepared = match bench.prepare(params, None, &[]) {
            Ok(prepared) => prepared,
            Err(error) => {
                let prepared = bench.prepare(old, None, &[])?;
                self.apply(prepared)?;
                return Err(error);
            }
        };
        update.notices.extend(self.apply(prepared)?.notices);
        Ok(update)
    }

    /// Says what `patch` changes and what that costs; nothing has changed.
    ///
    /// # Errors
    ///
    /// `InvalidParams` with every violation; `InvalidArgument` for an engine that [was released](Self::release).
    pub fn plan(&self, patch: &ParamsPatch) -> Result<Plan> {
        let (params, notices) = patch.merge(self.params())?;
        self.workbench().plan(&self.snapshot()?, params, notices)
    }

    /// Makes whatever `patch` needs, beside what is in use: slow where something is loaded.
    ///
    /// # Errors
    ///
    /// Those of [`plan`](Self::plan) and [`Workbench::prepare`]; nothing has changed then.
    pub fn prepare(&self, patch: &ParamsPatch) -> Result<Prepared> {
        self.plan(patch)?.prepare()
    }

    /// Gives what makes updates of this engine on other threads.
    pub fn workbench(&self) -> Workbench {
        Workbench(self.workshop.clone())
    }

    /// Gives what is in use.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for an engine that [was released](Self::release).
    pub fn snapshot(&self) -> Result<Snapshot> {
        match &self.active {
            Active::Ready(pipeline) => Ok(Snapshot(pipeline.clone())),
            Active::Released(_) => {
                Err(Error::new(ErrorKind::InvalidArgument, "the engine was released, and has nothing to start from"))
            }
        }
    }

    /// Puts what was prepared in the place of what is in use: quick, between two frames. Rows in flight go on where model
    /// and size stay.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for what was prepared for another engine, or in the place of what is no longer in use; nothing
    /// has changed then.
    pub fn apply(&mut self, mut prepared: Prepared) -> Result<Update> {
        self.swap(&mut prepared)?;
        Ok(prepared.update)
    }

    /// As [`apply`](Self::apply), and leaves what was in use in `prepared`, to be dropped where that may take its time:
    /// giving back the memory of a model is no work for a thread that has frames to do.
    ///
    /// # Errors
    ///
    /// Those of `apply`.
    pub fn swap(&mut self, prepared: &mut Prepared) -> Result<()> {
        self.check_turn(prepared)?;
        self.version += 1;
        let pipeline = prepared.pipeline.clone();
        if prepared.base.as_ref().is_some_and(|base| Arc::ptr_eq(base, &pipeline)) {
            return Ok(());
        }
        match &mut prepared.stream {
            Some(stream) => {
                std::mem::swap(&mut self.stream, stream);
                (self.last_source, self.has_latent) = (None, false);
            }
            None => self.stream.configure(pipeline.stream.clone())?,
        }
        if let Some(arena) = &mut prepared.arena {
            std::mem::swap(&mut self.arena, arena);
        }
        if let Some(past) = &mut prepared.past {
            past.swap(&mut self.past, pipeline.params.cached_attention.max_frames as usize);
        }
        if let Some(guard) = &mut prepared.guard {
            std::mem::swap(&mut self.guard, guard);
        }
        if let Some(buffers) = &mut prepared.buffers {
            std::mem::swap(&mut self.buffers, buffers);
            (self.last_source, self.has_latent) = (None, false);
        }
        self.chains.swap(&mut prepared.chains);
        self.control.swap(&mut prepared.control);
        let (old, new) = (self.params(), &pipeline.params);
        if old.seed == new.seed && old.enable_similar_image_filter == new.enable_similar_image_filter {
            self.filter.configure(new.similar_image_filter_threshold as f32, new.similar_image_filter_max_skip_frame);
            self.filter.reset();
        } else {
            self.filter = new_filter(new);
        }
        // What was in use lives on as the base of `prepared`.
        self.active = Active::Ready(pipeline);
        Ok(())
    }

    /// Says which version pictures have from now on, where somebody else counts updates.
    pub(crate) fn set_version(&mut self, version: u64) {
        self.version = version;
    }

    fn check_turn(&self, prepared: &Prepared) -> Result<()> {
        let same = match (&self.active, &prepared.base) {
            (Active::Ready(pipeline), Some(base)) => Arc::ptr_eq(pipeline, base),
            (Active::Released(_), None) => true,
            (Active::Ready(_), None) | (Active::Released(_), Some(_)) => false,
        };
        let problem = if !Arc::ptr_eq(&self.workshop, &prepared.workshop) {
            "an update that was prepared for another engine"
        } else if !same {
            "an update that was prepared before another one was applied: prepare it again"
        } else {
            return Ok(());
        };
        Err(Error::new(ErrorKind::InvalidArgument, problem))
    }

    /// Lets go of all that is loaded, to make room for a pipeline that does not fit beside it. Until
    /// [`apply`](Self::apply) brings another one, frames give the last picture again.
    pub fn release(&mut self) {
        self.active = Active::Released(Box::new(self.params().clone()));
        self.arena = Arena::new();
        self.past = PastFrames::default();
        self.control = ControlState::default();
        self.chains = Chains::new();
    }

    /// Says how the UNet's layers are done in eight bits, by what they read so far.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for an engine that was not built [to observe](EngineBuilder::observing) or has seen no frame,
    /// `BadModel` where a layer read what is not a number.
    pub fn calibration(&self) -> Result<Calibration> {
        let observer = self.workshop.observer.as_ref().filter(|_| self.next_id > 0);
        let observer = observer.ok_or_else(|| {
            Error::new(ErrorKind::InvalidArgument, "the engine does not observe its layers, or has seen no frame")
        })?;
        let pieces = &self.snapshot()?.0.pieces;
        bytes::calibrate(pieces.models(), &pieces.weights().unet, observer, self.next_id as usize)
    }
}

fn new_filter(params: &StreamDiffusionParams) -> SimilarFilter {
    let seed = params.seed.iter().next().map_or(0, |(&seed, _)| seed);
    SimilarFilter::new(params.similar_image_filter_threshold as f32, params.similar_image_filter_max_skip_frame, seed)
}

/// A dtype that the executor does not have is refused by name; the processor's own limits are the executor's to tell.
fn check_dtype(options: &EngineOptions) -> Result<()> {
    if options.executor == ExecutorKind::Reference && options.dtype != Dtype::F32 {
        let text = format!("dtype {} is not built for the executor {}; f32 is", options.dtype, options.executor);
        return Err(Error::new(ErrorKind::Unsupported, text));
    }
    Ok(())
}
