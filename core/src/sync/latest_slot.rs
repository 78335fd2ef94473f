//! One place, newest wins.

use super::sync::ArrayQueue;

/// Holds the newest value that was put in and not taken out yet. Any threads; nobody waits for anybody.
#[derive(Debug)]
pub(crate) struct Mailbox<T> {
    place: ArrayQueue<T>,
}

impl<T> Mailbox<T> {
    /// An empty one.
    pub(crate) fn new() -> Self {
        Self { place: ArrayQueue::new(1) }
    }

    /// Puts `value` in, and gives back what it replaced.
    pub(crate) fn put(&self, value: T) -> Option<T> {
        self.place.force_push(value)
    }

    /// Puts a value that was taken for nothing back, unless a newer one is there.
    #[cfg(feature = "transport")]
    pub(crate) fn put_back(&self, value: T) {
        // What is refused is older than what refuses it.
        drop(self.place.push(value));
    }

    /// Takes the newest value out.
    pub(crate) fn take(&self) -> Option<T> {
        self.place.pop()
    }

    /// Whether there is nothing to take.
    pub(crate) fn is_empty(&self) -> bool {
        self.place.is_empty()
    }
}
