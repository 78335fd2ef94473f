//! CORS headers, which allow pages of any origin to use the endpoints.

use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, HeaderMap, HeaderName, HeaderValue,
};

/// The headers and their values. Some clients read the list of methods to learn whether they may trickle, and the list
/// itself is therefore exposed, too.
const CORS: [(HeaderName, HeaderValue); 5] = [
    (ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*")),
    (ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, HEAD, POST, PATCH, PUT, DELETE, OPTIONS")),
    (
        ACCESS_CONTROL_ALLOW_HEADERS,
        HeaderValue::from_static(
            "Authorization, Content-Type, Accept, If-Match, ETag, x-client-source, Livepeer-Access-Key, Livepeer-Jwt, Range",
        ),
    ),
    (
        ACCESS_CONTROL_EXPOSE_HEADERS,
        HeaderValue::from_static(
            "Location, ETag, Link, Livepeer-Playback-Url, Accept-Post, Accept-Patch, Access-Control-Allow-Methods, \
             Retry-After, Playhead-Utc, Content-Length",
        ),
    ),
    (ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400")),
];

/// Replaces the CORS headers of a response by those that allow pages of any origin to read it; preflights have the
/// same. Every response of a server needs them, errors included.
pub fn add_cors(headers: &mut HeaderMap) {
    for (name, value) in CORS {
        headers.insert(name, value);
    }
}
