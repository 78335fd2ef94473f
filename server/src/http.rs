//! Middleware of all requests: allowed origins, preflights, CORS headers, request ids, the log, error bodies.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, FromRequestParts, Request, State};
use axum::http::header::Entry;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use dreamframe::transport::http::AllowedOrigins;

use crate::app::{App, Counters};
use crate::auth::Caller;
use crate::error::ApiError;
use crate::large_bodies::BodyPermit;
use crate::urls::Urls;
use crate::wire::{self, Object};
use crate::{ids, redact};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const ACCEPT_POST: HeaderName = HeaderName::from_static("accept-post");
const ACCEPT_PATCH: HeaderName = HeaderName::from_static("accept-patch");
/// The longest time for a client to send a body, and a short body.
pub(crate) const BODY_TIME: Duration = Duration::from_secs(60);
pub(crate) const SHORT_BODY_TIME: Duration = Duration::from_secs(10);

/// The checks and counters that all requests pass through.
#[derive(Debug, Clone)]
pub(crate) struct Front {
    pub(crate) counters: Arc<Counters>,
    pub(crate) origins: Arc<AllowedOrigins>,
}

impl Front {
    /// Checks whether a request may be answered. Without keys, requests that browsers send for pages without a
    /// preflight are refused.
    ///
    /// # Errors
    ///
    /// 403 for a page that is not allowed; 415 for a body whose type is not JSON.
    fn admit(&self, request: &Request) -> Result<(), ApiError> {
        let headers = request.headers();
        self.origins.check(headers).map_err(|refused| {
            let text = format!("{refused}; allow it with --allow-origin, or configure API keys");
            ApiError::new(StatusCode::FORBIDDEN, "HTTP/FORBIDDEN", text)
        })?;
        let is_of_page = !self.origins.is_any() && headers.contains_key(header::ORIGIN);
        let has_json = [Method::POST, Method::PUT, Method::PATCH].contains(request.method())
            && !is_media(request.uri().path())
            && has_body(headers);
        if is_of_page && has_json && !is_json(headers) {
            let text = "Content-Type: expected application/json";
            return Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "REQUEST/NOT_JSON", text));
        }
        Ok(())
    }
}

/// Whether a path receives offers; their media type is checked by the handler.
fn is_media(path: &str) -> bool {
    path.starts_with("/live/") || path.starts_with("/webrtc/")
}

fn has_body(headers: &HeaderMap) -> bool {
    let length = headers.get(header::CONTENT_LENGTH);
    length.is_some_and(|length| length != "0") || headers.contains_key(header::TRANSFER_ENCODING)
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}

/// Answers preflights, and adds CORS headers, the request id and error bodies to all responses.
pub(crate) async fn around(State(front): State<Front>, request: Request, next: Next) -> Response {
    let began = Instant::now();
    let id = ids::new("req_");
    let (method, path) = (request.method().clone(), redact::path(request.uri().path()));
    let is_api = ["/v1/", "/beta/", "/api/streams/"].iter().any(|start| path.starts_with(start));
    let asked = request.headers().clone();
    let response = match front.admit(&request) {
        Err(error) => error.into_response(),
        // Before any key is asked for: a preflight carries none.
        Ok(()) if method == Method::OPTIONS && !is_for_endpoint(&request) => preflight(request.uri().path()),
        Ok(()) => next.run(request).await,
    };
    let mut response = with_body(response, &id, is_api);
    front.origins.add_cors(&asked, response.headers_mut());
    // A worker's response has the worker's id, which is in its log.
    if let (Ok(value), Entry::Vacant(place)) = (HeaderValue::from_str(&id), response.headers_mut().entry(REQUEST_ID)) {
        place.insert(value);
    }
    let (status, ms) = (response.status(), began.elapsed().as_secs_f64() * 1000.0);
    front.counters.answered(status);
    if status.is_server_error() && status != StatusCode::SERVICE_UNAVAILABLE {
        tracing::error!(%id, %method, path, status = status.as_u16(), ms, "request failed");
    } else {
        tracing::debug!(%id, %method, path, status = status.as_u16(), ms, "request");
    }
    response
}

