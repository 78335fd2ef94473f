//! Wakes threads that wait for something to happen, without a lock: who rings is never held up by who waits.
//!
//! A waiting thread leaves its name in a place of its own, looks again, and parks. Who rings has published what happened
//! before, and wakes every name that it finds. The fences make sure that one of the two sees the other.

use std::time::Instant;

use super::sync::{ArrayQueue, AtomicU64, Ordering, Thread, current, fence, park, park_timeout};

/// How many threads may wait at one bell before they start to wake each other.
const PLACES: usize = 16;

/// Wakes whoever waits.
#[derive(Debug)]
pub(crate) struct Bell {
    places: [ArrayQueue<Thread>; PLACES],
    /// How many wait, or are about to.
    waiting: AtomicU64,
}

impl Bell {
    /// A bell at which nobody waits.
    pub(crate) fn new() -> Self {
        Self { places: std::array::from_fn(|_| ArrayQueue::new(1)), waiting: AtomicU64::new(0) }
    }

    /// Wakes every thread that waits, so that it looks again. Does not block.
    pub(crate) fn ring(&self) {
        fence(Ordering::SeqCst);
        if self.waiting.load(Ordering::Relaxed) == 0 {
            return;
        }
        for thread in self.places.iter().filter_map(ArrayQueue::pop) {
            thread.unpark();
        }
    }

    /// Waits until `ready` gives something, or `deadline` has passed; without a deadline, for as long as it takes.
    pub(crate) fn wait_until<T>(&self, deadline: Option<Instant>, mut ready: impl FnMut() -> Option<T>) -> Option<T> {
        loop {
            if let Some(found) = ready() {
                return Some(found);
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return None;
            }
            self.waiting.fetch_add(1, Ordering::Relaxed);
            let place = self.enter();
            fence(Ordering::SeqCst);
            let found = ready();
            if found.is_none() {
                left.map_or_else(park, park_timeout);
            }
            self.leave(place);
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            if found.is_some() {
                return found;
            }
        }
    }

    /// Leaves this thread's name, and says where.
    fn enter(&self) -> &ArrayQueue<Thread> {
        let [first, rest @ ..] = &self.places;
        let mut name = current();
        for place in rest {
            match place.push(name) {
                Ok(()) => return place,
                Err(back) => name = back,
            }
        }
        // Whose name there is no room for looks again by itself.
        if let Some(other) = first.force_push(name) {
            other.unpark();
        }
        first
    }

    /// Takes this thread's name away. Where it was gone and another's is there, that one looks again.
    fn leave(&self, place: &ArrayQueue<Thread>) {
        if let Some(thread) = place.pop()
            && thread.id() != current().id()
        {
            thread.unpark();
        }
    }
}
