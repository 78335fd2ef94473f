//! Clips: create, read, download, delete.

use std::io::Read as _;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::IntoResponse as _;
use bytes::Bytes;
use dreamframe::{Error, ErrorKind};
use futures_util::stream::try_unfold;
use serde_json::{Value, json};

use super::ranges::Wanted;
use super::{page, record};
use crate::app::App;
use crate::auth::Caller;
use crate::clips::{self, Clip, ClipInfo, Part};
use crate::error::{ApiError, ApiResult};
use crate::http::{JsonBody, json};
use crate::ids;
use crate::streams::Stream;
use crate::urls::Urls;
use crate::wire::Object;

/// The bytes of a file that are read at a time.
const CHUNK: u64 = 256 << 10;

/// `POST /v1/streams/{id}/clips`: stores the last 3 to 10 seconds, with the parameters in force.
pub(crate) async fn create(
    State(app): State<Arc<App>>,
    caller: Caller,
    urls: Urls,
    Path(id): Path<String>,
    JsonBody(body, _room): JsonBody,
) -> ApiResult {
    let stream = app.streams.of(&caller, &id)?;
    let seconds = seconds(&body)?;
    let permit = app.clips.begin(&stream.id)?;
    let mut info = describe(&app, &stream, &urls, seconds);
    let movie = record::last_seconds(&stream, Duration::from_secs(seconds)).await?;
    info.bytes = movie.len() as u64;
    let clips = app.clips.clone();
    let clip = blocking(move || clips.store(info, movie)).await??;
    permit.succeed();
    let mut response = json(StatusCode::CREATED, &to_object(&clip, &urls));
    if let Ok(location) = HeaderValue::from_str(&path(&clip)) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

/// `GET /clips/{clip}/clip.json`
pub(crate) async fn read(State(app): State<Arc<App>>, urls: Urls, Path(id): Path<String>) -> ApiResult {
    let clip = find(&app, &id)?;
    Ok(json(StatusCode::OK, &to_object(&clip, &urls)))
}

/// `GET /clips/{clip}/video.mp4`: the video, or the part of it that the header `Range` names.
pub(crate) async fn video(State(app): State<Arc<App>>, Path(id): Path<String>, headers: HeaderMap) -> ApiResult {
    let clip = find(&app, &id)?;
    // A clip never changes, so that its id is the tag of its video.
    let tag = format!("\"{}\"", clip.info.id);
    let length = clip.info.bytes;
    let (status, range) = match Wanted::of(&headers, &tag, length) {
        Wanted::Known => (StatusCode::NOT_MODIFIED, None),
        Wanted::Whole => (StatusCode::OK, Some(0..length)),
        Wanted::Part(range) => (StatusCode::PARTIAL_CONTENT, Some(range)),
        Wanted::Beyond => {
            let text = format!("Range: got one without a byte of the video, expected bytes below {length}");
            let mut response = ApiError::new(StatusCode::RANGE_NOT_SATISFIABLE, "HTTP/RANGE", text).into_response();
            set(response.headers_mut(), header::CONTENT_RANGE, &format!("bytes */{length}"));
            return Ok(response);
        }
    };
    let mut response = status.into_response();
    if let Some(range) = range {
        if status == StatusCode::PARTIAL_CONTENT {
            let text = format!("bytes {}-{}/{length}", range.start, range.end.saturating_sub(1));
            set(response.headers_mut(), header::CONTENT_RANGE, &text);
        }
        set(response.headers_mut(), header::CONTENT_LENGTH, &(range.end - range.start).to_string());
        // A clip that was removed in the meantime has no file.
        let opened = blocking(move || clip.part(range)).await?.map_err(|error| {
            if error.kind() == std::io::ErrorKind::NotFound { no_clip() } else { unreadable(&error) }
        })?;
        *response.body_mut() = content(opened);
    }
    let headers = response.headers_mut();
    set(headers, header::ETAG, &tag);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("video/mp4"));
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    // Asked for again each time: it may have been deleted.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    Ok(response)
}

