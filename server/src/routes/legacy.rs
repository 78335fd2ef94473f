//! Routes for older clients, and for those that request the caller's key.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde_json::json;

use super::streams::checked;
use crate::app::App;
use crate::auth::{Caller, sent_key};
use crate::error::ApiResult;
use crate::http::{JsonBody, json};
use crate::wire::request::Request;

/// The key that a server without keys returns: any is accepted.
const ANY_KEY: &str = "no-key-is-needed-here";

/// `POST /beta/streams/{id}/prompts`
pub(crate) async fn prompts(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
    JsonBody(body, _room): JsonBody,
) -> ApiResult {
    let stream = app.streams.of(&caller, &id)?;
    stream.apply(checked(&app, Request::read_beta(body)?).await?)?;
    // Of the newest picture: none with these parameters has been made yet.
    let censored = stream.frames().was_censored();
    let answer = json!({"success": true, "message": "The parameters were accepted", "was_censored": censored});
    Ok(json(StatusCode::OK, &answer))
}

/// `POST /v1/api-key`: returns the key that was sent; no keys are issued.
pub(crate) async fn api_key(_: Caller, State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    let key = sent_key(&headers).filter(|_| !app.config.keys.is_open()).unwrap_or(ANY_KEY);
    json(StatusCode::OK, &json!({ "apiKey": key }))
}
