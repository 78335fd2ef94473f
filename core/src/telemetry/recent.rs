//! The median of recent durations.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// The number of durations that count.
const COUNT: usize = 15;

/// The last fifteen durations of an event, without locks and without allocation.
///
/// ```
/// use std::time::Duration;
///
/// use dreamframe::telemetry::RecentTimes;
///
/// let times = RecentTimes::default();
/// assert_eq!(times.median(), None);
/// for ms in [30, 900, 31, 29, 30] {
///     times.add(Duration::from_millis(ms));
/// }
/// assert_eq!(times.median(), Some(Duration::from_millis(30)));
/// ```
#[derive(Debug, Default)]
pub struct RecentTimes {
    /// Nanoseconds plus one; 0 for none.
    places: [AtomicU64; COUNT],
    next: AtomicUsize,
}

impl RecentTimes {
    /// Adds a duration; it replaces the oldest.
    pub fn add(&self, time: Duration) {
        let at = self.next.fetch_add(1, Ordering::Relaxed) % COUNT;
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX).saturating_add(1);
        if let Some(place) = self.places.get(at) {
            place.store(nanos, Ordering::Relaxed);
        }
    }

    /// Returns the median; `None` before the first.
    pub fn median(&self) -> Option<Duration> {
        let mut nanos: [u64; COUNT] = std::array::from_fn(|at| self.places[at].load(Ordering::Relaxed));
        nanos.sort_unstable();
        let known = nanos.iter().filter(|nanos| **nanos > 0).count();
        let middle = *nanos.get(COUNT - known + known / 2)?;
        Some(Duration::from_nanos(middle - 1))
    }

    /// Forgets all durations.
    pub fn clear(&self) {
        self.places.iter().for_each(|place| place.store(0, Ordering::Relaxed));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_durations_count() {
        let times = RecentTimes::default();
        let add = |ms: u64, count| (0..count).for_each(|_| times.add(Duration::from_millis(ms)));
        add(1000, 100);
        add(20, 7);
        assert_eq!(times.median(), Some(Duration::from_secs(1)));
        add(20, 1);
        assert_eq!(times.median(), Some(Duration::from_millis(20)));
        times.clear();
        assert_eq!(times.median(), None);
        times.add(Duration::ZERO);
        assert_eq!(times.median(), Some(Duration::ZERO));
        times.add(Duration::MAX);
        assert!(times.median() > Some(Duration::from_secs(1_000_000)));
    }
}
