//! Sees to it that no session outlives its connection, its publisher's media, or its endpoint.

use std::future::Future;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::{End, Endpoint, Limits, Role, SessionEvent};
use crate::transport::peer::{Peer, PeerState};

/// How often a publisher is looked after.
const LOOK: Duration = Duration::from_millis(500);

impl Endpoint {
    /// Makes the task that watches a session until it has ended.
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
                    was_connected = true;
                    self.tell(|id| SessionEvent::Connected { id });
                }
                PeerState::Disconnected => self.tell(|id| SessionEvent::Disconnected { id }),
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

    /// Waits for another state; an error where nothing came for too long, or the endpoint has gone.
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
                    if silence.is_some_and(|silence| silence.is_too_long(self.peer.stats().packets_in)) {
                        return Err(());
                    }
                }
            }
        }
    }

    fn tell(&self, event: fn(String) -> SessionEvent) {
        if let Some(endpoint) = self.endpoint.upgrade() {
            endpoint.sessions.tell_of(&self.id, event);
        }
    }
}

/// How long a publisher has sent nothing.
struct Silence {
    limits: Limits,
    packets: u64,
    since: Option<Instant>,
}

impl Silence {
    fn new(limits: Limits) -> Self {
        Self { limits, packets: 0, since: None }
    }

    fn is_too_long(&mut self, packets: u64) -> bool {
        if packets != self.packets {
            (self.packets, self.since) = (packets, None);
        }
        let limit = if packets == 0 { self.limits.first_media } else { self.limits.silence };
        self.since.get_or_insert_with(Instant::now).elapsed() >= limit
    }
}
