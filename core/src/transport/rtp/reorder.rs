//! Puts packets in order, and reports lost ones.

use std::collections::BTreeMap;
use std::time::Duration;

use super::RtpPacket;
use crate::frame::Timestamp;

/// The time to wait for a missing packet: long enough for a retransmission.
pub const HOLD: Duration = Duration::from_millis(120);

/// The maximum number of packets that wait behind a gap: a second of 10 Mbit/s.
const MOST_HELD: usize = 1024;

/// The largest difference of a number from the expected one; beyond it, the sender has restarted.
const FARTHEST: i64 = 4096;

/// The output, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// The next packet, and its arrival time.
    Packet(RtpPacket, Timestamp),
    /// Packets are missing here: at least this many.
    Lost(u64),
}

/// Puts packets back in order.
///
/// Numbers are extended to 64 bits, so that the wrap of 16 bits has no effect. A missing packet is given up when those
/// behind it have waited for the hold time.
#[derive(Debug)]
pub struct Reorder {
    hold: Duration,
    held: BTreeMap<u64, (RtpPacket, Timestamp)>,
    /// The number of the next packet; `None` before the first.
    next: Option<u64>,
    /// The expected number, if the last packet was far off and is the first after a restart.
    restart: Option<u16>,
    /// Whether a restart has to be reported.
    restarted: bool,
    late: u64,
}

impl Reorder {
    /// Creates one that holds gaps for `hold`.
    pub fn new(hold: Duration) -> Self {
        Self { hold, held: BTreeMap::new(), next: None, restart: None, restarted: false, late: 0 }
    }

    /// Takes a packet that arrived at `at`. A duplicate, or one that was given up, is dropped.
    pub fn push(&mut self, packet: RtpPacket, at: Timestamp) {
        let next = *self.next.get_or_insert(FIRST + u64::from(packet.sequence));
        // The nearest number with these 16 bits.
        let ahead = i64::from(packet.sequence.wrapping_sub(next as u16) as i16);
        if ahead.abs() > FARTHEST {
            return self.far(packet, at);
        }
        self.restart = None;
        if ahead < 0 {
            self.late += 1;
            return;
        }
        self.held.entry(next.saturating_add_signed(ahead)).or_insert((packet, at));
    }

    /// Handles a packet that is far off: a single one may be an error, two in a row are a restart.
    fn far(&mut self, packet: RtpPacket, at: Timestamp) {
        let expected = self.restart.replace(packet.sequence.wrapping_add(1));
        if expected != Some(packet.sequence) {
            return;
        }
        self.restart = None;
        self.held.clear();
        self.restarted = true;
        let number = FIRST + u64::from(packet.sequence);
        self.next = Some(number);
        self.held.insert(number, (packet, at));
    }

    /// Returns the next output, if it has arrived, or was given up by `now`.
    pub fn pop(&mut self, now: Timestamp) -> Option<Next> {
        if std::mem::take(&mut self.restarted) {
            return Some(Next::Lost(1));
        }
        let next = self.next?;
        let (&first, _) = self.held.first_key_value()?;
        if first == next {
            let (packet, at) = self.held.remove(&first)?;
            self.next = Some(next + 1);
            return Some(Next::Packet(packet, at));
        }
        if !self.gives_up(now) {
            return None;
        }
        self.next = Some(first);
        Some(Next::Lost(first - next))
    }

    /// Whether the packets behind the gap have waited long enough.
    fn gives_up(&self, now: Timestamp) -> bool {
        let oldest = self.held.values().map(|(_, at)| *at).min();
        self.held.len() > MOST_HELD || oldest.is_some_and(|at| now.since(at) >= self.hold)
    }

    /// Returns the number of packets that were duplicates, or arrived after they were given up.
    pub fn late(&self) -> u64 {
        self.late
    }
}

