//! Health and readiness.

use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::json;

use crate::app::App;
use crate::http::json;
use crate::ids;

/// `GET /health`, with the names that probes of both dialects read.
pub(crate) async fn health(State(app): State<Arc<App>>) -> Response {
    static STARTED: OnceLock<u64> = OnceLock::new();
    let (now, started) = (ids::now_ms(), *STARTED.get_or_init(ids::now_ms));
    let body = json!({
        "status": "healthy",
        "timestamp": ids::iso(now),
        "server_start_time": started as f64 / 1000.0,
        "version": env!("CARGO_PKG_VERSION"),
        "git_commit": option_env!("DREAMFRAME_COMMIT").unwrap_or("unknown"),
        "streams": app.streams.len(),
        "sessions": app.streams.sessions(),
    });
    json(StatusCode::OK, &body)
}

/// `GET /ready`: 503 until the models of `--preload` are loaded, and once the server accepts no more streams, for load
/// balancers.
pub(crate) async fn ready(State(app): State<Arc<App>>) -> Response {
    let (status, text) = if app.streams.is_draining() {
        (StatusCode::SERVICE_UNAVAILABLE, "draining")
    } else if app.is_loading.load(Ordering::Relaxed) {
        (StatusCode::SERVICE_UNAVAILABLE, "loading")
    } else {
        (StatusCode::OK, "ready")
    };
    json(status, &json!({"status": text, "streams_in_use": app.streams.in_use()}))
}
