//! Event rates: recorded by one thread without blocking, and read by any thread.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::Serialize;

/// The length of a time slice.
const SLICE: Duration = Duration::from_millis(250);
/// The number of complete time slices over which a rate is averaged.
const WINDOW: u64 = 8;
/// The complete slices and the current one.
const SLICES: usize = WINDOW as usize + 1;

/// The number of events, and their current rate.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Rate {
    /// The number of events since the start.
    pub total: u64,
    /// Events per second, over the last two seconds.
    pub per_second: f64,
}

/// Counts something.
#[derive(Debug)]
pub(crate) struct Meter {
    start: Instant,
    total: AtomicU64,
    /// Which slice of the past, counted from 1, and how often it happened then: `slice << 32 | count`.
    slices: [AtomicU64; SLICES],
}

impl Meter {
    /// Nothing has happened yet.
    pub(crate) fn new(start: Instant) -> Self {
        Self { start, total: AtomicU64::new(0), slices: std::array::from_fn(|_| AtomicU64::new(0)) }
    }

    /// Counts one that happened at `now`.
    pub(crate) fn mark(&self, now: Instant) {
        self.total.fetch_add(1, Ordering::Relaxed);
        let slice = self.slice(now);
        if let Some(word) = self.slices.get(slice as usize % SLICES) {
            let count = |word: u64| if word >> 32 == slice { word + 1 } else { slice << 32 | 1 };
            // Always finds a value.
            let _ = word.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |word| Some(count(word)));
        }
    }

    /// Returns what was counted up to `now`.
    pub(crate) fn rate(&self, now: Instant) -> Rate {
        let total = self.total.load(Ordering::Relaxed);
        let slice = self.slice(now);
        let whole = (slice - 1).min(WINDOW);
        if whole == 0 {
            let seconds = now.saturating_duration_since(self.start).as_secs_f64();
            return Rate { total, per_second: if seconds > 0.0 { total as f64 / seconds } else { 0.0 } };
        }
        let words = self.slices.iter().map(|word| word.load(Ordering::Relaxed));
        let recent = words.filter(|word| (slice - whole..slice).contains(&(word >> 32)));
        let count: u64 = recent.map(|word| word & u64::from(u32::MAX)).sum();
        Rate { total, per_second: count as f64 / (SLICE.as_secs_f64() * whole as f64) }
    }

    /// The slice that `now` is in, from 1.
    fn slice(&self, now: Instant) -> u64 {
        let slices = now.saturating_duration_since(self.start).as_millis() / SLICE.as_millis();
        // Thirty years of slices.
        u64::from(u32::try_from(slices).unwrap_or(u32::MAX - 1)) + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_rate_is_found_and_forgotten() {
        let start = Instant::now();
        let meter = Meter::new(start);
        let at = |millis: u64| start + Duration::from_millis(millis);
        (0..5000).step_by(20).for_each(|millis| meter.mark(at(millis)));
        assert_eq!(meter.rate(at(5000)), Rate { total: 250, per_second: 50.0 });
        assert_eq!(meter.rate(at(60_000)), Rate { total: 250, per_second: 0.0 });
    }

    #[test]
    fn the_first_moments_have_a_rate_too() {
        let start = Instant::now();
        let meter = Meter::new(start);
        assert_eq!(meter.rate(start), Rate::default());
        (0..10).for_each(|_| meter.mark(start));
        assert_eq!(meter.rate(start + Duration::from_millis(200)).per_second, 50.0);
        assert_eq!(meter.rate(start + Duration::from_millis(600)).per_second, 20.0);
    }
}
