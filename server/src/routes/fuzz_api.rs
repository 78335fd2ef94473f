//! Fuzzing entry points: headers of requests.

use axum::http::{HeaderMap, HeaderValue, header};

use super::ranges::Wanted;
pub(crate) use super::table::Route;

/// Every route, with those of Scope's API.
pub(crate) fn routes() -> Vec<Route> {
    super::table().into_iter().chain(super::scope::table()).collect()
}

/// Reads the header `Range` of a request for a file of `length` bytes.
///
/// # Panics
///
/// If the part has no byte, or bytes that the file does not have.
pub fn byte_range(range: &[u8], condition: &[u8], length: u64) {
    let mut headers = HeaderMap::new();
    for (name, value) in [(header::RANGE, range), (header::IF_RANGE, condition)] {
        if let Ok(value) = HeaderValue::from_bytes(value) {
            headers.insert(name, value);
        }
    }
    if condition.is_empty() {
        headers.remove(header::IF_RANGE);
    }
    match Wanted::of(&headers, "\"tag\"", length) {
        Wanted::Part(part) => assert!(part.start < part.end && part.end <= length, "{part:?} of {length}"),
        Wanted::Known => panic!("a client without an entity tag"),
        Wanted::Whole | Wanted::Beyond => {}
    }
}
