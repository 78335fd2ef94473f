//! The arguments of a run.

#![allow(unsafe_code, reason = "holds an address that threads share")]

use dreamframe_kernels::Kernels;

use super::past::PastAt;
use super::pool::Pool;
use super::span::Scratch;

/// The arguments of all steps of a run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Run<'a> {
    pub(super) kernels: &'static Kernels,
    /// The thread pool; without one, the calling thread runs everything.
    pub(super) pool: Option<&'a Pool>,
    /// Scratch memory of each thread.
    pub(super) scratch: Scratch,
    /// Zeros: as many as a line of the widest kernel reads elements, and at least a tile's width; of any type.
    pub(super) zeros: *const f32,
    pub(super) past: PastAt<'a>,
}

// SAFETY: `zeros` is an address that is only read.
unsafe impl Sync for Run<'_> {}

impl Run<'_> {
    /// Calls `piece(i, thread)` for each `i` below `count`, once.
    pub(super) fn pieces(&self, count: usize, piece: &(dyn Fn(usize, usize) + Sync)) {
        match self.pool {
            Some(pool) => pool.run(count, piece),
            None => (0..count).for_each(|i| piece(i, 0)),
        }
    }

    /// Calls `work`, which computes products, with the state that these need on this thread.
    pub(super) fn products(&self, work: impl FnOnce()) {
        // SAFETY: a table of kernels exists only if the CPU supports its instructions.
        unsafe { (self.kernels.enter)() };
        work();
        // SAFETY: as above.
        unsafe { (self.kernels.leave)() };
    }
}
