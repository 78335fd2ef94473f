//! The time of a network on more cores than this machine has: a simulation of measured pieces of work, not a
//! measurement.
//!
//! The pieces of a network are measured on one core, divided as for the simulated number of threads. Their jobs are
//! then done by that many simulated threads, as [`cpu`](super::cpu) does them: a thread that is free takes the next
//! piece, and a job ends with its last piece. Cores are assumed to be as fast together as one alone, except that all of
//! them share the memory's bandwidth: no step is faster than its bytes pass.

use super::{StepBytes, StepTime};

/// The work of a step, in nanoseconds of one core.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StepWork {
    /// The description of the step, equal for steps of equal cost.
    pub what: String,
    /// Multiplications and additions of its products.
    pub operations: f64,
    /// The bytes of its operands.
    pub bytes: StepBytes,
    /// The time outside of jobs.
    pub serial: f64,
    /// The time of each piece of each job.
    pub jobs: Vec<Vec<f64>>,
}

impl StepWork {
    /// Returns the work of each step, from several runs of a network on one thread: the median of each time, so that
    /// other work on the machine does not appear as a long piece.
    pub fn of_runs(runs: &[Vec<StepTime>]) -> Vec<Self> {
        let Some(first) = runs.first() else { return Vec::new() };
        let work_of = |(i, step): (usize, &StepTime)| {
            let runs: Vec<&StepTime> = runs.iter().filter_map(|run| run.get(i)).collect();
            let outside = |step: &StepTime| step.nanos.saturating_sub(step.jobs.iter().map(|job| job.nanos).sum());
            let piece = |job: usize, piece: usize| {
                let times = runs.iter().filter_map(|run| run.jobs.get(job)?.pieces.get(piece).copied());
                median(times.collect())
            };
            let pieces = |(job, time): (usize, &super::JobTime)| {
                (0..time.pieces.len()).map(|index| piece(job, index)).collect::<Vec<_>>()
            };
            Self {
                what: step.what.clone(),
                operations: step.operations,
                bytes: step.bytes,
                serial: median(runs.iter().map(|step| outside(step)).collect()),
                jobs: step.jobs.iter().enumerate().map(pieces).collect(),
            }
        };
        first.iter().enumerate().map(work_of).collect()
    }

    /// Returns the time on one core.
    pub fn alone(&self) -> f64 {
        self.serial + self.jobs.iter().flatten().sum::<f64>()
    }
}

/// The median, of an even number of times the lower one.
fn median(mut times: Vec<u64>) -> f64 {
    times.sort_unstable();
    times.get(times.len().saturating_sub(1) / 2).map_or(0.0, |&time| time as f64)
}

/// The simulated machine.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Machine {
    /// Threads, each on a core of its own.
    pub threads: usize,
    /// Nanoseconds that a job takes longer for each thread but the caller's that takes part in it.
    pub job_nanos: f64,
    /// Bytes per nanosecond between memory and all cores.
    pub bandwidth: f64,
    /// Bytes that all cores have in their last cache: values of a step that fit into it are not read from memory.
    /// Weights always are.
    pub cache: usize,
}

/// Why a step takes longer than its work divided by the number of threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// One thread works alone, outside of jobs.
    Serial,
    /// A job has fewer pieces than there are threads.
    FewPieces,
    /// Threads wait for the last pieces of a job.
    LastPieces,
    /// Jobs begin and end.
    Jobs,
    /// The bandwidth of the memory.
    Memory,
}

impl Loss {
    /// All of them, in the order of [`SimulatedStep::lost`].
    pub const ALL: [Self; 5] = [Self::Serial, Self::FewPieces, Self::LastPieces, Self::Jobs, Self::Memory];

    /// Returns its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Serial => "one thread alone",
            Self::FewPieces => "too few pieces",
            Self::LastPieces => "last pieces",
            Self::Jobs => "starts of jobs",
            Self::Memory => "bandwidth",
        }
    }
}

/// The simulated time of a step, in nanoseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct SimulatedStep {
    /// Its duration.
    pub nanos: f64,
    /// What each of [`Loss::ALL`] adds to its work divided by the number of threads.
    pub lost: [f64; 5],
}

