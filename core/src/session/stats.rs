//! What a session has done so far, in numbers: written without waiting, read by any thread.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crossbeam::queue::ArrayQueue;
use serde::Serialize;

use crate::telemetry::{Meter, Rate, Samples, Summary, Timings};

/// How many of the newest pictures the times of stages are taken over.
const RECENT: usize = 256;

/// What a session has done so far, and does now.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Stats {
    /// Frames that came in.
    pub submitted: Rate,
    /// Frames that a newer one replaced before they were worked on.
    pub dropped: Rate,
    /// Frames that were restyled.
    pub computed: Rate,
    /// Frames that the similar-image filter skipped.
    pub skipped: Rate,
    /// Frames that went through unchanged, because `skip_diffusion` is on.
    pub passed: Rate,
    /// Frames for which the last picture was given again, because there was no other.
    pub repeated: Rate,
    /// Frames that failed.
    pub failed: Rate,
    /// Pictures that a newer one replaced before anybody took them.
    pub unseen: Rate,
    /// Times of each stage of the newest pictures, in microseconds.
    pub stages: Vec<Stage>,
    /// Frames that wait: 0 or 1.
    pub waiting_frames: usize,
    /// Updates that wait or are being prepared, without those that load something.
    pub waiting_updates: usize,
    /// Updates that load something, and wait or are being prepared.
    pub waiting_loads: usize,
    /// How many pictures of how many a transition of the prompt has behind it; none where its target is reached.
    pub transition: Option<(u32, u32)>,
    /// The version of the parameters last accepted.
    pub desired_version: u64,
    /// The newest version applied.
    pub active_version: u64,
    /// Events that nobody fetched in time.
    pub lost_events: u64,
}

/// How long one stage of a frame takes.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Stage {
    /// The stage, as [`Timings::stages`] names it.
    pub name: &'static str,
    /// In microseconds.
    pub micros: Summary,
}

/// Counts what the session does.
#[derive(Debug)]
pub(crate) struct Counters {
    pub(crate) submitted: Meter,
    pub(crate) dropped: Meter,
    pub(crate) computed: Meter,
    pub(crate) skipped: Meter,
    pub(crate) passed: Meter,
    pub(crate) repeated: Meter,
    pub(crate) failed: Meter,
    pub(crate) unseen: Meter,
    /// From the session's thread to whoever reads.
    timings: ArrayQueue<Timings>,
    /// Between those who read.
    summed: Mutex<Vec<(&'static str, Samples)>>,
}

impl Counters {
    /// All at 0.
    pub(crate) fn new() -> Self {
        let now = Instant::now();
        let meter = || Meter::new(now);
        let stages = Timings::default().stages();
        Self {
            submitted: meter(),
            dropped: meter(),
            computed: meter(),
            skipped: meter(),
            passed: meter(),
            repeated: meter(),
            failed: meter(),
            unseen: meter(),
            timings: ArrayQueue::new(RECENT),
            summed: Mutex::new(stages.into_iter().map(|(name, _)| (name, Samples::new(RECENT))).collect()),
        }
    }

    /// Notes how long a picture took.
    pub(crate) fn time(&self, timings: Timings) {
        self.timings.force_push(timings);
    }

    /// Sums up the times of the newest pictures.
    pub(crate) fn stages(&self) -> Vec<Stage> {
        let mut summed = self.summed.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(timings) = self.timings.pop() {
            for ((_, samples), (_, micros)) in summed.iter_mut().zip(timings.stages()) {
                samples.push(micros as f64);
            }
        }
        let stage = |(name, samples): &(&'static str, Samples)| Some(Stage { name, micros: samples.summary()? });
        summed.iter().filter_map(stage).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_summed_up_by_stage_and_stay_between_readings() {
        let counters = Counters::new();
        assert!(counters.stages().is_empty());
        for unet in [10, 30, 20] {
            counters.time(Timings { unet, total: 2 * unet, ..Timings::default() });
        }
        for _ in 0..2 {
            let stages = counters.stages();
            let unet = stages.iter().find(|stage| stage.name == "unet").unwrap();
            assert_eq!((unet.micros.median, unet.micros.n), (20.0, 3));
        }
    }
}