/// Whether WHIP and WHEP answer this `OPTIONS`, with their ICE servers, because it is not a browser's preflight.
fn is_for_endpoint(request: &Request) -> bool {
    is_media(request.uri().path()) && !request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

fn preflight(path: &str) -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    headers.insert(header::ALLOW, HeaderValue::from_static("GET, HEAD, POST, PATCH, PUT, DELETE, OPTIONS"));
    if is_media(path) {
        headers.insert(ACCEPT_POST, HeaderValue::from_static("application/sdp"));
        headers.insert(ACCEPT_PATCH, HeaderValue::from_static("application/trickle-ice-sdpfrag"));
    }
    response
}

/// Writes the body of an error, which needs the request's id.
fn with_body(response: Response, id: &str, is_api: bool) -> Response {
    let (mut parts, body) = response.into_parts();
    let is_text =
        parts.headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/plain"));
    // axum refuses a path that is not UTF-8 with plain text.
    if is_api && is_text && parts.status.is_client_error() {
        let error = ApiError::new(parts.status, "REQUEST/INVALID", "The path is not UTF-8");
        parts.extensions.insert(error);
    }
    // axum refuses a method that a path does not have without a body.
    if parts.status == StatusCode::METHOD_NOT_ALLOWED && !parts.headers.contains_key(header::CONTENT_TYPE) {
        let error = ApiError::new(parts.status, "HTTP/METHOD_NOT_ALLOWED", "This path does not support this method");
        parts.extensions.insert(error);
    }
    let Some(error) = parts.extensions.remove::<ApiError>() else { return Response::from_parts(parts, body) };
    tracing::debug!(%id, status = parts.status.as_u16(), error = error.message(), "refused");
    parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    parts.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(parts, Body::from(error.body(id)))
}

/// A body that is a JSON object, regardless of its content type; an empty body is the same as `{}`. With the permit
/// that it holds while it is processed.
#[derive(Debug)]
pub(crate) struct JsonBody(pub(crate) Object, pub(crate) BodyPermit);

impl FromRequest<Arc<App>> for JsonBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, ApiError> {
        let (bytes, room) = app.large_bodies.read(request.into_body()).await?;
        Ok(Self(wire::read_object(&bytes)?, room))
    }
}

/// Reads a body of at most `most` bytes.
///
/// # Errors
///
/// 413 for a longer one, 408 for one that does not come, 400 where the connection breaks.
pub(crate) async fn read_body(body: Body, most: usize) -> Result<Bytes, ApiError> {
    read_body_within(body, most, BODY_TIME).await
}

/// Like [`read_body`], for a body that must come in `time`.
pub(crate) async fn read_body_within(body: Body, most: usize, time: Duration) -> Result<Bytes, ApiError> {
    use axum::body::HttpBody as _;
    if body.size_hint().lower() > most as u64 {
        return Err(body_too_large(most));
    }
    match tokio::time::timeout(time, axum::body::to_bytes(body, most)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) if error.to_string().contains("limit") => Err(body_too_large(most)),
        Ok(Err(_)) => Err(ApiError::bad_request("The body is incomplete")),
        Err(_) => Err(late_body()),
    }
}

/// A body has more than `most` bytes.
pub(crate) fn body_too_large(most: usize) -> ApiError {
    let text = format!("body: got more than {most} bytes, expected at most {most}");
    ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "REQUEST/TOO_LARGE", text)
}

/// The error for a body that did not arrive in time.
pub(crate) fn late_body() -> ApiError {
    ApiError::new(StatusCode::REQUEST_TIMEOUT, "REQUEST/TIMEOUT", "The body did not arrive in time")
}

impl FromRequestParts<Arc<App>> for Caller {
    type Rejection = ApiError;

    /// Takes the caller that the router has identified, since the route's [`Access`](crate::routes) is `Key`.
    async fn from_request_parts(parts: &mut Parts, _: &Arc<App>) -> Result<Self, ApiError> {
        parts.extensions.get::<Self>().cloned().ok_or_else(|| {
            let text = "This route does not check the API key";
            ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "SERVER/INTERNAL", text)
        })
    }
}

impl FromRequestParts<Arc<App>> for Urls {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Self::Rejection> {
        Ok(Self::of(app.config.public_url.as_ref(), &parts.headers, &app.local_url))
    }
}

/// A JSON answer.
pub(crate) fn json(status: StatusCode, value: &impl serde::Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(body) => (status, [(header::CONTENT_TYPE, "application/json")], body).into_response(),
        Err(error) => {
            let text = format!("failed to write the answer: {error}");
            ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "SERVER/INTERNAL", text).into_response()
        }
    }
}
