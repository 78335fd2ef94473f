//! Limits connections in number and time, so that idle or slow ones cannot exclude others.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Sleep, sleep};

/// Maximum number of connections; further ones wait.
const CONNECTIONS: usize = 256;
/// The maximum duration of a connection, which carries one short request.
const LIFE: Duration = Duration::from_secs(20);
/// The pause when the system has no resources for another connection.
const NO_ROOM: Duration = Duration::from_millis(200);

/// A listener that limits connections.
pub(super) struct ConnectionLimiter {
    listener: TcpListener,
    room: Arc<Semaphore>,
}

/// A connection with a deadline.
pub(super) struct LimitedConnection {
    stream: TcpStream,
    end: Pin<Box<Sleep>>,
    _room: Option<OwnedSemaphorePermit>,
}

impl ConnectionLimiter {
    pub(super) fn new(listener: TcpListener) -> Self {
        Self { listener, room: Arc::new(Semaphore::new(CONNECTIONS)) }
    }
}

impl Listener for ConnectionLimiter {
    type Io = LimitedConnection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (LimitedConnection, SocketAddr) {
        // The semaphore is never closed.
        let room = self.room.clone().acquire_owned().await.ok();
        loop {
            match self.listener.accept().await {
                Ok((stream, addr)) => {
                    let _ = stream.set_nodelay(true);
                    return (LimitedConnection { stream, end: Box::pin(sleep(LIFE)), _room: room }, addr);
                }
                Err(error) => {
                    tracing::debug!(%error, "a connection could not be accepted");
                    sleep(NO_ROOM).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

impl LimitedConnection {
    /// Fails after the connection's deadline.
    fn check(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        match self.end.as_mut().poll(context) {
            Poll::Ready(()) => Err(io::Error::new(io::ErrorKind::TimedOut, "the connection has lasted too long")),
            Poll::Pending => Ok(()),
        }
    }
}

impl AsyncRead for LimitedConnection {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.check(context)?;
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl AsyncWrite for LimitedConnection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.check(context)?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
