//! The status of a stream: all of it for its owner, its state for other clients that know its id.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use futures_util::stream::unfold;
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::app::{App, MOST_LISTENERS};
use crate::error::{ApiError, ApiResult};
use crate::http::json;
use crate::streams::{MOST_LISTENERS_OF_ONE, Stream};
use crate::urls::Urls;

/// The interval of status events.
const EVERY: Duration = Duration::from_secs(5);
/// Seconds after which a refused listener may retry.
const RETRY_SECONDS: u32 = 30;

/// `GET /v1/streams/{id}/status`
pub(crate) async fn status(
    State(app): State<Arc<App>>,
    urls: Urls,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> ApiResult {
    let stream = app.streams.by_id(&id).ok_or_else(ApiError::no_stream)?;
    let is_owner = is_owner(&app, &headers, &stream);
    let mut response = json(StatusCode::OK, &body(&stream, &urls, is_owner));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// `GET /api/streams/{id}/sse`: the same, now and every five seconds, until the stream ends.
pub(crate) async fn events(
    State(app): State<Arc<App>>,
    urls: Urls,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> ApiResult<Response> {
    let stream = app.streams.by_id(&id).ok_or_else(ApiError::no_stream)?;
    let is_owner = is_owner(&app, &headers, &stream);
    let rooms = [
        acquire(&stream.listeners, "listeners of a stream's status", MOST_LISTENERS_OF_ONE)?,
        acquire(&app.listeners, "listeners of the status of streams", MOST_LISTENERS)?,
    ];
    let stream = Arc::downgrade(&stream);
    drop(app);
    let mut every = tokio::time::interval(EVERY);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let events = unfold((every, stream, rooms), move |(mut every, stream, rooms)| {
        let urls = urls.clone();
        async move {
            every.tick().await;
            let status = body(&*stream.upgrade()?, &urls, is_owner);
            Some((Ok::<_, Infallible>(Event::default().data(status.to_string())), (every, stream, rooms)))
        }
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::default()).into_response())
}

/// Takes a permit for a listener, which holds it until it disconnects.
fn acquire(rooms: &Arc<Semaphore>, what: &str, most: usize) -> ApiResult<OwnedSemaphorePermit> {
    let full = |_| ApiError::limit(StatusCode::TOO_MANY_REQUESTS, what, most, RETRY_SECONDS);
    rooms.clone().try_acquire_owned().map_err(full)
}

/// Returns true for a request with the key of the stream's owner, or the stream's control token. Other clients send none or
/// another key.
fn is_owner(app: &App, headers: &HeaderMap, stream: &Stream) -> bool {
    app.caller(headers).is_ok_and(|caller| stream.is_of(&caller))
}

fn body(stream: &Stream, urls: &Urls, is_owner: bool) -> Value {
    let data = if is_owner { stream.status(urls) } else { stream.public_status() };
    json!({"success": true, "error": null, "data": data})
}
