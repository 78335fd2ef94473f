//! WHIP endpoint: answers publishers' offers.

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use tokio::sync::broadcast;

use super::http::{Endpoint, Limits, Links, Role, SessionEvent};
use super::peer::{Media, Peer, PeerOptions};

/// Answers WHIP requests (RFC 9725) for one stream, behind any HTTP server. Clones share the endpoint.
///
/// There is one publisher at a time: a new one replaces it when it is connected, since publishers that lost their connection
/// reconnect before the loss is noticed. The session of a publisher that disappears ends with its connection; that of one that
/// sends nothing ends after a timeout ([`Limits`]). Dropping the last clone ends all sessions.
#[derive(Debug, Clone)]
pub struct WhipEndpoint {
    endpoint: Arc<Endpoint>,
}

impl WhipEndpoint {
    /// Creates an endpoint whose publishers give `media`, over connections made with `peers`.
    pub fn new(media: Media, peers: PeerOptions, limits: Limits) -> Self {
        Self { endpoint: Arc::new(Endpoint::new(Role::Whip, media, peers, limits)) }
    }

    /// Answers a request to the endpoint or, where `session` has the path's segment behind it, to a session.
    ///
    /// Must be called in a tokio runtime, which then runs the connection. A response takes at most as long as gathering
    /// candidates. No request causes a panic; bodies larger than [`BODY_LIMIT`](super::http::BODY_LIMIT) are refused.
    pub async fn handle(&self, request: Request<Bytes>, session: Option<&str>, links: &Links) -> Response<Bytes> {
        self.endpoint.handle(request, session, links, None).await
    }

    /// Returns the publisher's connection, if there is one; that of a publisher that connects, if there is no other.
    pub fn publisher(&self) -> Option<Peer> {
        self.endpoint.connection()
    }

    /// Subscribes to events of sessions; a slow receiver loses the oldest.
    pub fn events(&self) -> broadcast::Receiver<SessionEvent> {
        self.endpoint.events()
    }

    /// Ends the publisher's session, if there is one; another publisher may connect.
    pub async fn disconnect(&self) {
        self.endpoint.end_all(false).await;
    }

    /// Ends the publisher's session and refuses all others.
    pub async fn close(&self) {
        self.endpoint.end_all(true).await;
    }
}
