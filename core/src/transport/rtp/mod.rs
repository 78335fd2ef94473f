//! Packets of video to coded pictures: pure, with time handed in.

use bytes::Bytes;

/// One packet of a stream of video, without what encryption and transport add.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RtpPacket {
    /// Its number, which wraps.
    pub sequence: u16,
    /// When its picture was taken, in units of 1/90000 s, which wrap.
    pub timestamp: u32,
    /// Whether it is the last of its picture.
    pub marker: bool,
    /// What it carries, without padding.
    pub payload: Bytes,
}
