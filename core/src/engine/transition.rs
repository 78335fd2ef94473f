//! Gradual changes of the prompt: a transition advances by a step before each frame.

use std::sync::Arc;

use super::pipeline::Pipeline;
use super::pipeline::conditioning::Conditioning;
use super::{Active, Engine, Prepared, Snapshot, Update, Workbench};
use crate::conditioning::transition::{Transition, TransitionState};
use crate::error::Result;
use crate::params::{Change, StreamDiffusionParams, diff, total_cost};

impl Snapshot {
    /// Returns how many pictures of the current transition were made, and how many it has; `None` without a transition.
    pub fn transition(&self) -> Option<(u32, u32)> {
        self.0.way.as_ref().map(TransitionState::progress)
    }
}

impl Workbench {
    /// Builds the start of a transition of the prompt, to replace `base`. Once it is applied, the parameter `prompt` is
    /// the target, and pictures are unchanged until the first [`step`](Self::step). An update with another prompt or
    /// model ends the transition immediately, another transition starts from the current blend; all other updates keep it.
    ///
    /// # Errors
    ///
    /// `InvalidParams` for prompts that the parameters do not allow, and errors of encoding and allocation; nothing has
    /// changed then.
    pub fn transition(&self, base: &Snapshot, transition: &Transition) -> Result<Prepared> {
        self.begin(base, transition, Some)
    }

    /// Like [`transition`](Self::transition), including the first step.
    pub(crate) fn first_step(&self, base: &Snapshot, transition: &Transition) -> Result<Prepared> {
        self.begin(base, transition, |way| way.next())
    }

    fn begin(
        &self,
        base: &Snapshot,
        transition: &Transition,
        first: impl FnOnce(TransitionState<Conditioning>) -> Option<TransitionState<Conditioning>>,
    ) -> Result<Prepared> {
        let params = StreamDiffusionParams { prompt: transition.target_prompts.clone(), ..base.params().clone() };
        params.validate()?;
        let changes = diff(base.params(), &params);
        let way = TransitionState::new(base.0.components.conditioning().clone(), transition);
        self.on(base, params, way.and_then(first), changes)
    }

    /// Builds the next step of the transition of `base`, to replace it; `None` once the target is reached. Takes a
    /// fraction of a frame's time, and may run while the frame before is processed.
    ///
    /// # Errors
    ///
    /// `OutOfMemory`, and errors of the device; nothing has changed then.
    pub fn step(&self, base: &Snapshot) -> Result<Option<Prepared>> {
        let Some(way) = &base.0.way else { return Ok(None) };
        let mut prepared = self.on(base, base.params().clone(), way.next(), Vec::new())?;
        // The start of the transition returned them already.
        prepared.update.notices.clear();
        Ok(Some(prepared))
    }

    /// Builds a pipeline for another blend of two prompts.
    fn on(
        &self,
        base: &Snapshot,
        params: StreamDiffusionParams,
        way: Option<TransitionState<Conditioning>>,
        changes: Vec<Change>,
    ) -> Result<Prepared> {
        let mut notices = Vec::new();
        let pipeline = Arc::new(Pipeline::build(&self.0, params, way, Some(&base.0), &[], &mut notices)?);
        let update = Update { cost: total_cost(&changes), changes, notices };
        Prepared::new(self.0.clone(), pipeline, Some(base.0.clone()), update)
    }
}

impl Engine {
    /// Changes the prompt gradually: each of the next frames first advances the transition by a step, which costs as
    /// much as an update of the prompt. [`Workbench::transition`] leaves the steps to the caller;
    /// [`SessionHandle::transition`](crate::SessionHandle::transition) computes them while frames are processed.
    ///
    /// # Errors
    ///
    /// Those of [`Workbench::transition`]; `InvalidArgument` for a [released](Self::release) engine.
    pub fn transition(&mut self, transition: &Transition) -> Result<Update> {
        let prepared = self.workbench().transition(&self.snapshot()?, transition)?;
        let update = self.apply(prepared)?;
        self.steps = true;
        Ok(update)
    }

    /// Sets whether frames advance the transition, or the caller does by applying updates.
    pub(crate) fn take_steps(&mut self, itself: bool) {
        self.steps = itself;
    }

    /// Advances the transition by a step, unless the caller does.
    pub(super) fn step(&mut self) -> Result<()> {
        if !self.steps {
            return Ok(());
        }
        let Active::Ready(pipeline) = &self.active else { return Ok(()) };
        match self.workbench().step(&Snapshot(pipeline.clone()))? {
            Some(prepared) => drop(self.apply(prepared)?),
            None => self.steps = false,
        }
        Ok(())
    }
}

/// Returns the transition of `base`, unless `params` have another prompt or model.
pub(super) fn transition_on(base: &Pipeline, params: &StreamDiffusionParams) -> Option<TransitionState<Conditioning>> {
    let wanted = |params: &StreamDiffusionParams| (params.prompt.clone(), params.model_id.clone());
    base.way.clone().filter(|_| wanted(&base.params) == wanted(params))
}
