//! The description of the API, for programs.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};

use crate::app::App;
use crate::http::json;
use crate::urls::Urls;

/// `GET /openapi.json`
pub(crate) async fn document(State(app): State<Arc<App>>, urls: Urls) -> Response {
    let keys = !app.config.keys.is_open();
    json(StatusCode::OK, &describe(&urls, keys))
}

fn describe(urls: &Urls, _keys: bool) -> Value {
    json!({"openapi": "3.1.0", "servers": [{"url": urls.base()}]})
}
