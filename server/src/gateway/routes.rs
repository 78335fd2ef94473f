//! The routes of a gateway: a few of its own; all others are forwarded to a worker.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{Method, StatusCode, header};
use axum::middleware;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{any, get};
use futures_util::StreamExt as _;
use serde_json::{Value, json};

use super::names::stream_name;
use super::{Gateway, no_worker};
use crate::cluster::Worker;
use crate::error::{ApiError, ApiResult};
use crate::http;
use crate::routes::metrics::{HEADERS, answers, figure};
use crate::scope::detail::Detail;

/// The longest list of streams that a worker may have, in bytes; and all of them together.
const MOST_LISTED: usize = 32 << 20;
const MOST_LISTED_TOGETHER: usize = 64 << 20;
/// The number of workers that are asked for their streams at a time, and the longest time for each.
const ASKED_AT_ONCE: usize = 8;
const LIST_TIME: Duration = Duration::from_secs(15);

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

/// Forwards a request to its worker.
async fn forward(State(gateway): State<Arc<Gateway>>, request: Request) -> ApiResult {
    // Requests for a tunnel, which no worker provides.
    if request.method() == Method::CONNECT {
        let text = "A gateway makes no connections for others";
        return Err(ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "HTTP/METHOD_NOT_ALLOWED", text));
    }
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
    gateway.forwarder.send(worker, gateway.registry.secret(), request).await.map_err(|unanswered| {
        if unanswered.is_gone {
            gateway.avoid(worker);
        }
        unanswered.error
    })
}

/// `GET /v1/streams`: those of all workers, oldest first. Workers that cannot be reached, or that refuse a key that
/// others accept, are left out.
async fn list(State(gateway): State<Arc<Gateway>>, request: Request) -> ApiResult {
    let (parts, _) = request.into_parts();
    let asked = gateway.workers().await?.into_iter().map(|worker| {
        let mut request = Request::default();
        request.headers_mut().clone_from(&parts.headers);
        // The body of the request is not forwarded.
        request.headers_mut().remove(header::CONTENT_LENGTH);
        request.uri_mut().clone_from(&parts.uri);
        listed(gateway.clone(), worker, request)
    });
    let mut asked = futures_util::stream::iter(asked).buffer_unordered(ASKED_AT_ONCE);
    let (mut streams, mut length, mut is_answered) = (Vec::new(), 0_usize, false);
    let mut refusal = Err(no_worker());
    while let Some(answer) = asked.next().await {
        match answer {
            Ok(Listed::Streams(some, bytes)) => {
                is_answered = true;
                streams.extend(some);
                length += bytes;
                if length > MOST_LISTED_TOGETHER {
                    let text = format!("The workers' lists together are larger than {MOST_LISTED_TOGETHER} bytes");
                    return Err(ApiError::new(StatusCode::BAD_GATEWAY, "GATEWAY/TOO_LARGE", text));
                }
            }
            Ok(Listed::Refused(answer)) => refusal = Ok(answer),
            Err(error) => {
                tracing::warn!(error = error.message(), "the list of streams lacks those of a worker");
                if refusal.is_err() {
                    refusal = Err(error);
                }
            }
        }
    }
    if !is_answered {
        return refusal;
    }
    let text = |stream: &Value, key: &str| stream.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    streams.sort_by_cached_key(|stream| (text(stream, "created_at"), text(stream, "id")));
    Ok(http::json(StatusCode::OK, &json!({"success": true, "data": streams})))
}

/// A worker's response to a request for its streams.
enum Listed {
    /// With the length of the answer, in bytes.
    Streams(Vec<Value>, usize),
    Refused(Response),
}

/// Asks one worker for its streams.
async fn listed(gateway: Arc<Gateway>, worker: Worker, request: Request) -> Result<Listed, ApiError> {
    let asked = async {
        let answer = ask(&gateway, &worker, request).await?;
        if answer.status() != StatusCode::OK {
            return Ok(Listed::Refused(answer));
        }
        let body = http::read_body(answer.into_body(), MOST_LISTED).await?;
        let mut list = serde_json::from_slice::<Value>(&body).unwrap_or_default();
        match list.get_mut("data").map(Value::take) {
            Some(Value::Array(streams)) => Ok(Listed::Streams(streams, body.len())),
            _ => Ok(Listed::Streams(Vec::new(), body.len())),
        }
    };
    match tokio::time::timeout(LIST_TIME, asked).await {
        Ok(listed) => listed,
        Err(_) => Err(ApiError::new(StatusCode::GATEWAY_TIMEOUT, "GATEWAY/TIMEOUT", "The worker does not answer")),
    }
}

/// The selection of Scope's clients belongs to a server, not to one stream.
fn not_routed() -> Response {
    let text = "A gateway does not serve Scope's API, which is about one machine: ask a worker at its own address";
    Detail::Text(StatusCode::NOT_IMPLEMENTED, text.to_owned()).into_response()
}

/// `GET /health`: the health of the gateway itself.
async fn health() -> Response {
    http::json(StatusCode::OK, &json!({"status": "healthy", "version": env!("CARGO_PKG_VERSION")}))
}

/// `GET /ready`: 503 where no worker takes streams.
async fn ready(State(gateway): State<Arc<Gateway>>) -> ApiResult {
    gateway.any().await?;
    Ok(http::json(StatusCode::OK, &json!({"status": "ready"})))
}

/// `GET /metrics`, in the Prometheus text format: the gateway's own responses, and sums over the workers.
async fn metrics(State(gateway): State<Arc<Gateway>>) -> Response {
    let mut out = String::new();
    answers(&mut out, &gateway.front.counters);
    // Without a registry there are no workers.
    let workers = gateway.workers().await.unwrap_or_default();
    let sum = |figure: fn(&Worker) -> usize| workers.iter().map(figure).fold(0, usize::saturating_add);
    for (name, help, value) in [
        ("workers", "Workers in the registry", workers.len()),
        ("workers_draining", "Workers that are draining", sum(|worker| usize::from(worker.draining))),
        ("streams", "Streams", sum(|worker| worker.streams)),
        ("streams_limit", "Largest number of streams", sum(|worker| worker.max_streams)),
        ("sessions", "Streams with a session", sum(|worker| worker.sessions)),
        ("sessions_limit", "Largest number of sessions", sum(|worker| worker.max_sessions)),
    ] {
        figure(&mut out, name, "gauge", help);
        // Writing to a `String` cannot fail.
        let _ = writeln!(out, "dreamframe_{name} {value}");
    }
    let (name, help) = ("registry_entries_refused_total", "Entries of the registry that were refused");
    figure(&mut out, name, "counter", help);
    let _ = writeln!(out, "dreamframe_{name} {}", gateway.registry.refusals().count());
    (HEADERS, out).into_response()
}
