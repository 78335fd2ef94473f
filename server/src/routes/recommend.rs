//! The models that this machine can run, with estimated pictures per second.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use dreamframe::{MachineSpeed, recommend};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use crate::app::App;
use crate::error::{ApiError, ApiResult};
use crate::http::json;

/// Seconds after which a client may ask again while a stream runs.
const RETRY_SECONDS: u32 = 30;

/// The recommendations, once the machine was measured.
#[derive(Debug, Default)]
pub(crate) struct Recommended(Mutex<Option<Arc<Value>>>);

/// `GET /v1/recommendations`: measured at the first request while no stream runs, which the measurement would slow down.
pub(crate) async fn models(State(app): State<Arc<App>>) -> ApiResult {
    // Other requests wait for the measurement instead of repeating it.
    let mut known = app.recommended.0.lock().await;
    if let Some(known) = &*known {
        return Ok(json(StatusCode::OK, &**known));
    }
    if app.streams.sessions() > 0 {
        let text = "The machine is measured while no stream runs, and one does";
        return Err(ApiError::later(StatusCode::SERVICE_UNAVAILABLE, "SERVER/BUSY", text, RETRY_SECONDS));
    }
    let threads = app.config.engine.threads;
    let found = tokio::task::spawn_blocking(move || measure(threads)).await;
    let failed = |text: String| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "SERVER/INTERNAL", text);
    let found = found.map_err(|error| failed(error.to_string()))?.map_err(|error| failed(error.to_string()))?;
    Ok(json(StatusCode::OK, &**known.insert(Arc::new(found))))
}

fn measure(threads: Option<usize>) -> dreamframe::Result<Value> {
    let speed = MachineSpeed::measure(threads, &mut |_| {})?;
    Ok(json!({ "machine": speed.rates(), "models": recommend(&speed, &[])? }))
}
