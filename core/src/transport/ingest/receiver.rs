//! The receiving half: packets in, encoded pictures out; times are arguments.

use std::collections::VecDeque;
use std::time::Duration;

use crate::frame::Timestamp;
use crate::transport::media::VideoCodec;
use crate::transport::rtp::reception::{Jitter, VIDEO_CLOCK};
use crate::transport::rtp::reorder::{HOLD, Next, Reorder};
use crate::transport::rtp::{self, Assemble, Assembled, RtpPacket};

/// The shortest interval of key frame requests: about one round trip.
const REQUEST_INTERVAL: Duration = Duration::from_millis(300);

/// Assembles the packets of one stream.
#[derive(Debug)]
pub(super) struct Receiver {
    reorder: Reorder,
    assembler: Box<dyn Assemble>,
    assembled: VecDeque<Assembled>,
    lost: u64,
    jitter: Jitter,
    asked: Option<Timestamp>,
}

impl Receiver {
    pub(super) fn new(codec: VideoCodec) -> Self {
        Self {
            reorder: Reorder::new(HOLD),
            assembler: rtp::assembler(codec),
            assembled: VecDeque::new(),
            lost: 0,
            jitter: Jitter::new(VIDEO_CLOCK),
            asked: None,
        }
    }

    /// Takes a packet that arrived at `now`.
    pub(super) fn packet(&mut self, packet: RtpPacket, now: Timestamp) {
        self.jitter.packet(packet.timestamp, now);
        self.reorder.push(packet, now);
        self.advance(now);
    }

    /// Assembles what has arrived, or was given up, by `now`.
    pub(super) fn advance(&mut self, now: Timestamp) {
        while let Some(next) = self.reorder.pop(now) {
            match next {
                Next::Packet(packet, at) => self.assembler.push(&packet, at, &mut self.assembled),
                Next::Lost(count) => {
                    self.lost += count;
                    self.assembler.lost(&mut self.assembled);
                }
            }
        }
    }

    /// Returns the next picture, or that one was lost.
    pub(super) fn next(&mut self) -> Option<Assembled> {
        self.assembled.pop_front()
    }

    /// Returns whether a required key frame is to be requested now.
    pub(super) fn asks(&mut self, now: Timestamp) -> bool {
        let asks = self.asked.is_none_or(|asked| now.since(asked) >= REQUEST_INTERVAL);
        if asks {
            self.asked = Some(now);
        }
        asks
    }

    pub(super) fn lost(&self) -> u64 {
        self.lost
    }

    pub(super) fn jitter_ms(&self) -> f64 {
        self.jitter.ms()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_frame_is_asked_for_at_most_every_interval() {
        let mut receiver = Receiver::new(VideoCodec::H264);
        let asked: Vec<_> = (0..100).filter(|i| receiver.asks(Timestamp(i * 10_000_000))).collect();
        assert_eq!(asked, [0, 30, 60, 90]);
    }
}
