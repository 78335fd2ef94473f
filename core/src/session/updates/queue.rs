//! Update queue: accepts, orders and rolls back parameter updates; holds the desired parameters.
//!
//! The lock is taken by hosts that update and by workers, each time to change a list. Frames, `submit` and `poll` do not
//! take it.

use std::fmt;
use std::sync::{Arc, PoisonError};

use super::super::engine_traits::Preparer;
use super::super::event_log::EventLog;
use super::super::events::Event;
use super::super::primitives::{Mutex, MutexGuard};
use super::Ticket;
use super::channel::{Command, Delivery, UpdateChannel};
use super::job::{FieldVersions, Job, Lane, Planned};
use super::state::{Sent, State};
use crate::error::{Error, ErrorKind, Result};
use crate::params::{Change, Notice, StreamDiffusionParams, diff, total_cost};

/// The number of prepared updates that may wait for the session's thread; later ones wait unprepared, and may be
/// superseded.
const MOST_SENT: usize = 4;
/// The number of errors of rejected updates that are kept.
const REFUSALS: usize = 64;

/// Orders the updates of one session.
pub(crate) struct UpdateQueue<B: Preparer> {
    state: Mutex<State<B::Snapshot>>,
    pub(crate) channel: Arc<UpdateChannel<B>>,
    pub(crate) event_log: Arc<EventLog>,
}

/// A job, and the parameters that it is applied to.
pub(crate) struct Task<B: Preparer> {
    pub(crate) job: Arc<Job>,
    pub(crate) planned: Planned<B::Snapshot>,
}

/// The next task of a worker.
pub(crate) enum Turn<B: Preparer> {
    Job(Task<B>),
    /// The next step of the current transition.
    Step(Planned<B::Snapshot>),
}

