//! The times of the jobs of a step, in a run whose steps are measured.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::exec::JobTime;

/// The jobs of a step that is being measured.
#[derive(Debug, Default)]
pub(super) struct Recorder(Mutex<Vec<JobTime>>);

impl Recorder {
    /// Does a job of `count` pieces with `job`, which gets the work of a piece.
    pub(super) fn job(
        &self,
        count: usize,
        piece: &(dyn Fn(usize, usize) + Sync),
        job: impl FnOnce(&(dyn Fn(usize, usize) + Sync)),
    ) {
        let pieces: Vec<AtomicU64> = (0..count).map(|_| AtomicU64::new(0)).collect();
        let begin = Instant::now();
        job(&|i, thread| {
            let begin = Instant::now();
            piece(i, thread);
            pieces[i].store(nanos_since(begin), Ordering::Relaxed);
        });
        let nanos = nanos_since(begin);
        let job = JobTime { nanos, pieces: pieces.into_iter().map(AtomicU64::into_inner).collect() };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(job);
    }

    /// Returns the jobs since the last call.
    pub(super) fn take(&self) -> Vec<JobTime> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

pub(super) fn nanos_since(begin: Instant) -> u64 {
    begin.elapsed().as_nanos() as u64
}
