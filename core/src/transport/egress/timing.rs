//! When an encoder repeats its last picture, and when it makes key frames.

use std::time::{Duration, Instant};

/// The minimum time from a key frame to a requested one: key frames are large, and many viewers may request one at once.
const KEY_INTERVAL: Duration = Duration::from_millis(500);

/// The time without a new picture after which the last one is repeated, so that a viewer that lost it requests a key
/// frame.
const REPEAT: Duration = Duration::from_secs(2);

/// The times of the last picture and key frame. It reads no clock: callers pass the time.
#[derive(Debug)]
pub(super) struct Timing {
    /// The interval of key frames without requests.
    key_frame_interval: Duration,
    /// When a picture was last encoded, or attempted.
    last_try: Option<Instant>,
    /// When a key frame was last made, or attempted.
    last_key: Option<Instant>,
}

impl Timing {
    /// Returns the timing of an encoder before its first picture.
    pub(super) fn new(key_frame_interval: Duration) -> Self {
        Self { key_frame_interval, last_try: None, last_key: None }
    }

    /// Returns when the last picture is repeated if there is no new one; `None` before the first.
    pub(super) fn repeat_at(&self, key_wanted: bool) -> Option<Instant> {
        let last = self.last_try?;
        Some(if key_wanted { self.last_key.map_or(last, |key| key + KEY_INTERVAL) } else { last + REPEAT })
    }

    /// Records that a picture is encoded at `now`; returns whether as a key frame.
    pub(super) fn begin(&mut self, key_wanted: bool, now: Instant) -> bool {
        let since_key = self.last_key.map_or(Duration::MAX, |last| now.saturating_duration_since(last));
        let key = since_key >= self.key_frame_interval || key_wanted && since_key >= KEY_INTERVAL;
        self.last_try = Some(now);
        if key {
            self.last_key = Some(now);
        }
        key
    }

    /// Records that the picture begun at `now` became a key frame, requested or not.
    pub(super) fn made_key(&mut self, now: Instant) {
        self.last_key = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn timing() -> (Timing, Instant) {
        (Timing::new(Duration::from_secs(10)), Instant::now())
    }

    /// The milliseconds at which key frames come in 21 seconds of 25 pictures per second.
    fn keys(is_wanted: impl Fn(u32) -> bool) -> Vec<u32> {
        let (mut timing, start) = timing();
        (0..21_000).step_by(40).filter(|ms| timing.begin(is_wanted(*ms), start + MS * *ms)).collect()
    }

    #[test]
    fn many_requests_give_one_key_frame_in_half_a_second() {
        // The first picture at least half a second after the previous key frame.
        assert_eq!(keys(|_| true), (0..21_000).step_by(520).collect::<Vec<_>>());
    }

    #[test]
    fn key_frames_come_in_their_interval_and_on_demand() {
        assert_eq!(keys(|_| false), [0, 10_000, 20_000]);
        assert_eq!(keys(|ms| ms == 4000 || ms == 4480), [0, 4000, 14_000]);
    }

    #[test]
    fn a_key_frame_that_the_encoder_made_by_itself_counts() {
        let (mut timing, start) = timing();
        assert!(timing.begin(false, start));
        assert!(!timing.begin(false, start + MS * 9000));
        timing.made_key(start + MS * 9000);
        assert!(!timing.begin(true, start + MS * 9499));
        assert!(timing.begin(true, start + MS * 9500));
    }

    #[test]
    fn a_picture_that_stays_is_repeated_after_two_seconds_or_sooner_on_demand() {
        let (mut timing, start) = timing();
        assert_eq!(timing.repeat_at(true), None);
        timing.begin(false, start);
        assert_eq!(
            (timing.repeat_at(false), timing.repeat_at(true)),
            (Some(start + MS * 2000), Some(start + MS * 500))
        );
        timing.begin(false, start + MS * 300);
        assert_eq!(
            (timing.repeat_at(false), timing.repeat_at(true)),
            (Some(start + MS * 2300), Some(start + MS * 500))
        );
    }
}
