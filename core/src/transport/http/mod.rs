//! The HTTP half of WHIP (RFC 9725) and WHEP: requests and answers as values of the `http` crate, no server and no client.
//!
//! Whoever serves hands each request with its body to [`WhipEndpoint::handle`](super::WhipEndpoint::handle) or
//! [`WhepEndpoint::handle`](super::WhepEndpoint::handle) and sends back what returns. All answers begin in `answer.rs`, so
//! that none lacks what browsers of other origins need ([`add_cors`]). A server that asks for no secret checks each request
//! before ([`AllowedOrigins`]), since browsers send those of every page.

mod answer;
mod base;
mod check;
mod cors;
mod endpoint;
mod ice_links;
mod id;
mod origins;
mod post;
mod resource;
mod sessions;
#[cfg(test)]
mod tests;
mod watch;

use std::time::Duration;

pub use self::answer::refusal;
pub use self::base::base_url;
pub use self::cors::add_cors;
pub(super) use self::endpoint::{Endpoint, Role};
pub(super) use self::ice_links::read_ice_links;
pub use self::origins::{AllowedOrigins, OriginRefused};

/// The most bytes that the body of a request, or of an answer, may have.
pub const BODY_LIMIT: usize = 64 * 1024;
/// The media type of session descriptions.
pub(super) const SDP: &str = "application/sdp";
/// The media type of trickled candidates.
pub(super) const FRAGMENT: &str = "application/trickle-ice-sdpfrag";
/// Names the address at which a publisher's pictures are watched, in the answer to its offer.
pub(super) const PLAYBACK_URL: &str = "livepeer-playback-url";

/// The addresses that answers name: absolute, without a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Links {
    /// The endpoint's own, without a slash at the end: sessions are one segment below it.
    pub resource: String,
    /// Where a publisher's pictures are watched; said in the answer to its offer.
    pub playback: Option<String>,
}

/// What an endpoint bears.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How many viewers an endpoint may have; one more is refused with 429. Default: 32.
    pub viewers: usize,
    /// How many sessions of an endpoint may be about to connect; one more is refused with 503. Default: 8.
    pub connecting: usize,
    /// How long after connecting a publisher may send nothing before its session ends. Default: 10 s.
    pub first_media: Duration,
    /// How long a publisher may pause before its session ends. Default: 60 s.
    pub silence: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { viewers: 32, connecting: 8, first_media: Duration::from_secs(10), silence: Duration::from_secs(60) }
    }
}

/// What happens to a session of an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SessionEvent {
    /// An offer was answered.
    Started {
        /// The session: the last segment of its address.
        id: String,
    },
    /// The connection is up, or up again.
    Connected {
        /// The session.
        id: String,
    },
    /// Nothing was heard from the peer for some seconds.
    Disconnected {
        /// The session.
        id: String,
    },
    /// The session is over. Comes exactly once for each that started.
    Ended {
        /// The session.
        id: String,
        /// Why.
        reason: End,
    },
}

/// Why a session is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum End {
    /// The client deleted it.
    Deleted,
    /// Another publisher connected.
    Replaced,
    /// The connection never came about.
    NeverConnected,
    /// The connection was lost.
    Lost,
    /// The other side closed the connection.
    Closed,
    /// The publisher sent nothing for too long.
    NoMedia,
    /// The endpoint was told to end it.
    Disconnected,
}
