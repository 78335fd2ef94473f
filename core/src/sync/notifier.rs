//! A lock-free notifier: wakes waiting threads without blocking the thread that notifies.
//!
//! A waiting thread stores its handle in a slot, checks its condition again, and parks. A notifying thread has published
//! the change before, and unparks every handle that it finds. The fences ensure that one of the two sees the other.

use std::time::Instant;

use super::primitives::{ArrayQueue, AtomicU64, Ordering, Thread, current, fence, park, park_timeout};

/// Maximum number of waiting threads; with more, they wake each other.
const SLOTS: usize = 16;

/// Wakes waiting threads.
#[derive(Debug)]
pub(crate) struct Notifier {
    slots: [ArrayQueue<Thread>; SLOTS],
    /// Threads that wait, or are about to.
    waiting: AtomicU64,
}

impl Notifier {
    /// Returns a notifier without waiting threads.
    pub(crate) fn new() -> Self {
        Self { slots: std::array::from_fn(|_| ArrayQueue::new(1)), waiting: AtomicU64::new(0) }
    }

    /// Wakes every waiting thread, which then checks its condition again. Does not block.
    pub(crate) fn notify(&self) {
        fence(Ordering::SeqCst);
        if self.waiting.load(Ordering::Relaxed) == 0 {
            return;
        }
        for thread in self.slots.iter().filter_map(ArrayQueue::pop) {
            thread.unpark();
        }
    }

    /// Blocks until `ready` returns a value, and returns that, or until `deadline`.
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
            let slot = self.register();
            fence(Ordering::SeqCst);
            let found = ready();
            if found.is_none() {
                left.map_or_else(park, park_timeout);
            }
            self.unregister(slot);
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            if found.is_some() {
                return found;
            }
        }
    }

    /// Stores the handle of the current thread, and returns its slot.
    fn register(&self) -> &ArrayQueue<Thread> {
        let [first, rest @ ..] = &self.slots;
        let mut thread = current();
        for slot in rest {
            match slot.push(thread) {
                Ok(()) => return slot,
                Err(refused) => thread = refused,
            }
        }
        // The thread whose handle is replaced checks its condition again.
        if let Some(other) = first.force_push(thread) {
            other.unpark();
        }
        first
    }

    /// Removes the handle of the current thread. If another thread's handle is in its place, wakes that thread.
    fn unregister(&self, slot: &ArrayQueue<Thread>) {
        if let Some(thread) = slot.pop()
            && thread.id() != current().id()
        {
            thread.unpark();
        }
    }
}
