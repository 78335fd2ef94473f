//! The primitives of the model check: other threads may run before each of their steps.

use std::sync::Arc;
use std::time::Duration;

use shuttle::sync::Condvar;
pub(crate) use shuttle::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering, fence};
pub(crate) use shuttle::sync::{Mutex, MutexGuard};
use shuttle::thread::yield_now;

/// A thread that can be woken. It has no spurious wake-ups, so that a lost wake-up is a deadlock that shuttle detects.
#[derive(Debug, Clone)]
pub(crate) struct Thread(Arc<(Mutex<bool>, Condvar)>);

shuttle::thread_local! {
    static CURRENT: Thread = Thread(Arc::new((Mutex::new(false), Condvar::new())));
}

impl Thread {
    pub(crate) fn unpark(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_one();
    }

    pub(crate) fn id(&self) -> *const (Mutex<bool>, Condvar) {
        Arc::as_ptr(&self.0)
    }
}

pub(crate) fn current() -> Thread {
    CURRENT.with(Thread::clone)
}

pub(crate) fn park() {
    let thread = current();
    let mut woken = thread.0.0.lock().unwrap();
    while !*woken {
        woken = thread.0.1.wait(woken).unwrap();
    }
    *woken = false;
}

/// Timeouts never expire.
pub(crate) fn park_timeout(_: Duration) {
    park();
}

/// crossbeam's queue, whose calls are one step each: its internals are checked by crossbeam.
#[derive(Debug)]
pub(crate) struct ArrayQueue<T>(crossbeam::queue::ArrayQueue<T>);

impl<T> ArrayQueue<T> {
    pub(crate) fn new(room: usize) -> Self {
        Self(crossbeam::queue::ArrayQueue::new(room))
    }

    pub(crate) fn push(&self, value: T) -> Result<(), T> {
        yield_now();
        self.0.push(value)
    }

    pub(crate) fn force_push(&self, value: T) -> Option<T> {
        yield_now();
        self.0.force_push(value)
    }

    pub(crate) fn pop(&self) -> Option<T> {
        yield_now();
        self.0.pop()
    }

    pub(crate) fn is_empty(&self) -> bool {
        yield_now();
        self.0.is_empty()
    }
}

/// Like [`ArrayQueue`], without a bound.
#[derive(Debug)]
pub(crate) struct SegQueue<T>(crossbeam::queue::SegQueue<T>);

impl<T> SegQueue<T> {
    pub(crate) fn new() -> Self {
        Self(crossbeam::queue::SegQueue::new())
    }

    pub(crate) fn push(&self, value: T) {
        yield_now();
        self.0.push(value);
    }

    pub(crate) fn pop(&self) -> Option<T> {
        yield_now();
        self.0.pop()
    }

    pub(crate) fn is_empty(&self) -> bool {
        yield_now();
        self.0.is_empty()
    }
}