/// An offset larger than any lag.
const FIRST: u64 = 1 << 32;

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;

    fn packet(sequence: u16) -> RtpPacket {
        RtpPacket { sequence, timestamp: 0, marker: false, payload: Bytes::new() }
    }

    fn at(millis: u64) -> Timestamp {
        Timestamp(millis * 1_000_000)
    }

    /// The numbers that are returned, and the number given up before each.
    fn drain(reorder: &mut Reorder, now: Timestamp) -> Vec<Result<u16, u64>> {
        let next = || reorder.pop(now);
        std::iter::from_fn(next)
            .map(|next| match next {
                Next::Packet(packet, _) => Ok(packet.sequence),
                Next::Lost(count) => Err(count),
            })
            .collect()
    }

    #[test]
    fn sequence_numbers_wrap_transparently() {
        let mut reorder = Reorder::new(HOLD);
        for sequence in [65_533, 65_535, 65_534, 1, 0] {
            reorder.push(packet(sequence), at(0));
        }
        let expected: Vec<_> = [65_533, 65_534, 65_535, 0, 1].into_iter().map(Ok).collect();
        assert_eq!(drain(&mut reorder, at(0)), expected);
    }

    #[test]
    fn a_gap_is_held_and_then_given_up() {
        let mut reorder = Reorder::new(HOLD);
        reorder.push(packet(1), at(0));
        reorder.push(packet(3), at(10));
        reorder.push(packet(4), at(20));
        assert_eq!(drain(&mut reorder, at(20)), [Ok(1)]);
        assert_eq!(drain(&mut reorder, at(129)), []);
        assert_eq!(drain(&mut reorder, at(130)), [Err(1), Ok(3), Ok(4)]);
        reorder.push(packet(2), at(131));
        assert_eq!((drain(&mut reorder, at(400)), reorder.late()), (vec![], 1));
    }

    #[test]
    fn gap_filled_in_time_is_not_reported() {
        let mut reorder = Reorder::new(HOLD);
        [1, 3, 4].into_iter().for_each(|sequence| reorder.push(packet(sequence), at(0)));
        assert_eq!(drain(&mut reorder, at(60)), [Ok(1)]);
        reorder.push(packet(2), at(100));
        assert_eq!(drain(&mut reorder, at(100)), [Ok(2), Ok(3), Ok(4)]);
    }

    #[test]
    fn no_more_is_held_than_its_bound() {
        let mut reorder = Reorder::new(HOLD);
        reorder.push(packet(0), at(0));
        (2..=MOST_HELD as u16 + 1).for_each(|sequence| reorder.push(packet(sequence), at(0)));
        assert_eq!(drain(&mut reorder, at(0)), [Ok(0)]);
        reorder.push(packet(MOST_HELD as u16 + 2), at(0));
        assert_eq!(drain(&mut reorder, at(0)).len(), MOST_HELD + 2);
    }

    #[test]
    fn restarted_sender_is_followed_and_a_single_stray_packet_is_not() {
        let mut reorder = Reorder::new(HOLD);
        reorder.push(packet(100), at(0));
        reorder.push(packet(30_000), at(0));
        reorder.push(packet(101), at(0));
        assert_eq!(drain(&mut reorder, at(0)), [Ok(100), Ok(101)]);
        reorder.push(packet(30_000), at(0));
        reorder.push(packet(30_001), at(0));
        reorder.push(packet(30_002), at(0));
        assert_eq!(drain(&mut reorder, at(0)), [Err(1), Ok(30_001), Ok(30_002)]);
    }

    proptest! {
        #[test]
        fn packets_leave_in_order_once_or_are_given_up(
            first in any::<u16>(),
            sends in prop::collection::vec((0_u16..64, 0_u64..40), 1..200),
        ) {
            let mut reorder = Reorder::new(HOLD);
            let (mut out, mut lost, mut now) = (Vec::new(), 0, 0);
            let mut sent = HashSet::new();
            reorder.push(packet(first), at(0));
            let mut collect = |reorder: &mut Reorder, now| {
                for next in drain(reorder, at(now)) {
                    match next {
                        Ok(sequence) => out.push(sequence.wrapping_sub(first)),
                        Err(count) => lost += count,
                    }
                }
            };
            for (ahead, millis) in sends {
                now += millis;
                sent.insert(ahead);
                reorder.push(packet(first.wrapping_add(ahead)), at(now));
                collect(&mut reorder, now);
            }
            collect(&mut reorder, now + 1000);
            prop_assert!(out.is_sorted_by(|a, b| a < b), "{out:?}");
            prop_assert!(out.iter().all(|ahead| *ahead == 0 || sent.contains(ahead)));
            prop_assert_eq!(out.len() as u64 + lost, u64::from(out.last().copied().unwrap_or(0)) + 1);
        }
    }
}
