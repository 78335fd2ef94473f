//! The thread of a group that prepares shared passes: compiles networks, and computes the constants of combinations.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError};
use std::thread::{self, JoinHandle};

use super::combination::{MOST_MEMBERS, ReadyPass, Wanted};
use super::lock;
use super::shared::{PassMemory, Shared};
use crate::error::{Error, ErrorKind, Result};
use crate::exec::{Network, background};
use crate::net::Rate;

/// A thread that ends with the group, once it has ended what it is doing.
#[derive(Debug)]
pub(super) struct Worker(Option<JoinHandle<()>>);

impl Worker {
    /// Starts it.
    ///
    /// # Errors
    ///
    /// `Device` if the thread cannot be started.
    pub(super) fn start(shared: Arc<Shared>) -> Result<Self> {
        let thread = thread::Builder::new().name("dreamframe-passes".into());
        let thread = thread.spawn(move || background(|| work(&shared)));
        let failed = |error| {
            Error::new(ErrorKind::Device, "failed to start a thread that prepares shared passes").with_source(error)
        };
        Ok(Self(Some(thread.map_err(failed)?)))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if let Some(thread) = self.0.take() {
            // A panic was reported where it was.
            let _ = thread.join();
        }
    }
}

/// The networks of 1 to [`MOST_MEMBERS`] copies.
type Networks = [Option<Arc<dyn Network>>; MOST_MEMBERS];

/// Prepares combinations until the group ends.
fn work(shared: &Shared) {
    let mut networks = Networks::default();
    while let Some(wanted) = next(shared) {
        let made = catch_unwind(AssertUnwindSafe(|| prepare(shared, &mut networks, &wanted)));
        let ready = match made {
            Ok(Ok(ready)) => Some(Arc::new(ready)),
            Ok(Err(error)) => {
                tracing::debug!(network = shared.program.name(), %error, "frames of several streams run alone");
                None
            }
            Err(_) => None,
        };
        shared.state().combinations.prepared(wanted.combination, ready);
    }
}

/// Waits for a combination; `None` if the group ends.
fn next(shared: &Shared) -> Option<Wanted> {
    let mut state = shared.state();
    loop {
        if state.closing {
            return None;
        }
        let forgotten = state.forget();
        if let Some((wanted, replaced)) = state.combinations.next() {
            drop(state);
            drop((forgotten, replaced));
            return Some(wanted);
        }
        state = shared.wanted.wait(state).unwrap_or_else(PoisonError::into_inner);
    }
}

/// Compiles the network for a combination, if that was not done before, and computes its constants.
fn prepare(shared: &Shared, networks: &mut Networks, wanted: &Wanted) -> Result<ReadyPass> {
    let copies = wanted.combination.ids().len();
    let members: Vec<_> = wanted.inputs[..copies].iter().filter_map(std::sync::Weak::upgrade).collect();
    if members.len() < copies {
        return Err(Error::new(ErrorKind::Cancelled, "the constants of a member have changed"));
    }
    let place =
        networks.get_mut(copies - 1).ok_or_else(|| Error::new(ErrorKind::Internal, "a combination is too large"))?;
    let network = match place {
        Some(network) => network,
        None => place.insert(compile(shared, copies)?),
    };
    let inputs = shared.program.inputs_at(Rate::Constant).enumerate().map(|(index, _)| {
        let of_members = members.iter().filter_map(|member| member.inputs.get(index));
        of_members.flatten().copied().collect::<Vec<f32>>()
    });
    let inputs: Vec<Vec<f32>> = inputs.collect();
    let constants = network.constants(&inputs.iter().map(Vec::as_slice).collect::<Vec<_>>())?;
    Ok(ReadyPass { network: network.clone(), constants })
}

/// Compiles the network of so many copies, and allocates memory for its runs.
fn compile(shared: &Shared, copies: usize) -> Result<Arc<dyn Network>> {
    let (program, queue) = (Arc::new(shared.program.times(copies)?), &*shared.queue);
    queue.require(shared.executor.least_scratch_bytes(&program), program.name())?;
    let network = shared.executor.compile(&program, &shared.weights)?;
    let [input, output] = shared.lens.map(|len| copies * len);
    let scratch_bytes = network.scratch_bytes();
    let (held, lens) = {
        let pass = lock(&shared.pass);
        (pass.scratch_bytes, [pass.input.len(), pass.output.len()])
    };
    let mut larger = PassMemory::default();
    if scratch_bytes > held {
        queue.require(scratch_bytes, program.name())?;
        (larger.scratch, larger.scratch_bytes) = (queue.scratch(scratch_bytes)?, scratch_bytes);
    }
    if input > lens[0] || output > lens[1] {
        (larger.input, larger.output) = (queue.buffer(input)?, queue.buffer(output)?);
    }
    let mut pass = lock(&shared.pass);
    if scratch_bytes > held {
        std::mem::swap(&mut pass.scratch, &mut larger.scratch);
        pass.scratch_bytes = scratch_bytes;
    }
    if !larger.input.is_empty() {
        std::mem::swap(&mut pass.input, &mut larger.input);
        std::mem::swap(&mut pass.output, &mut larger.output);
    }
    drop(pass);
    Ok(network)
}
