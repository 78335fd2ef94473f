//! The sockets of connections, which follow the address of the peer.

use std::future::Future;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use webrtc::runtime::{
    AsyncInterval, AsyncTcpListener, AsyncTcpStream, AsyncUdpSocket, JoinHandle, RecvMeta, Runtime, TokioRuntime,
    Transmit,
};

use super::peer_address::PeerAddress;

type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The runtime of connections: tokio's, with sockets that follow the address of the peer.
#[derive(Debug)]
pub(super) struct FollowingRuntime(TokioRuntime);

impl FollowingRuntime {
    pub(super) fn new() -> Self {
        Self(TokioRuntime)
    }
}

impl Runtime for FollowingRuntime {
    fn spawn(&self, future: Boxed<'static, ()>) -> Box<dyn JoinHandle> {
        self.0.spawn(future)
    }

    fn spawn_reactor(&self, reactor_pool_size: usize, future: Boxed<'static, ()>) -> Box<dyn JoinHandle> {
        self.0.spawn_reactor(reactor_pool_size, future)
    }

    fn wrap_udp_socket(&self, socket: std::net::UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        let socket = self.0.wrap_udp_socket(socket)?;
        Ok(Arc::new(FollowingSocket { socket, peer: Mutex::default() }))
    }

    fn wrap_tcp_listener(&self, listener: std::net::TcpListener) -> io::Result<Arc<dyn AsyncTcpListener>> {
        self.0.wrap_tcp_listener(listener)
    }

    fn connect_tcp<'a>(&'a self, remote_addr: SocketAddr) -> Boxed<'a, io::Result<Arc<dyn AsyncTcpStream>>> {
        self.0.connect_tcp(remote_addr)
    }

    fn resolve_host<'a>(&'a self, host: &'a str) -> Boxed<'a, io::Result<Vec<SocketAddr>>> {
        self.0.resolve_host(host)
    }

    fn now(&self) -> Instant {
        self.0.now()
    }

    fn sleep(&self, duration: Duration) -> Boxed<'static, ()> {
        self.0.sleep(duration)
    }

    fn interval(&self, period: Duration) -> Box<dyn AsyncInterval> {
        self.0.interval(period)
    }

    fn block_on(&self, future: Pin<Box<dyn Future<Output = ()> + '_>>) {
        self.0.block_on(future);
    }

    fn yield_now(&self) -> Boxed<'static, ()> {
        self.0.yield_now()
    }

    fn name(&self) -> &'static str {
        self.0.name()
    }
}

/// A socket that translates the addresses of its peer.
#[derive(Debug)]
struct FollowingSocket {
    socket: Arc<dyn AsyncUdpSocket>,
    peer: Mutex<PeerAddress>,
}

impl FollowingSocket {
    /// A panic while it was locked leaves it consistent.
    fn lock(&self) -> MutexGuard<'_, PeerAddress> {
        self.peer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsyncUdpSocket for FollowingSocket {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    fn poll_send(&self, cx: &mut Context<'_>, transmit: &Transmit<'_>) -> Poll<io::Result<usize>> {
        // The first datagram of several: those that are sent together are of one kind.
        let destination = self.lock().sent(transmit.destination, transmit.contents, Instant::now());
        self.socket.poll_send(cx, &Transmit { destination, ..transmit.clone() })
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let received = self.socket.poll_recv(cx, bufs, meta);
        if let Poll::Ready(Ok(count)) = received {
            let (mut peer, now) = (self.lock(), Instant::now());
            for (buffer, meta) in bufs.iter().zip(meta).take(count) {
                let bytes = buffer.get(..meta.len).unwrap_or_default();
                let from = meta.addr;
                // Received together, they are of one sender. An empty datagram is none of a connection.
                for datagram in bytes.chunks(meta.stride.max(1)) {
                    meta.addr = peer.received(from, datagram, now);
                }
            }
        }
        received
    }

    fn max_gso_segments(&self) -> usize {
        self.socket.max_gso_segments()
    }

    fn max_gro_segments(&self) -> usize {
        self.socket.max_gro_segments()
    }
}
