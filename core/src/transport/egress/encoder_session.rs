//! The state that the viewers of one codec and the thread that encodes for them share.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::EgressOptions;
use crate::Result;
use crate::frame::{Frame, FramePool, FrameView, Timestamp};
use crate::sync::latest_slot::LatestSlot;
use crate::sync::notifier::Notifier;
use crate::telemetry::{Meter, RecentTimes};
use crate::transport::fanout::Fanout;
use crate::transport::media::{AccessUnit, VideoCodec, now};

/// Capacity of a slow viewer's queue, in units.
const ROOM: usize = 8;

/// The shortest interval of copies without viewers, in nanoseconds.
const KEEP_INTERVAL: u64 = 1_000_000_000;

/// Number of pooled pictures: being copied, waiting, being encoded, and kept for later viewers.
const POOLED: usize = 4;

/// State shared by an egress, its subscriptions and its threads.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) options: EgressOptions,
    pub(super) bitrate: AtomicU32,
    pub(super) outputs: [CodecOutput; 2],
    pub(super) counters: Counters,
    pub(super) kept: RecentPicture,
}

/// A recent picture without viewers, for a viewer that connects when no more are shown.
#[derive(Debug)]
pub(super) struct RecentPicture {
    picture: LatestSlot<Frame>,
    /// When the next one may be copied.
    due: AtomicU64,
    pool: FramePool,
}

impl RecentPicture {
    fn new() -> Self {
        Self { picture: LatestSlot::new(), due: AtomicU64::new(0), pool: FramePool::new(2) }
    }

    /// Keeps a copy of a picture shown at `now` without viewers, at most once per second.
    pub(super) fn keep(&self, picture: &FrameView<'_>, now: Timestamp) {
        let is_due = |due: u64| (due <= now.0).then_some(now.0.saturating_add(KEEP_INTERVAL));
        if self.due.fetch_update(Ordering::Relaxed, Ordering::Relaxed, is_due).is_ok() {
            // A lack of memory is reported to viewers.
            let _ = self.pool.copy(picture).map(|frame| self.picture.put(frame));
        }
    }

    /// Stores the last picture that was encoded.
    pub(super) fn put(&self, picture: Frame) {
        self.picture.put(picture);
    }

    /// Passes it to the first viewer; it stays stored.
    fn show(&self, run: &EncoderSession, counters: &Counters) {
        if let Some(picture) = self.picture.take() {
            run.show(&picture.view(), counters);
            self.picture.put(picture);
        }
    }
}

impl Shared {
    pub(super) fn new(options: EgressOptions) -> Self {
        Self {
            options,
            bitrate: AtomicU32::new(options.bitrate.min(options.max_bitrate)),
            outputs: [CodecOutput::default(), CodecOutput::default()],
            counters: Counters::new(),
            kept: RecentPicture::new(),
        }
    }

    /// Returns the one for a codec.
    pub(super) fn output(&self, codec: VideoCodec) -> &CodecOutput {
        let [h264, vp8] = &self.outputs;
        match codec {
            VideoCodec::H264 => h264,
            VideoCodec::Vp8 => vp8,
        }
    }
}

#[derive(Debug)]
pub(super) struct Counters {
    pub(super) shown: Meter,
    pub(super) encoded: Meter,
    pub(super) key_frames: AtomicU64,
    pub(super) dropped: AtomicU64,
    pub(super) skipped: AtomicU64,
    pub(super) failed: AtomicU64,
    pub(super) bytes: AtomicU64,
    /// The bits of an `f64`.
    pub(super) encode_ms: AtomicU64,
    /// Width and height, 32 bits each.
    pub(super) size: AtomicU64,
    /// From the frames to the encoding of their pictures.
    pub(super) age: RecentTimes,
}

impl Counters {
    fn new() -> Self {
        let (start, zero) = (Instant::now(), AtomicU64::default);
        Self {
            shown: Meter::new(start),
            encoded: Meter::new(start),
            key_frames: zero(),
            dropped: zero(),
            skipped: zero(),
            failed: zero(),
            bytes: zero(),
            encode_ms: zero(),
            size: zero(),
            age: RecentTimes::default(),
        }
    }
}

