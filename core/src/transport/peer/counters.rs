//! Counters of a connection.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::state::{AudioStats, PeerStats};
use crate::frame::Timestamp;
use crate::transport::rtp::reception::{AUDIO_CLOCK, Reception};

/// The counters of a connection.
#[derive(Debug, Default)]
pub(super) struct Counters {
    bytes_in: AtomicU64,
    packets_in: AtomicU64,
    bytes_out: AtomicU64,
    packets_out: AtomicU64,
    key_frames_asked: AtomicU64,
    /// In nanoseconds; 0 before it was measured.
    round_trip: AtomicU64,
    /// The peer's audio, if any arrived.
    audio: Mutex<Option<Reception>>,
}

impl Counters {
    pub(super) fn received(&self, bytes: usize) {
        self.packets_in.fetch_add(1, Ordering::Relaxed);
        self.bytes_in.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Counts a packet of the peer's audio that arrived at `at`.
    pub(super) fn heard(&self, sequence: u16, timestamp: u32, at: Timestamp) {
        let mut audio = self.audio.lock().unwrap_or_else(PoisonError::into_inner);
        audio.get_or_insert_with(|| Reception::new(AUDIO_CLOCK)).packet(sequence, timestamp, at);
    }

    pub(super) fn sent(&self, bytes: usize) {
        self.packets_out.fetch_add(1, Ordering::Relaxed);
        self.bytes_out.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn key_frame_asked(&self) {
        self.key_frames_asked.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn measured(&self, round_trip: Duration) {
        let nanos = u64::try_from(round_trip.as_nanos()).unwrap_or(u64::MAX);
        self.round_trip.store(nanos, Ordering::Relaxed);
    }

    pub(super) fn fill(&self, stats: &mut PeerStats) {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        stats.bytes_in = get(&self.bytes_in);
        stats.packets_in = get(&self.packets_in);
        stats.bytes_out = get(&self.bytes_out);
        stats.packets_out = get(&self.packets_out);
        stats.key_frames_asked = get(&self.key_frames_asked);
        stats.round_trip = Some(get(&self.round_trip)).filter(|&n| n > 0).map(Duration::from_nanos);
        let audio = self.audio.lock().unwrap_or_else(PoisonError::into_inner);
        stats.audio_in = audio.as_ref().map(|audio| AudioStats {
            packets: audio.packets(),
            lost: audio.lost(),
            jitter_ms: audio.jitter_ms(),
            last_packet_at: audio.last_at(),
        });
    }
}
