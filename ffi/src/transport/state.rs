//! The state of the connection of a publisher or a player.

use std::mem::offset_of;

use dreamframe::{Error, ErrorKind, Result};

use crate::pointer::Versioned;

/// How far a publisher or a player is.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum dreamframe_peer_state_t {
    /// Its first connection is being made, however often it tries.
    DREAMFRAME_PEER_STATE_CONNECTING = 1,
    /// A connection is up.
    DREAMFRAME_PEER_STATE_CONNECTED = 2,
    /// A connection was lost, and the next is being made.
    DREAMFRAME_PEER_STATE_DISCONNECTED = 3,
    /// It has given up, as after an answer that another attempt would not change.
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

    /// The state of a number.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for one that is none.
    pub(super) fn of(number: u32) -> Result<Self> {
        let text = || format!("state: got {number}, expected 1 to {}", Self::ALL.len());
        let found = Self::ALL.into_iter().find(|state| *state as u32 == number);
        found.ok_or_else(|| Error::new(ErrorKind::InvalidArgument, text()))
    }
}

/// What a publisher or a player has done, in numbers. Begin with `DREAMFRAME_CONNECTION_STATS_INIT`.
///
/// Of the connection that is up: zeros while there is none, except where a line says otherwise.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct dreamframe_connection_stats_t {
    /// The size of this struct in bytes.
    pub struct_size: usize,
    /// Bytes of media that a publisher sent or a player received.
    pub bytes: u64,
    /// Packets of media that a publisher sent or a player received.
    pub packets: u64,
    /// Packets that a player should have received and never did; 0 for a publisher.
    pub lost_packets: u64,
    /// Pictures that a publisher encoded since it was started, or that a player decoded.
    pub pictures: u64,
    /// Pictures that newer ones replaced on their way, or that the encoder left out to keep to the bitrate; a
    /// publisher's since it was started.
    pub dropped: u64,
    /// Pictures that could not be encoded or decoded; a publisher's since it was started.
    pub failed: u64,
    /// Key frames that the server asked a publisher for, or a player the server.
    pub key_frame_requests: u64,
    /// The time to the server and back, in microseconds; 0 before it was measured.
    pub round_trip_us: u64,
    /// How much the delay of a player's packets varies, in microseconds; 0 for a publisher.
    pub jitter_us: u64,
    /// Pictures encoded or decoded, in a second.
    pub pictures_per_second: f64,
    /// The width of the last picture encoded or decoded, in pixels; 0 before the first.
    pub width: u32,
    /// The height of the last picture encoded or decoded, in pixels; 0 before the first.
    pub height: u32,
}

// SAFETY: `repr(C)`, begins with its size, and all its fields are numbers.
unsafe impl Versioned for dreamframe_connection_stats_t {
    const NAME: &'static str = "connection_stats";
    const LEAST: usize = offset_of!(Self, height) + size_of::<u32>();
}
