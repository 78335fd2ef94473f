//! What a link does to datagrams.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::Malformed;

/// A direction of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// From the client to the server.
    ToServer,
    /// From the server to the client.
    FromServer,
}

impl Direction {
    /// Both of them.
    pub const BOTH: [Self; 2] = [Self::ToServer, Self::FromServer];
}

/// The impairments of one direction of a link. Rates are per thousand datagrams. The default is none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Impairment {
    /// Datagrams that are lost.
    pub loss: u32,
    /// Datagrams that arrive later than those sent after them.
    pub reordering: u32,
    /// Datagrams that arrive twice.
    pub duplication: u32,
    /// Datagrams with inverted bits.
    pub corruption: u32,
    /// Datagrams that arrive without their end.
    pub truncation: u32,
    /// Datagrams after which an old one arrives again.
    pub replay: u32,
    /// The delay of every datagram.
    pub delay: Duration,
    /// The longest further delay, which varies; the order is kept.
    pub jitter: Duration,
    /// Malformed datagrams that arrive with each datagram: their kind and number.
    pub malformed: Option<(Malformed, u32)>,
    /// Whether all datagrams are lost.
    pub dark: bool,
    /// Whether nothing is read: datagrams wait in the buffer of the socket, until it is full.
    pub stalled: bool,
}

/// What the links of a proxy do to datagrams; can change at any time. At first, nothing.
#[derive(Debug, Default)]
pub struct Conditions {
    to_server: Mutex<Impairment>,
    from_server: Mutex<Impairment>,
    rebindings: AtomicU64,
    pub(super) passed: AtomicU64,
    pub(super) lost: AtomicU64,
    pub(super) added: AtomicU64,
    pub(super) is_over: AtomicBool,
}

impl Conditions {
    fn lock(&self, direction: Direction) -> MutexGuard<'_, Impairment> {
        let impairment = match direction {
            Direction::ToServer => &self.to_server,
            Direction::FromServer => &self.from_server,
        };
        impairment.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the impairments of a direction.
    pub fn get(&self, direction: Direction) -> Impairment {
        *self.lock(direction)
    }

    /// Replaces the impairments of a direction.
    pub fn set(&self, direction: Direction, impairment: Impairment) {
        *self.lock(direction) = impairment;
    }

    fn change(&self, change: impl Fn(&mut Impairment)) {
        Direction::BOTH.into_iter().for_each(|direction| change(&mut self.lock(direction)));
    }

    /// Drops this many of a thousand packets, each way.
    pub fn set_loss(&self, per_mille: u32) {
        self.change(|impairment| impairment.loss = per_mille);
    }

    /// Holds every packet for so long, each way.
    pub fn set_delay(&self, delay: Duration) {
        self.change(|impairment| impairment.delay = delay);
    }

    /// Loses every packet, or no longer does.
    pub fn set_dark(&self, is_dark: bool) {
        self.change(|impairment| impairment.dark = is_dark);
    }

    /// Sends from another port to the server, as a NAT does that has lost its binding. What the server sends to the
    /// previous port is lost.
    pub fn rebind(&self) {
        self.rebindings.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn rebindings(&self) -> u64 {
        self.rebindings.load(Ordering::Relaxed)
    }

    /// Returns how many packets were passed on, and how many were lost.
    pub fn counts(&self) -> (u64, u64) {
        (self.passed.load(Ordering::Relaxed), self.lost.load(Ordering::Relaxed))
    }

    /// Returns how many datagrams arrived that nothing sent: duplicates, old ones and malformed ones.
    pub fn added(&self) -> u64 {
        self.added.load(Ordering::Relaxed)
    }
}
