//! Adapts a stream's size and denoising steps to the speed of the machine, if its clients want that.

use std::sync::PoisonError;
use std::time::Duration;

use dreamframe::params::StreamDiffusionParams;
use serde_json::{Value, json};

use super::session_manager::Phase;
use super::stream::Stream;
use crate::adapt::{FrameTime, Level, choose};
use crate::ids;

/// The range of frame rates that a publisher is asked for. Before the first picture, it is the middle.
const FRAME_RATES: (f64, f64, f64) = (10.0, 15.0, 30.0);

impl Stream {
    /// The parameters to build a session with: adapted ones at their best level, which a measurement replaces.
    pub(super) fn params_to_load(&self) -> StreamDiffusionParams {
        let desired = self.desired();
        match desired.level() {
            Some(_) => desired.unadapted(&self.config),
            None => desired.for_engine().clone(),
        }
    }

    /// Returns the level to measure before the level of a session is chosen; `None` if size and steps are fixed.
    pub(super) fn measured_level(&self) -> Option<Level> {
        let desired = self.desired();
        desired.level().map(|_| Level::cheapest(&desired.unadapted(&self.config)))
    }

    /// Chooses the level of a new session by the time of a frame at the level `measured`.
    pub(super) fn begin_level(&self, measured: Level, time: FrameTime) -> Level {
        let mut desired = self.desired();
        let params = desired.unadapted(&self.config);
        let level = choose(&params, measured, time);
        desired.set_level(&self.config, level);
        drop(desired);
        self.controller.lock().unwrap_or_else(PoisonError::into_inner).start(ids::now_ms());
        self.report_level(level, measured, time);
        level
    }

    fn report_level(&self, level: Level, measured: Level, time: FrameTime) {
        let Level { width, height, steps } = level;
        tracing::info!(
            stream = self.id,
            "pictures of {width}x{height} with {steps} step(s): {}x{} with {} step(s) took {:.0} ms a frame",
            measured.width,
            measured.height,
            measured.steps,
            time.total.as_secs_f64() * 1000.0
        );
    }

    /// Changes the level by the times of the last frames, if it is to change: to be called several times per second.
    pub(super) fn adapt(&self, now: u64) {
        if self.session_manager().phase() != Phase::Running {
            return;
        }
        let (Some(session), Some(time)) = (self.session(), self.frames().frame_time()) else { return };
        let mut desired = self.desired();
        let Some(level) = desired.level() else { return };
        let params = desired.unadapted(&self.config);
        let mut controller = self.controller.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(next) = controller.decide(now, &params, level, time) else { return };
        let engine = next.apply(&params);
        match session.edit(|params| params.clone_from(&engine)) {
            Ok(_) => {
                desired.set_level(&self.config, next);
                self.frames().forget_times();
                self.report_level(next, level, time);
            }
            Err(error) => tracing::debug!(stream = self.id, %error, "the level cannot change"),
        }
    }

    /// The size and the number of steps of pictures, and whether they follow the speed of the machine.
    pub(super) fn adaptation(&self) -> Value {
        let desired = self.desired();
        let Level { width, height, steps } = Level::of(desired.for_engine());
        json!({"active": desired.level().is_some(), "width": width, "height": height, "steps": steps})
    }

    /// The frames that are of use: a publisher that sends more, or larger ones, only takes processor time.
    pub(super) fn input_wanted(&self) -> Value {
        let (slowest, first, fastest) = FRAME_RATES;
        let per_second = |time: FrameTime| 1.0 / time.total.max(Duration::from_millis(1)).as_secs_f64();
        let frame_rate = self.frames().frame_time().map_or(first, |time| per_second(time).clamp(slowest, fastest));
        let Level { width, height, .. } = Level::of(self.desired().for_engine());
        json!({"frame_rate": frame_rate.round(), "width": width, "height": height})
    }
}
