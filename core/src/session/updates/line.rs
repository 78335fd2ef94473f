//! Lock-free channel from the update workers to the session thread.

use std::fmt;
use std::sync::Arc;

use crate::error::Error;
use crate::params::StreamDiffusionParams;

use super::super::machine::Bench;
use super::super::notifier::Notifier;
use super::super::primitives::{AtomicBool, AtomicU64, Ordering, SegQueue};

/// What the session's thread is told to do between two frames.
pub(crate) enum Command<B: Bench> {
    /// To put what was prepared in the place of what is in use.
    Apply(Delivery<B>),
    /// To let go of what is in use, and say so.
    Release,
}

/// A prepared update on its way.
pub(crate) struct Delivery<B: Bench> {
    /// Its place in the order of what is sent.
    pub(crate) seq: u64,
    /// The one that it was made onto; where that was not applied, this cannot be either.
    pub(crate) base: u64,
    /// The update; none where the parameters before are brought back.
    pub(crate) version: Option<u64>,
    pub(crate) prepared: B::Prepared,
}

/// What could not be applied, and what is in use instead.
pub(crate) struct Failure<B: Bench> {
    pub(crate) seq: u64,
    pub(crate) error: Error,
    pub(crate) params: StreamDiffusionParams,
    pub(crate) snapshot: Option<B::Snapshot>,
}

/// Carries prepared updates one way, and what became of them the other way.
pub(crate) struct Line<B: Bench> {
    commands: SegQueue<Command<B>>,
    applied: AtomicU64,
    framed: AtomicU64,
    released: AtomicBool,
    failures: SegQueue<Failure<B>>,
    replaced: SegQueue<B::Prepared>,
    /// Rung for the session's thread.
    pub(crate) wake: Arc<Notifier>,
    /// Rung for the workers.
    pub(crate) work: Notifier,
}

impl<B: Bench> Line<B> {
    /// An empty one; `wake` wakes the session's thread.
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

    /// Worker: the newest place in the order that was applied.
    pub(super) fn applied(&self) -> u64 {
        self.applied.load(Ordering::Acquire)
    }

    /// Worker: the place in the order of what the newest frame is worked on with.
    pub(super) fn framed(&self) -> u64 {
        self.framed.load(Ordering::Acquire)
    }

    /// Worker: whether the session's thread holds nothing.
    pub(super) fn is_released(&self) -> bool {
        self.released.load(Ordering::Acquire)
    }

    /// Worker: the next update that could not be applied.
    pub(super) fn failure(&self) -> Option<Failure<B>> {
        self.failures.pop()
    }

    /// Worker: frees what was in use before.
    pub(super) fn free_replaced(&self) {
        while let Some(replaced) = self.replaced.pop() {
            drop(replaced);
        }
    }

    /// Session: the next command.
    pub(crate) fn command(&self) -> Option<Command<B>> {
        self.commands.pop()
    }

    /// Session: whether a command waits.
    pub(crate) fn has_command(&self) -> bool {
        !self.commands.is_empty()
    }

    /// Session: says that `seq` is in use, and hands over what was in use before.
    pub(crate) fn say_applied(&self, seq: u64, replaced: B::Prepared) {
        self.replaced.push(replaced);
        self.released.store(false, Ordering::Release);
        self.applied.store(seq, Ordering::Release);
        self.work.notify();
    }

    /// Session: says that a frame is worked on with `seq`.
    pub(crate) fn say_framed(&self, seq: u64) {
        // Most frames have what the one before had, which wakes nobody.
        if self.framed.load(Ordering::Relaxed) != seq {
            self.framed.store(seq, Ordering::Release);
            self.work.notify();
        }
    }

    /// Session: says that nothing is in use.
    pub(crate) fn say_released(&self) {
        self.released.store(true, Ordering::Release);
        self.work.notify();
    }

    /// Session: says that an update could not be applied, and hands it back.
    pub(crate) fn say_failed(&self, failure: Failure<B>, prepared: B::Prepared) {
        self.replaced.push(prepared);
        self.failures.push(failure);
        self.work.notify();
    }

    /// Session: hands back what was made onto something that is not in use.
    pub(crate) fn give_back(&self, prepared: B::Prepared) {
        self.replaced.push(prepared);
        self.work.notify();
    }
}

impl<B: Bench> fmt::Debug for Line<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Line").field("applied", &self.applied).finish_non_exhaustive()
    }
}
