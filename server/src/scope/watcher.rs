//! The data channel of who may watch and not steer: notices, and no messages.

use std::sync::Arc;
use std::time::{Duration, Instant};

use dreamframe::transport::{ChannelHandler, Pacing};
use serde_json::{Map, Value, json};
use tokio::sync::broadcast;

use super::channel::Target;

/// Answers each message with what the address lacks.
const REFUSAL: &str =
    "this address, by playback id, shows pictures and changes nothing: use the one with the stream key";

/// Tells the notices of a stream, and takes no messages.
#[derive(Debug)]
pub(crate) struct Watcher {
    target: Arc<dyn Target>,
}

impl Watcher {
    /// Makes the handler of channels that hear of `target`.
    pub(crate) fn new(target: Arc<dyn Target>) -> Self {
        Self { target }
    }
}

impl ChannelHandler for Watcher {
    fn message(&self, _: &str) -> Vec<String> {
        vec![json!({ "type": "error", "error": REFUSAL, "fields": [] }).to_string()]
    }

    fn notices(&self) -> Option<broadcast::Receiver<String>> {
        Some(self.target.notices())
    }

    fn pacing(&self) -> Option<&dyn Pacing> {
        Some(self)
    }
}

/// Who sends more than may be sent is not answered each time.
impl Pacing for Watcher {
    fn wait(&self, _: &Map<String, Value>, _: Instant) -> Duration {
        Duration::ZERO
    }

    fn join(&self, waiting: &mut Map<String, Value>, _: Map<String, Value>) {
        waiting.clear();
    }
}
