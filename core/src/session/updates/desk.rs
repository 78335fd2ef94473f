//! Update queue: accepts, orders and rolls back parameter updates; holds the desired parameters.
//!
//! The one lock here is for hosts that update and for workers, for as long as it takes to change a list. Neither frames nor
//! `submit` and `poll` come near it.

use std::fmt;
use std::sync::{Arc, PoisonError};

use super::super::events::Event;
use super::super::machine::Bench;
use super::super::primitives::{Mutex, MutexGuard};
use super::super::reports::Reports;
use super::Ticket;
use super::job::{Job, Lane, Planned, Stamps};
use super::line::{Command, Delivery, Line};
use super::state::State;
use crate::error::{Error, ErrorKind, Result};
use crate::params::{Notice, StreamDiffusionParams, diff, total_cost};

/// How many prepared updates may wait for the session's thread; later ones wait unprepared, and may be superseded there.
const MOST_SENT: usize = 4;
/// How many refusals are kept for who asks for them by number.
const REFUSALS: usize = 64;

/// Orders the updates of one session.
pub(crate) struct Desk<B: Bench> {
    state: Mutex<State<B::Snapshot>>,
    pub(crate) line: Arc<Line<B>>,
    pub(crate) reports: Arc<Reports>,
}

/// A job, and what it is to be put onto.
pub(crate) struct Task<B: Bench> {
    pub(crate) job: Arc<Job>,
    pub(crate) planned: Planned<B::Snapshot>,
}

/// What a worker does next.
pub(crate) enum Turn<B: Bench> {
    Job(Task<B>),
    /// The next step of the transition under way.
    Step(Planned<B::Snapshot>),
}

