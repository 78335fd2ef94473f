//! RTMP listener: accepts connections of publishers.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dreamframe::transport::{AccessUnit, now};
use rustls::ServerConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::RtmpError;
use super::flv::{AudioReader, FlvError, VideoReader};
use super::publisher::{Event, Publisher};
use super::socket::{self, Socket};
use super::waiting::{Waiting, WaitingPermit};
use crate::sound::{self, OPUS_RATE};

/// Authenticates publishers.
pub(crate) trait Authenticator: Send + Sync + fmt::Debug {
    /// Accepts a publisher with this key; `None` if no stream has it.
    fn admit(&self, key: &str) -> Option<Box<dyn Publication>>;
}

/// A publication to a stream, until this is dropped.
pub(crate) trait Publication: Send + Sync + fmt::Debug {
    /// Receives an encoded picture. Must not block.
    fn access_unit(&self, unit: AccessUnit);

    /// Receives a packet of sound. Must not block.
    fn sound(&self, packet: sound::Packet);

    /// Waits until the publisher must disconnect: another replaced it, or the stream ended.
    fn revoked(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

/// The limits of a peer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Maximum number of connections without a known key. There is one further connection per stream with a key.
    pub(crate) waiting: usize,
    /// The same for one address, or one IPv6 network (`/64`).
    pub(crate) waiting_per_address: usize,
    /// Timeout from the connection to the end of the handshake.
    pub(crate) handshake: Duration,
    /// Timeout from the connection to a known key.
    pub(crate) admission: Duration,
    /// Timeout without a byte.
    pub(crate) idle: Duration,
    /// The longest time without a message of video or audio, once a key was accepted.
    pub(crate) silence: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            waiting: 64,
            waiting_per_address: 8,
            handshake: Duration::from_secs(5),
            admission: Duration::from_secs(10),
            idle: Duration::from_secs(15),
            silence: Duration::from_secs(30),
        }
    }
}

/// Bytes per read.
const READ: usize = 32 << 10;

/// Accepts publishers, by TLS if there is a certificate, until it is dropped, which ends their connections.
pub(crate) async fn listen(
    authenticator: Arc<dyn Authenticator>,
    listener: &TcpListener,
    tls: Option<Arc<ServerConfig>>,
    limits: Limits,
) {
    let waiting = Waiting::new(limits.waiting, limits.waiting_per_address);
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        let (socket, from) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // For instance without file descriptors: others will be closed.
                tracing::warn!(%error, "an RTMP connection cannot be accepted");
                sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let place = match waiting.enter(from.ip()) {
            Ok(place) => place,
            Err(reason) => {
                tracing::debug!(%from, reason, "an RTMP connection is refused");
                continue;
            }
        };
        let (authenticator, tls) = (Arc::clone(&authenticator), tls.clone());
        connections.spawn(async move {
            match serve(&*authenticator, (socket, tls), (from, place), limits).await {
                Ok(()) => tracing::debug!(%from, "an RTMP connection ends"),
                Err(error) => tracing::info!(%from, %error, "an RTMP connection ends"),
            }
        });
    }
}

