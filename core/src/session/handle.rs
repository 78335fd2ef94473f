//! Handles of a running session.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::endpoint::{Endpoint, Phase};
use super::event_log::Events;
use super::event_log::{End, Forgotten};
use super::stats::Stats;
use super::updates::Ticket;
use super::updates::queue::UpdateQueue;
use crate::conditioning::style::style_pixels_uri;
use crate::conditioning::transition::Transition;
use crate::engine::{Picture, Plan, Workbench};
use crate::error::{Error, ErrorKind, Result};
use crate::frame::{Frame, FrameId, FrameView};
use crate::params::{Change, ParamsPatch, StreamDiffusionParams, rebase};

/// Submits frames to a running [`Session`](super::Session), takes its pictures, and changes its parameters.
///
/// Clones refer to the same session, and may be used on any threads. No method waits for a frame or a model unless its
/// documentation says so. A handle does not keep its session alive: once that is stopped or dropped, calls return
/// `Closed`.
#[derive(Debug, Clone)]
pub struct SessionHandle {
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) queue: Arc<UpdateQueue<Workbench>>,
    pub(super) preparer: Workbench,
}

/// How an update ended.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Outcome {
    /// It was applied.
    Applied,
    /// Later updates, which were applied, changed everything that it changes, so it was skipped.
    Superseded,
    /// It failed, and changed nothing.
    Rejected(Arc<Error>),
}

impl SessionHandle {
    /// Submits a copy of a frame. Returns immediately; a frame that still waits is replaced, and counted as dropped.
    ///
    /// The returned id is the [`source_id`](Picture::source_id) of the picture made from it, and of those interpolated
    /// before that one, whose [`kind`](Picture::kind) is [`Interpolated`](crate::PictureKind::Interpolated). Frames from several
    /// threads are numbered in the order of the calls.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use dreamframe::{Engine, FrameView, PixelFormat, SessionOptions, StreamDiffusionParams};
    ///
    /// # fn main() -> dreamframe::Result<()> {
    /// let params = StreamDiffusionParams { width: 64, height: 64, ..StreamDiffusionParams::demo() };
    /// let session = Engine::builder().params(params).build()?.start(SessionOptions::default())?;
    /// let handle = session.handle();
    /// // Frames of any size and format; pictures have the size of the parameters.
    /// let camera = vec![127_u8; 320 * 240 * 4];
    /// let id = handle.submit(&FrameView::packed(PixelFormat::Bgra8, 320, 240, &camera)?)?;
    /// let picture = handle.wait(Duration::from_secs(60)).expect("a picture within a minute");
    /// assert_eq!((picture.source_id, picture.frame.width()), (id, 64));
    /// assert!(handle.poll().is_none());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// `Closed` for a session that was stopped, `OutOfMemory` for a frame larger than any before.
    pub fn submit(&self, frame: &FrameView<'_>) -> Result<FrameId> {
        self.endpoint.submit(frame)
    }

    /// Like [`submit`](Self::submit), without a copy; the frame gets a new id.
    ///
    /// # Errors
    ///
    /// `Closed` for a session that was stopped.
    pub fn submit_frame(&self, frame: Frame) -> Result<FrameId> {
        self.endpoint.submit_frame(frame)
    }

    /// Takes the newest picture, unless it was taken already.
    pub fn poll(&self) -> Option<Picture> {
        self.endpoint.outbox.take()
    }

    /// Waits for the next picture; `None` after `timeout`, and once the session has ended.
    pub fn wait(&self, timeout: Duration) -> Option<Picture> {
        let ready = || match self.poll() {
            None if self.endpoint.phase() == Phase::Ended => Some(self.poll()),
            None => None,
            picture => Some(picture),
        };
        self.endpoint.event_log.news.wait_until(Instant::now().checked_add(timeout), ready).flatten()
    }

    /// Waits until [`poll`](Self::poll) has a picture, and does not take it. Returns false after `timeout`, and once the
    /// session has ended without one.
    pub fn wait_ready(&self, timeout: Duration) -> bool {
        let is_ready = || !self.endpoint.outbox.is_empty();
        let ready = || match is_ready() {
            false if self.endpoint.phase() == Phase::Ended => Some(is_ready()),
            false => None,
            true => Some(true),
        };
        self.endpoint.event_log.news.wait_until(Instant::now().checked_add(timeout), ready).unwrap_or(false)
    }

    /// Changes parameters. The patch is checked now, prepared on another thread, and applied between two frames, as a
    /// whole.
    ///
    /// The ticket's version is part of the events about it, and of the pictures made since it was applied.
    ///
    /// # Errors
    ///
    /// `InvalidParams` with every violation, `Unsupported`, `Closed`; nothing has changed then. A later error, such as
    /// a missing model, is reported by [`Event::UpdateRejected`](super::Event::UpdateRejected).
    pub fn update(&self, patch: &ParamsPatch) -> Result<Ticket> {
        self.queue.update(|desired| {
            let (params, notices) = patch.merge(desired)?;
            self.check(&params)?;
            Ok((params, notices))
        })
    }