impl Machine {
    /// Simulates a step.
    pub fn run(&self, work: &StepWork) -> SimulatedStep {
        let threads = self.threads as f64;
        let mut step = SimulatedStep { nanos: work.serial, lost: [0.0; 5] };
        let mut lose = |loss: Loss, nanos: f64| step.lost[loss as usize] += nanos;
        lose(Loss::Serial, work.serial - work.serial / threads);
        for pieces in &work.jobs {
            let span = makespan(pieces, self.threads);
            let even = pieces.iter().sum::<f64>() / threads;
            let reason = if pieces.len() < self.threads { Loss::FewPieces } else { Loss::LastPieces };
            lose(reason, span - even);
            let joined = pieces.len().min(self.threads).saturating_sub(1);
            let start = self.job_nanos * joined as f64;
            lose(Loss::Jobs, start);
            step.nanos += span + start;
        }
        let memory = self.memory(work) - step.nanos;
        if memory > 0.0 {
            step.lost[Loss::Memory as usize] = memory;
            step.nanos += memory;
        }
        step
    }

    /// The time in which a step's bytes pass.
    fn memory(&self, work: &StepWork) -> f64 {
        // A step without jobs, such as a concatenation in place, reads nothing.
        if work.jobs.is_empty() {
            return 0.0;
        }
        let values = if work.bytes.values > self.cache { work.bytes.values } else { 0 };
        (work.bytes.weights + values) as f64 / self.bandwidth
    }
}

/// Returns when the last of `pieces` is done, of which each is taken by the first thread that is free.
fn makespan(pieces: &[f64], threads: usize) -> f64 {
    let mut free = vec![0.0_f64; threads.min(pieces.len()).max(1)];
    for piece in pieces {
        if let Some(first) = free.iter_mut().min_by(|a, b| a.total_cmp(b)) {
            *first += piece;
        }
    }
    free.into_iter().fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::JobTime;

    const FAST: Machine = Machine { threads: 4, job_nanos: 0.0, bandwidth: f64::INFINITY, cache: 0 };

    fn work(jobs: &[&[f64]]) -> StepWork {
        StepWork { jobs: jobs.iter().map(|job| job.to_vec()).collect(), ..StepWork::default() }
    }

    #[test]
    fn a_free_thread_takes_the_next_piece() {
        assert_eq!(makespan(&[3.0, 1.0, 1.0, 5.0], 2), 7.0);
        assert_eq!(makespan(&[3.0, 1.0, 1.0, 5.0], 1), 10.0);
        assert_eq!(makespan(&[3.0, 1.0, 1.0, 5.0], 100), 5.0);
        assert_eq!(makespan(&[], 3), 0.0);
    }

    #[test]
    fn losses_are_what_is_more_than_the_even_share() {
        let machine = Machine { job_nanos: 10.0, bandwidth: 2.0, cache: 50, ..FAST };
        let bytes = StepBytes { weights: 400, values: 51 };
        let step = StepWork { serial: 4.0, bytes, ..work(&[&[8.0, 8.0], &[1.0; 6]]) };
        let found = machine.run(&step);
        // Jobs of 8 and 2, in which one and three other threads take part, and one thread alone for 4; 451 bytes take
        // 225.5.
        assert_eq!(found.lost, [3.0, 4.0, 0.5, 40.0, 225.5 - 54.0]);
        assert_eq!(found.nanos, 225.5);
        assert!((found.lost.iter().sum::<f64>() + step.alone() / 4.0 - found.nanos).abs() < 1e-9);
    }

    #[test]
    fn values_that_fit_into_the_cache_and_steps_without_jobs_take_no_bandwidth() {
        let machine = Machine { bandwidth: 1.0, cache: 100, ..FAST };
        let bytes = StepBytes { weights: 7, values: 100 };
        assert_eq!(machine.run(&StepWork { bytes, ..work(&[&[1.0]]) }).nanos, 7.0);
        assert_eq!(machine.run(&StepWork { bytes, ..work(&[]) }).nanos, 0.0);
    }

    #[test]
    fn one_thread_takes_the_whole_work() {
        let step = StepWork { serial: 2.0, ..work(&[&[3.0, 4.0], &[5.0]]) };
        assert_eq!(Machine { threads: 1, ..FAST }.run(&step), SimulatedStep { nanos: step.alone(), lost: [0.0; 5] });
    }

    #[test]
    fn each_time_is_the_median_of_the_runs() {
        let run = |nanos, pieces: [u64; 2]| {
            let job = JobTime { nanos: pieces.iter().sum(), pieces: pieces.to_vec() };
            vec![StepTime { nanos, jobs: vec![job], ..StepTime::new("step".to_owned(), 0.0, StepBytes::default()) }]
        };
        let found = StepWork::of_runs(&[run(20, [5, 6]), run(15, [3, 4]), run(99, [4, 90])]);
        assert_eq!(found, [StepWork { what: "step".to_owned(), serial: 8.0, ..work(&[&[4.0, 6.0]]) }]);
        assert!(StepWork::of_runs(&[]).is_empty());
    }
}
