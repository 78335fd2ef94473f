//! Limits panics, which are defects, to what they happen in: other streams and connections continue.

use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use futures_util::FutureExt as _;

/// The time until a task starts again, so that one that panics each time needs little of the processor.
const PAUSE: Duration = Duration::from_millis(100);

/// Calls `task`. Returns `None`, with an error in the log, if it panics.
///
/// What `task` changes is not undone: locks that it holds are poisoned, and their values may be changed in part.
pub(crate) fn contain<T>(what: impl Display, task: impl FnOnce() -> T) -> Option<T> {
    let result = catch_unwind(AssertUnwindSafe(task)).ok();
    if result.is_none() {
        tracing::error!("{what} panicked");
    }
    result
}

/// Waits for the future that `start` returns; if that panics, for another one, with an error in the log.
pub(crate) async fn restart_after_panics<F: Future>(what: &str, start: impl Fn() -> F) -> F::Output {
    loop {
        // Within the future, as `start` may panic as well.
        let task = AssertUnwindSafe(async { start().await });
        if let Ok(output) = task.catch_unwind().await {
            return output;
        }
        tracing::error!("{what} panicked, and starts again");
        tokio::time::sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn a_contained_panic_has_no_result() {
        assert_eq!(contain("a task", || 3), Some(3));
        assert_eq!(contain::<()>("a task", || panic!("a defect")), None);
    }

    #[tokio::test]
    async fn a_task_that_panics_starts_again_until_it_ends() {
        let starts = Cell::new(0);
        let task = || async {
            starts.set(starts.get() + 1);
            tokio::task::yield_now().await;
            assert!(starts.get() > 2, "a defect");
            "done"
        };
        assert_eq!(restart_after_panics("a task", task).await, "done");
        assert_eq!(starts.get(), 3);
    }
}
