//! Pushes a stream to a service, and reconnects until it is stopped.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use dreamframe::frame::Timestamp;
use dreamframe::transport::{AccessUnit, VideoCodec, now};
use futures_util::FutureExt as _;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::RtmpError;
use super::push_to::PushTo;
use super::socket::{self, Socket};
use super::subscriber::{PushedSound, Subscriber};
use super::target::Target;
use crate::outputs::Source;
use crate::sound::Sound;

/// The longest time for a service to accept the connection, or data.
const PATIENCE: Duration = Duration::from_secs(10);

/// The longest time for the service to read the rest at the end.
const LINGER: Duration = Duration::from_secs(1);

/// The interval of key frames; services require two to four seconds.
const KEY_FRAMES: Duration = Duration::from_secs(2);

/// The pause before the next attempt: doubled each time, and longest if no service has answered yet.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(30);
const LONGEST_WAIT_FOR_NOBODY: Duration = Duration::from_secs(120);

/// The most packets of sound that wait for their time: more than three seconds of 10 ms.
const MOST_SOUNDS: usize = 400;

/// Called with the reason for which pushing fails, or with the sound that the service gets when it works.
pub(crate) type Report = Arc<dyn Fn(Result<PushedSound, String>) + Send + Sync>;

/// A push of a stream to a service. Dropping it ends it gracefully, in the background.
pub(crate) struct Push {
    _stop: watch::Sender<()>,
}

impl fmt::Debug for Push {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Push").finish_non_exhaustive()
    }
}

impl Push {
    /// Starts to push.
    ///
    /// Connects only to addresses in `allowed`. All failures before the service's handshake are reported with the same
    /// message, so that clients cannot probe the host's network.
    pub(crate) fn start(target: Target, source: Source, allowed: Arc<PushTo>, report: Report) -> Self {
        let (stop, stopped) = watch::channel(());
        tokio::spawn(run(target, source, allowed, report, stopped));
        Self { _stop: stop }
    }
}

