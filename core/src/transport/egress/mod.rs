//! Pictures to all who watch: encoded once for each codec that somebody wants.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use super::media::{AccessUnit, VideoCodec};
use crate::Result;
use crate::frame::FrameView;
use crate::session::PictureCallback;
use crate::telemetry::Rate;

/// What a host chooses when it makes an [`Egress`].
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct EgressOptions {
    /// Bits in a second that the encoder aims at, until [`Egress::set_bitrate`] says otherwise.
    pub bitrate: u32,
    /// The most that `set_bitrate` may ask for.
    pub max_bitrate: u32,
    /// Pictures in a second that are hardly ever exceeded; the encoder plans its bits by them until it has seen some.
    pub frame_rate: f32,
    /// After how long a key frame comes although nobody has asked for one.
    pub key_frame_interval: Duration,
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

/// Shows pictures to all who watch.
///
/// Clones are the same; subscriptions end when the last is dropped. An encoder runs, on a thread of its own, while somebody
/// watches in its codec.
#[derive(Debug, Clone)]
pub struct Egress {
    options: EgressOptions,
    shared: Arc<Notify>,
}

/// What an [`Egress`] has done so far, for all codecs together.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
#[non_exhaustive]
pub struct EgressStats {
    /// Who watches now.
    pub viewers: usize,
    /// Pictures that were shown, watched or not.
    pub shown: Rate,
    /// Pictures that were encoded.
    pub encoded: Rate,
    /// How many of those are key frames.
    pub key_frames: u64,
    /// Pictures that newer ones replaced before they were encoded.
    pub dropped: u64,
    /// Pictures that the encoder left out to keep to the bitrate.
    pub skipped: u64,
    /// Pictures that could not be encoded.
    pub failed: u64,
    /// Bytes that were encoded.
    pub bytes: u64,
    /// Bits in a second that the encoder aims at.
    pub bitrate: u32,
    /// How long converting and encoding takes, in milliseconds: a mean over the last pictures.
    pub encode_ms: f64,
    /// The last coded picture's width in pixels; 0 before the first.
    pub width: u32,
    /// The last coded picture's height in pixels; 0 before the first.
    pub height: u32,
}

/// What one viewer gets; it watches until this is dropped.
#[derive(Debug)]
pub struct Subscription {
    shared: Arc<Notify>,
}

impl Egress {
    /// Makes one that nobody watches yet.
    pub fn new(options: EgressOptions) -> Self {
        Self { options, shared: Arc::default() }
    }

    /// Shows a picture: copies it where somebody watches, and never waits. One that was not encoded yet is replaced.
    ///
    /// Its timestamp is on the clock of [`now`](super::now), or 0 where nobody knows.
    pub fn show(&self, picture: &FrameView<'_>) {
        let _ = picture;
        self.shared.notify_waiters();
    }

    /// Gives what shows every picture of a session, for [`SessionOptions::on_picture`](crate::SessionOptions::on_picture).
    pub fn picture_callback(&self) -> PictureCallback {
        let egress = self.clone();
        Box::new(move |session, _| {
            if let Some(picture) = session.poll() {
                egress.show(&picture.frame.view());
            }
        })
    }

    /// Watches from now on: the first unit is a key frame. Where others watch already, it shows the last picture.
    ///
    /// # Errors
    ///
    /// `Unsupported` for a codec that is not built in, `Device` where the system gives no more threads.
    pub fn subscribe(&self, codec: VideoCodec) -> Result<Subscription> {
        let _ = codec;
        Ok(Subscription { shared: self.shared.clone() })
    }

    /// Asks for a key frame, of the last picture if no new one comes; there is at most one in 500 ms on demand.
    pub fn request_key_frame(&self, codec: VideoCodec) {
        let _ = codec;
    }

    /// Says how many bits in a second the encoders shall aim at, up to [`EgressOptions::max_bitrate`].
    pub fn set_bitrate(&self, bits_per_second: u32) {
        let _ = bits_per_second;
    }

    /// Says how many watch now.
    pub fn viewers(&self) -> usize {
        0
    }

    /// Says what was done so far.
    pub fn stats(&self) -> EgressStats {
        EgressStats { bitrate: self.options.bitrate, ..EgressStats::default() }
    }
}

impl Subscription {
    /// Waits for the next unit; `None` once the egress is gone. A viewer that is late loses what lies before the next key
    /// frame.
    pub async fn next(&mut self) -> Option<AccessUnit> {
        self.shared.notified().await;
        None
    }

    /// As [`next`](Self::next) on a thread that may wait; `None` after `timeout` too.
    pub fn next_within(&mut self, timeout: Duration) -> Option<AccessUnit> {
        let _ = timeout;
        None
    }
}
