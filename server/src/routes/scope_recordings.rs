//! Recordings of Scope's sessions: started, stopped, and downloaded as MP4. `headless` names the session without a
//! browser.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use dreamframe::ErrorKind;
use serde_json::{Value, json};

use super::scope::key;
use super::table::{Route, Verb};
use crate::app::App;
use crate::auth::Caller;
use crate::error::ApiError;
use crate::recording::Recorder;
use crate::scope::detail::Detail;
use crate::scope::sessions::Session;

/// The routes of recordings.
pub(super) fn table() -> [Route; 3] {
    use Verb::{Get, Post};
    [
        key(Get, "/api/v1/recordings/{session}", movie, "End the recording, and get it as MP4"),
        key(Post, "/api/v1/recordings/{session}/start", start, "Start a recording"),
        key(Post, "/api/v1/recordings/{session}/stop", stop, "End the recording"),
    ]
}

fn session(app: &App, caller: &Caller, id: &str) -> Result<Arc<Session>, Detail> {
    let found = match id {
        "headless" => app.scope.sessions(caller).into_iter().find(|session| session.is_headless()),
        _ => app.scope.session(caller, id),
    };
    found.ok_or_else(|| Detail::not_found(&format!("Session {id} not found")))
}

async fn start(State(app): State<Arc<App>>, caller: Caller, Path(id): Path<String>) -> Result<Json<Value>, Detail> {
    let session = session(&app, &caller, &id)?;
    let mut recording = session.recording.lock().await;
    if recording.as_ref().is_some_and(Recorder::is_running) {
        return Err(Detail::bad_request("A recording is under way"));
    }
    *recording = Some(Recorder::from_now(session.stream.outputs().source()).map_err(ApiError::from)?);
    Ok(Json(json!({ "status": "ok", "message": "Recording started" })))
}

async fn stop(State(app): State<Arc<App>>, caller: Caller, Path(id): Path<String>) -> Result<Json<Value>, Detail> {
    let session = session(&app, &caller, &id)?;
    let recording = session.recording.lock().await;
    let running = recording.as_ref().filter(|recorder| recorder.is_running());
    running.ok_or_else(|| Detail::bad_request("No recording is under way"))?.stop();
    Ok(Json(json!({ "status": "ok", "message": "Recording stopped" })))
}

/// Ends the recording, if one is in progress, and returns it.
async fn movie(State(app): State<Arc<App>>, caller: Caller, Path(id): Path<String>) -> Result<Response, Detail> {
    let none = || Detail::not_found("No recording available");
    let session = session(&app, &caller, &id)?;
    let recording = session.recording.lock().await;
    let recorder = recording.as_ref().ok_or_else(none)?;
    recorder.stop();
    let movie = recorder
        .movie(Duration::MAX)
        .await
        .map_err(|error| if error.kind() == ErrorKind::NotFound { none() } else { ApiError::from(error).into() })?;
    let headers = [
        (header::CONTENT_TYPE, "video/mp4"),
        (header::CACHE_CONTROL, "no-store"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"recording.mp4\""),
    ];
    Ok((headers, movie).into_response())
}
