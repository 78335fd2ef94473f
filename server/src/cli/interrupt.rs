//! Requests to end: checked between two frames, so that incomplete files are removed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::exit::{Failure, Result};

/// The exit code of a process that a second request ends immediately.
const ENDED: u8 = 1;

/// Whether the process was asked to end.
#[derive(Debug)]
pub(super) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Listens from now on. The first request is recorded; a second one ends the process immediately, in case a frame takes
    /// minutes.
    pub(super) fn listen() -> Result<Self> {
        let asked = Arc::new(AtomicBool::new(false));
        record(&asked)?;
        Ok(Self(asked))
    }

    /// Fails once the process was asked to end.
    pub(super) fn check(&self) -> Result {
        if self.0.load(Ordering::Relaxed) { Err(Failure::Interrupted) } else { Ok(()) }
    }
}

/// Records requests in the signal handler, so that one counts even if the input ends immediately after it.
#[cfg(unix)]
fn record(asked: &Arc<AtomicBool>) -> Result {
    use signal_hook::consts::{SIGINT, SIGTERM};
    use signal_hook::flag;

    for signal in [SIGINT, SIGTERM] {
        // In this order: the first signal finds the flag not yet set.
        flag::register_conditional_shutdown(signal, ENDED.into(), asked.clone())
            .and_then(|_| flag::register(signal, asked.clone()))
            .map_err(super::signals::failed)?;
    }
    Ok(())
}

/// Records requests on a thread of its own.
#[cfg(windows)]
fn record(asked: &Arc<AtomicBool>) -> Result {
    let asked = Arc::clone(asked);
    super::signals::on_request_to_end(move || {
        if asked.swap(true, Ordering::Relaxed) {
            super::exit::end(ENDED);
        }
    })
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
