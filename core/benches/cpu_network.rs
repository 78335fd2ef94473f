//! Where the time of a whole network goes: each kind of step with its share of the time, and of the machine's peak.
//!
//! `cargo bench -p dreamframe --features internals --bench cpu_network -- [network] [size] [dtype] [threads] [rounds]`
//!
//! The names of networks are those of `networks/mod.rs`.

#![allow(clippy::print_stdout, reason = "a bench prints its table")]

mod networks;

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::Arc;

use dreamframe::Result;
use dreamframe::exec::cpu::{CpuExecutor, CpuOptions};
use dreamframe::exec::{Dtype, Executor};

use self::networks::Subject;

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

fn main() -> Result<()> {
    // Flags of Cargo (`--bench`) are ignored.
    let args = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect::<Vec<_>>();
    let arg = |i: usize, or: &'static str| args.get(i).cloned().unwrap_or_else(|| or.to_owned());
    let number = |i: usize, or: &'static str| arg(i, or).parse::<usize>().unwrap_or(0);
    let (name, size, dtype) = (arg(0, "sd-turbo"), number(1, "512"), arg(2, "f32").parse::<Dtype>()?);
    let (threads, rounds) = (NonZeroUsize::new(number(3, "0")), number(4, "5").max(1));
    let executor = Arc::new(CpuExecutor::new(CpuOptions { threads, dtype, ..Default::default() })?);
    let subject = Subject::new(&name, size, &executor)?;
    let mut network = subject.compile(&executor)?;
    network.run()?;

    let (mut all, mut whole, mut peak) = (Vec::new(), Vec::new(), 0.0_f64);
    for _ in 0..rounds {
        peak = peak.max(executor.peak());
        let (ms, times) = network.run()?;
        whole.push(ms);
        all.push(times);
    }
    let mut kinds: HashMap<&str, (usize, f64, f64)> = HashMap::new();
    for (i, step) in all[0].iter().enumerate() {
        let (count, operations, ms) = kinds.entry(&step.what).or_default();
        *count += 1;
        *operations += step.operations / 1e9;
        *ms += median(all.iter().map(|times| times[i].nanos as f64 / 1e6).collect());
    }
    let total: f64 = kinds.values().map(|kind| kind.2).sum();
    let operations: f64 = kinds.values().map(|kind| kind.1).sum();
    let mut kinds = kinds.into_iter().collect::<Vec<_>>();
    kinds.sort_by(|(_, a), (_, b)| b.2.total_cmp(&a.2));
    println!("{name} {size}, {}: median {:.1} ms of {rounds}", executor.describe(), median(whole));
    println!("peak {peak:.0} GFLOP/s; {operations:.1} GFLOP are {:.1} % of it\n", operations / total * 1e5 / peak);
    println!("{:52} {:>4} {:>9} {:>7} {:>8}", "step", "n", "ms", "share", "of peak");
    for (what, (count, operations, ms)) in kinds {
        let rate = if operations > 0.0 { format!("{:.1} %", operations / ms * 1e5 / peak) } else { String::new() };
        println!("{what:52} {count:4} {ms:9.2} {:5.1} % {rate:>8}", ms / total * 100.0);
    }
    Ok(())
}
