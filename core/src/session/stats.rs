//! Statistics of a session: written by its thread without waiting, read by any thread.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crossbeam::queue::ArrayQueue;
use serde::Serialize;

use crate::telemetry::{Meter, Rate, Samples, Summary, Timings};

/// Over how many of the newest pictures the times of stages are averaged.
const RECENT: usize = 256;

/// Statistics of a session.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Stats {
    /// Frames submitted.
    pub submitted: Rate,
    /// Frames replaced by a newer one before they were processed.
    pub dropped: Rate,
    /// Frames restyled.
    pub computed: Rate,
    /// Frames skipped by the similar-image filter.
    pub skipped: Rate,
    /// Frames passed through unchanged, because `skip_diffusion` is on.
    pub passed: Rate,
    /// Frames for which the last picture was returned again, because there was no pipeline.
    pub repeated: Rate,
    /// Frames that failed.
    pub failed: Rate,
    /// Pictures replaced by a newer one before they were taken.
    pub unseen: Rate,
    /// Pictures interpolated between two others.
    pub interpolated: Rate,
    /// Times of each stage of the newest pictures, in microseconds.
    pub stages: Vec<Stage>,
    /// Frames waiting to be processed: 0 or 1.
    pub waiting_frames: usize,
    /// Updates that wait or are being prepared, except those that load a model.
    pub waiting_updates: usize,
    /// Updates that load a model, and wait or are being prepared.
    pub waiting_loads: usize,
    /// How many pictures of the current transition of the prompt were made, and how many it has; `None` without a
    /// transition.
    pub transition: Option<(u32, u32)>,
    /// The version of the newest accepted update.
    pub desired_version: u64,
    /// The version of the newest applied update.
    pub active_version: u64,
    /// Events discarded because they were not taken in time.
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

/// Counters of a session.
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
    pub(crate) interpolated: Meter,
    /// From the session's thread to readers of statistics.
    timings: ArrayQueue<Timings>,
    /// Between those who read.
    summed: Mutex<Vec<(&'static str, Samples)>>,
}

impl Counters {
    /// Returns all at 0.
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
            interpolated: meter(),
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
