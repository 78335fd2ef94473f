//! What a host holds of a running session.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::gate::{Gate, Phase};
use super::reports::Events;
use super::reports::{End, Forgotten};
use super::stats::Stats;
use super::updates::Ticket;
use super::updates::desk::Desk;
use crate::conditioning::transition::Transition;
use crate::engine::{Picture, Plan, Workbench};
use crate::error::{Error, ErrorKind, Result};
use crate::frame::{Frame, FrameId, FrameView};
use crate::params::{ParamsPatch, StreamDiffusionParams, rebase};

/// Feeds a running [`Session`](super::Session), fetches its pictures, and changes its parameters.
///
/// Clones are the same session; they may be on any threads, and nothing here waits for a frame or a model unless it says
/// so. A handle does not keep its session alive: once that is stopped or dropped, calls give `Closed`.
#[derive(Debug, Clone)]
pub struct SessionHandle {
    pub(super) gate: Arc<Gate>,
    pub(super) desk: Arc<Desk<Workbench>>,
    pub(super) bench: Workbench,
}

/// What became of an update.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Outcome {
    /// It counts.
    Applied,
    /// Later updates change all that it changed, so it was left out.
    Superseded,
    /// It could not be done, and nothing of it counts.
    Rejected(Arc<Error>),
}

impl SessionHandle {
    /// Copies a frame and hands it over, then returns at once; a frame that still waits is replaced and counted as dropped.
    ///
    /// The number that comes back is the [`source_id`](Picture::source_id) of the picture made from it. Frames of several
    /// threads are numbered in the order of the calls.
    ///
    /// # Errors
    ///
    /// `Closed` for a session that was stopped, `OutOfMemory` for a frame larger than any before.
    pub fn submit(&self, frame: &FrameView<'_>) -> Result<FrameId> {
        self.gate.submit(frame)
    }

    /// As [`submit`](Self::submit), for pixels that need not be copied; the frame gets a new number.
    ///
    /// # Errors
    ///
    /// `Closed` for a session that was stopped.
    pub fn submit_frame(&self, frame: Frame) -> Result<FrameId> {
        self.gate.submit_frame(frame)
    }

    /// Takes the newest picture, if there is one that nobody has taken.
    pub fn poll(&self) -> Option<Picture> {
        self.gate.outbox.take()
    }

    /// Waits for a picture that nobody has taken; `None` after `timeout`, and once the session has ended.
    pub fn wait(&self, timeout: Duration) -> Option<Picture> {
        let ready = || match self.poll() {
            None if self.gate.phase() == Phase::Ended => Some(self.poll()),
            None => None,
            picture => Some(picture),
        };
        self.gate.reports.news.wait_until(Instant::now().checked_add(timeout), ready).flatten()
    }

    /// Changes parameters: checked now and as a whole, prepared beside the frames, and applied between two of them.
    ///
    /// The ticket's version is in the events that tell what became of it, and in pictures made since.
    ///
    /// # Errors
    ///
    /// `InvalidParams` with every violation, `Unsupported`, `Closed`; nothing has changed then. What turns out later, such
    /// as a missing model, comes as [`Event::UpdateRejected`](super::Event::UpdateRejected).
    pub fn update(&self, patch: &ParamsPatch) -> Result<Ticket> {
        self.desk.update(|desired| {
            let (params, notices) = patch.merge(desired)?;
            self.check(&params)?;
            Ok((params, notices))
        })
    }

    /// Changes parameters in place, by the same rules as [`update`](Self::update).
    ///
    /// # Errors
    ///
    /// Those of `update`.
    pub fn edit(&self, change: impl FnOnce(&mut StreamDiffusionParams)) -> Result<Ticket> {
        let before = self.params();
        let mut after = before.clone();
        change(&mut after);
        self.desk.update(|desired| {
            // Somebody else may have changed something meanwhile.
            let params = rebase(&before, &after, desired).params;
            params.validate()?;
            self.check(&params)?;
            Ok((params, Vec::new()))
        })
    }

    /// Changes the prompt little by little: the first picture after the update is applied has the first step, and each of
    /// the next takes one more. Steps are made beside the frames; one that is late leaves its picture where the one before
    /// was. The parameter `prompt` is the target from now on, by the same rules as [`update`](Self::update); another
    /// prompt ends the transition at once, and another transition goes on from where it is.
    ///
    /// # Errors
    ///
    /// Those of `update`.
    pub fn transition(&self, transition: &Transition) -> Result<Ticket> {
        self.desk.transition(transition, |params| {
            params.validate()?;
            self.check(params)
        })
    }

