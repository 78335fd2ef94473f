//! State that all handlers share, and the service made of the [route table](crate::routes).

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderMap, StatusCode};
use axum::middleware;
use bytes::Bytes;
use tokio::sync::Semaphore;

use crate::auth::{Caller, ControlToken};
use crate::clips::Clips;
use crate::cluster::{self, Presence};
use crate::config::Config;
use crate::error::ApiError;
use crate::http::{self, Front};
use crate::large_bodies::LargeBodies;
use crate::routes;
use crate::routes::recommend::Recommended;
use crate::scope::Scope;
use crate::streams::Store;

/// The most listeners to the status of streams, over all streams.
pub(crate) const MOST_LISTENERS: usize = 256;

/// What all handlers share.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) config: Arc<Config>,
    pub(crate) streams: Store,
    pub(crate) counters: Arc<Counters>,
    pub(crate) scope: Scope,
    pub(crate) clips: Arc<Clips>,
    pub(crate) large_bodies: LargeBodies,
    /// Permits for listeners to the status of streams.
    pub(crate) listeners: Arc<Semaphore>,
    /// Whether models are loaded that requests would have to wait for.
    pub(crate) is_loading: AtomicBool,
    pub(crate) recommended: Recommended,
    /// Where gateways find this server, if it is one of many.
    pub(crate) presence: Option<Presence>,
    /// The base URL for requests that do not name a host.
    pub(crate) local_url: String,
    /// The body of `GET /v1/schema`, once it was requested.
    pub(crate) page_schema: OnceLock<Bytes>,
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

    /// The number of responses of each class: `2xx` and so on.
    pub(crate) fn answers(&self) -> impl Iterator<Item = (String, u64)> {
        self.by_class.iter().enumerate().map(|(at, count)| (format!("{}xx", at + 1), count.load(Ordering::Relaxed)))
    }
}

impl App {
    /// Returns the sender of a request with `headers`: by its API key, or by the control token of a stream.
    ///
    /// # Errors
    ///
    /// 401 without either, where keys are configured.
    pub(crate) fn caller(&self, headers: &HeaderMap) -> Result<Caller, ApiError> {
        self.config.keys.caller(headers).or_else(|refused| {
            let stream = ControlToken::of_request(headers).and_then(|token| self.streams.by_token(&token));
            stream.map(|stream| Caller::Token(stream.id.clone())).ok_or(refused)
        })
    }

    /// Creates the state of a server at `address`, with the streams that it had before.
    ///
    /// # Errors
    ///
    /// Those of [`Store::new`] and [`Clips::open`].
    pub(crate) fn new(
        config: Config,
        address: SocketAddr,
        presence: Option<Presence>,
    ) -> dreamframe::Result<Arc<Self>> {
        let config = Arc::new(config);
        let clips = Clips::open(config.clips.as_deref(), config.clip_space).map_err(|error| error.within("clips"))?;
        Ok(Arc::new(Self {
            local_url: config.local_url(address),
            page_schema: OnceLock::new(),
            streams: Store::new(config.clone())?,
            counters: Arc::default(),
            scope: Scope::default(),
            clips: Arc::new(clips),
            large_bodies: LargeBodies::default(),
            listeners: Arc::new(Semaphore::new(MOST_LISTENERS)),
            recommended: Recommended::default(),
            is_loading: AtomicBool::new(!config.preload.is_empty()),
            presence,
            config,
        }))
    }
}

/// The service of every route, with what each request and answer passes through.
pub(crate) fn router(app: Arc<App>) -> Router {
    let front = Front { counters: app.counters.clone(), origins: Arc::new(app.config.origins.clone()) };
    routes::router(&app)
        .fallback(no_route)
        .layer(middleware::from_fn_with_state(app.clone(), cluster::trust_gateways))
        // Each handler reads its body with a limit of its own.
        .layer(DefaultBodyLimit::disable())
        .layer(middleware::from_fn_with_state(front, http::around))
        .with_state(app)
}

pub(crate) async fn no_route() -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "HTTP/NOT_FOUND", "No route has this path")
}
