//! The state of a connection.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Serialize, Serializer};
use thiserror::Error;

use crate::frame::Timestamp;
use crate::transport::{AudioHub, ChannelHandler, Egress, FrameSink, IngestStats, VideoCodec};
use crate::{Error, ErrorKind};

/// The media of a connection; absent ones do not flow.
#[derive(Debug, Clone, Default)]
pub struct Media {
    /// Receives the peer's decoded video.
    pub video_in: Option<Arc<dyn FrameSink>>,
    /// The video to send to the peer.
    pub video_out: Option<Egress>,
    /// Receives the peer's Opus packets.
    pub audio_in: Option<AudioHub>,
    /// The Opus packets to send to the peer.
    pub audio_out: Option<AudioHub>,
    /// Handles the messages of the data channel.
    pub channel: Option<Arc<dyn ChannelHandler>>,
}

/// The state of a connection. Serialized and displayed as its [`name`](Self::name).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PeerState {
    /// Being established.
    Connecting,
    /// Established.
    Connected,
    /// No packets of the peer arrived for some seconds; it may recover.
    Disconnected,
    /// It could not be established or was lost, and is closed.
    Failed,
    /// Closed, by either side.
    Closed,
}

impl PeerState {
    /// Returns whether it is a final state.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Failed | Self::Closed)
    }

    /// Returns its stable name, the same in every language: `connecting`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Connected => "connected",
            Self::Disconnected => "disconnected",
            Self::Failed => "failed",
            Self::Closed => "closed",
        }
    }
}

impl fmt::Display for PeerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for PeerState {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// The reason for rejecting an offer.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The text is not a session description, or lacks what a connection needs.
    #[error("bad session description: {0}")]
    BadSdp(String),
    /// The offer has no codec of this library: the offered codecs and the supported ones.
    #[error("no common codec: {0}")]
    NoCommonCodec(String),
    /// More media sections than one of video, one of audio and one for data.
    #[error("too many tracks: {0}")]
    TooManyTracks(String),
    /// An error on this side.
    #[error("{0}")]
    Failed(#[source] Error),
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Failed(error) => error,
            other @ (Refusal::BadSdp(_) | Refusal::TooManyTracks(_)) => {
                Error::new(ErrorKind::InvalidArgument, other.to_string())
            }
            other @ Refusal::NoCommonCodec(_) => Error::new(ErrorKind::Unsupported, other.to_string()),
        }
    }
}

/// The statistics of a connection. Serialized, times are milliseconds: `round_trip_ms`.
#[derive(Debug, Clone, Default, Serialize)]
#[non_exhaustive]
pub struct PeerStats {
    /// Bytes of media received.
    pub bytes_in: u64,
    /// RTP packets received.
    pub packets_in: u64,
    /// Bytes of media sent.
    pub bytes_out: u64,
    /// RTP packets sent.
    pub packets_out: u64,
    /// Key frames that the peer asked for.
    pub key_frames_asked: u64,
    /// The round-trip time, once measured.
    #[serde(rename = "round_trip_ms", serialize_with = "millis")]
    pub round_trip: Option<Duration>,
    /// The statistics of the peer's video, if any is received.
    pub video_in: Option<IngestStats>,
    /// The statistics of the peer's audio, if any is received.
    pub audio_in: Option<AudioStats>,
    /// The codec of the peer's video, once known.
    pub codec_in: Option<VideoCodec>,
    /// The codec of the video sent to the peer, once known.
    pub codec_out: Option<VideoCodec>,
}

/// The statistics of a peer's audio.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct AudioStats {
    /// Packets received.
    pub packets: u64,
    /// Packets that have not arrived.
    pub lost: u64,
    /// The jitter of the packets, in milliseconds, as RFC 3550 defines it.
    pub jitter_ms: f64,
    /// When the last packet arrived, on the clock of [`now`](crate::transport::now). Not serialised.
    #[serde(skip)]
    pub last_packet_at: Timestamp,
}

fn millis<S: Serializer>(time: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    time.map(|time| time.as_secs_f64() * 1000.0).serialize(serializer)
}
