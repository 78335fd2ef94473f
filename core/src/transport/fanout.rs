//! A broadcast ring of the last few items: one sender, many receivers; a slow receiver does not delay the others.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// The sending end. Locks are held while an item is copied, which shares its bytes.
#[derive(Debug)]
pub(super) struct Fanout<T> {
    ring: Mutex<Ring<T>>,
    /// The number of items that are kept.
    room: usize,
    /// For threads that wait.
    threads: Condvar,
    /// For tasks that wait.
    tasks: Notify,
}

#[derive(Debug)]
struct Ring<T> {
    items: VecDeque<T>,
    /// The number of the first of them; they are numbered from 0.
    first: u64,
    closed: bool,
}

/// A receiver's position.
#[derive(Debug)]
pub(super) struct Cursor<T> {
    fanout: Arc<Fanout<T>>,
    next: u64,
    /// Whether the next item must be one that a receiver can start with.
    needs_start: bool,
}

/// The result of receiving.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Received<T> {
    Item(T),
    /// None yet; whether items were lost, so that the next must be one to start with.
    Nothing {
        needs_start: bool,
    },
    /// Closed.
    Closed,
}

impl<T> Ring<T> {
    fn end(&self) -> u64 {
        self.first + self.items.len() as u64
    }
}

impl<T: Clone> Fanout<T> {
    pub(super) fn new(room: usize) -> Self {
        let ring = Ring { items: VecDeque::with_capacity(room + 1), first: 0, closed: false };
        Self { ring: Mutex::new(ring), room, threads: Condvar::new(), tasks: Notify::new() }
    }

    /// A panic while it was locked leaves it consistent.
    fn lock(&self) -> MutexGuard<'_, Ring<T>> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends to all current receivers.
    pub(super) fn put(&self, item: T) {
        let mut ring = self.lock();
        ring.items.push_back(item);
        if ring.items.len() > self.room {
            ring.items.pop_front();
            ring.first += 1;
        }
        drop(ring);
        self.wake();
    }

    /// Closes it; items in the ring are still received.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.wake();
    }

    fn wake(&self) {
        self.threads.notify_all();
        self.tasks.notify_waiters();
    }

    /// Receives from the next item on.
    pub(super) fn listen(self: &Arc<Self>) -> Cursor<T> {
        Cursor { fanout: self.clone(), next: self.lock().end(), needs_start: false }
    }

    /// Receives from the last item on for which `is_start` is true, or from the next such.
    pub(super) fn subscribe(self: &Arc<Self>, is_start: impl Fn(&T) -> bool) -> Cursor<T> {
        let ring = self.lock();
        let start = ring.items.iter().rposition(is_start).map(|place| ring.first + place as u64);
        Cursor { fanout: self.clone(), next: start.unwrap_or(ring.end()), needs_start: start.is_none() }
    }
}

impl<T: Clone> Cursor<T> {
    /// Whether items are skipped until one for which `is_start` is true.
    pub(super) fn needs_start(&self) -> bool {
        self.needs_start
    }

    /// Takes the next item, without waiting. A receiver that has lost items continues with the last one for which
    /// `is_start` is true.
    pub(super) fn take(&mut self, is_start: impl Fn(&T) -> bool) -> Received<T> {
        let ring = self.fanout.lock();
        if self.next < ring.first {
            self.needs_start = true;
            self.next = ring.first;
        }
        if self.needs_start {
            let fresh = self.next.saturating_sub(ring.first) as usize;
            let place = ring.items.iter().rposition(is_start).filter(|place| *place >= fresh);
            self.next = place.map_or(ring.end(), |place| ring.first + place as u64);
            self.needs_start = place.is_none();
        }
        match ring.items.get((self.next - ring.first) as usize) {
            Some(item) => {
                self.next += 1;
                Received::Item(item.clone())
            }
            None if ring.closed => Received::Closed,
            None => Received::Nothing { needs_start: self.needs_start },
        }
    }

