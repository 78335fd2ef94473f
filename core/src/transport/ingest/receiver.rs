//! The receiving half: packets in, encoded pictures out; times are arguments.

use std::collections::VecDeque;
use std::time::Duration;

use crate::frame::Timestamp;
use crate::transport::media::VideoCodec;
use crate::transport::rtp::reorder::{HOLD, Next, Reorder};
use crate::transport::rtp::{self, Assemble, Assembled, RtpPacket};

/// The shortest interval of key frame requests: about one round trip.
const REQUEST_INTERVAL: Duration = Duration::from_millis(300);

/// Units of the packets' clock per second.
const CLOCK: u64 = 90_000;

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
            jitter: Jitter::default(),
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
        self.jitter.mean * 1000.0 / CLOCK as f64
    }
}

/// The jitter of packets, by RFC 3550, section 6.4.1.
#[derive(Debug, Default)]
struct Jitter {
    /// The arrival time of the last packet minus its timestamp, both on the packets' clock.
    transit: Option<u32>,
    mean: f64,
}

impl Jitter {
    fn packet(&mut self, timestamp: u32, at: Timestamp) {
        let arrival = u128::from(at.0) * u128::from(CLOCK) / 1_000_000_000;
        let transit = (arrival as u32).wrapping_sub(timestamp);
        if let Some(last) = self.transit.replace(transit) {
            let change = f64::from((transit.wrapping_sub(last) as i32).unsigned_abs());
            self.mean += (change - self.mean) / 16.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_is_zero_for_evenly_delayed_packets() {
        let mut jitter = Jitter::default();
        (0..100).for_each(|i: u32| {
            jitter.packet(u32::MAX.wrapping_add(i * 3000), Timestamp(u64::from(i) * 1_000_000_000 / 30));
        });
        assert!(jitter.mean < 1.0, "{}", jitter.mean);
    }

    #[test]
    fn jitter_comes_near_to_how_much_delays_vary() {
        let mut jitter = Jitter::default();
        // Every other packet is 10 ms late, 900 units of the clock.
        (0..200).for_each(|i: u32| {
            jitter.packet(i * 3000, Timestamp(u64::from(i) * 33_333_333 + u64::from(i % 2) * 10_000_000));
        });
        assert!((890.0..910.0).contains(&jitter.mean), "{}", jitter.mean);
    }

    #[test]
    fn a_key_frame_is_asked_for_at_most_every_interval() {
        let mut receiver = Receiver::new(VideoCodec::H264);
        let asked: Vec<_> = (0..100).filter(|i| receiver.asks(Timestamp(i * 10_000_000))).collect();
        assert_eq!(asked, [0, 30, 60, 90]);
    }
}
