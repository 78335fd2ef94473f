//! Answers an offer: creates a session, and returns the answer with the session's URL.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, ETAG, HeaderName, HeaderValue, LOCATION};
use http::{Request, Response, StatusCode};

use super::answer::{With as _, empty, later, refusal};
use super::endpoint::{ACCEPT_PATCH, ACCEPT_POST};
use super::sessions::{Full, Reservation};
use super::{Endpoint, FRAGMENT, Links, PLAYBACK_URL, Role, SDP, check, id};
use crate::Result;
use crate::transport::ChannelHandler;
use crate::transport::peer::{Peer, Refusal};

/// The `Retry-After` of a refusal at a limit, in seconds.
const RETRY_SECONDS: u32 = 2;

impl Endpoint {
    pub(super) async fn post(
        self: &Arc<Self>,
        request: &Request<Bytes>,
        links: &Links,
        channel: Option<Arc<dyn ChannelHandler>>,
    ) -> Response<Bytes> {
        let offer = match check::text(request.headers(), request.body(), SDP) {
            Ok(offer) => offer,
            Err((status, sentence)) => return refusal(status, &sentence).with(ACCEPT_POST, SDP),
        };
        let named = id::new().and_then(|id| Ok((Named::new(&id, links)?, id)));
        let (named, id) = match named {
            Ok(named) => named,
            Err(error) => {
                tracing::error!(error = format!("{error:#}"), "failed to make a session id");
                return refusal(StatusCode::INTERNAL_SERVER_ERROR, "failed to make a session id");
            }
        };
        let room = match self.reserve() {
            Ok(room) => room,
            Err(full) => return limit_reached(full),
        };
        let mut media = self.media.clone();
        media.channel = channel.or(media.channel);
        let (peer, answer) = match Peer::answer(offer, media, &self.peers).await {
            Ok(answered) => answered,
            Err(refused) => return self.refused(&refused),
        };
        let response = self.created(&peer, answer, named);
        if let Err(full) = room.take(id.clone(), peer.clone()) {
            return limit_reached(full);
        }
        tokio::spawn(self.watch(id, peer));
        response
    }

    fn reserve(&self) -> Result<Reservation<'_>, Full> {
        // A new publisher replaces the current one.
        let most = if self.role == Role::Whip { usize::MAX } else { self.limits.viewers };
        self.sessions.reserve(&self.limits, most)
    }

    fn refused(&self, refused: &Refusal) -> Response<Bytes> {
        let status = match (refused, self.role) {
            (Refusal::BadSdp(_), _) => StatusCode::BAD_REQUEST,
            // Some players react to 406 by offering something else, which publishers do not.
            (Refusal::NoCommonCodec(_), Role::Whep) => StatusCode::NOT_ACCEPTABLE,
            (Refusal::NoCommonCodec(_) | Refusal::TooManyTracks(_), _) => StatusCode::UNPROCESSABLE_ENTITY,
            (Refusal::Failed(error), _) => {
                tracing::warn!(error = format!("{error:#}"), "failed to answer an offer");
                return later(
                    StatusCode::SERVICE_UNAVAILABLE,
                    RETRY_SECONDS,
                    "the server cannot open a connection now",
                );
            }
        };
        refusal(status, &refused.to_string())
    }

    fn created(&self, peer: &Peer, answer: String, named: Named) -> Response<Bytes> {
        let mut response = empty(StatusCode::CREATED).with(CONTENT_TYPE, SDP).with(ACCEPT_PATCH, FRAGMENT);
        let headers = response.headers_mut();
        headers.insert(LOCATION, named.location);
        if let Some(playback) = named.playback {
            headers.insert(HeaderName::from_static(PLAYBACK_URL), playback);
        }
        if let Ok(tag) = HeaderValue::try_from(entity_tag(peer)) {
            headers.insert(ETAG, tag);
        }
        *response.body_mut() = answer.into();
        self.with_ice_servers(response)
    }
}

/// The addresses of a new session, as headers.
struct Named {
    location: HeaderValue,
    playback: Option<HeaderValue>,
}

impl Named {
    fn new(id: &str, links: &Links) -> Result<Self> {
        let value = |text: &str| {
            let wrong = |error| {
                let what = format!("address: got {text:?}, which is not valid in a header");
                crate::Error::new(crate::ErrorKind::InvalidArgument, what).with_source(error)
            };
            HeaderValue::try_from(text).map_err(wrong)
        };
        let playback = links.playback.as_deref().map(value).transpose()?;
        Ok(Self { location: value(&format!("{}/{id}", links.resource))?, playback })
    }
}

/// The strong entity tag of a connection's ICE session.
pub(super) fn entity_tag(peer: &Peer) -> String {
    format!("\"{}\"", peer.ice_tag())
}

fn limit_reached(full: Full) -> Response<Bytes> {
    match full {
        Full::Viewers => later(StatusCode::TOO_MANY_REQUESTS, RETRY_SECONDS, "viewer limit reached"),
        Full::Connecting => {
            later(StatusCode::SERVICE_UNAVAILABLE, RETRY_SECONDS, "limit of connections in setup reached")
        }
        Full::Closed => later(StatusCode::SERVICE_UNAVAILABLE, RETRY_SECONDS, "the stream has been closed"),
    }
}
