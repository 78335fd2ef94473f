//! Rate limiting.

use std::time::{Duration, Instant};

/// A token bucket: allows a number of events per second on average, and a burst after a pause.
#[derive(Debug, Clone)]
pub struct TokenBucket {
    per_second: f64,
    burst: f64,
    tokens: f64,
    /// The time for which `tokens` was computed.
    at: Option<Instant>,
}

impl TokenBucket {
    /// Creates one that allows `per_second` events per second and bursts of `burst`, each at least 1.
    pub fn new(per_second: u32, burst: u32) -> Self {
        let burst = f64::from(burst.max(1));
        Self { per_second: f64::from(per_second.max(1)), burst, tokens: burst, at: None }
    }

    /// Counts an event at the time `now`.
    ///
    /// # Errors
    ///
    /// The time until an event is allowed; it is not counted then.
    pub fn take(&mut self, now: Instant) -> Result<(), Duration> {
        let since = self.at.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        self.tokens = (self.tokens + since.as_secs_f64() * self.per_second).min(self.burst);
        self.at = Some(now);
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            return Ok(());
        }
        // Rounded up, so that a caller that waits for this time is not early.
        Err(Duration::from_secs_f64((1.0 - self.tokens) / self.per_second) + Duration::from_millis(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bucket_allows_a_burst_and_then_a_rate() {
        let start = Instant::now();
        let mut bucket = TokenBucket::new(2, 3);
        assert!((0..3).all(|_| bucket.take(start).is_ok()));
        let wait = bucket.take(start).unwrap_err();
        assert!((Duration::from_millis(500)..Duration::from_millis(510)).contains(&wait), "{wait:?}");
        assert!(bucket.take(start + wait).is_ok());
        let allowed = (0..10_000).filter(|ms| bucket.take(start + wait + Duration::from_millis(*ms)).is_ok()).count();
        assert!((19..=20).contains(&allowed), "{allowed}");
        // A long pause allows no more than a burst, and a clock that goes back allows nothing.
        let later = start + Duration::from_secs(3600);
        assert_eq!((0..10).filter(|_| bucket.take(later).is_ok()).count(), 3);
        assert!(bucket.take(start).is_err());
    }
}
