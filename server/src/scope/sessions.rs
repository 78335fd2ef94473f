//! Scope's sessions, and the pipeline that they start with.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;

use dreamframe::transport::parameters::{ParameterChange, Steps, hide_style_image};
use dreamframe::transport::peer::{Media, Peer};
use serde_json::{Map, Value, json};

use super::catalogue::{self, PIPELINES, Pipeline};
use super::channel::{Applied, ControlledStream as _, Parameters, parameters_updated};
use super::detail::Detail;
use super::source::Source;
use crate::app::App;
use crate::auth::Caller;
use crate::error::{ApiError, ApiResult};
use crate::ids;
use crate::recording::Recorder;
use crate::streams::{Publication, Stream};
use crate::wire::request::Request;

/// The state of Scope's clients, separate for each API key.
#[derive(Debug, Default)]
pub(crate) struct Scope {
    /// By the callers' names, one for each key.
    states: Mutex<HashMap<String, State>>,
}

/// The state of one key.
#[derive(Debug, Default)]
struct State {
    loaded: Option<Loaded>,
    sessions: Vec<Arc<Session>>,
}

/// The pipeline that was loaded last.
#[derive(Debug)]
struct Loaded {
    pipeline: &'static Pipeline,
    /// As they were sent.
    load_params: Map<String, Value>,
    /// Daydream's parameters that result from it.
    values: Map<String, Value>,
    /// Prepared for the first session, which uses it.
    stream: Arc<Stream>,
    /// Whether it was ready before: an unused stream releases its engine.
    ready: bool,
}

/// A client's session: one stream.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) id: String,
    pub(crate) stream: Arc<Stream>,
    /// Whether the stream ends with the session; that of the pipeline does not.
    owned: bool,
    source: Arc<Source>,
    channel: Arc<Parameters>,
    peer: OnceLock<Peer>,
    /// Keeps the stream in use for a session that has no connection.
    alone: OnceLock<Publication>,
    pub(crate) started: Instant,
    pub(crate) recording: tokio::sync::Mutex<Option<Recorder>>,
}

impl Scope {
    /// Calls a function with the state of `caller`.
    fn with<T>(&self, caller: &Caller, work: impl FnOnce(&mut State) -> T) -> T {
        let mut states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        work(states.entry(caller.name().to_owned()).or_default())
    }

    /// Loads `pipeline` in the background.
    ///
    /// # Errors
    ///
    /// 422 for invalid parameters; those of a new stream.
    pub(crate) fn load(
        &self,
        app: &App,
        caller: &Caller,
        pipeline: &'static Pipeline,
        load_params: Map<String, Value>,
    ) -> Result<(), Detail> {
        self.with(caller, |state| state.load(app, caller, pipeline, load_params))
    }

    /// Returns the state of the pipeline, in the form of `GET /api/v1/pipeline/status`.
    pub(crate) fn status(&self, caller: &Caller) -> Value {
        self.with(caller, |state| {
            let Some(loaded) = &mut state.loaded else { return status_body("not_loaded", None, None) };
            let error = loaded.stream.failure();
            loaded.ready |= loaded.stream.session().is_some();
            let status = match (&error, loaded.ready) {
                (Some(_), _) => "error",
                (None, true) => "loaded",
                (None, false) => "loading",
            };
            status_body(status, Some(loaded), error)
        })
    }

    /// Selects `pipeline` for the next session; its load parameters stay.
    ///
    /// # Errors
    ///
    /// Those of [`load`](Self::load).
    pub(crate) fn ready(&self, app: &App, caller: &Caller, pipeline: &'static Pipeline) -> Result<(), Detail> {
        self.with(caller, |state| {
            let load_params = match &state.loaded {
                Some(loaded) if loaded.pipeline == pipeline => return Ok(()),
                Some(loaded) => loaded.load_params.clone(),
                None => Map::new(),
            };
            state.load(app, caller, pipeline, load_params)
        })
    }

