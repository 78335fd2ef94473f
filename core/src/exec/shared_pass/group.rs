//! A group of members, and the passes that they run.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::time::Duration;

use super::combination::{Combinations, MOST_MEMBERS};
use super::scheduler::{Arrival, Batch, MemberId, Scheduler, Turn};
use super::shared::{Clock, Member, Shared, State, clock, inputs_of};
use super::worker::Worker;
use super::{ConstantInputs, MemberBuffers, Owner, frame_lens, lock};
use crate::error::Result;
use crate::exec::{Executor, Queue};
use crate::net::{Forms, Program, Weights};

/// The groups of this process.
static GROUPS: Mutex<Vec<Weak<PassGroup>>> = Mutex::new(Vec::new());

/// The members that may share passes: their networks have the same program, weights and device.
pub(super) struct PassGroup {
    shared: Arc<Shared>,
    /// Started with the second member.
    worker: Mutex<Option<Worker>>,
}

impl fmt::Debug for PassGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PassGroup").field("program", &self.shared.program.name()).finish_non_exhaustive()
    }
}

impl PassGroup {
    /// Returns the group of `program` with `weights` on the device of `executor`, a new one if there is none; `None` if
    /// the weights or the executor belong to one engine.
    pub(super) fn find(executor: &Arc<dyn Executor>, program: &Program, weights: &Weights) -> Option<Arc<Self>> {
        let device = executor.device_key()?;
        let names: Vec<&str> = program.weights().iter().map(|weight| &*weight.name).collect();
        let weights = weights.shared_by_engines(&names)?;
        let forms = weights.forms_of(&names).clone();
        let mut groups = lock(&GROUPS);
        groups.retain(|group| group.strong_count() > 0);
        let is_same = |group: &Arc<Self>| {
            let shared = &group.shared;
            shared.device == device
                && Arc::ptr_eq(&shared.forms, &forms)
                && shared.weights.byte_scales() == weights.byte_scales()
                && shared.program == *program
        };
        if let Some(group) = groups.iter().filter_map(Weak::upgrade).find(is_same) {
            return Some(group);
        }
        let group = Self::new(executor, program, (weights, forms), device, clock())?;
        groups.push(Arc::downgrade(&group));
        Some(group)
    }

    /// Returns a group without members, for weights of these forms; `None` if passes of `program` cannot be shared.
    pub(super) fn new(
        executor: &Arc<dyn Executor>,
        program: &Program,
        (weights, forms): (Weights, Arc<Forms>),
        device: String,
        clock: Clock,
    ) -> Option<Arc<Self>> {
        let shared = Shared {
            executor: executor.clone(),
            queue: executor.queue(),
            program: program.clone(),
            forms,
            weights,
            device,
            lens: frame_lens(program)?,
            state: Mutex::new(State {
                scheduler: Scheduler::default(),
                combinations: Combinations::new(),
                members: Vec::new(),
                closing: false,
            }),
            changed: Condvar::new(),
            wanted: Condvar::new(),
            pass: Mutex::default(),
            clock,
        };
        Some(Arc::new(Self { shared: Arc::new(shared), worker: Mutex::default() }))
    }

