//! The connection of a publisher or a player to its server.

use std::time::Duration;

use dreamframe::transport::Client;
use dreamframe::transport::peer::{PeerState, PeerStats};
use dreamframe::{Error, ErrorKind, Result};

use crate::transport::state::dreamframe_peer_state_t as State;

/// The connection of a publisher or a player to its server.
pub(crate) struct Link(pub(super) Client);

impl Link {
    pub(crate) fn state(&self) -> State {
        match self.0.state() {
            PeerState::Connected => State::DREAMFRAME_PEER_STATE_CONNECTED,
            PeerState::Disconnected => State::DREAMFRAME_PEER_STATE_DISCONNECTED,
            PeerState::Failed => State::DREAMFRAME_PEER_STATE_FAILED,
            PeerState::Closed => State::DREAMFRAME_PEER_STATE_CLOSED,
            // A state without a number in this header is a transition to one that has.
            PeerState::Connecting | _ => State::DREAMFRAME_PEER_STATE_CONNECTING,
        }
    }

    pub(crate) fn wait_for(&self, state: State, timeout: Duration) -> Result<()> {
        let state = match state {
            State::DREAMFRAME_PEER_STATE_CONNECTING => PeerState::Connecting,
            State::DREAMFRAME_PEER_STATE_CONNECTED => PeerState::Connected,
            State::DREAMFRAME_PEER_STATE_DISCONNECTED => PeerState::Disconnected,
            State::DREAMFRAME_PEER_STATE_FAILED => PeerState::Failed,
            State::DREAMFRAME_PEER_STATE_CLOSED => PeerState::Closed,
        };
        self.0.wait_for(state, timeout)
    }

    /// Returns the oldest event as JSON.
    pub(crate) fn next_event(&self, timeout: Duration) -> Result<Option<String>> {
        let events = self.0.events();
        let event = if timeout.is_zero() { events.try_next() } else { events.next_within(timeout) };
        let told = event.as_ref().map(serde_json::to_string).transpose();
        told.map_err(|error| Error::new(ErrorKind::Internal, "no JSON form").with_source(error))
    }

    /// Returns statistics of the connection; zeros while disconnected.
    pub(super) fn stats(&self) -> PeerStats {
        self.0.stats().unwrap_or_default()
    }

    /// Returns true if the client was stopped or has given up.
    pub(super) fn is_over(&self) -> bool {
        self.0.state().is_over()
    }
}

/// Converts a duration to microseconds.
pub(super) fn micros(time: Option<Duration>) -> u64 {
    time.map_or(0, |time| u64::try_from(time.as_micros()).unwrap_or(u64::MAX))
}
