//! Limits of incoming connections: their number, in all and from one address, and the time for which a peer may leave a
//! response unread. Timeouts of requests are those of the HTTP server and the handlers.

use std::collections::HashMap;
use std::future::{Ready, ready};
use std::io::{self, IoSlice};
use std::net::{IpAddr, Ipv6Addr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum_server::accept::Accept;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep};

/// The longest time in which a connection may accept no bytes.
const LONGEST_BLOCK: Duration = Duration::from_secs(20);
/// The least bytes per second that a connection must accept while more are waiting.
const SLOWEST: u32 = 8 * 1024;

/// The limit of connections.
#[derive(Debug)]
pub(crate) struct ConnectionLimit {
    most: usize,
    /// The number of connections of each address.
    taken: Mutex<HashMap<IpAddr, usize>>,
}

/// The permit of one connection, released on drop.
#[derive(Debug)]
struct ConnectionPermit {
    places: Arc<ConnectionLimit>,
    from: IpAddr,
}

impl ConnectionLimit {
    /// Creates `most` permits, at most half of which may be used by one address.
    pub(crate) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, taken: Mutex::default() })
    }

    /// Takes a permit, if one is available.
    fn take(self: &Arc<Self>, from: IpAddr) -> Option<ConnectionPermit> {
        let from = network(from);
        let mut taken = self.taken();
        let (all, of_one) = (taken.values().sum::<usize>(), taken.get(&from).copied().unwrap_or(0));
        if all >= self.most || of_one >= self.most.div_ceil(2) {
            return None;
        }
        taken.insert(from, of_one + 1);
        drop(taken);
        Some(ConnectionPermit { places: self.clone(), from })
    }

    fn taken(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        match taken.get_mut(&self.from) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(taken.remove(&self.from)),
        }
    }
}

/// The unit that counts as one address: for IPv6, a network of 64 bits, which a single machine may own.
fn network(from: IpAddr) -> IpAddr {
    match from.to_canonical() {
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX)).into(),
        ip @ IpAddr::V4(_) => ip,
    }
}

/// Accepts connections while permits are available.
#[derive(Debug, Clone)]
pub(crate) struct Limited(pub(crate) Arc<ConnectionLimit>);

impl<S> Accept<TcpStream, S> for Limited {
    type Stream = Connection;
    type Service = S;
    type Future = Ready<io::Result<(Connection, S)>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        let connection = stream.peer_addr().and_then(|from| {
            let place = self.0.take(from.ip()).ok_or_else(|| {
                tracing::debug!(%from, limit = self.0.most, "a connection is refused: too many");
                io::Error::new(io::ErrorKind::QuotaExceeded, "too many connections")
            })?;
            Ok(Connection { stream, patience: WriteBudget::new(), _place: place })
        });
        ready(connection.map(|connection| (connection, service)))
    }
}

/// A connection that is closed if its peer does not read.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    patience: WriteBudget,
    _place: ConnectionPermit,
}

/// The time for which a peer may still accept nothing: waiting spends it, accepted bytes earn it.
#[derive(Debug)]
struct WriteBudget {
    left: Duration,
    /// Since when no bytes were accepted.
    since: Option<Instant>,
    end: Pin<Box<Sleep>>,
}

impl WriteBudget {
    fn new() -> Self {
        Self { left: LONGEST_BLOCK, since: None, end: Box::pin(sleep(LONGEST_BLOCK)) }
    }

    /// Accounts for the result of a write.
    ///
    /// # Errors
    ///
    /// `TimedOut` if the peer accepted too little for too long.
    fn follow(&mut self, context: &mut Context<'_>, written: &Poll<io::Result<usize>>) -> io::Result<()> {
        match written {
            Poll::Ready(Ok(bytes)) => {
                let waited = self.since.take().map_or(Duration::ZERO, |since| since.elapsed());
                let earned = Duration::from_secs(1).saturating_mul(u32::try_from(*bytes).unwrap_or(u32::MAX)) / SLOWEST;
                self.left = self.left.saturating_sub(waited).saturating_add(earned).min(LONGEST_BLOCK);
                Ok(())
            }
            Poll::Ready(Err(_)) => Ok(()),
            Poll::Pending => {
                if self.since.is_none() {
                    let now = Instant::now();
                    self.since = Some(now);
                    self.end.as_mut().reset(now + self.left);
                }
                match self.end.as_mut().poll(context) {
                    Poll::Ready(()) => Err(io::Error::new(io::ErrorKind::TimedOut, "the peer does not read")),
                    Poll::Pending => Ok(()),
                }
            }
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.patience.follow(context, &written)?;
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, bytes);
        self.patience.follow(context, &written)?;
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn places_are_counted_in_all_and_by_address_and_come_back() {
        let places = ConnectionLimit::new(4);
        let mut held = vec![places.take(ip("10.0.0.1")).unwrap(), places.take(ip("10.0.0.1")).unwrap()];
        assert!(places.take(ip("10.0.0.1")).is_none() && places.take(ip("::ffff:10.0.0.1")).is_none());
        held.push(places.take(ip("2001:db8::1")).unwrap());
        held.push(places.take(ip("2001:db8::2:1")).unwrap());
        assert!(places.take(ip("10.0.0.2")).is_none(), "there are four");
        drop(held.remove(0));
        // One more of that IPv6 network would be its third.
        assert!(places.take(ip("2001:db8::3")).is_none());
        held.push(places.take(ip("2001:db8:0:1::1")).unwrap());
        held.clear();
        assert!(places.taken().is_empty());
        let one = ConnectionLimit::new(1);
        assert!(one.take(ip("10.0.0.1")).is_some() && one.take(ip("10.0.0.2")).is_some());
    }

    #[test]
    fn a_peer_that_takes_too_little_for_too_long_is_given_up() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let _entered = runtime.enter();
        let mut context = Context::from_waker(std::task::Waker::noop());
        let mut patience = WriteBudget::new();
        let mut write = |waited: u64, bytes: usize| {
            // As if it had waited this long.
            patience.since = (waited > 0).then(|| Instant::now().checked_sub(Duration::from_secs(waited)).unwrap());
            patience.follow(&mut context, &Poll::Ready(Ok(bytes))).unwrap();
            patience.left.as_secs_f64().round()
        };
        assert_eq!(write(0, 1 << 20), 20.0);
        assert_eq!(write(5, 0), 15.0);
        assert_eq!(write(1, 2 * 8192), 16.0);
        assert_eq!(write(4, 4 * 8192), 16.0, "what is just fast enough may go on");
        assert_eq!(write(15, 8), 1.0);
        assert_eq!(write(9, 8), 0.0);
        assert!(runtime.block_on(std::future::poll_fn(|context| {
            match patience.follow(context, &Poll::Pending) {
                Err(error) => Poll::Ready(error.kind() == io::ErrorKind::TimedOut),
                Ok(()) => Poll::Pending,
            }
        })));
    }
}
