//! The routes of a gateway: a few of its own, and all others, which are a worker's.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{Method, StatusCode, header};
use axum::middleware;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{any, get};
use serde_json::{Value, json};

use super::Gateway;
use super::names::stream_name;
use crate::cluster::Worker;
use crate::error::ApiResult;
use crate::http;
use crate::routes::metrics::{HEADERS, answers, figure};
use crate::scope::detail::Detail;

/// The longest list of streams that a worker may have, in bytes.
const MOST_LISTED: usize = 32 << 20;

/// Every route.
pub(crate) fn router(gateway: Arc<Gateway>) -> Router {
    Router::new()
        .route("/health", get(health))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics))
        .route("/v1/streams", get(list).fallback(forward))
        .route("/api/v1/{*rest}", any(|| async { not_routed() }))
        .fallback(forward)
        // The worker reads the body, with a limit of its own.
        .layer(DefaultBodyLimit::disable())
        .layer(middleware::from_fn_with_state(gateway.front.clone(), http::around))
        .with_state(gateway)
}

/// Asks the worker that a request is for.
async fn forward(State(gateway): State<Arc<Gateway>>, request: Request) -> ApiResult {
    let is_new = request.method() == Method::POST && request.uri().path() == "/v1/streams";
    let named = match stream_name(request.uri()) {
        Some(name) => gateway.worker_of(name).await?,
        None => None,
    };
    let worker = match named {
        Some(worker) => worker,
        None if is_new => gateway.place().await?,
        None => gateway.any().await?,
    };
    ask(&gateway, &worker, request).await
}

async fn ask(gateway: &Gateway, worker: &Worker, request: Request) -> ApiResult {
    gateway.forwarder.send(worker, request).await.map_err(|unanswered| {
        if unanswered.is_gone {
            gateway.avoid(worker);
        }
        unanswered.error
    })
}

/// `GET /v1/streams`: those of all workers, oldest first. A worker that cannot be reached has none that anybody can use.
async fn list(State(gateway): State<Arc<Gateway>>, request: Request) -> ApiResult {
    let (parts, _) = request.into_parts();
    let mut asked = tokio::task::JoinSet::new();
    for worker in gateway.workers().await? {
        let (gateway, mut request) = (gateway.clone(), Request::default());
        request.headers_mut().clone_from(&parts.headers);
        // A body that came with it goes nowhere.
        request.headers_mut().remove(header::CONTENT_LENGTH);
        request.uri_mut().clone_from(&parts.uri);
        asked.spawn(async move {
            let answer = ask(&gateway, &worker, request).await?;
            if answer.status() != StatusCode::OK {
                return Ok(Err(answer));
            }
            let body = http::read_body(answer.into_body(), MOST_LISTED).await?;
            Ok::<_, crate::error::ApiError>(Ok(serde_json::from_slice::<Value>(&body).unwrap_or_default()))
        });
    }
    let mut streams = Vec::new();
    while let Some(joined) = asked.join_next().await {
        match joined {
            Ok(Ok(Ok(mut list))) => {
                if let Some(Value::Array(some)) = list.get_mut("data").map(Value::take) {
                    streams.extend(some);
                }
            }
            // A key that one does not know is one that none knows.
            Ok(Ok(Err(refusal))) => return Ok(refusal),
            Ok(Err(error)) => tracing::warn!(error = error.message(), "a worker's streams are not in a list"),
            Err(error) => tracing::error!(%error, "a worker's streams are not in a list"),
        }
    }
    let text = |stream: &Value, key: &str| stream.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    streams.sort_by_cached_key(|stream| (text(stream, "created_at"), text(stream, "id")));
    Ok(http::json(StatusCode::OK, &json!({"success": true, "data": streams})))
}

/// What Scope's clients load and choose is a server's, and not one stream's.
fn not_routed() -> Response {
    let text = "A gateway does not serve Scope's API, which is about one machine: ask a worker at its own address";
    Detail::Text(StatusCode::NOT_IMPLEMENTED, text.to_owned()).into_response()
}

/// `GET /health`: whether the gateway itself is there.
async fn health() -> Response {
    http::json(StatusCode::OK, &json!({"status": "healthy", "version": env!("CARGO_PKG_VERSION")}))
}

/// `GET /ready`: 503 where no worker takes streams.
async fn ready(State(gateway): State<Arc<Gateway>>) -> ApiResult {
    gateway.any().await?;
    Ok(http::json(StatusCode::OK, &json!({"status": "ready"})))
}

/// `GET /metrics`, in Prometheus' text form: its own answers, and what the workers have together.
async fn metrics(State(gateway): State<Arc<Gateway>>) -> Response {
    let mut out = String::new();
    answers(&mut out, &gateway.front.counters);
    // Without a registry there are no workers to speak of.
    let workers = gateway.workers().await.unwrap_or_default();
    let sum = |figure: fn(&Worker) -> usize| workers.iter().map(figure).sum();
    for (name, help, value) in [
        ("workers", "Workers that tell of themselves", workers.len()),
        ("workers_draining", "Workers that are about to end", sum(|worker| usize::from(worker.draining))),
        ("streams", "Streams that there are", sum(|worker| worker.streams)),
        ("streams_limit", "Streams that there may be", sum(|worker| worker.max_streams)),
        ("sessions", "Streams that make pictures", sum(|worker| worker.sessions)),
        ("sessions_limit", "Streams that may make pictures at a time", sum(|worker| worker.max_sessions)),
    ] {
        figure(&mut out, name, "gauge", help);
        // Writing to a `String` cannot fail.
        let _ = writeln!(out, "dreamframe_{name} {value}");
    }
    (HEADERS, out).into_response()
}
