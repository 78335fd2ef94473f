//! The arguments of a run.

#![allow(unsafe_code, reason = "holds an address that threads share")]

use dreamframe_kernels::Kernels;

use super::past::PastAt;
use super::pool::Pool;
use super::span::Scratch;

/// The arguments that all steps of a run share.
#[derive(Debug, Clone, Copy)]
pub(super) struct Run<'a> {
    pub(super) kernels: &'static Kernels,
    /// The threads that work; without a pool, the calling thread alone.
    pub(super) pool: Option<&'a Pool>,
    /// Scratch memory of each thread.
    pub(super) scratch: Scratch,
    /// As many zeros as a line of the widest kernel sees numbers, and at least a tile's width; of any type.
    pub(super) zeros: *const f32,
    pub(super) past: PastAt,
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
}
