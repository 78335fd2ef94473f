//! Packets of video to coded pictures: pure, with time handed in, and without a panic on any bytes.
//!
//! A [`Reorder`](reorder::Reorder) puts packets in order and says where some are missing; an [`Assemble`] of the codec
//! makes pictures of what is left. Nothing here knows of a decoder: after a loss pictures go on to come, and whoever decodes
//! waits for a key frame.

pub mod assembler;
pub mod bits;
pub mod h264;
#[cfg(test)]
mod h264_tests;
pub mod limits;
pub mod parameter_sets;
pub mod reorder;
pub mod sps;
pub mod vp8;

use std::collections::VecDeque;
use std::fmt;

use bytes::Bytes;

use self::assembler::Assembler;
use self::h264::H264;
use self::vp8::Vp8;
use super::media::{AccessUnit, VideoCodec};
use crate::frame::Timestamp;

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

/// What comes out of assembling.
#[derive(Debug, Clone)]
pub enum Assembled {
    /// A whole picture.
    Unit(AccessUnit),
    /// A picture of which something was missing or made no sense; it is gone.
    Damaged,
}

/// Makes pictures of packets that come in order.
pub trait Assemble: Send + fmt::Debug {
    /// Takes the next packet, which came at `at`. A picture ends with its marker, or where the timestamp changes.
    fn push(&mut self, packet: &RtpPacket, at: Timestamp, out: &mut VecDeque<Assembled>);

    /// Packets are missing between the last one and the next.
    fn lost(&mut self, out: &mut VecDeque<Assembled>);
}

/// The most bytes one picture may have; more is a mistake or an attack.
pub(crate) const MAX_UNIT: usize = 4 << 20;

/// Makes an assembler of the codec's packets.
pub fn assembler(codec: VideoCodec) -> Box<dyn Assemble> {
    match codec {
        VideoCodec::H264 => Box::new(Assembler::<H264>::default()),
        VideoCodec::Vp8 => Box::new(Assembler::<Vp8>::default()),
    }
}
