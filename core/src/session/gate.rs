//! Between the host and the session's thread: a frame in, a picture out, and whether there still is a session.

use std::sync::Arc;
use std::time::Instant;

use super::latest_slot::LatestSlot;
use super::notifier::Notifier;
use super::primitives::{AtomicU8, AtomicU64, Ordering};
use super::reports::Reports;
use super::stats::Counters;
use crate::engine::Picture;
use crate::error::{Error, ErrorKind, Result};
use crate::frame::{Frame, FrameId, FramePool, FrameView};

/// Frames that are copied, wait and are worked on at a time.
const POOLED: usize = 4;

/// How far a session is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// It takes frames.
    Running = 0,
    /// It takes none, and does what it has.
    Draining = 1,
    /// It does the frame that it is at.
    Ending = 2,
    /// It has ended.
    Ended = 3,
}

/// Between the host and the session's thread.
#[derive(Debug)]
pub(crate) struct Gate {
    pub(crate) inbox: LatestSlot<Frame>,
    pub(crate) outbox: LatestSlot<Picture>,
    pub(crate) counters: Counters,
    pub(crate) reports: Arc<Reports>,
    /// Rung for the session's thread.
    pub(crate) wake: Arc<Notifier>,
    pool: FramePool,
    next_id: AtomicU64,
    phase: AtomicU8,
}

impl Gate {
    /// A gate with nothing on either side.
    pub(crate) fn new(reports: Arc<Reports>, wake: Arc<Notifier>) -> Self {
        Self {
            inbox: LatestSlot::new(),
            outbox: LatestSlot::new(),
            counters: Counters::new(),
            reports,
            wake,
            pool: FramePool::new(POOLED),
            next_id: AtomicU64::new(0),
            phase: AtomicU8::new(Phase::Running as u8),
        }
    }

    /// Host: copies a frame and hands it over.
    pub(crate) fn submit(&self, view: &FrameView<'_>) -> Result<FrameId> {
        self.check_running()?;
        self.submit_frame(self.pool.copy(view)?)
    }

    /// Host: hands a frame over.
    pub(crate) fn submit_frame(&self, mut frame: Frame) -> Result<FrameId> {
        self.check_running()?;
        let id = FrameId(self.next_id.fetch_add(1, Ordering::Relaxed));
        frame.set_id(id);
        let now = Instant::now();
        self.counters.submitted.mark(now);
        if self.inbox.put(frame).is_some() {
            self.counters.dropped.mark(now);
        }
        self.wake.notify();
        Ok(id)
    }

    fn check_running(&self) -> Result<()> {
        if self.phase() == Phase::Running {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Closed, "the session was stopped, and takes no frames"))
    }

    /// Session: puts a picture where the host finds it.
    pub(crate) fn show(&self, picture: Picture) {
        if self.outbox.put(picture).is_some() {
            self.counters.unseen.mark(Instant::now());
        }
        self.reports.news.notify();
    }

    /// How far the session is.
    pub(crate) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Running,
            1 => Phase::Draining,
            2 => Phase::Ending,
            _ => Phase::Ended,
        }
    }

    /// Goes on to `phase`, if the session is not there already.
    pub(crate) fn advance(&self, phase: Phase) {
        self.phase.fetch_max(phase as u8, Ordering::AcqRel);
        self.wake.notify();
        self.reports.news.notify();
    }
}
