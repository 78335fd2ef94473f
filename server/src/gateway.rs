//! A gateway: one address for several servers. It has no state of any stream, so that there may be any number of
//! gateways, and each may be stopped at any time.
//!
//! A request that names a stream, in its path or its query, is forwarded to the worker that has the stream; a request
//! that creates one to the worker with most capacity; others to any worker. Errors are for the worker to answer, so a
//! request with an unknown name is forwarded to any worker, too. Offers and answers pass through; media flows between
//! client and worker.

mod connect;
mod forward;
mod names;
mod routes;
mod settings;
mod worker_addresses;

pub(crate) use self::routes::router;
pub(crate) use self::settings::{Config, Settings};

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use dreamframe::Result;

use self::connect::Connector;
use self::forward::Forwarder;
use self::worker_addresses::WorkerAddresses;
use crate::cluster::{Registry, Worker, least_loaded};
use crate::error::ApiError;
use crate::http::Front;

/// The time for which a worker that cannot be reached gets no new streams: longer than its entry in the registry lasts.
const AVOIDED: Duration = Duration::from_secs(10);
/// Seconds after which a client may retry, without a worker or a registry.
const RETRY_SECONDS: u32 = 3;

/// What all handlers of a gateway share.
#[derive(Debug)]
pub(crate) struct Gateway {
    registry: Registry,
    forwarder: Forwarder,
    allowed: Arc<WorkerAddresses>,
    pub(crate) front: Front,
    /// Whether other machines reach the gateway: workers without keys are then not used.
    is_public: bool,
    /// Workers that could not be reached lately, by their id.
    avoided: Mutex<HashMap<String, Instant>>,
}

impl Gateway {
    /// Creates one. Within a runtime.
    ///
    /// # Errors
    ///
    /// Those of the registry's client.
    pub(crate) fn new(config: &Config) -> Result<Arc<Self>> {
        let connector = Connector::new(config.allowed.clone(), config.workers_tls.clone());
        Ok(Arc::new(Self {
            registry: Registry::new(&config.registry)?,
            forwarder: Forwarder::new(config.tls.is_some(), connector),
            allowed: config.allowed.clone(),
            front: Front { counters: Arc::default(), origins: Arc::new(config.origins.clone()) },
            is_public: !config.bind.ip().is_loopback(),
            avoided: Mutex::default(),
        }))
    }

    /// Returns the workers that may be asked.
    async fn workers(&self) -> Result<Vec<Worker>, ApiError> {
        let mut workers = self.registry.workers().await.map_err(|error| no_registry(&error))?;
        workers.retain(|worker| self.may_ask(worker));
        Ok(workers)
    }

    /// Returns true if requests may be sent to a worker: its address is allowed, and it needs keys, unless only this
    /// machine reaches the gateway.
    fn may_ask(&self, worker: &Worker) -> bool {
        let checked = if worker.open && self.is_public {
            Err("the worker has no API keys, and other machines reach this gateway")
        } else {
            self.allowed.check(&worker.url)
        };
        checked.inspect_err(|why| self.registry.refusals().note(&worker.id, why)).is_ok()
    }

    /// Returns the worker of the stream with `name`, if such a stream exists.
    async fn worker_of(&self, name: &str) -> Result<Option<Worker>, ApiError> {
        let found = self.registry.worker_of(name).await.map_err(|error| no_registry(&error))?;
        Ok(found.filter(|worker| self.may_ask(worker)))
    }

    /// Returns the worker for a new stream.
    ///
    /// # Errors
    ///
    /// 429 with the limit if all are full, 503 if none accepts streams.
    async fn place(&self) -> Result<Worker, ApiError> {
        let workers = self.reachable().await?;
        if let Some(worker) = least_loaded(&workers) {
            return Ok(worker.clone());
        }
        let taking = || workers.iter().filter(|worker| !worker.draining);
        if taking().next().is_none() {
            return Err(no_worker());
        }
        let most = taking().fold(0, |most: usize, worker| most.saturating_add(worker.max_streams));
        Err(ApiError::limit(StatusCode::TOO_MANY_REQUESTS, "streams", most, RETRY_SECONDS))
    }

    /// Returns any worker, for requests that all workers answer alike.
    async fn any(&self) -> Result<Worker, ApiError> {
        let workers = self.reachable().await?;
        least_loaded(&workers).or(workers.first()).cloned().ok_or_else(no_worker)
    }

    /// Returns the workers that may be asked and did not fail to answer lately.
    async fn reachable(&self) -> Result<Vec<Worker>, ApiError> {
        let mut workers = self.workers().await?;
        let mut avoided = self.avoided();
        avoided.retain(|_, since| since.elapsed() < AVOIDED);
        workers.retain(|worker| !avoided.contains_key(&worker.id));
        Ok(workers)
    }

    fn avoided(&self) -> MutexGuard<'_, HashMap<String, Instant>> {
        self.avoided.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Excludes a worker that could not be reached from new streams for a while.
    fn avoid(&self, worker: &Worker) {
        self.avoided().insert(worker.id.clone(), Instant::now());
    }
}

fn no_registry(error: &dreamframe::Error) -> ApiError {
    tracing::error!(error = format!("{error:#}"), "no worker can be found");
    let text = "The registry of workers cannot be reached";
    ApiError::later(StatusCode::SERVICE_UNAVAILABLE, "GATEWAY/NO_REGISTRY", text, RETRY_SECONDS)
}

fn no_worker() -> ApiError {
    let text = "No worker is available";
    ApiError::later(StatusCode::SERVICE_UNAVAILABLE, "GATEWAY/NO_WORKER", text, RETRY_SECONDS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::SharedSettings;

    fn worker(url: &str, open: bool) -> Worker {
        Worker {
            id: "wkr_1".into(),
            url: url.into(),
            open,
            draining: false,
            streams: 0,
            max_streams: 1,
            sessions: 0,
            max_sessions: 1,
        }
    }

    fn gateway(bind: &str, workers: Option<&str>) -> Arc<Gateway> {
        let shared = SharedSettings {
            bind: Some(bind.parse().unwrap()),
            registry: Some("redis://127.0.0.1:1".into()),
            ..SharedSettings::default()
        };
        let settings = Settings { shared, workers: workers.map(str::to_owned), ..Settings::default() };
        Gateway::new(&Config::new(settings).unwrap()).unwrap()
    }

    #[tokio::test]
    async fn public_gateway_does_not_use_workers_without_keys() {
        for (bind, asks_open) in [("127.0.0.1:0", true), ("[::1]:0", true), ("0.0.0.0:0", false), ("10.0.0.5:0", false)]
        {
            let gateway = gateway(bind, None);
            let asks = |open| gateway.may_ask(&worker("http://127.0.0.1:8889", open));
            assert_eq!((asks(true), asks(false)), (asks_open, true), "{bind}");
        }
    }

    #[tokio::test]
    async fn a_worker_elsewhere_than_it_may_be_is_counted_and_not_asked() {
        let gateway = gateway("127.0.0.1:0", Some("10.0.0.0/8"));
        assert!(gateway.may_ask(&worker("http://10.0.0.5:8889", false)));
        for url in ["http://11.0.0.5:8889", "http://127.0.0.1:8889", "https://10.0.0.5:8889", "nonsense"] {
            assert!(!gateway.may_ask(&worker(url, false)), "{url}");
        }
        assert_eq!(gateway.registry.refusals().count(), 4);
    }
}
