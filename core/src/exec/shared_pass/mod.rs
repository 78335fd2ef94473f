//! Passes of a network that several engines share: members of a group that have a frame at the same time run it in one
//! batch.
//!
//! The engines of a process whose network has the same program, weights and device form a group ([`PassGroup`]). A pass
//! of several members is the program [several times](Program::times), with the constants of all of them, which a thread
//! of the group computes in the background. Until they are ready, members run alone. `scheduler` decides who shares a
//! pass, `group` runs passes, and `worker` prepares them.

mod combination;
mod group;
mod scheduler;
mod shared;
#[cfg(test)]
pub(crate) mod tests;
mod worker;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use self::group::PassGroup;
use self::scheduler::{Arrival, Batch, MemberId, Turn};
use super::{Buffer, Executor, Network, View, ViewMut};
use crate::error::Result;
use crate::net::{Program, Rate, Weights};

/// The inputs of a network's constants, in order, each channels-last.
#[derive(Debug)]
pub(crate) struct ConstantInputs {
    /// Different for each value of this type.
    id: u64,
    inputs: Vec<Vec<f32>>,
}

impl ConstantInputs {
    /// Wraps the inputs.
    pub(crate) fn new(inputs: Vec<Vec<f32>>) -> Self {
        Self { id: next_id(), inputs }
    }
}

/// Returns a number that is not used again in this process; never 0.
fn next_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Whose networks never have frames at the same time: an engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Owner(u64);

impl Owner {
    /// Returns another one than before.
    pub(crate) fn new() -> Self {
        Self(next_id())
    }
}

/// Who ran a pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pass {
    /// The member itself.
    Alone,
    /// It had the frames of several members.
    Shared,
}

/// A network's place in a group; ends with this value.
pub(crate) struct PassMember {
    group: Arc<PassGroup>,
    id: MemberId,
    memory: Arc<Mutex<MemberBuffers>>,
}

/// The frame of a member on its way to and from a shared pass, in memory of the device.
#[derive(Debug)]
struct MemberBuffers {
    input: Buffer,
    output: Buffer,
}

impl fmt::Debug for PassMember {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PassMember").field("group", &self.group).field("id", &self.id).finish_non_exhaustive()
    }
}

impl PassMember {
    /// Joins the group of networks that run the program of `network` with these `weights` on the device of `executor`.
    /// A member waits for others for at most `limit`. `None` if passes of the network cannot be shared: if it has other
    /// frame inputs or outputs than one each, uses earlier frames, or has weights of its own, or if the executor says
    /// so.
    ///
    /// # Errors
    ///
    /// `OutOfMemory`; `Device` if a thread cannot be started.
    pub(crate) fn join(
        executor: &Arc<dyn Executor>,
        network: &dyn Network,
        weights: &Weights,
        owner: Owner,
        limit: Duration,
    ) -> Result<Option<Self>> {
        PassGroup::find(executor, network.program(), weights).map(|group| Self::of(group, owner, limit)).transpose()
    }

    fn of(group: Arc<PassGroup>, owner: Owner, limit: Duration) -> Result<Self> {
        let (queue, [input, output]) = (group.queue(), group.lens());
        let memory = MemberBuffers { input: queue.buffer(input)?, output: queue.buffer(output)? };
        let (id, memory) = (next_id(), Arc::new(Mutex::new(memory)));
        group.join(id, owner, limit, &memory)?;
        Ok(Self { group, id, memory })
    }

    /// Returns the elements of `x` that the network makes of the frame `x`, with the constants of these inputs: in one
    /// pass with other members, or by `alone`.
    ///
    /// # Errors
    ///
    /// Those of `alone`. If a shared pass fails, each of its members runs alone.
    pub(crate) fn run(
        &self,
        constants: &Arc<ConstantInputs>,
        x: View<'_>,
        mut output: ViewMut<'_>,
        alone: impl FnOnce(ViewMut<'_>) -> Result<()>,
    ) -> Result<Pass> {
        let batch = match self.group.arrive(self.id, constants) {
            Arrival::Alone => None,
            Arrival::Lead => Some(Batch::of([self.id])),
            Arrival::Queue => match self.run_with_others(x, output.reborrow()) {
                Outcome::Shared => return Ok(Pass::Shared),
                Outcome::Alone(batch) => batch,
            },
        };
        // Ends a pass of the group, also if `alone` panics.
        let _pass = batch.map(|batch| self.group.running(batch, self.id));
        alone(output).map(|()| Pass::Alone)
    }

    /// Waits for other members, and runs a pass with them, or lets one of them run it.
    fn run_with_others(&self, x: View<'_>, output: ViewMut<'_>) -> Outcome {
        let queue = self.group.queue();
        if queue.copy(x, lock(&self.memory).input.view_mut()).is_err() {
            self.group.withdraw(self.id);
            return Outcome::Alone(None);
        }
        let succeeded = match self.group.wait(self.id) {
            Turn::Lead(batch) if batch.members().len() == 1 => return Outcome::Alone(Some(batch)),
            Turn::Lead(batch) => self.group.run(&batch, self.id),
            Turn::Done(succeeded) => succeeded,
            Turn::Wait(_) => false,
        };
        if succeeded && queue.copy(lock(&self.memory).output.view(), output).is_ok() {
            Outcome::Shared
        } else {
            Outcome::Alone(None)
        }
    }
}

/// What comes of waiting for others.
enum Outcome {
    /// The output is that of a shared pass.
    Shared,
    /// The member runs alone, in a pass of the group if there is one.
    Alone(Option<Batch>),
}

impl Drop for PassMember {
    fn drop(&mut self) {
        self.group.leave(self.id);
    }
}

/// Returns the lengths of the frame input and the output of `program`, if it has one each and no memory of earlier
/// frames.
fn frame_lens(program: &Program) -> Option<[usize; 2]> {
    let mut inputs = program.inputs_at(Rate::Frame);
    let (Some(input), None, [output]) = (inputs.next(), inputs.next(), program.outputs()) else { return None };
    let lens = [input.value, output.value].map(|value| program.shape(value).len());
    (program.times(2).is_ok()).then_some(lens)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
