//! What all handlers share, and **the** route table.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::middleware;
use axum::routing::{any, get, post};
use tokio::sync::Semaphore;

use crate::cluster::{self, Presence};
use crate::config::Config;
use crate::error::ApiError;
use crate::http::{self, Front};
use crate::large_bodies::LargeBodies;
use crate::routes::{health, hls, legacy, metrics, openapi, page, record, scope, status, streams, whep, whip};
use crate::scope::Scope;
use crate::streams::Store;

/// How many may listen to the status of streams, of all together.
pub(crate) const MOST_LISTENERS: usize = 256;

/// What all handlers share.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) config: Arc<Config>,
    pub(crate) streams: Store,
    pub(crate) counters: Arc<Counters>,
    pub(crate) scope: Scope,
    pub(crate) large_bodies: LargeBodies,
    /// The room for those who listen to the status of streams.
    pub(crate) listeners: Arc<Semaphore>,
    /// Where gateways find this server, if it is one of many.
    pub(crate) presence: Option<Presence>,
    /// The base of addresses for who does not say what host was asked.
    pub(crate) local_url: String,
}

/// Answers, by the first digit of their status.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    by_class: [AtomicU64; 5],
}

impl Counters {
    /// Counts an answer.
    pub(crate) fn answered(&self, status: StatusCode) {
        let class = usize::from(status.as_u16() / 100).saturating_sub(1);
        if let Some(counter) = self.by_class.get(class) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many answers there were of each class: `2xx` and so on.
    pub(crate) fn answers(&self) -> impl Iterator<Item = (String, u64)> {
        self.by_class.iter().enumerate().map(|(at, count)| (format!("{}xx", at + 1), count.load(Ordering::Relaxed)))
    }
}

impl App {
    /// Makes what a server at `address` shares.
    pub(crate) fn new(config: Config, address: SocketAddr, presence: Option<Presence>) -> Arc<Self> {
        let config = Arc::new(config);
        Arc::new(Self {
            local_url: config.local_url(address),
            streams: Store::new(config.clone()),
            counters: Arc::default(),
            scope: Scope::default(),
            large_bodies: LargeBodies::default(),
            listeners: Arc::new(Semaphore::new(MOST_LISTENERS)),
            presence,
            config,
        })
    }
}

/// Every route. Each file of `routes` has the handlers that are named here.
pub(crate) fn router(app: Arc<App>) -> Router {
    let front = Front { counters: app.counters.clone(), origins: Arc::new(app.config.origins.clone()) };
    let media = Router::new()
        .route("/live/video-to-video/{key}/whip", any(whip::endpoint))
        .route("/live/video-to-video/{key}/whip/{session}", any(whip::session))
        .route("/live/video-to-video/{key}/whep", any(whep::endpoint))
        .route("/live/video-to-video/{key}/whep/{session}", any(whep::session))
        .route("/webrtc/{playback_id}", any(whep::alias))
        .route("/webrtc/{playback_id}/{session}", any(whep::alias_session))
        .route("/hls/{playback_id}/{file}", get(hls::file));
    let api = Router::new()
        .route("/v1/streams", post(streams::create).get(streams::list).delete(streams::delete_by_query))
        .route(
            "/v1/streams/{id}",
            get(streams::read).patch(streams::update).put(streams::update).delete(streams::delete_by_path),
        )
        .route("/v1/streams/{id}/status", get(status::status))
        .route("/v1/streams/{id}/recording", get(record::recording))
        .route("/v1/schema", get(page::schema))
        .route("/api/streams/{id}/status", get(status::status))
        .route("/api/streams/{id}/sse", get(status::events))
        .route("/beta/streams/{id}/prompts", post(legacy::prompts))
        .route("/v1/api-key", post(legacy::api_key));
    let service = Router::new()
        .route("/health", get(health::health))
        .route("/ready", get(health::ready))
        .route("/metrics", get(metrics::metrics))
        .route("/openapi.json", get(openapi::document))
        .route("/", get(page::page))
        .route("/page/{name}", get(page::file))
        .route("/{name}", get(page::player));
    Router::new()
        .merge(api)
        .merge(media)
        .merge(service)
        .merge(scope::routes(&app))
        .fallback(no_route)
        .layer(middleware::from_fn_with_state(app.clone(), cluster::believe_gateways))
        // Each handler reads its body with a limit of its own.
        .layer(DefaultBodyLimit::disable())
        .layer(middleware::from_fn_with_state(front, http::around))
        .with_state(app)
}

pub(crate) async fn no_route() -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "HTTP/NOT_FOUND", "There is nothing at this path")
}
