//! Transitions of the prompt: asked for as updates, then taken on a step for each frame.
//!
//! A step is made beside the frame that shows the one before it, and applied before the next frame; where it is not ready in
//! time, the picture stays where it is for another frame rather than waiting.

use std::sync::Arc;

use super::super::events::Event;
use super::super::machine::Bench;
use super::Ticket;
use super::desk::Desk;
use super::job::{Job, Planned};
use super::state::State;
use crate::conditioning::transition::Transition;
use crate::error::Result;
use crate::params::{Cost, StreamDiffusionParams, diff};

impl<B: Bench> Desk<B> {
    /// Accepts a transition of the prompt that `check` finds nothing against.
    ///
    /// # Errors
    ///
    /// Those of `check`, and `Closed`; nothing has changed then.
    pub(crate) fn transition(
        &self,
        transition: &Transition,
        check: impl Fn(&StreamDiffusionParams) -> Result<()>,
    ) -> Result<Ticket> {
        loop {
            let (_, before) = self.desired();
            let after = StreamDiffusionParams { prompt: transition.target_prompts.clone(), ..(*before).clone() };
            check(&after)?;
            let changes = diff(&before, &after);
            let job = Job::transition(before.clone(), Arc::new(after), transition.clone());
            if let Some(version) = self.accept(&before, job)? {
                return Ok(Ticket { version, cost: Some(Cost::Recompute), changes, notices: Vec::new() });
            }
        }
    }

    /// How many pictures of how many the transition under way has behind it.
    pub(crate) fn progress(&self) -> Option<(u32, u32)> {
        self.lock().planned.snapshot.as_ref().and_then(B::progress)
    }

    /// What the next step is to be put onto, once a frame has shown the last one; the worker then is at work.
    pub(super) fn step_due(&self, state: &mut State<B::Snapshot>) -> Option<Planned<B::Snapshot>> {
        let under_way = state.planned.snapshot.as_ref().and_then(B::progress).is_some();
        let due = under_way && self.line.framed() >= state.stepped;
        state.stepping |= due;
        due.then(|| state.planned.clone())
    }

    /// Sends the step that was made onto the place `base` of the order; where something else was sent since, it is due
    /// once more. One that cannot be made leaves the picture where it is, until another prompt is asked for.
    pub(crate) fn commit_step(&self, base: u64, step: Result<Option<B::Prepared>>) {
        let mut state = self.lock();
        self.settle(&mut state);
        state.stepping = false;
        match step {
            Ok(Some(prepared)) if !state.closed && state.planned.seq == base => {
                let plan = ((*state.planned.params).clone(), (*state.planned.stamps).clone());
                state.stepped = state.last_seq + 1;
                self.send(&mut state, None, plan, prepared);
            }
            Ok(_) => {}
            Err(error) => {
                state.stepped = u64::MAX;
                drop(state);
                tracing::warn!(%error, "a transition of the prompt stays where it is");
                self.reports.tell(Event::TransitionFailed { error: Arc::new(error) });
            }
        }
        self.line.work.notify();
    }
}
