//! One stream: its parameters, its session, its publisher and its viewers.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use dreamframe::params::{ParamsPatch, StreamDiffusionParams};
use dreamframe::transport::http::SessionEvent;
use dreamframe::transport::parameters::ParameterMessage;
use dreamframe::transport::peer::{Media, Peer};
use dreamframe::transport::{
    AudioHub, Egress, EgressOptions, FrameSink, IngestStats, TokenBucket, WhepEndpoint, WhipEndpoint,
};
use dreamframe::{Frame, SessionHandle, Transition};
use serde_json::json;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Semaphore, broadcast};

use super::desired::{Change, Desired};
use super::frame_router::FrameRouter;
use super::journal::Journal;
use super::placeholder::Placeholder;
use super::publishing::{Publication, Publishing};
use super::rate_meter::RateMeter;
use super::session_manager::{Capacity, Phase, SessionManager};
use super::target::Remote;
use crate::adapt::Controller;
use crate::auth::Caller;
use crate::config::Config;
use crate::error::ApiError;
use crate::ids;
use crate::outputs::{Outputs, Source};
use crate::rtmp::PushedSound;
use crate::saved::{Identity, SavedStream, StateFile};
use crate::scope::channel::{Parameters, parameters_updated};
use crate::scope::watcher::Watcher;
use crate::sound::SoundHub;
use crate::wire::incoming::in_params;
use crate::wire::request::Request;

/// Capacity of a slow listener's queue of notices.
const NOTICES: usize = 32;
/// The most listeners to the status of one stream.
pub(crate) const MOST_LISTENERS_OF_ONE: usize = 32;
/// The rate per second, and the burst, of changes by data channels of one stream that load or rebuild networks.
const REBUILDS_PER_SECOND: u32 = 2;
const REBUILDS_AT_ONCE: u32 = 4;

/// A stream.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) id: String,
    /// The secret in the path of its WHIP and WHEP URLs.
    pub(crate) key: String,
    pub(crate) playback_id: String,
    /// The name of its owner.
    pub(crate) author: String,
    /// In milliseconds since 1970, as all times here.
    pub(crate) created_at: u64,
    /// The digest of its control token.
    control: String,
    /// Where it is stored, if it is.
    saved_in: OnceLock<Arc<StateFile>>,
    /// The time from which on its age counts: a stream that comes back has been used.
    pub(super) known_since: u64,
    pub(super) config: Arc<Config>,
    pub(super) desired: Mutex<Desired>,
    pub(super) session_manager: SessionManager,
    pub(super) frames: Arc<FrameRouter>,
    pub(super) egress: Egress,
    audio: AudioHub,
    pub(super) outputs: Outputs,
    pub(super) whip: WhipEndpoint,
    pub(super) whep: WhepEndpoint,
    pub(super) publishing: Arc<Publishing>,
    notices: broadcast::Sender<String>,
    /// The data channel of viewers by playback id.
    watcher: Arc<Watcher>,
    pub(super) rebuilds: Mutex<TokenBucket>,
    /// Permits for listeners to its status.
    pub(crate) listeners: Arc<Semaphore>,
    pub(super) trouble: Mutex<Trouble>,
    pub(super) controller: Mutex<Controller>,
    pub(super) placeholder: Mutex<Placeholder>,
    /// The progress of loading that clients were notified of last.
    pub(super) notified_progress: Mutex<Option<u8>>,
    /// Whether there was a publisher at the last check.
    pub(super) was_live: AtomicBool,
    /// The last time with a publisher or a viewer.
    pub(super) used_at: AtomicU64,
}

/// Failures, with their times.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trouble {
    pub(crate) last_error: Option<(String, u64)>,
    /// The last error of the push to another server.
    pub(crate) push_error: Option<(String, u64)>,
    /// The sound that the other server gets.
    pub(crate) pushed_sound: Option<PushedSound>,
    pub(crate) restarts: u64,
    pub(crate) last_restart: Option<u64>,
    /// The events before the last restart.
    pub(crate) last_restart_logs: Option<Vec<String>>,
    /// The last events.
    pub(super) journal: Journal,
    /// The last observed state, and its start.
    pub(crate) state: Option<(super::StreamState, u64)>,
}

impl Stream {
    /// Creates a stream with `request`.
    ///
    /// # Errors
    ///
    /// 400 with every value at fault.
    pub(super) fn new(
        config: &Arc<Config>,
        capacity: &Arc<Capacity>,
        identity: Identity,
        request: Request,
    ) -> Result<Arc<Self>, ApiError> {
        let mut desired = Desired::new(config, identity.id.replace("str_", "stream "));
        let change = desired.change(config, request)?;
        for note in &change.notes {
            tracing::warn!(stream = identity.id, "{note}");
        }
        desired.take(change);
        Ok(Self::with(config, capacity, identity, desired))
    }

