//! Rates of events, counted without locks over the last ten seconds.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// The window of a rate, in seconds.
const WINDOW: u64 = 10;
/// One counter per second, and one that is being filled.
const PLACES: usize = 16;
const COUNT_BITS: u32 = 24;

/// Counts events, and computes their rate over the last ten seconds.
#[derive(Debug)]
pub(crate) struct RateMeter {
    began: Instant,
    total: AtomicU64,
    /// The time of the last event, in milliseconds since `began`, plus one; 0 before the first.
    last: AtomicU64,
    /// The time of the first event of this run, likewise.
    first: AtomicU64,
    /// Each second, and the number of events in it.
    places: [AtomicU64; PLACES],
}

impl Default for RateMeter {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            total: AtomicU64::new(0),
            last: AtomicU64::new(0),
            first: AtomicU64::new(0),
            places: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }
}

impl RateMeter {
    /// Counts an event.
    pub(crate) fn count(&self) {
        self.count_at(self.ms());
    }

    /// The number of events.
    pub(crate) fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    /// Events per second.
    pub(crate) fn per_second(&self) -> f64 {
        self.per_second_at(self.ms())
    }

    /// Milliseconds since the last event.
    pub(crate) fn since_last(&self) -> Option<u64> {
        let last = self.last.load(Ordering::Relaxed).checked_sub(1)?;
        Some(self.ms().saturating_sub(last))
    }

    fn ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn count_at(&self, ms: u64) {
        let second = ms / 1000;
        let last = self.last.swap(ms + 1, Ordering::Relaxed);
        // After a pause longer than the window, a new run begins.
        if last == 0 || ms.saturating_sub(last) > WINDOW * 1000 {
            self.first.store(ms + 1, Ordering::Relaxed);
        }
        self.total.fetch_add(1, Ordering::Relaxed);
        let Some(place) = self.places.get(second as usize % PLACES) else { return };
        let next = |old: u64| if old >> COUNT_BITS == second { old + 1 } else { (second << COUNT_BITS) | 1 };
        let _ = place.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |old| Some(next(old)));
    }

    fn per_second_at(&self, ms: u64) -> f64 {
        let now = ms / 1000;
        let oldest = now.saturating_sub(WINDOW - 1);
        let counts = self.places.iter().map(|place| place.load(Ordering::Relaxed));
        let recent = counts.filter(|place| (oldest..=now).contains(&(place >> COUNT_BITS)));
        let sum: u64 = recent.map(|place| place & ((1 << COUNT_BITS) - 1)).sum();
        let Some(first) = self.first.load(Ordering::Relaxed).checked_sub(1) else { return 0.0 };
        // The window begins at the start of a second, and no earlier than the run.
        let span = ms.saturating_sub(first.max(oldest * 1000)).max(1000);
        sum as f64 * 1000.0 / span as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_right_from_the_first_seconds_on_and_falls_to_nothing() {
        let meter = RateMeter::default();
        assert_eq!(meter.per_second_at(5000), 0.0);
        for frame in 0..900_u64 {
            meter.count_at(500 + frame * 1000 / 30);
            let so_far = meter.per_second_at(500 + frame * 1000 / 30);
            assert!(frame < 60 || (so_far - 30.0).abs() < 3.0, "{frame}: {so_far}");
        }
        assert_eq!(meter.total(), 900);
        assert_eq!(meter.per_second_at(45_000), 0.0);
        // After the pause, the rate does not include it.
        (0..60).for_each(|frame| meter.count_at(60_000 + frame * 1000 / 30));
        assert!((meter.per_second_at(62_000) - 30.0).abs() < 3.0);
    }
}