/// The viewers of one codec.
#[derive(Debug, Default)]
pub(super) struct CodecOutput {
    /// Held while an encoder starts and ends. Callers that show pictures never take it.
    entrance: Mutex<()>,
    viewers: AtomicUsize,
    /// Held while a pointer is copied or stored.
    run: Mutex<Option<Arc<EncoderSession>>>,
}

/// A poisoned lock is fine: the data stays consistent.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl CodecOutput {
    pub(super) fn viewers(&self) -> usize {
        self.viewers.load(Ordering::Acquire)
    }

    /// Returns the encoder, if there is a viewer.
    pub(super) fn run(&self) -> Option<Arc<EncoderSession>> {
        if self.viewers() == 0 {
            return None;
        }
        lock(&self.run).clone()
    }

    /// Adds a viewer; the first starts the encoder with `start`.
    ///
    /// # Errors
    ///
    /// Errors of `start`.
    pub(super) fn enter(
        shared: &Shared,
        codec: VideoCodec,
        start: impl FnOnce(&Arc<EncoderSession>) -> Result<()>,
    ) -> Result<Arc<EncoderSession>> {
        let output = shared.output(codec);
        let _entrance = lock(&output.entrance);
        let run = match output.run() {
            Some(run) => run,
            None => {
                let run = Arc::new(EncoderSession::new(codec));
                start(&run)?;
                shared.kept.show(&run, &shared.counters);
                *lock(&output.run) = Some(run.clone());
                run
            }
        };
        output.viewers.fetch_add(1, Ordering::AcqRel);
        Ok(run)
    }

    /// Removes a viewer; the last ends the encoder.
    pub(super) fn leave(&self) {
        let _entrance = lock(&self.entrance);
        if self.viewers.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.end();
        }
    }

    /// Ends the encoder, if there is one.
    pub(super) fn end(&self) {
        let run = lock(&self.run).take();
        if let Some(run) = run {
            run.close();
        }
    }
}

/// The state that callers, the encoder and viewers share, from the first viewer to the last.
#[derive(Debug)]
pub(super) struct EncoderSession {
    pub(super) codec: VideoCodec,
    pub(super) units: Arc<Fanout<AccessUnit>>,
    /// Notified for the encoding thread.
    pub(super) notifier: Notifier,
    pub(super) pictures: LatestSlot<Frame>,
    pool: FramePool,
    key_wanted: AtomicBool,
    closed: AtomicBool,
}

impl EncoderSession {
    fn new(codec: VideoCodec) -> Self {
        Self {
            codec,
            units: Arc::new(Fanout::new(ROOM)),
            notifier: Notifier::new(),
            pictures: LatestSlot::new(),
            pool: FramePool::new(POOLED),
            key_wanted: AtomicBool::new(false),
            closed: AtomicBool::new(false),
        }
    }

    /// Copies a picture for the encoder.
    pub(super) fn show(&self, picture: &FrameView<'_>, counters: &Counters) {
        let Ok(mut frame) = self.pool.copy(picture) else {
            counters.failed.fetch_add(1, Ordering::Relaxed);
            return;
        };
        if frame.timestamp() == Timestamp::default() {
            frame.set_timestamp(now());
        }
        if self.pictures.put(frame).is_some() {
            counters.dropped.fetch_add(1, Ordering::Relaxed);
        }
        self.notifier.notify();
    }

    /// Requests a key frame.
    pub(super) fn want_key(&self) {
        self.key_wanted.store(true, Ordering::Release);
        self.notifier.notify();
    }

    pub(super) fn is_key_wanted(&self) -> bool {
        self.key_wanted.load(Ordering::Acquire)
    }

    /// Resets the request, and returns whether there was one.
    pub(super) fn take_key_request(&self) -> bool {
        self.key_wanted.swap(false, Ordering::AcqRel)
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.notifier.notify();
        self.units.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::testing::{at, numbered};

    #[test]
    fn of_pictures_without_viewers_one_a_second_is_kept() {
        const MS: u64 = 1_000_000;
        let kept = RecentPicture::new();
        for (ms, expected) in [(5, 5), (6, 5), (1004, 5), (1005, 1005), (2004, 1005), (9000, 9000)] {
            kept.keep(&at(numbered(1, 128, 96), ms).view(), Timestamp(ms * MS));
            let picture = kept.picture.take().unwrap();
            assert_eq!(picture.timestamp(), Timestamp(expected * MS), "at {ms} ms");
            kept.put(picture);
        }
    }
}
