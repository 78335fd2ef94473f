//! Requests to a session: add candidates, restart ICE, end it.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, ETAG, HeaderValue};
use http::{Request, Response, StatusCode};

use super::answer::{With as _, empty, refusal};
use super::endpoint::ACCEPT_PATCH;
use super::post::entity_tag;
use super::{End, Endpoint, FRAGMENT, check};
use crate::ErrorKind;
use crate::transport::peer::Peer;
use crate::transport::sdp::Fragment;

impl Endpoint {
    /// Adds candidates, or answers new credentials with an ICE restart. The credentials decide, not `If-Match: *`,
    /// which some clients send with candidates.
    pub(super) async fn patch(&self, request: &Request<Bytes>, id: &str) -> Response<Bytes> {
        let Some(peer) = self.sessions.get(id) else { return gone() };
        let text = match check::text(request.headers(), request.body(), FRAGMENT) {
            Ok(text) => text,
            Err((status, sentence)) => return refusal(status, &sentence).with(ACCEPT_PATCH, FRAGMENT),
        };
        let fragment = match Fragment::parse(text) {
            Ok(fragment) => fragment,
            Err(reason) => return refusal(StatusCode::BAD_REQUEST, &reason.to_string()),
        };
        if !check::is_meant_for(request.headers(), &entity_tag(&peer)) {
            return refusal(
                StatusCode::PRECONDITION_FAILED,
                "If-Match: got another ICE session, expected the current one",
            );
        }
        if peer.is_restart(&fragment) {
            return restart(&peer, &fragment).await;
        }
        match peer.add_candidates(&fragment).await {
            Ok(()) => empty(StatusCode::NO_CONTENT),
            Err(error) if error.kind() == ErrorKind::Closed => gone(),
            Err(error) => refusal(StatusCode::BAD_REQUEST, &format!("{error:#}")),
        }
    }

    pub(super) async fn delete(&self, id: &str) -> Response<Bytes> {
        let Some(peer) = self.sessions.end(id, End::Deleted) else { return gone() };
        peer.close().await;
        empty(StatusCode::OK)
    }

    /// Answers that a session exists.
    pub(super) fn look(&self, id: &str) -> Response<Bytes> {
        if self.sessions.get(id).is_some() { empty(StatusCode::OK).with(ACCEPT_PATCH, FRAGMENT) } else { gone() }
    }
}

async fn restart(peer: &Peer, fragment: &Fragment) -> Response<Bytes> {
    match peer.restart(fragment).await {
        Ok(Some(answer)) => {
            let mut response = empty(StatusCode::OK).with(CONTENT_TYPE, FRAGMENT);
            if let Ok(tag) = HeaderValue::try_from(entity_tag(peer)) {
                response.headers_mut().insert(ETAG, tag);
            }
            *response.body_mut() = answer.into();
            response
        }
        Ok(None) => refusal(
            StatusCode::UNPROCESSABLE_ENTITY,
            "this session does not support an ICE restart: end it and send a new offer",
        ),
        Err(error) if error.kind() == ErrorKind::Closed => gone(),
        Err(error) => refusal(StatusCode::UNPROCESSABLE_ENTITY, &format!("{error:#}")),
    }
}

fn gone() -> Response<Bytes> {
    refusal(StatusCode::NOT_FOUND, "no such session; it may have ended")
}
