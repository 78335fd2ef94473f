//! Ends sessions with their connection, with their publisher's media, for another publisher, or with their endpoint.

use std::future::Future;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::endpoint::close_all;
use super::{End, Endpoint, Limits, Role, SessionEvent};
use crate::transport::peer::{Peer, PeerState};

/// The interval at which a publisher is checked.
const LOOK: Duration = Duration::from_millis(500);

impl Endpoint {
    /// Creates the task that watches a session until it has ended.
    pub(super) fn watch(self: &Arc<Self>, id: String, peer: Peer) -> impl Future<Output = ()> + Send + use<> {
        let silence = (self.role == Role::Whip).then(|| Silence::new(self.limits));
        let watcher = Watcher { endpoint: Arc::downgrade(self), alive: self.alive.subscribe(), id, peer, silence };
        watcher.run()
    }
}

struct Watcher {
    endpoint: Weak<Endpoint>,
    alive: watch::Receiver<()>,
    id: String,
    peer: Peer,
    silence: Option<Silence>,
}

impl Watcher {
    async fn run(mut self) {
        let mut states = self.peer.states();
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut was_connected = false;
        let reason = loop {
            let state = *states.borrow_and_update();
            match state {
                PeerState::Connecting => {}
                PeerState::Connected => {
                    if !was_connected {
                        self.replace_others();
                    }
                    was_connected = true;
                    self.send_event(|id| SessionEvent::Connected { id });
                }
                PeerState::Disconnected => self.send_event(|id| SessionEvent::Disconnected { id }),
                PeerState::Failed if was_connected => break End::Lost,
                PeerState::Failed => break End::NeverConnected,
                PeerState::Closed => break End::Closed,
            }
            if self.until_change(&mut states, &mut looks, was_connected).await.is_err() {
                break End::NoMedia;
            }
        };
        if let Some(endpoint) = self.endpoint.upgrade() {
            endpoint.sessions.end(&self.id, reason);
        }
        self.peer.close().await;
    }

    /// Waits for another state; an error on a timeout, or if the endpoint was dropped.
    async fn until_change(
        &mut self,
        states: &mut watch::Receiver<PeerState>,
        looks: &mut tokio::time::Interval,
        was_connected: bool,
    ) -> Result<(), ()> {
        loop {
            tokio::select! {
                changed = states.changed() => return changed.map_err(|_| ()),
                _ = self.alive.changed() => return Err(()),
                _ = looks.tick() => {
                    let silence = self.silence.as_mut().filter(|_| was_connected);
                    if silence.is_some_and(|silence| silence.is_too_long(self.peer.stats().packets_in, Instant::now())) {
                        return Err(());
                    }
                }
            }
        }
    }

    /// Ends the session of the publisher before this one. It is not ended by the offer of this one: nothing may ever connect
    /// for an offer.
    fn replace_others(&self) {
        if let Some(endpoint) = self.endpoint.upgrade().filter(|endpoint| endpoint.role == Role::Whip) {
            tokio::spawn(close_all(endpoint.sessions.replace_others(&self.id)));
        }
    }

    fn send_event(&self, event: fn(String) -> SessionEvent) {
        if let Some(endpoint) = self.endpoint.upgrade() {
            endpoint.sessions.send_event(&self.id, event);
        }
    }
}

/// The time for which a publisher has sent nothing.
struct Silence {
    limits: Limits,
    packets: u64,
    since: Option<Instant>,
}

impl Silence {
    fn new(limits: Limits) -> Self {
        Self { limits, packets: 0, since: None }
    }

    /// Records the packets received by `now`; returns whether the last is too long ago.
    fn is_too_long(&mut self, packets: u64, now: Instant) -> bool {
        if packets != self.packets {
            (self.packets, self.since) = (packets, None);
        }
        let limit = if packets == 0 { self.limits.first_media } else { self.limits.silence };
        now.saturating_duration_since(*self.since.get_or_insert(now)) >= limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_publisher_is_silent_from_the_first_look_that_found_nothing_new() {
        let limits =
            Limits { first_media: Duration::from_secs(20), silence: Duration::from_secs(5), ..Limits::default() };
        let (mut silence, start) = (Silence::new(limits), Instant::now());
        let mut is_too_long = |packets, ms| silence.is_too_long(packets, start + Duration::from_millis(ms));
        assert!(!is_too_long(0, 0) && !is_too_long(0, 19_999));
        // Its first packets arrive just before the timeout.
        assert!(!is_too_long(1, 20_000) && !is_too_long(2, 26_000));
        assert!(!is_too_long(2, 30_999) && is_too_long(2, 31_000));
        assert!(!is_too_long(3, 31_500));
        let mut never = Silence::new(limits);
        assert!(!never.is_too_long(0, start) && never.is_too_long(0, start + Duration::from_secs(20)));
    }
}
