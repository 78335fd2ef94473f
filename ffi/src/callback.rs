//! Functions of the host: called one at a time, and not at all once they are closed.

use std::cell::Cell;
use std::ffi::c_void;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// What the host wants back with each call.
#[derive(Debug, Clone, Copy)]
pub(crate) struct UserData(pub(crate) *mut c_void);

// SAFETY: it is never looked into; the header says on which threads the host gets it back.
unsafe impl Send for UserData {}
// SAFETY: as above.
unsafe impl Sync for UserData {}

/// Lets calls of one function of the host through, one at a time, until it is closed.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    closed: AtomicBool,
    running: Mutex<()>,
    /// The thread that is in the function, by its own number; 0 for none.
    inside: AtomicU64,
}

static THREADS: AtomicU64 = AtomicU64::new(1);

thread_local! {
    static ME: Cell<u64> = Cell::new(THREADS.fetch_add(1, Ordering::Relaxed));
}

fn me() -> u64 {
    // A thread that is ending is nobody.
    ME.try_with(Cell::get).unwrap_or(u64::MAX)
}

impl Gate {
    /// Calls `function`; `None` where it is closed, and where this thread is in it already.
    pub(crate) fn call<R>(&self, function: impl FnOnce() -> R) -> Option<R> {
        if self.is_inside() {
            return None;
        }
        let _running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if self.closed.load(Ordering::Acquire) {
            return None;
        }
        let _inside = Inside::enter(&self.inside);
        Some(function())
    }

    /// Lets no further call through, and waits for the one that runs, except on its own thread.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        if !self.is_inside() {
            drop(self.running.lock());
        }
    }

    /// Whether this thread is in the function.
    pub(crate) fn is_inside(&self) -> bool {
        self.inside.load(Ordering::Acquire) == me()
    }
}

/// Notes that this thread is inside, also when a panic leaves it.
struct Inside<'a>(&'a AtomicU64);

impl<'a> Inside<'a> {
    fn enter(inside: &'a AtomicU64) -> Self {
        inside.store(me(), Ordering::Release);
        Self(inside)
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.0.store(0, Ordering::Release);
    }
}
