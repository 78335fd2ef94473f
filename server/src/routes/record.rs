//! The last seconds of a stream, as a file.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::IntoResponse as _;
use dreamframe::ErrorKind;
use serde::Deserialize;

use crate::app::App;
use crate::auth::Caller;
use crate::error::{ApiError, ApiResult};
use crate::recording::LONGEST;
use crate::streams::Stream;

/// The durations of a recording, and the default one, in seconds.
pub(super) const SECONDS: RangeInclusive<u64> = 3..=LONGEST.as_secs();
pub(super) const USUAL: u64 = 5;

/// The query of a recording.
#[derive(Debug, Deserialize)]
pub(crate) struct Wanted {
    seconds: Option<u64>,
}

/// `GET /v1/streams/{id}/recording?seconds=5`: the last 3 to 10 seconds as an MP4, from the key frame before on.
pub(crate) async fn recording(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
    query: Result<Query<Wanted>, QueryRejection>,
) -> ApiResult {
    let stream = app.streams.of(&caller, &id)?;
    let seconds = query.map_or(Some(0), |Query(wanted)| wanted.seconds).unwrap_or(USUAL);
    if !SECONDS.contains(&seconds) {
        return Err(ApiError::field("seconds", format!("expected {}", expected())));
    }
    let movie = last_seconds(&stream, Duration::from_secs(seconds)).await?;
    let name = format!("attachment; filename=\"{}.mp4\"", stream.id);
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("video/mp4")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (header::CONTENT_DISPOSITION, HeaderValue::from_str(&name).map_err(|_| ApiError::no_stream())?),
    ];
    Ok((StatusCode::OK, headers, movie).into_response())
}

/// The durations as text for errors.
pub(super) fn expected() -> String {
    format!("a whole number from {} to {}", SECONDS.start(), SECONDS.end())
}

/// Returns the last seconds of a stream as an MP4 file.
///
/// # Errors
///
/// 404 if nothing is recorded.
pub(super) async fn last_seconds(stream: &Stream, time: Duration) -> Result<Vec<u8>, ApiError> {
    stream.outputs().recording(time).await.map_err(|error| {
        if error.kind() == ErrorKind::NotFound {
            ApiError::new(StatusCode::NOT_FOUND, "STREAMS/OFFLINE", error.to_string())
        } else {
            error.into()
        }
    })
}
