//! Transitions of the prompt: begun, and taken on a step before each frame.

use std::sync::Arc;

use super::conditioning::Conditioning;
use super::pipeline::Pipeline;
use super::{Active, Engine, Prepared, Snapshot, Update, Workbench};
use crate::conditioning::transition::{Transition, Way};
use crate::error::Result;
use crate::params::{Change, StreamDiffusionParams, diff, total_cost};

impl Snapshot {
    /// Tells how many pictures of how many a transition has behind it; `None` where the prompt is reached.
    pub fn transition(&self) -> Option<(u32, u32)> {
        self.0.way.as_ref().map(Way::progress)
    }
}

impl Workbench {
    /// Makes what a transition of the prompt needs to begin in the place of `base`: from then on the parameter `prompt` is
    /// the target, and pictures are as before until the first [`step`](Self::step). Another prompt ends it at once, and
    /// another transition goes on from where it is; all other changes leave it on its way, but for another model.
    ///
    /// # Errors
    ///
    /// `InvalidParams` for prompts that the parameters refuse, and what encoding and memory report; nothing has changed
    /// then.
    pub fn transition(&self, base: &Snapshot, transition: &Transition) -> Result<Prepared> {
        self.begin(base, transition, |way| Some(way))
    }

    /// As [`transition`](Self::transition), with the first step taken.
    pub(crate) fn first_step(&self, base: &Snapshot, transition: &Transition) -> Result<Prepared> {
        self.begin(base, transition, |way| way.next())
    }

    fn begin(
        &self,
        base: &Snapshot,
        transition: &Transition,
        first: impl FnOnce(Way<Conditioning>) -> Option<Way<Conditioning>>,
    ) -> Result<Prepared> {
        let params = StreamDiffusionParams { prompt: transition.target_prompts.clone(), ..base.params().clone() };
        params.validate()?;
        let changes = diff(base.params(), &params);
        let way = Way::new(base.0.pieces.conditioning().clone(), transition);
        self.on(base, params, way.and_then(first), changes)
    }

    /// Makes what the next picture of a transition needs in the place of `base`; `None` where the prompt is reached.
    /// Quick beside a frame, and may run beside the frame before.
    ///
    /// # Errors
    ///
    /// What memory and the device report; nothing has changed then.
    pub fn step(&self, base: &Snapshot) -> Result<Option<Prepared>> {
        let Some(way) = &base.0.way else { return Ok(None) };
        let mut prepared = self.on(base, base.params().clone(), way.next(), Vec::new())?;
        // All was told when the transition began.
        prepared.update.notices.clear();
        Ok(Some(prepared))
    }

    /// Another place between two prompts.
    fn on(
        &self,
        base: &Snapshot,
        params: StreamDiffusionParams,
        way: Option<Way<Conditioning>>,
        changes: Vec<Change>,
    ) -> Result<Prepared> {
        let mut notices = Vec::new();
        let pipeline = Arc::new(Pipeline::build(&self.0, params, way, Some(&base.0), &[], &mut notices)?);
        let update = Update { cost: total_cost(&changes), changes, notices };
        Prepared::new(self.0.clone(), pipeline, Some(base.0.clone()), update)
    }
}

impl Engine {
    /// Changes the prompt little by little: each of the next frames takes a step before it is worked on, which costs it
    /// what a change of the prompt does. See [`Workbench::transition`], which leaves the steps to the caller, and
    /// [`SessionHandle::transition`](crate::SessionHandle::transition), which takes them beside the frames.
    ///
    /// # Errors
    ///
    /// Those of [`Workbench::transition`]; `InvalidArgument` for an engine that [was released](Self::release).
    pub fn transition(&mut self, transition: &Transition) -> Result<Update> {
        let prepared = self.workbench().transition(&self.snapshot()?, transition)?;
        let update = self.apply(prepared)?;
        self.steps = true;
        Ok(update)
    }

    /// Leaves the steps of a transition under way to who applies updates, or takes them itself again.
    pub(crate) fn take_steps(&mut self, itself: bool) {
        self.steps = itself;
    }

    /// Takes the next step of a transition that this engine was asked for.
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

/// The transition of `base`, where it still leads to what `params` want.
pub(super) fn way_on(base: &Pipeline, params: &StreamDiffusionParams) -> Option<Way<Conditioning>> {
    let wanted = |params: &StreamDiffusionParams| (params.prompt.clone(), params.model_id.clone());
    base.way.clone().filter(|_| wanted(&base.params) == wanted(params))
}
