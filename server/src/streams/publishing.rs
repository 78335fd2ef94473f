//! The publisher of a stream: one at a time, by any protocol; a newer one replaces an older.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use dreamframe::transport::{Ingest, IngestStats};
use tokio::sync::watch;

use crate::ids;

/// The publisher of a stream.
#[derive(Debug, Default)]
pub(crate) struct Publishing {
    /// Numbers publishers; the highest number is the current one.
    turn: watch::Sender<u64>,
    /// The publisher by another protocol than WHIP, with its number.
    other: Mutex<Option<(u64, Option<Ingest>)>>,
    /// In milliseconds since 1970; 0 for never.
    first: AtomicU64,
    latest: AtomicU64,
    ended: AtomicU64,
}

/// A publisher's turn; it ends on drop.
#[derive(Debug)]
pub(crate) struct Publication {
    publishing: Arc<Publishing>,
    number: u64,
    turns: watch::Receiver<u64>,
}

impl Publishing {
    /// Begins a turn that [`Publication`] ends.
    pub(super) fn begin(self: &Arc<Self>) -> Publication {
        self.note_start();
        let number = self.next();
        *self.other.lock().unwrap_or_else(PoisonError::into_inner) = Some((number, None));
        Publication { publishing: self.clone(), number, turns: self.turn.subscribe() }
    }

    /// Begins a turn that the WHIP endpoint ends.
    pub(super) fn begin_whip(&self) {
        self.next();
        *self.other.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Records that a publisher was accepted.
    pub(super) fn note_start(&self) {
        let now = ids::now_ms();
        let _ = self.first.compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed);
        self.latest.store(now, Ordering::Relaxed);
    }

    fn next(&self) -> u64 {
        let mut number = 0;
        self.turn.send_modify(|turn| {
            *turn += 1;
            number = *turn;
        });
        number
    }

    /// Returns true while there is a publisher by another protocol than WHIP.
    pub(super) fn has_other(&self) -> bool {
        self.other.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Statistics of the video of such a publisher.
    pub(super) fn other_stats(&self) -> Option<IngestStats> {
        let other = self.other.lock().unwrap_or_else(PoisonError::into_inner);
        other.as_ref().and_then(|(_, ingest)| ingest.as_ref()).map(Ingest::stats)
    }

    /// When the first publisher was accepted.
    pub(super) fn first_at(&self) -> Option<u64> {
        Some(self.first.load(Ordering::Relaxed)).filter(|at| *at > 0)
    }

    /// When the newest publisher was accepted.
    pub(super) fn latest_at(&self) -> Option<u64> {
        Some(self.latest.load(Ordering::Relaxed)).filter(|at| *at > 0)
    }

    /// When the last publisher disconnected.
    pub(super) fn ended_at(&self) -> Option<u64> {
        Some(self.ended.load(Ordering::Relaxed)).filter(|at| *at > 0)
    }

    /// Records that the last publisher disconnected.
    pub(super) fn note_end(&self) {
        self.ended.store(ids::now_ms(), Ordering::Relaxed);
    }
}

impl Publication {
    /// Waits until another publisher takes the stream.
    pub(crate) async fn replaced(&mut self) {
        let number = self.number;
        // An error means that the stream has ended, which ends the turn as well.
        let _ = self.turns.wait_for(|turn| *turn != number).await;
    }

    /// Returns whether another publisher has taken the stream.
    #[cfg(test)]
    pub(crate) fn is_replaced(&self) -> bool {
        *self.turns.borrow() != self.number
    }

    /// Sets the source of the publisher's statistics.
    pub(crate) fn ingest(&self, ingest: Ingest) {
        let mut other = self.publishing.other.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((number, place)) = other.as_mut()
            && *number == self.number
        {
            *place = Some(ingest);
        }
    }
}

impl Drop for Publication {
    fn drop(&mut self) {
        let mut other = self.publishing.other.lock().unwrap_or_else(PoisonError::into_inner);
        if other.as_ref().is_some_and(|(number, _)| *number == self.number) {
            *other = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_publisher_takes_the_turn_and_the_older_ones_end_changes_nothing() {
        let publishing = Arc::new(Publishing::default());
        let first = publishing.begin();
        let second = publishing.begin();
        assert!(publishing.has_other() && publishing.first_at().is_some());
        assert!(first.is_replaced());
        assert!(!second.is_replaced());
        drop(first);
        assert!(publishing.has_other());
        drop(second);
        assert!(!publishing.has_other());
    }

    #[test]
    fn whip_takes_the_turn_of_others() {
        let publishing = Arc::new(Publishing::default());
        let other = publishing.begin();
        publishing.begin_whip();
        assert!(!publishing.has_other());
        assert!(other.is_replaced());
    }
}
