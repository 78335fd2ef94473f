//! Error responses: the body with seven keys that Daydream's clients read.
//!
//! Both official SDKs have typed errors for 400, 401, 403, 404, 409, 429 and 500 only, so invalid parameters are 400
//! and not 422. The request's id is added to the body in [`http`](crate::http).

use std::borrow::Cow;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use dreamframe::{Error, ErrorKind, Violation};
use serde::Serialize;
use serde_json::{Value, json};

use crate::paths;

/// The most values at fault that are listed.
const MOST_FIELDS: usize = 50;
/// Longest path, and longest reason, in characters.
const LONGEST: usize = 500;

/// The result of a handler.
pub(crate) type ApiResult<T = Response> = Result<T, ApiError>;

/// The reason for rejecting a request.
#[derive(Debug, Clone)]
pub(crate) struct ApiError {
    // Boxed, since results are common and errors are rare.
    inner: Box<Inner>,
}

#[derive(Debug, Clone)]
struct Inner {
    status: StatusCode,
    /// `AREA/REASON`.
    code: &'static str,
    message: String,
    details: Value,
    /// In seconds.
    retry_after: Option<u32>,
}

/// The body; exactly these keys.
#[derive(Debug, Serialize)]
struct Body<'a> {
    success: bool,
    error: &'a str,
    code: &'a str,
    status: u16,
    details: &'a Value,
    #[serde(rename = "requestId")]
    request: &'a str,
    #[serde(rename = "traceId")]
    trace: &'a str,
}

impl ApiError {
    /// Creates a refusal without details.
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        let inner = Inner { status, code, message: message.into(), details: json!({}), retry_after: None };
        Self { inner: Box::new(inner) }
    }

    /// A body or a query that cannot be read or used.
    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "REQUEST/INVALID", message)
    }

    /// A value at fault, by its path in the body.
    pub(crate) fn field(path: &str, message: impl Into<String>) -> Self {
        Self::fields(vec![Violation::new(path, message)])
    }

    /// Values at fault, by their paths in the body: the first 50, and the number of `more`. The text lists `{path}: {reason}`.
    pub(crate) fn fields(violations: Vec<Violation>) -> Self {
        let more = violations.len().saturating_sub(MOST_FIELDS);
        let (mut lines, mut fields) = (Vec::new(), Vec::new());
        for Violation { path, message, .. } in violations.into_iter().take(MOST_FIELDS) {
            let (path, reason) = (clipped(path), clipped(message));
            lines.push(format!("{path}: {reason}"));
            fields.push(json!({ "path": path, "reason": reason }));
        }
        let mut text = lines.join("; ");
        let mut details = json!({ "fields": fields });
        if more > 0 {
            text.push_str(&format!("; and {more} more"));
            details["more"] = more.into();
        }
        let mut error = Self::new(StatusCode::BAD_REQUEST, "STREAMS/INVALID_PARAMS", text);
        error.inner.details = details;
        error
    }

    /// No stream has this id, or not for this key.
    pub(crate) fn no_stream() -> Self {
        Self::new(StatusCode::NOT_FOUND, "STREAMS/NOT_FOUND", "No stream with this id")
    }

    /// A limit is reached; it may be free again in `seconds`.
    pub(crate) fn limit(status: StatusCode, what: &str, limit: usize, seconds: u32) -> Self {
        let text = format!("This server allows at most {limit} {what}");
        let mut error = Self::later(status, "SERVER/LIMIT", text, seconds);
        error.inner.details = json!({"limit": limit, "of": what});
        error
    }

    /// A session needs `needed` bytes of memory, of which `available` are left; that may change in `seconds`.
    pub(crate) fn no_memory(needed: u64, available: u64, seconds: u32) -> Self {
        let text = format!("memory for the stream: got {available} bytes available, expected at least {needed}");
        let mut error = Self::later(StatusCode::SERVICE_UNAVAILABLE, "SERVER/MEMORY", text, seconds);
        error.inner.details = json!({"needed_bytes": needed, "available_bytes": available});
        error
    }

    /// A request that may succeed in `seconds`.
    pub(crate) fn later(status: StatusCode, code: &'static str, message: impl Into<String>, seconds: u32) -> Self {
        let mut error = Self::new(status, code, message);
        error.inner.retry_after = Some(seconds);
        error
    }

    /// The HTTP status.
    pub(crate) fn status(&self) -> StatusCode {
        self.inner.status
    }

    /// The message.
    pub(crate) fn message(&self) -> &str {
        &self.inner.message
    }

    /// Details in addition to the message; `fields` lists the invalid values, each with `path` and `reason`.
    pub(crate) fn details(&self) -> &Value {
        &self.inner.details
    }

    /// The body, for the request `id`.
    pub(crate) fn body(&self, id: &str) -> String {
        let (error, code, details) = (self.inner.message.as_str(), self.inner.code, &self.inner.details);
        let body =
            Body { success: false, error, code, status: self.inner.status.as_u16(), details, request: id, trace: id };
        // Cannot fail: all keys are text.
        serde_json::to_string(&body).unwrap_or_default()
    }
}

/// Text that contains input of a client, truncated if it is long.
fn clipped(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(LONGEST) {
        text.truncate(end);
        text.push('…');
    }
    text
}

