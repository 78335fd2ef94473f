//! A client's end of the data channel.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dreamframe::transport::ChannelHandler;
use serde_json::Value;
use tokio::sync::broadcast;

/// Messages that may wait to be sent.
const WAITING: usize = 1024;

/// Sends given messages on a data channel, and records received ones.
#[derive(Debug)]
pub struct Talk {
    says: broadcast::Sender<String>,
    heard: Mutex<Sender<String>>,
    hears: Mutex<Receiver<String>>,
}

impl Talk {
    /// Creates one without messages.
    pub fn new() -> Arc<Self> {
        let (heard, hears) = channel();
        Arc::new(Self { says: broadcast::Sender::new(WAITING), heard: Mutex::new(heard), hears: Mutex::new(hears) })
    }

    /// Says something to whom it is connected to; nothing is kept for who comes later.
    pub fn say(&self, message: &Value) {
        // Nobody listens before the channel is open.
        let _ = self.says.send(message.to_string());
    }

    /// Waits for the next message whose `type` is one of `types`; others are passed over.
    ///
    /// # Panics
    ///
    /// If none comes for `limit`, or what comes is no JSON.
    pub fn next_of(&self, types: &[&str], limit: Duration) -> Value {
        let hears = self.hears.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let text = hears.recv_timeout(limit).expect("an answer comes");
            let message: Value = serde_json::from_str(&text).expect("it is JSON");
            if types.iter().any(|kind| message["type"] == *kind) {
                return message;
            }
        }
    }
}

impl ChannelHandler for Talk {
    fn message(&self, text: &str) -> Vec<String> {
        // Who has ended listens no more.
        let _ = self.heard.lock().unwrap_or_else(PoisonError::into_inner).send(text.to_owned());
        Vec::new()
    }

    fn notices(&self) -> Option<broadcast::Receiver<String>> {
        Some(self.says.subscribe())
    }
}
