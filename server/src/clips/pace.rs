//! Limits how many clips of a stream are created: each is a file in memory while it is created, and removes older ones.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::http::StatusCode;

use crate::error::ApiError;

/// Clips of one stream that may be created in a minute, and at the same time.
const A_MINUTE: usize = 6;
const AT_ONCE: usize = 2;
const MINUTE: Duration = Duration::from_secs(60);

/// The creations of the last minute, by stream.
#[derive(Debug, Default)]
pub(super) struct Pace {
    streams: Mutex<HashMap<String, Recent>>,
}

#[derive(Debug, Default)]
struct Recent {
    made: Vec<Instant>,
    active: usize,
}

/// The permission to create a clip. Counts as a clip of the last minute only if it [succeeded](Self::succeed).
#[derive(Debug)]
pub(crate) struct Permit {
    pace: Arc<Pace>,
    stream: String,
}

impl Pace {
    /// Permits a clip of `stream`.
    ///
    /// # Errors
    ///
    /// 429 beyond the limits.
    pub(super) fn begin(self: &Arc<Self>, stream: &str) -> Result<Permit, ApiError> {
        self.begin_at(stream, Instant::now())
    }

    fn begin_at(self: &Arc<Self>, stream: &str, now: Instant) -> Result<Permit, ApiError> {
        let mut streams = self.lock();
        // Streams end, and would be listed forever.
        streams.retain(|_, recent| {
            recent.made.retain(|made| now.saturating_duration_since(*made) < MINUTE);
            recent.active > 0 || !recent.made.is_empty()
        });
        let recent = streams.entry(stream.to_owned()).or_default();
        if recent.active >= AT_ONCE {
            return Err(ApiError::limit(StatusCode::TOO_MANY_REQUESTS, "clips of a stream at once", AT_ONCE, 1));
        }
        if recent.made.len() + recent.active >= A_MINUTE {
            let oldest = recent.made.first().map_or(Duration::ZERO, |made| now.saturating_duration_since(*made));
            let seconds = u32::try_from(MINUTE.saturating_sub(oldest).as_secs()).unwrap_or(60).max(1);
            let what = "clips of a stream in a minute";
            return Err(ApiError::limit(StatusCode::TOO_MANY_REQUESTS, what, A_MINUTE, seconds));
        }
        recent.active += 1;
        Ok(Permit { pace: self.clone(), stream: stream.to_owned() })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Recent>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Permit {
    /// Counts the clip.
    pub(crate) fn succeed(self) {
        self.succeed_at(Instant::now());
    }

    fn succeed_at(self, now: Instant) {
        if let Some(recent) = self.pace.lock().get_mut(&self.stream) {
            recent.made.push(now);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(recent) = self.pace.lock().get_mut(&self.stream) {
            recent.active = recent.active.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_has_at_most_two_creations_at_once() {
        let (pace, now) = (Arc::new(Pace::default()), Instant::now());
        let _first = pace.begin_at("str_1", now).unwrap();
        let second = pace.begin_at("str_1", now).unwrap();
        assert_eq!(pace.begin_at("str_1", now).unwrap_err().status(), StatusCode::TOO_MANY_REQUESTS);
        assert!(pace.begin_at("str_2", now).is_ok());
        drop(second);
        assert!(pace.begin_at("str_1", now).is_ok());
    }

    #[test]
    fn a_stream_has_at_most_six_clips_a_minute_and_failures_do_not_count() {
        let (pace, start) = (Arc::new(Pace::default()), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        for second in 0..6 {
            drop(pace.begin_at("str_1", at(second)).unwrap());
            pace.begin_at("str_1", at(second)).unwrap().succeed_at(at(second));
        }
        let error = pace.begin_at("str_1", at(10)).unwrap_err();
        assert_eq!((error.status(), &error.details()["limit"]), (StatusCode::TOO_MANY_REQUESTS, &6.into()));
        let response = axum::response::IntoResponse::into_response(error);
        assert_eq!(response.headers()["retry-after"], "50");
        assert!(pace.begin_at("str_2", at(10)).is_ok());
        assert!(pace.begin_at("str_1", at(60)).is_ok());
        assert!(pace.begin_at("str_3", at(200)).is_ok());
        assert_eq!(pace.lock().keys().collect::<Vec<_>>(), ["str_3"], "streams of long ago are not kept");
    }
}
