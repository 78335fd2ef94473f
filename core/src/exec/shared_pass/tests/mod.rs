//! Tests of shared passes, with a clock that tests set.

mod group;
mod scheduler;

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::shared::Clock;

thread_local! {
    static CLOCK: RefCell<Option<Arc<AtomicU64>>> = const { RefCell::new(None) };
}

/// Sets the clock of the groups that this thread makes from now on, and returns it; it shows milliseconds.
pub(crate) fn set_clock() -> Arc<AtomicU64> {
    let clock = Arc::<AtomicU64>::default();
    CLOCK.set(Some(clock.clone()));
    clock
}

/// Returns the clock that this thread has set, if there is one.
pub(super) fn clock() -> Option<Clock> {
    let clock = CLOCK.with_borrow(Clone::clone)?;
    Some(Box::new(move || Duration::from_millis(clock.load(Ordering::SeqCst))))
}
