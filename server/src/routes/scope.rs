//! Scope's WebRTC and pipeline routes below `/api/v1`. Sessions without a browser are in
//! [`scope_headless`](super::scope_headless), recordings in [`scope_recordings`](super::scope_recordings).

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, patch, post};
use axum::{Json, Router};
use dreamframe::transport::peer::{IceServer, Peer, Refusal};
use dreamframe::transport::sdp::Fragment;
use serde_json::{Map, Value, json};

use crate::app::App;
use crate::auth::Caller;
use crate::error::ApiError;
use crate::scope::catalogue;
use crate::scope::detail::{self, Body, Detail};
use crate::scope::sessions::{self, Session};

/// Candidates in one request; a browser sends one at a time.
const MOST_CANDIDATES: usize = 64;

/// Scope's routes.
pub(crate) fn routes(app: &Arc<App>) -> Router<Arc<App>> {
    let mut router = Router::new()
        .route("/api/v1/webrtc/ice-servers", get(ice_servers))
        .route("/api/v1/webrtc/offer", post(offer))
        .route("/api/v1/webrtc/offer/{session}", patch(candidates).delete(end))
        .route("/api/v1/pipeline/load", post(load))
        .route("/api/v1/pipeline/status", get(status))
        .route("/api/v1/pipelines/schemas", get(schemas))
        .route("/api/v1/models/status", get(models))
        .route("/api/v1/hardware/info", get(|| async { Json(catalogue::hardware()) }))
        .merge(super::scope_headless::routes())
        .merge(super::scope_recordings::routes());
    for (path, body) in catalogue::constants() {
        router = router.route(&format!("/api/v1/{path}"), get(|| async { Json(body) }));
    }
    router
        .route("/api/v1/{*rest}", any(|| async { Detail::not_found("Not Found") }))
        .method_not_allowed_fallback(|| async {
            Detail::Text(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed".to_owned())
        })
        .route_layer(from_fn_with_state(app.clone(), authorised))
}

/// Scope itself asks for no key; a server that has keys is not open to whoever speaks its dialect.
async fn authorised(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    match app.config.keys.caller(request.headers()) {
        Ok(_) => next.run(request).await,
        Err(error) => Detail::from(error).into_response(),
    }
}

async fn ice_servers(State(app): State<Arc<App>>) -> Json<Value> {
    let server = |server: &IceServer| {
        // Who asks has a key, and publishes.
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

/// Ends the session with its connection, and counts its client as long as it is there.
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
        // The end of candidates is an empty one; whatever has more than one line is none.
        if !line.is_empty() && !line.contains(['\r', '\n']) {
            text.push_str(&format!("a={}\r\n", line.strip_prefix("a=").unwrap_or(line)));
        }
    }
    if let Ok(fragment) = Fragment::parse(&text) {
        // One that cannot be used is no reason to end: another may do.
        if let Err(error) = peer.add_candidates(&fragment).await {
            tracing::debug!(%error, "candidates were not taken");
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
    // Either form lists pipelines; what Scope chains, this server has in one: the last of them gives the pictures.
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

/// Models are brought by whoever runs the server; there is nothing that a client would have to wait for.
async fn models() -> Json<Value> {
    Json(json!({ "downloaded": true, "progress": null }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offer_without_video_to_send_is_told_by_its_direction() {
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
