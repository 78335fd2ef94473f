//! HLS: a playlist and the files that it names. The playback id is the credential.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};

use crate::app::App;
use crate::error::{ApiError, ApiResult};

/// The only playlist: there is one rendition.
const PLAYLIST: &str = "index.m3u8";

/// `GET /hls/{playback_id}/{file}`: the playlist, which starts the stream's HLS, or a file that it names.
pub(crate) async fn file(State(app): State<Arc<App>>, Path((id, file)): Path<(String, String)>) -> ApiResult {
    let stream = app.streams.by_playback(&id).ok_or_else(offline)?;
    let hls = stream.outputs().hls();
    if file == PLAYLIST {
        // Clients that wait for a publisher retry; a player that waits for the first segment would not.
        let text = if stream.has_pictures() { hls.playlist().await? } else { None };
        let text = text.ok_or_else(offline)?;
        return Ok(answer("application/vnd.apple.mpegurl", "no-cache", text.into()));
    }
    let (bytes, kind) = hls.file(&file).ok_or_else(offline)?;
    Ok(answer(kind, "public, max-age=3600, immutable", bytes.into()))
}

fn answer(kind: &'static str, cache: &'static str, body: axum::body::Body) -> Response {
    let headers = [(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, cache)];
    (StatusCode::OK, headers.map(|(name, value)| (name, HeaderValue::from_static(value))), body).into_response()
}

/// Livepeer's player retries after this text.
fn offline() -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "STREAMS/OFFLINE", "Stream is offline")
}
