//! Streams: create, list, read, update, delete.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use dreamframe::{Error, ErrorKind};
use serde::Deserialize;
use serde_json::json;

use crate::app::App;
use crate::auth::Caller;
use crate::error::{ApiError, ApiResult};
use crate::http::{JsonBody, json};
use crate::urls::Urls;
use crate::wire::request::Request;

/// `POST /v1/streams`
pub(crate) async fn create(
    State(app): State<Arc<App>>,
    caller: Caller,
    urls: Urls,
    JsonBody(body, _room): JsonBody,
) -> ApiResult {
    let request = checked(&app, Request::read(body)?).await?;
    if request.fade.is_some() {
        let text = "got a transition of a new stream, expected none: it has no prompt before";
        return Err(ApiError::field("transition", text));
    }
    let (stream, token) = app.streams.create_kept(&caller, request).await?;
    if let Some(presence) = &app.presence {
        presence.publish_stream(&app.streams, &stream).await;
    }
    let mut object = stream.to_object(&urls);
    object.insert("control_token".into(), token.secret().into());
    let mut response = json(StatusCode::CREATED, &object);
    if let Ok(location) = HeaderValue::from_str(&format!("/v1/streams/{}", stream.id)) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

/// `GET /v1/streams`: the caller's own.
pub(crate) async fn list(State(app): State<Arc<App>>, caller: Caller, urls: Urls) -> Response {
    let own = app.streams.all().into_iter().filter(|stream| stream.author == caller.name());
    let data: Vec<_> = own.map(|stream| stream.to_object(&urls)).collect();
    json(StatusCode::OK, &json!({"success": true, "data": data}))
}

/// `GET /v1/streams/{id}`
pub(crate) async fn read(State(app): State<Arc<App>>, caller: Caller, urls: Urls, Path(id): Path<String>) -> ApiResult {
    let stream = app.streams.of(&caller, &id)?;
    Ok(json(StatusCode::OK, &stream.to_object(&urls)))
}

/// `PATCH /v1/streams/{id}`: keys that are missing keep their value.
pub(crate) async fn update(
    State(app): State<Arc<App>>,
    caller: Caller,
    urls: Urls,
    Path(id): Path<String>,
    JsonBody(body, _room): JsonBody,
) -> ApiResult {
    let stream = app.streams.of(&caller, &id)?;
    let request = checked(&app, Request::read(body)?).await?;
    stream.apply_gradually(request)?;
    Ok(json(StatusCode::OK, &stream.to_object(&urls)))
}

/// The query of `DELETE /v1/streams`.
#[derive(Debug, Deserialize)]
pub(crate) struct ById {
    id: Option<String>,
}

/// `DELETE /v1/streams?id={id}`
pub(crate) async fn delete_by_query(
    State(app): State<Arc<App>>,
    caller: Caller,
    query: Result<Query<ById>, axum::extract::rejection::QueryRejection>,
) -> ApiResult {
    let id = query.ok().and_then(|Query(query)| query.id);
    let id = id.ok_or_else(|| ApiError::bad_request("query parameter `id`: missing"))?;
    delete(&app, &caller, &id).await
}

/// `DELETE /v1/streams/{id}`
pub(crate) async fn delete_by_path(State(app): State<Arc<App>>, caller: Caller, Path(id): Path<String>) -> ApiResult {
    delete(&app, &caller, &id).await
}

async fn delete(app: &App, caller: &Caller, id: &str) -> ApiResult {
    let stream = app.streams.of(caller, id)?;
    app.streams.remove(&stream.id).await;
    Ok(json(StatusCode::OK, &json!({"success": true, "data": {}})))
}

/// Rejects a model that is not installed, which requires disk access.
pub(super) async fn checked(app: &Arc<App>, request: Request) -> Result<Request, ApiError> {
    if let Some(id) = request.params.get("model_id").and_then(|id| id.as_str()) {
        let (app, id) = (app.clone(), id.to_owned());
        let checked = tokio::task::spawn_blocking(move || app.streams.check_model(&id)).await;
        checked.map_err(|_| ApiError::from(Error::new(ErrorKind::Internal, "the model lookup was cancelled")))??;
    }
    Ok(request)
}
