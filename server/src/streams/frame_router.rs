//! Routes the frames of a stream's publisher to its session, while there is one and it is not paused.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::Duration;

use dreamframe::frame::FrameView;
use dreamframe::transport::{Egress, FrameSink, now};
use dreamframe::{Frame, Picture, PictureCallback, SessionHandle};

use super::rate_meter::RateMeter;

/// Routes a stream's frames and pictures; independent of the session, which may be replaced.
#[derive(Debug, Default)]
pub(crate) struct FrameRouter {
    /// Frames received.
    pub(crate) input: RateMeter,
    /// Pictures made.
    pub(crate) output: RateMeter,
    /// Nanoseconds from a frame's arrival to its picture, smoothed; 0 before the first.
    delay: AtomicU64,
    paused: AtomicBool,
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
    /// Sends frames to `session`, or discards them.
    pub(crate) fn attach(&self, session: Option<SessionHandle>) {
        *self.session.write().unwrap_or_else(PoisonError::into_inner) = session;
    }

    /// Pauses frames; the last picture stays.
    pub(crate) fn set_paused(&self, paused: bool) {
        self.paused.store(paused, Ordering::Relaxed);
    }

    /// Returns the callback for pictures of a session, on its thread: it counts them, shows them, and keeps the newest.
    pub(crate) fn picture_callback(self: &std::sync::Arc<Self>, egress: &Egress) -> PictureCallback {
        let (frames, egress) = (self.clone(), egress.clone());
        Box::new(move |session, _| {
            let Some(picture) = session.poll() else { return };
            frames.output.count();
            frames.took(now().since(picture.frame.timestamp()));
            egress.show(&picture.frame.view());
            // If a reader is copying the last picture, it keeps that.
            if let Ok(mut latest) = frames.latest.try_lock() {
                *latest = Some(picture);
            }
        })
    }

    /// Removes and returns the reason why the publisher's video is refused, if it was not reported yet.
    pub(crate) fn take_refusal(&self) -> Option<String> {
        self.refusal.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Returns the recent latency from a frame to its picture.
    pub(crate) fn latency(&self) -> Option<Duration> {
        Some(self.delay.load(Ordering::Relaxed)).filter(|nanos| *nanos > 0).map(Duration::from_nanos)
    }

    fn took(&self, delay: Duration) {
        let fresh = u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX);
        // Written by the session's thread only.
        let old = self.delay.load(Ordering::Relaxed);
        let smooth = if old == 0 { fresh } else { old - old / 8 + fresh / 8 };
        self.delay.store(smooth, Ordering::Relaxed);
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
        self.output.total() > 0
    }

    /// Drops the newest picture, with its session.
    pub(crate) fn forget(&self) {
        *self.latest.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}
