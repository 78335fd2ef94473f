//! Common part of the assemblers: boundaries of pictures, and packets that are skipped.

use std::collections::VecDeque;
use std::fmt;

use super::{Assemble, Assembled, RtpPacket};
use crate::frame::Timestamp;

/// A codec's payload format: how payloads become an encoded picture.
pub trait Depacketizer: Default + Send + fmt::Debug {
    /// A picture that is being assembled.
    type Picture: Send + fmt::Debug;

    /// Begins a picture whose first packet arrived at `at`.
    fn begin(&mut self, at: Timestamp) -> Self::Picture;

    /// Adds the payload of a packet to its picture. Returns `None` if the picture cannot be completed any more.
    fn add(&mut self, picture: &mut Self::Picture, payload: &[u8]) -> Option<()>;

    /// Ends a picture. Returns `None` if its packets had no picture, such as parameter sets alone.
    fn finish(&mut self, picture: Self::Picture) -> Option<Assembled>;
}

/// Assembles pictures from packets in order, with the payload format `D`.
#[derive(Debug)]
pub struct Assembler<D: Depacketizer> {
    depacketizer: D,
    /// The picture that is being assembled, with its timestamp.
    picture: Option<(u32, D::Picture)>,
    /// The timestamp of a picture that cannot be completed: the rest of its packets is dropped.
    spoilt: Option<u32>,
}

impl<D: Depacketizer> Default for Assembler<D> {
    fn default() -> Self {
        Self { depacketizer: D::default(), picture: None, spoilt: None }
    }
}

impl<D: Depacketizer> Assembler<D> {
    /// Returns true for a packet to skip: of a picture that cannot be completed, which ends with its marker or with
    /// another timestamp, or an empty one, which peers send as keep-alive with any timestamp.
    fn is_of_no_use(&mut self, packet: &RtpPacket) -> bool {
        if packet.payload.is_empty() {
            return true;
        }
        let is_spoilt = self.spoilt == Some(packet.timestamp);
        if !is_spoilt || packet.marker {
            self.spoilt = None;
        }
        is_spoilt
    }

    fn finish(&mut self, out: &mut VecDeque<Assembled>) {
        if let Some((_, picture)) = self.picture.take() {
            out.extend(self.depacketizer.finish(picture));
        }
    }
}

impl<D: Depacketizer> Assemble for Assembler<D> {
    fn push(&mut self, packet: &RtpPacket, at: Timestamp, out: &mut VecDeque<Assembled>) {
        let timestamp = packet.timestamp;
        if self.is_of_no_use(packet) {
            return;
        }
        if self.picture.as_ref().is_some_and(|(of, _)| *of != timestamp) {
            self.finish(out);
        }
        let Self { depacketizer, picture, spoilt } = self;
        let (_, begun) = picture.get_or_insert_with(|| (timestamp, depacketizer.begin(at)));
        if depacketizer.add(begun, &packet.payload).is_none() {
            *picture = None;
            *spoilt = (!packet.marker).then_some(timestamp);
            out.push_back(Assembled::Damaged);
        } else if packet.marker {
            self.finish(out);
        }
    }

    fn lost(&mut self, out: &mut VecDeque<Assembled>) {
        if let Some((timestamp, _)) = self.picture.take() {
            self.spoilt = Some(timestamp);
        }
        out.push_back(Assembled::Damaged);
    }
}