    /// Creates a stream with the desired parameters `desired`.
    pub(super) fn with(
        config: &Arc<Config>,
        capacity: &Arc<Capacity>,
        identity: Identity,
        desired: Desired,
    ) -> Arc<Self> {
        let Identity { id, key, playback_id, author, created_at, control } = identity;
        let frames = Arc::new(FrameRouter::default());
        let egress = Egress::new(EgressOptions::default());
        let audio = AudioHub::default();
        let source = Source { egress: egress.clone(), sound: SoundHub::new(audio.clone()) };
        Arc::new_cyclic(|stream| {
            let channel = || Arc::new(Parameters::new(Arc::new(Remote(stream.clone())))) as _;
            let publisher = Media {
                video_in: Some(frames.clone()),
                audio_in: Some(audio.clone()),
                channel: Some(channel()),
                ..Media::default()
            };
            let viewer = Media {
                video_out: Some(egress.clone()),
                audio_out: Some(audio.clone()),
                channel: Some(channel()),
                ..Media::default()
            };
            Self {
                id,
                key,
                playback_id,
                author,
                created_at,
                control,
                saved_in: OnceLock::new(),
                known_since: ids::now_ms(),
                config: config.clone(),
                desired: Mutex::new(desired),
                session_manager: SessionManager::new(capacity.clone()),
                whip: WhipEndpoint::new(publisher, config.peers.clone(), config.limits),
                whep: WhepEndpoint::new(viewer, config.peers.clone(), config.limits),
                outputs: Outputs::new(source, config.push_to.clone()),
                frames,
                egress,
                audio,
                publishing: Arc::default(),
                notices: broadcast::Sender::new(NOTICES),
                watcher: Arc::new(Watcher::new(Arc::new(Remote(stream.clone())))),
                rebuilds: Mutex::new(TokenBucket::new(REBUILDS_PER_SECOND, REBUILDS_AT_ONCE)),
                listeners: Arc::new(Semaphore::new(MOST_LISTENERS_OF_ONE)),
                trouble: Mutex::default(),
                controller: Mutex::default(),
                placeholder: Mutex::default(),
                notified_progress: Mutex::default(),
                was_live: AtomicBool::new(false),
                used_at: AtomicU64::new(0),
            }
        })
    }

    /// Creates a stream that was stored.
    ///
    /// # Errors
    ///
    /// `InvalidParams` with every violation.
    pub(super) fn restored(
        config: &Arc<Config>,
        capacity: &Arc<Capacity>,
        saved: SavedStream,
    ) -> dreamframe::Result<Arc<Self>> {
        let desired = Desired::restored(config, &saved)?;
        Ok(Self::with(config, capacity, saved.identity, desired))
    }

    /// Stores the stream in `file`, now and with every change.
    pub(super) fn save_in(&self, file: &Arc<StateFile>) {
        // Set once, when the stream is created.
        let _ = self.saved_in.set(file.clone());
        self.save(&self.desired());
    }

    /// Stores the stream with `desired`, if it is stored.
    pub(super) fn save(&self, desired: &Desired) {
        let Some(file) = self.saved_in.get() else { return };
        let identity = Identity {
            id: self.id.clone(),
            key: self.key.clone(),
            playback_id: self.playback_id.clone(),
            author: self.author.clone(),
            created_at: self.created_at,
            control: self.control.clone(),
        };
        let mut saved = SavedStream { identity, ..SavedStream::default() };
        desired.save(&mut saved);
        file.put(saved);
    }

    /// Every name by which it is found.
    pub(super) fn names(&self) -> [&String; 4] {
        [&self.id, &self.key, &self.playback_id, &self.control]
    }

    /// Returns whether `caller` may read, change and end it.
    pub(crate) fn is_of(&self, caller: &Caller) -> bool {
        match caller {
            Caller::Key(name) => *name == self.author,
            Caller::Token(id) => *id == self.id,
        }
    }

    pub(super) fn desired(&self) -> MutexGuard<'_, Desired> {
        self.desired.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns whether its creator gave it this name.
    pub(crate) fn has_name(&self, name: &str) -> bool {
        self.desired().name == name
    }

