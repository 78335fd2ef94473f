//! Events and results of updates, from the session's threads to the host. Lock-free.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::events::Event;
use super::notifier::Notifier;
use super::primitives::{ArrayQueue, AtomicU64, Ordering};
use crate::error::Error;

/// The number of events that wait to be taken at most.
pub(crate) const EVENTS: usize = 256;
/// The number of updates whose end is remembered.
pub(crate) const ENDS: usize = 1024;

/// How an update ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Applied = 1,
    Superseded = 2,
    Rejected = 3,
}

/// Events, and the ends of updates.
#[derive(Debug)]
pub(crate) struct EventLog {
    events: ArrayQueue<Event>,
    lost: AtomicU64,
    /// The end of update `v` at `v % ENDS`, as `v << 2 | end`.
    ends: Box<[AtomicU64]>,
    /// The version of the newest applied update.
    active: AtomicU64,
    /// Notified of every picture, event and end of an update.
    pub(crate) news: Notifier,
}

impl EventLog {
    /// Returns one without events.
    pub(crate) fn new() -> Self {
        Self {
            events: ArrayQueue::new(EVENTS),
            lost: AtomicU64::new(0),
            ends: (0..ENDS).map(|_| AtomicU64::new(0)).collect(),
            active: AtomicU64::new(0),
            news: Notifier::new(),
        }
    }

    /// Adds an event; discards the oldest if there are too many.
    pub(crate) fn record(&self, event: Event) {
        if self.events.force_push(event).is_some() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        self.news.notify();
    }

    /// Takes the next event.
    pub(crate) fn next_event(&self) -> Option<Event> {
        self.events.pop()
    }

    /// Returns the number of events that were discarded.
    pub(crate) fn lost_events(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Returns the version of the newest applied update; 0 before the first.
    pub(crate) fn active(&self) -> u64 {
        self.active.load(Ordering::Acquire)
    }

    /// Records that `version` was applied.
    pub(crate) fn applied(&self, version: u64, notices: Vec<crate::params::Notice>) {
        tracing::info!(version, "update applied");
        self.active.fetch_max(version, Ordering::AcqRel);
        self.ended(version, End::Applied);
        self.record(Event::UpdateApplied { version, notices });
    }

    /// Records that later updates change everything that `version` changed.
    pub(crate) fn superseded(&self, version: u64) {
        tracing::debug!(version, "update superseded");
        self.ended(version, End::Superseded);
        self.record(Event::UpdateSuperseded { version });
    }

    /// Records that `version` failed.
    pub(crate) fn rejected(&self, version: u64, error: &Arc<Error>) {
        tracing::warn!(version, %error, "update rejected");
        self.ended(version, End::Rejected);
        self.record(Event::UpdateRejected { version, error: error.clone() });
    }

    fn ended(&self, version: u64, end: End) {
        if let Some(slot) = self.ends.get(version as usize % ENDS) {
            slot.fetch_max(version << 2 | end as u64, Ordering::AcqRel);
        }
    }

    /// Returns how `version` ended: `Ok(None)` before that, `Err` once it is no longer remembered.
    pub(crate) fn end(&self, version: u64) -> Result<Option<End>, Forgotten> {
        if version == 0 {
            return Ok(Some(End::Applied));
        }
        let slot = self.ends.get(version as usize % ENDS).map_or(0, |slot| slot.load(Ordering::Acquire));
        match (slot >> 2, slot & 3) {
            (of, _) if of < version => Ok(None),
            (of, _) if of > version => Err(Forgotten),
            (_, 1) => Ok(Some(End::Applied)),
            (_, 2) => Ok(Some(End::Superseded)),
            _ => Ok(Some(End::Rejected)),
        }
    }
}

/// The end of an update is no longer remembered.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Forgotten;

/// A receiver of the events of a session, oldest first.
///
/// Each event is returned by one receiver. Up to [`KEPT`](Self::KEPT) events wait to be taken; beyond that the oldest
/// is discarded, and counted by [`lost`](Self::lost).
///
/// ```
/// use std::time::Duration;
///
/// use dreamframe::{Engine, Event, SessionOptions, StreamDiffusionParams};
///
/// # fn main() -> dreamframe::Result<()> {
/// let params = StreamDiffusionParams { width: 64, height: 64, ..StreamDiffusionParams::demo() };
/// let session = Engine::builder().params(params).build()?.start(SessionOptions::default())?;
/// let events = session.handle().events();
/// let ticket = session.handle().edit(|params| params.delta = 0.9)?;
/// session.handle().wait_for(&ticket, Duration::from_secs(60))?;
/// let event = events.next_within(Duration::from_secs(60));
/// assert!(matches!(event, Some(Event::UpdateApplied { version, .. }) if version == ticket.version));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Events {
    pub(crate) event_log: Arc<EventLog>,
}

impl Events {
    /// The number of events that wait to be taken at most.
    pub const KEPT: usize = EVENTS;

    /// Takes the next event, if there is one.
    pub fn try_next(&self) -> Option<Event> {
        self.event_log.next_event()
    }

    /// Waits for the next event; `None` after `timeout`.
    pub fn next_within(&self, timeout: Duration) -> Option<Event> {
        self.event_log.news.wait_until(Instant::now().checked_add(timeout), || self.event_log.next_event())
    }

    /// Takes all waiting events.
    pub fn try_iter(&self) -> impl Iterator<Item = Event> {
        std::iter::from_fn(|| self.try_next())
    }

    /// Returns the number of events that were discarded because they were not taken in time.
    pub fn lost(&self) -> u64 {
        self.event_log.lost_events()
    }
}
