//! WHIP: where a publisher's offer is answered.

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use tokio::sync::broadcast;

use super::http::{Endpoint, Limits, Links, Role, SessionEvent};
use super::peer::{Media, Peer, PeerOptions};

/// Answers WHIP requests (RFC 9725) for one stream, whatever serves them. Clones are the same endpoint.
///
/// There is one publisher at a time: another takes its place at once, as publishers that lost their connection come back
/// before that is noticed. The session of a publisher that goes without a word ends with its connection, and so does one
/// that sends nothing. Dropping the last clone ends what is left.
#[derive(Debug, Clone)]
pub struct WhipEndpoint {
    endpoint: Arc<Endpoint>,
}

impl WhipEndpoint {
    /// Makes an endpoint whose publishers give `media`, over connections made with `peers`.
    pub fn new(media: Media, peers: PeerOptions, limits: Limits) -> Self {
        Self { endpoint: Arc::new(Endpoint::new(Role::Whip, media, peers, limits)) }
    }

    /// Answers a request to the endpoint or, where `session` has the path's segment behind it, to a session.
    ///
    /// Must be called in a tokio runtime, in which the connection then lives. An answer takes at most as long as gathering
    /// candidates does. No request panics, and none of a body larger than [`BODY_LIMIT`](super::http::BODY_LIMIT) is read.
    pub async fn handle(&self, request: Request<Bytes>, session: Option<&str>, links: &Links) -> Response<Bytes> {
        self.endpoint.handle(request, session, links, None).await
    }

    /// Returns the publisher's connection, if there is one.
    pub fn publisher(&self) -> Option<Peer> {
        self.endpoint.connections().pop()
    }

    /// Returns what becomes of sessions from now on; who is slow loses the oldest.
    pub fn events(&self) -> broadcast::Receiver<SessionEvent> {
        self.endpoint.events()
    }

    /// Ends the publisher's session, if there is one; the next publisher may come.
    pub async fn disconnect(&self) {
        self.endpoint.end_all(false).await;
    }

    /// Ends the publisher's session and refuses all others.
    pub async fn close(&self) {
        self.endpoint.end_all(true).await;
    }
}
