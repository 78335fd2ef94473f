//! What the desk's lock is for: the desired parameters, the lanes, and what was sent.

use std::collections::VecDeque;
use std::sync::Arc;

use super::job::{Job, Lane, Planned, superseded};
use crate::error::{Error, ErrorKind};
use crate::params::StreamDiffusionParams;

/// What the desk's lock is for.
pub(super) struct State<S> {
    pub(super) desired: Arc<StreamDiffusionParams>,
    pub(super) version: u64,
    pub(super) planned: Planned<S>,
    pub(super) last_seq: u64,
    pub(super) quick: Queue,
    pub(super) load: Queue,
    /// What was sent and not yet applied; nothing for parameters that are brought back.
    pub(super) sent: VecDeque<(u64, Option<Arc<Job>>)>,
    pub(super) refusals: VecDeque<(u64, Arc<Error>)>,
    /// The place in the order from which on a frame must be worked on before the transition under way takes a step.
    pub(super) stepped: u64,
    /// The worker of the quick lane makes a step.
    pub(super) stepping: bool,
    /// The quick lane takes no job.
    pub(super) held: bool,
    pub(super) closed: bool,
}

#[derive(Default)]
/// The jobs of one lane.
pub(super) struct Queue {
    pub(super) waiting: VecDeque<Arc<Job>>,
    pub(super) busy: Option<Arc<Job>>,
    /// The busy job was taken back meanwhile.
    pub(super) cancelled: bool,
}

impl<S> State<S> {
    /// Nothing on its way.
    pub(super) fn new(planned: Planned<S>) -> Self {
        Self {
            desired: planned.params.clone(),
            version: 0,
            planned,
            last_seq: 0,
            quick: Queue::default(),
            load: Queue::default(),
            sent: VecDeque::new(),
            refusals: VecDeque::new(),
            stepped: 0,
            stepping: false,
            held: false,
            closed: false,
        }
    }

    /// The jobs of `lane`.
    pub(super) fn queue(&mut self, lane: Lane) -> &mut Queue {
        match lane {
            Lane::Quick => &mut self.quick,
            Lane::Load => &mut self.load,
        }
    }

    /// The lane whose worker does `job`.
    fn busy_with(&mut self, job: &Arc<Job>) -> Option<&mut Queue> {
        [&mut self.quick, &mut self.load]
            .into_iter()
            .find(|queue| queue.busy.as_ref().is_some_and(|busy| Arc::ptr_eq(busy, job)))
    }

    /// Whether the worker of `lane` is at work.
    pub(super) fn is_busy(&self, lane: Lane) -> bool {
        match lane {
            Lane::Quick => self.stepping || self.quick.busy.is_some(),
            Lane::Load => self.load.busy.is_some(),
        }
    }

    /// Whether nobody waits for `job` any more; its worker is free then.
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

    /// Frees the worker that does `job`.
    pub(super) fn finish(&mut self, job: &Arc<Job>) {
        if let Some(queue) = self.busy_with(job) {
            queue.busy = None;
        }
    }

    /// Puts a job into its lane, and gives the versions of those that it makes needless.
    pub(super) fn enqueue(&mut self, job: Arc<Job>) -> Vec<u64> {
        let queue = self.queue(job.lane);
        queue.waiting.push_back(job);
        let skipped = superseded(queue.waiting.iter());
        queue.waiting.retain(|job| !skipped.contains(&job.version));
        skipped
    }

    /// Works the desired parameters out anew: what is planned, with every job that is on its way. Those that do not fit any
    /// more without `refused` are dropped, and given with the reason.
    pub(super) fn work_out_desired(&mut self, refused: u64) -> Vec<(u64, Arc<Error>)> {
        let mut jobs: Vec<Arc<Job>> = self.quick.pending().chain(self.load.pending()).cloned().collect();
        jobs.sort_by_key(|job| job.version);
        let mut desired = (*self.planned.params).clone();
        let mut dropped = Vec::new();
        for job in jobs {
            match job.put(&desired, &self.planned.stamps).filter(|params| params.validate().is_ok()) {
                Some(params) => desired = params,
                None => {
                    let text = format!("update {} does not fit without update {refused}, which failed", job.version);
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

impl Queue {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.waiting.len() + usize::from(self.busy.is_some())
    }

    /// Gives its worker something to do.
    pub(super) fn start(&mut self, job: &Arc<Job>) {
        self.busy = Some(job.clone());
        self.cancelled = false;
    }

    /// The jobs that are being done or wait, but for one that was taken back.
    pub(super) fn pending(&self) -> impl Iterator<Item = &Arc<Job>> {
        self.busy.iter().filter(|_| !self.cancelled).chain(&self.waiting)
    }

    /// Puts a job in the order of versions.
    pub(super) fn insert(&mut self, job: Arc<Job>) {
        let at = self.waiting.iter().position(|other| other.version > job.version).unwrap_or(self.waiting.len());
        self.waiting.insert(at, job);
    }

    /// Takes a job back.
    pub(super) fn cancel(&mut self, job: &Arc<Job>) {
        self.waiting.retain(|other| !Arc::ptr_eq(other, job));
        self.cancelled |= self.busy.as_ref().is_some_and(|busy| Arc::ptr_eq(busy, job));
    }
}
