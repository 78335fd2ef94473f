//! Counts entries of the registry that are not used, and logs them at a bounded rate.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The shortest interval between two lines of the log: a writer to the registry must not fill it.
const PACE: Duration = Duration::from_secs(10);

/// Entries of the registry that are ignored.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    count: AtomicU64,
    /// The time of the last line, and the count then.
    last_logged: Mutex<Option<(Instant, u64)>>,
}

impl Refusals {
    /// Counts an entry that is not used, and logs it unless a line was written recently.
    pub(crate) fn note(&self, key: &str, why: &str) {
        let count = self.count.fetch_add(1, Ordering::Relaxed) + 1;
        if let Some(others) = self.is_due(Instant::now(), count) {
            tracing::warn!(key, why, others, "an entry of the registry is not used");
        }
    }

    /// Returns the count since the last line, if another is due.
    fn is_due(&self, now: Instant, count: u64) -> Option<u64> {
        let mut last_logged = self.last_logged.lock().unwrap_or_else(PoisonError::into_inner);
        let since = match *last_logged {
            Some((last, _)) if now.saturating_duration_since(last) < PACE => return None,
            Some((_, since)) => since,
            None => 0,
        };
        *last_logged = Some((now, count));
        Some(count.saturating_sub(since + 1))
    }

    /// The number of refused entries.
    pub(crate) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_written_at_most_every_ten_seconds_and_counts_the_others() {
        let (refusals, start) = (Refusals::default(), Instant::now());
        let at = |seconds, count| refusals.is_due(start + Duration::from_secs(seconds), count);
        assert_eq!(
            [at(0, 1), at(0, 2), at(9, 3), at(10, 4), at(11, 5), at(30, 6)],
            [Some(0), None, None, Some(2), None, Some(1)]
        );
        refusals.note("key", "why");
        assert_eq!(refusals.count(), 1);
    }
}
