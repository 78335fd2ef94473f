//! The state of the update queue: the desired parameters, the lanes, and the sent updates.

use std::collections::VecDeque;
use std::sync::Arc;

use super::super::event_log::EVENTS;
use super::job::{FieldVersions, Job, Lane, Planned, superseded};
use crate::error::{Error, ErrorKind};
use crate::params::StreamDiffusionParams;

/// The number of replaced updates that are kept for the case that those that replace them are rejected.
const MOST_REPLACED: usize = 128;
// All can be superseded at once, and events that a host has not taken yet must not be lost by that.
const _: () = assert!(2 * MOST_REPLACED <= EVENTS);

/// The state of the update queue.
pub(super) struct State<S> {
    pub(super) desired: Arc<StreamDiffusionParams>,
    pub(super) version: u64,
    pub(super) planned: Planned<S>,
    pub(super) last_seq: u64,
    pub(super) quick: LaneQueue,
    pub(super) load: LaneQueue,
    /// Updates that would be superseded if those that replace them were applied, in the order of versions.
    replaced: VecDeque<Arc<Job>>,
    pub(super) sent: VecDeque<Sent>,
    pub(super) refusals: VecDeque<(u64, Arc<Error>)>,
    /// The sequence number with which a frame must be processed before the current transition advances.
    pub(super) stepped: u64,
    /// Whether the worker of the quick lane prepares a step.
    pub(super) stepping: bool,
    /// Whether the quick lane is paused.
    pub(super) held: bool,
    pub(super) closed: bool,
}

/// An update that was sent and is not yet applied.
pub(super) struct Sent {
    pub(super) seq: u64,
    /// `None` for restored parameters.
    pub(super) job: Option<Arc<Job>>,
    /// The versions of places without it.
    pub(super) versions: Arc<FieldVersions>,
}

/// The jobs of a lane.
#[derive(Default)]
pub(super) struct LaneQueue {
    pub(super) waiting: VecDeque<Arc<Job>>,
    pub(super) busy: Option<Arc<Job>>,
    /// Whether the busy job was cancelled.
    pub(super) cancelled: bool,
}

impl<S> State<S> {
    /// Returns one without updates.
    pub(super) fn new(planned: Planned<S>) -> Self {
        Self {
            desired: planned.params.clone(),
            version: 0,
            planned,
            last_seq: 0,
            quick: LaneQueue::default(),
            load: LaneQueue::default(),
            replaced: VecDeque::new(),
            sent: VecDeque::new(),
            refusals: VecDeque::new(),
            stepped: 0,
            stepping: false,
            held: false,
            closed: false,
        }
    }

    /// Returns the jobs of `lane`.
    pub(super) fn lane(&mut self, lane: Lane) -> &mut LaneQueue {
        match lane {
            Lane::Quick => &mut self.quick,
            Lane::Load => &mut self.load,
        }
    }

    /// Returns the lane whose worker prepares `job`.
    fn busy_with(&mut self, job: &Arc<Job>) -> Option<&mut LaneQueue> {
        [&mut self.quick, &mut self.load]
            .into_iter()
            .find(|queue| queue.busy.as_ref().is_some_and(|busy| Arc::ptr_eq(busy, job)))
    }

    /// Returns true if the worker of `lane` is busy.
    pub(super) fn is_busy(&self, lane: Lane) -> bool {
        match lane {
            Lane::Quick => self.stepping || self.quick.busy.is_some(),
            Lane::Load => self.load.busy.is_some(),
        }
    }

    /// Returns true if `job` was cancelled or has ended; its worker is free then.
    pub(super) fn is_over(&mut self, job: &Arc<Job>) -> bool {
        let closed = self.closed;
        match self.busy_with(job) {
            Some(queue) if closed || queue.cancelled => {
                queue.busy = None;
                true
            }
            Some(_) => false,
            None => true,
        }
    }

    /// Frees the worker of `job`.
    pub(super) fn finish(&mut self, job: &Arc<Job>) {
        if let Some(queue) = self.busy_with(job) {
            queue.busy = None;
        }
    }

    /// Adds a job to its lane, where it may replace others. Returns the versions of those that are superseded now because
    /// too many are replaced.
    pub(super) fn enqueue(&mut self, job: Arc<Job>) -> Vec<u64> {
        self.lane(job.lane).waiting.push_back(job.clone());
        let pending: Vec<_> = self.pending().cloned().collect();
        let queue = self.lane(job.lane);
        let skipped = superseded(queue.waiting.iter(), &pending);
        let (replaced, waiting): (VecDeque<_>, _) =
            queue.waiting.drain(..).partition(|job| skipped.contains(&job.version));
        queue.waiting = waiting;
        self.replaced.extend(replaced);
        self.replaced.make_contiguous().sort_by_key(|job| job.version);
        let excess = self.replaced.len().saturating_sub(MOST_REPLACED);
        self.replaced.drain(..excess).map(|job| job.version).collect()
    }

    /// Drops the jobs that are not prepared yet.
    pub(super) fn drop_waiting(&mut self) {
        self.quick.waiting.clear();
        self.load.waiting.clear();
        self.replaced.clear();
    }

