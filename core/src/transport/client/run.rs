//! Control loop of a client: attempts, sessions, and pauses between them.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{JoinError, spawn_blocking};
use tokio::time::{Instant, sleep_until, timeout};

use super::ClientOptions;
use super::state::Shared;
use super::trickle::trickle;
use super::wire::{Created, Failure, Wire};
use crate::transport::peer::{IceServer, Media, Peer, PeerState};
use crate::{Error, ErrorKind};

/// The longest pause between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// The longest time for the last messages to a server at the end.
const FAREWELL: Duration = Duration::from_secs(2);
/// The longest time of a connection whose offer was made without the ICE servers that the server has named.
const WITHOUT_ICE_SERVERS: Duration = Duration::from_secs(3);

/// The most ICE servers that are kept of those that servers name.
const MOST_ICE_SERVERS: usize = 16;

/// A client at work.
#[derive(Debug)]
pub(super) struct Worker {
    url: String,
    options: ClientOptions,
    media: Media,
    wire: Arc<Wire>,
    shared: Arc<Shared>,
    stopped: watch::Receiver<bool>,
    /// The number of ICE servers that the host has set; those behind them were named by servers.
    own_ice_servers: usize,
}

/// How a session, or the attempt to establish one, has ended.
enum Ended {
    /// The client was stopped.
    Stopped,
    /// The connection was established, and was lost.
    Lost(Error),
    /// The connection was never established.
    Failed(Failure),
}

impl Worker {
    pub(super) fn new(
        url: &str,
        options: ClientOptions,
        media: Media,
        wire: Wire,
        shared: Arc<Shared>,
        stopped: watch::Receiver<bool>,
    ) -> Self {
        let own_ice_servers = options.peer.ice_servers.len();
        Self { url: url.to_owned(), options, media, wire: wire.into(), shared, stopped, own_ice_servers }
    }

    /// Works until the client is stopped, or gives up.
    pub(super) async fn run(mut self) {
        let mut failures = 0;
        let end = loop {
            let ended = self.session().await;
            self.shared.set_peer(None);
            let (error, after) = match ended {
                Ended::Stopped => break PeerState::Closed,
                Ended::Failed(Failure::Final(error)) => {
                    self.shared.report_failure(error, None);
                    break PeerState::Failed;
                }
                Ended::Lost(error) => {
                    failures = 0;
                    (error, None)
                }
                Ended::Failed(Failure::Passing(error, after)) => {
                    failures += 1;
                    (error, after)
                }
            };
            if self.options.attempts.is_some_and(|most| failures >= most.get()) {
                self.shared.report_failure(error, None);
                break PeerState::Failed;
            }
            let pause = self.pause(failures).max(after.unwrap_or_default()).min(LONGEST_PAUSE);
            tracing::info!(error = format!("{error:#}"), ?pause, "no connection; trying again");
            self.shared.report_failure(error, Some(pause));
            if timeout(pause, stop(&mut self.stopped)).await.is_ok() {
                break PeerState::Closed;
            }
        };
        self.shared.set_state(end);
    }

    /// The pause after a number of failures in a row.
    fn pause(&self, failures: u32) -> Duration {
        self.options.pause.saturating_mul(1 << failures.saturating_sub(1).min(16))
    }

    /// Establishes one session and waits until it has ended.
    async fn session(&mut self) -> Ended {
        if let Err(ended) = self.find_relay().await {
            return ended;
        }
        let (media, options) = (self.media.clone(), self.options.peer.clone());
        let offered = tokio::select! {
            () = stop(&mut self.stopped) => return Ended::Stopped,
            offered = Peer::offer(media, &options) => offered,
        };
        let (peer, offer) = match offered {
            Ok(offered) => offered,
            Err(error) => {
                // A server may name unusable servers, which must not prevent the next attempt.
                self.options.peer.ice_servers.truncate(self.own_ice_servers);
                return Ended::Failed(Failure::Passing(error, None));
            }
        };
        let created = match self.post(offer).await {
            Ok(created) => created,
            Err(ended) => return ended,
        };
        let resource = created.resource.clone();
        let ended = self.stay(&peer, created).await;
        self.delete(resource).await;
        let _ = timeout(FAREWELL, peer.close()).await;
        ended
    }

    /// Asks the server for its ICE servers if nothing but relayed candidates may be used, and no TURN server is known.
    async fn find_relay(&mut self) -> Result<(), Ended> {
        if self.options.peer.check_relay().is_ok() {
            return Ok(());
        }
        let (wire, url) = (self.wire.clone(), self.url.clone());
        let asked = tokio::select! {
            () = stop(&mut self.stopped) => return Err(Ended::Stopped),
            asked = spawn_blocking(move || wire.ice_servers(&url)) => asked,
        };
        let servers = asked.unwrap_or_else(|error| Err(Failure::Final(panicked(error)))).map_err(Ended::Failed)?;
        self.learn(servers);
        self.options.peer.check_relay().map_err(|error| Ended::Failed(Failure::Final(error)))
    }

