//! What WHIP and WHEP have in common: the endpoint of the library answers, this gives it the request.

use axum::body::Body;
use axum::extract::Request;
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use dreamframe::transport::http::{BODY_LIMIT, Links, refusal};

use crate::http::{SHORT_BODY_TIME, read_body_within};
use crate::urls::Urls;

/// How requests reach an endpoint: the body at hand.
pub(super) type Whole = axum::http::Request<Bytes>;

/// Reads the body of a request.
///
/// # Errors
///
/// The answer, where there is too much of it or it does not come.
pub(super) async fn whole(request: Request) -> Result<Whole, Response> {
    let (parts, body) = request.into_parts();
    match read_body_within(body, BODY_LIMIT, SHORT_BODY_TIME).await {
        Ok(bytes) => Ok(Whole::from_parts(parts, bytes)),
        Err(error) => Err(answer(refusal(error.status(), error.message()))),
    }
}

/// The library's answer as axum's.
pub(super) fn answer(response: axum::http::Response<Bytes>) -> Response {
    response.map(Body::from).into_response()
}

/// What there is no stream for. Players tell by the words that it may come yet.
pub(super) fn no_stream() -> Response {
    answer(refusal(StatusCode::NOT_FOUND, "Stream is offline: there is no stream at this address"))
}

/// The addresses that answers name.
pub(super) fn links(urls: &Urls, path: &str, playback: Option<String>) -> Links {
    Links { resource: urls.absolute(path), playback }
}

/// Whether a request is an offer that was answered.
pub(super) fn is_accepted(method: &Method, session: Option<&str>, response: &axum::http::Response<Bytes>) -> bool {
    *method == Method::POST && session.is_none() && response.status() == StatusCode::CREATED
}
