//! Requests to end: checked between two frames, so that incomplete files are removed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::exit::{Failure, Result, end};
use super::signals::on_request_to_end;

/// The exit code of a process that a second request ends immediately.
const ENDED: u8 = 1;

/// Whether the process was asked to end.
#[derive(Debug)]
pub(super) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Listens from now on. The first request is recorded; a second one ends the process immediately, in case a frame takes
    /// minutes.
    pub(super) fn listen() -> Result<Self> {
        let interrupt = Self(Arc::default());
        let asked = Arc::clone(&interrupt.0);
        on_request_to_end(move || {
            if asked.swap(true, Ordering::Relaxed) {
                end(ENDED);
            }
        })?;
        Ok(interrupt)
    }

    /// Fails once the process was asked to end.
    pub(super) fn check(&self) -> Result {
        if self.0.load(Ordering::Relaxed) { Err(Failure::Interrupted) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_to_end_is_noticed() {
        let interrupt = Interrupt(Arc::default());
        assert!(interrupt.check().is_ok());
        interrupt.0.store(true, Ordering::Relaxed);
        assert!(matches!(interrupt.check(), Err(Failure::Interrupted)));
    }
}
