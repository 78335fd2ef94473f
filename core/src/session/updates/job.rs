//! An accepted update, and the parameters that it is applied to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::conditioning::transition::Transition;
use crate::error::{Error, ErrorKind, Result};
use crate::params::{Cost, StreamDiffusionParams, covers, depends, rebase_where, touched};

/// The worker of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lane {
    /// Updates that need only loaded networks.
    Quick,
    /// Updates that load networks, and those that wait for them.
    Load,
}

/// An accepted update: its changes, not all parameters.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) version: u64,
    pub(crate) lane: Lane,
    pub(crate) places: BTreeSet<String>,
    /// The transition to the prompt, unless it changes immediately.
    transition: Option<Transition>,
    before: Arc<StreamDiffusionParams>,
    pub(crate) after: Arc<StreamDiffusionParams>,
}

impl Job {
    /// Returns the change from `before` to `after`; its version is assigned when it is accepted.
    pub(crate) fn new(before: Arc<StreamDiffusionParams>, after: Arc<StreamDiffusionParams>, cost: Cost) -> Self {
        let lane = if cost <= Cost::Recompute { Lane::Quick } else { Lane::Load };
        Self { version: 0, lane, places: touched(&before, &after), transition: None, before, after }
    }

    /// Returns the transition from `before` to `after`, which may differ in the prompt only.
    pub(crate) fn transition(
        before: Arc<StreamDiffusionParams>,
        after: Arc<StreamDiffusionParams>,
        transition: Transition,
    ) -> Self {
        // Also if that prompt is desired already: the steps may differ.
        let places = BTreeSet::from(["prompt".to_owned()]);
        Self { version: 0, lane: Lane::Quick, places, transition: Some(transition), before, after }
    }

    /// Returns the transition that leads to `params`; `None` if a later update has set another prompt.
    pub(crate) fn transition_to(&self, params: &StreamDiffusionParams) -> Option<&Transition> {
        self.transition.as_ref().filter(|transition| transition.target_prompts == params.prompt)
    }

    /// Applies it to `planned`, except for places that later updates have changed.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` if it changes an item that does not exist.
    pub(crate) fn onto<S>(&self, planned: &Planned<S>) -> Result<StreamDiffusionParams> {
        self.put(&planned.params, &planned.versions).ok_or_else(|| {
            let text = format!(
                "update {} changes an item that does not exist: the earlier update that adds it was not applied",
                self.version
            );
            Error::new(ErrorKind::InvalidArgument, text)
        })
    }

    /// Like [`onto`](Self::onto); `None` if an item does not exist.
    pub(crate) fn put(
        &self,
        params: &StreamDiffusionParams,
        versions: &FieldVersions,
    ) -> Option<StreamDiffusionParams> {
        let later = |place: &str| versions.iter().any(|(of, &version)| version > self.version && covers(of, place));
        let rebased = rebase_where(&self.before, &self.after, params, |place| !later(place));
        rebased.complete.then_some(rebased.params)
    }

    /// Returns true if it was accepted after `other`.
    pub(crate) fn is_behind(&self, other: &Self) -> bool {
        other.version < self.version
    }

    /// Returns true if each place that it changes is one of `places` or inside one.
    pub(crate) fn is_covered(&self, places: &mut dyn Iterator<Item = &String>) -> bool {
        let places: Vec<_> = places.collect();
        self.places.iter().all(|place| places.iter().any(|outer| covers(outer, place)))
    }

    /// Returns true if it needs `other`, an earlier update: it changes something inside a value that `other` adds, removes
    /// or replaces, or the order of items with such a one.
    pub(crate) fn needs(&self, other: &Self) -> bool {
        self.is_behind(other) && self.places.iter().any(|place| other.places.iter().any(|outer| depends(place, outer)))
    }
}

/// The version of the update that changed each place last.
pub(crate) type FieldVersions = BTreeMap<String, u64>;

/// The state that was sent to the session's thread last.
#[derive(Debug, Clone)]
pub(crate) struct Planned<S> {
    pub(crate) params: Arc<StreamDiffusionParams>,
    /// `None` while the old pipeline is released and the new one is not built.
    pub(crate) snapshot: Option<S>,
    /// Its sequence number.
    pub(crate) seq: u64,
    /// The update that changed a place last, as long as an earlier one is pending.
    pub(crate) versions: Arc<FieldVersions>,
}

/// Returns the versions of those jobs in `queue` (oldest first) whose places are all changed again by later ones, and which
/// none of `pending` [needs](Job::needs).
pub(crate) fn superseded<'a>(queue: impl DoubleEndedIterator<Item = &'a Arc<Job>>, pending: &[Arc<Job>]) -> Vec<u64> {
    let mut later: Vec<&str> = Vec::new();
    let mut out = Vec::new();
    for job in queue.rev() {
        let needs = |other: &Arc<Job>| other.needs(job) && !out.contains(&other.version);
        let is_covered = job.places.iter().all(|place| later.iter().any(|outer| covers(outer, place)));
        if is_covered && !pending.iter().any(needs) {
            out.push(job.version);
        } else {
            later.extend(job.places.iter().map(String::as_str));
        }
    }
    out
}
