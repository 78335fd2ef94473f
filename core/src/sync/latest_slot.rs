//! A single-slot channel: a new value replaces an unread one.

use super::primitives::ArrayQueue;

/// Holds the newest value that was stored and not taken yet. Lock-free, for any number of threads.
#[derive(Debug)]
pub(crate) struct LatestSlot<T> {
    slot: ArrayQueue<T>,
}

impl<T> LatestSlot<T> {
    /// Returns an empty slot.
    pub(crate) fn new() -> Self {
        Self { slot: ArrayQueue::new(1) }
    }

    /// Stores `value`, and returns the value that it replaces.
    pub(crate) fn put(&self, value: T) -> Option<T> {
        self.slot.force_push(value)
    }

    /// Returns an unused value to the slot, unless that holds a newer one.
    #[cfg(feature = "transport")]
    pub(crate) fn put_back(&self, value: T) {
        // A refused value is older than the one in the slot.
        drop(self.slot.push(value));
    }

    /// Takes the value.
    pub(crate) fn take(&self) -> Option<T> {
        self.slot.pop()
    }

    /// Returns whether the slot is empty.
    pub(crate) fn is_empty(&self) -> bool {
        self.slot.is_empty()
    }
}
