//! WHEP endpoint: answers viewers' offers.

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use tokio::sync::broadcast;

use super::ChannelHandler;
use super::http::{Endpoint, Limits, Links, Role, SessionEvent};
use super::peer::{Media, Peer, PeerOptions};

/// Answers WHEP requests for one stream, behind any HTTP server. Clones share the endpoint.
///
/// Viewers may connect before there are pictures, and stay connected while publishers change; they get the pictures of
/// their media's egress. Dropping the last clone ends all sessions.
#[derive(Debug, Clone)]
pub struct WhepEndpoint {
    endpoint: Arc<Endpoint>,
}

impl WhepEndpoint {
    /// Creates an endpoint whose viewers get `media`, over connections made with `peers`.
    pub fn new(media: Media, peers: PeerOptions, limits: Limits) -> Self {
        Self { endpoint: Arc::new(Endpoint::new(Role::Whep, media, peers, limits)) }
    }

    /// Answers a request to the endpoint or, where `session` has the path's segment behind it, to a session; as
    /// [`WhipEndpoint::handle`](super::WhipEndpoint::handle).
    pub async fn handle(&self, request: Request<Bytes>, session: Option<&str>, links: &Links) -> Response<Bytes> {
        self.endpoint.handle(request, session, links, None).await
    }

    /// Like [`handle`](Self::handle), with `channel` in place of the media's for the data channel of a new session:
    /// for viewers with fewer permissions than others.
    pub async fn handle_with_channel(
        &self,
        request: Request<Bytes>,
        session: Option<&str>,
        links: &Links,
        channel: Arc<dyn ChannelHandler>,
    ) -> Response<Bytes> {
        self.endpoint.handle(request, session, links, Some(channel)).await
    }

    /// Returns the number of viewers, including those that are connecting.
    pub fn viewers(&self) -> usize {
        self.endpoint.len()
    }

    /// Returns the viewers' connections.
    pub fn connections(&self) -> Vec<Peer> {
        self.endpoint.connections()
    }

    /// Subscribes to events of sessions; a slow receiver loses the oldest.
    pub fn events(&self) -> broadcast::Receiver<SessionEvent> {
        self.endpoint.events()
    }

    /// Ends all sessions; others may come.
    pub async fn disconnect(&self) {
        self.endpoint.end_all(false).await;
    }

    /// Ends all sessions and refuses others.
    pub async fn close(&self) {
        self.endpoint.end_all(true).await;
    }
}
