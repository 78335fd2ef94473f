//! All streams by their names, and the end of those that are not used.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use axum::http::StatusCode;
use dreamframe::load::ModelSource;
use dreamframe::params::StreamDiffusionParams;
use dreamframe::{Engine, Error, ErrorKind, Result};

use super::budget::Reservation;
use super::fit::fit;
use super::session_manager::Capacity;
use super::stream::Stream;
use crate::auth::{Caller, ControlToken};
use crate::config::Config;
use crate::error::ApiError;
use crate::ids;
use crate::panics::contain;
use crate::saved::{Identity, StateFile};
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

/// A model in memory, whose weights sessions share.
#[derive(Debug)]
pub(crate) struct Preloaded {
    _engine: Engine,
    _reserved: Reservation,
}

/// All streams.
#[derive(Debug)]
pub(crate) struct Store {
    config: Arc<Config>,
    /// Where streams are stored, if they are.
    file: Option<Arc<StateFile>>,
    capacity: Arc<Capacity>,
    streams: RwLock<Streams>,
    draining: AtomicBool,
}

#[derive(Debug, Default)]
struct Streams {
    /// In order of creation.
    all: Vec<Arc<Stream>>,
    /// By id, stream key, playback id and digest of the control token; the first three have prefixes.
    by_name: HashMap<String, Arc<Stream>>,
}

impl Streams {
    fn insert(&mut self, stream: &Arc<Stream>) {
        for name in stream.names() {
            self.by_name.insert(name.clone(), stream.clone());
        }
        self.all.push(stream.clone());
    }

    fn remove(&mut self, id: &str) -> Option<Arc<Stream>> {
        let stream = self.by_name.get(id).cloned()?;
        self.all.retain(|other| !Arc::ptr_eq(other, &stream));
        for name in stream.names() {
            self.by_name.remove(name);
        }
        Some(stream)
    }
}

impl Store {
    /// Creates it with the streams that are stored, if the configuration names a folder for them.
    ///
    /// # Errors
    ///
    /// Those of [`StateFile::open`]; `InvalidParams` naming a stream whose parameters are not valid here.
    pub(crate) fn new(config: Arc<Config>) -> Result<Self> {
        let capacity = Capacity::new(config.max_sessions, config.memory_limit);
        let mut streams = Streams::default();
        let mut file = None;
        if let Some(folder) = &config.state {
            let (opened, saved) = StateFile::open(folder).map_err(|error| error.within("state"))?;
            let opened = Arc::new(opened);
            for saved in saved {
                let id = saved.identity.id.clone();
                let restored = Stream::restored(&config, &capacity, saved);
                let stream = restored.map_err(|error| error.within(format_args!("state: stream {id}")))?;
                stream.save_in(&opened);
                streams.insert(&stream);
            }
            tracing::info!(streams = streams.all.len(), folder = %folder.display(), "streams are stored");
            file = Some(opened);
        }
        Ok(Self { config, file, capacity, streams: RwLock::new(streams), draining: AtomicBool::new(false) })
    }

    /// Loads the model `id`, which stays in memory as long as what is returned. Slow.
    ///
    /// # Errors
    ///
    /// Those of [`EngineBuilder::build`](dreamframe::EngineBuilder::build); `OutOfMemory` if it exceeds the memory that sessions
    /// may have.
    pub(crate) fn preload(&self, id: &str) -> Result<Preloaded> {
        let params = StreamDiffusionParams { model_id: id.to_owned(), ..self.config.default_params() };
        let params = fit(&self.config.source, &params).params;
        let reserved = self.capacity.budget().reserve(&self.config, &params);
        let reserved = reserved.map_err(|error| Error::new(ErrorKind::OutOfMemory, error.message()))?;
        let builder = Engine::builder().models(self.config.source.clone()).params(params);
        let engine = builder.options(self.config.engine.clone()).processors(self.config.processors.clone()).build()?;
        Ok(Preloaded { _engine: engine, _reserved: reserved })
    }

    /// Creates a stream of `caller` with `request` as [`create`](Self::create) does, and stores it.
    ///
    /// # Errors
    ///
    /// Those of `create`; 500 if it cannot be stored.
    pub(crate) async fn create_kept(
        &self,
        caller: &Caller,
        request: Request,
    ) -> Result<(Arc<Stream>, ControlToken), ApiError> {
        let (stream, token) = self.create(caller, request)?;
        let Some(file) = self.file.clone() else { return Ok((stream, token)) };
        stream.save_in(&file);
        let stored = tokio::task::spawn_blocking(move || file.flush()).await;
        let cancelled = |_| Error::new(ErrorKind::Internal, "storing the stream was cancelled");
        if let Err(error) = stored.map_err(cancelled).flatten() {
            self.remove(&stream.id).await;
            return Err(error.into());
        }
        Ok((stream, token))
    }

