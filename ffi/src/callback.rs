//! Functions of the host: called one at a time, and not at all once they are closed.

use std::cell::Cell;
use std::ffi::c_void;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long a thread that is in a function of the host waits for another such function at most. Two threads that each
/// are in one and wait for the other's would otherwise do so for ever. The header names the figure.
pub(crate) const NESTED_WAIT: Duration = if cfg!(test) { Duration::from_millis(200) } else { Duration::from_secs(5) };

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
    /// Whether a thread is in the function.
    running: Mutex<bool>,
    /// Rings when it has left it.
    left: Condvar,
    /// The thread that is in the function, by its own number; 0 for none.
    inside: AtomicU64,
}

static THREADS: AtomicU64 = AtomicU64::new(1);

thread_local! {
    static ME: Cell<u64> = Cell::new(THREADS.fetch_add(1, Ordering::Relaxed));
    /// How many functions of the host this thread is in.
    static DEPTH: Cell<usize> = const { Cell::new(0) };
}

fn me() -> u64 {
    // A thread that is ending has no identity.
    ME.try_with(Cell::get).unwrap_or(u64::MAX)
}

/// Whether this thread is in a function of the host, be it of any object.
pub(crate) fn is_inside_any() -> bool {
    DEPTH.try_with(Cell::get).unwrap_or(0) > 0
}

impl Gate {
    /// Calls `function`; `None` where it is closed, where this thread is in it already, and where this thread is in
    /// another function of the host and another thread in this one for longer than [`NESTED_WAIT`].
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

    /// Lets no further call through, and waits for the one that runs, except on its own thread; where this thread is in
    /// another function of the host, no longer than [`NESTED_WAIT`].
    pub(crate) fn close(&self) {
        self.refuse();
        if !self.is_inside() && self.wait_until_left().is_none() {
            tracing::warn!("a callback of the host is still running; the library stops waiting for it");
        }
    }

    /// Lets no further call through; one may be running.
    pub(crate) fn refuse(&self) {
        self.closed.store(true, Ordering::Release);
    }

    /// Whether this thread is in the function.
    pub(crate) fn is_inside(&self) -> bool {
        self.inside.load(Ordering::Acquire) == me()
    }

    /// Waits until no thread is in the function; `None` where that takes longer than this thread may wait.
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

/// Notes that this thread is inside, also when a panic leaves it.
struct Inside<'a>(&'a Gate);

impl<'a> Inside<'a> {
    fn enter(gate: &'a Gate) -> Self {
        gate.inside.store(me(), Ordering::Release);
        let _ = DEPTH.try_with(|depth| depth.set(depth.get() + 1));
        Self(gate)
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        let _ = DEPTH.try_with(|depth| depth.set(depth.get().saturating_sub(1)));
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

    /// Runs `act` on the other's gate in each of two threads that are both inside their own, and returns the gates and
    /// what the calls returned.
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
    fn threads_inside_that_close_each_others_gates_both_go_on() {
        let (gates, _) = inside_of_both(Gate::close);
        assert_eq!(gates.each_ref().map(|gate| gate.call(|| ())), [None, None]);
    }

    #[test]
    fn threads_inside_that_call_each_others_functions_both_go_on() {
        let (gates, returned) = inside_of_both(|gate| gate.call(|| ()));
        // Whether the inner call was let in depends on which thread gave up first.
        assert!(returned.iter().all(Option::is_some), "{returned:?}");
        assert_eq!(gates.each_ref().map(|gate| gate.call(|| ())), [Some(()), Some(())]);
    }

    #[test]
    fn a_thread_outside_waits_for_the_call_that_runs() {
        let (gate, inside) = (Gate::default(), Barrier::new(2));
        let (left, called) = (AtomicBool::new(false), AtomicBool::new(false));
        thread::scope(|scope| {
            scope.spawn(|| {
                gate.call(|| {
                    inside.wait();
                    // Longer than a thread would wait that is in a function itself.
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
    fn a_function_that_panics_leaves_the_gate_open() {
        let gate = Gate::default();
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| gate.call(|| panic!("of the test"))));
        assert!(panicked.is_err());
        assert!(!is_inside_any() && gate.call(is_inside_any) == Some(true));
    }
}
