//! The time of networks on more cores than this machine has, simulated from measured pieces of work (see
//! `exec::many_cores`), and what they lose.
//!
//! `cargo bench -p dreamframe --features internals --bench many_cores -- [network:size…] [dtype=bf16] [rounds=5]
//! [bandwidth=100] [cache=32] [job=NANOSECONDS] [steps=THREADS]`
//!
//! `bandwidth` is that of the simulated machine in GB/s, `cache` the MB of its last cache. The start of a job is
//! measured with two threads, unless `job` gives the nanoseconds for each thread. Networks are those of
//! `networks/mod.rs`. `steps` lists all kinds of step with their jobs and pieces, divided for that many threads.

#![allow(clippy::print_stdout, reason = "a bench prints its table")]

mod networks;

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use dreamframe::exec::cpu::{CpuExecutor, CpuOptions};
use dreamframe::exec::many_cores::{Loss, Machine, SimulatedStep, StepWork};
use dreamframe::exec::{Dtype, background};
use dreamframe::{Error, ErrorKind, Result};

use self::networks::Subject;

/// The numbers of threads of the table.
const THREADS: [usize; 7] = [1, 2, 4, 8, 16, 32, 64];
/// Those whose losses are listed.
const LISTED: [usize; 3] = [8, 16, 32];
/// Steps of a list.
const STEPS: usize = 10;
const DEFAULT: [&str; 8] = [
    "sd-turbo:512",
    "sdxs:512",
    "sdxl-turbo:512",
    "taesd-enc:512",
    "taesd-dec:512",
    "demo:256",
    "demo-enc:256",
    "demo-dec:256",
];

struct Options {
    networks: Vec<(String, usize)>,
    dtype: Dtype,
    rounds: usize,
    bandwidth: f64,
    cache: usize,
    job: Option<f64>,
    steps: Option<usize>,
}

fn options() -> Result<Options> {
    let invalid = |arg: &str| Error::new(ErrorKind::InvalidArgument, format!("argument: got {arg}, see the source"));
    let mut options = Options {
        networks: Vec::new(),
        dtype: Dtype::Auto,
        rounds: 5,
        bandwidth: 100.0,
        cache: 32,
        job: None,
        steps: None,
    };
    // Flags of Cargo (`--bench`) are ignored.
    for arg in std::env::args().skip(1).filter(|arg| !arg.starts_with("--")) {
        let number = |text: &str| text.parse::<f64>().map_err(|_| invalid(&arg));
        match arg.split_once(['=', ':']) {
            Some(("dtype", text)) => options.dtype = text.parse()?,
            Some(("rounds", text)) => options.rounds = number(text)?.max(1.0) as usize,
            Some(("bandwidth", text)) => options.bandwidth = number(text)?,
            Some(("cache", text)) => options.cache = number(text)? as usize,
            Some(("job", text)) => options.job = Some(number(text)?),
            Some(("steps", text)) => options.steps = Some(number(text)? as usize),
            Some((network, size)) => options.networks.push((network.to_owned(), number(size)? as usize)),
            None => return Err(invalid(&arg)),
        }
    }
    if options.networks.is_empty() {
        let named = DEFAULT.iter().filter_map(|name| name.split_once(':'));
        options.networks = named.filter_map(|(name, size)| Some((name.to_owned(), size.parse().ok()?))).collect();
    }
    Ok(options)
}

fn executor(threads: usize, dtype: Dtype) -> Result<Arc<CpuExecutor>> {
    let options = CpuOptions { threads: NonZeroUsize::new(threads), dtype, ..Default::default() };
    Ok(Arc::new(CpuExecutor::new(options)?))
}

/// Gigabytes that `threads` threads read in a second together.
fn bandwidth(threads: usize) -> f64 {
    const LEN: usize = 32 << 20;
    let memory: Vec<Vec<u64>> = (0..threads).map(|_| vec![1; LEN]).collect();
    let start = Instant::now();
    thread::scope(|scope| {
        for part in &memory {
            scope.spawn(|| std::hint::black_box(part.iter().sum::<u64>()));
        }
    });
    (threads * LEN * size_of::<u64>()) as f64 / start.elapsed().as_secs_f64() / 1e9
}

/// The pieces of a network as it is divided for `threads` threads, measured on this thread.
fn work(subject: &Subject, threads: usize, options: &Options) -> Result<Vec<StepWork>> {
    let mut network = subject.compile(&*executor(threads, options.dtype)?)?;
    let mut runs = Vec::new();
    for _ in 0..=options.rounds {
        runs.push(background(|| network.run())?.1);
    }
    // The first run fills caches.
    Ok(StepWork::of_runs(&runs[1..]))
}

/// The median milliseconds of frames on as many threads.
fn measured(subject: &Subject, threads: usize, options: &Options) -> Result<f64> {
    let mut network = subject.compile(&*executor(threads, options.dtype)?)?;
    let mut times = (0..=options.rounds).map(|_| Ok(network.run()?.0)).collect::<Result<Vec<_>>>()?;
    times.remove(0);
    times.sort_by(f64::total_cmp);
    Ok(times[times.len() / 2])
}

