//! The state and events of a client, for any thread.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::transport::peer::{Peer, PeerState};
use crate::{Error, ErrorKind, Result};

/// The maximum number of events that wait to be fetched.
const EVENTS: usize = 64;

/// An event of a client. Serialized, its name is `type`: `attempt_failed`.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum ClientEvent {
    /// The state has changed.
    State {
        /// The new state.
        state: PeerState,
    },
    /// An attempt to connect failed, or a connection was lost.
    AttemptFailed {
        /// The reason.
        error: Arc<Error>,
        /// The milliseconds until the next attempt; `None` if there is none.
        retry_ms: Option<u64>,
    },
}

/// The events of a client, oldest first. Each has one receiver; at most 64 wait, then the oldest is dropped.
#[derive(Debug, Clone)]
pub struct ClientEvents {
    shared: Arc<Shared>,
}

impl ClientEvents {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Takes the next event, if there is one.
    pub fn try_next(&self) -> Option<ClientEvent> {
        self.shared.lock().events.pop_front()
    }

    /// Waits for the next event; `None` after `timeout`, and once there can be none.
    pub fn next_within(&self, timeout: Duration) -> Option<ClientEvent> {
        let next = |inner: &mut Inner| match inner.events.pop_front() {
            None if inner.state.is_over() => Some(None),
            None => None,
            event => Some(event),
        };
        self.shared.wait(timeout, next).flatten()
    }
}

/// The state that a client and its thread share.
#[derive(Debug)]
pub(super) struct Shared {
    inner: Mutex<Inner>,
    news: Condvar,
}

#[derive(Debug)]
struct Inner {
    state: PeerState,
    events: VecDeque<ClientEvent>,
    trouble: Option<Arc<Error>>,
    playback_url: Option<String>,
    peer: Option<Peer>,
}

impl Shared {
    pub(super) fn new() -> Self {
        let inner = Inner {
            state: PeerState::Connecting,
            events: VecDeque::new(),
            trouble: None,
            playback_url: None,
            peer: None,
        };
        Self { inner: Mutex::new(inner), news: Condvar::new() }
    }

    /// A panic while it was locked leaves it consistent.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Inner)) {
        change(&mut self.lock());
        self.news.notify_all();
    }

    fn wait<T>(&self, timeout: Duration, mut ready: impl FnMut(&mut Inner) -> Option<T>) -> Option<T> {
        let deadline = Instant::now().checked_add(timeout);
        let mut inner = self.lock();
        loop {
            if let Some(value) = ready(&mut inner) {
                return Some(value);
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return None;
            }
            let waited = self.news.wait_timeout(inner, left.unwrap_or(Duration::MAX));
            inner = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    pub(super) fn state(&self) -> PeerState {
        self.lock().state
    }

    pub(super) fn set_state(&self, state: PeerState) {
        self.change(|inner| {
            if inner.state != state {
                inner.state = state;
                inner.push_event(ClientEvent::State { state });
            }
        });
    }

    pub(super) fn report_failure(&self, error: Error, retry: Option<Duration>) {
        let error = Arc::new(error);
        let retry_ms = retry.map(|pause| u64::try_from(pause.as_millis()).unwrap_or(u64::MAX));
        self.change(|inner| {
            inner.trouble = Some(error.clone());
            inner.push_event(ClientEvent::AttemptFailed { error, retry_ms });
        });
    }

    pub(super) fn trouble(&self) -> Option<Arc<Error>> {
        self.lock().trouble.clone()
    }

    pub(super) fn set_playback_url(&self, url: Option<String>) {
        self.change(|inner| inner.playback_url = url);
    }

    pub(super) fn playback_url(&self) -> Option<String> {
        self.lock().playback_url.clone()
    }

    pub(super) fn set_peer(&self, peer: Option<Peer>) {
        // The one before is dropped without the lock.
        let _before = std::mem::replace(&mut self.lock().peer, peer);
    }

    pub(super) fn peer(&self) -> Option<Peer> {
        self.lock().peer.clone()
    }

    pub(super) fn wait_for(&self, state: PeerState, timeout: Duration) -> Result<()> {
        let reached = |inner: &mut Inner| {
            let ended = || {
                inner.error(ErrorKind::Closed, format!("state of the client: got {}, expected {state}", inner.state))
            };
            if inner.state == state { Some(Ok(())) } else { inner.state.is_over().then(|| Err(ended())) }
        };
        self.wait(timeout, reached).unwrap_or_else(|| {
            let inner = self.lock();
            let what = format!("state of the client: still {}, expected {state}", inner.state);
            Err(inner.error(ErrorKind::Timeout, what))
        })
    }
}

impl Inner {
    fn push_event(&mut self, event: ClientEvent) {
        if self.events.len() == EVENTS {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }

    /// An error, with the last failure as its cause.
    fn error(&self, kind: ErrorKind, what: String) -> Error {
        let error = Error::new(kind, what);
        match &self.trouble {
            Some(trouble) => error.with_source(trouble.clone()),
            None => error,
        }
    }
}