    /// Changes parameters in place, by the same rules as [`update`](Self::update).
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use dreamframe::{Cost, Engine, Outcome, SessionOptions, StreamDiffusionParams};
    ///
    /// # fn main() -> dreamframe::Result<()> {
    /// let params = StreamDiffusionParams { width: 64, height: 64, ..StreamDiffusionParams::demo() };
    /// let session = Engine::builder().params(params).build()?.start(SessionOptions::default())?;
    /// let handle = session.handle();
    /// let ticket = handle.edit(|params| params.seed = 42.into())?;
    /// assert_eq!(ticket.cost, Some(Cost::Recompute));
    /// let outcome = handle.wait_for(&ticket, Duration::from_secs(60))?;
    /// assert!(matches!(outcome, Outcome::Applied));
    /// assert_eq!(handle.active_version(), ticket.version);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of `update`.
    pub fn edit(&self, change: impl FnOnce(&mut StreamDiffusionParams)) -> Result<Ticket> {
        let before = self.params();
        let mut after = before.clone();
        change(&mut after);
        self.queue.update(|desired| {
            // Another thread may have changed something since.
            let params = rebase(&before, &after, desired).params;
            params.validate()?;
            self.check(&params)?;
            Ok((params, Vec::new()))
        })
    }

    /// Sets the image of `external` processors, as [`Engine::set_external_image`](crate::Engine::set_external_image): from
    /// the next frame on. Waits for neither a frame nor a model. The image stays when the session ends.
    ///
    /// # Errors
    ///
    /// Those of the engine's method, and `Closed` for a session that was stopped.
    pub fn set_external_image(&self, controlnet: Option<&str>, image: &FrameView<'_>) -> Result<()> {
        self.endpoint.check_running()?;
        self.preparer.external().set(controlnet, image)
    }

    /// Removes the image that [`set_external_image`](Self::set_external_image) set for `controlnet`, if there is one.
    ///
    /// # Errors
    ///
    /// `Closed` for a session that was stopped.
    pub fn clear_external_image(&self, controlnet: Option<&str>) -> Result<()> {
        self.endpoint.check_running()?;
        self.preparer.external().clear(controlnet);
        Ok(())
    }

    /// Sets the style image of the IP-Adapter: the parameter `ip_adapter_style_image_url`, by
    /// [`style_pixels_uri`](crate::style_pixels_uri), which takes some milliseconds on the calling thread. The image is
    /// encoded on another thread; of several that wait, only the last one is.
    ///
    /// # Errors
    ///
    /// Those of `style_pixels_uri` and [`update`](Self::update).
    pub fn set_style_image(&self, image: &FrameView<'_>) -> Result<Ticket> {
        let uri = style_pixels_uri(image)?;
        self.edit(|params| params.ip_adapter_style_image_url = uri.into())
    }

    /// Changes the prompt gradually: each picture from the one at which the update is applied is a step further. Steps
    /// are prepared on another thread; if one is late, its picture repeats the step before. The parameter `prompt` is
    /// the target from now on, by the same rules as [`update`](Self::update). Another prompt ends the transition at
    /// once; another transition starts from the current blend.
    ///
    /// # Errors
    ///
    /// Those of `update`.
    pub fn transition(&self, transition: &Transition) -> Result<Ticket> {
        self.queue.transition(transition, |params| {
            params.validate()?;
            self.check(params)
        })
    }

    fn check(&self, params: &StreamDiffusionParams) -> Result<()> {
        self.preparer.check(self.queue.planned().snapshot.as_ref(), params)
    }

    /// Returns what `patch` would change, and the cost; changes nothing.
    ///
    /// # Errors
    ///
    /// `InvalidParams` with every violation; `InvalidArgument` while a pipeline was released and the next one is not
    /// built yet.
    pub fn plan(&self, patch: &ParamsPatch) -> Result<Plan> {
        let (_, desired) = self.queue.desired();
        let (params, notices) = patch.merge(&desired)?;
        let planned = self.queue.planned();
        let base = planned.snapshot.as_ref().ok_or_else(|| {
            Error::new(
                ErrorKind::InvalidArgument,
                "the session has no pipeline now; repeat the call when the next one is built",
            )
        })?;
        self.preparer.plan(base, rebase(&desired, &params, &planned.params).params, notices)
    }

    /// Returns the changes from `old` to `new`, like [`params::diff`](crate::params::diff), with the costs for this
    /// session: a change of the scales of LoRAs with live branches ([`LoraMode`](crate::LoraMode)) costs less.
    pub fn diff(&self, old: &StreamDiffusionParams, new: &StreamDiffusionParams) -> Vec<Change> {
        self.queue.diff(old, new)
    }

    /// Returns the desired parameters: with all accepted updates, without those that were rejected since.
    pub fn params(&self) -> StreamDiffusionParams {
        (*self.queue.desired().1).clone()
    }

    /// Returns the version of the newest applied update; 0 before the first.
    pub fn active_version(&self) -> u64 {
        self.endpoint.event_log.active()
    }

