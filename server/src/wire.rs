//! The formats of Daydream's API: request bodies, and the stream object in responses.
//!
//! This module implements what those clients need and the engine does not have: older forms of requests, unknown keys,
//! and the keys of each model's schema. It is independent of streams.

pub(crate) mod echo;
pub(crate) mod fade;
pub(crate) mod incoming;
pub(crate) mod models;
#[cfg(test)]
mod proptests;
pub(crate) mod request;
pub(crate) mod shown;
pub(crate) mod unknown;

use axum::body::Bytes;
use dreamframe::Violation;
use dreamframe::params::read_json_object;
use serde_json::{Map, Value};

use crate::error::ApiError;

/// The largest body, in bytes: enough for the largest style image, which has 8 MiB of base64, and everything else.
pub(crate) const MAX_BODY: usize = 12 << 20;

/// A JSON object, which keeps the order of its keys.
pub(crate) type Object = Map<String, Value>;

/// Reads a body that is a JSON object, or empty, which means the same as `{}`.
///
/// # Errors
///
/// 400 for text that is not UTF-8, not JSON, not an object, nested too deeply, or has a key twice.
pub(crate) fn read_object(body: &Bytes) -> Result<Object, ApiError> {
    let text = std::str::from_utf8(body).map_err(|_| ApiError::bad_request("The body is not UTF-8"))?;
    if text.trim().is_empty() {
        return Ok(Object::new());
    }
    read_json_object(text, MAX_BODY).map_err(|error| {
        let named = |v: &Violation| Violation::new(v.path.replace("parameters", "body"), v.message.clone());
        ApiError::fields(error.violations().iter().map(named).collect())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(body: &'static [u8]) -> bool {
        read_object(&Bytes::from_static(body)).is_err_and(|error| error.status() == 400)
    }

    /// Line 19 of the compatibility checklist.
    #[test]
    fn malformed_json_is_a_bad_request() {
        for body in [
            br#"{"name": "\ud800"}"#.as_slice(),
            br#"{"seed": 1e999}"#,
            br#"{"delta": NaN}"#,
            br#"{"delta": Infinity}"#,
            br#"{"name": "a", "name": "b"}"#,
            br#"{"params": {"delta": 1, "delta": 2}}"#,
            br#"{"a":[[[[[[[[[[[[1]]]]]]]]]]]]}"#,
            b"[1]",
            b"nonsense",
            b"\xff\xfe",
            br#"{"prompt": "say "hello""}"#,
        ] {
            assert!(refused(body), "{}", String::from_utf8_lossy(body));
        }
        let deep = "[".repeat(1 << 20);
        assert!(read_object(&Bytes::from(deep)).is_err());
    }

    #[test]
    fn an_empty_body_is_an_empty_object() {
        for body in ["", " \r\n", "{}"] {
            assert!(read_object(&Bytes::from(body)).unwrap().is_empty());
        }
    }
}
