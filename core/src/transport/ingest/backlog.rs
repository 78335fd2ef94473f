//! The queue between the receiver and the decoder: encoded pictures in order, and whether a key frame is needed first.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::transport::media::AccessUnit;

/// The maximum number of waiting pictures: half a second, more than arrive at once after a retransmission.
const MOST: usize = 15;

/// The maximum number of bytes of waiting pictures: more than a second of any usual publisher.
const MOST_BYTES: usize = 16 << 20;

/// Encoded pictures that wait to be decoded. Locks are held only while one is moved.
#[derive(Debug)]
pub(super) struct Backlog {
    queue: Mutex<Queue>,
    news: Condvar,
}

#[derive(Debug)]
struct Queue {
    units: VecDeque<AccessUnit>,
    /// The bytes of all of them.
    bytes: usize,
    /// Whether pictures are dropped until a key frame.
    needs_key: bool,
    closed: bool,
}

impl Queue {
    fn pop(&mut self) -> Option<AccessUnit> {
        let unit = self.units.pop_front()?;
        self.bytes -= unit.data.len();
        Some(unit)
    }

    fn clear(&mut self) {
        self.units.clear();
        self.bytes = 0;
    }
}

impl Backlog {
    /// Creates an empty queue, which starts with a key frame.
    pub(super) fn new() -> Self {
        let queue = Queue { units: VecDeque::with_capacity(MOST), bytes: 0, needs_key: true, closed: false };
        Self { queue: Mutex::new(queue), news: Condvar::new() }
    }

    /// A panic while it was locked leaves the queue consistent.
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds the next picture; returns false for one that is dropped, because it needs others that are lost.
    pub(super) fn put(&self, unit: AccessUnit) -> bool {
        let mut queue = self.lock();
        let len = unit.data.len();
        let is_full = queue.units.len() >= MOST || queue.bytes + len > MOST_BYTES;
        queue.needs_key |= is_full;
        if queue.needs_key && !unit.key || len > MOST_BYTES {
            return false;
        }
        if is_full {
            // Pictures before a key frame are not needed, and the newest take precedence.
            queue.clear();
        }
        queue.needs_key = false;
        queue.bytes += len;
        queue.units.push_back(unit);
        drop(queue);
        self.news.notify_one();
        true
    }

    /// Records that a picture after the last one was lost.
    pub(super) fn lost(&self) {
        self.lock().needs_key = true;
    }

    /// Records that the last picture could not be decoded: pictures that depend on it are dropped.
    pub(super) fn failed(&self) {
        let mut queue = self.lock();
        let useless = queue.units.iter().position(|unit| unit.key);
        match useless {
            Some(count) => (0..count).for_each(|_| drop(queue.pop())),
            None => {
                queue.clear();
                queue.needs_key = true;
            }
        }
    }

    /// Returns true if only a key frame can be decoded next.
    pub(super) fn needs_key(&self) -> bool {
        self.lock().needs_key
    }

    /// Returns true if no picture waits.
    pub(super) fn is_empty(&self) -> bool {
        self.lock().units.is_empty()
    }

    /// Waits for the next picture; `None` once it is closed.
    pub(super) fn take(&self) -> Option<AccessUnit> {
        let mut queue = self.lock();
        loop {
            if queue.closed {
                return None;
            }
            if let Some(unit) = queue.pop() {
                return Some(unit);
            }
            queue = self.news.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Drops the waiting pictures, and wakes the decoder.
    pub(super) fn close(&self) {
        let mut queue = self.lock();
        queue.closed = true;
        queue.clear();
        drop(queue);
        self.news.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::frame::Timestamp;

    fn unit(at: u64, key: bool) -> AccessUnit {
        AccessUnit::new(Bytes::new(), key, Timestamp(at))
    }

    #[test]
    fn nothing_is_taken_before_a_key_frame_nor_after_a_loss() {
        let backlog = Backlog::new();
        assert!(!backlog.put(unit(1, false)) && backlog.put(unit(2, true)) && backlog.put(unit(3, false)));
        backlog.lost();
        assert!(backlog.needs_key() && !backlog.put(unit(4, false)) && backlog.put(unit(5, true)));
        let taken: Vec<_> = (0..3).filter_map(|_| backlog.take()).map(|unit| unit.at.0).collect();
        assert_eq!(taken, [2, 3, 5]);
    }

    #[test]
    fn too_long_a_backlog_waits_for_a_key_frame_that_replaces_it() {
        let backlog = Backlog::new();
        (0..MOST as u64).for_each(|at| assert!(backlog.put(unit(at, at == 0))));
        assert!(!backlog.put(unit(100, false)) && backlog.needs_key());
        assert!(!backlog.put(unit(101, false)) && backlog.put(unit(102, true)) && backlog.put(unit(103, false)));
        let taken: Vec<_> = (0..2).filter_map(|_| backlog.take()).map(|unit| unit.at.0).collect();
        assert_eq!((taken, backlog.is_empty()), (vec![102, 103], true));
    }

    #[test]
    fn after_a_failure_decoding_continues_with_a_waiting_key_frame() {
        let backlog = Backlog::new();
        assert_eq!(
            [(1, true), (2, false), (3, true), (4, false)].map(|(at, key)| backlog.put(unit(at, key))),
            [true; 4]
        );
        let _ = backlog.take();
        backlog.failed();
        assert!(!backlog.needs_key());
        assert_eq!(backlog.take().map(|unit| unit.at.0), Some(3));
        backlog.failed();
        assert!(backlog.needs_key() && backlog.is_empty());
    }

    #[test]
    fn a_backlog_of_many_bytes_waits_for_a_key_frame_that_replaces_it() {
        let backlog = Backlog::new();
        let large = Bytes::from(vec![0; 4 << 20]);
        let unit = |at, key| AccessUnit::new(large.clone(), key, Timestamp(at));
        let taken = (0..8).filter(|&at| backlog.put(unit(at, at == 0))).count();
        assert_eq!((taken, backlog.needs_key()), (4, true));
        assert!(backlog.put(unit(8, true)) && backlog.put(unit(9, false)));
        let taken: Vec<_> = (0..2).filter_map(|_| backlog.take()).map(|unit| unit.at.0).collect();
        assert_eq!((taken, backlog.is_empty()), (vec![8, 9], true));
        // Removing a picture frees its bytes.
        assert_eq!((10..14).filter(|&at| backlog.put(unit(at, false))).count(), 4);
    }

    #[test]
    fn closing_ends_the_wait() {
        let backlog = Backlog::new();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| backlog.take());
            backlog.close();
            assert!(waiting.join().unwrap().is_none());
        });
    }
}
