//! Pictures to viewers: encoded once for each codec that a viewer uses.

mod encoder_session;
#[cfg(test)]
mod tests;
mod timing;
mod worker;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::Serialize;

use self::encoder_session::{CodecOutput, EncoderSession, Shared};
use self::worker::Worker;
use super::fanout::Cursor;
use super::media::{AccessUnit, VideoCodec, now};
use crate::Result;
use crate::frame::FrameView;
use crate::session::PictureCallback;
use crate::setters::setters;
use crate::telemetry::Rate;

/// Options of an [`Egress`].
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct EgressOptions {
    /// The target bit rate of the encoder in bit/s, until [`Egress::set_bitrate`] changes it.
    pub bitrate: u32,
    /// The maximum of `set_bitrate`, in bit/s.
    pub max_bitrate: u32,
    /// The expected maximum of pictures per second; the encoder distributes bits by it until it has measured the rate.
    pub frame_rate: f32,
    /// The interval of key frames without requests.
    pub key_frame_interval: Duration,
}

setters! {
    EgressOptions:
    with_bitrate, bitrate: u32;
    with_max_bitrate, max_bitrate: u32;
    with_frame_rate, frame_rate: f32;
    with_key_frame_interval, key_frame_interval: Duration;
}

impl Default for EgressOptions {
    fn default() -> Self {
        Self {
            bitrate: 3_000_000,
            max_bitrate: 6_000_000,
            frame_rate: 30.0,
            key_frame_interval: Duration::from_secs(10),
        }
    }
}

/// Shows pictures to all viewers.
///
/// Clones share it; subscriptions end when the last is dropped. An encoder runs, on a thread of its own, while a
/// viewer watches in its codec.
///
/// ```
/// use dreamframe::transport::{Egress, EgressOptions};
/// use dreamframe::{FrameView, PixelFormat};
///
/// # fn main() -> dreamframe::Result<()> {
/// let mut options = EgressOptions::default();
/// options.bitrate = 2_000_000;
/// let egress = Egress::new(options);
/// let pixels = vec![127_u8; 64 * 64 * 4];
/// egress.show(&FrameView::packed(PixelFormat::Rgba8, 64, 64, &pixels)?);
/// // Without viewers, nothing is encoded.
/// assert_eq!(egress.stats().shown.total, 1);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Egress {
    hold: Arc<HandleGuard>,
}

/// Statistics of an [`Egress`], for all codecs together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct EgressStats {
    /// The number of viewers.
    pub viewers: usize,
    /// Pictures that were shown, watched or not.
    pub shown: Rate,
    /// Pictures that were encoded.
    pub encoded: Rate,
    /// The number of key frames among them.
    pub key_frames: u64,
    /// Pictures that newer ones replaced before they were encoded.
    pub dropped: u64,
    /// Pictures that the encoder left out to keep to the bitrate.
    pub skipped: u64,
    /// Pictures that could not be encoded.
    pub failed: u64,
    /// Bytes that were encoded.
    pub bytes: u64,
    /// The target bit rate of the encoder, in bit/s.
    pub bitrate: u32,
    /// The mean time of converting and encoding the last pictures, in milliseconds.
    pub encode_ms: f64,
    /// The median time from a frame to the encoding of its picture, of the last pictures, in milliseconds; 0 before the
    /// first.
    pub age_ms: f64,
    /// The last encoded picture's width in pixels; 0 before the first.
    pub width: u32,
    /// The last encoded picture's height in pixels; 0 before the first.
    pub height: u32,
}

/// The encoded pictures of one viewer, until this is dropped.
#[derive(Debug)]
pub struct Subscription {
    cursor: Cursor<AccessUnit>,
    run: Arc<EncoderSession>,
    shared: Arc<Shared>,
}

impl Egress {
    /// Creates an egress without viewers.
    pub fn new(options: EgressOptions) -> Self {
        Self { hold: Arc::new(HandleGuard { shared: Arc::new(Shared::new(options)) }) }
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.hold.shared
    }

