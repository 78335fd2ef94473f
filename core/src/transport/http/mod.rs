//! The HTTP half of WHIP (RFC 9725) and WHEP: requests and responses as values of the `http` crate, without a server or
//! client.
//!
//! A server passes each request with its body to [`WhipEndpoint::handle`](super::WhipEndpoint::handle) or
//! [`WhepEndpoint::handle`](super::WhepEndpoint::handle) and sends the response. All responses are made in `answer.rs`,
//! with the headers that browsers need for other origins ([`add_cors`]). A server without a secret checks each request
//! before ([`AllowedOrigins`]), since browsers send requests of any page.

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
use crate::setters::setters;

/// The maximum number of bytes that the body of a request, or of an answer, may have.
pub const BODY_LIMIT: usize = 64 * 1024;
/// The media type of session descriptions.
pub(super) const SDP: &str = "application/sdp";
/// The media type of trickled candidates.
pub(super) const FRAGMENT: &str = "application/trickle-ice-sdpfrag";
/// The header with the address at which a publisher's pictures can be watched, in the answer to its offer.
pub(super) const PLAYBACK_URL: &str = "livepeer-playback-url";

/// The addresses in responses: absolute, without a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Links {
    /// The endpoint's own, without a slash at the end: sessions are one segment below it.
    pub resource: String,
    /// The URL to watch a publisher's pictures at; part of the answer to its offer.
    pub playback: Option<String>,
}

/// Limits of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// The most viewers of an endpoint; further ones get 429. Default: 32.
    pub viewers: usize,
    /// The most sessions of an endpoint that are connecting; further ones get 503. Default: 8.
    pub connecting: usize,
    /// The longest time after connecting in which a publisher sends nothing before its session ends. Default: 10 s.
    pub first_media: Duration,
    /// The longest pause of a publisher before its session ends. Default: 60 s.
    pub silence: Duration,
}

setters! {
    Limits:
    with_viewers, viewers: usize;
    with_connecting, connecting: usize;
    with_first_media, first_media: Duration;
    with_silence, silence: Duration;
}

impl Default for Limits {
    fn default() -> Self {
        Self { viewers: 32, connecting: 8, first_media: Duration::from_secs(10), silence: Duration::from_secs(60) }
    }
}

/// An event of a session.
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
    /// No packets of the peer arrived for some seconds.
    Disconnected {
        /// The session.
        id: String,
    },
    /// The session has ended. Sent exactly once for each that started.
    Ended {
        /// The session.
        id: String,
        /// The reason.
        reason: End,
    },
}

/// The reason for which a session has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum End {
    /// The client deleted it.
    Deleted,
    /// Another publisher connected.
    Replaced,
    /// The connection was not established.
    NeverConnected,
    /// The connection was lost.
    Lost,
    /// The other side closed the connection.
    Closed,
    /// The publisher sent nothing for too long.
    NoMedia,
    /// The host ended it.
    Disconnected,
}
