//! The arguments of a run, and the division of its work.

#![allow(unsafe_code, reason = "holds an address that threads share")]

use dreamframe_kernels::Kernels;

use super::past::PastAt;
use super::pool::Pool;
use super::recorder::Recorder;
use super::span::Scratch;
use crate::exec::Region;

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
    /// The pixels of the output to compute, of a batch of one: whole tiles of a convolution by
    /// Winograd's algorithm; all pixels without it.
    pub(super) region: Option<&'a Region>,
    /// What records the times of jobs, in a run whose steps are measured.
    pub(super) recorder: Option<&'a Recorder>,
}

// SAFETY: `zeros` is an address that is only read.
unsafe impl Sync for Run<'_> {}

/// Pieces of a job for each thread, at least, where its work can be divided that far: threads then wait for the last
/// pieces for at most a fifth of the job's time.
const PIECES_PER_THREAD: usize = 4;

impl Run<'_> {
    /// Returns how many of `len` items a piece of work gets: as many as are fastest, `most`, or fewer if there would be
    /// too few pieces for the threads, but a multiple of `least`. The job has `others` pieces for the same items.
    pub(super) fn items(&self, len: usize, [least, most]: [usize; 2], others: usize) -> usize {
        let threads = self.pool.map_or(1, Pool::threads);
        if threads == 1 {
            return most;
        }
        let parts = (PIECES_PER_THREAD * threads).div_ceil(others.max(1));
        len.div_ceil(parts).next_multiple_of(least).min(most)
    }

    /// Calls `piece(i, thread)` for each `i` below `count`, once.
    pub(super) fn pieces(&self, count: usize, piece: &(dyn Fn(usize, usize) + Sync)) {
        match self.recorder {
            Some(recorder) => recorder.job(count, piece, |piece| self.share(count, piece)),
            None => self.share(count, piece),
        }
    }

    fn share(&self, count: usize, piece: &(dyn Fn(usize, usize) + Sync)) {
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
