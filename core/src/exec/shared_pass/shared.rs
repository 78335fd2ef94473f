//! What the members of a group and its worker share.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, Weak};
use std::time::{Duration, Instant};

use super::combination::{Combinations, Dropped, MOST_MEMBERS, ReadyPass};
use super::scheduler::{MemberId, Scheduler};
use super::{ConstantInputs, MemberBuffers, lock};
use crate::error::{Error, ErrorKind, Result};
use crate::exec::{Buffer, Executor, Queue, RunArgs, Scratch};
use crate::net::{Forms, Program, Weights};

/// Returns the time since some point.
pub(super) type Clock = Box<dyn Fn() -> Duration + Send + Sync>;

/// What the group shares with its worker.
pub(super) struct Shared {
    pub(super) executor: Arc<dyn Executor>,
    pub(super) queue: Arc<dyn Queue>,
    pub(super) program: Program,
    pub(super) weights: Weights,
    /// What `weights` are from.
    pub(super) forms: Arc<Forms>,
    /// The executor's device.
    pub(super) device: String,
    /// The elements of a member's input and output.
    pub(super) lens: [usize; 2],
    pub(super) state: Mutex<State>,
    /// A member may have its turn.
    pub(super) changed: Condvar,
    /// The worker has something to do.
    pub(super) wanted: Condvar,
    /// Memory of the pass that runs. Locked after `state` is released, and before members.
    pub(super) pass: Mutex<PassMemory>,
    /// Returns the time since some point.
    pub(super) clock: Clock,
}

/// Memory of a pass.
#[derive(Debug, Default)]
pub(super) struct PassMemory {
    pub(super) input: Buffer,
    pub(super) output: Buffer,
    pub(super) scratch: Scratch,
    /// The bytes of scratch memory that it has.
    pub(super) scratch_bytes: usize,
}

pub(super) struct State {
    pub(super) scheduler: Scheduler,
    pub(super) combinations: Combinations,
    pub(super) members: Vec<Member>,
    /// Whether the worker ends.
    pub(super) closing: bool,
}

pub(super) struct Member {
    pub(super) id: MemberId,
    pub(super) memory: Arc<Mutex<MemberBuffers>>,
    /// Those of its last frame.
    pub(super) inputs: Weak<ConstantInputs>,
}

impl Shared {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    pub(super) fn now(&self) -> Duration {
        (self.clock)()
    }

    /// Runs a pass of `copies` members with this memory, in the order of their constants.
    pub(super) fn pass(
        &self,
        ready: &ReadyPass,
        memories: &[Option<Arc<Mutex<MemberBuffers>>>; MOST_MEMBERS],
        copies: usize,
    ) -> Result<()> {
        let [input_len, output_len] = self.lens;
        let mut pass = lock(&self.pass);
        let PassMemory { input, output, scratch, .. } = &mut *pass;
        let memories = || memories[..copies].iter().enumerate();
        let missing = || Error::new(ErrorKind::Internal, "a member of a shared pass has no memory");
        for (copy, memory) in memories() {
            let memory = lock(memory.as_ref().ok_or_else(missing)?);
            self.queue.copy(memory.input.view(), input.range_mut(copy * input_len..(copy + 1) * input_len))?;
        }
        let inputs = [input.range(0..copies * input_len)];
        let outputs = &mut [output.range_mut(0..copies * output_len)];
        ready.network.run(RunArgs::new(&ready.constants, scratch, &inputs, outputs))?;
        for (copy, memory) in memories() {
            let mut memory = lock(memory.as_ref().ok_or_else(missing)?);
            let part = output.range(copy * output_len..(copy + 1) * output_len);
            self.queue.copy(part, memory.output.view_mut())?;
        }
        Ok(())
    }
}

impl State {
    /// Asks for the members that wait to be prepared as a combination, if they are not. Returns whether there is
    /// something to do.
    pub(super) fn want_queue(&mut self) -> bool {
        let Self { scheduler, combinations, members, .. } = self;
        let combination = scheduler.combination(&scheduler.queue());
        combination.ids().len() > 1
            && combinations.want(combination, |constants| inputs_of(scheduler, members, constants))
    }

    /// Removes combinations whose constants no member uses any more.
    pub(super) fn forget(&mut self) -> Dropped {
        let Self { scheduler, combinations, .. } = self;
        combinations.forget(|constants| scheduler.uses(constants))
    }
}

/// Returns the clock of a group.
pub(super) fn clock() -> Clock {
    #[cfg(test)]
    if let Some(clock) = super::tests::clock() {
        return clock;
    }
    let start = Instant::now();
    Box::new(move || start.elapsed())
}

/// Returns the inputs of constants that a member uses.
pub(super) fn inputs_of(scheduler: &Scheduler, members: &[Member], constants: u64) -> Option<Weak<ConstantInputs>> {
    members.iter().find(|member| scheduler.constants(member.id) == Some(constants)).map(|member| member.inputs.clone())
}
