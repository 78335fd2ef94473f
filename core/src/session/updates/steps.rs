//! Transitions of the prompt: accepted as updates, then advanced by a step for each frame.
//!
//! A step is prepared while the frame of the previous step is processed, and applied before the next frame. If it is not
//! ready in time, that frame repeats the previous step.

use std::sync::Arc;

use super::super::engine_traits::Preparer;
use super::super::events::Event;
use super::Ticket;
use super::job::{Job, Planned};
use super::queue::UpdateQueue;
use super::state::State;
use crate::conditioning::transition::Transition;
use crate::error::Result;
use crate::params::{Cost, StreamDiffusionParams, diff};

impl<B: Preparer> UpdateQueue<B> {
    /// Accepts a transition of the prompt, if `check` passes.
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

    /// Returns how many steps of the current transition were made, and how many it has.
    pub(crate) fn progress(&self) -> Option<(u32, u32)> {
        self.lock().planned.snapshot.as_ref().and_then(B::progress)
    }

    /// Returns the base of the next step, once a frame was processed with the last one; the worker is busy then.
    pub(super) fn step_due(&self, state: &mut State<B::Snapshot>) -> Option<Planned<B::Snapshot>> {
        let under_way = state.planned.snapshot.as_ref().and_then(B::progress).is_some();
        let due = under_way && self.channel.framed() >= state.stepped;
        state.stepping |= due;
        due.then(|| state.planned.clone())
    }

    /// Sends the step that is based on the sequence number `base`; if another update was sent since, it is due again. After
    /// an error the transition stops until another prompt is set.
    pub(crate) fn commit_step(&self, base: u64, step: Result<Option<B::Prepared>>) {
        let mut state = self.lock();
        self.settle(&mut state);
        state.stepping = false;
        match step {
            Ok(Some(prepared)) if !state.closed && state.planned.seq == base => {
                let plan = ((*state.planned.params).clone(), (*state.planned.versions).clone());
                state.stepped = state.last_seq + 1;
                self.send(&mut state, None, plan, prepared);
            }
            Ok(_) => {}
            Err(error) => {
                state.stepped = u64::MAX;
                drop(state);
                tracing::warn!(%error, "a transition of the prompt has stopped");
                self.event_log.record(Event::TransitionFailed { error: Arc::new(error) });
            }
        }
        self.channel.work.notify();
    }
}
