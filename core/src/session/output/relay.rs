//! How pictures pass from the session's thread through the thread that interpolates to the thread that shows them.
//! Lock-free.
//!
//! The presenter belongs to the session's thread while nothing is interpolated, and else to the thread that shows
//! pictures. The session's thread gives it before the first picture that it sends, and takes it back once it finds it
//! returned and nothing is under way: only that thread sends pictures, so that none can come after it.

use std::time::Instant;

use super::latest_slot::LatestSlot;
use super::notifier::Notifier;
use super::primitives::{ArrayQueue, AtomicBool, AtomicU64, Ordering};

/// The number of pictures that wait to be interpolated at most.
const ARRIVALS: usize = 2;
/// The number of pictures that wait to be shown at most: twice the most of one interval.
const WAITING: usize = 8;

/// What the three threads share: pictures that were made (`A`), pictures to be shown (`S`), and the presenter (`P`).
pub(crate) struct Relay<A, S, P> {
    arrivals: ArrayQueue<A>,
    shown: ArrayQueue<S>,
    given: LatestSlot<P>,
    returned: LatestSlot<P>,
    /// Pictures that were made and sent, and neither shown nor dropped.
    under_way: AtomicU64,
    is_ending: AtomicBool,
    /// Whether the thread that interpolates has sent its last picture.
    is_complete: AtomicBool,
    /// Notifies the thread that interpolates.
    wake_worker: Notifier,
    /// Notifies the thread that shows pictures.
    wake_shower: Notifier,
}

impl<A, S, P> Relay<A, S, P> {
    /// Returns one without pictures.
    pub(crate) fn new() -> Self {
        Self {
            arrivals: ArrayQueue::new(ARRIVALS),
            shown: ArrayQueue::new(WAITING),
            given: LatestSlot::new(),
            returned: LatestSlot::new(),
            under_way: AtomicU64::new(0),
            is_ending: AtomicBool::new(false),
            is_complete: AtomicBool::new(false),
            wake_worker: Notifier::new(),
            wake_shower: Notifier::new(),
        }
    }

    /// Session: gives the presenter away.
    pub(crate) fn give(&self, presenter: P) {
        drop(self.given.put(presenter));
        self.wake_shower.notify();
    }

    /// Session: takes the presenter back, if that was returned and no picture is under way.
    pub(crate) fn take_back(&self) -> Option<P> {
        let presenter = self.returned.take()?;
        if self.under_way.load(Ordering::Acquire) == 0 {
            return Some(presenter);
        }
        self.give(presenter);
        None
    }

    /// Session: sends a picture, and returns the one that it replaces, if too many wait.
    pub(crate) fn send(&self, arrival: A) -> Option<A> {
        self.under_way.fetch_add(1, Ordering::AcqRel);
        let replaced = self.arrivals.force_push(arrival);
        if replaced.is_some() {
            self.is_done();
        }
        self.wake_worker.notify();
        replaced
    }

    /// Session: no picture follows.
    pub(crate) fn end(&self) {
        self.is_ending.store(true, Ordering::Release);
        self.wake_worker.notify();
        self.wake_shower.notify();
    }

    /// Returns true once the session ends: what is left is shown without delay.
    pub(crate) fn is_ending(&self) -> bool {
        self.is_ending.load(Ordering::Acquire)
    }

    /// Interpolating thread: waits for the next picture; `None` once the session has ended.
    pub(crate) fn arrival(&self) -> Option<A> {
        let next = || match self.arrivals.pop() {
            // What was sent before the end is seen with it.
            None if self.is_ending() => Some(self.arrivals.pop()),
            None => None,
            arrival => Some(arrival),
        };
        self.wake_worker.wait_until(None, next).flatten()
    }

    /// Interpolating thread: returns true if the next picture waits already.
    pub(crate) fn is_late(&self) -> bool {
        !self.arrivals.is_empty()
    }

    /// Interpolating thread: sends a picture to be shown, and returns the one that it replaces, if too many wait.
    pub(crate) fn show(&self, shown: S) -> Option<S> {
        let replaced = self.shown.force_push(shown);
        self.wake_shower.notify();
        replaced
    }

    /// Interpolating thread: no picture follows.
    pub(crate) fn complete(&self) {
        self.is_complete.store(true, Ordering::Release);
        self.wake_shower.notify();
    }

    /// Showing thread: waits for the next picture; `None` once the session has ended.
    pub(crate) fn to_show(&self) -> Option<S> {
        let next = || match self.shown.pop() {
            None if self.is_complete.load(Ordering::Acquire) => Some(self.shown.pop()),
            None => None,
            shown => Some(shown),
        };
        self.wake_shower.wait_until(None, next).flatten()
    }

    /// Showing thread: waits until `due`, or until the session ends.
    pub(crate) fn sleep(&self, due: Instant) {
        self.wake_shower.wait_until(Some(due), || self.is_ending().then_some(()));
    }

    /// Showing thread, with a picture to show: takes the presenter, which it has given back or not got yet. The session's
    /// thread keeps it only while no picture is under way.
    pub(crate) fn presenter(&self) -> Option<P> {
        self.wake_shower.wait_until(None, || self.given.take().or_else(|| self.returned.take()))
    }

    /// Showing thread: returns the presenter to the session's thread.
    pub(crate) fn return_presenter(&self, presenter: P) {
        drop(self.returned.put(presenter));
    }

    /// A picture that was made and sent was shown, or dropped.
    pub(crate) fn is_done(&self) {
        self.under_way.fetch_sub(1, Ordering::AcqRel);
    }
}
