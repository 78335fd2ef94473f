//! Scope's WebRTC and pipeline routes below `/api/v1`. Sessions without a browser are in
//! [`scope_headless`](super::scope_headless), recordings in [`scope_recordings`](super::scope_recordings).

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::handler::Handler;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse as _;
use axum::routing::any;
use axum::{Json, Router};
use dreamframe::transport::peer::{IceServer, Peer, Refusal};
use dreamframe::transport::sdp::Fragment;
use serde_json::{Map, Value, json};

use super::table::{self, Access, Operation, Route, Verb, route};
use crate::app::App;
use crate::auth::Caller;
use crate::error::ApiError;
use crate::scope::catalogue;
use crate::scope::detail::{self, Body, Detail};
use crate::scope::sessions::{self, Session};

/// Candidates in one request; a browser sends one at a time.
const MOST_CANDIDATES: usize = 64;

/// The router of Scope's routes. Scope itself requires no key; a server with keys requires one for all of `/api/v1`.
pub(super) fn router(app: &Arc<App>) -> Router<Arc<App>> {
    table::router(app, table(), |error| Detail::from(error).into_response())
        .route("/api/v1/{*rest}", any(no_route))
        .method_not_allowed_fallback(no_method)
}

async fn no_route(State(app): State<Arc<App>>, headers: HeaderMap) -> Detail {
    let not_found = || Detail::not_found("Not Found");
    app.caller(&headers).map_or_else(Detail::from, |_| not_found())
}

async fn no_method(State(app): State<Arc<App>>, headers: HeaderMap) -> Detail {
    let not_allowed = || Detail::Text(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed".to_owned());
    app.caller(&headers).map_or_else(Detail::from, |_| not_allowed())
}

/// Every route of Scope's API. The OpenAPI document leaves them out: Scope has its own.
pub(super) fn table() -> Vec<Route> {
    use Verb::{Delete, Get, Patch, Post};
    let mut routes = vec![
        key(Get, "/api/v1/webrtc/ice-servers", ice_servers, "List the ICE servers"),
        key(Post, "/api/v1/webrtc/offer", offer, "Offer a connection, which begins a session"),
        key(Patch, "/api/v1/webrtc/offer/{session}", candidates, "Add candidates"),
        key(Delete, "/api/v1/webrtc/offer/{session}", end, "End a session"),
        key(Post, "/api/v1/pipeline/load", load, "Load a pipeline"),
        key(Get, "/api/v1/pipeline/status", status, "The state of the loaded pipeline"),
        key(Get, "/api/v1/pipelines/schemas", schemas, "The pipelines and their parameters"),
        key(Get, "/api/v1/models/status", models, "Whether the models are downloaded"),
        key(Get, "/api/v1/hardware/info", || async { Json(catalogue::hardware()) }, "The hardware"),
    ];
    routes.extend(super::scope_headless::table());
    routes.extend(super::scope_recordings::table());
    let constant = |(path, body)| key(Get, path, || async { Json(body) }, "A list that is always empty here");
    routes.extend(catalogue::constants().map(constant));
    routes
}

/// Creates a route of Scope's API.
pub(super) fn key<H, T>(verb: Verb, path: &'static str, handler: H, summary: &'static str) -> Route
where
    H: Handler<T, Arc<App>>,
    T: 'static,
{
    route(verb, path, Access::Key, handler, Operation::unlisted(summary))
}

async fn ice_servers(State(app): State<Arc<App>>) -> Json<Value> {
    let server = |server: &IceServer| {
        // The caller has a key, and so may publish.
        let IceServer { urls, username, credential, .. } = server.for_publisher();
        let mut out = Map::from_iter([("urls".to_owned(), json!(urls))]);
        let secrets = [("username", username), ("credential", credential)];
        out.extend(secrets.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?.into()))));
        Value::Object(out)
    };
    Json(json!({ "iceServers": app.config.peers.ice_servers.iter().map(server).collect::<Value>() }))
}

async fn offer(State(app): State<Arc<App>>, caller: Caller, Body(body): Body) -> Result<Json<Value>, Detail> {
    let sdp = detail::text(&body, "sdp")?.to_owned();
    if detail::text(&body, "type")? != "offer" {
        return Err(Detail::fault("body", "type", "Input should be 'offer'"));
    }
    let mut initial = detail::optional_object(&body, "initialParameters")?;
    if !sends_video(&sdp) {
        initial.entry("input_mode").or_insert_with(|| "text".into());
    }
    let session = app.scope.open(&app, &caller, &initial, "initialParameters").await?;
    match Peer::answer(&sdp, session.media(), &app.config.peers).await {
        Ok((peer, answer)) => {
            session.attach(peer.clone());
            tokio::spawn(follow(app, caller, session.clone(), peer));
            Ok(Json(json!({ "sdp": answer, "type": "answer", "sessionId": session.id })))
        }
        Err(refusal) => {
            app.scope.close(&app, &caller, &session.id).await;
            Err(refused(refusal))
        }
    }
}

