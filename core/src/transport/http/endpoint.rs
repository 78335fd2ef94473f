//! Common part of WHIP and WHEP: an endpoint that answers offers, and its sessions.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName};
use http::{Method, Request, Response, StatusCode};
use tokio::sync::{broadcast, watch};

use super::answer::{With as _, empty, method_not_allowed};
use super::ice_links::write_ice_links;
use super::sessions::Sessions;
use super::{End, FRAGMENT, Limits, Links, SDP, SessionEvent};
use crate::transport::ChannelHandler;
use crate::transport::peer::{IceServer, Media, Peer, PeerOptions};

/// The header with the media types accepted in `POST` (RFC 9725).
pub(super) const ACCEPT_POST: HeaderName = HeaderName::from_static("accept-post");
/// The header with the media types accepted by sessions in `PATCH` (RFC 5789).
pub(super) const ACCEPT_PATCH: HeaderName = HeaderName::from_static("accept-patch");

/// The protocol of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::transport) enum Role {
    /// WHIP: one publisher, which a new one replaces.
    Whip,
    /// WHEP: many viewers.
    Whep,
}

/// An endpoint and its sessions.
#[derive(Debug)]
pub(in crate::transport) struct Endpoint {
    pub(super) role: Role,
    pub(super) media: Media,
    pub(super) peers: PeerOptions,
    pub(super) limits: Limits,
    pub(super) sessions: Sessions,
    /// Dropped with the endpoint, which is visible to its sessions.
    pub(super) alive: watch::Sender<()>,
}

impl Endpoint {
    pub(in crate::transport) fn new(role: Role, media: Media, peers: PeerOptions, limits: Limits) -> Self {
        Self { role, media, peers, limits, sessions: Sessions::new(), alive: watch::Sender::new(()) }
    }

    /// Answers a request to the endpoint, or to a session of it; `channel`, if set, handles the data channel of a new
    /// session in place of the media's.
    pub(in crate::transport) async fn handle(
        self: &Arc<Self>,
        request: Request<Bytes>,
        session: Option<&str>,
        links: &Links,
        channel: Option<Arc<dyn ChannelHandler>>,
    ) -> Response<Bytes> {
        match session {
            Some(id) => self.handle_session(request, id).await,
            None => self.handle_endpoint(request, links, channel).await,
        }
    }

    async fn handle_endpoint(
        self: &Arc<Self>,
        request: Request<Bytes>,
        links: &Links,
        channel: Option<Arc<dyn ChannelHandler>>,
    ) -> Response<Bytes> {
        match *request.method() {
            Method::POST => self.post(&request, links, channel).await,
            // A client that gathers its candidates before its offer needs the ICE servers before, too.
            Method::OPTIONS => self.with_ice_servers(empty(StatusCode::NO_CONTENT).with(ACCEPT_POST, SDP)),
            Method::GET | Method::HEAD => {
                let response = empty(StatusCode::OK).with(ACCEPT_POST, SDP);
                if self.role == Role::Whep { response.with(CONTENT_TYPE, SDP) } else { response }
            }
            _ => method_not_allowed("GET, HEAD, OPTIONS, POST"),
        }
    }

    async fn handle_session(&self, request: Request<Bytes>, id: &str) -> Response<Bytes> {
        match *request.method() {
            Method::PATCH => self.patch(&request, id).await,
            Method::DELETE => self.delete(id).await,
            Method::OPTIONS => empty(StatusCode::NO_CONTENT).with(ACCEPT_PATCH, FRAGMENT),
            Method::GET | Method::HEAD => self.look(id),
            _ => method_not_allowed("DELETE, GET, HEAD, OPTIONS, PATCH"),
        }
    }

    /// Adds the ICE servers for clients of this role.
    pub(super) fn with_ice_servers(&self, mut response: Response<Bytes>) -> Response<Bytes> {
        let servers = self.peers.ice_servers.iter();
        let servers: Vec<_> = match self.role {
            Role::Whip => servers.map(IceServer::for_publisher).collect(),
            Role::Whep => servers.filter_map(IceServer::for_viewer).collect(),
        };
        write_ice_links(&servers, response.headers_mut());
        response
    }

    pub(in crate::transport) fn events(&self) -> broadcast::Receiver<SessionEvent> {
        self.sessions.events()
    }

    pub(in crate::transport) fn connections(&self) -> Vec<Peer> {
        self.sessions.peers()
    }

    /// Returns a connection that was established, if there is one; otherwise any.
    pub(in crate::transport) fn connection(&self) -> Option<Peer> {
        self.sessions.connected_first()
    }

    pub(in crate::transport) fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Ends all sessions and waits until they have ended; `for_good` also rejects new ones.
    pub(in crate::transport) async fn end_all(&self, for_good: bool) {
        close_all(self.sessions.end_all(End::Disconnected, for_good)).await;
    }
}

/// Closes connections concurrently.
pub(super) async fn close_all(peers: Vec<Peer>) {
    let mut closing = tokio::task::JoinSet::new();
    for peer in peers {
        closing.spawn(async move { peer.close().await });
    }
    while closing.join_next().await.is_some() {}
}
