//! Updates of parameters: planned, prepared while the pipeline in use continues, and applied between two frames.

use std::sync::Arc;

use serde::Serialize;

use super::memory_fit;
use super::pipeline::Pipeline;
use super::pipeline::context::BuildContext;
use super::pipeline::limits::check_model_size;
use super::state::StateUpdate;
use super::transition::transition_on;
use crate::error::Result;
use crate::params::{Change, Cost, Notice, StreamDiffusionParams, total_cost};
use crate::preprocess::ExternalImages;

/// Result of an update: its cost, changes and notices.
#[derive(Debug, Clone, Default, Serialize)]
#[non_exhaustive]
pub struct Update {
    /// The highest cost among the changes; `None` if nothing changed.
    pub cost: Option<Cost>,
    /// The changes.
    pub changes: Vec<Change>,
    /// Values that are interpreted differently, and parameters that change as a consequence.
    pub notices: Vec<Notice>,
}

/// A set of parameters, and the pipeline built for it, which an update is based on. Cheap to clone; keeps the pipeline
/// in memory.
#[derive(Debug, Clone)]
pub struct Snapshot(pub(super) Arc<Pipeline>);

impl Snapshot {
    /// Returns its parameters.
    pub fn params(&self) -> &StreamDiffusionParams {
        &self.0.params
    }

    /// Returns the changes from `old` to `new`, parameters of this pipeline or of updates to it, like
    /// [`params::diff`](crate::params::diff). A change of the scales of LoRAs with live branches
    /// ([`LoraMode`](super::LoraMode)) costs less.
    pub fn diff(&self, old: &StreamDiffusionParams, new: &StreamDiffusionParams) -> Vec<Change> {
        self.0.diff(old, new)
    }

    /// Returns true if both refer to the same pipeline, not only to equal parameters.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// Prepares updates of one engine, on any thread, while the engine processes frames.
#[derive(Debug, Clone)]
pub struct Workbench(pub(super) Arc<BuildContext>);

impl Workbench {
    /// Returns the images of the host for `external` processors.
    pub(crate) fn external(&self) -> &ExternalImages {
        &self.0.external
    }

    /// Returns the changes from `base` to `params`, and their cost. Quick: reads no weights.
    ///
    /// # Errors
    ///
    /// `InvalidParams` with every violation.
    pub fn plan(&self, base: &Snapshot, params: StreamDiffusionParams, notices: Vec<Notice>) -> Result<Plan> {
        params.validate()?;
        let changes = base.diff(base.params(), &params);
        let cost = total_cost(&changes);
        let frees_first = cost == Some(Cost::Rebuild) && memory_fit::is_short(&self.0, &base.0, &params);
        let update = Update { cost, changes, notices };
        Ok(Plan { workbench: self.clone(), base: base.clone(), params, update, frees_first })
    }

    /// Checks `params`, which are valid by themselves, against the engine's options and, if the model stays, against
    /// the model of `base`. Loads nothing.
    ///
    /// # Errors
    ///
    /// `InvalidParams` with every violation, `Unsupported`.
    pub(crate) fn check(&self, base: Option<&Snapshot>, params: &StreamDiffusionParams) -> Result<()> {
        match base.filter(|base| base.params().model_id == params.model_id) {
            Some(base) => check_model_size(params, base.0.components.models()),
            None => Ok(()),
        }
    }

    /// Builds everything that `params` need, to replace `base`, or nothing if the engine [was
    /// released](super::Engine::release). Components that `base` or `others` have are shared; all others are loaded and
    /// computed now. Slow.
    ///
    /// # Errors
    ///
    /// `InvalidParams` for values that the parameters or the model do not allow, `Unsupported`, `NotFound`, `BadModel`,
    /// `OutOfMemory` with the bytes that are needed; nothing has changed then.
    pub fn prepare(
        &self,
        params: StreamDiffusionParams,
        base: Option<&Snapshot>,
        others: &[&Snapshot],
    ) -> Result<Prepared> {
        params.validate()?;
        let changes = base.map(|base| base.diff(base.params(), &params)).unwrap_or_default();
        self.build(params, base, others, changes)
    }

