//! How packets arrive: their jitter and loss, by RFC 3550. Times are arguments.

use crate::frame::Timestamp;

/// Units of the clock of video packets per second.
pub const VIDEO_CLOCK: u64 = 90_000;
/// Units of the clock of Opus packets per second.
pub const AUDIO_CLOCK: u64 = 48_000;

/// A packet at most this far behind the newest is late, and packets between it and one at most this far ahead are missing.
/// Others belong to a stream that has started again (the limits of RFC 3550, appendix A.1).
const LATE: u16 = 100;
const AHEAD: u16 = 3000;

/// The jitter of packets, by section 6.4.1.
#[derive(Debug)]
pub struct Jitter {
    /// Units of the packets' clock per second.
    clock: u64,
    /// The arrival time of the last packet minus its timestamp, both on the packets' clock.
    transit: Option<u32>,
    mean: f64,
}

impl Jitter {
    /// Creates one for packets whose clock has `clock` units per second.
    pub fn new(clock: u64) -> Self {
        Self { clock, transit: None, mean: 0.0 }
    }

    /// Takes the timestamp of a packet that arrived at `at`.
    pub fn packet(&mut self, timestamp: u32, at: Timestamp) {
        let arrival = u128::from(at.0) * u128::from(self.clock) / 1_000_000_000;
        let transit = (arrival as u32).wrapping_sub(timestamp);
        if let Some(last) = self.transit.replace(transit) {
            let change = f64::from((transit.wrapping_sub(last) as i32).unsigned_abs());
            self.mean += (change - self.mean) / 16.0;
        }
    }

    /// Returns the jitter in milliseconds.
    pub fn ms(&self) -> f64 {
        self.mean * 1000.0 / self.clock as f64
    }
}

/// The packets of a stream that are forwarded as they arrive: how many came, and how many are missing.
#[derive(Debug)]
pub struct Reception {
    jitter: Jitter,
    packets: u64,
    /// The packets that the sequence numbers count.
    expected: u64,
    /// The highest sequence number.
    highest: Option<u16>,
    last_at: Timestamp,
}

impl Reception {
    /// Creates one for packets whose clock has `clock` units per second.
    pub fn new(clock: u64) -> Self {
        Self { jitter: Jitter::new(clock), packets: 0, expected: 0, highest: None, last_at: Timestamp(0) }
    }

    /// Takes a packet that arrived at `at`.
    pub fn packet(&mut self, sequence: u16, timestamp: u32, at: Timestamp) {
        self.jitter.packet(timestamp, at);
        self.packets += 1;
        self.last_at = at;
        let ahead = self.highest.map_or(1, |highest| sequence.wrapping_sub(highest));
        if ahead == 0 || ahead > u16::MAX - LATE {
            // Late, or a repeat: it was counted as expected before.
            return;
        }
        self.expected += if ahead > AHEAD { 1 } else { u64::from(ahead) };
        self.highest = Some(sequence);
    }

    /// Returns the number of packets.
    pub fn packets(&self) -> u64 {
        self.packets
    }

    /// Returns when the last packet arrived; 0 before the first.
    pub fn last_at(&self) -> Timestamp {
        self.last_at
    }

    /// Returns the number of packets that have not arrived so far.
    pub fn lost(&self) -> u64 {
        self.expected.saturating_sub(self.packets)
    }

    /// Returns the jitter in milliseconds.
    pub fn jitter_ms(&self) -> f64 {
        self.jitter.ms()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_is_zero_for_evenly_delayed_packets() {
        let mut jitter = Jitter::new(VIDEO_CLOCK);
        (0..100).for_each(|i: u32| {
            jitter.packet(u32::MAX.wrapping_add(i * 3000), Timestamp(u64::from(i) * 1_000_000_000 / 30));
        });
        assert!(jitter.mean < 1.0, "{}", jitter.mean);
    }

    #[test]
    fn jitter_comes_near_to_how_much_delays_vary() {
        let mut jitter = Jitter::new(VIDEO_CLOCK);
        // Every other packet is 10 ms late, 900 units of the clock.
        (0..200).for_each(|i: u32| {
            jitter.packet(i * 3000, Timestamp(u64::from(i) * 33_333_333 + u64::from(i % 2) * 10_000_000));
        });
        assert!((890.0..910.0).contains(&jitter.mean), "{}", jitter.mean);
    }

    #[test]
    fn packets_that_are_missing_are_lost_until_they_come_late() {
        let mut reception = Reception::new(AUDIO_CLOCK);
        let mut take = |sequence: u16| {
            reception.packet(sequence, u32::from(sequence) * 960, Timestamp(0));
            (reception.packets(), reception.lost())
        };
        assert_eq!(take(65_533), (1, 0));
        assert_eq!(take(65_534), (2, 0));
        // The numbers wrap: 65535 and 0 are missing.
        assert_eq!(take(1), (3, 2));
        assert_eq!(take(65_535), (4, 1));
        assert_eq!(take(0), (5, 0));
        assert_eq!(take(2), (6, 0));
    }

    #[test]
    fn a_stream_that_starts_again_has_lost_nothing() {
        let mut reception = Reception::new(AUDIO_CLOCK);
        for sequence in [40_000, 40_001, 100, 101] {
            reception.packet(sequence, 0, Timestamp(0));
        }
        assert_eq!((reception.packets(), reception.lost()), (4, 0));
    }
}
