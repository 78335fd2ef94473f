//! The client roles: publishing to a WHIP server and playing from a WHEP server.
//!
//! A [`Client`] runs on a thread of its own. Its offer has the candidates found in time, and later ones are sent to the
//! session (trickle ICE); it follows 307 and 308; and it reconnects when a session is lost, until it is stopped.

mod reach;
mod run;
mod state;
#[cfg(test)]
mod tests;
mod trickle;
mod wire;

use std::fmt;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::watch;

use self::run::Worker;
use self::state::Shared;
pub use self::state::{ClientEvent, ClientEvents};
use self::wire::Wire;
use super::peer::{Media, PeerOptions, PeerState, PeerStats};
use super::{AudioHub, ChannelHandler, Egress, FrameSink};
use crate::setters::setters;
use crate::{Error, ErrorKind, Result};

/// Options of a [`Client`].
///
/// ```
/// use std::num::NonZeroU32;
/// use std::time::Duration;
///
/// use dreamframe::transport::ClientOptions;
///
/// # fn main() -> dreamframe::Result<()> {
/// let options = ClientOptions::default()
///     .with_token(Some("a secret".into()))
///     .with_pause(Duration::from_millis(200))
///     .with_attempts(NonZeroU32::new(5));
/// assert!(!format!("{options:?}").contains("a secret"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub struct ClientOptions {
    /// The bearer token, which is sent to the given server only. Default: none.
    pub token: Option<String>,
    /// How connections reach the network, and the longest times for gathering candidates and for establishing one. The
    /// ICE servers that the server names are used in addition to those given here, from the next offer on.
    pub peer: PeerOptions,
    /// The audio: what is published, or the receiver of what is played. Default: none.
    pub audio: Option<AudioHub>,
    /// Handles the data channel `parameters`. Default: no such channel.
    pub channel: Option<Arc<dyn ChannelHandler>>,
    /// The longest time of a request. Default: 10 s.
    pub request_timeout: Duration,
    /// The pause before the second attempt in a row; doubles with each further one, up to 30 s. Default: 1 s.
    pub pause: Duration,
    /// The number of failed attempts in a row after which the client gives up. Default: never.
    pub attempts: Option<NonZeroU32>,
}

setters! {
    ClientOptions:
    with_token, token: Option<String>;
    with_peer, peer: PeerOptions;
    with_audio, audio: Option<AudioHub>;
    with_channel, channel: Option<Arc<dyn ChannelHandler>>;
    with_request_timeout, request_timeout: Duration;
    with_pause, pause: Duration;
    with_attempts, attempts: Option<NonZeroU32>;
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            token: None,
            peer: PeerOptions::default(),
            audio: None,
            channel: None,
            request_timeout: Duration::from_secs(10),
            pause: Duration::from_secs(1),
            attempts: None,
        }
    }
}

impl fmt::Debug for ClientOptions {
    /// Leaves the token out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientOptions")
            .field("token", &self.token.is_some())
            .field("peer", &self.peer)
            .field("audio", &self.audio)
            .field("channel", &self.channel)
            .field("request_timeout", &self.request_timeout)
            .field("pause", &self.pause)
            .field("attempts", &self.attempts)
            .finish()
    }
}

/// Publishes the pictures of `source`, of a session or of the host, to the WHIP server at `url`. Returns immediately; the
/// connection is made on the client's own thread.
///
/// ```no_run
/// use std::time::Duration;
/// use dreamframe::transport::{ClientOptions, Egress, peer::PeerState, publish};
///
/// let egress = Egress::new(Default::default());
/// let publisher = publish("https://server.example/whip/key", ClientOptions::default(), egress.clone())?;
/// publisher.wait_for(PeerState::Connected, Duration::from_secs(10))?;
/// // egress.show(&frame) for each picture
/// publisher.stop();
/// # Ok::<(), dreamframe::Error>(())
/// ```
///
/// # Errors
///
/// `InvalidArgument` for an address that is not of http or https, or a token that is not valid in a header; `Device` if no
/// thread can be started.
pub fn publish(url: &str, options: ClientOptions, source: Egress) -> Result<Client> {
    let media = Media { video_out: Some(source), audio_out: options.audio.clone(), ..Media::default() };
    Client::start(url, options, media)
}

