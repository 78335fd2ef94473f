//! How parameters change: planned, prepared beside what is in use, and put in its place between two frames.

use std::sync::Arc;

use serde::Serialize;

use super::chains::ChainsUpdate;
use super::checks::{check_model_size, check_service_size};
use super::control::ControlUpdate;
use super::memory::FrameBuffers;
use super::past::PastFrames;
use super::pipeline::Pipeline;
use super::room;
use super::safety::Guard;
use super::transition::way_on;
use super::workshop::Workshop;
use crate::error::Result;
use crate::exec::Arena;
use crate::params::{Change, Cost, Notice, StreamDiffusionParams, diff, total_cost};
use crate::stream::StreamBatch;

/// What an update came to.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Update {
    /// The dearest of the changes; none where nothing changed.
    pub cost: Option<Cost>,
    /// What changed.
    pub changes: Vec<Change>,
    /// What was accepted and means something else here, or was changed along with it.
    pub notices: Vec<Notice>,
}

/// A set of parameters and all that was made for it: what an update is made from. Cheap to clone; keeps what it stands
/// for in memory.
#[derive(Debug, Clone)]
pub struct Snapshot(pub(super) Arc<Pipeline>);

impl Snapshot {
    /// Gives the parameters that it was made for.
    pub fn params(&self) -> &StreamDiffusionParams {
        &self.0.params
    }

    /// Tells whether `other` is the very same, not only for the same parameters.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// Makes updates of one engine, on any thread, while frames go on.
#[derive(Debug, Clone)]
pub struct Workbench(pub(super) Arc<Workshop>);

impl Workbench {
    /// Says what it takes to come from `base` to `params`, and what it costs. Quick: reads no weights.
    ///
    /// # Errors
    ///
    /// `InvalidParams` with every violation.
    pub fn plan(&self, base: &Snapshot, params: StreamDiffusionParams, notices: Vec<Notice>) -> Result<Plan> {
        params.validate()?;
        let changes = diff(base.params(), &params);
        let cost = total_cost(&changes);
        let frees_first = cost == Some(Cost::Rebuild) && room::is_short(&self.0, &base.0, &params);
        let update = Update { cost, changes, notices };
        Ok(Plan { workbench: self.clone(), base: base.clone(), params, update, frees_first })
    }

    /// Checks what can be said of `params` (valid by themselves) without loading anything: what is fixed for this engine,
    /// and what the model of `base` can do where it stays.
    ///
    /// # Errors
    ///
    /// `InvalidParams` with every violation, `Unsupported`.
    pub(crate) fn check(&self, base: Option<&Snapshot>, params: &StreamDiffusionParams) -> Result<()> {
        check_service_size(&self.0.options, params)?;
        match base.filter(|base| base.params().model_id == params.model_id) {
            Some(base) => check_model_size(params, base.0.pieces.models()),
            None => Ok(()),
        }
    }

    /// Makes all that `params` (valid by themselves) need, to come in the place of `base`, or of nothing where the engine
    /// [was released](super::Engine::release). Pieces that `base` or `others` have are shared; all else is loaded and
    /// worked out now. Slow.
    ///
    /// # Errors
    ///
    /// `InvalidParams` for what the model cannot do, `Unsupported`, `NotFound`, `BadModel`, `OutOfMemory` with the bytes
    /// that are needed; nothing has changed then.
    pub fn prepare(
        &self,
        params: StreamDiffusionParams,
        base: Option<&Snapshot>,
        others: &[&Snapshot],
    ) -> Result<Prepared> {
        params.validate()?;
        let mut notices = Vec::new();
        let others: Vec<&Pipeline> = others.iter().map(|other| &*other.0).collect();
        let base = base.map(|base| base.0.clone());
        let changes = base.as_ref().map(|base| diff(&base.params, &params)).unwrap_or_default();
        let pipeline = match &base {
            Some(base) if changes.is_empty() => base.clone(),
            _ => {
                let way = base.as_ref().and_then(|base| way_on(base, &params));
                Arc::new(Pipeline::build(&self.0, params, way, base.as_deref(), &others, &mut notices)?)
            }
        };
        let update = Update { cost: total_cost(&changes), changes, notices };
        Prepared::new(self.0.clone(), pipeline, base, update)
    }
}

/// A change that was checked, with what it costs; nothing has been made for it yet.
#[derive(Debug, Clone)]
#[must_use]
pub struct Plan {
    workbench: Workbench,
    base: Snapshot,
    params: StreamDiffusionParams,
    update: Update,
    frees_first: bool,
}

impl Plan {
    /// Gives what it would come to.
    pub fn update(&self) -> &Update {
        &self.update
    }

