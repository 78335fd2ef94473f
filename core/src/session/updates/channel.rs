//! Lock-free channel from the update workers to the session thread.

use std::fmt;
use std::sync::Arc;

use crate::error::Error;
use crate::params::StreamDiffusionParams;

use super::super::engine_traits::Preparer;
use super::super::notifier::Notifier;
use super::super::primitives::{AtomicBool, AtomicU64, Ordering, SegQueue};

/// A command to the session's thread, obeyed between two frames.
pub(crate) enum Command<B: Preparer> {
    /// Applies a prepared update.
    Apply(Delivery<B>),
    /// Releases the pipeline in use, and reports it.
    Release,
}

/// A prepared update.
pub(crate) struct Delivery<B: Preparer> {
    /// Its sequence number.
    pub(crate) seq: u64,
    /// The sequence number of the update that it is based on; if that was not applied, this cannot be either.
    pub(crate) base: u64,
    /// The version of the update; `None` if it restores earlier parameters.
    pub(crate) version: Option<u64>,
    pub(crate) prepared: B::Prepared,
}

/// An update that could not be applied, and the pipeline in use instead.
pub(crate) struct Failure<B: Preparer> {
    pub(crate) seq: u64,
    pub(crate) error: Error,
    pub(crate) params: StreamDiffusionParams,
    pub(crate) snapshot: Option<B::Snapshot>,
}

/// Carries prepared updates to the session's thread, and results back.
pub(crate) struct UpdateChannel<B: Preparer> {
    commands: SegQueue<Command<B>>,
    applied: AtomicU64,
    framed: AtomicU64,
    released: AtomicBool,
    failures: SegQueue<Failure<B>>,
    replaced: SegQueue<B::Prepared>,
    /// Notifies the session's thread.
    pub(crate) wake: Arc<Notifier>,
    /// Notifies the workers.
    pub(crate) work: Notifier,
}

impl<B: Preparer> UpdateChannel<B> {
    /// Returns an empty one; `wake` wakes the session's thread.
    pub(crate) fn new(wake: Arc<Notifier>) -> Self {
        Self {
            commands: SegQueue::new(),
            applied: AtomicU64::new(0),
            framed: AtomicU64::new(0),
            released: AtomicBool::new(false),
            failures: SegQueue::new(),
            replaced: SegQueue::new(),
            wake,
            work: Notifier::new(),
        }
    }

    /// Worker: sends a command.
    pub(super) fn send(&self, command: Command<B>) {
        self.commands.push(command);
        self.wake.notify();
    }

    /// Worker: returns the sequence number of the newest applied update.
    pub(super) fn applied(&self) -> u64 {
        self.applied.load(Ordering::Acquire)
    }

    /// Worker: returns the sequence number of the update with which the newest frame is processed.
    pub(super) fn framed(&self) -> u64 {
        self.framed.load(Ordering::Acquire)
    }

    /// Worker: returns true if the session's thread has released its pipeline.
    pub(super) fn is_released(&self) -> bool {
        self.released.load(Ordering::Acquire)
    }

    /// Worker: takes the next update that could not be applied.
    pub(super) fn failure(&self) -> Option<Failure<B>> {
        self.failures.pop()
    }

    /// Worker: frees pipelines that were replaced.
    pub(super) fn free_replaced(&self) {
        while let Some(replaced) = self.replaced.pop() {
            drop(replaced);
        }
    }

    /// Session: takes the next command.
    pub(crate) fn command(&self) -> Option<Command<B>> {
        self.commands.pop()
    }

    /// Session: returns true if a command waits.
    pub(crate) fn has_command(&self) -> bool {
        !self.commands.is_empty()
    }

    /// Session: reports that `seq` was applied, and returns the replaced pipeline.
    pub(crate) fn send_applied(&self, seq: u64, replaced: B::Prepared) {
        self.replaced.push(replaced);
        self.released.store(false, Ordering::Release);
        self.applied.store(seq, Ordering::Release);
        self.work.notify();
    }

    /// Session: reports that a frame is processed with `seq`.
    pub(crate) fn send_framed(&self, seq: u64) {
        // Most frames are processed with the same update as the previous one: no thread is woken.
        if self.framed.load(Ordering::Relaxed) != seq {
            self.framed.store(seq, Ordering::Release);
            self.work.notify();
        }
    }

    /// Session: reports that it has released its pipeline.
    pub(crate) fn send_released(&self) {
        self.released.store(true, Ordering::Release);
        self.work.notify();
    }

    /// Session: reports that an update could not be applied, and returns it.
    pub(crate) fn send_failed(&self, failure: Failure<B>, prepared: B::Prepared) {
        self.replaced.push(prepared);
        self.failures.push(failure);
        self.work.notify();
    }

    /// Session: returns an update whose base is not in use.
    pub(crate) fn give_back(&self, prepared: B::Prepared) {
        self.replaced.push(prepared);
        self.work.notify();
    }
}

impl<B: Preparer> fmt::Debug for UpdateChannel<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpdateChannel").field("applied", &self.applied).finish_non_exhaustive()
    }
}