    #[cfg(test)]
    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }

    pub(super) fn queue(&self) -> &dyn Queue {
        &*self.shared.queue
    }

    /// Returns the elements of a member's input and output.
    pub(super) fn lens(&self) -> [usize; 2] {
        self.shared.lens
    }

    /// Adds a member of `owner` with this memory.
    ///
    /// # Errors
    ///
    /// `Device` if the worker cannot be started.
    pub(super) fn join(
        &self,
        id: MemberId,
        owner: Owner,
        limit: Duration,
        memory: &Arc<Mutex<MemberBuffers>>,
    ) -> Result<()> {
        let mut worker = lock(&self.worker);
        if worker.is_none() && self.shared.state().scheduler.len() > 0 {
            *worker = Some(Worker::start(self.shared.clone())?);
        }
        let mut state = self.shared.state();
        state.scheduler.join(id, owner.0, limit);
        state.members.push(Member { id, memory: memory.clone(), inputs: Weak::new() });
        Ok(())
    }

    /// Removes a member.
    pub(super) fn leave(&self, id: MemberId) {
        let mut state = self.shared.state();
        state.scheduler.leave(id);
        state.members.retain(|member| member.id != id);
        let dropped = state.forget();
        drop(state);
        drop(dropped);
        self.shared.changed.notify_all();
    }

    /// A frame of a member arrives, with these constants.
    pub(super) fn arrive(&self, id: MemberId, constants: &Arc<ConstantInputs>) -> Arrival {
        let now = self.shared.now();
        let mut state = self.shared.state();
        let State { scheduler, combinations, members, .. } = &mut *state;
        let known = scheduler.constants(id);
        if known != Some(constants.id)
            && let Some(member) = members.iter_mut().find(|member| member.id == id)
        {
            member.inputs = Arc::downgrade(constants);
        }
        let arrival = scheduler.arrive(id, constants.id, now, |combination| combinations.is_ready(combination));
        let mut is_wanted = false;
        scheduler.pairs(id, now, |combination| {
            is_wanted |= combinations.want(combination, |constants| inputs_of(scheduler, members, constants))
        });
        drop(state);
        if is_wanted {
            self.shared.wanted.notify_all();
        }
        if arrival == Arrival::Alone && known != Some(constants.id) {
            // Others may wait for it with its earlier constants.
            self.shared.changed.notify_all();
        }
        arrival
    }

    /// A member does not wait after all.
    pub(super) fn withdraw(&self, id: MemberId) {
        self.shared.state().scheduler.withdraw(id);
        self.shared.changed.notify_all();
    }

    /// Waits for the turn of a member, whose frame is in its memory.
    pub(super) fn wait(&self, id: MemberId) -> Turn {
        let mut state = self.shared.state();
        state.scheduler.wait(id, self.shared.now());
        if state.want_queue() {
            self.shared.wanted.notify_all();
        }
        // The one that waits longest may now have all members that it waits for.
        self.shared.changed.notify_all();
        loop {
            let now = self.shared.now();
            let State { scheduler, combinations, .. } = &mut *state;
            let turn = scheduler.turn(id, now, |combination| combinations.is_ready(combination));
            let Turn::Wait(until) = turn else { return turn };
            state = match until {
                None => self.shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(until) => {
                    let waited = self.shared.changed.wait_timeout(state, until.saturating_sub(now));
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    /// Returns the pass of these members, which `lead` runs and which ends with this value.
    pub(super) fn running(&self, batch: Batch, lead: MemberId) -> RunningPass<'_> {
        RunningPass { shared: &self.shared, batch, lead, succeeded: false }
    }

    /// Runs the pass of these members, whose frames are in their memory. Returns whether it succeeded.
    pub(super) fn run(&self, batch: &Batch, lead: MemberId) -> bool {
        let mut pass = self.running(*batch, lead);
        let mut state = self.shared.state();
        let combination = state.scheduler.combination(batch);
        let ready = state.combinations.get(combination);
        let mut memories: [Option<Arc<Mutex<MemberBuffers>>>; MOST_MEMBERS] = Default::default();
        for (place, &constants) in memories.iter_mut().zip(combination.ids()) {
            let is_member = |member: &&Member| {
                batch.members().contains(&member.id) && state.scheduler.constants(member.id) == Some(constants)
            };
            *place = state.members.iter().find(is_member).map(|member| member.memory.clone());
        }
        drop(state);
        let Some(ready) = ready else { return false };
        // A panic must not end the streams of the other members; it is reported as an error is.
        let result = catch_unwind(AssertUnwindSafe(|| self.shared.pass(&ready, &memories, combination.ids().len())));
        pass.succeeded = matches!(result, Ok(Ok(())));
        if !pass.succeeded {
            self.shared.state().combinations.refuse(combination);
            tracing::trace!(?result, "a shared pass failed");
        }
        pass.succeeded
    }
}

impl Drop for PassGroup {
    fn drop(&mut self) {
        self.shared.state().closing = true;
        self.shared.wanted.notify_all();
        // The worker is joined as it is dropped.
    }
}

/// A pass that runs; it has failed unless `succeeded` is set before it ends.
pub(super) struct RunningPass<'a> {
    shared: &'a Shared,
    batch: Batch,
    lead: MemberId,
    succeeded: bool,
}

impl Drop for RunningPass<'_> {
    fn drop(&mut self) {
        self.shared.state().scheduler.finish(&self.batch, self.lead, self.succeeded, self.shared.now());
        self.shared.changed.notify_all();
    }
}
