//! Stands in for the media part's types until it is merged.

use bytes::Bytes;
use tokio::sync::broadcast;

use super::{AccessUnit, VideoCodec};
use crate::Result;
use crate::frame::Timestamp;

/// Counts what a publisher's video came to.
#[derive(Debug, Clone, Default)]
pub struct IngestStats {}

/// Pictures to viewers.
#[derive(Debug, Clone, Default)]
pub struct Egress;

/// One viewer's coded pictures.
#[derive(Debug)]
pub struct Subscription;

impl Egress {
    /// Subscribes a viewer.
    pub fn subscribe(&self, _codec: VideoCodec) -> Result<Subscription> {
        Ok(Subscription)
    }

    /// Asks for a key frame.
    pub fn request_key_frame(&self, _codec: VideoCodec) {}
}

impl Subscription {
    /// Waits for the next coded picture.
    pub async fn next(&mut self) -> Option<AccessUnit> {
        None
    }
}

/// The publisher's Opus packets.
#[derive(Debug, Clone, Default)]
pub struct AudioHub;

/// One Opus packet.
#[derive(Debug, Clone)]
pub struct AudioPacket {
    /// Its bytes.
    pub data: Bytes,
    /// In RTP units.
    pub timestamp: u32,
    /// When it came.
    pub at: Timestamp,
}

impl AudioHub {
    /// Hands a packet to all who listen.
    pub fn send(&self, _packet: AudioPacket) {}

    /// Listens.
    pub fn subscribe(&self) -> broadcast::Receiver<AudioPacket> {
        broadcast::channel(1).1
    }
}