    /// Shows a picture: copies it if there are viewers, without waiting. It replaces one that is not encoded yet. Without
    /// viewers, one is copied every second, for a viewer that connects when no more are shown.
    ///
    /// Its timestamp is on the clock of [`now`](super::now), or 0 if it is unknown.
    pub fn show(&self, picture: &FrameView<'_>) {
        let shared = self.shared();
        shared.counters.shown.mark(Instant::now());
        let watched =
            shared.outputs.iter().filter_map(CodecOutput::run).map(|run| run.show(picture, &shared.counters)).count();
        if watched == 0 {
            shared.kept.keep(picture, now());
        }
    }

    /// Returns a callback that shows every picture of a session, for
    /// [`SessionOptions::on_picture`](crate::SessionOptions::on_picture).
    ///
    /// It polls the session, so other callers do not get those pictures.
    pub fn picture_callback(&self) -> PictureCallback {
        let egress = self.clone();
        Box::new(move |session, _| {
            if let Some(picture) = session.poll() {
                egress.show(&picture.frame.view());
            }
        })
    }

    /// Subscribes: the first unit is a key frame, of the last picture if there is no new one. A picture that stays is
    /// repeated every two seconds, so that a viewer that lost it notices.
    ///
    /// # Errors
    ///
    /// `Unsupported` for a codec that is not built in, `Device` if no thread can be started.
    pub fn subscribe(&self, codec: VideoCodec) -> Result<Subscription> {
        let run = CodecOutput::enter(self.shared(), codec, |run| Worker::start(self.shared(), run))?;
        let cursor = run.units.subscribe(is_key);
        if cursor.needs_start() {
            run.want_key();
        }
        Ok(Subscription { cursor, run, shared: self.shared().clone() })
    }

    /// Requests a key frame, of the last picture if there is no new one; there is at most one in 500 ms on demand.
    pub fn request_key_frame(&self, codec: VideoCodec) {
        if let Some(run) = self.shared().output(codec).run() {
            run.want_key();
        }
    }

    /// Sets the target bit rate of the encoders in bit/s, up to [`EgressOptions::max_bitrate`].
    pub fn set_bitrate(&self, bits_per_second: u32) {
        let shared = self.shared();
        shared.bitrate.store(bits_per_second.min(shared.options.max_bitrate), Ordering::Relaxed);
    }

    /// Returns a function that returns the median time from a frame to the encoding of its picture, of the last pictures; 0
    /// before the first. It does not keep the egress open.
    pub(crate) fn age(&self) -> impl Fn() -> Duration + Send + 'static {
        let shared = self.shared().clone();
        move || shared.counters.age.median().unwrap_or_default()
    }

    /// Returns the number of viewers.
    pub fn viewers(&self) -> usize {
        self.shared().outputs.iter().map(CodecOutput::viewers).sum()
    }

    /// Returns the statistics.
    pub fn stats(&self) -> EgressStats {
        let (counters, now) = (&self.shared().counters, Instant::now());
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let size = count(&counters.size);
        EgressStats {
            viewers: self.viewers(),
            shown: counters.shown.rate(now),
            encoded: counters.encoded.rate(now),
            key_frames: count(&counters.key_frames),
            dropped: count(&counters.dropped),
            skipped: count(&counters.skipped),
            failed: count(&counters.failed),
            bytes: count(&counters.bytes),
            bitrate: self.shared().bitrate.load(Ordering::Relaxed),
            encode_ms: f64::from_bits(count(&counters.encode_ms)),
            age_ms: counters.age.median().unwrap_or_default().as_secs_f64() * 1000.0,
            width: (size >> 32) as u32,
            height: size as u32,
        }
    }
}

impl Subscription {
    /// Waits for the next unit; `None` when the egress is dropped. A slow viewer loses the units before the next key
    /// frame.
    pub async fn next(&mut self) -> Option<AccessUnit> {
        self.cursor.next(is_key, || self.run.want_key()).await
    }

    /// Like [`next`](Self::next), for threads that may block; `None` after `timeout` too.
    pub fn next_within(&mut self, timeout: Duration) -> Option<AccessUnit> {
        self.cursor.next_within(timeout, is_key, || self.run.want_key())
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.shared.output(self.run.codec).leave();
    }
}

fn is_key(unit: &AccessUnit) -> bool {
    unit.key
}

/// Ends the subscriptions with the last handle.
#[derive(Debug)]
struct HandleGuard {
    shared: Arc<Shared>,
}

impl Drop for HandleGuard {
    fn drop(&mut self) {
        self.shared.outputs.iter().for_each(CodecOutput::end);
    }
}
