//! The session's own thread: prepared updates that have arrived, then the newest frame.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use super::events::Event;
use super::gate::{Gate, Phase};
use super::machine::Machine;
use super::options::FailedFrame;
use super::updates::desk::Desk;
use super::updates::line::{Command, Delivery, Failure};
use super::updates::worker::panic_error;
use crate::engine::{Picture, PictureInfo, PictureKind};
use crate::error::{Error, Result};
use crate::frame::{Frame, FrameId};

/// After how many failed frames in a row the session says that it is degraded.
const DEGRADED_AFTER: u32 = 3;

/// Told of each picture that is ready.
pub(crate) type Callback = Box<dyn FnMut(&PictureInfo) + Send>;

/// What the session's thread works with.
pub(crate) struct Runner<M: Machine> {
    machine: M,
    gate: Arc<Gate>,
    desk: Arc<Desk<M::Bench>>,
    on_picture: Option<Callback>,
    failed_frame: FailedFrame,
    /// The place of what is in use, in the order of what is sent.
    applied: u64,
    released: bool,
    /// Failed frames in a row.
    failures: u32,
}

impl<M: Machine> Runner<M> {
    /// A runner that has not started.
    pub(crate) fn new(
        machine: M,
        gate: Arc<Gate>,
        desk: Arc<Desk<M::Bench>>,
        on_picture: Option<Callback>,
        failed_frame: FailedFrame,
    ) -> Self {
        Self { machine, gate, desk, on_picture, failed_frame, applied: 0, released: false, failures: 0 }
    }

    /// Runs until the gate says otherwise, and gives the engine back.
    ///
    /// # Errors
    ///
    /// `Internal` where the engine panicked; it is dropped then.
    pub(crate) fn run(mut self) -> Result<M> {
        tracing::info!("session started");
        let panic = catch_unwind(AssertUnwindSafe(|| self.serve())).err();
        let error = panic.map(|panic| panic_error("the engine", &*panic));
        let (gate, desk) = (self.gate.clone(), self.desk.clone());
        let text = error.as_ref().map(ToString::to_string);
        let ended = match error {
            // Half of a frame may have been done: nothing of it can be trusted, not even its end.
            Some(error) => {
                let _ = catch_unwind(AssertUnwindSafe(|| drop(self)));
                Err(error)
            }
            None => Ok(self.machine),
        };
        match &text {
            Some(error) => tracing::error!(%error, "session stopped"),
            None => tracing::info!("session stopped"),
        }
        desk.close();
        let error = text.map(|text| Arc::new(Error::new(crate::error::ErrorKind::Internal, text)));
        gate.reports.tell(Event::Stopped { error });
        gate.advance(Phase::Ended);
        ended
    }

    fn serve(&mut self) {
        loop {
            while let Some(command) = self.desk.line.command() {
                self.obey(command);
            }
            match (self.gate.phase(), self.gate.inbox.take()) {
                (Phase::Ending | Phase::Ended, _) | (Phase::Draining, None) => return,
                (Phase::Running | Phase::Draining, Some(frame)) => self.work_on(frame),
                (Phase::Running, None) => self.wait(),
            }
        }
    }

    fn wait(&self) {
        let (gate, line) = (&self.gate, &self.desk.line);
        let something = || gate.phase() != Phase::Running || !gate.inbox.is_empty() || line.has_command();
        gate.wake.wait_until(None, || something().then_some(()));
    }

    fn obey(&mut self, command: Command<M::Bench>) {
        match command {
            Command::Release => {
                self.machine.release();
                self.released = true;
                self.desk.line.say_released();
            }
            // Made onto an update that could not be applied.
            Command::Apply(delivery) if delivery.base != self.applied => {
                self.desk.line.give_back(delivery.prepared);
            }
            Command::Apply(delivery) => self.apply(delivery),
        }
    }

    fn apply(&mut self, delivery: Delivery<M::Bench>) {
        let Delivery { seq, version, mut prepared, .. } = delivery;
        let (line, reports) = (&self.desk.line, &self.gate.reports);
        let newest = reports.active().max(version.unwrap_or(0));
        match self.machine.swap(&mut prepared, newest) {
            Ok(notices) => {
                self.applied = seq;
                self.released = false;
                line.say_applied(seq, prepared);
                if let Some(version) = version {
                    reports.applied(version, notices);
                }
            }
            Err(error) => {
                let params = self.machine.params().clone();
                let snapshot = self.machine.snapshot().ok();
                line.say_failed(Failure { seq, error, params, snapshot }, prepared);
            }
        }
    }

    fn work_on(&mut self, frame: Frame) {
        let (id, released) = (frame.id(), self.released);
        self.desk.line.say_framed(self.applied);
        let made = self.machine.process(&frame);
        // Back to the pool before anybody hears of the picture and submits the next.
        drop(frame);
        match made {
            Ok(picture) => {
                if self.failures >= DEGRADED_AFTER {
                    self.gate.reports.tell(Event::Recovered);
                }
                self.failures = 0;
                self.show(picture, released);
            }
            Err(error) => self.fail(id, error),
        }
    }

    fn fail(&mut self, id: FrameId, error: Error) {
        let error = Arc::new(error);
        self.gate.counters.failed.mark(Instant::now());
        self.failures = self.failures.saturating_add(1);
        tracing::debug!(id = id.0, %error, "frame failed");
        self.gate.reports.tell(Event::FrameFailed { id, error: error.clone() });
        if self.failures == DEGRADED_AFTER {
            tracing::warn!(%error, "{DEGRADED_AFTER} frames in a row have failed");
            self.gate.reports.tell(Event::Degraded { error });
        }
        if self.failed_frame == FailedFrame::Repeat
            && let Ok(Some(picture)) = self.machine.repeat(id)
        {
            self.show(picture, true);
        }
    }

    /// Hands a picture over; `again` where it is the last one, for want of another.
    fn show(&mut self, picture: Picture, again: bool) {
        let info = picture.info();
        let counters = &self.gate.counters;
        let meter = match info.kind {
            PictureKind::New | PictureKind::Flagged => &counters.computed,
            PictureKind::Repeated if again => &counters.repeated,
            PictureKind::Repeated => &counters.skipped,
            PictureKind::Passed => &counters.passed,
        };
        meter.mark(Instant::now());
        if matches!(info.kind, PictureKind::New | PictureKind::Flagged) {
            counters.time(info.timings);
        }
        self.gate.show(picture);
        let Some(on_picture) = &mut self.on_picture else { return };
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| on_picture(&info))) {
            let error = Arc::new(panic_error("the picture callback", &*panic));
            tracing::warn!(%error, "the picture callback is not called again");
            self.gate.reports.tell(Event::CallbackFailed { error });
            self.on_picture = None;
        }
    }
}