    /// Starts a session with the parameters `initial`, and the default pipeline if none was loaded.
    ///
    /// # Errors
    ///
    /// 422 for invalid parameters, each found under `path`; those of a new stream.
    pub(crate) async fn open(
        &self,
        app: &App,
        caller: &Caller,
        initial: &Map<String, Value>,
        path: &str,
    ) -> Result<Arc<Session>, Detail> {
        let session = self.with(caller, |state| state.open(app, caller))?;
        match session.channel.change(initial) {
            Ok(_) => Ok(session),
            Err(error) => {
                self.close(app, caller, &session.id).await;
                Err(Detail::within(path, &error))
            }
        }
    }

    /// Ends the session `id` of `caller`; false if there is none.
    pub(crate) async fn close(&self, app: &App, caller: &Caller, id: &str) -> bool {
        let session = self.with(caller, |state| {
            let place = state.sessions.iter().position(|session| session.id == id);
            place.map(|place| state.sessions.swap_remove(place))
        });
        let Some(session) = session else { return false };
        session.source.stop();
        if let Some(peer) = session.peer.get() {
            peer.close().await;
        }
        session.source.set_paused(false);
        if session.owned {
            app.streams.remove(&session.stream.id).await;
        }
        true
    }

    /// Finds a session of `caller`.
    pub(crate) fn session(&self, caller: &Caller, id: &str) -> Option<Arc<Session>> {
        self.with(caller, |state| state.sessions.iter().find(|session| session.id == id).cloned())
    }

    /// Every session of `caller`, in no order.
    pub(crate) fn sessions(&self, caller: &Caller) -> Vec<Arc<Session>> {
        self.with(caller, |state| state.sessions.clone())
    }
}

impl State {
    fn load(
        &mut self,
        app: &App,
        caller: &Caller,
        pipeline: &'static Pipeline,
        load_params: Map<String, Value>,
    ) -> Result<(), Detail> {
        let base = app.config.default_params();
        let change = ParameterChange::read(&load_params, &base, &Steps::default())
            .map_err(|error| Detail::within("load_params", &ApiError::from(error)))?;
        let mut values = pipeline.values();
        values.extend(change.values);
        let stream = match self.loaded.take().filter(|loaded| app.streams.by_id(&loaded.stream.id).is_some()) {
            Some(loaded) => loaded.stream,
            None => new_stream(app, caller)?,
        };
        let updated = stream.update_values(values.clone()).map_err(|error| Detail::within("load_params", &error));
        let woken = stream.wake();
        self.loaded = Some(Loaded { pipeline, load_params, values, stream, ready: false });
        updated?;
        Ok(woken?)
    }

    /// Starts a session with the loaded pipeline.
    fn open(&mut self, app: &App, caller: &Caller) -> Result<Arc<Session>, Detail> {
        let (stream, owned) = self.stream(app, caller)?;
        let source = Arc::new(Source::new(stream.clone()));
        let session = Arc::new(Session {
            id: ids::new("ses_"),
            stream,
            owned,
            channel: Arc::new(Parameters::new(source.clone())),
            source,
            peer: OnceLock::new(),
            alone: OnceLock::new(),
            started: Instant::now(),
            recording: tokio::sync::Mutex::default(),
        });
        self.sessions.push(session.clone());
        Ok(session)
    }

    /// The stream of a new session, and whether it was created for this session.
    fn stream(&mut self, app: &App, caller: &Caller) -> Result<(Arc<Stream>, bool), Detail> {
        let Some(loaded) = self.loaded.as_ref().filter(|loaded| app.streams.by_id(&loaded.stream.id).is_some()) else {
            let again = self.loaded.take().map(|loaded| (loaded.pipeline, loaded.load_params));
            let (pipeline, load_params) = again.unwrap_or((&PIPELINES[0], Map::new()));
            self.load(app, caller, pipeline, load_params)?;
            return self.stream(app, caller);
        };
        if !self.sessions.iter().any(|session| Arc::ptr_eq(&session.stream, &loaded.stream)) {
            return Ok((loaded.stream.clone(), false));
        }
        let stream = new_stream(app, caller)?;
        stream.update_values(loaded.values.clone())?;
        Ok((stream, true))
    }
}