/// Whether the client has video to send.
fn sends_video(sdp: &str) -> bool {
    let lines = sdp.lines().skip_while(|line| !line.starts_with("m=video")).skip(1);
    let mut section = lines.take_while(|line| !line.starts_with("m="));
    !section.any(|line| matches!(line.trim(), "a=recvonly" | "a=inactive"))
}

fn refused(refusal: Refusal) -> Detail {
    if let Refusal::Failed(error) = refusal {
        return ApiError::from(error).into();
    }
    Detail::bad_request(refusal.to_string())
}

/// Ends the session with its connection; the client counts as a publisher until then.
async fn follow(app: Arc<App>, caller: Caller, session: Arc<Session>, peer: Peer) {
    let _publication = session.stream.take_over();
    let mut states = peer.states();
    while !states.borrow_and_update().is_over() && states.changed().await.is_ok() {}
    app.scope.close(&app, &caller, &session.id).await;
}

async fn candidates(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
    Body(body): Body,
) -> Result<StatusCode, Detail> {
    let no_session = || Detail::not_found(&format!("Session {id} not found or not ready for ICE candidates"));
    let list = body.get("candidates").ok_or_else(|| Detail::missing("candidates"))?;
    let list = list.as_array().filter(|list| list.len() <= MOST_CANDIDATES).ok_or_else(|| {
        Detail::fault("body", "candidates", format!("Input should be a list of at most {MOST_CANDIDATES}"))
    })?;
    let session = app.scope.session(&caller, &id).ok_or_else(no_session)?;
    let peer = session.peer().ok_or_else(no_session)?;
    let mut text = String::new();
    for (index, item) in list.iter().enumerate() {
        let line = item.get("candidate").and_then(Value::as_str).ok_or_else(|| {
            Detail::fault("body", &format!("candidates[{index}].candidate"), "Input should be a valid string")
        })?;
        // The end of candidates is an empty line; text with more than one line is not a candidate.
        if !line.is_empty() && !line.contains(['\r', '\n']) {
            text.push_str(&format!("a={}\r\n", line.strip_prefix("a=").unwrap_or(line)));
        }
    }
    if let Ok(fragment) = Fragment::parse(&text) {
        // An invalid candidate is not fatal: another may work.
        if let Err(error) = peer.add_candidates(&fragment).await {
            tracing::debug!(%error, "candidates were rejected");
        }
    }
    Ok(StatusCode::NO_CONTENT)
}

async fn end(State(app): State<Arc<App>>, caller: Caller, Path(id): Path<String>) -> Result<StatusCode, Detail> {
    if app.scope.close(&app, &caller, &id).await {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(Detail::not_found(&format!("Session {id} not found")))
    }
}

async fn load(State(app): State<Arc<App>>, caller: Caller, Body(body): Body) -> Result<Json<Value>, Detail> {
    // Both forms list pipelines. This server runs one pipeline: the last of a chain.
    let nodes = body.get("pipelines").and_then(Value::as_array);
    let node = nodes.and_then(|nodes| nodes.last()).and_then(Value::as_object);
    let (id, load_params) = match node {
        Some(node) => (detail::text(node, "pipeline_id")?, detail::optional_object(node, "load_params")?),
        None => {
            let ids = body.get("pipeline_ids").ok_or_else(|| Detail::missing("pipeline_ids"))?;
            let last = ids.as_array().and_then(|ids| ids.last()).and_then(Value::as_str).ok_or_else(|| {
                Detail::fault("body", "pipeline_ids", "Input should be a list of at least one string")
            })?;
            (last, detail::optional_object(&body, "load_params")?)
        }
    };
    app.scope.load(&app, &caller, sessions::pipeline(id)?, load_params)?;
    Ok(Json(json!({ "message": "Pipeline loading initiated successfully" })))
}

async fn status(State(app): State<Arc<App>>, caller: Caller) -> Json<Value> {
    Json(app.scope.status(&caller))
}

async fn schemas(State(app): State<Arc<App>>) -> Json<Value> {
    Json(catalogue::schemas(&app.config.default_params()))
}

/// Models are installed by the operator, so clients do not have to wait for a download.
async fn models() -> Json<Value> {
    Json(json!({ "downloaded": true, "progress": null }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offer_without_video_to_send_is_detected_by_direction() {
        let sdp = |direction: &str| {
            format!(
                "v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=recvonly\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\na={direction}\r\n"
            )
        };
        for (direction, sends) in [("sendrecv", true), ("sendonly", true), ("recvonly", false), ("inactive", false)] {
            assert_eq!(sends_video(&sdp(direction)), sends, "{direction}");
        }
    }
}
