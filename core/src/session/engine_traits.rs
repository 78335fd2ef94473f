//! The engine as sessions use it: one part processes frames, the other prepares updates at the same time.

use std::fmt;
use std::sync::Arc;

use crate::conditioning::transition::Transition;
use crate::engine::{Engine, Picture, Prepared, Snapshot, Workbench};
use crate::error::Result;
use crate::frame::{Frame, FrameId};
use crate::interpolation::Rife;
use crate::params::{Change, Cost, Notice, StreamDiffusionParams, diff};

/// Processes frames, on one thread.
pub(crate) trait FrameProcessor: Send + 'static {
    /// The type that prepares its updates.
    type Preparer: Preparer;

    /// Returns a preparer of its updates.
    fn preparer(&self) -> Self::Preparer;

    /// Returns the parameters in use.
    fn params(&self) -> &StreamDiffusionParams;

    /// Returns the pipeline in use.
    fn snapshot(&self) -> Result<SnapshotOf<Self>>;

    /// Processes a frame, with the frame's id; once released, returns the last picture again.
    fn process(&mut self, frame: &Frame) -> Result<Picture>;

    /// Returns the last picture again for the frame `id`; none before the first.
    fn repeat(&mut self, id: FrameId) -> Result<Option<Picture>>;

    /// Swaps `prepared` and the pipeline in use; pictures have `version` from now on.
    fn swap(&mut self, prepared: &mut PreparedOf<Self>, version: u64) -> Result<Vec<Notice>>;

    /// Returns the network that interpolates between pictures, if there is one.
    fn interpolation_network(&self) -> Option<Arc<Rife>> {
        None
    }

    /// Releases everything that is loaded.
    fn release(&mut self);
}

/// Prepares updates, on any thread.
pub(crate) trait Preparer: Clone + Send + Sync + 'static {
    /// A prepared update.
    type Prepared: Send + 'static;
    /// A pipeline, with its parameters.
    type Snapshot: Clone + Send + Sync + fmt::Debug + 'static;

    /// Builds the pipeline of `params`, to replace `base`, if there is one. Components that `base` or `others` have are
    /// shared.
    fn prepare(
        &self,
        params: &StreamDiffusionParams,
        base: Option<&Self::Snapshot>,
        others: &[&Self::Snapshot],
    ) -> Result<Self::Prepared>;

    /// Builds the first step of a transition of the prompt, to replace `base`.
    fn transition(&self, base: &Self::Snapshot, transition: &Transition) -> Result<Self::Prepared>;

    /// Builds the next step of the transition of `base`; `None` once its prompt is reached.
    fn step(&self, base: &Self::Snapshot) -> Result<Option<Self::Prepared>>;

    /// Returns the changes from `old` to `new`, parameters of updates to `snapshot`, with their costs for it.
    fn diff(_snapshot: &Self::Snapshot, old: &StreamDiffusionParams, new: &StreamDiffusionParams) -> Vec<Change> {
        diff(old, new)
    }

    /// Returns how many steps of the transition of `snapshot` were made, and how many it has; `None` without one.
    fn progress(snapshot: &Self::Snapshot) -> Option<(u32, u32)>;

    /// Returns the pipeline in use once `prepared` is applied.
    fn snapshot(prepared: &Self::Prepared) -> Self::Snapshot;

    /// Returns true if there is too little memory for the pipelines of `params` and of `base` together.
    fn is_short(&self, base: &Self::Snapshot, params: &StreamDiffusionParams) -> bool;
}

pub(crate) type PreparedOf<M> = <<M as FrameProcessor>::Preparer as Preparer>::Prepared;
pub(crate) type SnapshotOf<M> = <<M as FrameProcessor>::Preparer as Preparer>::Snapshot;

impl FrameProcessor for Engine {
    type Preparer = Workbench;

    fn preparer(&self) -> Workbench {
        self.workbench()
    }

    fn params(&self) -> &StreamDiffusionParams {
        self.params()
    }

    fn snapshot(&self) -> Result<Snapshot> {
        self.snapshot()
    }

    fn process(&mut self, frame: &Frame) -> Result<Picture> {
        self.process_as(frame.id(), &frame.view())
    }

    fn repeat(&mut self, id: FrameId) -> Result<Option<Picture>> {
        self.repeat(id)
    }

    fn swap(&mut self, prepared: &mut Prepared, version: u64) -> Result<Vec<Notice>> {
        self.swap(prepared)?;
        self.set_version(version);
        Ok(prepared.take_notices())
    }

    fn interpolation_network(&self) -> Option<Arc<Rife>> {
        self.interpolation_network()
    }

    fn release(&mut self) {
        self.release();
    }
}

impl Preparer for Workbench {
    type Prepared = Prepared;
    type Snapshot = Snapshot;

    fn prepare(
        &self,
        params: &StreamDiffusionParams,
        base: Option<&Snapshot>,
        others: &[&Snapshot],
    ) -> Result<Prepared> {
        crate::exec::background(|| self.prepare(params.clone(), base, others))
    }

    fn transition(&self, base: &Snapshot, transition: &Transition) -> Result<Prepared> {
        crate::exec::background(|| self.first_step(base, transition))
    }

    fn step(&self, base: &Snapshot) -> Result<Option<Prepared>> {
        crate::exec::background(|| self.step(base))
    }

    fn diff(snapshot: &Snapshot, old: &StreamDiffusionParams, new: &StreamDiffusionParams) -> Vec<Change> {
        snapshot.diff(old, new)
    }

    fn progress(snapshot: &Snapshot) -> Option<(u32, u32)> {
        snapshot.transition()
    }

    fn snapshot(prepared: &Prepared) -> Snapshot {
        prepared.snapshot()
    }

    fn is_short(&self, base: &Snapshot, params: &StreamDiffusionParams) -> bool {
        let plan = self.plan(base, params.clone(), Vec::new());
        plan.is_ok_and(|plan| plan.cost() == Some(Cost::Rebuild) && plan.frees_first())
    }
}
