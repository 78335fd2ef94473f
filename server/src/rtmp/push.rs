//! Pushes a stream to a service, and reconnects until it is stopped.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use dreamframe::transport::{Egress, VideoCodec};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};

use super::RtmpError;
use super::push_to::PushTo;
use super::subscriber::Subscriber;
use super::target::Target;

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

/// Called with the reason for which pushing fails, or with `None` when it works.
pub(crate) type Report = Arc<dyn Fn(Option<String>) + Send + Sync>;

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
    pub(crate) fn start(target: Target, egress: Egress, allowed: Arc<PushTo>, report: Report) -> Self {
        let (stop, stopped) = watch::channel(());
        tokio::spawn(run(target, egress, allowed, report, stopped));
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
}

async fn run(target: Target, egress: Egress, allowed: Arc<PushTo>, report: Report, mut stopped: watch::Receiver<()>) {
    let mut wait = FIRST_WAIT;
    loop {
        let began = Instant::now();
        let ended = tokio::select! {
            ended = connection(&target, &egress, &allowed, &report, stopped.clone()) => ended,
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
        report(Some(error.to_string()));
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
    egress: &Egress,
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
    let mut subscription = egress.subscribe(VideoCodec::H264)?;
    report(None);
    tracing::info!(?target, "pushing started");
    let (mut first, mut key) = (None, Instant::now());
    loop {
        connection.flush().await?;
        tokio::select! {
            unit = subscription.next() => {
                let Some(unit) = unit else { break };
                if unit.key {
                    key = Instant::now();
                } else if key.elapsed() >= KEY_FRAMES {
                    egress.request_key_frame(VideoCodec::H264);
                }
                let nanos = unit.at.0.saturating_sub(first.get_or_insert(unit.at).0);
                // Wraps after 49 days, as RTMP's times do.
                connection.subscriber.picture(&unit.data, unit.key, (nanos / 1_000_000) as u32)?;
            }
            read = connection.read() => read?,
            _ = stopped.changed() => break,
        }
    }
    connection.finish().await;
    Ok(())
}

/// A connection to a service.
struct Connection {
    socket: TcpStream,
    subscriber: Subscriber,
    bytes: Vec<u8>,
    // Whether the service has completed its part of the handshake.
    greeted: bool,
}

impl Connection {
    async fn connect(target: &Target, allowed: &PushTo) -> Result<Self, Ended> {
        let connect = async { TcpStream::connect(&*allowed.resolve(target).await?).await };
        let socket = timeout(PATIENCE, connect).await.map_err(|_| Ended::Silent)??;
        let _ = socket.set_nodelay(true);
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
