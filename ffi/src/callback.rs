//! Callbacks into the host: serialized, and not called again once they are closed.

use std::cell::Cell;
use std::ffi::c_void;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long a thread that is inside a callback waits for another callback at most. Otherwise two threads that are
/// inside callbacks and wait for each other's would deadlock. The header states the value.
pub(crate) const NESTED_WAIT: Duration = if cfg!(test) { Duration::from_millis(200) } else { Duration::from_secs(5) };

/// The pointer that the host receives with each call.
#[derive(Debug, Clone, Copy)]
pub(crate) struct UserData(pub(crate) *mut c_void);

// SAFETY: it is never dereferenced; the header documents on which threads the host receives it.
unsafe impl Send for UserData {}
// SAFETY: as above.
unsafe impl Sync for UserData {}

/// Serializes calls of one callback, until it is closed.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    closed: AtomicBool,
    /// Whether a thread is inside the callback.
    running: Mutex<bool>,
    /// Notified when that thread has left it.
    left: Condvar,
    /// The id of the thread inside the callback; 0 for none.
    inside: AtomicU64,
}

static THREADS: AtomicU64 = AtomicU64::new(1);

thread_local! {
    static ME: Cell<u64> = Cell::new(THREADS.fetch_add(1, Ordering::Relaxed));
    /// The number of callbacks that this thread is inside of.
    static DEPTH: Cell<usize> = const { Cell::new(0) };
}

fn thread_id() -> u64 {
    // A thread that is being destroyed has no id.
    ME.try_with(Cell::get).unwrap_or(u64::MAX)
}

/// Returns true if this thread is inside a callback of any object.
pub(crate) fn is_inside_any() -> bool {
    DEPTH.try_with(Cell::get).unwrap_or(0) > 0
}

/// Calls a function of the host that has no gate: one whose data live until the library destroys them.
pub(crate) fn inside<R>(function: impl FnOnce() -> R) -> R {
    let _deeper = Deeper::enter();
    function()
}

/// Marks this thread as inside a callback; also reset by a panic.
struct Deeper;

impl Deeper {
    fn enter() -> Self {
        let _ = DEPTH.try_with(|depth| depth.set(depth.get() + 1));
        Self
    }
}

impl Drop for Deeper {
    fn drop(&mut self) {
        let _ = DEPTH.try_with(|depth| depth.set(depth.get().saturating_sub(1)));
    }
}

impl Gate {
    /// Calls `function`. Returns `None` if the gate is closed, if this thread is already inside the callback, or if
    /// this thread is inside another callback and waits longer than [`NESTED_WAIT`].
    pub(crate) fn call<R>(&self, function: impl FnOnce() -> R) -> Option<R> {
        if self.is_inside() || self.closed.load(Ordering::Acquire) {
            return None;
        }
        let mut running = self.wait_until_left()?;
        if self.closed.load(Ordering::Acquire) {
            return None;
        }
        *running = true;
        drop(running);
        let _inside = Inside::enter(self);
        Some(function())
    }

    /// Closes the gate, and waits for a running call, except on its own thread. If this thread is inside another
    /// callback, it waits no longer than [`NESTED_WAIT`].
    pub(crate) fn close(&self) {
        self.close_without_waiting();
        if !self.is_inside() && self.wait_until_left().is_none() {
            tracing::warn!("a callback of the host is still running; the library stops waiting for it");
        }
    }

    /// Closes the gate without waiting for a running call.
    pub(crate) fn close_without_waiting(&self) {
        self.closed.store(true, Ordering::Release);
    }

    /// Returns true if this thread is inside the callback.
    pub(crate) fn is_inside(&self) -> bool {
        self.inside.load(Ordering::Acquire) == thread_id()
    }

    /// Waits until no thread is inside the callback. Returns `None` on a timeout.
    fn wait_until_left(&self) -> Option<MutexGuard<'_, bool>> {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if !is_inside_any() {
            return Some(self.left.wait_while(running, |running| *running).unwrap_or_else(PoisonError::into_inner));
        }
        let waited = self.left.wait_timeout_while(running, NESTED_WAIT, |running| *running);
        let (running, _) = waited.unwrap_or_else(PoisonError::into_inner);
        (!*running).then_some(running)
    }
}

/// Marks this thread as inside the callback; also reset by a panic.
struct Inside<'a>(&'a Gate, Deeper);

impl<'a> Inside<'a> {
    fn enter(gate: &'a Gate) -> Self {
        gate.inside.store(thread_id(), Ordering::Release);
        Self(gate, Deeper::enter())
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.0.inside.store(0, Ordering::Release);
        *self.0.running.lock().unwrap_or_else(PoisonError::into_inner) = false;
        self.0.left.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::thread;

    use super::*;

    /// Runs `act` on the other's gate in each of two threads that are both inside their own callback. Returns the gates
    /// and the results.
    fn inside_of_both<T: Send>(act: impl Fn(&Gate) -> T + Sync) -> ([Gate; 2], [Option<T>; 2]) {
        let (gates, both_inside) = ([Gate::default(), Gate::default()], Barrier::new(2));
        let returned = thread::scope(|scope| {
            let [one, two] = &gates;
            let (act, both_inside) = (&act, &both_inside);
            let start = |own: &'_ Gate, other: &'_ Gate| {
                own.call(|| {
                    both_inside.wait();
                    act(other)
                })
            };
            let first = scope.spawn(move || start(one, two));
            let second = scope.spawn(move || start(two, one));
            [first.join().unwrap(), second.join().unwrap()]
        });
        (gates, returned)
    }

    #[test]
    fn threads_inside_callbacks_can_close_each_others_gates() {
        let (gates, _) = inside_of_both(Gate::close);
        assert_eq!(gates.each_ref().map(|gate| gate.call(|| ())), [None, None]);
    }

    #[test]
    fn threads_inside_callbacks_can_call_each_others_callbacks() {
        let (gates, returned) = inside_of_both(|gate| gate.call(|| ()));
        // Whether the inner call succeeds depends on which thread times out first.
        assert!(returned.iter().all(Option::is_some), "{returned:?}");
        assert_eq!(gates.each_ref().map(|gate| gate.call(|| ())), [Some(()), Some(())]);
    }

    #[test]
    fn close_outside_a_callback_waits_for_the_running_call() {
        let (gate, inside) = (Gate::default(), Barrier::new(2));
        let (left, called) = (AtomicBool::new(false), AtomicBool::new(false));
        thread::scope(|scope| {
            scope.spawn(|| {
                gate.call(|| {
                    inside.wait();
                    // Longer than the timeout of a thread inside a callback.
                    thread::sleep(2 * NESTED_WAIT);
                    called.store(true, Ordering::SeqCst);
                })
            });
            inside.wait();
            gate.close();
            left.store(called.load(Ordering::SeqCst), Ordering::SeqCst);
        });
        assert!(left.into_inner(), "close returned while the function ran");
        assert!(!is_inside_any());
    }

    #[test]
    fn gate_stays_open_after_a_panic() {
        let gate = Gate::default();
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| gate.call(|| panic!("of the test"))));
        assert!(panicked.is_err());
        assert!(!is_inside_any() && gate.call(is_inside_any) == Some(true));
    }
}
