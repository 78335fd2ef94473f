//! The data channel `parameters` of a session.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Map, Value};
use tokio::sync::broadcast;

use crate::frame::FrameView;
use crate::params::{Cost, ParamsPatch, total_cost};
use crate::session::{Event, SessionHandle};
use crate::transport::parameters::{
    AppliedParameters, ParameterChange, ParameterError, ParameterMessage, ParameterTarget, Steps, drop_known_digest,
    hide_style_image, is_parameter,
};
use crate::transport::{FrameSink, TokenBucket};
use crate::{Error, ErrorKind, Result};

/// The maximum number of notices that wait for a slow peer; it loses the oldest of more.
const NOTICES: usize = 64;
/// How often the thread that forwards events checks whether the channel still exists.
const CHECK: Duration = Duration::from_millis(200);
/// The rate and the burst of changes that load or rebuild networks, for all channels of a session together.
const REBUILDS_PER_SECOND: u32 = 2;
const REBUILDS_AT_ONCE: u32 = 4;

/// Changes the parameters of a session by the messages of data channels, with the protocol of
/// [`parameters`](crate::transport::parameters).
///
/// Every client of the channel may change all parameters; [`serve`](super::serve) gives it to publishers and viewers
/// alike. A connection may send 60 messages per second. All channels of a session together may load or rebuild networks
/// twice per second, in bursts of four. Messages beyond that are merged with those that wait: the newest values
/// count, and one answer is sent for all.
///
/// It is also the sink for the frames of publishers: it passes them to the session, except while a client has paused them
/// (`{"paused": true}`).
#[derive(Debug)]
pub struct SessionChannel {
    session: SessionHandle,
    /// What the clients have said about steps.
    steps: Mutex<Steps>,
    paused: AtomicBool,
    notices: broadcast::Sender<String>,
    rebuilds: Mutex<TokenBucket>,
}

impl SessionChannel {
    /// Creates the channel of a session; for connections that [`serve`](super::serve) has not made.
    pub fn new(session: SessionHandle) -> Self {
        let rebuilds = Mutex::new(TokenBucket::new(REBUILDS_PER_SECOND, REBUILDS_AT_ONCE));
        let (steps, paused) = (Mutex::default(), AtomicBool::new(false));
        Self { session, steps, paused, notices: broadcast::Sender::new(NOTICES), rebuilds }
    }

    /// Sends a message to all clients that are connected.
    pub fn notify(&self, message: &ParameterMessage) {
        // An error means that no client is connected.
        let _ = self.notices.send(message.to_json());
    }

    /// Sends notices of the session's events to all clients that are connected, from a thread that ends with the
    /// channel or the session. An event has one receiver, so the host does not receive events any more.
    pub(super) fn forward_events(self: &Arc<Self>) -> Result<()> {
        let (channel, events) = (Arc::downgrade(self), self.session.events());
        let forward = move || {
            while let Some(channel) = channel.upgrade() {
                let Some(event) = events.next_within(CHECK) else { continue };
                channel.notify_of(&event);
                if matches!(event, Event::Stopped { .. }) {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("dreamframe-events".into()).spawn(forward);
        let no_thread = |error| Error::new(ErrorKind::Device, "failed to start a thread").with_source(error);
        thread.map(drop).map_err(no_thread)
    }

    fn notify_of(&self, event: &Event) {
        match event {
            Event::UpdateApplied { version, .. } => self.notify(&self.updated(*version)),
            Event::UpdateRejected { version, error } => {
                self.notify(&ParameterMessage::UpdateFailed(ParameterError::from(&**error)));
                self.notify(&self.updated(*version));
            }
            Event::FrameFailed { error, .. }
            | Event::TransitionFailed { error }
            | Event::Degraded { error }
            | Event::CallbackFailed { error } => {
                self.notify(&ParameterMessage::Error(ParameterError::from(&**error)));
            }
            Event::Stopped { error } => {
                let error_message = error.as_ref().map(ToString::to_string);
                self.notify(&ParameterMessage::StreamStopped { error_message });
            }
            Event::UpdateSuperseded { .. } | Event::Recovered => {}
        }
    }

    /// The notice of the parameters after the update `version`.
    fn updated(&self, version: u64) -> ParameterMessage {
        let mut parameters = self.params();
        hide_style_image(&mut parameters);
        ParameterMessage::ParametersUpdated { parameters, version: Some(version) }
    }

    /// The parameters last accepted, by name.
    fn params(&self) -> Map<String, Value> {
        let Value::Object(params) = self.session.params().to_value() else { return Map::new() };
        params
    }

    /// The change that a message asks for, and the patch of its parameters.
    fn read(&self, message: &Map<String, Value>, steps: &Steps) -> Result<(ParameterChange, ParamsPatch)> {
        let params = self.session.params();
        let mut change = ParameterChange::read(message, &params, steps)?;
        let (values, ignored) = (&mut change.values, &mut change.ignored);
        ignored.extend(values.keys().filter(|name| !is_parameter(name)).map(|name| format!("params.{name}")));
        values.retain(|name, _| is_parameter(name));
        drop_known_digest(values, &params.ip_adapter_style_image_url);
        let patch = ParamsPatch::from_value(Value::Object(values.clone()))?;
        change.check_transition(&params)?;
        Ok((change, patch))
    }

    fn update(&self, message: &Map<String, Value>) -> Result<AppliedParameters> {
        // Held throughout, so that concurrent messages are applied one after the other.
        let mut steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        let (change, patch) = self.read(message, &steps)?;
        let mut ticket = self.session.update(&patch)?;
        steps.clone_from(&change.steps);
        if let Some(transition) = &change.transition {
            let further = self.session.transition(transition)?;
            ticket.notices.extend(further.notices);
            (ticket.version, ticket.cost) = (further.version, ticket.cost.max(further.cost));
        }
        if let Some(paused) = change.paused {
            self.paused.store(paused, Ordering::Relaxed);
        }
        let parameters = change.current_values(&self.session.params());
        let (version, cost, notices) = (Some(ticket.version), ticket.cost, ticket.notices);
        Ok(AppliedParameters { parameters, ignored: change.ignored, version, cost, notices })
    }
}

impl FrameSink for SessionChannel {
    fn frame(&self, frame: &FrameView<'_>) {
        if !self.paused.load(Ordering::Relaxed) {
            self.session.frame(frame);
        }
    }

    fn refused(&self, error: &Error) {
        self.session.refused(error);
    }
}

impl ParameterTarget for SessionChannel {
    fn apply(&self, message: &Map<String, Value>) -> std::result::Result<AppliedParameters, ParameterError> {
        self.update(message).map_err(|error| ParameterError::from(&error))
    }

    fn wait(&self, message: &Map<String, Value>, now: Instant) -> Duration {
        // A message that is refused changes nothing.
        let steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Ok((_, patch)) = self.read(message, &steps) else { return Duration::ZERO };
        let old = self.session.params();
        let Ok((new, _)) = patch.merge(&old) else { return Duration::ZERO };
        if total_cost(&self.session.diff(&old, &new)) < Some(Cost::Load) {
            return Duration::ZERO;
        }
        let mut rebuilds = self.rebuilds.lock().unwrap_or_else(PoisonError::into_inner);
        rebuilds.take(now).err().unwrap_or_default()
    }

    fn notices(&self) -> broadcast::Receiver<String> {
        self.notices.subscribe()
    }
}