/// `DELETE /v1/clips/{clip}`: for the owner of its stream, with the API key or, while the stream exists, its control token.
pub(crate) async fn delete(State(app): State<Arc<App>>, caller: Caller, Path(id): Path<String>) -> ApiResult {
    let clip = find(&app, &id)?;
    let is_owner = match &caller {
        Caller::Key(name) => *name == clip.info.author,
        Caller::Token(stream) => *stream == clip.info.stream,
    };
    if !is_owner {
        let text = "This clip is of a stream that belongs to another API key or control token";
        return Err(ApiError::new(StatusCode::FORBIDDEN, "CLIPS/FORBIDDEN", text));
    }
    let clips = app.clips.clone();
    blocking(move || clips.remove(&id)).await??;
    Ok(json(StatusCode::OK, &json!({"success": true, "data": {}})))
}

/// Finds a clip by the id in a path.
pub(super) fn find(app: &App, id: &str) -> Result<Arc<Clip>, ApiError> {
    app.clips.get(id).ok_or_else(no_clip)
}

fn no_clip() -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "CLIPS/NOT_FOUND", "No clip with this id")
}

/// The file of a clip cannot be read.
fn unreadable(error: &std::io::Error) -> ApiError {
    tracing::error!(%error, "the video of a clip cannot be read");
    let text = "The video of this clip cannot be read";
    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "SERVER/INTERNAL", text)
}

/// The path of a clip's page.
pub(super) fn path(clip: &Clip) -> String {
    format!("/clips/{}", clip.info.id)
}

/// Describes a clip for clients: without its stream and owner, as everyone with the link may read it.
fn to_object(clip: &Clip, urls: &Urls) -> Value {
    let (info, path) = (&clip.info, path(clip));
    json!({
        "id": info.id,
        "url": urls.absolute(&path),
        "video_url": urls.absolute(&format!("{path}/video.mp4")),
        "seconds": info.seconds,
        "created_at": ids::iso(info.created_at),
        "width": info.width,
        "height": info.height,
        "bytes": info.bytes,
        "params": info.params,
    })
}

/// Reads the duration of a request.
fn seconds(body: &Object) -> Result<u64, ApiError> {
    match body.get("seconds") {
        None | Some(Value::Null) => Ok(record::USUAL),
        Some(value) => match value.as_u64().filter(|seconds| record::SECONDS.contains(seconds)) {
            Some(seconds) => Ok(seconds),
            None => Err(ApiError::field("seconds", format!("got {value}, expected {}", record::expected()))),
        },
    }
}

/// Describes a clip of a stream as it is now, without the video's length.
fn describe(app: &App, stream: &Stream, urls: &Urls, seconds: u64) -> ClipInfo {
    // The seed is the engine's, so that the settings make the same pictures again.
    let params = stream.params().to_value().as_object().cloned().unwrap_or_default();
    let params = clips::shared(&params, &page::default_object(app));
    // The size may follow the speed of the machine.
    let described = stream.to_object(urls);
    let side = |name: &str| described.get("pipeline_params")?.get("engine")?.get(name)?.as_u64();
    let side = |name: &str| side(name).unwrap_or_default();
    ClipInfo {
        id: clips::new_id(),
        stream: stream.id.clone(),
        author: stream.author.clone(),
        created_at: ids::now_ms(),
        seconds,
        width: side("width"),
        height: side("height"),
        bytes: 0,
        params,
    }
}

fn set(headers: &mut HeaderMap, name: header::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// The bytes of a part; those of a file are read as they are sent, so that slow clients take little memory.
fn content(part: Part) -> Body {
    let (file, length) = match part {
        Part::Memory(bytes) => return Body::from(bytes),
        Part::File(file, length) => (file, length),
    };
    Body::from_stream(try_unfold((file, length), |(mut file, left)| async move {
        if left == 0 {
            return Ok(None);
        }
        let read = tokio::task::spawn_blocking(move || {
            let size = left.min(CHUNK);
            let mut bytes = vec![0; usize::try_from(size).unwrap_or_default()];
            file.read_exact(&mut bytes)?;
            Ok::<_, std::io::Error>((Bytes::from(bytes), (file, left - size)))
        });
        read.await.map_err(std::io::Error::other)?.map(Some)
    }))
}

/// Runs what accesses files on a thread that may wait for the disk.
async fn blocking<T: Send + 'static>(run: impl FnOnce() -> T + Send + 'static) -> Result<T, ApiError> {
    let ended = tokio::task::spawn_blocking(run).await;
    ended.map_err(|_| Error::new(ErrorKind::Internal, "the access to a clip was cancelled").into())
}
