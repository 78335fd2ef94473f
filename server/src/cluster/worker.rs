//! The entry of a worker in the registry, and the choice of the worker with most capacity.

use serde::{Deserialize, Serialize};

/// A worker as the registry has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Worker {
    /// `wkr_…`; another one with each start, since a worker that starts has no streams.
    pub(crate) id: String,
    /// Where gateways reach it: scheme, host and port.
    pub(crate) url: String,
    /// Whether it needs no key.
    pub(crate) open: bool,
    /// Whether it is draining: it accepts no new streams.
    pub(crate) draining: bool,
    pub(crate) streams: usize,
    pub(crate) max_streams: usize,
    /// Streams that make pictures.
    pub(crate) sessions: usize,
    pub(crate) max_sessions: usize,
}

/// The prefix of worker ids, and their form as a Redis pattern.
pub(crate) const ID_PREFIX: &str = "wkr_";
pub(super) const ID_PATTERN: &str = "wkr_????????????????";

/// Whether text can be the id of a worker.
pub(super) fn is_id(text: &str) -> bool {
    let rest = text.strip_prefix(ID_PREFIX);
    text.len() == ID_PATTERN.len() && rest.is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

impl Worker {
    fn has_capacity(&self) -> bool {
        !self.draining && self.streams < self.max_streams
    }
}

/// The worker that a new stream does best with: first by the share of its sessions that run, then by that of its streams.
/// `None` if no worker has capacity.
pub(crate) fn least_loaded(workers: &[Worker]) -> Option<&Worker> {
    let share = |some: usize, all: usize| some as f64 / all.max(1) as f64;
    let load =
        |worker: &Worker| (share(worker.sessions, worker.max_sessions), share(worker.streams, worker.max_streams));
    let lighter = |a: &&Worker, b: &&Worker| {
        let ((a_sessions, a_streams), (b_sessions, b_streams)) = (load(a), load(b));
        a_sessions.total_cmp(&b_sessions).then(a_streams.total_cmp(&b_streams)).then_with(|| a.id.cmp(&b.id))
    };
    workers.iter().filter(|worker| worker.has_capacity()).min_by(lighter)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worker(id: &str, sessions: usize, streams: usize) -> Worker {
        Worker {
            id: id.into(),
            url: "http://10.0.0.5:8889".into(),
            open: false,
            draining: false,
            streams,
            max_streams: 8,
            sessions,
            max_sessions: 4,
        }
    }

    #[test]
    fn ids_have_one_form() {
        assert!((0..100).all(|_| is_id(&crate::ids::new(ID_PREFIX))));
        for text in
            ["", "wkr_", "wkr_000000000000000", "wkr_00000000000000000", "str_0000000000000000", "wkr_000000000000000*"]
        {
            assert!(!is_id(text), "{text}");
        }
    }

    #[test]
    fn a_stream_goes_where_the_smallest_share_is_in_use() {
        let chosen = |workers: &[Worker]| least_loaded(workers).map(|worker| worker.id.clone());
        let workers = [worker("a", 2, 2), worker("b", 1, 5), worker("c", 1, 4)];
        assert_eq!(chosen(&workers).as_deref(), Some("c"));
        let large = Worker { max_sessions: 100, ..worker("large", 4, 4) };
        assert_eq!(chosen(&[workers[2].clone(), large]).as_deref(), Some("large"));
        // One whose sessions all run still takes streams, which wait for one to end.
        assert_eq!(chosen(&[worker("busy", 4, 4)]).as_deref(), Some("busy"));
    }

    #[test]
    fn full_and_draining_workers_get_no_streams() {
        let leaving = Worker { draining: true, ..worker("leaving", 0, 0) };
        assert_eq!(least_loaded(&[worker("full", 0, 8), leaving]), None);
        assert_eq!(least_loaded(&[]), None);
    }
}
