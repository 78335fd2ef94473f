//! Start of a session's threads.

use std::thread::{Builder, JoinHandle};

use tracing::dispatcher::{self, Dispatch};
use tracing::subscriber::NoSubscriber;

use crate::error::{Error, ErrorKind, Result};

/// Starts a thread with the tracing subscriber of this thread.
pub(super) fn spawn<T: Send + 'static>(name: &str, work: impl FnOnce() -> T + Send + 'static) -> Result<JoinHandle<T>> {
    let dispatch = dispatcher::get_default(Dispatch::clone);
    // A global subscriber may be set later.
    let nowhere = dispatch.is::<NoSubscriber>();
    Builder::new()
        .name(name.to_owned())
        .spawn(move || if nowhere { work() } else { dispatcher::with_default(&dispatch, work) })
        .map_err(|error| Error::new(ErrorKind::Device, format!("failed to start the thread {name}")).with_source(error))
}