/// The kinds of step that lose the most, with their number, their loss in nanoseconds and the reason for most of it.
fn losers(work: &[StepWork], simulated: &[SimulatedStep]) -> Vec<(String, usize, f64, Loss)> {
    let mut kinds: HashMap<&str, (usize, [f64; 5])> = HashMap::new();
    for (work, step) in work.iter().zip(simulated) {
        let (count, lost) = kinds.entry(&work.what).or_default();
        *count += 1;
        lost.iter_mut().zip(step.lost).for_each(|(all, more)| *all += more);
    }
    let with_reason = |(what, (count, lost)): (&str, (usize, [f64; 5]))| {
        let reason = Loss::ALL.into_iter().max_by(|&a, &b| lost[a as usize].total_cmp(&lost[b as usize]))?;
        Some((what.to_owned(), count, lost.iter().sum::<f64>(), reason))
    };
    let mut kinds: Vec<_> = kinds.into_iter().filter_map(with_reason).collect();
    kinds.sort_by(|a, b| b.2.total_cmp(&a.2));
    kinds.truncate(STEPS);
    kinds
}

/// Lists the kinds of step as they are divided for a number of threads, the longest first.
fn list_steps(work: &[StepWork], threads: usize) {
    let mut kinds: HashMap<&str, (usize, &StepWork)> = HashMap::new();
    work.iter().for_each(|step| kinds.entry(&step.what).or_insert((0, step)).0 += 1);
    let mut kinds: Vec<_> = kinds.into_values().collect();
    kinds.sort_by(|a, b| (b.0 as f64 * b.1.alone()).total_cmp(&(a.0 as f64 * a.1.alone())));
    println!(
        "for {threads} threads: {:45} {:>4} {:>8} {:>8} {:>8}  pieces of each job",
        "step", "n", "MFLOP", "KB", "us"
    );
    for (count, step) in kinds {
        let (operations, bytes) = (step.operations / 1e6, (step.bytes.weights + step.bytes.values) / 1000);
        let jobs: Vec<String> = step.jobs.iter().map(|pieces| pieces.len().to_string()).collect();
        let (what, us, jobs) = (&step.what, step.alone() / 1e3, jobs.join(", "));
        println!("                {what:51} {count:4} {operations:8.0} {bytes:8} {us:8.0}  {jobs}");
    }
}

fn report(name: &str, size: usize, job_nanos: f64, options: &Options) -> Result<()> {
    let subject = Subject::new(name, size, &executor(1, options.dtype)?)?;
    println!(
        "\n{name} {size}\n{:>7} {:>9} {:>9} {:>8} {:>10}",
        "threads", "work, ms", "time, ms", "times", "efficiency"
    );
    let (mut lists, mut first) = (Vec::new(), 0.0);
    for threads in THREADS {
        let work = work(&subject, threads, options)?;
        if options.steps == Some(threads) {
            list_steps(&work, threads);
        }
        let machine = Machine { threads, job_nanos, bandwidth: options.bandwidth, cache: options.cache << 20 };
        let steps: Vec<SimulatedStep> = work.iter().map(|work| machine.run(work)).collect();
        let time = steps.iter().map(|step| step.nanos).sum::<f64>() / 1e6;
        first = if threads == 1 { time } else { first };
        let whole = work.iter().map(StepWork::alone).sum::<f64>() / 1e6;
        let efficiency = first / time / threads as f64 * 100.0;
        print!("{threads:7} {whole:9.2} {time:9.2} {:8.2} {efficiency:8.1} %", first / time);
        for loss in Loss::ALL {
            let lost = steps.iter().map(|step| step.lost[loss as usize]).sum::<f64>() / 1e6;
            print!("   {}: {:.1} %", loss.name(), lost / time * 100.0);
        }
        let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        println!(
            "{}",
            if threads > cores {
                String::new()
            } else {
                format!("   measured: {:.2} ms", measured(&subject, threads, options)?)
            }
        );
        if LISTED.contains(&threads) {
            lists.push((threads, time, losers(&work, &steps)));
        }
    }
    for (threads, time, list) in lists {
        println!("{threads} threads: {:48} {:>4} {:>9} {:>6}", "the most is lost by", "n", "ms lost", "share");
        for (what, count, lost, reason) in list {
            let (lost, share) = (lost / 1e6, lost / 1e4 / time);
            println!("            {what:48} {count:4} {lost:9.3} {share:5.1} % {}", reason.name());
        }
    }
    Ok(())
}

fn main() -> Result<()> {
    let options = options()?;
    let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    for threads in 1..=cores.min(2) {
        println!("{threads} threads read {:.1} GB/s; a job takes {:.0} ns beyond its pieces", bandwidth(threads), {
            executor(threads, options.dtype)?.job_nanos()
        });
    }
    let job = match options.job {
        Some(nanos) => nanos,
        None => executor(2, options.dtype)?.job_nanos(),
    };
    println!("simulated: {} GB/s, a cache of {} MB, {job:.0} ns a job and thread", options.bandwidth, options.cache);
    for (name, size) in &options.networks {
        report(name, *size, job, &options)?;
    }
    Ok(())
}
