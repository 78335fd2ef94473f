//! A link that impairs datagrams: what one end sends to it reaches the other, or does not.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::random::Random;
use super::{Conditions, Direction, Impairment};

/// How often a thread that receives checks whether it is still needed.
const LOOK: Duration = Duration::from_millis(50);
/// How often a thread checks whether it may read again.
const STALL: Duration = Duration::from_millis(5);
/// More than a packet has.
const LONGEST: usize = 2048;
/// The most recent packets that can arrive again.
const RECENT: usize = 256;
/// How much later packets arrive that are reordered, in milliseconds.
const LATE_MS: (u32, u32) = (5, 60);

/// Where two ends that do not know each other's addresses send to.
pub(super) struct Relay {
    /// Where the client sends to and is sent from.
    near: Socket,
    /// Where the server does.
    far: Socket,
}

/// A socket that another one can replace.
#[derive(Clone)]
struct Socket {
    current: Arc<Mutex<Arc<UdpSocket>>>,
}

impl Socket {
    fn bind() -> io::Result<Self> {
        Ok(Self { current: Arc::new(Mutex::new(bind()?.into())) })
    }

    fn get(&self) -> Arc<UdpSocket> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes another port; returns the previous socket.
    fn rebind(&self) -> io::Result<Arc<UdpSocket>> {
        let new = Arc::new(bind()?);
        Ok(std::mem::replace(&mut *self.current.lock().unwrap_or_else(PoisonError::into_inner), new))
    }
}

fn bind() -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.set_read_timeout(Some(LOOK)).map(|()| socket)
}

impl Relay {
    pub(super) fn bind() -> io::Result<Self> {
        Ok(Self { near: Socket::bind()?, far: Socket::bind()? })
    }

    /// The addresses to give the client and the server.
    pub(super) fn addresses(&self) -> io::Result<(SocketAddr, SocketAddr)> {
        Ok((self.near.get().local_addr()?, self.far.get().local_addr()?))
    }

    /// Passes packets on between `client` and `server` until the conditions are over, on threads of its own.
    pub(super) fn run(self, (client, server): (SocketAddr, SocketAddr), conditions: &Arc<Conditions>, seed: u64) {
        let (near, far) = (self.near.clone(), self.far.clone());
        let to_server = Way { direction: Direction::ToServer, from: near, by: far, to: server };
        let from_server = Way { direction: Direction::FromServer, from: self.far, by: self.near, to: client };
        to_server.run(conditions.clone(), seed);
        from_server.run(conditions.clone(), !seed);
    }
}

/// One direction of a link.
struct Way {
    direction: Direction,
    from: Socket,
    by: Socket,
    to: SocketAddr,
}

/// A datagram, when it arrives, and its number, which orders those of the same time.
type Due = (Instant, u64, Vec<u8>);

impl Way {
    fn run(self, conditions: Arc<Conditions>, seed: u64) {
        let Self { direction, from, by, to } = self;
        let (sender, receiver) = mpsc::channel::<Due>();
        let receiving = conditions.clone();
        thread::spawn(move || {
            let (mut packet, mut arrivals, mut number) = ([0; LONGEST], Arrivals::new(seed), 0);
            while !receiving.is_over.load(Ordering::Relaxed) {
                let socket = from.get();
                let Ok((length, _)) = socket.recv_from(&mut packet) else { continue };
                if !Arc::ptr_eq(&socket, &from.get()) {
                    // Sent to a port that has been replaced meanwhile.
                    continue;
                }
                while receiving.get(direction).stalled && !receiving.is_over.load(Ordering::Relaxed) {
                    thread::park_timeout(STALL);
                }
                let impairment = receiving.get(direction);
                let arriving = arrivals.of(&packet[..length], &impairment, Instant::now());
                count(&receiving, &arriving);
                for (due, packet) in arriving {
                    number += 1;
                    if sender.send((due, number, packet)).is_err() {
                        return;
                    }
                }
            }
        });
        thread::spawn(move || {
            let (mut rebindings, mut previous) = (conditions.rebindings(), VecDeque::new());
            deliver(&receiver, |packet| {
                let wanted = conditions.rebindings();
                if direction == Direction::ToServer && std::mem::replace(&mut rebindings, wanted) != wanted {
                    // The ports of the last few stay in use, so that no other socket receives what is sent to them.
                    previous.extend(by.rebind().ok());
                    previous.drain(..previous.len().saturating_sub(8));
                }
                // A packet without a receiver counts as lost.
                let _ = by.get().send_to(packet, to);
            });
        });
    }
}