    /// Creates a stream of `caller` with `request`, and returns it with its control token, which is not kept.
    ///
    /// # Errors
    ///
    /// 400 with every value at fault; 429 at the limit, with its value; 503 while draining.
    pub(crate) fn create(&self, caller: &Caller, request: Request) -> Result<(Arc<Stream>, ControlToken), ApiError> {
        if self.is_draining() {
            let text = "the server is draining and accepts no new streams";
            return Err(ApiError::later(StatusCode::SERVICE_UNAVAILABLE, "SERVER/DRAINING", text, DRAINED_SECONDS));
        }
        self.check_count(self.len())?;
        let token = ControlToken::new();
        let stream = Stream::new(&self.config, &self.capacity, Identity::new(caller, &token), request)?;
        let mut streams = self.streams.write().unwrap_or_else(PoisonError::into_inner);
        // Others may have been created meanwhile.
        self.check_count(streams.all.len())?;
        streams.insert(&stream);
        drop(streams);
        tracing::info!(stream = stream.id, "created");
        Ok((stream, token))
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

    /// The stream with this control token.
    pub(crate) fn by_token(&self, token: &ControlToken) -> Option<Arc<Stream>> {
        self.find(&token.digest(), "")
    }

    fn find(&self, name: &str, prefix: &str) -> Option<Arc<Stream>> {
        let streams = self.streams.read().unwrap_or_else(PoisonError::into_inner);
        streams.by_name.get(name).filter(|_| name.starts_with(prefix)).cloned()
    }

    /// The stream with this id, for `caller`.
    ///
    /// # Errors
    ///
    /// 404 if there is none; 403 if another key owns it, or the caller's token is that of another stream.
    pub(crate) fn of(&self, caller: &Caller, id: &str) -> Result<Arc<Stream>, ApiError> {
        let stream = self.by_id(id).ok_or_else(ApiError::no_stream)?;
        if stream.is_of(caller) {
            return Ok(stream);
        }
        let text = match caller {
            Caller::Key(_) => "This stream belongs to another API key",
            Caller::Token(_) => "This control token is that of another stream",
        };
        Err(ApiError::new(StatusCode::FORBIDDEN, "STREAMS/FORBIDDEN", text))
    }

    /// Ends a stream and removes it.
    pub(crate) async fn remove(&self, id: &str) {
        let removed = self.streams.write().unwrap_or_else(PoisonError::into_inner).remove(id);
        if let Some(stream) = removed {
            if let Some(file) = &self.file {
                file.remove(&stream.id);
            }
            stream.close(None).await;
            tracing::info!(stream = stream.id, "removed");
        }
    }

    /// Supervises all streams: to be called several times per second.
    pub(crate) async fn tick(&self) {
        let now = ids::now_ms();
        let streams = self.all();
        supervise(&streams, |stream| stream.tick(now));
        for stream in streams.iter().filter(|stream| is_old(stream, now)) {
            self.remove(&stream.id).await;
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
        if let Some(file) = self.file.clone()
            && let Ok(Err(error)) = tokio::task::spawn_blocking(move || file.flush()).await
        {
            tracing::error!(error = format!("{error:#}"), "the last changes of streams are not stored");
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
        self.capacity.sessions()
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

/// Calls `tick` for each stream, also after a panic for another one.
fn supervise(streams: &[Arc<Stream>], tick: impl Fn(&Arc<Stream>)) {
    for stream in streams {
        contain(format_args!("the supervision of the stream {}", stream.id), || tick(stream));
    }
}

/// Returns true for a stream that was not used for so long that it ends.
fn is_old(stream: &Stream, now: u64) -> bool {
    if stream.in_use() {
        return false;
    }
    let longer = |since: u64, most: Duration| now.saturating_sub(since) > most.as_millis() as u64;
    match stream.published_at() {
        (None, _) => longer(stream.known_since, UNUSED),
        (Some(_), Some(ended)) => longer(ended, ENDED),
        (Some(first), None) => longer(first, UNUSED),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[tokio::test]
    async fn a_panic_while_a_stream_is_supervised_leaves_the_others_supervised() {
        let store = Store::new(Arc::new(Config::for_tests())).unwrap();
        let streams = [(); 3].map(|()| store.create(&Caller::local(), Request::default()).unwrap().0);
        let seen = Mutex::new(Vec::new());
        supervise(&streams, |stream| {
            seen.lock().unwrap().push(stream.id.clone());
            assert!(stream.id != streams[0].id, "a defect");
        });
        assert_eq!(*seen.lock().unwrap(), streams.map(|stream| stream.id.clone()));
    }

    #[tokio::test]
    async fn streams_end_a_day_after_they_were_made_and_an_hour_after_their_last_publisher() {
        let store = Store::new(Arc::new(Config::for_tests())).unwrap();
        let (stream, _) = store.create(&Caller::local(), Request::default()).unwrap();
        let hours = |hours: u64, more: u64| ids::now_ms() + hours * 3_600_000 + more;
        assert!(!is_old(&stream, hours(23, 0)) && is_old(&stream, hours(24, 10)));
        let publication = stream.take_over();
        assert!(!is_old(&stream, hours(1000, 0)));
        stream.tick(ids::now_ms());
        drop(publication);
        stream.tick(ids::now_ms());
        // Its outputs end in the background.
        let began = std::time::Instant::now();
        while stream.in_use() {
            tokio::task::yield_now().await;
            assert!(began.elapsed() < Duration::from_secs(60));
        }
        assert!(!is_old(&stream, hours(0, 3_599_000)) && is_old(&stream, hours(1, 10)));
        store.tick().await;
        assert_eq!(store.len(), 1);
    }
}
