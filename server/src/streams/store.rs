//! All streams by their names, and the end of those that are not used.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use axum::http::StatusCode;
use dreamframe::load::ModelSource;
use tokio::sync::Semaphore;

use super::stream::Stream;
use crate::auth::Caller;
use crate::config::Config;
use crate::error::ApiError;
use crate::ids;
use crate::wire::request::Request;

/// The time for which a stream is kept before its first publisher, and after its last publisher disconnected.
const UNUSED: Duration = Duration::from_secs(24 * 3600);
const ENDED: Duration = Duration::from_secs(3600);
/// Seconds after which a refused client may retry.
const RETRY_SECONDS: u32 = 30;
/// Seconds after which another server may have replaced one that is shutting down.
const DRAINED_SECONDS: u32 = 5;
/// The longest time for streams to end when the server does.
const CLOSING: Duration = Duration::from_secs(4);

/// All streams.
#[derive(Debug)]
pub(crate) struct Store {
    config: Arc<Config>,
    slots: Arc<Semaphore>,
    streams: RwLock<Streams>,
    draining: AtomicBool,
}

#[derive(Debug, Default)]
struct Streams {
    /// In order of creation.
    all: Vec<Arc<Stream>>,
    /// By id, stream key and playback id, which have different prefixes.
    by_name: HashMap<String, Arc<Stream>>,
}

impl Store {
    pub(crate) fn new(config: Arc<Config>) -> Self {
        let slots = Arc::new(Semaphore::new(config.max_sessions));
        Self { config, slots, streams: RwLock::default(), draining: AtomicBool::new(false) }
    }

    /// Creates a stream of `caller` with `request`.
    ///
    /// # Errors
    ///
    /// 400 with every value at fault; 429 at the limit, with its value; 503 while draining.
    pub(crate) fn create(&self, caller: &Caller, request: Request) -> Result<Arc<Stream>, ApiError> {
        if self.is_draining() {
            let text = "the server is draining and accepts no new streams";
            return Err(ApiError::later(StatusCode::SERVICE_UNAVAILABLE, "SERVER/DRAINING", text, DRAINED_SECONDS));
        }
        self.check_count(self.len())?;
        let stream = Stream::new(&self.config, &self.slots, caller.name(), request)?;
        let mut streams = self.streams.write().unwrap_or_else(PoisonError::into_inner);
        // Others may have been created meanwhile.
        self.check_count(streams.all.len())?;
        for name in [&stream.id, &stream.key, &stream.playback_id] {
            streams.by_name.insert(name.clone(), stream.clone());
        }
        streams.all.push(stream.clone());
        drop(streams);
        tracing::info!(stream = stream.id, "created");
        Ok(stream)
    }

    fn check_count(&self, count: usize) -> Result<(), ApiError> {
        let most = self.config.max_streams;
        if count < most {
            return Ok(());
        }
        Err(ApiError::limit(StatusCode::TOO_MANY_REQUESTS, "streams", most, RETRY_SECONDS))
    }

    /// The number of streams.
    pub(crate) fn len(&self) -> usize {
        self.streams.read().unwrap_or_else(PoisonError::into_inner).all.len()
    }

    /// All of them, oldest first.
    pub(crate) fn all(&self) -> Vec<Arc<Stream>> {
        self.streams.read().unwrap_or_else(PoisonError::into_inner).all.clone()
    }

    /// The stream with this id, of any owner.
    pub(crate) fn by_id(&self, id: &str) -> Option<Arc<Stream>> {
        self.find(id, "str_")
    }

    /// The stream with this stream key.
    pub(crate) fn by_key(&self, key: &str) -> Option<Arc<Stream>> {
        self.find(key, "stk_")
    }

    /// The stream with this playback id.
    pub(crate) fn by_playback(&self, id: &str) -> Option<Arc<Stream>> {
        self.find(id, "lp_")
    }

    fn find(&self, name: &str, prefix: &str) -> Option<Arc<Stream>> {
        let streams = self.streams.read().unwrap_or_else(PoisonError::into_inner);
        streams.by_name.get(name).filter(|_| name.starts_with(prefix)).cloned()
    }

    /// The stream with this id, for `caller`.
    ///
    /// # Errors
    ///
    /// 404 if there is none; 403 if another key owns it.
    pub(crate) fn of(&self, caller: &Caller, id: &str) -> Result<Arc<Stream>, ApiError> {
        let stream = self.by_id(id).ok_or_else(ApiError::no_stream)?;
        if stream.author == caller.name() {
            return Ok(stream);
        }
        Err(ApiError::new(StatusCode::FORBIDDEN, "STREAMS/FORBIDDEN", "This stream belongs to another API key"))
    }

    /// Ends a stream and removes it.
    pub(crate) async fn remove(&self, id: &str) {
        let removed = {
            let mut streams = self.streams.write().unwrap_or_else(PoisonError::into_inner);
            streams.all.retain(|stream| stream.id != id);
            let stream = streams.by_name.remove(id);
            if let Some(stream) = &stream {
                streams.by_name.remove(&stream.key);
                streams.by_name.remove(&stream.playback_id);
            }
            stream
        };
        if let Some(stream) = removed {
            stream.close(None).await;
            tracing::info!(stream = stream.id, "removed");
        }
    }

    /// Supervises all streams: to be called several times per second.
    pub(crate) async fn tick(&self) {
        let now = ids::now_ms();
        let mut old = Vec::new();
        for stream in self.all() {
            stream.tick(now);
            if is_old(&stream, now) {
                old.push(stream.id.clone());
            }
        }
        for id in old {
            self.remove(&id).await;
        }
    }

    /// Accepts no more streams from now on.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Returns true while no more streams are accepted.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// The number of streams with a publisher or viewers.
    pub(crate) fn in_use(&self) -> usize {
        self.all().iter().filter(|stream| stream.in_use()).count()
    }

    /// Ends all sessions and connections, for shutdown.
    pub(crate) async fn close(&self) {
        let mut closing = tokio::task::JoinSet::new();
        for stream in self.all() {
            closing.spawn(async move { stream.close(Some("the server ends")).await });
        }
        let all = async { while closing.join_next().await.is_some() {} };
        if tokio::time::timeout(CLOSING, all).await.is_err() {
            tracing::warn!("streams did not end in time");
        }
    }

    /// The largest number of streams.
    pub(crate) fn max_streams(&self) -> usize {
        self.config.max_streams
    }

    /// The largest number of sessions.
    pub(crate) fn max_sessions(&self) -> usize {
        self.config.max_sessions
    }

    /// The number of sessions that run or are being loaded.
    pub(crate) fn sessions(&self) -> usize {
        self.config.max_sessions.saturating_sub(self.slots.available_permits())
    }

    /// Returns whether the model named by `id` is installed.
    ///
    /// # Errors
    ///
    /// 400 naming the parameter.
    pub(crate) fn check_model(&self, id: &str) -> Result<(), ApiError> {
        if self.config.source == ModelSource::Demo {
            return Ok(());
        }
        let found = id.parse().and_then(|id| self.config.source.base(&id));
        found.map(drop).map_err(|error| ApiError::field("params.model_id", error.to_string()))
    }
}

fn is_old(stream: &Stream, now: u64) -> bool {
    if stream.in_use() {
        return false;
    }
    let longer = |since: u64, most: Duration| now.saturating_sub(since) > most.as_millis() as u64;
    match stream.published_at() {
        (None, _) => longer(stream.created_at, UNUSED),
        (Some(_), Some(ended)) => longer(ended, ENDED),
        (Some(first), None) => longer(first, UNUSED),
    }
}
