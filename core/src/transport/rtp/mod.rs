//! Assembles encoded pictures from RTP packets. Pure: times are arguments, and no input causes a panic.
//!
//! A [`Reorder`](reorder::Reorder) puts packets in order and reports where some are missing; an [`Assemble`] of the
//! codec makes pictures of the rest. No decoder is involved: pictures continue after a loss, and the decoder waits for
//! a key frame.

pub mod assembler;
pub mod bits;
pub mod h264;
#[cfg(test)]
mod h264_tests;
pub mod limits;
pub mod parameter_sets;
pub mod reception;
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

/// One packet of a video stream, without encryption and transport headers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RtpPacket {
    /// Its number, which wraps.
    pub sequence: u16,
    /// The capture time of its picture, in units of 1/90000 s, which wrap.
    pub timestamp: u32,
    /// Whether it is the last of its picture.
    pub marker: bool,
    /// The payload, without padding.
    pub payload: Bytes,
}

/// The result of assembling.
#[derive(Debug, Clone)]
pub enum Assembled {
    /// A complete picture.
    Unit(AccessUnit),
    /// A picture with missing or invalid parts, which was dropped.
    Damaged,
}

/// Assembles pictures from packets in order.
pub trait Assemble: Send + fmt::Debug {
    /// Takes the next packet, which arrived at `at`. A picture ends with its marker, or when the timestamp changes.
    fn push(&mut self, packet: &RtpPacket, at: Timestamp, out: &mut VecDeque<Assembled>);

    /// Packets are missing between the last one and the next.
    fn lost(&mut self, out: &mut VecDeque<Assembled>);
}

/// The maximum number of bytes of a picture.
pub(crate) const MAX_UNIT: usize = 4 << 20;

/// Creates an assembler of the codec's packets.
pub fn assembler(codec: VideoCodec) -> Box<dyn Assemble> {
    match codec {
        VideoCodec::H264 => Box::new(Assembler::<H264>::default()),
        VideoCodec::Vp8 => Box::new(Assembler::<Vp8>::default()),
    }
}
