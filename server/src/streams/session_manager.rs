//! Manages a stream's session: it is built on a separate thread when it is needed, and dropped when it is idle.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::http::StatusCode;
use dreamframe::params::StreamDiffusionParams;
use dreamframe::{Engine, Error, ErrorKind, Event, Result, Session, SessionHandle, SessionOptions};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::stream::Stream;
use crate::error::ApiError;
use crate::ids;

/// Seconds after which a client may retry.
const RETRY_SECONDS: u32 = 10;

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
struct Running {
    session: Session,
    handle: SessionHandle,
    started_at: u64,
    _slot: OwnedSemaphorePermit,
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
    /// Permits for the sessions of the server.
    slots: Arc<Semaphore>,
    most: usize,
    /// Cancels loading.
    cancelled: Arc<AtomicBool>,
}

impl SessionManager {
    pub(super) fn new(slots: Arc<Semaphore>, most: usize) -> Self {
        Self { state: Mutex::new(State::Idle), slots, most, cancelled: Arc::default() }
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

    /// Whether it could not be built for `params`.
    pub(super) fn has_failed_for(&self, params: &StreamDiffusionParams) -> bool {
        matches!(&*self.lock(), State::Failed { params: of, .. } if **of == *params)
    }

    /// Returns `Ok` if a session exists, or may be started now.
    ///
    /// 503 with the limit if all permits are in use.
    ///
    /// 503 with the figure where as many run as may.
    pub(crate) fn check_room(&self) -> Result<(), ApiError> {
        let is_there = matches!(&*self.lock(), State::Loading | State::Running(_));
        if is_there || self.slots.available_permits() > 0 { Ok(()) } else { Err(self.limit_reached()) }
    }

    fn limit_reached(&self) -> ApiError {
        let what = "streams that make pictures at a time";
        ApiError::limit(StatusCode::SERVICE_UNAVAILABLE, what, self.most, RETRY_SECONDS)
    }

    /// Starts a session in the background, unless there is one.
    ///
    /// # Errors
    ///
    /// 503 at the limit, with its value; 500 if no thread can be started.
    pub(super) fn start(&self, stream: &Arc<Stream>) -> Result<(), ApiError> {
        let mut state = self.lock();
        if matches!(&*state, State::Loading | State::Running(_) | State::Closed) {
            return Ok(());
        }
        let slot = self.slots.clone().try_acquire_owned().map_err(|_| self.limit_reached())?;
        self.cancelled.store(false, Ordering::Relaxed);
        let stream = stream.clone();
        let thread = std::thread::Builder::new().name("dreamframe-load".into());
        thread.spawn(move || stream.session_manager().load(&stream, slot)).map_err(|error| {
            ApiError::from(
                Error::new(ErrorKind::Device, "failed to start a thread that loads the model").with_source(error),
            )
        })?;
        *state = State::Loading;
        Ok(())
    }

    /// Builds the session; on the loading thread.
    fn load(&self, stream: &Arc<Stream>, slot: OwnedSemaphorePermit) {
        let params = stream.desired().for_engine().clone();
        tracing::info!(stream = stream.id, "loading");
        // The stream may have ended before this thread began.
        let built = if self.cancelled.load(Ordering::Relaxed) {
            Err(Error::new(ErrorKind::Cancelled, "the session is no longer needed"))
        } else {
            self.build(stream, params.clone())
        };
        match built {
            Ok(session) => self.install(stream, session, slot),
            Err(error) => {
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
                stream.failed(&text);
            }
        }
    }

    fn build(&self, stream: &Arc<Stream>, params: StreamDiffusionParams) -> Result<Session> {
        let (config, cancelled) = (stream.config(), self.cancelled.clone());
        let engine: Engine = Engine::builder()
            .models(config.source.clone())
            .params(params)
            .options(config.engine.clone())
            .style_images(Arc::new(config.style_images.clone()))
            .progress(move |_| {
                if cancelled.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })
            .build()?;
        for notice in engine.notices() {
            tracing::info!(stream = stream.id, "{notice}");
        }
        let mut options = SessionOptions::default();
        options.on_picture = Some(stream.frames().picture_callback(stream.egress()));
        engine.start(options)
    }

    /// Starts to use the session, with the parameters that changed while it was built.
    fn install(&self, stream: &Arc<Stream>, session: Session, slot: OwnedSemaphorePermit) {
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
        *state = State::Running(Box::new(Running { session, handle: handle.clone(), started_at, _slot: slot }));
        drop(state);
        drop(desired);
        stream.frames().attach(Some(handle));
        if let Err(error) = caught_up {
            stream.refused(&error);
        }
        tracing::info!(stream = stream.id, "ready");
    }

    /// The events of the session since the last call.
    pub(super) fn events(&self) -> Vec<Event> {
        self.handle().map(|handle| handle.events().try_iter().collect()).unwrap_or_default()
    }

    /// Ends the session, or its loading. If the caller drops `session`, that waits for the current frame.
    pub(super) fn stop(&self, for_good: bool) -> Option<Session> {
        self.cancelled.store(true, Ordering::Relaxed);
        let mut state = self.lock();
        let next = match (&*state, for_good) {
            (State::Closed, _) | (_, true) => State::Closed,
            // Loading sets the state to idle when it ends.
            (State::Loading, false) => return None,
            (State::Idle | State::Running(_) | State::Failed { .. }, false) => State::Idle,
        };
        match std::mem::replace(&mut *state, next) {
            State::Running(running) => Some(running.session),
            State::Idle | State::Loading | State::Failed { .. } | State::Closed => None,
        }
    }
}
