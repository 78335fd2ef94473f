//! One WebRTC connection between a peer and this library's media: the only folder that names the WebRTC crates.
//!
//! `sdp` reads a peer's description, `plan` decides about each of its sections, `sdp_normalize` writes what is used of
//! it for the crate, and `sdp_answer` makes the answer from the crate's. The `supervisor` is the connection's main
//! task: it starts those of `receive` and `send`, and closes everything at the end. `sockets` sends to where the peer is, which
//! changes with a rebinding of its NAT (`peer_address`).

mod bind;
mod clock;
mod codecs;
mod connection;
mod counters;
mod data;
mod delayed;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod fuzz_api;
mod gathered;
mod key_requests;
mod negotiate;
mod options;
mod pace;
mod peer_address;
mod plan;
mod receive;
mod restart;
mod sdp_answer;
mod sdp_normalize;
mod send;
mod shared;
mod sockets;
mod state;
mod supervisor;
#[cfg(test)]
mod tests;
mod turn;

use std::fmt;
use std::sync::Arc;

use rtc::peer_connection::transport::RTCIceCandidateInit;
use tokio::sync::watch;

pub use options::{IceServer, IceTransportPolicy, PeerOptions};
pub use state::{AudioStats, Media, PeerState, PeerStats, Refusal};

use super::sdp::{Description, Fragment};
use crate::{Error, ErrorKind, Result};
use shared::{Shared, lock};

/// The maximum number of candidates that a peer may send after its description.
const MAX_TRICKLED: usize = 256;

/// A WebRTC connection. Closes when its last clone is dropped.
///
/// Its methods need a tokio runtime, on which the connection's tasks run; it ends with that runtime.
#[derive(Clone)]
pub struct Peer {
    link: Arc<Link>,
}

/// Closes the connection when the last handle is dropped.
struct Link {
    shared: Arc<Shared>,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.shared.stop.send_replace(true);
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = *self.link.shared.states.borrow();
        f.debug_struct("Peer").field("state", &state).field("ice_tag", &self.ice_tag()).finish_non_exhaustive()
    }
}

impl Peer {
    /// Answers an offer, and returns the answer with the candidates found within [`PeerOptions::gather_timeout`]: further
    /// ones are not sent.
    ///
    /// Every section of the offer is answered in its place. The media of the connection is the intersection of the
    /// offer and `media`; a section that is not used stays in the bundle, inactive. Dropping the future ends the
    /// connection.
    pub async fn answer(offer: &str, media: Media, options: &PeerOptions) -> Result<(Self, String), Refusal> {
        negotiate::answer(offer, media, options).await
    }

    /// Creates an offer, with the candidates found within [`PeerOptions::gather_timeout`].
    /// [`set_answer`](Self::set_answer) takes the answer; [`next_candidates`](Self::next_candidates) returns later
    /// candidates.
    ///
    /// Video and audio are offered in the directions of `media`. With a `channel`, the data channel
    /// [`CHANNEL_LABEL`](super::CHANNEL_LABEL) is opened.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` if `media` or [`PeerOptions::bind`] is empty, or if nothing but relayed candidates may be used
    /// without a TURN server; `Io` if no address or port is available, or if no TURN server has allocated one.
    pub async fn offer(media: Media, options: &PeerOptions) -> Result<(Self, String)> {
        negotiate::offer(media, options).await
    }

    /// Takes the answer to the offer that this connection made.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` if the text is not an answer to this offer, `Unsupported` if the peer accepts nothing of
    /// it, `Closed` once the connection is over.
    pub async fn set_answer(&self, answer: &str) -> Result<()> {
        negotiate::set_answer(&self.link.shared, answer).await
    }

    /// Waits for candidates that this side found after its offer, and returns them as a fragment for the peer; the last
    /// one announces their end. `None` once all were returned, once the connection is over, and on the side that
    /// answered. Dropping the future loses none.
    pub async fn next_candidates(&self) -> Option<Fragment> {
        gathered::next(&self.link.shared).await
    }

    /// Takes candidates that the peer found after its description; those that cannot be used are dropped.
    ///
    /// # Errors
    ///
    /// `Closed` once the connection is over, `InvalidArgument` before the peer's description is known and after more
    /// than 256 candidates.
    pub async fn add_candidates(&self, fragment: &Fragment) -> Result<()> {
        let shared = &self.link.shared;
        if shared.states.borrow().is_over() {
            return Err(Error::new(ErrorKind::Closed, "the connection is closed"));
        }
        let mut negotiation = shared.negotiation.lock().await;
        for candidate in fragment.candidates.iter().filter_map(|c| c.usable_from(shared.public_only)) {
            negotiation.trickled += 1;
            if negotiation.trickled > MAX_TRICKLED {
                let reason = format!("candidates: got more than {MAX_TRICKLED}, expected at most {MAX_TRICKLED}");
                return Err(Error::new(ErrorKind::InvalidArgument, reason));
            }
            let candidate = RTCIceCandidateInit { candidate, ..RTCIceCandidateInit::default() };
            shared
                .connection
                .add_ice_candidate(candidate)
                .await
                .map_err(|e| Error::new(ErrorKind::InvalidArgument, "failed to add a candidate").with_source(e))?;
        }
        Ok(())
    }

    /// Returns whether a fragment asks for an ICE restart: it has credentials that are not the peer's current ones.
    pub fn is_restart(&self, fragment: &Fragment) -> bool {
        let descriptions = lock(&self.link.shared.descriptions);
        let current = descriptions.remote.as_ref().and_then(|r| r.live().next());
        current.is_some_and(|c| fragment.ufrag.is_some() && (fragment.ufrag != c.ufrag || fragment.pwd != c.pwd))
    }

    /// Restarts ICE with the peer's new credentials, and returns the fragment that answers: this side's new credentials
    /// and its best candidate. `None` if it is not possible: on the side that made the offer, or without
    /// credentials.
    ///
    /// # Errors
    ///
    /// `Closed` once the connection is over, `Internal` if the crate fails.
    pub async fn restart(&self, fragment: &Fragment) -> Result<Option<String>> {
        restart::restart(&self.link.shared, fragment).await
    }

    /// Returns the id of the ICE session, which changes only with an ICE restart.
    pub fn ice_tag(&self) -> String {
        lock(&self.link.shared.descriptions).local_ufrag.clone()
    }

    /// Returns a receiver of the connection's state. In a final state, all its resources are free.
    pub fn states(&self) -> watch::Receiver<PeerState> {
        self.link.shared.states.subscribe()
    }

    /// Returns the statistics of the connection.
    pub fn stats(&self) -> PeerStats {
        self.link.shared.stats()
    }

    /// Closes the connection and waits until its sockets and tasks have ended.
    pub async fn close(&self) {
        self.link.shared.stop.send_replace(true);
        let mut states = self.states();
        // The sender lives as long as this handle.
        let _ = states.wait_for(|s| s.is_over()).await;
    }
}

/// An error of the crate's, while doing something.
fn failed(doing: &str, error: rtc::shared::error::Error) -> Error {
    Error::new(ErrorKind::Internal, format!("failed to {doing}")).with_source(error)
}

/// Reads a description.
fn parse(text: &str) -> Result<Description, Refusal> {
    Description::parse(text).map_err(|e| Refusal::BadSdp(e.to_string()))
}
