//! The data channel `parameters` of a session.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::{Map, Value};
use tokio::sync::broadcast;

use crate::params::{Cost, Notice, ParamsPatch, diff, join_values, total_cost};
use crate::session::{Event, SessionHandle};
use crate::transport::{ChannelHandler, Pacing, TokenBucket};
use crate::{Error, ErrorKind, Result};

/// How many notices wait for a peer that is slow.
const NOTICES: usize = 64;
/// How often the thread that tells events looks whether anybody is left.
const LOOK: Duration = Duration::from_millis(200);
/// How many changes that load or rebuild networks a session takes a second, and at once.
const REBUILDS_PER_SECOND: u32 = 2;
const REBUILDS_AT_ONCE: u32 = 4;

/// Changes the parameters of a session by messages: each is a JSON object with some of the parameters, as
/// [`ParamsPatch::from_json`] takes it.
///
/// The answer is `{"type":"accepted","version":…,"cost":…,"params":{…},"notices":[…]}` with the values that are asked for now,
/// or `{"type":"refused","error":{…}}` where nothing has changed.
///
/// Whoever has this channel may change everything; [`serve`](super::serve) gives it to publishers and viewers alike. A
/// connection may send 60 messages a second, and all channels of a session together may load or rebuild networks twice a second, four
/// times at once. What comes faster is joined: the newest values count, and are answered once.
#[derive(Debug)]
pub struct SessionChannel {
    session: SessionHandle,
    notices: broadcast::Sender<String>,
    rebuilds: Mutex<TokenBucket>,
}

/// What is answered to a message.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Reply<'a> {
    Accepted { version: u64, cost: Option<Cost>, params: Map<String, Value>, notices: &'a [Notice] },
    Refused { error: &'a Error },
}

impl SessionChannel {
    /// Makes the channel of a session; for connections that [`serve`](super::serve) has not made.
    pub fn new(session: SessionHandle) -> Self {
        let rebuilds = Mutex::new(TokenBucket::new(REBUILDS_PER_SECOND, REBUILDS_AT_ONCE));
        Self { session, notices: broadcast::Sender::new(NOTICES), rebuilds }
    }

    /// Tells something to all who are connected.
    pub fn tell(&self, text: String) {
        // Nobody need be.
        let _ = self.notices.send(text);
    }

    /// Tells the events of the session, as JSON, to all who are connected, on a thread that ends with the channel or the
    /// session. An event goes to one receiver, so a host does not get those any more.
    pub(super) fn tell_events(self: &Arc<Self>) -> Result<()> {
        let (channel, events) = (Arc::downgrade(self), self.session.events());
        let tell = move || {
            while let Some(channel) = channel.upgrade() {
                let Some(event) = events.next_within(LOOK) else { continue };
                if let Ok(text) = serde_json::to_string(&event) {
                    channel.tell(text);
                }
                if matches!(event, Event::Stopped { .. }) {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("dreamframe-events".into()).spawn(tell);
        let no_thread = |error| Error::new(ErrorKind::Device, "the system gives no more threads").with_source(error);
        thread.map(drop).map_err(no_thread)
    }

    fn update(&self, text: &str) -> Result<String> {
        let patch = ParamsPatch::from_json(text)?;
        let ticket = self.session.update(&patch)?;
        let mut params = Map::new();
        if let Value::Object(desired) = self.session.params().to_value() {
            params = desired;
            params.retain(|name, _| patch.names().any(|named| named == name));
        }
        let reply = Reply::Accepted { version: ticket.version, cost: ticket.cost, params, notices: &ticket.notices };
        Ok(json(&reply))
    }
}

fn json(reply: &Reply<'_>) -> String {
    // Text and numbers under names: nothing that JSON cannot hold.
    serde_json::to_string(reply).unwrap_or_default()
}

impl ChannelHandler for SessionChannel {
    fn message(&self, text: &str) -> Vec<String> {
        vec![self.update(text).unwrap_or_else(|error| json(&Reply::Refused { error: &error }))]
    }

    fn notices(&self) -> Option<broadcast::Receiver<String>> {
        Some(self.notices.subscribe())
    }

    fn pacing(&self) -> Option<&dyn Pacing> {
        Some(self)
    }
}

impl Pacing for SessionChannel {
    fn wait(&self, message: &Map<String, Value>, now: Instant) -> Duration {
        // What is refused changes nothing.
        let Ok(patch) = ParamsPatch::from_value(Value::Object(message.clone())) else { return Duration::ZERO };
        let old = self.session.params();
        let Ok((new, _)) = patch.merge(&old) else { return Duration::ZERO };
        if total_cost(&diff(&old, &new)) < Some(Cost::Load) {
            return Duration::ZERO;
        }
        let mut rebuilds = self.rebuilds.lock().unwrap_or_else(PoisonError::into_inner);
        rebuilds.take(now).err().unwrap_or_default()
    }

    fn join(&self, waiting: &mut Map<String, Value>, newer: Map<String, Value>) {
        join_values(waiting, newer);
    }
}
