//! The session's thread: applies prepared updates, then processes the newest frame.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use super::endpoint::{Endpoint, Phase};
use super::engine_traits::FrameProcessor;
use super::events::Event;
use super::options::FailedFrame;
use super::output::{Callback, Outlet};
use super::updates::channel::{Command, Delivery, Failure};
use super::updates::queue::UpdateQueue;
use crate::engine::{Picture, PictureKind};
use crate::error::{Error, Result};
use crate::frame::{Frame, FrameId};

/// The number of failed frames in a row after which the session is degraded.
const DEGRADED_AFTER: u32 = 3;

/// The state of the session's thread.
pub(crate) struct Runner<M: FrameProcessor> {
    processor: M,
    endpoint: Arc<Endpoint>,
    queue: Arc<UpdateQueue<M::Preparer>>,
    outlet: Outlet,
    failed_frame: FailedFrame,
    /// The sequence number of the update in use.
    applied: u64,
    released: bool,
    /// The number of failed frames in a row.
    failures: u32,
}

impl<M: FrameProcessor> Runner<M> {
    /// Returns one that has not started.
    pub(crate) fn new(
        processor: M,
        endpoint: Arc<Endpoint>,
        queue: Arc<UpdateQueue<M::Preparer>>,
        on_picture: Option<Callback>,
        failed_frame: FailedFrame,
    ) -> Self {
        let outlet = Outlet::new(endpoint.clone(), on_picture);
        Self { processor, endpoint, queue, outlet, failed_frame, applied: 0, released: false, failures: 0 }
    }

    /// Runs until the session ends, and returns the engine.
    ///
    /// # Errors
    ///
    /// `Internal` if the engine panicked; it is dropped then.
    pub(crate) fn run(mut self) -> Result<M> {
        tracing::info!("session started");
        let panic = catch_unwind(AssertUnwindSafe(|| self.serve())).err();
        let error = panic.map(|panic| Error::of_panic("the engine", &*panic));
        let (endpoint, queue) = (self.endpoint.clone(), self.queue.clone());
        let text = error.as_ref().map(ToString::to_string);
        let ended = match error {
            // A frame may have been processed in part: the engine's state, its destructor included, cannot be trusted.
            Some(error) => {
                let Self { processor, outlet, .. } = self;
                let _ = catch_unwind(AssertUnwindSafe(|| drop(processor)));
                outlet.end();
                Err(error)
            }
            None => {
                self.outlet.end();
                Ok(self.processor)
            }
        };
        match &text {
            Some(error) => tracing::error!(%error, "session stopped"),
            None => tracing::info!("session stopped"),
        }
        queue.close();
        let error = text.map(|text| Arc::new(Error::new(crate::error::ErrorKind::Internal, text)));
        endpoint.event_log.record(Event::Stopped { error });
        endpoint.advance(Phase::Ended);
        ended
    }

    fn serve(&mut self) {
        self.outlet.prepare(&self.processor.params().interpolation);
        loop {
            while let Some(command) = self.queue.channel.command() {
                self.obey(command);
            }
            match (self.endpoint.phase(), self.endpoint.inbox.take()) {
                (Phase::Ending | Phase::Ended, _) | (Phase::Draining, None) => return,
                (Phase::Running | Phase::Draining, Some(frame)) => {
                    self.endpoint.begin_frame();
                    self.work_on(frame);
                    self.endpoint.end_frame();
                }
                (Phase::Running, None) => self.wait(),
            }
        }
    }

    fn wait(&self) {
        let (endpoint, channel) = (&self.endpoint, &self.queue.channel);
        let something = || endpoint.phase() != Phase::Running || !endpoint.inbox.is_empty() || channel.has_command();
        endpoint.wake.wait_until(None, || something().then_some(()));
    }

    fn obey(&mut self, command: Command<M::Preparer>) {
        match command {
            Command::Release => {
                self.processor.release();
                self.released = true;
                self.queue.channel.send_released();
            }
            // Based on an update that could not be applied.
            Command::Apply(delivery) if delivery.base != self.applied => {
                self.queue.channel.give_back(delivery.prepared);
            }
            Command::Apply(delivery) => self.apply(delivery),
        }
    }

    fn apply(&mut self, delivery: Delivery<M::Preparer>) {
        let Delivery { seq, version, mut prepared, .. } = delivery;
        let (channel, event_log) = (&self.queue.channel, &self.endpoint.event_log);
        let newest = event_log.active().max(version.unwrap_or(0));
        match self.processor.swap(&mut prepared, newest) {
            Ok(notices) => {
                self.applied = seq;
                self.released = false;
                self.outlet.prepare(&self.processor.params().interpolation);
                channel.send_applied(seq, prepared);
                if let Some(version) = version {
                    event_log.applied(version, notices);
                }
            }
            Err(error) => {
                let params = self.processor.params().clone();
                let snapshot = self.processor.snapshot().ok();
                channel.send_failed(Failure { seq, error, params, snapshot }, prepared);
            }
        }
    }

    fn work_on(&mut self, frame: Frame) {
        let (id, released) = (frame.id(), self.released);
        self.queue.channel.send_framed(self.applied);
        let made = self.processor.process(&frame);
        // Returned to the pool before the host learns of the picture and submits the next frame.
        drop(frame);
        match made {
            Ok(picture) => {
                if self.failures >= DEGRADED_AFTER {
                    self.endpoint.event_log.record(Event::Recovered);
                }
                self.failures = 0;
                self.show(picture, released);
            }
            Err(error) => self.fail(id, error),
        }
    }

    fn fail(&mut self, id: FrameId, error: Error) {
        let error = Arc::new(error);
        self.endpoint.counters.failed.mark(Instant::now());
        self.failures = self.failures.saturating_add(1);
        tracing::debug!(id = id.0, %error, "frame failed");
        self.endpoint.event_log.record(Event::FrameFailed { id, error: error.clone() });
        if self.failures == DEGRADED_AFTER {
            tracing::warn!(%error, "{DEGRADED_AFTER} frames in a row have failed");
            self.endpoint.event_log.record(Event::Degraded { error });
        }
        if self.failed_frame == FailedFrame::Repeat
            && let Ok(Some(picture)) = self.processor.repeat(id)
        {
            self.show(picture, true);
        }
    }

    /// Publishes a picture; `again` if it is a repeat of the last one.
    fn show(&mut self, picture: Picture, again: bool) {
        let info = picture.info();
        let counters = &self.endpoint.counters;
        let meter = match info.kind {
            PictureKind::New | PictureKind::Flagged => &counters.computed,
            PictureKind::Repeated if again => &counters.repeated,
            PictureKind::Repeated => &counters.skipped,
            PictureKind::Passed => &counters.passed,
            // Counted where it is shown.
            PictureKind::Interpolated => &counters.interpolated,
        };
        meter.mark(Instant::now());
        if matches!(info.kind, PictureKind::New | PictureKind::Flagged) {
            counters.time(info.timings);
        }
        let network = self.processor.interpolation_network();
        self.outlet.show(picture, &self.processor.params().interpolation, network);
    }
}
