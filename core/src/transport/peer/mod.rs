//! One WebRTC connection between a peer and this library's media: the only folder that names the crates doing WebRTC.

mod options;
mod state;

use tokio::sync::watch;

pub use options::{IceServer, PeerOptions};
pub use state::{Media, PeerState, PeerStats, Refusal};

use super::sdp;
use crate::{Error, ErrorKind, Result};

/// A WebRTC connection. Closes when its last clone is dropped.
#[derive(Debug, Clone)]
pub struct Peer {
    states: watch::Receiver<PeerState>,
}

impl Peer {
    /// Answers an offer, and returns the answer with every candidate in it: nothing more need be sent.
    pub async fn answer(_offer: &str, _media: Media, _options: &PeerOptions) -> Result<(Self, String), Refusal> {
        Err(Refusal::Failed(Error::new(ErrorKind::Unsupported, "not there yet")))
    }

    /// Makes an offer, with every candidate in it. [`set_answer`](Self::set_answer) takes the answer to it.
    pub async fn offer(_media: Media, _options: &PeerOptions) -> Result<(Self, String)> {
        Err(Error::new(ErrorKind::Unsupported, "not there yet"))
    }

    /// Takes the answer to the offer that this connection made.
    pub async fn set_answer(&self, _answer: &str) -> Result<()> {
        Err(Error::new(ErrorKind::Unsupported, "not there yet"))
    }

    /// Takes candidates that the peer found after its description; those that cannot be used are dropped.
    pub async fn add_candidates(&self, _fragment: &sdp::Fragment) -> Result<()> {
        Err(Error::new(ErrorKind::Unsupported, "not there yet"))
    }

    /// Restarts ICE with the peer's new credentials, and returns the fragment that answers; `None` where it is not possible.
    pub async fn restart(&self, _fragment: &sdp::Fragment) -> Result<Option<String>> {
        Ok(None)
    }

    /// Tells whether a fragment asks for an ICE restart.
    pub fn is_restart(&self, _fragment: &sdp::Fragment) -> bool {
        false
    }

    /// Names the ICE session: changes with an ICE restart, and with nothing else.
    pub fn ice_tag(&self) -> String {
        String::new()
    }

    /// Watches how far the connection is.
    pub fn states(&self) -> watch::Receiver<PeerState> {
        self.states.clone()
    }

    /// Says what the connection has carried.
    pub fn stats(&self) -> PeerStats {
        PeerStats::default()
    }

    /// Closes the connection and waits until its sockets and tasks are gone.
    pub async fn close(&self) {}
}
