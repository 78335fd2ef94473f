//! Responses: all of them are made here, with the CORS headers.

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};

use super::cors::add_cors;

/// Creates an answer without a body.
pub(super) fn empty(status: StatusCode) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = status;
    add_cors(response.headers_mut());
    response
}

/// Creates an error response with one sentence of plain text.
pub fn refusal(status: StatusCode, sentence: &str) -> Response<Bytes> {
    let mut response = empty(status).with(CONTENT_TYPE, "text/plain; charset=utf-8");
    *response.body_mut() = Bytes::copy_from_slice(sentence.as_bytes());
    response
}

/// Returns a temporary refusal.
pub(super) fn later(status: StatusCode, seconds: u32, sentence: &str) -> Response<Bytes> {
    let mut response = refusal(status, sentence);
    response.headers_mut().insert(RETRY_AFTER, seconds.into());
    response
}

/// Returns a refusal of a method, with the `allowed` ones.
pub(super) fn method_not_allowed(allowed: &'static str) -> Response<Bytes> {
    refusal(StatusCode::METHOD_NOT_ALLOWED, "method not allowed; see the Allow header").with(ALLOW, allowed)
}

/// Sets headers in method chains.
pub(super) trait With {
    /// Sets a header to a value that is known to be valid.
    fn with(self, name: HeaderName, value: &'static str) -> Self;
}

impl With for Response<Bytes> {
    fn with(mut self, name: HeaderName, value: &'static str) -> Self {
        self.headers_mut().insert(name, HeaderValue::from_static(value));
        self
    }
}
