//! Manages a stream's session: it is built on a separate thread when it is needed, and dropped when it is idle.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use axum::http::StatusCode;
use dreamframe::params::StreamDiffusionParams;
use dreamframe::{Engine, Error, ErrorKind, Event, Result, Session, SessionHandle, SessionOptions};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::budget::{Budget, Reservation};
use super::load_progress::{LoadProgress, expected_weights};
use super::stream::Stream;
use crate::adapt::measure;
use crate::config::Config;
use crate::error::ApiError;
use crate::ids;
use crate::panics::contain;

/// Seconds after which a client may retry.
const RETRY_SECONDS: u32 = 10;
/// The most sessions of one stream that were let go while they hang, and have not ended.
const MOST_HANGING: usize = 2;

/// What the sessions of all streams share.
#[derive(Debug)]
pub(crate) struct Capacity {
    /// Permits for sessions.
    slots: Arc<Semaphore>,
    most: usize,
    budget: Arc<Budget>,
    /// Sessions that hang, with the ids of their streams.
    hanging: Mutex<Vec<(String, Weak<Reservation>)>>,
}

impl Capacity {
    /// Creates that of a server with at most `most` sessions, which have at most `memory` bytes, or what the system has.
    pub(crate) fn new(most: usize, memory: Option<u64>) -> Arc<Self> {
        let (slots, budget) = (Arc::new(Semaphore::new(most)), Budget::new(memory));
        Arc::new(Self { slots, most, budget, hanging: Mutex::default() })
    }

    /// The memory that sessions may have.
    pub(super) fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }

    /// The number of sessions that run or are being loaded.
    pub(crate) fn sessions(&self) -> usize {
        self.most.saturating_sub(self.slots.available_permits())
    }

    /// Counts a session of the stream `id` that hangs, until `life` ends.
    ///
    /// # Errors
    ///
    /// The number of those that hang already, if that is the limit.
    fn add_hanging(&self, id: &str, life: Weak<Reservation>) -> Result<(), usize> {
        let mut hanging = self.hanging.lock().unwrap_or_else(PoisonError::into_inner);
        hanging.retain(|(_, life)| life.strong_count() > 0);
        let of_stream = hanging.iter().filter(|(of, _)| of == id).count();
        if of_stream >= MOST_HANGING || hanging.len() >= self.most.max(MOST_HANGING) {
            return Err(hanging.len());
        }
        hanging.push((id.to_owned(), life));
        Ok(())
    }
}

/// Whether a stream makes pictures.
#[derive(Debug)]
enum State {
    Idle,
    Loading,
    Running(Box<Running>),
    /// Could not be built for these parameters.
    Failed {
        params: Box<StreamDiffusionParams>,
        error: String,
    },
    /// No session is started any more.
    Closed,
}

#[derive(Debug)]
pub(super) struct Running {
    session: Session,
    handle: SessionHandle,
    /// Ends with the session's thread.
    life: Weak<Reservation>,
    started_at: u64,
    _slot: OwnedSemaphorePermit,
}

impl Running {
    /// Ends the session after its current frame, or lets it go if that takes longer than `timeout`. Returns whether it has
    /// ended.
    pub(super) fn end(self, timeout: Duration) -> bool {
        !matches!(self.session.stop(timeout), Err(error) if error.kind() == ErrorKind::Timeout)
    }
}

/// The publicly visible state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Phase {
    Idle,
    Loading,
    Running,
    Failed(String),
}

/// A stream's session, if any.
#[derive(Debug)]
pub(crate) struct SessionManager {
    state: Mutex<State>,
    capacity: Arc<Capacity>,
    /// Cancels loading.
    cancelled: Arc<AtomicBool>,
    progress: Arc<LoadProgress>,
}

