//! The types that the parts of the transport exchange.

use std::fmt;
use std::sync::OnceLock;
use std::time::Instant;

use bytes::Bytes;
use serde::Serialize;

use crate::Error;
use crate::frame::{FrameView, Timestamp};
use crate::session::SessionHandle;

/// A video codec.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum VideoCodec {
    /// H.264, constrained baseline.
    H264,
    /// VP8.
    Vp8,
}

/// One encoded picture.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct AccessUnit {
    /// H.264 in Annex B form, with the parameter sets before each key frame; a whole VP8 frame.
    pub data: Bytes,
    /// Whether it can be decoded without earlier ones.
    pub key: bool,
    /// Its place in time, on the clock of [`now`]: the arrival of a received one, the encoding of one to be sent.
    pub at: Timestamp,
    /// The time at which its frame was taken, or arrived if that is unknown, on the clock of [`now`]. For a picture of an
    /// engine it is earlier than `at` by the latency.
    pub taken: Timestamp,
}

impl AccessUnit {
    /// Makes an access unit of `data`, of a frame taken `at`; `key` if it can be decoded without any before it.
    pub const fn new(data: Bytes, key: bool, at: Timestamp) -> Self {
        Self { data, key, at, taken: at }
    }
}

/// Returns the current time of the clock for frames in this process: nanoseconds since its first call.
pub fn now() -> Timestamp {
    static START: OnceLock<Instant> = OnceLock::new();
    let since = START.get_or_init(Instant::now).elapsed();
    Timestamp(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

/// The receiver of decoded video.
pub trait FrameSink: Send + Sync + fmt::Debug {
    /// Takes a frame, on the thread that decodes: must not wait. The frame's timestamp is on the clock of [`now`].
    fn frame(&self, frame: &FrameView<'_>);

    /// Called with the reason why video is not decoded, such as a size above
    /// [`IngestOptions::max_side`](super::IngestOptions::max_side); the last frame stays. Called at most once per
    /// second, on the thread that decodes: must not wait. Default: a warning in the log.
    fn refused(&self, error: &Error) {
        tracing::warn!(%error, "a publisher's video is refused");
    }
}

impl FrameSink for SessionHandle {
    /// A session that has ended accepts no more frames, which is no error of the publisher's.
    fn frame(&self, frame: &FrameView<'_>) {
        let _ = self.submit(frame);
    }
}
