//! Scope's sessions without a browser, as its MCP server controls them over HTTP. Without such a session, the routes
//! concern the sessions of browsers. All of them concern the sessions of the caller's key.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use dreamframe::frame::FrameCopier;
use dreamframe::{Error, ErrorKind, Frame, PixelFormat, Result};
use image::codecs::jpeg::JpegEncoder;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::scope::key;
use super::table::{Route, Verb};
use crate::app::App;
use crate::auth::Caller;
use crate::error::ApiError;
use crate::scope::catalogue::Pipeline;
use crate::scope::detail::{self, Body, Detail};
use crate::scope::sessions::{self, Session};

/// The routes of sessions.
pub(super) fn table() -> [Route; 6] {
    use Verb::{Get, Post};
    [
        key(Post, "/api/v1/session/start", start, "Start a session without a browser"),
        key(Post, "/api/v1/session/stop", stop, "End the session"),
        key(Post, "/api/v1/session/parameters", change, "Change parameters"),
        key(Get, "/api/v1/session/parameters", parameters, "The parameters that were sent"),
        key(Get, "/api/v1/session/frame", frame, "The newest picture, as JPEG"),
        key(Get, "/api/v1/session/metrics", metrics, "The figures of each session"),
    ]
}

async fn start(State(app): State<Arc<App>>, caller: Caller, Body(body): Body) -> Result<Json<Value>, Detail> {
    let graph = detail::optional_object(&body, "graph")?;
    let pipeline = match body.get("pipeline_id").filter(|id| !id.is_null()) {
        Some(_) => sessions::pipeline(detail::text(&body, "pipeline_id")?)?,
        // A graph is built around one pipeline; its other nodes are Scope's own.
        None if !graph.is_empty() => graph_pipeline(&graph)?,
        None => return Err(Detail::fault("body", "", "Value error, Either pipeline_id or graph must be provided")),
    };
    let mut initial = detail::optional_object(&body, "parameters")?;
    for name in ["prompts", "input_mode"] {
        if let Some(value) = body.get(name) {
            initial.insert(name.to_owned(), value.clone());
        }
    }
    initial.entry("input_mode").or_insert_with(|| "text".into());
    let mode = initial.get("input_mode").cloned().unwrap_or_default();
    for session in headless(&app, &caller) {
        app.scope.close(&app, &caller, &session.id).await;
    }
    app.scope.ready(&app, &caller, pipeline)?;
    let session = app.scope.open(&app, &caller, &initial, "").await?;
    session.keep_going();
    let status = json!({ "status": "ok", "input_mode": mode, "cloud_mode": false, "pipeline_id": pipeline.id });
    Ok(Json(status))
}

/// The pipeline of the first node of a graph that is a pipeline.
fn graph_pipeline(graph: &Map<String, Value>) -> Result<&'static Pipeline, Detail> {
    let nodes = graph.get("nodes").and_then(Value::as_array).into_iter().flatten();
    let id = nodes.filter_map(|node| node.get("pipeline_id").and_then(Value::as_str)).next();
    sessions::pipeline(id.ok_or_else(|| Detail::bad_request("The graph has no node with a pipeline_id"))?)
}

async fn stop(State(app): State<Arc<App>>, caller: Caller) -> Result<Json<Value>, Detail> {
    let sessions = headless(&app, &caller);
    if sessions.is_empty() {
        return Err(Detail::not_found("No active headless session"));
    }
    for session in sessions {
        app.scope.close(&app, &caller, &session.id).await;
    }
    Ok(Json(json!({ "status": "ok", "message": "Headless session stopped" })))
}

async fn change(State(app): State<Arc<App>>, caller: Caller, Body(message): Body) -> Result<Json<Value>, Detail> {
    if message.is_empty() {
        return Err(Detail::bad_request("No parameters provided"));
    }
    let mut applied_parameters = Map::new();
    for session in app.scope.sessions(&caller) {
        let applied = session.change(&message)?;
        applied_parameters.extend(applied.sent);
        applied_parameters.extend(applied.values);
    }
    Ok(Json(json!({ "status": "ok", "applied_parameters": applied_parameters })))
}

async fn parameters(State(app): State<Arc<App>>, caller: Caller) -> Json<Value> {
    let mut all = Map::new();
    for session in app.scope.sessions(&caller) {
        all.extend(session.history());
    }
    Json(json!({ "parameters": all }))
}

#[derive(Debug, Deserialize)]
struct FrameQuery {
    #[serde(default = "usual_quality")]
    quality: String,
}

fn usual_quality() -> String {
    "85".to_owned()
}

async fn frame(
    State(app): State<Arc<App>>,
    caller: Caller,
    Query(query): Query<FrameQuery>,
) -> Result<Response, Detail> {
    let quality = query.quality.parse().ok().filter(|quality| (1..=100).contains(quality));
    let quality =
        quality.ok_or_else(|| Detail::fault("query", "quality", "Input should be an integer from 1 to 100"))?;
    let none = || Detail::not_found("No frame available: there is no active session, or it has made no picture yet");
    // Newest first: the caller has just started one.
    let mut sessions = app.scope.sessions(&caller);
    sessions.sort_by_key(|session| std::cmp::Reverse(session.started));
    let frame = sessions.iter().find_map(|session| session.stream.snapshot()).ok_or_else(none)?;
    let encoded = tokio::task::spawn_blocking(move || jpeg(&frame, quality)).await;
    let bytes = encoded
        .map_err(|error| Error::new(ErrorKind::Internal, "the picture was not encoded").with_source(error))
        .flatten()
        .map_err(ApiError::from)?;
    let headers = [(header::CONTENT_TYPE, "image/jpeg"), (header::CACHE_CONTROL, "no-store")];
    Ok((StatusCode::OK, headers, bytes).into_response())
}

/// Writes a picture as JPEG.
fn jpeg(frame: &Frame, quality: u8) -> Result<Vec<u8>> {
    let (width, height) = (frame.width(), frame.height());
    let mut rgb =
        Frame::from_packed(PixelFormat::Rgb8, width, height, vec![0; PixelFormat::Rgb8.packed_len(width, height)])?;
    FrameCopier::new().copy(&frame.view(), &mut rgb.view_mut())?;
    let mut out = Vec::new();
    JpegEncoder::new_with_quality(&mut out, quality)
        .encode(rgb.pixels(), width, height, image::ExtendedColorType::Rgb8)
        .map_err(|error| Error::new(ErrorKind::Internal, "the picture was not encoded").with_source(error))?;
    Ok(out)
}

async fn metrics(State(app): State<Arc<App>>, caller: Caller) -> Json<Value> {
    let sessions: Map<_, _> = app.scope.sessions(&caller).iter().map(|one| (one.id.clone(), one.metrics())).collect();
    let gpu = json!({ "vram_allocated_mb": null, "vram_reserved_mb": null, "vram_total_mb": null });
    Json(json!({ "sessions": sessions, "gpu": gpu }))
}

/// The caller's sessions without a browser: at most one, unless several start simultaneously.
fn headless(app: &App, caller: &Caller) -> Vec<Arc<Session>> {
    let mut sessions = app.scope.sessions(caller);
    sessions.retain(|session| session.is_headless());
    sessions
}
