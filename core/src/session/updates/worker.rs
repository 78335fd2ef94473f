//! The two workers: take a job, prepare it, send it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::super::engine_traits::Preparer;
use super::job::{Job, Lane, Planned};
use super::queue::{Task, Turn, UpdateQueue};
use crate::error::{Error, ErrorKind, Result};
use crate::params::{Cost, StreamDiffusionParams, diff, total_cost};

/// The number of times that a load is prepared for parameters that have changed before the quick lane is paused for it.
const TRIES: usize = 3;

/// Prepares the jobs of `lane` until the queue is closed.
pub(crate) fn run<B: Preparer>(queue: &UpdateQueue<B>, preparer: &B, lane: Lane) {
    while let Some(turn) = queue.next(lane) {
        match (turn, lane) {
            (Turn::Step(planned), _) => step(queue, preparer, &planned),
            (Turn::Job(task), Lane::Quick) => quick(queue, preparer, task),
            (Turn::Job(task), Lane::Load) => {
                load(queue, preparer, task);
                queue.unhold();
            }
        }
    }
}

/// Converts a panic into an error. Its unfinished components are dropped.
fn guarded<T>(make: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(make)).unwrap_or_else(|panic| Err(Error::of_panic("preparing an update", &*panic)))
}

fn prepare<B: Preparer>(
    preparer: &B,
    params: &StreamDiffusionParams,
    base: Option<&B::Snapshot>,
    others: &[&B::Snapshot],
) -> Result<B::Prepared> {
    guarded(|| preparer.prepare(params, base, others))
}

/// Prepares `job` for `params`, its result.
fn make<B: Preparer>(
    preparer: &B,
    job: &Job,
    params: &StreamDiffusionParams,
    base: Option<&B::Snapshot>,
    others: &[&B::Snapshot],
) -> Result<B::Prepared> {
    match (job.transition_to(params), base) {
        (Some(transition), Some(base)) => guarded(|| preparer.transition(base, transition)),
        _ => prepare(preparer, params, base, others),
    }
}

fn step<B: Preparer>(queue: &UpdateQueue<B>, preparer: &B, planned: &Planned<B::Snapshot>) {
    let made = planned.snapshot.as_ref().map_or(Ok(None), |base| guarded(|| preparer.step(base)));
    queue.commit_step(planned.seq, made);
}

fn quick<B: Preparer>(queue: &UpdateQueue<B>, preparer: &B, task: Task<B>) {
    let Task { job, mut planned } = task;
    loop {
        let Some(base) = &planned.snapshot else {
            queue.defer(&job);
            return;
        };
        let made = job.onto(&planned).and_then(|params| {
            let prepared = make(preparer, &job, &params, Some(base), &[])?;
            Ok((params, prepared))
        });
        let newer = match made {
            Ok((params, prepared)) => queue.commit(&job, planned.seq, params, prepared),
            // It may fit once an earlier load is applied.
            Err(_) if queue.defer_behind_loads(&job) => return,
            Err(error) => queue.reject(&job, Some(planned.seq), error),
        };
        match newer {
            Some(newer) => planned = newer,
            None => return,
        }
    }
}

fn load<B: Preparer>(queue: &UpdateQueue<B>, preparer: &B, task: Task<B>) {
    let Task { job, mut planned } = task;
    let mut built: Option<B::Snapshot> = None;
    let mut tries = 0;
    loop {
        tries += 1;
        if tries > TRIES {
            queue.hold();
            planned = queue.planned();
        }
        let params = match job.onto(&planned) {
            Ok(params) => params,
            Err(error) => match queue.reject(&job, Some(planned.seq), error) {
                Some(newer) => {
                    planned = newer;
                    continue;
                }
                None => return,
            },
        };
        let base = planned.snapshot.as_ref();
        if built.is_none() && base.is_some_and(|base| preparer.is_short(base, &params)) {
            return free_first(queue, preparer, &job);
        }
        let others: Vec<_> = built.iter().collect();
        let newer = match make(preparer, &job, &params, base, &others) {
            Ok(prepared) => {
                built = Some(B::snapshot(&prepared));
                queue.commit(&job, planned.seq, params, prepared)
            }
            Err(error) if error.kind() == ErrorKind::OutOfMemory && rebuilds(&planned, &params) => {
                return free_first(queue, preparer, &job);
            }
            Err(error) => {
                // A missing file stays missing; rules between fields depend on the other fields.
                let depends = matches!(error.kind(), ErrorKind::InvalidParams | ErrorKind::Unsupported);
                queue.reject(&job, depends.then_some(planned.seq), error)
            }
        };
        match newer {
            Some(newer) => planned = newer,
            None => return,
        }
    }
}

fn rebuilds<S>(planned: &Planned<S>, params: &StreamDiffusionParams) -> bool {
    planned.snapshot.is_some() && total_cost(&diff(&planned.params, params)) == Some(Cost::Rebuild)
}

/// Releases the pipeline in use, then builds the new one; if that fails, builds the old one again.
fn free_first<B: Preparer>(queue: &UpdateQueue<B>, preparer: &B, job: &Arc<Job>) {
    queue.hold();
    let Some(planned) = queue.release() else { return };
    tracing::warn!(version = job.version, "too little memory for two pipelines: the one in use is released first");
    let made = job.onto(&planned).and_then(|params| {
        let prepared = prepare(preparer, &params, None, &[])?;
        Ok((params, prepared))
    });
    let error = match made {
        Ok((params, prepared)) => {
            queue.commit(job, planned.seq, params, prepared);
            return;
        }
        Err(error) => error,
    };
    match prepare(preparer, &planned.params, None, &[]) {
        Ok(prepared) => queue.restore(&planned, prepared),
        Err(error) => queue.degraded(error),
    }
    queue.reject(job, None, error);
}
