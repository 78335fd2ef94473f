//! What the session's threads tell the host: events, and what became of each update. No locks.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::events::Event;
use super::notifier::Notifier;
use super::primitives::{ArrayQueue, AtomicU64, Ordering};
use crate::error::Error;

/// Events that wait for being fetched.
pub(crate) const EVENTS: usize = 256;
/// Updates whose ends are remembered.
pub(crate) const ENDS: usize = 1024;

/// How an update ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Applied = 1,
    Superseded = 2,
    Rejected = 3,
}

/// What the session's threads tell the host.
#[derive(Debug)]
pub(crate) struct Reports {
    events: ArrayQueue<Event>,
    lost: AtomicU64,
    /// The end of update `v` at `v % ENDS`, as `v << 2 | end`.
    ends: Box<[AtomicU64]>,
    /// The newest update applied.
    active: AtomicU64,
    /// Rung at every picture, event and end.
    pub(crate) news: Notifier,
}

impl Reports {
    /// Nothing to tell yet.
    pub(crate) fn new() -> Self {
        Self {
            events: ArrayQueue::new(EVENTS),
            lost: AtomicU64::new(0),
            ends: (0..ENDS).map(|_| AtomicU64::new(0)).collect(),
            active: AtomicU64::new(0),
            news: Notifier::new(),
        }
    }

    /// Tells `event` to whoever listens.
    pub(crate) fn tell(&self, event: Event) {
        if self.events.force_push(event).is_some() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        self.news.notify();
    }

    /// Takes the next event.
    pub(crate) fn next_event(&self) -> Option<Event> {
        self.events.pop()
    }

    /// How many events nobody fetched in time.
    pub(crate) fn lost_events(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// The newest update applied; 0 before the first.
    pub(crate) fn active(&self) -> u64 {
        self.active.load(Ordering::Acquire)
    }

    /// Notes that `version` counts from now on.
    pub(crate) fn applied(&self, version: u64, notices: Vec<crate::params::Notice>) {
        tracing::info!(version, "update applied");
        self.active.fetch_max(version, Ordering::AcqRel);
        self.ended(version, End::Applied);
        self.tell(Event::UpdateApplied { version, notices });
    }

    /// Notes that later updates change all that `version` changed.
    pub(crate) fn superseded(&self, version: u64) {
        tracing::debug!(version, "update superseded");
        self.ended(version, End::Superseded);
        self.tell(Event::UpdateSuperseded { version });
    }

    /// Notes that `version` cannot be done.
    pub(crate) fn rejected(&self, version: u64, error: &Arc<Error>) {
        tracing::warn!(version, %error, "update rejected");
        self.ended(version, End::Rejected);
        self.tell(Event::UpdateRejected { version, error: error.clone() });
    }

    fn ended(&self, version: u64, end: End) {
        if let Some(slot) = self.ends.get(version as usize % ENDS) {
            slot.fetch_max(version << 2 | end as u64, Ordering::AcqRel);
        }
    }

    /// How `version` ended: `Ok(None)` while it has not, `Err` once that is forgotten.
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

/// So many updates have ended since that this one's end is not known any more.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Forgotten;

/// Gives the events of a session, oldest first.
///
/// Each event goes to one receiver. As many as [`KEPT`](Self::KEPT) wait for being fetched; after that the oldest goes, and
/// [`lost`](Self::lost) counts it.
#[derive(Debug, Clone)]
pub struct Events {
    pub(crate) reports: Arc<Reports>,
}

impl Events {
    /// How many events wait for being fetched.
    pub const KEPT: usize = EVENTS;

    /// Takes the next event, if there is one.
    pub fn try_next(&self) -> Option<Event> {
        self.reports.next_event()
    }

    /// Waits for the next event; `None` after `timeout`.
    pub fn next_within(&self, timeout: Duration) -> Option<Event> {
        self.reports.news.wait_until(Instant::now().checked_add(timeout), || self.reports.next_event())
    }

    /// Takes the events that there are.
    pub fn try_iter(&self) -> impl Iterator<Item = Event> {
        std::iter::from_fn(|| self.try_next())
    }

    /// Says how many events nobody fetched in time.
    pub fn lost(&self) -> u64 {
        self.reports.lost_events()
    }
}
