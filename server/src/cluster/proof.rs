//! Proof that a request to a worker is from a gateway of its cluster: `dreamframe-gateway: 1 <time> <signature>`.
//!
//! The signature covers the worker's id, the time (seconds since 1970), the method, path and query, and the headers
//! that are trusted from gateways only, so that a proof is valid for one request to one worker. The body is not
//! covered, because it is streamed.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::seal::CLOCKS;
use super::secret::Secret;
use crate::app::App;
use crate::error::ApiError;
use crate::ids;

/// The header of a proof.
pub(crate) const PROOF: HeaderName = HeaderName::from_static("dreamframe-gateway");
const PURPOSE: &str = "dreamframe request 1";
const VERSION: &str = "1";

/// The header that names the worker which a request was forwarded to.
static FORWARDED: [HeaderName; 4] = [
    header::FORWARDED,
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-forwarded-host"),
    HeaderName::from_static("x-forwarded-proto"),
];

/// The header of the API key.
static AUTHORIZATION: HeaderName = header::AUTHORIZATION;

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    ids::now_ms() / 1000
}

/// The fields that a proof covers: a request to the worker with this id, at a time.
fn covered<'a>(worker: &'a str, time: &'a str, parts: &'a Parts) -> Vec<&'a [u8]> {
    // Separately: a request for `http://host?x` is forwarded as one for `/?x`.
    let (path, query) = (parts.uri.path(), parts.uri.query().unwrap_or_default());
    let mut fields: Vec<_> = [worker, time, parts.method.as_str(), path, query].map(str::as_bytes).into();
    // Each value is preceded by its name, so that none is taken for another.
    for name in FORWARDED.iter().chain([&AUTHORIZATION]) {
        for value in parts.headers.get_all(name) {
            fields.extend([name.as_str().as_bytes(), value.as_bytes()]);
        }
    }
    fields
}

/// Signs a request to a worker, in place of what the client sent under those names.
pub(crate) fn prove(secret: &Secret, worker: &str, now: u64, parts: &mut Parts) {
    let time = now.to_string();
    let signature = secret.sign(PURPOSE, &covered(worker, &time, parts));
    if let Ok(value) = HeaderValue::from_str(&format!("{VERSION} {time} {signature}")) {
        parts.headers.insert(PROOF, value);
    }
}

/// Returns whether a request to the worker with this id has a proof that is good.
fn is_proven(secret: &Secret, worker: &str, now: u64, parts: &Parts) -> bool {
    let mut proofs = parts.headers.get_all(PROOF).iter();
    let (Some(proof), None) = (proofs.next().and_then(|proof| proof.to_str().ok()), proofs.next()) else {
        return false;
    };
    let mut words = proof.split(' ');
    let (Some(VERSION), Some(time), Some(signature), None) = (words.next(), words.next(), words.next(), words.next())
    else {
        return false;
    };
    let is_now = time.parse::<u64>().is_ok_and(|time| time.abs_diff(now) <= CLOCKS);
    is_now && secret.is_signed(PURPOSE, &covered(worker, time, parts), signature)
}

/// Trusts forwarding headers from gateways only, on a worker with a secret: without a proof these headers are removed;
/// with an invalid one the request is refused.
pub(crate) async fn trust_gateways(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let Some((worker, secret)) = app.presence.as_ref().and_then(|presence| presence.identity()) else {
        return next.run(request).await;
    };
    let (mut parts, body) = request.into_parts();
    if !parts.headers.contains_key(PROOF) {
        for name in &FORWARDED {
            parts.headers.remove(name);
        }
    } else if !is_proven(secret, worker, now(), &parts) {
        let text = "This request is signed with another secret, or for another worker or time";
        return ApiError::new(StatusCode::FORBIDDEN, "GATEWAY/NOT_AUTHENTIC", text).into_response();
    }
    next.run(Request::from_parts(parts, body)).await
}

#[cfg(test)]
mod tests {
    use axum::http::{Method, Uri};

    use super::*;

    const NOW: u64 = 1_700_000_000;

    fn secret() -> Secret {
        Secret::new(&[1; 32]).unwrap()
    }

    fn request() -> axum::http::request::Builder {
        let request = axum::http::Request::post("/v1/streams?x=1");
        request.header("authorization", "Bearer a").header("x-forwarded-host", "sd.example").header("accept", "b")
    }

    fn proven() -> Parts {
        let mut parts = request().body(()).unwrap().into_parts().0;
        prove(&secret(), "wkr_1", NOW, &mut parts);
        parts
    }

    #[test]
    fn a_proof_is_of_one_request_to_one_worker_within_a_time() {
        let is_good = |parts: &Parts| is_proven(&secret(), "wkr_1", NOW, parts);
        assert!(is_good(&proven()));
        for (now, is_within) in [(NOW - 30, true), (NOW + 30, true), (NOW - 31, false), (NOW + 31, false)] {
            assert_eq!(is_proven(&secret(), "wkr_1", now, &proven()), is_within, "{now}");
        }
        assert!(!is_proven(&secret(), "wkr_2", NOW, &proven()));
        assert!(!is_proven(&Secret::new(&[2; 32]).unwrap(), "wkr_1", NOW, &proven()));
        let changes: [fn(&mut Parts); 9] = [
            |parts| parts.method = Method::DELETE,
            |parts| parts.uri = Uri::from_static("/v1/streams?x=2"),
            |parts| parts.uri = Uri::from_static("/v1/streams"),
            |parts| {
                parts.headers.insert("authorization", HeaderValue::from_static("Bearer b"));
            },
            |parts| {
                parts.headers.remove("authorization");
            },
            |parts| {
                parts.headers.insert("x-forwarded-host", HeaderValue::from_static("evil.example"));
            },
            |parts| {
                parts.headers.insert("forwarded", HeaderValue::from_static("host=evil.example"));
            },
            |parts| {
                parts.headers.append("x-forwarded-host", HeaderValue::from_static("evil.example"));
            },
            |parts| {
                parts.headers.append(PROOF, HeaderValue::from_static("1 1700000000 00"));
            },
        ];
        for (at, change) in changes.iter().enumerate() {
            let mut parts = proven();
            change(&mut parts);
            assert!(!is_good(&parts), "{at}");
        }
        // Other headers may change on the way.
        let mut parts = proven();
        parts.headers.insert("accept", HeaderValue::from_static("c"));
        assert!(is_good(&parts));
    }

    #[test]
    fn a_value_is_not_taken_for_that_of_another_header() {
        let mut parts = proven();
        let value = parts.headers.remove("x-forwarded-host").unwrap();
        parts.headers.insert("x-forwarded-proto", value);
        assert!(!is_proven(&secret(), "wkr_1", NOW, &parts));
    }

    #[test]
    fn a_client_does_not_bring_its_own_proof() {
        let mut parts = request().header(PROOF, "1 2 3").header(PROOF, "4").body(()).unwrap().into_parts().0;
        prove(&secret(), "wkr_1", NOW, &mut parts);
        assert_eq!(parts.headers.get_all(PROOF).iter().count(), 1);
        assert!(is_proven(&secret(), "wkr_1", NOW, &parts));
    }

    #[test]
    fn no_text_is_more_than_refused() {
        for text in
            ["", "1", "1 1700000000", "1 x y", "2 1700000000 0", "1 1700000000  ", "1 99999999999999999999 0", "ü"]
        {
            let mut parts = request().body(()).unwrap().into_parts().0;
            parts.headers.insert(PROOF, HeaderValue::from_bytes(text.as_bytes()).unwrap());
            assert!(!is_proven(&secret(), "wkr_1", NOW, &parts), "{text}");
        }
    }
}
