//! A link that delays and loses packets: what one end sends to it reaches the other, or does not.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

/// How often a thread that receives looks whether it is still wanted.
const LOOK: Duration = Duration::from_millis(50);
/// More than a packet has.
const LONGEST: usize = 2048;

/// What the links of a proxy do to packets, each way; can change at any time. At first, nothing.
#[derive(Debug, Default)]
pub struct Conditions {
    loss: AtomicU32,
    delay_us: AtomicU64,
    is_dark: AtomicBool,
    passed: AtomicU64,
    lost: AtomicU64,
    pub(super) is_over: AtomicBool,
}

impl Conditions {
    /// Drops this many of a thousand packets.
    pub fn set_loss(&self, per_mille: u32) {
        self.loss.store(per_mille, Ordering::Relaxed);
    }

    /// Holds every packet for so long.
    pub fn set_delay(&self, delay: Duration) {
        self.delay_us.store(u64::try_from(delay.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Loses every packet, or no longer does.
    pub fn set_dark(&self, is_dark: bool) {
        self.is_dark.store(is_dark, Ordering::Relaxed);
    }

    /// Returns how many packets were passed on, and how many were lost.
    pub fn counts(&self) -> (u64, u64) {
        (self.passed.load(Ordering::Relaxed), self.lost.load(Ordering::Relaxed))
    }

    fn loses(&self, random: &mut Random) -> bool {
        let is_lost = random.below(1000) < self.loss.load(Ordering::Relaxed) || self.is_dark.load(Ordering::Relaxed);
        if is_lost { &self.lost } else { &self.passed }.fetch_add(1, Ordering::Relaxed);
        is_lost
    }

    fn delay(&self) -> Duration {
        Duration::from_micros(self.delay_us.load(Ordering::Relaxed))
    }
}

/// Where two ends that do not know each other's addresses send to.
pub(super) struct Relay {
    /// Where the client sends to and is sent from.
    near: UdpSocket,
    /// Where the server does.
    far: UdpSocket,
}

impl Relay {
    pub(super) fn bind() -> io::Result<Self> {
        let bind = || {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
            socket.set_read_timeout(Some(LOOK)).map(|()| socket)
        };
        Ok(Self { near: bind()?, far: bind()? })
    }

    /// The addresses to give the client and the server.
    pub(super) fn addresses(&self) -> io::Result<(SocketAddr, SocketAddr)> {
        Ok((self.near.local_addr()?, self.far.local_addr()?))
    }

    /// Passes packets on between `client` and `server` until the conditions are over, on threads of its own.
    pub(super) fn run(
        self,
        (client, server): (SocketAddr, SocketAddr),
        conditions: &Arc<Conditions>,
        seed: u64,
    ) -> io::Result<()> {
        let (near, far) = (self.near.try_clone()?, self.far.try_clone()?);
        pass_on(self.near, (far, server), conditions.clone(), Random(seed));
        pass_on(self.far, (near, client), conditions.clone(), Random(!seed));
        Ok(())
    }
}

/// One way.
fn pass_on(from: UdpSocket, (by, to): (UdpSocket, SocketAddr), conditions: Arc<Conditions>, mut random: Random) {
    let (held, holds): (Sender<(Instant, Vec<u8>)>, Receiver<_>) = mpsc::channel();
    thread::spawn(move || {
        let mut packet = [0; LONGEST];
        while !conditions.is_over.load(Ordering::Relaxed) {
            let Ok((length, _)) = from.recv_from(&mut packet) else { continue };
            let due = Instant::now() + conditions.delay();
            if !conditions.loses(&mut random) && held.send((due, packet[..length].to_vec())).is_err() {
                return;
            }
        }
    });
    thread::spawn(move || {
        for (due, packet) in holds {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            // A packet without a receiver counts as lost.
            let _ = by.send_to(&packet, to);
        }
    });
}

/// Numbers that are the same for the same seed.
pub(super) struct Random(u64);

impl Random {
    fn below(&mut self, bound: u32) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed >> 32) as u32) % bound
    }
}