/// The reason for ending a connection.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("pushing by RTMP fails: no RTMP service answers there, or --push-to does not allow its address")]
    NoService(#[source] Box<Ended>),
    #[error("pushing by RTMP fails: {0}")]
    Protocol(#[from] RtmpError),
    #[error("pushing by RTMP fails: {0}")]
    Network(#[from] io::Error),
    #[error("pushing by RTMP fails: the service does not answer")]
    Silent,
    #[error("pushing by RTMP fails: the service closed the connection")]
    Closed,
    #[error("pushing by RTMP fails: {0}")]
    Video(#[from] dreamframe::Error),
    #[error("pushing by RTMP fails: it panicked")]
    Panicked,
}

async fn run(target: Target, source: Source, allowed: Arc<PushTo>, report: Report, mut stopped: watch::Receiver<()>) {
    let mut wait = FIRST_WAIT;
    loop {
        let began = Instant::now();
        let ended = tokio::select! {
            ended = AssertUnwindSafe(connection(&target, &source, &allowed, &report, stopped.clone())).catch_unwind() => {
                ended.unwrap_or(Err(Ended::Panicked))
            }
            // A stuck connection is aborted soon after the stream has ended.
            () = until_stopped_and(&mut stopped, LINGER * 3) => return,
        };
        let Err(error) = ended else { return };
        let (cause, longest) = if let Ended::NoService(cause) = &error {
            (&**cause, LONGEST_WAIT_FOR_NOBODY)
        } else {
            (&error, LONGEST_WAIT)
        };
        tracing::warn!(?target, error = %cause, "pushing failed; retrying");
        report(Err(error.to_string()));
        // After a connection that lasted for a while, the next attempt is quick.
        wait = if began.elapsed() > LONGEST_WAIT { FIRST_WAIT } else { wait };
        if timeout(wait, stopped.changed()).await.is_ok() {
            return;
        }
        wait = (wait * 2).min(longest);
    }
}

/// Waits until pushing is stopped, and for `more` after that.
async fn until_stopped_and(stopped: &mut watch::Receiver<()>, more: Duration) {
    // Nothing is sent: the sender is only dropped.
    let _ = stopped.changed().await;
    tokio::time::sleep(more).await;
}

/// Pushes over one connection; returns without an error when it is stopped, or the stream ends.
async fn connection(
    target: &Target,
    source: &Source,
    allowed: &PushTo,
    report: &Report,
    mut stopped: watch::Receiver<()>,
) -> Result<(), Ended> {
    let no_service = |error| Ended::NoService(Box::new(error));
    let mut connection = Connection::connect(target, allowed).await.map_err(no_service)?;
    let deadline = Instant::now() + PATIENCE;
    while !connection.subscriber.is_ready() {
        let before = connection.greeted;
        let reading = async {
            connection.flush().await?;
            timeout_at(deadline, connection.read()).await.map_err(|_| Ended::Silent)?
        };
        tokio::select! {
            reading = reading => reading.map_err(|error| if before { error } else { no_service(error) })?,
            _ = stopped.changed() => return Ok(()),
        }
    }
    tracing::info!(?target, "pushing started");
    send(&mut connection, source, report, &mut stopped).await?;
    connection.finish().await;
    Ok(())
}

/// Sends pictures and sound, until it is stopped or the stream ends.
async fn send(
    connection: &mut Connection,
    source: &Source,
    report: &Report,
    stopped: &mut watch::Receiver<()>,
) -> Result<(), Ended> {
    let (mut pictures, mut sounds) = source.subscribe()?;
    let mut timing = Timing::default();
    let mut key = Instant::now();
    let mut reported = None;
    loop {
        let pushed = connection.subscriber.pushed_sound(timing.millis(now()));
        if reported != Some(pushed) {
            reported = Some(pushed);
            report(Ok(pushed));
        }
        connection.flush().await?;
        let due = timing.due();
        tokio::select! {
            unit = pictures.next() => {
                let Some(unit) = unit else { return Ok(()) };
                if unit.key {
                    key = Instant::now();
                } else if key.elapsed() >= KEY_FRAMES {
                    source.egress.request_key_frame(VideoCodec::H264);
                }
                timing.sounds_until(unit.at, &mut connection.subscriber);
                timing.picture(&unit, source, &mut connection.subscriber)?;
            }
            sound = sounds.next() => timing.put(sound),
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                timing.sounds_until(now(), &mut connection.subscriber);
            }
            read = connection.read() => read?,
            _ = stopped.changed() => return Ok(()),
        }
    }
}

/// The times of what is sent, from the first picture on, and the sound that waits for its time.
#[derive(Debug, Default)]
struct Timing {
    first: Option<Timestamp>,
    waiting: VecDeque<Sound>,
}

impl Timing {
    /// Returns the time of RTMP, which wraps after 49 days.
    fn millis(&self, at: Timestamp) -> u32 {
        let first = self.first.unwrap_or(at);
        (at.0.saturating_sub(first.0) / 1_000_000) as u32
    }

    /// Adds a packet; beyond the maximum, the oldest is dropped.
    fn put(&mut self, sound: Sound) {
        if self.waiting.len() == MOST_SOUNDS {
            self.waiting.pop_front();
        }
        self.waiting.push_back(sound);
    }

    /// Returns when the next packet is to be sent.
    fn due(&self) -> Option<Instant> {
        self.waiting.front().map(|sound| Instant::now() + sound.at().since(now()))
    }

    /// Sends the sound until `at`; sound before the first picture is dropped.
    fn sounds_until(&mut self, at: Timestamp, subscriber: &mut Subscriber) {
        while let Some(sound) = self.waiting.pop_front_if(|sound| sound.at() <= at) {
            if self.first.is_none_or(|first| sound.at() >= first) {
                subscriber.sound(&sound.format, &sound.data, self.millis(sound.at()));
            }
        }
    }

    fn picture(&mut self, unit: &AccessUnit, source: &Source, subscriber: &mut Subscriber) -> Result<(), Ended> {
        self.first.get_or_insert(unit.at);
        subscriber.picture(&unit.data, unit.key, self.millis(unit.at), source.sound.aac())?;
        Ok(())
    }
}

/// A connection to a service.
struct Connection {
    socket: Box<dyn Socket>,
    subscriber: Subscriber,
    bytes: Vec<u8>,
    // Whether the service has completed its part of the handshake.
    greeted: bool,
}

impl Connection {
    async fn connect(target: &Target, allowed: &PushTo) -> Result<Self, Ended> {
        let socket = timeout(PATIENCE, socket::connect(target, allowed)).await.map_err(|_| Ended::Silent)??;
        Ok(Self { socket, subscriber: Subscriber::new(target.clone()), bytes: vec![0; 8 << 10], greeted: false })
    }

    /// Reads once. Cancel-safe: it has either read something or not.
    async fn read(&mut self) -> Result<(), Ended> {
        let len = self.socket.read(&mut self.bytes).await?;
        if len == 0 {
            return Err(Ended::Closed);
        }
        self.greeted |= self.subscriber.push(self.bytes.get(..len).unwrap_or_default())?;
        Ok(())
    }

    /// Sends pending bytes. Must not be cancelled: a partial message breaks all that follow.
    async fn flush(&mut self) -> Result<(), Ended> {
        let output = self.subscriber.take_output();
        if !output.is_empty() {
            timeout(PATIENCE, self.socket.write_all(&output)).await.map_err(|_| Ended::Silent)??;
        }
        Ok(())
    }

    /// Announces the end, and waits for the service to read the data in flight.
    async fn finish(mut self) {
        self.subscriber.end();
        let _ = timeout(LINGER, async {
            self.flush().await?;
            self.socket.shutdown().await?;
            while self.socket.read(&mut self.bytes).await? > 0 {}
            Ok::<(), Ended>(())
        })
        .await;
    }
}
