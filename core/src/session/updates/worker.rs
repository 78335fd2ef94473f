//! The two workers: take a job, make what it needs beside what is in use, send it.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::super::machine::Bench;
use super::desk::{Desk, Task, Turn};
use super::job::{Job, Lane, Planned};
use crate::error::{Error, ErrorKind, Result};
use crate::params::{Cost, StreamDiffusionParams, diff, total_cost};

/// How often a loaded job is put onto parameters that moved on before the quick lane has to wait for it.
const TRIES: usize = 3;

/// Does the jobs of `lane` until the desk closes.
pub(crate) fn run<B: Bench>(desk: &Desk<B>, bench: &B, lane: Lane) {
    while let Some(turn) = desk.next(lane) {
        match (turn, lane) {
            (Turn::Step(planned), _) => step(desk, bench, &planned),
            (Turn::Job(task), Lane::Quick) => quick(desk, bench, task),
            (Turn::Job(task), Lane::Load) => {
                load(desk, bench, task);
                desk.unhold();
            }
        }
    }
}

/// What the text of a panic says.
pub(crate) fn panic_error(doing: &str, panic: &(dyn Any + Send)) -> Error {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref().copied());
    Error::new(ErrorKind::Internal, format!("{doing} panicked: {}", text.unwrap_or("(no message)")))
}

/// What a panic leaves behind is dropped: pieces are made whole or not at all.
fn guarded<T>(make: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(make)).unwrap_or_else(|panic| Err(panic_error("preparing an update", &*panic)))
}

fn prepare<B: Bench>(
    bench: &B,
    params: &StreamDiffusionParams,
    base: Option<&B::Snapshot>,
    others: &[&B::Snapshot],
) -> Result<B::Prepared> {
    guarded(|| bench.prepare(params, base, others))
}

/// What `job` needs for `params`, which it was put onto.
fn make<B: Bench>(
    bench: &B,
    job: &Job,
    params: &StreamDiffusionParams,
    base: Option<&B::Snapshot>,
    others: &[&B::Snapshot],
) -> Result<B::Prepared> {
    match (job.way_to(params), base) {
        (Some(transition), Some(base)) => guarded(|| bench.transition(base, transition)),
        _ => prepare(bench, params, base, others),
    }
}

fn step<B: Bench>(desk: &Desk<B>, bench: &B, planned: &Planned<B::Snapshot>) {
    let made = planned.snapshot.as_ref().map_or(Ok(None), |base| guarded(|| bench.step(base)));
    desk.commit_step(planned.seq, made);
}

fn quick<B: Bench>(desk: &Desk<B>, bench: &B, task: Task<B>) {
    let Task { job, mut planned } = task;
    loop {
        let Some(base) = &planned.snapshot else {
            desk.defer(&job);
            return;
        };
        let made = job.onto(&planned).and_then(|params| {
            let prepared = make(bench, &job, &params, Some(base), &[])?;
            Ok((params, prepared))
        });
        let newer = match made {
            Ok((params, prepared)) => desk.commit(&job, planned.seq, params, prepared),
            // What does not fit now may fit once an earlier load is there.
            Err(_) if desk.defer_behind_loads(&job) => return,
            Err(error) => desk.reject(&job, Some(planned.seq), error),
        };
        match newer {
            Some(newer) => planned = newer,
            None => return,
        }
    }
}

fn load<B: Bench>(desk: &Desk<B>, bench: &B, task: Task<B>) {
    let Task { job, mut planned } = task;
    let mut built: Option<B::Snapshot> = None;
    let mut tries = 0;
    loop {
        tries += 1;
        if tries > TRIES {
            desk.hold();
            planned = desk.planned();
        }
        let params = match job.onto(&planned) {
            Ok(params) => params,
            Err(error) => match desk.reject(&job, Some(planned.seq), error) {
                Some(newer) => {
                    planned = newer;
                    continue;
                }
                None => return,
            },
        };
        let base = planned.snapshot.as_ref();
        if built.is_none() && base.is_some_and(|base| bench.is_short(base, &params)) {
            return free_first(desk, bench, &job);
        }
        let others: Vec<_> = built.iter().collect();
        let newer = match make(bench, &job, &params, base, &others) {
            Ok(prepared) => {
                built = Some(B::snapshot(&prepared));
                desk.commit(&job, planned.seq, params, prepared)
            }
            Err(error) if error.kind() == ErrorKind::OutOfMemory && rebuilds(&planned, &params) => {
                return free_first(desk, bench, &job);
            }
            Err(error) => {
                // A missing file stays missing; rules between fields depend on the other fields.
                let depends = matches!(error.kind(), ErrorKind::InvalidParams | ErrorKind::Unsupported);
                desk.reject(&job, depends.then_some(planned.seq), error)
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

/// Lets go of what is in use, then makes the new; where that fails, makes the old again.
fn free_first<B: Bench>(desk: &Desk<B>, bench: &B, job: &Arc<Job>) {
    desk.hold();
    let Some(planned) = desk.release() else { return };
    tracing::warn!(version = job.version, "too little memory for two pipelines: the one in use goes first");
    let made = job.onto(&planned).and_then(|params| {
        let prepared = prepare(bench, &params, None, &[])?;
        Ok((params, prepared))
    });
    let error = match made {
        Ok((params, prepared)) => {
            desk.commit(job, planned.seq, params, prepared);
            return;
        }
        Err(error) => error,
    };
    match prepare(bench, &planned.params, None, &[]) {
        Ok(prepared) => desk.restore(&planned, prepared),
        Err(error) => desk.degraded(error),
    }
    desk.reject(job, None, error);
}