impl SessionManager {
    pub(super) fn new(capacity: Arc<Capacity>) -> Self {
        Self { state: Mutex::new(State::Idle), capacity, cancelled: Arc::default(), progress: Arc::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The session, if there is one.
    pub(crate) fn handle(&self) -> Option<SessionHandle> {
        match &*self.lock() {
            State::Running(running) => Some(running.handle.clone()),
            State::Idle | State::Loading | State::Failed { .. } | State::Closed => None,
        }
    }

    pub(crate) fn phase(&self) -> Phase {
        match &*self.lock() {
            State::Idle | State::Closed => Phase::Idle,
            State::Loading => Phase::Loading,
            State::Running(_) => Phase::Running,
            State::Failed { error, .. } => Phase::Failed(error.clone()),
        }
    }

    /// The start of the session, in milliseconds since 1970.
    pub(crate) fn started_at(&self) -> Option<u64> {
        match &*self.lock() {
            State::Running(running) => Some(running.started_at),
            State::Idle | State::Loading | State::Failed { .. } | State::Closed => None,
        }
    }

    /// How much of the models is loaded.
    pub(crate) fn progress(&self) -> &LoadProgress {
        &self.progress
    }

    /// Whether it could not be built for `params`.
    pub(super) fn has_failed_for(&self, params: &StreamDiffusionParams) -> bool {
        matches!(&*self.lock(), State::Failed { params: of, .. } if **of == *params)
    }

    /// Returns `Ok` if a session exists, or may be started now.
    ///
    /// # Errors
    ///
    /// 503 with the limit if all permits are in use, or the memory is too small.
    pub(crate) fn check_room(&self, stream: &Stream) -> Result<(), ApiError> {
        if matches!(&*self.lock(), State::Loading | State::Running(_)) {
            return Ok(());
        }
        if self.capacity.slots.available_permits() == 0 {
            return Err(self.limit_reached());
        }
        self.reserve(stream).map(drop)
    }

    /// Reserves the memory of a session of `stream`.
    fn reserve(&self, stream: &Stream) -> Result<Reservation, ApiError> {
        let params = stream.desired().for_engine().clone();
        self.capacity.budget.reserve(stream.config(), &params)
    }

    fn limit_reached(&self) -> ApiError {
        let what = "streams that make pictures at a time";
        ApiError::limit(StatusCode::SERVICE_UNAVAILABLE, what, self.capacity.most, RETRY_SECONDS)
    }

    /// Starts a session in the background, unless there is one.
    ///
    /// # Errors
    ///
    /// 503 at the limit of sessions or of memory, with its value; 500 if no thread can be started.
    pub(super) fn start(&self, stream: &Arc<Stream>) -> Result<(), ApiError> {
        if matches!(&*self.lock(), State::Loading | State::Running(_) | State::Closed) {
            return Ok(());
        }
        // Before the state is locked: installing a session locks the parameters first.
        let life = self.reserve(stream)?;
        let mut state = self.lock();
        if matches!(&*state, State::Loading | State::Running(_) | State::Closed) {
            return Ok(());
        }
        let slot = self.capacity.slots.clone().try_acquire_owned().map_err(|_| self.limit_reached())?;
        self.cancelled.store(false, Ordering::Relaxed);
        let stream = stream.clone();
        self.progress.begin(0);
        let thread = std::thread::Builder::new().name("dreamframe-load".into());
        thread.spawn(move || stream.session_manager().load(&stream, slot, life)).map_err(|error| {
            self.progress.end();
            ApiError::from(
                Error::new(ErrorKind::Device, "failed to start a thread that loads the model").with_source(error),
            )
        })?;
        *state = State::Loading;
        Ok(())
    }

    /// Builds the session; on the loading thread.
    fn load(&self, stream: &Arc<Stream>, slot: OwnedSemaphorePermit, life: Reservation) {
        let params = stream.params_to_load();
        tracing::info!(stream = stream.id, "loading");
        stream.record("loading the model");
        let load = || {
            // The stream may have ended before this thread began.
            if self.cancelled.load(Ordering::Relaxed) {
                return Err(Error::new(ErrorKind::Cancelled, "the session is no longer needed"));
            }
            let (session, life) = self.build(stream, params.clone(), life)?;
            // Before clients see the session.
            self.progress.end();
            self.install(stream, session, life, slot);
            Ok(())
        };
        let panicked = || Err(Error::new(ErrorKind::Internal, "loading the model panicked"));
        let Err(error) = contain("loading a model", load).unwrap_or_else(panicked) else { return };
        self.progress.end();
        let mut state = self.lock();
        if matches!(&*state, State::Closed) {
            return;
        }
        if error.kind() == ErrorKind::Cancelled {
            *state = State::Idle;
            return;
        }
        let text = format!("{error:#}");
        tracing::error!(stream = stream.id, error = text, "cannot load");
        *state = State::Failed { params: Box::new(params), error: text.clone() };
        drop(state);
        stream.load_failed(&text);
    }

    /// Builds an engine, and records the progress.
    fn engine(&self, config: &Config, params: StreamDiffusionParams) -> Result<Engine> {
        let (cancelled, progress) = (self.cancelled.clone(), self.progress.clone());
        Engine::builder()
            .models(config.source.clone())
            .params(params)
            .options(config.engine.clone())
            .style_images(Arc::new(config.style_images.clone()))
            .processors(config.processors.clone())
            .progress(move |loaded| {
                progress.report(loaded);
                if cancelled.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })
            .build()
    }

    /// Builds the session, with what ends with its thread.
    fn build(
        &self,
        stream: &Arc<Stream>,
        params: StreamDiffusionParams,
        life: Reservation,
    ) -> Result<(Session, Weak<Reservation>)> {
        let config = stream.config();
        self.progress.begin(expected_weights(&config.source, &params));
        let engine = match stream.measured_level() {
            None => self.engine(config, params)?,
            Some(cheapest) => {
                // The second engine shares the weights of the first, so they are loaded once.
                let mut small = self.engine(config, cheapest.apply(&params))?;
                let level = stream.begin_level(cheapest, measure(&mut small)?);
                self.engine(config, level.apply(&params))?
            }
        };
        for notice in engine.notices() {
            tracing::info!(stream = stream.id, "{notice}");
        }
        let mut options = SessionOptions::default();
        let life = Arc::new(life);
        let ends = Arc::downgrade(&life);
        options.on_picture = Some(stream.frames().picture_callback(stream.egress(), life));
        Ok((engine.start(options)?, ends))
    }

    /// Starts to use the session, with the parameters that changed while it was built.
    fn install(&self, stream: &Arc<Stream>, session: Session, life: Weak<Reservation>, slot: OwnedSemaphorePermit) {
        let handle = session.handle();
        // Held while the session catches up, so that no change is lost.
        let desired = stream.desired();
        let mut state = self.lock();
        if matches!(&*state, State::Closed) || self.cancelled.load(Ordering::Relaxed) {
            if !matches!(&*state, State::Closed) {
                *state = State::Idle;
            }
            return;
        }
        let caught_up = handle.edit(|params| params.clone_from(desired.for_engine()));
        let started_at = ids::now_ms();
        let running = Running { session, handle: handle.clone(), life, started_at, _slot: slot };
        *state = State::Running(Box::new(running));
        drop(state);
        drop(desired);
        stream.frames().attach(Some(handle));
        if let Err(error) = caught_up {
            stream.refused(&error);
        }
        tracing::info!(stream = stream.id, "ready");
        stream.record("ready");
    }

    /// The events of the session since the last call.
    pub(super) fn events(&self) -> Vec<Event> {
        self.handle().map(|handle| handle.events().try_iter().collect()).unwrap_or_default()
    }

    /// Ends loading, and returns the session, which its caller ends.
    pub(super) fn stop(&self, for_good: bool) -> Option<Running> {
        self.cancelled.store(true, Ordering::Relaxed);
        let mut state = self.lock();
        let next = match (&*state, for_good) {
            (State::Closed, _) | (_, true) => State::Closed,
            // Loading sets the state to idle when it ends.
            (State::Loading, false) => return None,
            (State::Idle | State::Running(_) | State::Failed { .. }, false) => State::Idle,
        };
        match std::mem::replace(&mut *state, next) {
            State::Running(running) => Some(*running),
            State::Idle | State::Loading | State::Failed { .. } | State::Closed => None,
        }
    }

    /// Lets a session of the stream `id` go that hangs, so that another can be started. Its thread ends when its frame does.
    ///
    /// # Errors
    ///
    /// The number of sessions that hang already, if that is the limit; the session stays.
    pub(super) fn abandon(&self, id: &str) -> Result<(), usize> {
        let mut state = self.lock();
        let State::Running(running) = &*state else { return Ok(()) };
        self.capacity.add_hanging(id, running.life.clone())?;
        let State::Running(running) = std::mem::replace(&mut *state, State::Idle) else { return Ok(()) };
        drop(state);
        running.end(Duration::ZERO);
        Ok(())
    }

    /// Ends `running` in `timeout`, or counts it as one that hangs.
    pub(super) fn end(&self, id: &str, running: Running, timeout: Duration) {
        let life = running.life.clone();
        if !running.end(timeout) {
            tracing::warn!(stream = id, "the session did not end in time, and is let go");
            // There is no other choice, so that the limit does not matter.
            let _ = self.capacity.add_hanging(id, life);
        }
    }
}