/// The reason why a connection ends before its publisher closes it.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error(transparent)]
    Protocol(#[from] RtmpError),
    #[error(transparent)]
    Network(#[from] io::Error),
    #[error("the peer sent no data within the time limit")]
    Idle,
    #[error("another publisher replaced it, or the stream ended")]
    Revoked,
    #[error("no stream has this key")]
    UnknownKey,
    #[error(transparent)]
    Video(#[from] FlvError),
}

async fn serve(
    authenticator: &dyn Authenticator,
    (socket, tls): (TcpStream, Option<Arc<ServerConfig>>),
    from: (SocketAddr, WaitingPermit),
    limits: Limits,
) -> Result<(), Ended> {
    let accepting = timeout(limits.handshake.min(limits.admission), socket::accept(socket, tls));
    let mut socket = accepting.await.map_err(|_| Ended::Idle)??;
    let mut publisher = Publisher::new();
    let result = converse(authenticator, &mut socket, &mut publisher, from, limits).await;
    let reason = match &result {
        Err(Ended::UnknownKey | Ended::Revoked | Ended::Video(_)) => result.as_ref().err().map(ToString::to_string),
        _ => None,
    };
    if let Some(reason) = reason {
        publisher.refuse(&reason);
    }
    // Closing with unread data would discard the answer, so some of the data is read.
    let _ = timeout(Duration::from_secs(1), async {
        socket.write_all(&publisher.take_output()).await?;
        socket.shutdown().await?;
        let mut rest = [0; 4096];
        while socket.read(&mut rest).await? > 0 {}
        io::Result::Ok(())
    })
    .await;
    result
}

async fn converse(
    authenticator: &dyn Authenticator,
    socket: &mut Box<dyn Socket>,
    publisher: &mut Publisher,
    (from, place): (SocketAddr, WaitingPermit),
    limits: Limits,
) -> Result<(), Ended> {
    let (began, mut place, mut greeted) = (Instant::now(), Some(place), false);
    let mut stream: Option<Stream> = None;
    let mut bytes = vec![0; READ];
    loop {
        timeout(limits.idle, socket.write_all(&publisher.take_output())).await.map_err(|_| Ended::Idle)??;
        let until = match &stream {
            Some(stream) => (Instant::now() + limits.idle).min(stream.last_media + limits.silence),
            None => began + if greeted { limits.admission } else { limits.handshake.min(limits.admission) },
        };
        let revoked = async {
            match &stream {
                Some(stream) => stream.publication.revoked().await,
                None => std::future::pending().await,
            }
        };
        let len = tokio::select! {
            read = timeout_at(until, socket.read(&mut bytes)) => read.map_err(|_| Ended::Idle)??,
            () = revoked => return Err(Ended::Revoked),
        };
        if len == 0 {
            return Ok(());
        }
        greeted |= publisher.push(bytes.get(..len).unwrap_or_default())?;
        while let Some(event) = publisher.next()? {
            match (event, &mut stream) {
                (Event::Wants(key), None) => {
                    let publication = authenticator.admit(&key).ok_or(Ended::UnknownKey)?;
                    publisher.accept();
                    tracing::info!(%from, "a stream is published by RTMP");
                    // Frees the permit for further connections of its address.
                    drop(place.take());
                    let (video, audio) = (VideoReader::default(), AudioReader::default());
                    let last_media = Instant::now();
                    stream = Some(Stream { publication, video, audio, is_audio_refused: false, last_media });
                }
                (Event::Video(tag), Some(stream)) => stream.video(&tag)?,
                (Event::Audio(tag, time), Some(stream)) => stream.audio(&tag, time, from),
                (Event::Ended, _) => return Ok(()),
                (Event::Wants(_) | Event::Video(_) | Event::Audio(..), _) => {}
            }
        }
    }
}

/// The state of a publication.
struct Stream {
    publication: Box<dyn Publication>,
    video: VideoReader,
    audio: AudioReader,
    // Whether the log has the reason.
    is_audio_refused: bool,
    // The time of the last message of video or audio.
    last_media: Instant,
}

impl Stream {
    fn video(&mut self, tag: &[u8]) -> Result<(), FlvError> {
        self.last_media = Instant::now();
        match self.video.read(tag) {
            Ok(Some(picture)) => {
                self.publication.access_unit(AccessUnit::new(picture.data, picture.key, now()));
                Ok(())
            }
            Ok(None) => Ok(()),
            // The next picture may be complete; an unsupported codec does not change.
            Err(error @ FlvError::Broken) => {
                tracing::debug!(%error, "a picture is skipped");
                Ok(())
            }
            Err(error @ (FlvError::OtherCodec | FlvError::ParameterSets)) => Err(error),
        }
    }

    fn audio(&mut self, tag: &Bytes, time: u32, from: SocketAddr) {
        self.last_media = Instant::now();
        match self.audio.read(tag) {
            Ok(Some((format, data))) => {
                // Both clocks wrap, at the same time.
                let timestamp = time.wrapping_mul(OPUS_RATE / 1000);
                self.publication.sound(sound::Packet { format, data, timestamp, at: now() });
            }
            Ok(None) => {}
            Err(error) => {
                if !std::mem::replace(&mut self.is_audio_refused, true) {
                    tracing::info!(%from, %error, "the publisher's audio is dropped");
                }
            }
        }
    }
}