    /// Waits for the next item, as [`take`](Self::take) gives it; `None` once it is closed. Calls `lost` before it
    /// waits for one to begin with.
    pub(super) async fn next(&mut self, is_start: impl Fn(&T) -> bool, lost: impl Fn()) -> Option<T> {
        let fanout = self.fanout.clone();
        loop {
            // Registered before the check, so that an item in between wakes it.
            let mut news = pin!(fanout.tasks.notified());
            news.as_mut().enable();
            match self.take(&is_start) {
                Received::Item(item) => return Some(item),
                Received::Closed => return None,
                Received::Nothing { needs_start } => {
                    if needs_start {
                        lost();
                    }
                }
            }
            news.await;
        }
    }

    /// Like [`next`](Self::next), for threads that may block; `None` after `timeout` too.
    pub(super) fn next_within(
        &mut self,
        timeout: Duration,
        is_start: impl Fn(&T) -> bool,
        lost: impl Fn(),
    ) -> Option<T> {
        let fanout = self.fanout.clone();
        let deadline = Instant::now().checked_add(timeout);
        loop {
            match self.take(&is_start) {
                Received::Item(item) => return Some(item),
                Received::Closed => return None,
                Received::Nothing { needs_start } => {
                    if needs_start {
                        lost();
                    }
                }
            }
            let ring = fanout.lock();
            if ring.closed || ring.end() > self.next {
                continue;
            }
            let left = deadline.map_or(Duration::MAX, |deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                return None;
            }
            let woken = fanout.threads.wait_timeout(ring, left.min(LONGEST_WAIT));
            drop(woken.unwrap_or_else(PoisonError::into_inner));
        }
    }
}

/// The longest wait that every system supports.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn tens(item: &u32) -> bool {
        item.is_multiple_of(10)
    }

    fn all(cursor: &mut Cursor<u32>) -> Vec<u32> {
        let next = || match cursor.take(tens) {
            Received::Item(item) => Some(item),
            Received::Nothing { .. } | Received::Closed => None,
        };
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn receivers_get_all_items_from_a_start_item_on() {
        let fanout = Arc::new(Fanout::new(8));
        let mut early = fanout.subscribe(tens);
        (8..13).for_each(|item| fanout.put(item));
        let mut late = fanout.subscribe(tens);
        fanout.put(13);
        assert_eq!((all(&mut early), all(&mut late)), (vec![10, 11, 12, 13], vec![10, 11, 12, 13]));
    }

    #[test]
    fn slow_receiver_continues_with_the_newest_start() {
        let fanout = Arc::new(Fanout::new(4));
        let mut cursor = fanout.subscribe(tens);
        fanout.put(10);
        assert_eq!(all(&mut cursor), [10]);
        (11..=16).for_each(|item| fanout.put(item));
        assert_eq!(cursor.take(tens), Received::Nothing { needs_start: true });
        (17..=22).for_each(|item| fanout.put(item));
        assert_eq!(all(&mut cursor), [20, 21, 22]);
    }

    #[test]
    fn items_before_the_end_are_still_received() {
        let fanout = Arc::new(Fanout::new(4));
        let mut cursor = fanout.subscribe(tens);
        fanout.put(10);
        fanout.close();
        assert_eq!((cursor.take(tens), cursor.take(tens)), (Received::Item(10), Received::Closed));
    }

    #[test]
    fn thread_waits_with_a_timeout_and_reports_lost_items() {
        let fanout = Arc::new(Fanout::new(4));
        let mut cursor = fanout.subscribe(tens);
        let lost = Cell::new(0);
        let count = || lost.set(lost.get() + 1);
        assert_eq!((cursor.next_within(Duration::ZERO, tens, count), lost.get()), (None, 1));
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| cursor.next_within(Duration::from_secs(60), tens, || {}));
            fanout.put(11);
            fanout.put(20);
            assert_eq!(waiting.join().unwrap(), Some(20));
        });
    }

    #[test]
    fn a_task_that_waits_is_woken() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let fanout = Arc::new(Fanout::new(4));
        let mut cursor = fanout.subscribe(tens);
        runtime.block_on(async {
            let sender = async {
                tokio::task::yield_now().await;
                fanout.put(11);
                tokio::task::yield_now().await;
                fanout.put(30);
                tokio::task::yield_now().await;
                fanout.close();
            };
            let receiver = async { (cursor.next(tens, || {}).await, cursor.next(tens, || {}).await) };
            let (received, ()) = tokio::join!(receiver, sender);
            assert_eq!(received, (Some(30), None));
        });
    }
}
