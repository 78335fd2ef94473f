//! Checks requests: media types, preconditions.

use bytes::Bytes;
use http::StatusCode;
use http::header::{CONTENT_TYPE, ETAG, HeaderMap, IF_MATCH};

use super::BODY_LIMIT;

/// The reason for rejecting a body: the status and a sentence.
pub(super) type Refused = (StatusCode, String);

/// Returns the body as text of the media type `wanted`. Parameters of the type are ignored.
pub(super) fn text<'a>(headers: &HeaderMap, body: &'a Bytes, wanted: &str) -> Result<&'a str, Refused> {
    if body.len() > BODY_LIMIT {
        let sentence = format!("body: got {} bytes, expected at most {BODY_LIMIT}", body.len());
        return Err((StatusCode::PAYLOAD_TOO_LARGE, sentence));
    }
    let given = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let given = given.and_then(|value| value.split(';').next());
    if !given.is_some_and(|given| given.trim().eq_ignore_ascii_case(wanted)) {
        return Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, format!("Content-Type: expected {wanted}")));
    }
    std::str::from_utf8(body).map_err(|error| (StatusCode::BAD_REQUEST, format!("body: not UTF-8: {error}")))
}

/// Returns true for a request to the ICE session `tag` (an entity tag with quotes), or without a precondition.
///
/// Some clients send the tag under its own name in place of `If-Match`, some send `*` and some send nothing.
pub(super) fn is_meant_for(headers: &HeaderMap, tag: &str) -> bool {
    let name = if headers.contains_key(IF_MATCH) { IF_MATCH } else { ETAG };
    let mut says = false;
    for value in headers.get_all(name) {
        for one in value.to_str().unwrap_or("?").split(',').map(str::trim).filter(|one| !one.is_empty()) {
            says = true;
            if one == "*" || one == tag || Some(one) == unquoted(tag) {
                return true;
            }
        }
    }
    !says
}

fn unquoted(tag: &str) -> Option<&str> {
    tag.strip_prefix('"')?.strip_suffix('"')
}
