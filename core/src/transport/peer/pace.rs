//! Rate limit of the messages of a data channel.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Map, Value};

use crate::transport::{ChannelHandler, Pacing, TokenBucket};

/// The rate per second, and the burst, of messages on the channels of a connection.
const MESSAGES_PER_SECOND: u32 = 60;
/// The maximum number of bytes of waiting messages.
const MOST_WAITING: usize = 1 << 20;

/// The rate limit of all data channels of one connection together. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct Allowance(Arc<Mutex<TokenBucket>>);

impl Default for Allowance {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(TokenBucket::new(MESSAGES_PER_SECOND, MESSAGES_PER_SECOND))))
    }
}

impl Allowance {
    fn take(&self, now: Instant) -> Result<(), Duration> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take(now)
    }
}

/// The rate limiter of one data channel.
#[derive(Debug)]
pub(super) struct Pace {
    allowance: Allowance,
    waiting: Option<Waiting>,
}

/// Messages that arrived too fast, merged.
#[derive(Debug)]
struct Waiting {
    message: Map<String, Value>,
    /// The number of messages that were merged.
    bytes: usize,
    due: Instant,
}

impl Pace {
    pub(super) fn new(allowance: Allowance) -> Self {
        Self { allowance, waiting: None }
    }

    /// Takes a message that arrived at `now`; returns it if it may be handled now.
    pub(super) fn arrived<'a>(&mut self, handler: &dyn ChannelHandler, text: &'a str, now: Instant) -> Option<&'a str> {
        let Some(pacing) = handler.pacing() else { return Some(text) };
        if let Some(waiting) = &mut self.waiting {
            waiting.add(pacing, text);
            return None;
        }
        let full = self.allowance.take(now).err();
        let message = match (object(text), full) {
            (Some(message), _) => message,
            // The handler reports what is wrong with it.
            (None, None) => return Some(text),
            (None, Some(_)) => return None,
        };
        let wait = full.unwrap_or_else(|| pacing.wait(&message, now));
        if wait.is_zero() {
            return Some(text);
        }
        self.waiting = Some(Waiting { message, bytes: text.len(), due: now + wait });
        None
    }

    /// The time at which [`ready`](Self::ready) is to be called.
    pub(super) fn due(&self) -> Option<Instant> {
        self.waiting.as_ref().map(|waiting| waiting.due)
    }

    /// Returns the message that has waited, if it may be handled at `now`.
    pub(super) fn ready(&mut self, handler: &dyn ChannelHandler, now: Instant) -> Option<String> {
        let waiting = self.waiting.as_mut().filter(|waiting| waiting.due <= now)?;
        let full = self.allowance.take(now).err();
        let wait = full
            .unwrap_or_else(|| handler.pacing().map_or(Duration::ZERO, |pacing| pacing.wait(&waiting.message, now)));
        if wait.is_zero() {
            return self.waiting.take().map(|waiting| Value::Object(waiting.message).to_string());
        }
        waiting.due = now + wait;
        None
    }
}

impl Waiting {
    fn add(&mut self, pacing: &dyn Pacing, text: &str) {
        let bytes = self.bytes.saturating_add(text.len());
        match object(text).filter(|_| bytes <= MOST_WAITING) {
            Some(newer) => {
                pacing.join(&mut self.message, newer);
                self.bytes = bytes;
            }
            None => tracing::debug!(bytes, "a data channel message exceeded the rate limit and was dropped"),
        }
    }
}

fn object(text: &str) -> Option<Map<String, Value>> {
    serde_json::from_str(text).ok()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use tokio::sync::broadcast;

    use super::*;

    /// Merges by key; messages with the key `costly` wait for the given number of milliseconds.
    #[derive(Debug, Default)]
    struct Fake(AtomicU64);

    impl ChannelHandler for Fake {
        fn message(&self, _: &str) -> Vec<String> {
            Vec::new()
        }

        fn notices(&self) -> Option<broadcast::Receiver<String>> {
            None
        }

        fn pacing(&self) -> Option<&dyn Pacing> {
            Some(self)
        }
    }

    impl Pacing for Fake {
        fn wait(&self, message: &Map<String, Value>, _: Instant) -> Duration {
            let ms = if message.contains_key("costly") { self.0.load(Ordering::Relaxed) } else { 0 };
            Duration::from_millis(ms)
        }

        fn join(&self, waiting: &mut Map<String, Value>, newer: Map<String, Value>) {
            waiting.extend(newer);
        }
    }

    #[test]
    fn messages_of_one_second_pass_and_the_rest_are_merged() {
        let (handler, mut pace, start) = (Fake::default(), Pace::new(Allowance::default()), Instant::now());
        let taken = (0..1000).filter(|at| pace.arrived(&handler, &format!("{{\"a\": {at}}}"), start).is_some()).count();
        assert_eq!(taken, 60);
        assert!(pace.arrived(&handler, r#"{"b": 1}"#, start).is_none());
        assert!(pace.arrived(&handler, "nonsense", start).is_none());
        let due = pace.due().unwrap();
        assert_eq!(pace.ready(&handler, start), None);
        assert_eq!(pace.ready(&handler, due).as_deref(), Some(r#"{"a":999,"b":1}"#));
        assert_eq!((pace.due(), pace.ready(&handler, due)), (None, None));
        // For each second there are 60 more.
        let later = due + Duration::from_secs(10);
        assert_eq!((0..100).filter(|_| pace.arrived(&handler, "{}", later).is_some()).count(), 60);
    }

    #[test]
    fn the_channels_of_a_connection_share_what_they_may_send() {
        let (handler, allowance, now) = (Fake::default(), Allowance::default(), Instant::now());
        let mut channels: Vec<_> = (0..16).map(|_| Pace::new(allowance.clone())).collect();
        let taken = (0..1000).filter(|at| channels[at % 16].arrived(&handler, "{}", now).is_some()).count();
        assert_eq!(taken, 60);
    }

    #[test]
    fn costly_message_delays_all_later_ones() {
        let (handler, mut pace, start) = (Fake(500.into()), Pace::new(Allowance::default()), Instant::now());
        assert_eq!(pace.arrived(&handler, r#"{"a": 1}"#, start), Some(r#"{"a": 1}"#));
        assert_eq!(pace.arrived(&handler, r#"{"costly": 1}"#, start), None);
        assert_eq!(pace.arrived(&handler, r#"{"a": 2}"#, start), None);
        assert_eq!(pace.due(), Some(start + Duration::from_millis(500)));
        // Still too early, according to the handler.
        assert_eq!(pace.ready(&handler, start + Duration::from_millis(500)), None);
        handler.0.store(0, Ordering::Relaxed);
        assert_eq!(pace.ready(&handler, start + Duration::from_secs(1)).as_deref(), Some(r#"{"costly":1,"a":2}"#));
    }

    #[test]
    fn what_waits_is_bounded() {
        let (handler, mut pace, start) = (Fake(500.into()), Pace::new(Allowance::default()), Instant::now());
        assert_eq!(pace.arrived(&handler, r#"{"costly": 1}"#, start), None);
        for at in 0..64 {
            let long = format!("{{\"a{at}\": \"{}\"}}", "x".repeat(60_000));
            assert_eq!(pace.arrived(&handler, &long, start), None);
        }
        handler.0.store(0, Ordering::Relaxed);
        let taken = pace.ready(&handler, start + Duration::from_secs(1)).unwrap();
        assert!(taken.len() <= MOST_WAITING, "{}", taken.len());
    }
}
