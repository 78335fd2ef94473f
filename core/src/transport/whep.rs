//! WHEP: where viewers' offers are answered.

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use tokio::sync::broadcast;

use super::ChannelHandler;
use super::http::{Endpoint, Limits, Links, Role, SessionEvent};
use super::peer::{Media, Peer, PeerOptions};

/// Answers WHEP requests for one stream, whatever serves them. Clones are the same endpoint.
///
/// Viewers may come before there is anything to see, stay while publishers come and go, and are shown what the egress of
/// their media shows. Dropping the last clone ends what is left.
#[derive(Debug, Clone)]
pub struct WhepEndpoint {
    endpoint: Arc<Endpoint>,
}

impl WhepEndpoint {
    /// Makes an endpoint whose viewers get `media`, over connections made with `peers`.
    pub fn new(media: Media, peers: PeerOptions, limits: Limits) -> Self {
        Self { endpoint: Arc::new(Endpoint::new(Role::Whep, media, peers, limits)) }
    }

    /// Answers a request to the endpoint or, where `session` has the path's segment behind it, to a session; as
    /// [`WhipEndpoint::handle`](super::WhipEndpoint::handle).
    pub async fn handle(&self, request: Request<Bytes>, session: Option<&str>, links: &Links) -> Response<Bytes> {
        self.endpoint.handle(request, session, links, None).await
    }

    /// As [`handle`](Self::handle), with `channel` in place of the media's for the data channel of the session that begins:
    /// for viewers who may do less than others.
    pub async fn handle_with_channel(
        &self,
        request: Request<Bytes>,
        session: Option<&str>,
        links: &Links,
        channel: Arc<dyn ChannelHandler>,
    ) -> Response<Bytes> {
        self.endpoint.handle(request, session, links, Some(channel)).await
    }

    /// Returns how many viewers there are, those that are about to connect included.
    pub fn viewers(&self) -> usize {
        self.endpoint.len()
    }

    /// Returns the viewers' connections.
    pub fn connections(&self) -> Vec<Peer> {
        self.endpoint.connections()
    }

    /// Returns what becomes of sessions from now on; who is slow loses the oldest.
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
