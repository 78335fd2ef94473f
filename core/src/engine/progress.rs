//! Progress of loading, reported to the host, which may cancel it.

use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, ErrorKind, Result};
use crate::load::Component;
use crate::net::LoadObserver;

/// Progress of the loading of one network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress<'a> {
    /// The class of the network in its config, such as `UNet2DConditionModel`.
    pub component: &'a str,
    /// How many of its weights are loaded; some may never be needed.
    pub done: u64,
    /// The number of weights.
    pub total: u64,
}

type Callback = dyn Fn(&Progress<'_>) -> ControlFlow<()> + Send + Sync;

/// Calls the host's callback.
#[derive(Clone)]
pub(crate) struct ProgressWatch(Arc<Callback>);

impl ProgressWatch {
    pub(super) fn new(callback: impl Fn(&Progress<'_>) -> ControlFlow<()> + Send + Sync + 'static) -> Self {
        Self(Arc::new(callback))
    }

    /// Returns what reports the loading of the weights of `component`.
    pub(super) fn of(&self, component: &Component) -> Arc<dyn LoadObserver> {
        let (class, total) = (component.class.clone(), component.weights.numbers());
        Arc::new(ComponentWatch { callback: self.clone(), class, done: AtomicU64::new(0), total })
    }
}

impl fmt::Debug for ProgressWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProgressWatch").finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct ComponentWatch {
    callback: ProgressWatch,
    class: String,
    done: AtomicU64,
    total: u64,
}

impl LoadObserver for ComponentWatch {
    fn loading(&self, elements: u64) {
        self.done.fetch_add(elements, Ordering::Relaxed);
    }

    fn check_cancelled(&self) -> Result<()> {
        // Weights that are packed in two forms count twice.
        let done = self.done.load(Ordering::Relaxed).min(self.total);
        let progress = Progress { component: &self.class, done, total: self.total };
        if (self.callback.0)(&progress).is_break() {
            let text = format!("loading {} was cancelled at {done} of {} weights", self.class, self.total);
            return Err(Error::new(ErrorKind::Cancelled, text));
        }
        Ok(())
    }
}

#[cfg(all(test, feature = "demo-model"))]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Mutex;

    use crate::Engine;

    use super::*;

    #[test]
    fn progress_of_each_network_ends_at_its_number_of_weights() {
        let seen = Arc::new(Mutex::new(BTreeMap::<String, Vec<u64>>::new()));
        let told = seen.clone();
        let builder = Engine::builder().progress(move |progress| {
            assert!(progress.done <= progress.total);
            told.lock().unwrap().entry(progress.component.to_owned()).or_default().push(progress.done);
            ControlFlow::Continue(())
        });
        builder.build().unwrap();
        let seen = seen.lock().unwrap();
        assert!(seen.contains_key("UNet2DConditionModel"), "{:?}", seen.keys());
        assert!(seen.values().all(|done| done.is_sorted() && done.last() > Some(&0)), "{seen:?}");
    }

    #[test]
    fn the_host_can_stop_it() {
        let refused = Engine::builder().progress(|_| ControlFlow::Break(())).build().unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Cancelled);
    }
}