    /// Returns the jobs that are prepared or wait.
    fn pending(&self) -> impl Iterator<Item = &Arc<Job>> {
        self.quick.pending().chain(self.load.pending())
    }

    /// Returns `versions` with the places of `job`, without those that no older job needs.
    pub(super) fn versions_with(&self, job: &Job, versions: &FieldVersions) -> FieldVersions {
        let mut versions = versions.clone();
        for place in &job.places {
            // An older job leaves the places alone that a later one has changed.
            let version = versions.entry(place.clone()).or_default();
            *version = job.version.max(*version);
        }
        let oldest = self.pending().chain(&self.replaced).map(|job| job.version).min();
        versions.retain(|_, version| oldest.is_some_and(|oldest| oldest < *version));
        versions
    }

    /// Returns the versions of the replaced jobs whose places were all changed by later updates that were applied: they are
    /// superseded, and removed.
    pub(super) fn take_superseded(&mut self) -> Vec<u64> {
        if self.replaced.is_empty() {
            return Vec::new();
        }
        let sent: Vec<u64> = self.sent.iter().flat_map(|sent| &sent.job).map(|job| job.version).collect();
        let versions = self.planned.versions.clone();
        let is_superseded = |job: &Arc<Job>| {
            let later = |version: u64| version > job.version && !sent.contains(&version);
            job.is_covered(&mut versions.iter().filter(|(_, version)| later(**version)).map(|(place, _)| place))
        };
        let (superseded, kept): (VecDeque<_>, _) = self.replaced.drain(..).partition(is_superseded);
        self.replaced = kept;
        superseded.iter().map(|job| job.version).collect()
    }

    /// Puts replaced jobs back into their lanes if what replaced them was rejected.
    fn reinstate(&mut self) {
        let versions = self.planned.versions.clone();
        // The newest first: it replaces the others again.
        for job in std::mem::take(&mut self.replaced).into_iter().rev() {
            let later: Vec<_> = self.pending().filter(|other| other.is_behind(&job)).collect();
            let planned = versions.iter().filter(|(_, version)| **version > job.version).map(|(place, _)| place);
            let is_needed = later.iter().any(|other| other.needs(&job));
            if !is_needed && job.is_covered(&mut later.iter().flat_map(|other| &other.places).chain(planned)) {
                self.replaced.push_front(job);
            } else {
                self.lane(job.lane).insert(job);
            }
        }
    }

    /// Computes the desired parameters again after `refused` was rejected: the planned ones, with every pending job, among
    /// them those that it had replaced. Jobs that are invalid without it are dropped, and returned with the reason.
    pub(super) fn recompute_desired(&mut self, refused: u64) -> Vec<(u64, Arc<Error>)> {
        let mut dropped = Vec::new();
        loop {
            self.reinstate();
            let more = self.put_pending(refused);
            if more.is_empty() {
                return dropped;
            }
            dropped.extend(more);
        }
    }

    fn put_pending(&mut self, refused: u64) -> Vec<(u64, Arc<Error>)> {
        let mut jobs: Vec<Arc<Job>> = self.pending().cloned().collect();
        jobs.sort_by_key(|job| job.version);
        let mut desired = (*self.planned.params).clone();
        let mut dropped = Vec::new();
        for job in jobs {
            match job.put(&desired, &self.planned.versions).filter(|params| params.validate().is_ok()) {
                Some(params) => desired = params,
                None => {
                    let text = format!("update {} depends on update {refused}, which failed", job.version);
                    dropped.push((job.version, Arc::new(Error::new(ErrorKind::InvalidParams, text))));
                    self.quick.cancel(&job);
                    self.load.cancel(&job);
                }
            }
        }
        self.desired = Arc::new(desired);
        dropped
    }
}

impl LaneQueue {
    /// Returns the number of jobs.
    pub(super) fn len(&self) -> usize {
        self.waiting.len() + usize::from(self.busy.is_some())
    }

    /// Marks a job as the one that the worker prepares.
    pub(super) fn start(&mut self, job: &Arc<Job>) {
        self.busy = Some(job.clone());
        self.cancelled = false;
    }

    /// Returns the jobs that are prepared or wait, except for a cancelled one.
    pub(super) fn pending(&self) -> impl Iterator<Item = &Arc<Job>> {
        self.busy.iter().filter(|_| !self.cancelled).chain(&self.waiting)
    }

    /// Returns true if `job` needs one of these jobs, and has to wait for it.
    pub(super) fn is_needed_by(&self, job: &Job) -> bool {
        self.pending().any(|earlier| job.needs(earlier))
    }

    /// Inserts a job in the order of versions.
    pub(super) fn insert(&mut self, job: Arc<Job>) {
        let at = self.waiting.iter().position(|other| other.version > job.version).unwrap_or(self.waiting.len());
        self.waiting.insert(at, job);
    }

    /// Cancels a job.
    pub(super) fn cancel(&mut self, job: &Arc<Job>) {
        self.waiting.retain(|other| !Arc::ptr_eq(other, job));
        self.cancelled |= self.busy.as_ref().is_some_and(|busy| Arc::ptr_eq(busy, job));
    }
}