    fn check(&self, params: &StreamDiffusionParams) -> Result<()> {
        self.bench.check(self.desk.planned().snapshot.as_ref(), params)
    }

    /// Says what `patch` would change and what that costs; nothing has changed.
    ///
    /// # Errors
    ///
    /// `InvalidParams` with every violation; `InvalidArgument` while one pipeline went and the next is not there yet.
    pub fn plan(&self, patch: &ParamsPatch) -> Result<Plan> {
        let (_, desired) = self.desk.desired();
        let (params, notices) = patch.merge(&desired)?;
        let planned = self.desk.planned();
        let base = planned.snapshot.as_ref().ok_or_else(|| {
            Error::new(ErrorKind::InvalidArgument, "the session is between two pipelines: ask again when it has one")
        })?;
        self.bench.plan(base, rebase(&desired, &params, &planned.params).params, notices)
    }

    /// Gives the desired parameters: what was accepted last, without what was refused since.
    pub fn params(&self) -> StreamDiffusionParams {
        (*self.desk.desired().1).clone()
    }

    /// Gives the newest version applied; 0 before the first.
    pub fn active_version(&self) -> u64 {
        self.gate.reports.active()
    }

    /// Waits until the update of `ticket` has ended one way or another.
    ///
    /// # Errors
    ///
    /// `Timeout`; `Closed` where the session ends first; `InvalidArgument` for an update so long ago that it was forgotten.
    pub fn wait_for(&self, ticket: &Ticket, timeout: Duration) -> Result<Outcome> {
        self.wait_for_version(ticket.version, timeout)
    }

    /// As [`wait_for`](Self::wait_for), for a host that has kept no more than the ticket's version.
    ///
    /// # Errors
    ///
    /// Those of `wait_for`.
    pub fn wait_for_version(&self, version: u64, timeout: Duration) -> Result<Outcome> {
        let reports = &self.gate.reports;
        let ended = || match reports.end(version) {
            Ok(None) if self.gate.phase() == Phase::Ended => Some(reports.end(version)),
            Ok(None) => None,
            ended => Some(ended),
        };
        let error = |kind: ErrorKind, text: &str| Err(Error::new(kind, format!("update {version} {text}")));
        match reports.news.wait_until(Instant::now().checked_add(timeout), ended) {
            None => error(ErrorKind::Timeout, &format!("has not ended within {} ms", timeout.as_millis())),
            Some(Ok(None)) => error(ErrorKind::Closed, "was not done when the session ended"),
            Some(Err(Forgotten)) => error(ErrorKind::InvalidArgument, "is so long ago that its end was forgotten"),
            Some(Ok(Some(End::Applied))) => Ok(Outcome::Applied),
            Some(Ok(Some(End::Superseded))) => Ok(Outcome::Superseded),
            Some(Ok(Some(End::Rejected))) => {
                let forgotten = || Arc::new(Error::new(ErrorKind::InvalidParams, "the reason was forgotten"));
                Ok(Outcome::Rejected(self.desk.refusal(version).unwrap_or_else(forgotten)))
            }
        }
    }

    /// Gives the events of the session.
    pub fn events(&self) -> Events {
        Events { reports: self.gate.reports.clone() }
    }

    /// Says what the session has done so far.
    pub fn stats(&self) -> Stats {
        let (counters, now) = (&self.gate.counters, Instant::now());
        let (waiting_updates, waiting_loads) = self.desk.waiting();
        Stats {
            submitted: counters.submitted.rate(now),
            dropped: counters.dropped.rate(now),
            computed: counters.computed.rate(now),
            skipped: counters.skipped.rate(now),
            passed: counters.passed.rate(now),
            repeated: counters.repeated.rate(now),
            failed: counters.failed.rate(now),
            unseen: counters.unseen.rate(now),
            stages: counters.stages(),
            waiting_frames: usize::from(!self.gate.inbox.is_empty()),
            waiting_updates,
            waiting_loads,
            transition: self.desk.progress(),
            desired_version: self.desk.desired().0,
            active_version: self.active_version(),
            lost_events: self.gate.reports.lost_events(),
        }
    }

    /// Tells whether the session takes frames.
    pub fn is_running(&self) -> bool {
        self.gate.phase() == Phase::Running
    }
}
