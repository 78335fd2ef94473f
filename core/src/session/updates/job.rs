//! One accepted update, on its way, and what it is put onto.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::conditioning::transition::Transition;
use crate::error::{Error, ErrorKind, Result};
use crate::params::{Cost, StreamDiffusionParams, covers, rebase_where, touched};

/// Which worker does a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lane {
    /// What loaded networks can do.
    Quick,
    /// What brings in others, and what has to wait for that.
    Load,
}

/// One accepted update: what it changes, not what all parameters then are.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) version: u64,
    pub(crate) lane: Lane,
    pub(crate) places: BTreeSet<String>,
    /// How the prompt gets there, where that is not at once.
    transition: Option<Transition>,
    before: Arc<StreamDiffusionParams>,
    pub(crate) after: Arc<StreamDiffusionParams>,
}

impl Job {
    /// The change from `before` to `after`; its version is given when it is accepted.
    pub(crate) fn new(before: Arc<StreamDiffusionParams>, after: Arc<StreamDiffusionParams>, cost: Cost) -> Self {
        let lane = if cost <= Cost::Recompute { Lane::Quick } else { Lane::Load };
        Self { version: 0, lane, places: touched(&before, &after), transition: None, before, after }
    }

    /// The way from `before` to `after`, which differ in the prompt alone, if at all.
    pub(crate) fn transition(
        before: Arc<StreamDiffusionParams>,
        after: Arc<StreamDiffusionParams>,
        transition: Transition,
    ) -> Self {
        // Also where it leads to the prompt that is desired already: it may get there another way.
        let places = BTreeSet::from(["prompt".to_owned()]);
        Self { version: 0, lane: Lane::Quick, places, transition: Some(transition), before, after }
    }

    /// The transition that leads to `params`; nothing where a later update has chosen another prompt.
    pub(crate) fn way_to(&self, params: &StreamDiffusionParams) -> Option<&Transition> {
        self.transition.as_ref().filter(|transition| transition.target_prompts == params.prompt)
    }

    /// What it makes of `planned`, without what later updates have changed already.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` where it changes an item that is not there.
    pub(crate) fn onto<S>(&self, planned: &Planned<S>) -> Result<StreamDiffusionParams> {
        self.put(&planned.params, &planned.stamps).ok_or_else(|| {
            let text = format!("update {} changes an item that an earlier update should have brought", self.version);
            Error::new(ErrorKind::InvalidArgument, text)
        })
    }

    /// As [`onto`](Self::onto); nothing where an item is not there.
    pub(crate) fn put(&self, params: &StreamDiffusionParams, stamps: &Stamps) -> Option<StreamDiffusionParams> {
        let later = |place: &str| stamps.iter().any(|(of, &version)| version > self.version && covers(of, place));
        let rebased = rebase_where(&self.before, &self.after, params, |place| !later(place));
        rebased.complete.then_some(rebased.params)
    }

    /// Whether it was accepted after `other`.
    pub(crate) fn is_behind(&self, other: &Self) -> bool {
        other.version < self.version
    }

    /// Whether it changes something inside what `other` brings, removes or replaces whole.
    pub(crate) fn is_inside(&self, other: &Self) -> bool {
        let inside = |place: &String| other.places.iter().any(|outer| outer != place && covers(outer, place));
        self.places.iter().any(inside)
    }
}

/// Which update changed a place last.
pub(crate) type Stamps = BTreeMap<String, u64>;

/// What was sent to the session's thread last, and all that was made for it.
#[derive(Debug, Clone)]
pub(crate) struct Planned<S> {
    pub(crate) params: Arc<StreamDiffusionParams>,
    /// Nothing while the old went before the new is made.
    pub(crate) snapshot: Option<S>,
    /// Its place in the order of what was sent.
    pub(crate) seq: u64,
    /// Which update changed a place last, as far as an earlier one is still on its way.
    pub(crate) stamps: Arc<Stamps>,
}

/// The versions of those of `queue`, oldest first, whose places later ones all change again.
pub(crate) fn superseded<'a>(queue: impl DoubleEndedIterator<Item = &'a Arc<Job>>) -> Vec<u64> {
    let mut later: Vec<&str> = Vec::new();
    let mut out = Vec::new();
    for job in queue.rev() {
        if job.places.iter().all(|place| later.iter().any(|outer| covers(outer, place))) {
            out.push(job.version);
        } else {
            later.extend(job.places.iter().map(String::as_str));
        }
    }
    out
}
