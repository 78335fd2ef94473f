//! The sessions of an endpoint: established ones, those that are connecting, and subscribers to their events.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::broadcast;

use super::{End, Limits, SessionEvent};
use crate::transport::peer::{Peer, PeerState};

/// The maximum number of events that wait for a slow receiver.
const EVENTS: usize = 64;

/// The reason why a session is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    /// The limit of sessions is reached.
    Viewers,
    /// The limit of connecting sessions is reached.
    Connecting,
    /// The endpoint is closed.
    Closed,
}

/// The sessions of an endpoint by their names.
#[derive(Debug)]
pub(super) struct Sessions {
    table: Mutex<Table>,
    events: broadcast::Sender<SessionEvent>,
}

#[derive(Debug, Default)]
struct Table {
    peers: HashMap<String, Peer>,
    /// Offers that are being answered.
    answering: usize,
    closed: bool,
}

/// A reservation for one session, from before its offer is answered; released if no session is made.
#[derive(Debug)]
pub(super) struct Reservation<'a> {
    sessions: &'a Sessions,
}

impl Sessions {
    pub(super) fn new() -> Self {
        Self { table: Mutex::default(), events: broadcast::Sender::new(EVENTS) }
    }

    /// A panic while the table was locked leaves it consistent: each change is one call.
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reserves capacity for one more session, of at most `most`.
    pub(super) fn reserve(&self, limits: &Limits, most: usize) -> Result<Reservation<'_>, Full> {
        let mut table = self.lock();
        if table.closed {
            return Err(Full::Closed);
        }
        if table.peers.len() + table.answering >= most {
            return Err(Full::Viewers);
        }
        let connecting = table.peers.values().filter(|peer| is_connecting(peer)).count();
        if connecting + table.answering >= limits.connecting {
            return Err(Full::Connecting);
        }
        table.answering += 1;
        Ok(Reservation { sessions: self })
    }

    pub(super) fn get(&self, id: &str) -> Option<Peer> {
        self.lock().peers.get(id).cloned()
    }

    /// All sessions.
    pub(super) fn peers(&self) -> Vec<Peer> {
        self.lock().peers.values().cloned().collect()
    }

    /// A session that was connected, if there is one; otherwise any.
    pub(super) fn connected_first(&self) -> Option<Peer> {
        self.lock().peers.values().min_by_key(|peer| is_connecting(peer)).cloned()
    }

    pub(super) fn len(&self) -> usize {
        self.lock().peers.len()
    }

    /// Removes a session, with the reason; `None` if it was removed already.
    pub(super) fn end(&self, id: &str, reason: End) -> Option<Peer> {
        let mut table = self.lock();
        let peer = table.peers.remove(id)?;
        self.send(SessionEvent::Ended { id: id.to_owned(), reason });
        Some(peer)
    }

    /// Removes all sessions; `for_good` rejects further ones.
    pub(super) fn end_all(&self, reason: End, for_good: bool) -> Vec<Peer> {
        let mut table = self.lock();
        table.closed |= for_good;
        self.remove(&mut table, reason, |_, _| true)
    }

    /// Removes all sessions that were connected before `id` was, and returns them; `id` has just connected.
    pub(super) fn replace_others(&self, id: &str) -> Vec<Peer> {
        let mut table = self.lock();
        if !table.peers.contains_key(id) {
            return Vec::new();
        }
        self.remove(&mut table, End::Replaced, |other, peer| other != id && !is_connecting(peer))
    }

    /// Removes the sessions for which `ends` returns true.
    fn remove(&self, table: &mut Table, reason: End, ends: impl Fn(&str, &Peer) -> bool) -> Vec<Peer> {
        let ended = table.peers.extract_if(|id, peer| ends(id, peer)).map(|(id, peer)| {
            self.send(SessionEvent::Ended { id, reason });
            peer
        });
        ended.collect()
    }

    /// Sends an event of a session, unless it has ended.
    pub(super) fn send_event(&self, id: &str, event: fn(String) -> SessionEvent) {
        let table = self.lock();
        if table.peers.contains_key(id) {
            self.send(event(id.to_owned()));
        }
    }

    /// Called with the table locked, so that events are in the order of the changes.
    fn send(&self, event: SessionEvent) {
        tracing::debug!(?event, "session");
        // An error means that there are no receivers.
        let _ = self.events.send(event);
    }

    pub(super) fn events(&self) -> broadcast::Receiver<SessionEvent> {
        self.events.subscribe()
    }
}

impl Reservation<'_> {
    /// Adds a session.
    pub(super) fn take(self, id: String, peer: Peer) -> Result<(), Full> {
        let mut table = self.sessions.lock();
        if table.closed {
            return Err(Full::Closed);
        }
        self.sessions.send(SessionEvent::Started { id: id.clone() });
        table.peers.insert(id, peer);
        Ok(())
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        self.sessions.lock().answering -= 1;
    }
}

/// Whether a session was never connected.
fn is_connecting(peer: &Peer) -> bool {
    *peer.states().borrow() == PeerState::Connecting
}
