//! What a session needs of an engine: the half that works on frames, and the half that prepares updates beside it.

use std::fmt;

use crate::conditioning::transition::Transition;
use crate::engine::{Engine, Picture, Prepared, Snapshot, Workbench};
use crate::error::Result;
use crate::frame::{Frame, FrameId};
use crate::params::{Cost, Notice, StreamDiffusionParams};

/// Works on frames, on one thread.
pub(crate) trait Machine: Send + 'static {
    /// What prepares its updates.
    type Bench: Bench;

    /// What prepares its updates.
    fn bench(&self) -> Self::Bench;

    /// The parameters in use.
    fn params(&self) -> &StreamDiffusionParams;

    /// What is in use.
    fn snapshot(&self) -> Result<SnapshotOf<Self>>;

    /// Works on one frame, under the frame's own number; once released, gives the last picture again.
    fn process(&mut self, frame: &Frame) -> Result<Picture>;

    /// Returns the last picture again for the frame `id`; none before the first.
    fn repeat(&mut self, id: FrameId) -> Result<Option<Picture>>;

    /// Puts `prepared` in the place of what is in use, which it then holds; pictures have `version` from now on.
    fn swap(&mut self, prepared: &mut PreparedOf<Self>, version: u64) -> Result<Vec<Notice>>;

    /// Lets go of all that is loaded.
    fn release(&mut self);
}

/// Prepares updates, on any thread.
pub(crate) trait Bench: Clone + Send + Sync + 'static {
    /// An update that waits for being applied.
    type Prepared: Send + 'static;
    /// What is in use, or will be.
    type Snapshot: Clone + Send + Sync + fmt::Debug + 'static;

    /// Makes what `params` need, in the place of `base` (or of nothing), out of the pieces that `base` and `others`
    /// have.
    fn prepare(
        &self,
        params: &StreamDiffusionParams,
        base: Option<&Self::Snapshot>,
        others: &[&Self::Snapshot],
    ) -> Result<Self::Prepared>;

    /// Makes the first picture of a transition of the prompt, in the place of `base`.
    fn transition(&self, base: &Self::Snapshot, transition: &Transition) -> Result<Self::Prepared>;

    /// Makes the next picture of the transition of `base`; `None` where its prompt is reached.
    fn step(&self, base: &Self::Snapshot) -> Result<Option<Self::Prepared>>;

    /// How many pictures of how many the transition of `snapshot` has behind it; `None` where its prompt is reached.
    fn progress(snapshot: &Self::Snapshot) -> Option<(u32, u32)>;

    /// What is in use once `prepared` is applied.
    fn snapshot(prepared: &Self::Prepared) -> Self::Snapshot;

    /// Whether there is too little memory for `params` beside `base`.
    fn is_short(&self, base: &Self::Snapshot, params: &StreamDiffusionParams) -> bool;
}

pub(crate) type PreparedOf<M> = <<M as Machine>::Bench as Bench>::Prepared;
pub(crate) type SnapshotOf<M> = <<M as Machine>::Bench as Bench>::Snapshot;

impl Machine for Engine {
    type Bench = Workbench;

    fn bench(&self) -> Workbench {
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

    fn release(&mut self) {
        self.release();
    }
}

impl Bench for Workbench {
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
