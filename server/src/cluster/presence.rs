//! Publishes the state of a worker to the registry.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dreamframe::Result;

use super::registry::Registry;
use super::secret::Secret;
use super::worker::{ID_PREFIX, Worker};
use crate::ids;
use crate::streams::{Store, Stream};

/// The interval at which a worker publishes itself: several times before its entry expires.
const PACE: Duration = Duration::from_secs(2);

/// Publishes a worker to the registry.
#[derive(Debug)]
pub(crate) struct Presence {
    registry: Registry,
    id: String,
    url: String,
    open: bool,
    /// Whether the registry did not answer last time.
    is_lost: AtomicBool,
}

impl Presence {
    /// Makes it for a worker that gateways reach at `url`; `open` if it needs no key.
    pub(crate) fn new(registry: Registry, url: String, open: bool) -> Self {
        Self { registry, id: ids::new(ID_PREFIX), url, open, is_lost: AtomicBool::new(false) }
    }

    /// The worker's id and the secret, which authenticate requests of gateways, if there is a secret.
    pub(super) fn identity(&self) -> Option<(&str, &Secret)> {
        Some((&self.id, self.registry.secret()?))
    }

    /// Publishes the worker and its streams, without end.
    pub(crate) async fn keep(&self, streams: &Store) {
        let mut every = tokio::time::interval(PACE);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            every.tick().await;
            self.publish(streams, &streams.all()).await;
        }
    }

    /// Publishes a new stream, before its creator looks it up.
    pub(crate) async fn publish_stream(&self, streams: &Store, stream: &std::sync::Arc<Stream>) {
        self.publish(streams, std::slice::from_ref(stream)).await;
    }

    async fn publish(&self, streams: &Store, some: &[std::sync::Arc<Stream>]) {
        let names = some.iter().flat_map(|stream| [&stream.id, &stream.key, &stream.playback_id]);
        let told = self.registry.announce(&self.worker(streams), names.map(String::as_str)).await;
        self.note(told);
    }

    /// Removes the worker.
    pub(crate) async fn leave(&self) {
        self.note(self.registry.withdraw(&self.id).await);
    }

    fn worker(&self, streams: &Store) -> Worker {
        Worker {
            id: self.id.clone(),
            url: self.url.clone(),
            open: self.open,
            draining: streams.is_draining(),
            streams: streams.len(),
            max_streams: streams.max_streams(),
            sessions: streams.sessions(),
            max_sessions: streams.max_sessions(),
        }
    }

    /// Logs once when the registry is lost, and once when it is back. Streams continue without it.
    fn note(&self, told: Result<()>) {
        let was_lost = self.is_lost.swap(told.is_err(), Ordering::Relaxed);
        match told {
            Err(error) if !was_lost => {
                tracing::warn!(
                    error = format!("{error:#}"),
                    "the registry is not reachable: gateways cannot find this worker"
                )
            }
            Ok(()) if was_lost => tracing::info!("the registry is reachable again"),
            Ok(()) | Err(_) => {}
        }
    }
}