    /// Posts an offer. A session that is made although the client was stopped meanwhile is ended.
    async fn post(&mut self, offer: String) -> Result<Created, Ended> {
        let (wire, url) = (self.wire.clone(), self.url.clone());
        let mut posting = spawn_blocking(move || wire.post(&url, &offer));
        let posted = tokio::select! {
            () = stop(&mut self.stopped) => {
                if let Ok(Ok(Ok(created))) = timeout(FAREWELL, posting).await {
                    self.delete(created.resource).await;
                }
                return Err(Ended::Stopped);
            }
            posted = &mut posting => posted,
        };
        posted.unwrap_or_else(|error| Err(Failure::Final(panicked(error)))).map_err(Ended::Failed)
    }

    /// Connects, and waits for the end.
    async fn stay(&mut self, peer: &Peer, created: Created) -> Ended {
        self.shared.set_playback_url(created.playback_url);
        self.shared.set_peer(Some(peer.clone()));
        let learned = self.learn(created.ice_servers);
        if let Err(error) = peer.set_answer(&created.answer).await {
            return Ended::Failed(Failure::Passing(error.within("answer of the server"), None));
        }
        let trickling = trickle(peer.clone(), self.wire.clone(), created.resource, created.tag);
        tokio::pin!(trickling);
        let mut trickled = false;
        let mut states = peer.states();
        let mut connected = false;
        let mut patience = learned.then(|| Instant::now() + WITHOUT_ICE_SERVERS);
        loop {
            let state = *states.borrow_and_update();
            match state {
                PeerState::Connecting => {}
                PeerState::Connected => {
                    connected = true;
                    patience = None;
                    self.shared.set_state(state);
                }
                PeerState::Disconnected => self.shared.set_state(state),
                PeerState::Failed | PeerState::Closed => return self.over(connected, state),
            }
            let too_late = async move {
                match patience {
                    Some(patience) => sleep_until(patience).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = stop(&mut self.stopped) => return Ended::Stopped,
                () = too_late => return self.over(connected, PeerState::Failed),
                () = &mut trickling, if !trickled => trickled = true,
                changed = states.changed() => {
                    if changed.is_err() {
                        return self.over(connected, PeerState::Failed);
                    }
                }
            }
        }
    }

    fn over(&self, connected: bool, state: PeerState) -> Ended {
        if connected {
            self.shared.set_state(PeerState::Disconnected);
            let what =
                if state == PeerState::Closed { "the server ended the session" } else { "the connection was lost" };
            Ended::Lost(Error::new(ErrorKind::Closed, what))
        } else {
            let what = "the server answered, but no connection was established";
            Ended::Failed(Failure::Passing(Error::new(ErrorKind::Timeout, what), None))
        }
    }

    /// Keeps the ICE servers that the server names, for the next offer; returns whether any is new.
    fn learn(&mut self, servers: Vec<IceServer>) -> bool {
        let known = &mut self.options.peer.ice_servers;
        let before = known.len();
        let mut learned = known.split_off(self.own_ice_servers.min(before));
        for server in servers {
            // The host's settings are not replaced.
            if known.iter().any(|own| own.urls == server.urls) {
                continue;
            }
            // The credentials of a server may have changed; its address has not.
            learned.retain(|other| other.urls != server.urls || *other == server);
            if !learned.contains(&server) {
                learned.push(server);
            }
        }
        learned.truncate(MOST_ICE_SERVERS);
        known.append(&mut learned);
        known.len() > before
    }

    /// Ends a session on the server, if the server responds.
    async fn delete(&self, resource: Option<String>) {
        let Some(resource) = resource else { return };
        let wire = self.wire.clone();
        let deleting = spawn_blocking(move || wire.delete(&resource));
        if let Ok(Ok(Err(Failure::Passing(error, _) | Failure::Final(error)))) = timeout(FAREWELL, deleting).await {
            tracing::debug!(error = format!("{error:#}"), "the session could not be ended");
        }
    }
}

/// Waits until the client is stopped.
async fn stop(stopped: &mut watch::Receiver<bool>) {
    // Without its owner a client is stopped, too.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

fn panicked(error: JoinError) -> Error {
    Error::new(ErrorKind::Internal, "a request panicked").with_source(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(url: &str, credential: &str) -> IceServer {
        let (username, credential) = (Some("user".into()), Some(credential.into()));
        IceServer { urls: vec![url.into()], username, credential, ..IceServer::default() }
    }

    #[test]
    fn ice_servers_of_a_server_are_added_to_those_of_the_host() {
        let mut options = ClientOptions::default();
        options.peer.ice_servers = vec![server("turn:own", "secret")];
        let wire = Wire::new("http://127.0.0.1/", None, Duration::from_secs(1)).unwrap();
        let (_stop, stopped) = watch::channel(false);
        let shared = Arc::new(Shared::new());
        let mut worker = Worker::new("http://127.0.0.1/", options, Media::default(), wire, shared, stopped);
        assert!(worker.learn(vec![server("turn:own", "theirs"), server("turn:other", "old")]));
        assert!(!worker.learn(vec![server("turn:other", "new")]));
        assert_eq!(worker.options.peer.ice_servers, [server("turn:own", "secret"), server("turn:other", "new")]);
        let many = (0..40).map(|number| server(&format!("turn:{number}"), "")).collect();
        assert!(worker.learn(many));
        assert_eq!(worker.options.peer.ice_servers.len(), 1 + MOST_ICE_SERVERS);
    }
}