    /// Like [`prepare`](Self::prepare), with valid parameters, whose `changes` from `base` are known.
    fn build(
        &self,
        params: StreamDiffusionParams,
        base: Option<&Snapshot>,
        others: &[&Snapshot],
        changes: Vec<Change>,
    ) -> Result<Prepared> {
        let mut notices = Vec::new();
        let others: Vec<&Pipeline> = others.iter().map(|other| &*other.0).collect();
        let base = base.map(|base| base.0.clone());
        let pipeline = match &base {
            Some(base) if changes.is_empty() => base.clone(),
            _ => {
                let way = base.as_ref().and_then(|base| transition_on(base, &params));
                Arc::new(Pipeline::build(&self.0, params, way, base.as_deref(), &others, &mut notices)?)
            }
        };
        let update = Update { cost: total_cost(&changes), changes, notices };
        Prepared::new(self.0.clone(), pipeline, base, update)
    }
}

/// A checked change of parameters, and its cost; nothing has been built for it yet.
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
    /// Returns the result that applying it would have, except for notices of its preparation.
    pub fn update(&self) -> &Update {
        &self.update
    }

    /// Returns the highest cost among the changes; `None` if nothing changes.
    pub fn cost(&self) -> Option<Cost> {
        self.update.cost
    }

    /// Returns the changes.
    pub fn changes(&self) -> &[Change] {
        &self.update.changes
    }

    /// Returns the parameters after the change.
    pub fn params(&self) -> &StreamDiffusionParams {
        &self.params
    }

    /// Returns notices of values that are interpreted differently.
    pub fn notices(&self) -> &[Notice] {
        &self.update.notices
    }

    /// Returns true if there is too little memory for two pipelines, so that the one in use must be released before the
    /// new one is built. Until that is built, each frame returns the last picture again.
    pub fn frees_first(&self) -> bool {
        self.frees_first
    }

    /// Splits it into the parameters after the change, and the changes.
    pub(super) fn into_parts(self) -> (StreamDiffusionParams, Update) {
        (self.params, self.update)
    }

    /// Builds everything that the change needs, without touching the pipeline in use. Slow if anything is loaded; may
    /// run on any thread.
    ///
    /// # Errors
    ///
    /// Those of [`Workbench::prepare`].
    pub fn prepare(self) -> Result<Prepared> {
        let Self { workbench, base, params, update, .. } = self;
        // Validated and compared when it was planned.
        let mut prepared = workbench.build(params, Some(&base), &[], update.changes)?;
        prepared.update.notices.splice(0..0, update.notices);
        Ok(prepared)
    }
}

/// A built update, to be applied between two frames.
#[derive(Debug)]
pub struct Prepared {
    /// That of the engine that it is for.
    pub(super) context: Arc<BuildContext>,
    pub(super) pipeline: Arc<Pipeline>,
    /// The pipeline that it replaces.
    pub(super) base: Option<Arc<Pipeline>>,
    pub(super) update: Update,
    /// What the engine's state needs for it.
    pub(super) state: StateUpdate,
}

impl Prepared {
    /// Prepares what the engine's state needs for `pipeline`.
    pub(super) fn new(
        context: Arc<BuildContext>,
        pipeline: Arc<Pipeline>,
        base: Option<Arc<Pipeline>>,
        update: Update,
    ) -> Result<Self> {
        let state = StateUpdate::prepare(&context.queue, base.as_deref(), &pipeline)?;
        Ok(Self { context, pipeline, base, update, state })
    }

    /// Returns the parameters in use once it is applied.
    pub fn params(&self) -> &StreamDiffusionParams {
        &self.pipeline.params
    }

    /// Returns the pipeline in use once it is applied.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot(self.pipeline.clone())
    }

    /// Takes the notices of its preparation.
    pub(crate) fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.update.notices)
    }

    /// Returns the result of applying it.
    pub fn update(&self) -> &Update {
        &self.update
    }
}