impl<B: Preparer> UpdateQueue<B> {
    /// Returns one for an engine with the pipeline `snapshot`, for `params`.
    pub(crate) fn new(
        params: StreamDiffusionParams,
        snapshot: Option<B::Snapshot>,
        channel: Arc<UpdateChannel<B>>,
        event_log: Arc<EventLog>,
    ) -> Self {
        let planned = Planned { params: Arc::new(params), snapshot, seq: 0, versions: Arc::default() };
        Self { state: Mutex::new(State::new(planned)), channel, event_log }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State<B::Snapshot>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the version of the newest accepted update, and the parameters with it.
    pub(crate) fn desired(&self) -> (u64, Arc<StreamDiffusionParams>) {
        let state = self.lock();
        (state.version, state.desired.clone())
    }

    /// Returns the state that was sent last.
    pub(crate) fn planned(&self) -> Planned<B::Snapshot> {
        self.lock().planned.clone()
    }

    /// Returns the numbers of updates that wait or are prepared: quick ones, loads.
    pub(crate) fn waiting(&self) -> (usize, usize) {
        let state = self.lock();
        (state.quick.len(), state.load.len())
    }

    /// Returns why update `version` was rejected, if that is still remembered.
    pub(crate) fn refusal(&self, version: u64) -> Option<Arc<Error>> {
        self.lock().refusals.iter().find(|(of, _)| *of == version).map(|(_, error)| error.clone())
    }

    /// Returns true if no update is accepted any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Returns the changes from `old` to `new`, with the costs for the pipeline of the planned parameters.
    pub(crate) fn diff(&self, old: &StreamDiffusionParams, new: &StreamDiffusionParams) -> Vec<Change> {
        match self.planned().snapshot {
            Some(snapshot) => B::diff(&snapshot, old, new),
            None => diff(old, new),
        }
    }

    /// Accepts the update that `make` returns for the desired parameters. `make` is called again if they change in the
    /// meantime.
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
            let changes = self.diff(&before, &after);
            let Some(cost) = total_cost(&changes) else {
                return Ok(Ticket { version, cost: None, changes, notices });
            };
            if let Some(version) = self.accept(&before, Job::new(before.clone(), after, cost))? {
                return Ok(Ticket { version, cost: Some(cost), changes, notices });
            }
        }
    }

    /// Accepts `job`, and returns its version; `None` if the desired parameters have changed since `before`.
    ///
    /// # Errors
    ///
    /// `Closed`.
    pub(super) fn accept(&self, before: &Arc<StreamDiffusionParams>, mut job: Job) -> Result<Option<u64>> {
        let mut state = self.lock();
        if state.closed {
            return Err(Error::new(ErrorKind::Closed, "the session is stopped and accepts no updates"));
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
        skipped.into_iter().for_each(|version| self.event_log.superseded(version));
        self.channel.work.notify();
        Ok(Some(version))
    }

    /// Waits for the next task of the worker of `lane`; `None` once the queue is closed.
    pub(crate) fn next(&self, lane: Lane) -> Option<Turn<B>> {
        self.channel.work.wait_until(None, || {
            self.channel.free_replaced();
            let mut state = self.lock();
            if state.closed {
                return Some(None);
            }
            self.settle(&mut state);
            if state.sent.len() >= MOST_SENT || (lane == Lane::Quick && state.held) {
                return None;
            }
            // A step belongs to the next frame, and jobs may arrive continuously.
            if lane == Lane::Quick
                && let Some(planned) = self.step_due(&mut state)
            {
                return Some(Some(Turn::Step(planned)));
            }
            loop {
                let job = state.lane(lane).waiting.front()?.clone();
                // A job waits for earlier ones that it needs, on the lane of loads.
                if lane == Lane::Load && state.quick.is_needed_by(&job) {
                    return None;
                }
                state.lane(lane).waiting.pop_front();
                if lane == Lane::Quick && state.load.is_needed_by(&job) {
                    state.load.insert(job);
                    self.channel.work.notify();
                    continue;
                }
                let planned = state.planned.clone();
                state.lane(lane).start(&job);
                return Some(Some(Turn::Job(Task { job, planned })));
            }
        })?
    }

    /// Sends the prepared update of `job`, which is based on the sequence number `base`. If another update was sent since,
    /// returns that instead, and `job` has to be prepared for it.
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
            self.channel.work.notify();
            return None;
        }
        if state.planned.seq != base {
            return Some(state.planned.clone());
        }
        if self.wait_again(&mut state, job) {
            return None;
        }
        state.finish(job);
        let versions = state.versions_with(job, &state.planned.versions);
        if job.transition_to(&params).is_some() {
            state.stepped = state.last_seq + 1;
        }
        self.send(&mut state, Some(job.clone()), (params, versions), prepared);
        None
    }

    /// Restores the state `planned` from before the release.
    pub(crate) fn restore(&self, planned: &Planned<B::Snapshot>, prepared: B::Prepared) {
        let mut state = self.lock();
        if !state.closed {
            let plan = ((*planned.params).clone(), (*planned.versions).clone());
            self.send(&mut state, None, plan, prepared);
        }
    }

    pub(super) fn send(
        &self,
        state: &mut State<B::Snapshot>,
        job: Option<Arc<Job>>,
        (params, versions): (StreamDiffusionParams, FieldVersions),
        prepared: B::Prepared,
    ) {
        let (base, version) = (state.planned.seq, job.as_ref().map(|job| job.version));
        state.last_seq += 1;
        let seq = state.last_seq;
        let before = state.planned.versions.clone();
        let snapshot = Some(B::snapshot(&prepared));
        state.planned = Planned { params: Arc::new(params), snapshot, seq, versions: Arc::new(versions) };
        state.sent.push_back(Sent { seq, job, versions: before });
        self.channel.send(Command::Apply(Delivery { seq, base, version, prepared }));
        self.channel.work.notify();
    }

    /// Rejects `job`, and removes its changes from the desired parameters. If an update was sent since the sequence number
    /// `base`, returns that instead, and `job` has to be tried again.
    pub(crate) fn reject(&self, job: &Arc<Job>, base: Option<u64>, error: Error) -> Option<Planned<B::Snapshot>> {
        let mut state = self.lock();
        self.settle(&mut state);
        if state.is_over(job) {
            self.channel.work.notify();
            return None;
        }
        if base.is_some_and(|base| state.planned.seq != base) {
            return Some(state.planned.clone());
        }
        if self.wait_again(&mut state, job) {
            return None;
        }
        state.finish(job);
        self.refuse(&mut state, job.version, error);
        self.channel.work.notify();
        None
    }

    /// Puts `job` back into its lane if an earlier update that it needs is pending again since it was taken: one that has
    /// to be prepared again after a failure of the session's thread, or one that had been replaced.
    fn wait_again(&self, state: &mut State<B::Snapshot>, job: &Arc<Job>) -> bool {
        let waits = state.quick.is_needed_by(job) || state.load.is_needed_by(job);
        if waits {
            state.finish(job);
            state.lane(job.lane).insert(job.clone());
            self.channel.work.notify();
        }
        waits
    }

    fn refuse(&self, state: &mut State<B::Snapshot>, version: u64, error: Error) {
        let mut refused = vec![(version, Arc::new(error))];
        refused.extend(state.recompute_desired(version));
        for (version, error) in refused {
            state.refusals.truncate(REFUSALS - 1);
            state.refusals.push_front((version, error.clone()));
            self.event_log.rejected(version, &error);
        }
    }

    /// Moves a quick job after the loads that were accepted before it; false if there are none.
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

    /// Moves a quick job to the lane of loads.
    pub(crate) fn defer(&self, job: &Arc<Job>) {
        let mut state = self.lock();
        if !state.is_over(job) {
            state.finish(job);
            state.load.insert(job.clone());
        }
        drop(state);
        self.channel.work.notify();
    }

    /// Pauses the quick lane, and waits for its current job.
    pub(crate) fn hold(&self) {
        self.lock().held = true;
        self.channel.work.wait_until(None, || {
            let state = self.lock();
            (state.closed || !state.is_busy(Lane::Quick)).then_some(())
        });
    }

    /// Resumes the quick lane.
    pub(crate) fn unhold(&self) {
        self.lock().held = false;
        self.channel.work.notify();
    }

    /// Makes the session's thread release its pipeline, once it has applied all sent updates, and waits for it. Returns the
    /// planned state; `None` if the queue is closed in the meantime. The quick lane must be held.
    pub(crate) fn release(&self) -> Option<Planned<B::Snapshot>> {
        let mut planned = self.channel.work.wait_until(None, || {
            let mut state = self.lock();
            self.settle(&mut state);
            if state.closed {
                return Some(None);
            }
            state.sent.is_empty().then(|| Some(state.planned.clone()))
        })??;
        self.channel.send(Command::Release);
        self.channel.work.wait_until(None, || (self.channel.is_released() || self.is_closed()).then_some(()));
        // Freed here, not on the session's thread.
        self.lock().planned.snapshot = None;
        planned.snapshot = None;
        self.channel.free_replaced();
        (!self.is_closed()).then_some(planned)
    }

    /// Reports that there is no pipeline left.
    pub(crate) fn degraded(&self, error: Error) {
        tracing::error!(%error, "the previous pipeline could not be restored");
        self.event_log.record(Event::Degraded { error: Arc::new(error) });
    }

    /// Accepts no more updates and drops those that wait. Returns for each lane whether its worker is busy.
    pub(crate) fn close(&self) -> [(Lane, bool); 2] {
        let mut state = self.lock();
        state.closed = true;
        state.drop_waiting();
        let busy = [Lane::Quick, Lane::Load].map(|lane| (lane, state.is_busy(lane)));
        drop(state);
        self.channel.work.notify();
        busy
    }

    /// Handles reports of updates that were applied, and of those that could not be.
    pub(super) fn settle(&self, state: &mut State<B::Snapshot>) {
        while let Some(failure) = self.channel.failure() {
            let failed = state.sent.iter().position(|sent| sent.seq == failure.seq);
            let mut undone = state.sent.split_off(failed.unwrap_or(state.sent.len()));
            let failed = undone.pop_front();
            let versions = failed.as_ref().map_or_else(|| state.planned.versions.clone(), |sent| sent.versions.clone());
            let failed = failed.and_then(|sent| sent.job);
            let (params, seq) = (Arc::new(failure.params), self.channel.applied());
            state.planned = Planned { params, snapshot: failure.snapshot, seq, versions };
            state.stepped = state.stepped.min(seq);
            // Later ones are based on it, and are prepared again.
            for job in undone.into_iter().filter_map(|sent| sent.job) {
                state.lane(job.lane).insert(job);
            }
            if let Some(job) = failed {
                self.refuse(state, job.version, failure.error);
            }
        }
        let applied = self.channel.applied();
        while state.sent.front().is_some_and(|sent| sent.seq <= applied) {
            state.sent.pop_front();
        }
        state.take_superseded().into_iter().for_each(|version| self.event_log.superseded(version));
    }
}

impl<B: Preparer> fmt::Debug for UpdateQueue<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpdateQueue").field("channel", &self.channel).finish_non_exhaustive()
    }
}
