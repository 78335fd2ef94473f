//! The connection state of a publisher or a player.

use std::mem::offset_of;

use dreamframe::{Error, ErrorKind, Result};

use crate::pointer::Versioned;

/// The connection state of a publisher or a player.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum dreamframe_peer_state_t {
    /// The first connection is being made, including retries.
    DREAMFRAME_PEER_STATE_CONNECTING = 1,
    /// The connection is up.
    DREAMFRAME_PEER_STATE_CONNECTED = 2,
    /// The connection was lost, and is being re-established.
    DREAMFRAME_PEER_STATE_DISCONNECTED = 3,
    /// It has given up, for example after an answer that a retry would not change.
    DREAMFRAME_PEER_STATE_FAILED = 4,
    /// It was stopped.
    DREAMFRAME_PEER_STATE_CLOSED = 5,
}

use dreamframe_peer_state_t as State;

impl State {
    const ALL: [Self; 5] = [
        Self::DREAMFRAME_PEER_STATE_CONNECTING,
        Self::DREAMFRAME_PEER_STATE_CONNECTED,
        Self::DREAMFRAME_PEER_STATE_DISCONNECTED,
        Self::DREAMFRAME_PEER_STATE_FAILED,
        Self::DREAMFRAME_PEER_STATE_CLOSED,
    ];

    /// Returns the state with the given number.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for an invalid number.
    pub(super) fn of(number: u32) -> Result<Self> {
        let text = || format!("state: got {number}, expected 1 to {}", Self::ALL.len());
        let found = Self::ALL.into_iter().find(|state| *state as u32 == number);
        found.ok_or_else(|| Error::new(ErrorKind::InvalidArgument, text()))
    }
}

/// Statistics of a publisher or a player. Initialize with `DREAMFRAME_CONNECTION_STATS_INIT`.
///
/// They are of the current connection, and zero while disconnected, unless documented otherwise.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct dreamframe_connection_stats_t {
    /// The size of this struct in bytes.
    pub struct_size: usize,
    /// Media bytes that a publisher sent or a player received.
    pub bytes: u64,
    /// Media packets that a publisher sent or a player received.
    pub packets: u64,
    /// Packets lost on the way to a player; 0 for a publisher.
    pub lost_packets: u64,
    /// Pictures that a publisher encoded since it was started, or that a player decoded.
    pub pictures: u64,
    /// Pictures replaced by newer ones, or dropped by the encoder to keep the bitrate; for a publisher since it was
    /// started.
    pub dropped: u64,
    /// Pictures that could not be encoded or decoded; for a publisher since it was started.
    pub failed: u64,
    /// Key frames requested by the server from a publisher, or by a player from the server.
    pub key_frame_requests: u64,
    /// The round-trip time, in microseconds; 0 before it was measured.
    pub round_trip_us: u64,
    /// The jitter of a player's packets, in microseconds; 0 for a publisher.
    pub jitter_us: u64,
    /// Pictures encoded or decoded per second.
    pub pictures_per_second: f64,
    /// The width of the last picture encoded or decoded, in pixels; 0 before the first.
    pub width: u32,
    /// The height of the last picture encoded or decoded, in pixels; 0 before the first.
    pub height: u32,
}

// SAFETY: `repr(C)`, starts with its size, and all its fields are integers and floats.
unsafe impl Versioned for dreamframe_connection_stats_t {
    const NAME: &'static str = "connection_stats";
    const LEAST: usize = offset_of!(Self, height) + size_of::<u32>();
}
