//! Routes the frames of a stream's publisher to its session, while there is one and it is not paused.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use dreamframe::frame::FrameView;
use dreamframe::telemetry::RecentTimes;
use dreamframe::transport::{Egress, FrameSink, now};
use dreamframe::{Frame, Picture, PictureCallback, PictureKind, SessionHandle};

use super::rate_meter::RateMeter;
use crate::adapt::FrameTime;

/// Routes a stream's frames and pictures; independent of the session, which may be replaced.
#[derive(Debug, Default)]
pub(crate) struct FrameRouter {
    /// Frames received.
    pub(crate) input: RateMeter,
    /// New pictures: restyled frames, and frames passed through.
    pub(crate) output: RateMeter,
    /// From a frame's arrival to its picture.
    delays: RecentTimes,
    /// The engine's time of a frame, and that of the UNet in it, at the current size.
    totals: RecentTimes,
    unets: RecentTimes,
    /// Width and height of the last picture, 32 bits each.
    size: AtomicU64,
    /// Pictures that were shown again, because their frames were similar, failed, or there was no pipeline.
    pub(crate) repeated: RateMeter,
    /// Pictures that the safety checker replaced.
    pub(crate) flagged: RateMeter,
    /// Pictures interpolated between two others.
    pub(crate) interpolated: RateMeter,
    /// All of these.
    pub(crate) shown: RateMeter,
    /// Whether the newest picture was replaced by the safety checker.
    is_flagged: AtomicBool,
    paused: AtomicBool,
    /// Numbers sessions; the pictures of the newest are shown.
    sessions: AtomicU64,
    // Frames must not wait: the lock is held only while a session is attached or detached.
    session: RwLock<Option<SessionHandle>>,
    /// The newest picture.
    latest: Mutex<Option<Picture>>,
    /// The reason why the publisher's video is refused, until it is reported.
    refusal: Mutex<Option<String>>,
}

impl FrameSink for FrameRouter {
    fn frame(&self, frame: &FrameView<'_>) {
        self.input.count();
        if self.paused.load(Ordering::Relaxed) {
            return;
        }
        if let Ok(session) = self.session.try_read()
            && let Some(session) = session.as_ref()
        {
            // An ended session accepts no frames; its end is reported elsewhere.
            let _ = session.submit(frame);
        }
    }

    fn refused(&self, error: &dreamframe::Error) {
        *self.refusal.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string());
    }
}

impl FrameRouter {
    /// Sends frames to `session`, or discards them; then pictures of the last one, which may come late, are not shown.
    pub(crate) fn attach(&self, session: Option<SessionHandle>) {
        if session.is_none() {
            self.sessions.fetch_add(1, Ordering::Relaxed);
        }
        *self.session.write().unwrap_or_else(PoisonError::into_inner) = session;
    }

    /// Pauses frames; the last picture stays.
    pub(crate) fn set_paused(&self, paused: bool) {
        self.paused.store(paused, Ordering::Relaxed);
    }

    /// Returns the callback for pictures of a new session, on its thread: it counts them, shows them, and keeps the newest.
    /// It owns `life` until the session has ended.
    pub(crate) fn picture_callback(
        self: &Arc<Self>,
        egress: &Egress,
        life: Arc<impl Send + Sync + 'static>,
    ) -> PictureCallback {
        let (frames, egress) = (self.clone(), egress.clone());
        let number = self.sessions.fetch_add(1, Ordering::Relaxed) + 1;
        Box::new(move |session, _| {
            let _ = &life;
            let Some(picture) = session.poll() else { return };
            // Another session has taken its place, or will.
            if frames.sessions.load(Ordering::Relaxed) != number {
                return;
            }
            frames.count(picture.kind);
            frames.delays.add(now().since(picture.frame.timestamp()));
            frames.measure(&picture);
            egress.show(&picture.frame.view());
            // If a reader is copying the last picture, it keeps that. Again, since the session may have been released
            // meanwhile: `forget` comes after `attach`, so that nothing is kept after it.
            if let Ok(mut latest) = frames.latest.try_lock()
                && frames.sessions.load(Ordering::Relaxed) == number
            {
                *latest = Some(picture);
            }
        })
    }

    /// Records the times of a picture, if it is new.
    fn measure(&self, picture: &Picture) {
        if picture.kind != PictureKind::New {
            return;
        }
        let size = u64::from(picture.frame.width()) << 32 | u64::from(picture.frame.height());
        if self.size.swap(size, Ordering::Relaxed) != size {
            self.forget_times();
        }
        self.totals.add(Duration::from_micros(picture.timings.total));
        self.unets.add(Duration::from_micros(picture.timings.unet));
    }

    /// Returns the median time of a frame in the engine, once there are pictures.
    pub(super) fn frame_time(&self) -> Option<FrameTime> {
        Some(FrameTime { total: self.totals.median()?, unet: self.unets.median()? })
    }

    /// Forgets the times of frames: those that follow are others.
    pub(super) fn forget_times(&self) {
        self.totals.clear();
        self.unets.clear();
    }

    fn count(&self, kind: PictureKind) {
        self.shown.count();
        if kind != PictureKind::Interpolated {
            self.is_flagged.store(kind == PictureKind::Flagged, Ordering::Relaxed);
        }
        match kind {
            PictureKind::Repeated => self.repeated.count(),
            PictureKind::Flagged => self.flagged.count(),
            PictureKind::Interpolated => self.interpolated.count(),
            PictureKind::New | PictureKind::Passed | _ => self.output.count(),
        }
    }

    /// Whether the newest picture was replaced by the safety checker.
    pub(crate) fn was_censored(&self) -> bool {
        self.is_flagged.load(Ordering::Relaxed)
    }

    /// Removes and returns the reason why the publisher's video is refused, if it was not reported yet.
    pub(crate) fn take_refusal(&self) -> Option<String> {
        self.refusal.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Returns the median latency of the last pictures, from the arrival of a frame to its picture.
    pub(crate) fn latency(&self) -> Option<Duration> {
        self.delays.median()
    }

    /// Copies the newest picture.
    pub(crate) fn snapshot(&self) -> Option<Frame> {
        let latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        let picture = latest.as_ref()?;
        let frame = &picture.frame;
        Frame::from_packed(frame.format(), frame.width(), frame.height(), frame.pixels().to_vec()).ok()
    }

    /// Whether there has been a picture.
    pub(crate) fn has_picture(&self) -> bool {
        self.shown.total() > 0
    }

    /// Drops the newest picture, with its session.
    pub(crate) fn forget(&self) {
        *self.latest.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_new_pictures_count_as_output_and_others_are_counted_apart() {
        let frames = FrameRouter::default();
        assert!(!frames.has_picture() && !frames.was_censored());
        for kind in [PictureKind::New, PictureKind::Repeated, PictureKind::Passed, PictureKind::Flagged] {
            frames.count(kind);
        }
        let totals = [&frames.output, &frames.repeated, &frames.flagged, &frames.shown].map(RateMeter::total);
        assert_eq!(totals, [2, 1, 1, 4]);
        assert!(frames.has_picture() && frames.was_censored());
        frames.count(PictureKind::Interpolated);
        assert_eq!((frames.interpolated.total(), frames.output.total(), frames.shown.total()), (1, 2, 5));
        assert!(frames.was_censored(), "only pictures that were made say that");
        frames.count(PictureKind::Repeated);
        assert!(!frames.was_censored());
    }
}