impl<B: Bench> Desk<B> {
    /// A desk for an engine that has `snapshot` in use, for `params`.
    pub(crate) fn new(
        params: StreamDiffusionParams,
        snapshot: Option<B::Snapshot>,
        line: Arc<Line<B>>,
        reports: Arc<Reports>,
    ) -> Self {
        let planned = Planned { params: Arc::new(params), snapshot, seq: 0, stamps: Arc::default() };
        Self { state: Mutex::new(State::new(planned)), line, reports }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State<B::Snapshot>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The parameters last accepted, and the number of the update that they came with.
    pub(crate) fn desired(&self) -> (u64, Arc<StreamDiffusionParams>) {
        let state = self.lock();
        (state.version, state.desired.clone())
    }

    /// What was sent last.
    pub(crate) fn planned(&self) -> Planned<B::Snapshot> {
        self.lock().planned.clone()
    }

    /// How many updates wait or are being worked on: quick ones, loads.
    pub(crate) fn waiting(&self) -> (usize, usize) {
        let state = self.lock();
        (state.quick.len(), state.load.len())
    }

    /// Why update `version` was refused, as long as that is remembered.
    pub(crate) fn refusal(&self, version: u64) -> Option<Arc<Error>> {
        self.lock().refusals.iter().find(|(of, _)| *of == version).map(|(_, error)| error.clone())
    }

    /// Whether no update is accepted any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Accepts what `make` makes of the desired parameters. `make` is called again where they change meanwhile.
    ///
    /// # Errors
    ///
    /// Those of `make`, and `Closed`; nothing has changed then.
    pub(crate) fn update(
        &self,
        mut make: impl FnMut(&StreamDiffusionParams) -> Result<(StreamDiffusionParams, Vec<Notice>)>,
    ) -> Result<Ticket> {
        loop {
            let (version, before) = self.desired();
            let (after, notices) = make(&before)?;
            let after = Arc::new(after);
            let changes = diff(&before, &after);
            let Some(cost) = total_cost(&changes) else {
                return Ok(Ticket { version, cost: None, changes, notices });
            };
            if let Some(version) = self.accept(&before, Job::new(before.clone(), after, cost))? {
                return Ok(Ticket { version, cost: Some(cost), changes, notices });
            }
        }
    }

    /// Accepts `job`, and gives its version; nothing where the desired parameters are not what it was made from any more.
    ///
    /// # Errors
    ///
    /// `Closed`.
    pub(super) fn accept(&self, before: &Arc<StreamDiffusionParams>, mut job: Job) -> Result<Option<u64>> {
        let mut state = self.lock();
        if state.closed {
            return Err(Error::new(ErrorKind::Closed, "the session was stopped, and takes no updates"));
        }
        if !Arc::ptr_eq(&state.desired, before) {
            return Ok(None);
        }
        state.version += 1;
        let version = state.version;
        job.version = version;
        state.desired = job.after.clone();
        let skipped = state.enqueue(Arc::new(job));
        drop(state);
        skipped.into_iter().for_each(|version| self.reports.superseded(version));
        self.line.work.notify();
        Ok(Some(version))
    }

    /// Waits for what the worker of `lane` does next; nothing once the desk is closed.
    pub(crate) fn next(&self, lane: Lane) -> Option<Turn<B>> {
        self.line.work.wait_until(None, || {
            self.line.free_replaced();
            let mut state = self.lock();
            if state.closed {
                return Some(None);
            }
            self.settle(&mut state);
            if state.sent.len() >= MOST_SENT || (lane == Lane::Quick && state.held) {
                return None;
            }
            // A step belongs to the next frame; jobs may come without end.
            if lane == Lane::Quick
                && let Some(planned) = self.step_due(&mut state)
            {
                return Some(Some(Turn::Step(planned)));
            }
            loop {
                let job = state.queue(lane).waiting.pop_front()?;
                let inside = |load: &Arc<Job>| job.is_behind(load) && job.is_inside(load);
                if lane == Lane::Quick && state.load.pending().any(inside) {
                    state.load.insert(job);
                    self.line.work.notify();
                    continue;
                }
                let planned = state.planned.clone();
                state.queue(lane).start(&job);
                return Some(Some(Turn::Job(Task { job, planned })));
            }
        })?
    }

    /// Sends what was made of `job` onto the place `base` of the order. Where something else was sent since, gives that
    /// instead, and `job` has to be put onto it.
    pub(crate) fn commit(
        &self,
        job: &Arc<Job>,
        base: u64,
        params: StreamDiffusionParams,
        prepared: B::Prepared,
    ) -> Option<Planned<B::Snapshot>> {
        let mut state = self.lock();
        self.settle(&mut state);
        if state.is_over(job) {
            self.line.work.notify();
            return None;
        }
        if state.planned.seq != base {
            return Some(state.planned.clone());
        }
        state.finish(job);
        let mut stamps = (*state.planned.stamps).clone();
        stamps.extend(job.places.iter().map(|place| (place.clone(), job.version)));
        // Only a job that is older and still on its way would ask.
        let oldest = state.quick.pending().chain(state.load.pending()).map(|job| job.version).min();
        stamps.retain(|_, version| oldest.is_some_and(|oldest| oldest < *version));
        if job.way_to(&params).is_some() {
            state.stepped = state.last_seq + 1;
        }
        self.send(&mut state, Some(job.clone()), (params, stamps), prepared);
        None
    }

    /// Brings back what was `planned` before it was released.
    pub(crate) fn restore(&self, planned: &Planned<B::Snapshot>, prepared: B::Prepared) {
        let mut state = self.lock();
        if !state.closed {
            let plan = ((*planned.params).clone(), (*planned.stamps).clone());
            self.send(&mut state, None, plan, prepared);
        }
    }

    pub(super) fn send(
        &self,
        state: &mut State<B::Snapshot>,
        job: Option<Arc<Job>>,
        (params, stamps): (StreamDiffusionParams, Stamps),
        prepared: B::Prepared,
    ) {
        let (base, version) = (state.planned.seq, job.as_ref().map(|job| job.version));
        state.last_seq += 1;
        let seq = state.last_seq;
        let snapshot = Some(B::snapshot(&prepared));
        state.planned = Planned { params: Arc::new(params), snapshot, seq, stamps: Arc::new(stamps) };
        state.sent.push_back((seq, job));
        self.line.send(Command::Apply(Delivery { seq, base, version, prepared }));
        self.line.work.notify();
    }

    /// Refuses `job`, and takes its changes back out of the desired parameters. Where something was sent since the place
    /// `base`, gives that instead, and `job` is to be tried again.
    pub(crate) fn reject(&self, job: &Arc<Job>, base: Option<u64>, error: Error) -> Option<Planned<B::Snapshot>> {
        let mut state = self.lock();
        self.settle(&mut state);
        if state.is_over(job) {
            self.line.work.notify();
            return None;
        }
        if base.is_some_and(|base| state.planned.seq != base) {
            return Some(state.planned.clone());
        }
        state.finish(job);
        self.refuse(&mut state, job.version, error);
        self.line.work.notify();
        None
    }

    fn refuse(&self, state: &mut State<B::Snapshot>, version: u64, error: Error) {
        let mut refused = vec![(version, Arc::new(error))];
        refused.extend(state.work_out_desired(version));
        for (version, error) in refused {
            state.refusals.truncate(REFUSALS - 1);
            state.refusals.push_front((version, error.clone()));
            self.reports.rejected(version, &error);
        }
    }

    /// Puts a quick job behind the loads that came before it; false where there are none.
    pub(crate) fn defer_behind_loads(&self, job: &Arc<Job>) -> bool {
        let behind = {
            let state = self.lock();
            state.load.pending().any(|load| job.is_behind(load))
        };
        behind && {
            self.defer(job);
            true
        }
    }

    /// Gives a quick job to the lane of loads.
    pub(crate) fn defer(&self, job: &Arc<Job>) {
        let mut state = self.lock();
        if !state.is_over(job) {
            state.finish(job);
            state.load.insert(job.clone());
        }
        drop(state);
        self.line.work.notify();
    }

    /// Keeps the quick lane from taking jobs, and waits for the one that it does.
    pub(crate) fn hold(&self) {
        self.lock().held = true;
        self.line.work.wait_until(None, || {
            let state = self.lock();
            (state.closed || !state.is_busy(Lane::Quick)).then_some(())
        });
    }

    /// Lets the quick lane go on.
    pub(crate) fn unhold(&self) {
        self.lock().held = false;
        self.line.work.notify();
    }

    /// Has the session's thread let go of what is in use, once it has applied all that was sent, and waits for that.
    /// Gives what was planned; nothing where the desk closes meanwhile. The quick lane must be held.
    pub(crate) fn release(&self) -> Option<Planned<B::Snapshot>> {
        let mut planned = self.line.work.wait_until(None, || {
            let mut state = self.lock();
            self.settle(&mut state);
            if state.closed {
                return Some(None);
            }
            state.sent.is_empty().then(|| Some(state.planned.clone()))
        })??;
        self.line.send(Command::Release);
        self.line.work.wait_until(None, || (self.line.is_released() || self.is_closed()).then_some(()));
        // Freed here, not on the session's thread.
        self.lock().planned.snapshot = None;
        planned.snapshot = None;
        self.line.free_replaced();
        (!self.is_closed()).then_some(planned)
    }

    /// Says that there is nothing left to make pictures with.
    pub(crate) fn degraded(&self, error: Error) {
        tracing::error!(%error, "the pipeline before could not be made again");
        self.reports.tell(Event::Degraded { error: Arc::new(error) });
    }

    /// Accepts nothing more and drops what waits. Tells which lanes are at work, and so may take their time to end.
    pub(crate) fn close(&self) -> [(Lane, bool); 2] {
        let mut state = self.lock();
        state.closed = true;
        state.quick.waiting.clear();
        state.load.waiting.clear();
        let busy = [Lane::Quick, Lane::Load].map(|lane| (lane, state.is_busy(lane)));
        drop(state);
        self.line.work.notify();
        busy
    }

    /// Takes note of what was applied, and of what could not be.
    pub(super) fn settle(&self, state: &mut State<B::Snapshot>) {
        while let Some(failure) = self.line.failure() {
            let failed = state.sent.iter().position(|(seq, _)| *seq == failure.seq);
            let mut undone = state.sent.split_off(failed.unwrap_or(state.sent.len()));
            let failed = undone.pop_front().and_then(|(_, job)| job);
            let mut stamps = (*state.planned.stamps).clone();
            let gone =
                |version: u64| undone.iter().flat_map(|(_, job)| job).chain(&failed).any(|j| j.version == version);
            stamps.retain(|_, version| !gone(*version));
            let (params, seq) = (Arc::new(failure.params), self.line.applied());
            state.planned = Planned { params, snapshot: failure.snapshot, seq, stamps: Arc::new(stamps) };
            state.stepped = state.stepped.min(seq);
            // What came after was made onto it, and is made anew.
            for job in undone.into_iter().filter_map(|(_, job)| job) {
                state.queue(job.lane).insert(job);
            }
            if let Some(job) = failed {
                self.refuse(state, job.version, failure.error);
            }
        }
        let applied = self.line.applied();
        while state.sent.front().is_some_and(|(seq, _)| *seq <= applied) {
            state.sent.pop_front();
        }
    }
}

impl<B: Bench> fmt::Debug for Desk<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Desk").field("line", &self.line).finish_non_exhaustive()
    }
}