    pub(super) fn trouble(&self) -> MutexGuard<'_, Trouble> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn config(&self) -> &Arc<Config> {
        &self.config
    }

    pub(super) fn session_manager(&self) -> &SessionManager {
        &self.session_manager
    }

    /// Returns the sink for frames of a publisher.
    pub(crate) fn sink(&self) -> Arc<dyn FrameSink> {
        self.frames.clone()
    }

    pub(crate) fn frames(&self) -> &Arc<FrameRouter> {
        &self.frames
    }

    /// Returns the egress of its pictures.
    pub(crate) fn egress(&self) -> &Egress {
        &self.egress
    }

    /// The publisher's Opus, for viewers.
    pub(crate) fn audio(&self) -> &AudioHub {
        &self.audio
    }

    /// Returns the outputs of its pictures other than WHEP.
    pub(crate) fn outputs(&self) -> &Outputs {
        &self.outputs
    }

    pub(crate) fn whip(&self) -> &WhipEndpoint {
        &self.whip
    }

    pub(crate) fn whep(&self) -> &WhepEndpoint {
        &self.whep
    }

    /// The data channel of viewers by playback id.
    pub(crate) fn watcher(&self) -> &Arc<Watcher> {
        &self.watcher
    }

    /// The session that makes its pictures, if there is one.
    pub(crate) fn session(&self) -> Option<SessionHandle> {
        self.session_manager.handle()
    }

    /// Returns the parameters requested by its clients.
    pub(crate) fn params(&self) -> StreamDiffusionParams {
        self.desired().params().clone()
    }

    /// Returns the URL that pictures are pushed to; empty for none.
    pub(crate) fn push_url(&self) -> String {
        self.desired().output_rtmp_url.clone()
    }

    /// The newest picture, copied.
    pub(crate) fn snapshot(&self) -> Option<Frame> {
        self.frames.snapshot()
    }

    /// Pauses frames, so that the last picture stays.
    pub(crate) fn set_paused(&self, paused: bool) {
        self.frames.set_paused(paused);
    }

    /// Returns the reason why no session could be built, if any.
    pub(crate) fn failure(&self) -> Option<String> {
        match self.session_manager.phase() {
            Phase::Failed(error) => Some(error),
            Phase::Idle | Phase::Loading | Phase::Running => None,
        }
    }

    /// Returns how much of the models is loaded, in percent; `None` while nothing is being loaded.
    pub(crate) fn loading_progress(&self) -> Option<u8> {
        self.session_manager.progress().percent()
    }

    /// Subscribes to the notices of data channels.
    pub(crate) fn subscribe_notices(&self) -> broadcast::Receiver<String> {
        self.notices.subscribe()
    }

    /// Starts a session in the background, unless there is one.
    ///
    /// # Errors
    ///
    /// 503 with the limit if all permits for sessions are in use.
    pub(crate) fn wake(self: &Arc<Self>) -> Result<(), ApiError> {
        self.used_at.store(ids::now_ms(), Ordering::Relaxed);
        self.session_manager.start(self)
    }

    /// Applies a client's request, entirely or not at all.
    ///
    /// # Errors
    ///
    /// 400 with every value at fault.
    pub(crate) fn apply(&self, request: Request) -> Result<(), ApiError> {
        let mut desired = self.desired();
        let change = desired.change(&self.config, request)?;
        self.commit(&mut desired, change)
    }

    /// Applies a client's request, entirely or not at all; its prompt is reached gradually, if it asks for that.
    ///
    /// # Errors
    ///
    /// 400 with every value at fault.
    pub(crate) fn apply_gradually(&self, mut request: Request) -> Result<(), ApiError> {
        let Some(fade) = request.fade.take() else { return self.apply(request) };
        let Some(prompt) = request.params.shift_remove("prompt") else {
            return Err(ApiError::field("transition", "got no params.prompt, expected the prompt at the end"));
        };
        let params = [("prompt".to_owned(), prompt)].into_iter().collect();
        let change = self.desired().change(&self.config, Request { params, ..Request::default() })?;
        let transition = Transition {
            target_prompts: change.prompt().clone(),
            num_steps: fade.pictures(self.rates().1),
            temporal_interpolation_method: fade.method,
        };
        self.apply(request)?;
        self.transition(&transition)
    }

    fn commit(&self, desired: &mut Desired, change: Change) -> Result<(), ApiError> {
        if change.engine != *desired.for_engine()
            && let Some(session) = self.session()
        {
            match session.edit(|params| params.clone_from(&change.engine)) {
                Err(error) if error.kind() != dreamframe::ErrorKind::Closed => return Err(in_params(error)),
                // A session that has just ended is built again with the current parameters.
                _ => {}
            }
        }
        for note in &change.notes {
            tracing::warn!(stream = self.id, "{note}");
        }
        let changed = change.changed;
        desired.take(change);
        self.save(desired);
        if changed {
            self.notify(&parameters_updated(desired.shown().params.clone()));
        }
        Ok(())
    }

    /// Changes the prompt gradually, or immediately if no pictures are made.
    ///
    /// # Errors
    ///
    /// 400 with every value at fault.
    pub(crate) fn transition(&self, transition: &Transition) -> Result<(), ApiError> {
        let mut desired = self.desired();
        let patch = ParamsPatch::from_value(json!({ "prompt": transition.target_prompts })).map_err(in_params)?;
        let change = desired.patch(&self.config, &patch).map_err(in_params)?;
        match self.session().map(|session| session.transition(transition)) {
            Some(Err(error)) if error.kind() != dreamframe::ErrorKind::Closed => return Err(in_params(error)),
            _ => {}
        }
        desired.take(change);
        self.save(&desired);
        self.notify(&parameters_updated(desired.shown().params.clone()));
        Ok(())
    }

    /// Sends a notice to all clients that have a data channel of this stream.
    pub(crate) fn notify(&self, notice: &ParameterMessage) {
        // An error means that there are none.
        let _ = self.notices.send(notice.to_json());
    }

    /// Starts the turn of a publisher by another protocol than WHIP, and ends that of the previous one.
    pub(crate) fn take_over(self: &Arc<Self>) -> Publication {
        let publication = self.publishing.begin();
        let whip = self.whip.clone();
        tokio::spawn(async move { whip.disconnect().await });
        self.publisher_connected();
        self.wake_for_publisher();
        publication
    }

    /// Follows the WHIP session `id`, whose offer was accepted, by the endpoint's `events`. When it is connected, it replaces
    /// a publisher by another protocol; nothing may ever connect for an offer.
    pub(crate) fn follow_whip(self: &Arc<Self>, id: &str, mut events: broadcast::Receiver<SessionEvent>) {
        self.publishing.note_start();
        self.wake_for_publisher();
        let (stream, session) = (Arc::downgrade(self), id.to_owned());
        tokio::spawn(async move {
            loop {
                match events.recv().await {
                    Ok(SessionEvent::Connected { id }) if id == session => break,
                    Ok(SessionEvent::Ended { id, .. }) if id == session => return,
                    Err(RecvError::Closed) => return,
                    // Events of other sessions. Only if 64 come at once, that of this one can be among those that are lost:
                    // the publisher by another protocol then stays.
                    Ok(_) | Err(RecvError::Lagged(_)) => {}
                }
            }
            if let Some(stream) = stream.upgrade() {
                stream.publishing.begin_whip();
                stream.publisher_connected();
            }
        });
    }

    fn publisher_connected(&self) {
        tracing::info!(stream = self.id, "publisher connected");
        self.record("publisher connected");
    }

    /// Starts the session, so that the model is loaded when frames arrive.
    fn wake_for_publisher(self: &Arc<Self>) {
        if let Err(error) = self.wake() {
            self.failed(error.message());
        }
    }

    /// Returns `Ok` if pictures are made, or may be from now on.
    ///
    /// # Errors
    ///
    /// 503 with the limit if all permits for sessions are in use, or the memory is too small.
    pub(crate) fn check_room(&self) -> Result<(), ApiError> {
        self.session_manager.check_room(self)
    }

    /// Returns true if there are pictures to see, or will be.
    pub(crate) fn has_pictures(&self) -> bool {
        self.live() || self.frames.has_picture()
    }

    /// The number of frames received.
    pub(crate) fn frames_in(&self) -> u64 {
        self.frames.input.total()
    }

    /// The number of new pictures, of repeated ones, and of those that the safety checker replaced.
    pub(crate) fn pictures_out(&self) -> [u64; 3] {
        [&self.frames.output, &self.frames.repeated, &self.frames.flagged].map(RateMeter::total)
    }

    /// Frames and new pictures per second.
    pub(crate) fn rates(&self) -> (f64, f64) {
        (self.frames.input.per_second(), self.frames.output.per_second())
    }

    /// Returns true while there is a publisher.
    pub(crate) fn live(&self) -> bool {
        self.whip.publisher().is_some() || self.publishing.has_other()
    }

    /// Returns true while there is a publisher or a viewer, by any protocol.
    pub(crate) fn in_use(&self) -> bool {
        self.live() || self.whep.viewers() > 0 || self.egress.viewers() > 0
    }

    /// When the first publisher connected, and when the last one disconnected.
    pub(crate) fn published_at(&self) -> (Option<u64>, Option<u64>) {
        (self.publishing.first_at(), self.publishing.ended_at())
    }

    /// The connection of the publisher, if it uses WHIP.
    pub(crate) fn publisher(&self) -> Option<Peer> {
        self.whip.publisher()
    }

    /// The statistics of the publisher's video.
    pub(crate) fn ingest_stats(&self) -> Option<IngestStats> {
        let of_whip = self.publisher().and_then(|peer| peer.stats().video_in);
        of_whip.or_else(|| self.publishing.other_stats())
    }
}