/// Plays from the WHEP server at `url`: decoded pictures are passed to `sink`. Returns immediately; the connection is made on
/// the client's own thread.
///
/// ```no_run
/// use std::sync::Arc;
/// use std::time::Duration;
///
/// use dreamframe::transport::{ClientOptions, LatestFrame, play};
///
/// # fn main() -> dreamframe::Result<()> {
/// let sink = Arc::new(LatestFrame::new());
/// let player = play("https://server.example/whep/key", ClientOptions::default(), sink.clone())?;
/// if let Some(frame) = sink.take_within(Duration::from_secs(10)) {
///     println!("a frame of {}x{}", frame.width(), frame.height());
/// }
/// player.stop();
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// Those of [`publish`].
pub fn play(url: &str, options: ClientOptions, sink: Arc<dyn FrameSink>) -> Result<Client> {
    let media = Media { video_in: Some(sink), audio_in: options.audio.clone(), ..Media::default() };
    Client::start(url, options, media)
}

/// A running publisher or player.
///
/// It is [`Connecting`](PeerState::Connecting) until its first connection is up, however often it tries; `Connected` while
/// one is; [`Disconnected`](PeerState::Disconnected) while one is lost and the next is being made;
/// [`Failed`](PeerState::Failed) once it has given up, as after an answer that another attempt would not change; and
/// [`Closed`](PeerState::Closed) once it was stopped. Dropping it stops it.
///
/// With [`IceTransportPolicy::Relay`](super::peer::IceTransportPolicy::Relay) and no TURN server in its options, it asks
/// the server for one (`OPTIONS`), and gives up with `InvalidArgument` if the server names none.
#[derive(Debug)]
pub struct Client {
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Client {
    fn start(url: &str, options: ClientOptions, mut media: Media) -> Result<Self> {
        media.channel.clone_from(&options.channel);
        let wire = Wire::new(url, options.token.as_deref(), options.request_timeout)?;
        let no_thread = |error| Error::new(ErrorKind::Device, "failed to start a thread").with_source(error);
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime =
            runtime.worker_threads(1).thread_name("dreamframe-client").enable_all().build().map_err(no_thread)?;
        let (stop, stopped) = watch::channel(false);
        let shared = Arc::new(Shared::new());
        let worker = Worker::new(url, options, media, wire, shared.clone(), stopped);
        let end = EndOfThread(shared.clone());
        let thread = std::thread::Builder::new().name("dreamframe-client".into()).spawn(move || {
            let _end = end;
            runtime.block_on(worker.run());
            // Does not wait for a request that hangs.
            runtime.shutdown_background();
        });
        Ok(Self { shared, stop, thread: Mutex::new(Some(thread.map_err(no_thread)?)) })
    }

    /// Returns the state of the client.
    pub fn state(&self) -> PeerState {
        self.shared.state()
    }

    /// Waits until the client is in `state`.
    ///
    /// # Errors
    ///
    /// `Timeout`; `Closed` if the client ends in another state. The cause is the last failure, if there is one.
    pub fn wait_for(&self, state: PeerState, timeout: Duration) -> Result<()> {
        self.shared.wait_for(state, timeout)
    }

    /// Returns what happens, oldest first.
    pub fn events(&self) -> ClientEvents {
        ClientEvents::new(self.shared.clone())
    }

    /// Returns the last failure, if there is one.
    pub fn trouble(&self) -> Option<Arc<Error>> {
        self.shared.trouble()
    }

    /// Returns the URL at which the publication can be watched, once a server has sent one.
    pub fn playback_url(&self) -> Option<String> {
        self.shared.playback_url()
    }

    /// Returns the statistics of the connection, while there is one.
    pub fn stats(&self) -> Option<PeerStats> {
        self.shared.peer().map(|peer| peer.stats())
    }

    /// Ends the session on the server (`DELETE`) and the connection, and waits until both have ended, for some seconds at
    /// most. Stopping has no effect if repeated. Must not be called from callbacks of the client, such as its sink.
    pub fn stop(&self) {
        self.stop.send_replace(true);
        // Concurrent callers wait, too.
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(thread) = thread.take() {
            // A panic of the thread is in the state.
            let _ = thread.join();
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Ends waiting for a thread that has panicked.
struct EndOfThread(Arc<Shared>);

impl Drop for EndOfThread {
    fn drop(&mut self) {
        if !self.0.state().is_over() {
            self.0.set_state(PeerState::Failed);
        }
    }
}