fn new_stream(app: &App, caller: &Caller) -> ApiResult<Arc<Stream>> {
    Ok(app.streams.create(caller, Request::default())?.0)
}

impl Session {
    /// The media of the connection to the session's client.
    pub(crate) fn media(&self) -> Media {
        Media {
            video_in: Some(self.source.clone()),
            video_out: Some(self.stream.egress().clone()),
            audio_in: Some(self.stream.audio().clone()),
            audio_out: Some(self.stream.audio().clone()),
            channel: Some(self.channel.clone()),
        }
    }

    /// Stores the connection to the client.
    pub(crate) fn attach(&self, peer: Peer) {
        // Set once, right after the session was created.
        let _ = self.peer.set(peer);
    }

    /// The connection to the client; `None` for a session without a browser.
    pub(crate) fn peer(&self) -> Option<&Peer> {
        self.peer.get()
    }

    /// Allows the stream to continue without a connection.
    pub(crate) fn keep_going(&self) {
        // Has no effect if repeated.
        let _ = self.alone.set(self.stream.take_over());
    }

    /// Returns true for a session that never has a connection.
    pub(crate) fn is_headless(&self) -> bool {
        self.alone.get().is_some()
    }

    /// Applies `message`, and notifies the client.
    ///
    /// # Errors
    ///
    /// Those of [`Parameters::change`].
    pub(crate) fn change(&self, message: &Map<String, Value>) -> ApiResult<Applied> {
        let applied = self.channel.change(message)?;
        let mut parameters = applied.sent.clone();
        parameters.extend(applied.values.clone());
        hide_style_image(&mut parameters);
        self.stream.notify(&parameters_updated(parameters));
        Ok(applied)
    }

    /// Every key that was sent in this session, with its last value.
    pub(crate) fn history(&self) -> Map<String, Value> {
        self.channel.history()
    }

    /// Statistics, in the format of `GET /api/v1/session/metrics`.
    pub(crate) fn metrics(&self) -> Value {
        let (input, output) = (&self.stream.frames().input, &self.stream.frames().output);
        json!({
            "frames_in": input.total(),
            "frames_out": output.total(),
            "elapsed_seconds": self.started.elapsed().as_secs_f64(),
            "fps_in": input.per_second(),
            "fps_out": output.per_second(),
            "pipeline_fps": output.per_second(),
            "output_sinks": {},
            "input_source_enabled": false,
            "input_source_type": null,
            "relay_mode": false,
        })
    }
}

fn status_body(status: &str, loaded: Option<&Loaded>, error: Option<String>) -> Value {
    json!({
        "status": status,
        "pipeline_id": loaded.map(|loaded| loaded.pipeline.id),
        "load_params": loaded.map(|loaded| &loaded.load_params),
        "loaded_lora_adapters": null,
        "error": error,
        "loading_stage": (status == "loading").then(|| stage(loaded)),
        "produces_video": true,
        "produces_audio": false,
    })
}

/// How far a pipeline is loaded, for a person.
fn stage(loaded: Option<&Loaded>) -> String {
    let progress = loaded.and_then(|loaded| loaded.stream.loading_progress());
    progress.map_or_else(|| "loading the model".to_owned(), |percent| format!("loading the model: {percent} %"))
}

/// Finds the requested pipeline.
///
/// # Errors
///
/// 400 with the known ids.
pub(crate) fn pipeline(id: &str) -> Result<&'static Pipeline, Detail> {
    catalogue::pipeline(id).ok_or_else(|| {
        let known: Vec<_> = PIPELINES.iter().map(|pipeline| pipeline.id).collect();
        Detail::bad_request(format!("Unknown pipeline {id:?}: this server has {}", known.join(", ")))
    })
}
