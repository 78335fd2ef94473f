//! The state that the host and the session's thread share: a frame in, a picture out, and the phase.

use std::sync::{Arc, OnceLock};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

use super::event_log::EventLog;
use super::latest_slot::LatestSlot;
use super::notifier::Notifier;
use super::primitives::{AtomicU8, AtomicU64, Ordering};
use super::stats::Counters;
use crate::engine::Picture;
use crate::error::{Error, ErrorKind, Result};
use crate::frame::{Frame, FrameId, FramePool, FrameView};

/// The frames that are copied, wait and are processed at a time.
const POOLED: usize = 4;

/// The phase of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Accepts frames.
    Running = 0,
    /// Accepts none, and processes those that wait.
    Draining = 1,
    /// Finishes the current frame.
    Ending = 2,
    /// Has ended.
    Ended = 3,
}

/// The state that the host and the session's thread share.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) inbox: LatestSlot<Frame>,
    pub(crate) outbox: LatestSlot<Picture>,
    pub(crate) counters: Counters,
    pub(crate) event_log: Arc<EventLog>,
    /// Notifies the session's thread.
    pub(crate) wake: Arc<Notifier>,
    /// The thread that shows pictures, once there has been one.
    pub(crate) showing_thread: OnceLock<ThreadId>,
    pool: FramePool,
    next_id: AtomicU64,
    phase: AtomicU8,
    began: Instant,
    /// When the session's thread took the frame that it processes, in nanoseconds since `began`, plus one; 0 between frames.
    frame_at: AtomicU64,
}

impl Endpoint {
    /// Returns one without frames and pictures.
    pub(crate) fn new(event_log: Arc<EventLog>, wake: Arc<Notifier>) -> Self {
        Self {
            inbox: LatestSlot::new(),
            outbox: LatestSlot::new(),
            counters: Counters::new(),
            event_log,
            wake,
            showing_thread: OnceLock::new(),
            pool: FramePool::new(POOLED),
            next_id: AtomicU64::new(0),
            phase: AtomicU8::new(Phase::Running as u8),
            began: Instant::now(),
            frame_at: AtomicU64::new(0),
        }
    }

    /// Host: submits a copy of a frame.
    pub(crate) fn submit(&self, view: &FrameView<'_>) -> Result<FrameId> {
        self.check_running()?;
        self.submit_frame(self.pool.copy(view)?)
    }

    /// Host: submits a frame.
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

    /// # Errors
    ///
    /// `Closed` for a session that was stopped.
    pub(crate) fn check_running(&self) -> Result<()> {
        if self.phase() == Phase::Running {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Closed, "the session is stopped"))
    }

    /// Session: begins to process a frame.
    pub(crate) fn begin_frame(&self) {
        let nanos = u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.frame_at.store(nanos.saturating_add(1), Ordering::Relaxed);
    }

    /// Session: is done with a frame.
    pub(crate) fn end_frame(&self) {
        self.frame_at.store(0, Ordering::Relaxed);
    }

    /// Returns for how long the current frame has been processed; `None` between frames.
    pub(crate) fn frame_time(&self) -> Option<Duration> {
        let nanos = self.frame_at.load(Ordering::Relaxed).checked_sub(1)?;
        Some(self.began.elapsed().saturating_sub(Duration::from_nanos(nanos)))
    }

    /// Session: publishes a picture.
    pub(crate) fn show(&self, picture: Picture) {
        if self.outbox.put(picture).is_some() {
            self.counters.unseen.mark(Instant::now());
        }
        self.event_log.news.notify();
    }

    /// Returns the phase of the session.
    pub(crate) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Running,
            1 => Phase::Draining,
            2 => Phase::Ending,
            _ => Phase::Ended,
        }
    }

    /// Advances to `phase`, unless the session has reached it.
    pub(crate) fn advance(&self, phase: Phase) {
        self.phase.fetch_max(phase as u8, Ordering::AcqRel);
        self.wake.notify();
        self.event_log.news.notify();
    }
}
