//! The state of the update queue: the desired parameters, the lanes, and the sent updates.

use std::collections::VecDeque;
use std::sync::Arc;

use super::job::{Job, Lane, Planned, superseded};
use crate::error::{Error, ErrorKind};
use crate::params::StreamDiffusionParams;

/// The state of the update queue.
pub(super) struct State<S> {
    pub(super) desired: Arc<StreamDiffusionParams>,
    pub(super) version: u64,
    pub(super) planned: Planned<S>,
    pub(super) last_seq: u64,
    pub(super) quick: LaneQueue,
    pub(super) load: LaneQueue,
    /// Updates that were sent and not yet applied; no job for restored parameters.
    pub(super) sent: VecDeque<(u64, Option<Arc<Job>>)>,
    pub(super) refusals: VecDeque<(u64, Arc<Error>)>,
    /// The sequence number with which a frame must be processed before the current transition advances.
    pub(super) stepped: u64,
    /// Whether the worker of the quick lane prepares a step.
    pub(super) stepping: bool,
    /// Whether the quick lane is paused.
    pub(super) held: bool,
    pub(super) closed: bool,
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

    /// Adds a job to its lane, and returns the versions of those that it supersedes.
    pub(super) fn enqueue(&mut self, job: Arc<Job>) -> Vec<u64> {
        let queue = self.lane(job.lane);
        queue.waiting.push_back(job);
        let skipped = superseded(queue.waiting.iter());
        queue.waiting.retain(|job| !skipped.contains(&job.version));
        skipped
    }

    /// Computes the desired parameters again: the planned ones, with every pending job. Jobs that are invalid without
    /// `refused` are dropped, and returned with the reason.
    pub(super) fn recompute_desired(&mut self, refused: u64) -> Vec<(u64, Arc<Error>)> {
        let mut jobs: Vec<Arc<Job>> = self.quick.pending().chain(self.load.pending()).cloned().collect();
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