fn count(conditions: &Conditions, arriving: &[(Instant, Vec<u8>)]) {
    match arriving.len() {
        0 => conditions.lost.fetch_add(1, Ordering::Relaxed),
        count => {
            conditions.added.fetch_add(count as u64 - 1, Ordering::Relaxed);
            conditions.passed.fetch_add(1, Ordering::Relaxed)
        }
    };
}

/// Sends each datagram when it is due, until there are no more.
fn deliver(receiver: &Receiver<Due>, mut send: impl FnMut(&[u8])) {
    let mut waiting: BinaryHeap<Reverse<Due>> = BinaryHeap::new();
    loop {
        let next = waiting.peek().map(|Reverse((due, ..))| due.saturating_duration_since(Instant::now()));
        if next.is_some_and(|wait| wait.is_zero()) {
            waiting.pop().into_iter().for_each(|Reverse((.., packet))| send(&packet));
            continue;
        }
        match receiver.recv_timeout(next.unwrap_or(Duration::MAX)) {
            Ok(due) => waiting.push(Reverse(due)),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// Determines which datagrams arrive, and when. It reads no clock: callers pass the time.
struct Arrivals {
    random: Random,
    recent: VecDeque<Vec<u8>>,
    /// When the last packet arrives that keeps its place.
    last: Option<Instant>,
}

impl Arrivals {
    fn new(seed: u64) -> Self {
        Self { random: Random::new(seed), recent: VecDeque::new(), last: None }
    }

    /// Returns the datagrams that arrive because `packet` is sent at `now`; none if it is lost.
    fn of(&mut self, packet: &[u8], impairment: &Impairment, now: Instant) -> Vec<(Instant, Vec<u8>)> {
        let random = &mut self.random;
        if impairment.dark || random.is_one_of(impairment.loss) {
            return Vec::new();
        }
        let jitter = random.between(0, u32::try_from(impairment.jitter.as_micros()).unwrap_or(u32::MAX - 1));
        let due = now + impairment.delay + Duration::from_micros(jitter.into());
        let due = self.last.map_or(due, |last| last.max(due));
        let late = random.is_one_of(impairment.reordering);
        let at = if late { due + Duration::from_millis(random.between(LATE_MS.0, LATE_MS.1).into()) } else { due };
        self.last = Some(due);
        let mut arriving = vec![(at, changed(packet, impairment, random))];
        if random.is_one_of(impairment.duplication) {
            let again = at + Duration::from_millis(random.between(0, LATE_MS.1).into());
            arriving.push((again, packet.to_vec()));
        }
        if random.is_one_of(impairment.replay)
            && let Some(old) = self.recent.get(random.below(self.recent.len() as u32) as usize)
        {
            arriving.push((due, old.clone()));
        }
        if let Some((kind, number)) = impairment.malformed {
            arriving.extend((0..number).map(|_| (due, kind.datagram(packet, random))));
        }
        self.recent.push_back(packet.to_vec());
        self.recent.drain(..self.recent.len().saturating_sub(RECENT));
        arriving
    }
}

/// Inverts bits of a packet, or removes its end.
fn changed(packet: &[u8], impairment: &Impairment, random: &mut Random) -> Vec<u8> {
    let mut packet = packet.to_vec();
    if random.is_one_of(impairment.corruption) {
        for _ in 0..random.between(1, 8) {
            let place = random.below(packet.len() as u32) as usize;
            let bit = 1 << random.below(8);
            packet.get_mut(place).into_iter().for_each(|byte| *byte ^= bit);
        }
    }
    if random.is_one_of(impairment.truncation) {
        packet.truncate(random.below(packet.len() as u32) as usize);
    }
    packet
}

#[cfg(test)]
mod tests;
