//! A worker's word to the registry.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dreamframe::Result;

use super::registry::Registry;
use super::secret::Secret;
use super::worker::{ID_PREFIX, Worker};
use crate::ids;
use crate::streams::{Store, Stream};

/// How often a worker tells of itself: several times before it is forgotten.
const PACE: Duration = Duration::from_secs(2);

/// A worker's word to the registry.
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
    /// Makes one for a worker that gateways reach at `url`, and that is `open` to who has no key.
    pub(crate) fn new(registry: Registry, url: String, open: bool) -> Self {
        Self { registry, id: ids::new(ID_PREFIX), url, open, is_lost: AtomicBool::new(false) }
    }

    /// The worker's id and the secret, by which it knows requests of gateways, where there is a secret.
    pub(super) fn identity(&self) -> Option<(&str, &Secret)> {
        Some((&self.id, self.registry.secret()?))
    }

    /// Tells of the worker and its streams, for ever.
    pub(crate) async fn keep(&self, streams: &Store) {
        let mut every = tokio::time::interval(PACE);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            every.tick().await;
            self.tell(streams, &streams.all()).await;
        }
    }

    /// Tells of a stream that was made just now, before who made it looks for it.
    pub(crate) async fn tell_of(&self, streams: &Store, stream: &std::sync::Arc<Stream>) {
        self.tell(streams, std::slice::from_ref(stream)).await;
    }

    async fn tell(&self, streams: &Store, some: &[std::sync::Arc<Stream>]) {
        let names = some.iter().flat_map(|stream| [&stream.id, &stream.key, &stream.playback_id]);
        let told = self.registry.announce(&self.worker(streams), names.map(String::as_str)).await;
        self.note(told);
    }

    /// Tells that the worker is gone.
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

    /// Says once when the registry is lost, and once when it is back. Streams go on without it.
    fn note(&self, told: Result<()>) {
        let was_lost = self.is_lost.swap(told.is_err(), Ordering::Relaxed);
        match told {
            Err(error) if !was_lost => {
                tracing::warn!(error = format!("{error:#}"), "gateways do not find this worker")
            }
            Ok(()) if was_lost => tracing::info!("gateways find this worker again"),
            Ok(()) | Err(_) => {}
        }
    }
}
