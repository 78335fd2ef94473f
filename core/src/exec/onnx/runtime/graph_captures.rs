//! Keeps captures of CUDA graphs apart from what ends them with an error.
//!
//! While a thread captures, no thread may wait for the whole device, which the creation and the release of sessions and of
//! their handles do: the call fails, and the capture with it. [`OwnCaptures`](super::super::cuda_driver::OwnCaptures) permits
//! allocations, but not that. So a run is captured only while nothing of that kind happens, which waits until the capture has
//! ended. A run that cannot be captured runs without, and does not wait.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::ThreadId;

/// What happens in this process.
static PROCESS: Captures = Captures::new();

/// Number of runs on a thread after which the graph of a binding is captured: the first allocates, the second captures, and
/// one is to spare.
const RUNS: u32 = 3;

#[derive(Debug)]
struct Captures {
    state: Mutex<State>,
    ended: Condvar,
}

#[derive(Debug)]
struct State {
    is_capturing: bool,
    /// The number of [`Exclusion`]s.
    exclusions: usize,
}

impl Captures {
    const fn new() -> Self {
        Self { state: Mutex::new(State { is_capturing: false, exclusions: 0 }), ended: Condvar::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn capture(&'static self) -> Option<Capture> {
        let mut state = self.state();
        if state.is_capturing || state.exclusions > 0 {
            return None;
        }
        state.is_capturing = true;
        Some(Capture(self))
    }

    fn exclude(&'static self) -> Exclusion {
        let mut state = self.state();
        while state.is_capturing {
            state = self.ended.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.exclusions += 1;
        Exclusion(self)
    }
}

/// While it exists, nothing ends the capture of this thread. It excludes other captures.
#[derive(Debug)]
pub(super) struct Capture(&'static Captures);

impl Drop for Capture {
    fn drop(&mut self) {
        self.0.state().is_capturing = false;
        self.0.ended.notify_all();
    }
}

/// While it exists, no run is captured.
#[derive(Debug)]
pub(super) struct Exclusion(&'static Captures);

/// Waits for the end of a capture, which takes as long as a run. The thread must not have begun one.
pub(super) fn exclude() -> Exclusion {
    PROCESS.exclude()
}

impl Drop for Exclusion {
    fn drop(&mut self) {
        self.0.state().exclusions -= 1;
    }
}

/// Number of runs that failed after which a binding runs without a graph for good.
const FAILURES: u32 = 3;

/// The runs of a binding that may be captured. The library captures them for each thread.
#[derive(Debug, Default)]
pub(super) struct Runs {
    thread: Option<ThreadId>,
    count: u32,
    failures: u32,
}

/// How a binding may run.
#[derive(Debug)]
pub(super) enum Permit {
    /// Its graph is captured.
    Repeat,
    /// Its graph may be captured, as long as this exists.
    Capture(#[expect(dead_code, reason = "its end matters")] Capture),
    /// It runs without a graph.
    Without,
}

impl Runs {
    /// Returns how the next run on `thread` may be.
    pub(super) fn permit(&self, thread: ThreadId) -> Permit {
        self.permit_at(&PROCESS, thread)
    }

    fn permit_at(&self, captures: &'static Captures, thread: ThreadId) -> Permit {
        if self.thread == Some(thread) && self.count >= RUNS {
            return Permit::Repeat;
        }
        if self.failures == FAILURES {
            return Permit::Without;
        }
        captures.capture().map_or(Permit::Without, Permit::Capture)
    }

    /// Adds a run on `thread`, which failed unless `is_done`. Runs on another thread than before are counted from zero.
    pub(super) fn add(&mut self, thread: ThreadId, is_done: bool) {
        if is_done {
            let before = if self.thread == Some(thread) { self.count } else { 0 };
            (self.thread, self.count) = (Some(thread), (before + 1).min(RUNS));
        } else {
            (self.count, self.failures) = (0, self.failures + 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    #[test]
    fn nothing_is_captured_during_another_capture_or_an_exclusion() {
        static CAPTURES: Captures = Captures::new();
        let (own, runs) = (thread::current().id(), Runs::default());
        for exclusion in [CAPTURES.exclude(), CAPTURES.exclude()] {
            assert!(matches!(runs.permit_at(&CAPTURES, own), Permit::Without));
            drop(exclusion);
        }
        let capture = runs.permit_at(&CAPTURES, own);
        assert!(matches!(capture, Permit::Capture(_)));
        assert!(matches!(runs.permit_at(&CAPTURES, own), Permit::Without));
        drop(capture);
        assert!(matches!(runs.permit_at(&CAPTURES, own), Permit::Capture(_)));
    }

    #[test]
    fn an_exclusion_waits_for_the_end_of_a_capture() {
        static CAPTURES: Captures = Captures::new();
        let capture = CAPTURES.capture().unwrap();
        let (begun, has_begun) = mpsc::channel();
        let waiting = thread::spawn(move || {
            begun.send("waits").unwrap();
            let _exclusion = CAPTURES.exclude();
            assert!(!CAPTURES.state().is_capturing);
            begun.send("excludes").unwrap();
        });
        assert_eq!(has_begun.recv().unwrap(), "waits");
        for _ in 0..1000 {
            assert!(has_begun.try_recv().is_err());
            thread::yield_now();
        }
        drop(capture);
        assert_eq!(has_begun.recv().unwrap(), "excludes");
        waiting.join().unwrap();
    }

    #[test]
    fn runs_are_captured_for_each_thread() {
        static CAPTURES: Captures = Captures::new();
        let own = thread::current().id();
        let other = thread::spawn(|| thread::current().id()).join().unwrap();
        let mut runs = Runs::default();
        let repeats = |runs: &Runs, thread| matches!(runs.permit_at(&CAPTURES, thread), Permit::Repeat);
        for _ in 0..RUNS {
            assert!(!repeats(&runs, own));
            runs.add(own, true);
        }
        assert!(repeats(&runs, own) && !repeats(&runs, other));
        runs.add(other, true);
        assert!(!repeats(&runs, own) && !repeats(&runs, other));
        let _exclusion = CAPTURES.exclude();
        (1..RUNS).for_each(|_| runs.add(other, true));
        assert!(repeats(&runs, other));
    }

    #[test]
    fn a_binding_whose_captures_fail_runs_without() {
        static CAPTURES: Captures = Captures::new();
        let own = thread::current().id();
        let mut runs = Runs::default();
        for _ in 0..FAILURES {
            runs.add(own, true);
            assert!(matches!(runs.permit_at(&CAPTURES, own), Permit::Capture(_)));
            runs.add(own, false);
        }
        assert!(matches!(runs.permit_at(&CAPTURES, own), Permit::Without));
    }
}
