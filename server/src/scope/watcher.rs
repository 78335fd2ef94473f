//! The data channel of viewers by playback id, which receive notices but cannot change parameters.

use std::sync::Arc;
use std::time::{Duration, Instant};

use dreamframe::transport::parameters::{AppliedParameters, ParameterError, ParameterTarget};
use serde_json::{Map, Value};
use tokio::sync::broadcast;

use super::channel::ControlledStream;

/// The answer to each message.
const REFUSAL: &str =
    "this address contains the playback id, which does not allow changes: use the one with the stream key";

/// Rejects all messages.
#[derive(Debug)]
pub(crate) struct Watcher {
    target: Arc<dyn ControlledStream>,
}

impl Watcher {
    /// Creates the target of channels that receive the notices of `target`.
    pub(crate) fn new(target: Arc<dyn ControlledStream>) -> Self {
        Self { target }
    }
}

impl ParameterTarget for Watcher {
    fn apply(&self, _: &Map<String, Value>) -> Result<AppliedParameters, ParameterError> {
        Err(ParameterError::new(REFUSAL))
    }

    fn wait(&self, _: &Map<String, Value>, _: Instant) -> Duration {
        Duration::ZERO
    }

    /// Keeps nothing, since nothing will be applied: messages that exceed the rate limit get one answer.
    fn join(&self, waiting: &mut Map<String, Value>, _: Map<String, Value>) {
        waiting.clear();
    }

    fn notices(&self) -> broadcast::Receiver<String> {
        self.target.notices()
    }
}
