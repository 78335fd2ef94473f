//! Delays audio by the latency of the pictures, so that both are heard and seen together.

use std::collections::VecDeque;
use std::time::Duration;

use crate::frame::Timestamp;
use crate::transport::{AudioDelay, AudioPacket};

/// The most packets that wait: as many as come in the longest delay, at the shortest packet time of Opus that is usual
/// (10 ms).
const MOST: usize = 300;

/// Packets that wait for their time.
#[derive(Debug, Default)]
pub(super) struct Delayed {
    waiting: VecDeque<(AudioPacket, Timestamp)>,
    delay: AudioDelay,
}

impl Delayed {
    /// Adds a packet, with the current latency of pictures. Beyond the maximum, the oldest is dropped.
    pub(super) fn put(&mut self, packet: AudioPacket, latency: Duration) {
        let delay = self.delay.follow(latency);
        if self.waiting.len() == MOST {
            self.waiting.pop_front();
        }
        let nanos = u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX);
        // Packets stay in order when the delay falls.
        let earliest = self.waiting.back().map_or(Timestamp(0), |(_, at)| *at);
        let at = Timestamp(packet.at.0.saturating_add(nanos)).max(earliest);
        self.waiting.push_back((packet, at));
    }

    /// Returns when the next packet is due.
    pub(super) fn due(&self) -> Option<Timestamp> {
        self.waiting.front().map(|(_, at)| *at)
    }

    /// Removes the next packet, and returns it with the time at which it is due.
    pub(super) fn take(&mut self) -> Option<(AudioPacket, Timestamp)> {
        self.waiting.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    const MS: u64 = 1_000_000;

    fn packet(ms: u64) -> AudioPacket {
        AudioPacket { data: Bytes::new(), timestamp: 0, at: Timestamp(ms * MS) }
    }

    fn due(latencies: &[(u64, u64)]) -> Vec<u64> {
        let mut delayed = Delayed::default();
        for (at, latency) in latencies {
            delayed.put(packet(*at), Duration::from_millis(*latency));
        }
        std::iter::from_fn(|| delayed.take()).map(|(_, at)| at.0 / MS).collect()
    }

    #[test]
    fn audio_is_as_late_as_pictures_up_to_the_maximum() {
        assert_eq!(due(&[(0, 0), (20, 0)]), [0, 20]);
        assert_eq!(due(&[(0, 250), (20, 250)]), [250, 270]);
        assert_eq!(due(&[(0, 60_000)]), [3000]);
    }

    #[test]
    fn small_changes_of_the_latency_are_not_followed_and_large_ones_keep_the_order() {
        assert_eq!(due(&[(0, 250), (20, 320), (40, 180)]), [250, 270, 290]);
        assert_eq!(due(&[(0, 1000), (20, 100), (40, 100), (1000, 100)]), [1000, 1000, 1000, 1100]);
    }

    #[test]
    fn waiting_packets_are_bounded() {
        let mut delayed = Delayed::default();
        (0..10_000).for_each(|at| delayed.put(packet(at), Duration::from_secs(3)));
        assert_eq!(delayed.waiting.len(), MOST);
        assert_eq!(delayed.due(), Some(Timestamp((9700 + 3000) * MS)));
    }
}