/// The texts of the library may name files; a client gets their names without folders.
impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        Self::from(&error)
    }
}

impl From<&Error> for ApiError {
    fn from(error: &Error) -> Self {
        if !error.violations().is_empty() {
            return Self::fields(error.violations().to_vec());
        }
        let (status, code) = match error.kind() {
            ErrorKind::InvalidParams => (StatusCode::BAD_REQUEST, "STREAMS/INVALID_PARAMS"),
            ErrorKind::InvalidFrame | ErrorKind::InvalidArgument => (StatusCode::BAD_REQUEST, "REQUEST/INVALID"),
            // Unsupported requests can be corrected by the client; the SDKs have no typed error for 501.
            ErrorKind::Unsupported => (StatusCode::BAD_REQUEST, "STREAMS/UNSUPPORTED"),
            ErrorKind::NotFound => (StatusCode::NOT_FOUND, "MODELS/NOT_FOUND"),
            ErrorKind::BadModel => (StatusCode::UNPROCESSABLE_ENTITY, "MODELS/BAD"),
            ErrorKind::OutOfMemory => (StatusCode::INSUFFICIENT_STORAGE, "SERVER/OUT_OF_MEMORY"),
            ErrorKind::Device => (StatusCode::SERVICE_UNAVAILABLE, "SERVER/DEVICE"),
            ErrorKind::Closed => (StatusCode::GONE, "STREAMS/CLOSED"),
            ErrorKind::Timeout => (StatusCode::GATEWAY_TIMEOUT, "SERVER/TIMEOUT"),
            ErrorKind::Cancelled | ErrorKind::Io | ErrorKind::Internal | _ => {
                (StatusCode::INTERNAL_SERVER_ERROR, "SERVER/INTERNAL")
            }
        };
        let text = format!("{error:#}");
        let shown = paths::without_folders(&text);
        if let Cow::Owned(_) = shown {
            // The client does not get the folders; the operator may need them.
            tracing::info!(error = text, "refused");
        }
        Self::new(status, code, shown)
    }
}

impl IntoResponse for ApiError {
    /// The body is written where the request's id is known.
    fn into_response(self) -> Response {
        let mut response = self.inner.status.into_response();
        if let Some(seconds) = self.inner.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response.extensions_mut().insert(self);
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_body_has_exactly_the_seven_keys_and_repeats_the_status() {
        let error = ApiError::field("params.delta", "got -1, expected a number from 0 to 10");
        let body: serde_json::Map<String, Value> = serde_json::from_str(&error.body("req_1")).unwrap();
        let keys: Vec<_> = body.keys().map(String::as_str).collect();
        assert_eq!(keys, ["success", "error", "code", "status", "details", "requestId", "traceId"]);
        assert_eq!(body["status"], 400);
        assert_eq!(body["details"]["fields"][0]["path"], "params.delta");
        assert_eq!(body["requestId"], body["traceId"]);
    }

    #[test]
    fn limit_error_has_the_limit_and_retry_after() {
        let error = ApiError::limit(StatusCode::TOO_MANY_REQUESTS, "streams", 3, 5);
        assert!(error.message().contains("at most 3 streams"));
        assert_eq!(error.into_response().headers()[header::RETRY_AFTER], "5");
    }

    #[test]
    fn errors_do_not_reveal_server_folders() {
        let text = "model org/name not found: tried /srv/my models/org/name, /home/ann/.cache/x, C:\\hub\\name";
        let cause = std::io::Error::other("\"/etc/secret/key.pem\" is missing");
        let message = ApiError::from(Error::new(ErrorKind::NotFound, text).with_source(cause)).message().to_owned();
        for hidden in ["/srv", "my models", "/home", "ann", "C:\\hub", "/etc", "secret"] {
            assert!(!message.contains(hidden), "{hidden}: {message}");
        }
        assert!(message.starts_with("model org/name not found"), "{message}");
    }

    #[test]
    fn every_kind_of_error_has_a_status() {
        for (kind, status) in [
            (ErrorKind::InvalidArgument, 400),
            (ErrorKind::Unsupported, 400),
            (ErrorKind::NotFound, 404),
            (ErrorKind::Closed, 410),
            (ErrorKind::OutOfMemory, 507),
            (ErrorKind::Io, 500),
            (ErrorKind::Internal, 500),
        ] {
            assert_eq!(ApiError::from(Error::new(kind, "x")).status().as_u16(), status, "{kind}");
        }
    }

    #[test]
    fn first_errors_are_listed_and_the_rest_are_counted() {
        let fault = |at: usize| Violation::new(format!("params.a{at}"), "got 1, expected 2");
        let error = ApiError::fields((0..1000).map(fault).collect());
        let fields = error.details()["fields"].as_array().unwrap();
        assert_eq!((fields.len(), &error.details()["more"]), (50, &json!(950)));
        assert!(error.message().len() < 4096 && error.message().ends_with("and 950 more"), "{}", error.message());
        let long = Violation::new("a".repeat(1 << 20), "b".repeat(1 << 20));
        assert!(ApiError::fields(vec![long]).body("req_1").len() < 4096);
        let few = ApiError::field("params.delta", "got -1");
        assert!(few.details().get("more").is_none());
    }
}