    /// Waits until the update of `ticket` is applied, superseded or rejected.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use dreamframe::{Engine, ErrorKind, Outcome, ParamsPatch, SessionOptions, StreamDiffusionParams};
    ///
    /// # fn main() -> dreamframe::Result<()> {
    /// let params = StreamDiffusionParams { width: 64, height: 64, ..StreamDiffusionParams::demo() };
    /// let session = Engine::builder().params(params).build()?.start(SessionOptions::default())?;
    /// let handle = session.handle();
    /// // The patch is valid and accepted; the file turns out to be missing when it is loaded.
    /// let ticket = handle.update(&ParamsPatch::from_json(r#"{"lora_dict": {"example/missing": 1.0}}"#)?)?;
    /// let Outcome::Rejected(error) = handle.wait_for(&ticket, Duration::from_secs(60))? else { panic!() };
    /// assert_eq!(error.kind(), ErrorKind::NotFound);
    /// assert!(handle.params().lora_dict.is_empty());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// `Timeout`; `Closed` if the session ends first; `InvalidArgument` if more than a thousand updates have ended
    /// since.
    pub fn wait_for(&self, ticket: &Ticket, timeout: Duration) -> Result<Outcome> {
        self.wait_for_version(ticket.version, timeout)
    }

    /// Like [`wait_for`](Self::wait_for), given only the ticket's version.
    ///
    /// # Errors
    ///
    /// Those of `wait_for`.
    pub fn wait_for_version(&self, version: u64, timeout: Duration) -> Result<Outcome> {
        let event_log = &self.endpoint.event_log;
        let ended = || match event_log.end(version) {
            Ok(None) if self.endpoint.phase() == Phase::Ended => Some(event_log.end(version)),
            Ok(None) => None,
            ended => Some(ended),
        };
        let error = |kind: ErrorKind, text: &str| Err(Error::new(kind, format!("update {version} {text}")));
        match event_log.news.wait_until(Instant::now().checked_add(timeout), ended) {
            None => error(ErrorKind::Timeout, &format!("has not ended within {} ms", timeout.as_millis())),
            Some(Ok(None)) => error(ErrorKind::Closed, "was not applied before the session ended"),
            Some(Err(Forgotten)) => error(ErrorKind::InvalidArgument, "is too old; its outcome is no longer stored"),
            Some(Ok(Some(End::Applied))) => Ok(Outcome::Applied),
            Some(Ok(Some(End::Superseded))) => Ok(Outcome::Superseded),
            Some(Ok(Some(End::Rejected))) => {
                let forgotten = || Arc::new(Error::new(ErrorKind::InvalidParams, "the reason is no longer stored"));
                Ok(Outcome::Rejected(self.queue.refusal(version).unwrap_or_else(forgotten)))
            }
        }
    }

    /// Returns a receiver of the session's events.
    pub fn events(&self) -> Events {
        Events { event_log: self.endpoint.event_log.clone() }
    }

    /// Returns statistics of the session.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use dreamframe::{Engine, FrameView, PixelFormat, SessionOptions, StreamDiffusionParams};
    ///
    /// # fn main() -> dreamframe::Result<()> {
    /// let params = StreamDiffusionParams { width: 64, height: 64, ..StreamDiffusionParams::demo() };
    /// let session = Engine::builder().params(params).build()?.start(SessionOptions::default())?;
    /// let handle = session.handle();
    /// let pixels = vec![127_u8; 64 * 64 * 3];
    /// handle.submit(&FrameView::packed(PixelFormat::Rgb8, 64, 64, &pixels)?)?;
    /// session.stop(Duration::from_secs(60))?;
    /// let stats = handle.stats();
    /// assert_eq!((stats.submitted.total, stats.computed.total, stats.dropped.total), (1, 1, 0));
    /// assert!(stats.stages.iter().any(|stage| stage.name == "unet" && stage.micros.n == 1));
    /// # Ok(())
    /// # }
    /// ```
    pub fn stats(&self) -> Stats {
        let (counters, now) = (&self.endpoint.counters, Instant::now());
        let (waiting_updates, waiting_loads) = self.queue.waiting();
        Stats {
            submitted: counters.submitted.rate(now),
            dropped: counters.dropped.rate(now),
            computed: counters.computed.rate(now),
            skipped: counters.skipped.rate(now),
            passed: counters.passed.rate(now),
            repeated: counters.repeated.rate(now),
            failed: counters.failed.rate(now),
            unseen: counters.unseen.rate(now),
            interpolated: counters.interpolated.rate(now),
            stages: counters.stages(),
            waiting_frames: usize::from(!self.endpoint.inbox.is_empty()),
            waiting_updates,
            waiting_loads,
            transition: self.queue.progress(),
            desired_version: self.queue.desired().0,
            active_version: self.active_version(),
            lost_events: self.endpoint.event_log.lost_events(),
        }
    }

    /// Returns for how long the session's thread has processed the current frame, its callback included unless pictures
    /// are interpolated; `None` between frames. A host that restarts sessions which hang finds them by it: dropping such a session waits for the frame, so
    /// that another thread should do it.
    pub fn frame_time(&self) -> Option<Duration> {
        self.endpoint.frame_time()
    }

    /// Returns true while the session accepts frames.
    pub fn is_running(&self) -> bool {
        self.endpoint.phase() == Phase::Running
    }
}