    /// Gives the dearest of the changes; none where nothing changes.
    pub fn cost(&self) -> Option<Cost> {
        self.update.cost
    }

    /// Lists what changes.
    pub fn changes(&self) -> &[Change] {
        &self.update.changes
    }

    /// Gives the parameters after the change.
    pub fn params(&self) -> &StreamDiffusionParams {
        &self.params
    }

    /// Lists what is accepted and means something else here.
    pub fn notices(&self) -> &[Notice] {
        &self.update.notices
    }

    /// Tells whether there is too little memory for two pipelines, so that the one in use has to go before the new one is
    /// made: until then, frames give the last picture again.
    pub fn frees_first(&self) -> bool {
        self.frees_first
    }

    /// Takes it apart into the parameters after the change, and what it changes.
    pub(super) fn into_parts(self) -> (StreamDiffusionParams, Update) {
        (self.params, self.update)
    }

    /// Makes what the change needs, beside what is in use. Slow where something is loaded; may run on any thread.
    ///
    /// # Errors
    ///
    /// Those of [`Workbench::prepare`].
    pub fn prepare(self) -> Result<Prepared> {
        let Self { workbench, base, params, update, .. } = self;
        let mut prepared = workbench.prepare(params, Some(&base), &[])?;
        prepared.update.notices.splice(0..0, update.notices);
        Ok(prepared)
    }
}

/// An update that is made, and waits to be applied between two frames.
#[derive(Debug)]
pub struct Prepared {
    /// Whose engine it is for.
    pub(super) workshop: Arc<Workshop>,
    pub(super) pipeline: Arc<Pipeline>,
    /// In whose place it comes.
    pub(super) base: Option<Arc<Pipeline>>,
    pub(super) update: Update,
    /// Scratch memory, where the engine's is too small.
    pub(super) arena: Option<Arena>,
    /// The frames to look back to, where the engine's are too many, too few or another network's.
    pub(super) past: Option<PastFrames>,
    /// What stands between decoder and host, where the engine's has another size or nobody judges yet.
    pub(super) guard: Option<Guard>,
    /// What frames write, where the engine's has another size.
    pub(super) buffers: Option<FrameBuffers>,
    /// The stream, where the engine's cannot go on.
    pub(super) stream: Option<StreamBatch>,
    /// What ControlNets keep from frame to frame.
    pub(super) control: ControlUpdate,
    /// What the processing chains lack.
    pub(super) chains: ChainsUpdate,
}

impl Prepared {
    /// Takes the memory that frames will need, so that applying takes none.
    pub(super) fn new(
        workshop: Arc<Workshop>,
        pipeline: Arc<Pipeline>,
        base: Option<Arc<Pipeline>>,
        update: Update,
    ) -> Result<Self> {
        let (needed, old) = (pipeline.memory, base.as_ref().map(|base| base.memory));
        let continues = base.as_ref().is_some_and(|base| pipeline.continues(base));
        let fits = old.is_some_and(|old| old.same_sizes(&needed));
        let before = base.as_ref().map(|base| &base.pieces);
        // Frames in flight are dropped where successive frames stop or begin to share a call.
        let in_flight = continues && base.as_ref().is_some_and(|base| base.stream.batched == pipeline.stream.batched);
        let roomy = old.is_some_and(|old| needed.arena <= old.arena);
        let chains = ChainsUpdate::prepare(base.as_deref(), &pipeline);
        Ok(Self {
            chains,
            past: PastFrames::replacing(base.as_deref(), &pipeline)?,
            guard: Guard::replacing(base.as_deref(), &pipeline)?,
            arena: (!roomy).then(|| Arena::with_room(needed.arena)).transpose()?,
            buffers: (!fits).then(|| FrameBuffers::new(needed)).transpose()?,
            stream: (!continues)
                .then(|| StreamBatch::new(pipeline.pieces.codec().latent.len(), pipeline.stream.clone()))
                .transpose()?,
            control: ControlUpdate::new(&pipeline.pieces.controls, before.map(|pieces| &pieces.controls), in_flight)?,
            workshop,
            pipeline,
            base,
            update,
        })
    }

    /// Gives the parameters that count once it is applied.
    pub fn params(&self) -> &StreamDiffusionParams {
        &self.pipeline.params
    }

    /// Gives what will be in use once it is applied.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot(self.pipeline.clone())
    }

    /// Takes out what turned out while it was prepared.
    pub(crate) fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.update.notices)
    }

    /// Says what it changes.
    pub fn update(&self) -> &Update {
        &self.update
    }
}
