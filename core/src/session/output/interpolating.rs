//! The thread that interpolates: from each picture that was made to those that are shown for it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::pacer::{Pacer, Plan};
use super::picture::{Arrival, Pictures, Shown};
use crate::engine::{Picture, PictureKind};
use crate::error::{Error, Result};
use crate::frame::{Frame, Stamp, Timestamp};
use crate::interpolation::{Between, Interpolator};
use crate::session::endpoint::Endpoint;
use crate::telemetry::Timings;

/// The state of the thread that interpolates.
pub(super) struct Worker {
    relay: Arc<Pictures>,
    endpoint: Arc<Endpoint>,
    interpolator: Interpolator,
    pacer: Pacer,
    began: Instant,
    /// How long the last picture between two took to make.
    making: Duration,
    /// The stamp of the last picture.
    last: Stamp,
    /// Whether interpolation has panicked; pictures are then shown as they are.
    is_broken: bool,
}

impl Worker {
    /// Returns one without pictures.
    pub(super) fn new(relay: Arc<Pictures>, endpoint: Arc<Endpoint>) -> Self {
        Self {
            relay,
            endpoint,
            interpolator: Interpolator::new(),
            pacer: Pacer::default(),
            began: Instant::now(),
            making: Duration::ZERO,
            last: Stamp::default(),
            is_broken: false,
        }
    }

    /// Runs until the session ends.
    pub(super) fn run(mut self) {
        while let Some(arrival) = self.relay.arrival() {
            let stamp = arrival.picture.frame.stamp();
            if arrival.factor > 1 && !self.relay.is_ending() {
                self.pass_with_others(arrival);
            } else {
                self.interpolator.forget();
                self.pacer.reset();
                let returns = arrival.factor <= 1;
                let due = Instant::now();
                let picture = arrival.picture;
                self.show(Shown { picture, due, step: Duration::ZERO, is_made: true, returns });
            }
            self.last = stamp;
        }
        self.relay.complete();
    }

    /// Sends a picture, and before it those between the last one and it.
    fn pass_with_others(&mut self, arrival: Arrival) {
        let Arrival { picture, at, factor, scene_cut, network } = arrival;
        let in_a_row = self.pacer.arrive(at.saturating_duration_since(self.began), factor);
        let between = self.guarded(|interpolator| interpolator.advance(&picture.frame, scene_cut, network));
        // If another picture waits, this thread is too slow to make others.
        let some = matches!(between, Some(Between::Same | Between::Motion)) && in_a_row && !self.relay.is_late();
        let (count, lead) = if some { self.pacer.affords(factor, self.making) } else { (1, Duration::ZERO) };
        if some && count == 1 {
            // It may have become faster: dozens of pictures later, it is measured again.
            self.making = self.making * 63 / 64;
        }
        let plan = self.pacer.plan(self.began.elapsed() + lead, count);
        for number in 0..count - 1 {
            let time = (number + 1) as f32 / count as f32;
            let start = Instant::now();
            let made = self.guarded(|interpolator| interpolator.picture(time)).flatten();
            self.making = start.elapsed();
            let Some(frame) = made else { break };
            let picture = interpolated(frame, &picture, self.last, time);
            self.show(self.planned(picture, &plan, number, false));
        }
        self.show(self.planned(picture, &plan, count - 1, true));
    }

    fn planned(&self, picture: Picture, plan: &Plan, number: u32, is_made: bool) -> Shown {
        Shown { picture, due: self.began + plan.due(number), step: plan.step, is_made, returns: false }
    }

    fn show(&self, shown: Shown) {
        if self.relay.show(shown).is_some_and(|replaced| replaced.is_made) {
            self.relay.is_done();
            self.endpoint.counters.unseen.mark(Instant::now());
        }
    }

    /// Calls the interpolator; `None` if it fails.
    fn guarded<T>(&mut self, call: impl FnOnce(&mut Interpolator) -> Result<T>) -> Option<T> {
        if self.is_broken {
            return None;
        }
        match catch_unwind(AssertUnwindSafe(|| call(&mut self.interpolator))) {
            Ok(Ok(value)) => Some(value),
            Ok(Err(error)) => {
                tracing::warn!(%error, "no picture could be interpolated");
                None
            }
            Err(panic) => {
                let error = Error::of_panic("interpolation", &*panic);
                tracing::error!(%error, "no pictures are interpolated any more");
                self.is_broken = true;
                None
            }
        }
    }
}

/// Returns a picture at `time` between the one with the stamp `last` and `next`.
fn interpolated(frame: Frame, next: &Picture, last: Stamp, time: f32) -> Picture {
    let next_stamp = next.frame.stamp();
    let apart = next_stamp.timestamp.since(last.timestamp).mul_f32(1.0 - time);
    let apart = u64::try_from(apart.as_nanos()).unwrap_or(0);
    let timestamp = Timestamp(next_stamp.timestamp.0.saturating_sub(apart));
    let mut frame = frame;
    frame.set_id(next.id);
    frame.set_stamp(Stamp { timestamp, ..next_stamp });
    Picture {
        frame,
        id: next.id,
        source_id: next.source_id,
        kind: PictureKind::Interpolated,
        version: next.version,
        timings: Timings::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{FramePool, PixelFormat};
    use crate::session::event_log::EventLog;
    use crate::sync::notifier::Notifier;

    #[test]
    fn after_a_panic_pictures_are_shown_as_they_are() {
        let endpoint = Arc::new(Endpoint::new(Arc::new(EventLog::new()), Arc::new(Notifier::new())));
        let relay = Arc::new(Pictures::new());
        let mut worker = Worker::new(relay.clone(), endpoint);
        assert_eq!(worker.guarded(|_| Ok(1)), Some(1));
        assert_eq!(worker.guarded(|_| -> Result<u8> { panic!("a defect of the interpolation") }), None);
        // It is not called again.
        assert_eq!(worker.guarded(|_| Ok(1)), None);
        relay.complete();
        let pool = FramePool::new(2);
        for number in 1..20 {
            let mut frame = pool.frame(PixelFormat::Rgba8, 16, 16).unwrap();
            frame.set_stamp(Stamp { tag: number, ..Stamp::default() });
            let id = frame.id();
            let (kind, timings) = (PictureKind::New, Timings::default());
            let picture = Picture { frame, id, source_id: id, kind, version: 0, timings };
            let at = worker.began + Duration::from_millis(40 * number);
            worker.pass_with_others(Arrival { picture, at, factor: 4, scene_cut: 1.0, network: None });
            let shown = relay.to_show().unwrap();
            assert!(shown.is_made && shown.picture.frame.stamp().tag == number, "{shown:?}");
            assert!(relay.to_show().is_none(), "another picture for {number}");
        }
    }
}
