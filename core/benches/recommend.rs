//! Compares the estimates of `dreamframe models recommend` with measured frames, and prints the table of docs/models.md.
//!
//! `cargo bench -p dreamframe --features internals --bench recommend -- check [threads] [network:size…]` measures the
//! machine, then runs the networks with random weights, and lists for each kind of step the measured and the estimated
//! time. `-- table [threads]` lists the models on this machine and on machines that are computed from it.

#![allow(clippy::print_stdout, reason = "a bench prints its table")]

use std::collections::BTreeMap;
use std::sync::Arc;

use dreamframe::exec::cost::CostKind;
use dreamframe::exec::{Executor as _, RunArgs, View};
use dreamframe::load::RandomWeights;
use dreamframe::net::{Program, Rate, Weights};
use dreamframe::recommend::check;
use dreamframe::{MachineSpeed, Result, recommend};

/// Passes of each network; the times of a step are their median.
const ROUNDS: usize = 5;

/// The share of a GPU's peak in half precision, and of its bandwidth, that is assumed.
const SHARE: f64 = 0.35;
/// Seconds of a GPU for a step beyond its work.
const STEP: f64 = 5e-6;

/// The measured seconds of each step of a program.
fn measured(speed: &MachineSpeed, program: &Arc<Program>) -> Result<Vec<f64>> {
    let weights = Weights::new(Arc::new(RandomWeights::new(1, program.weights())));
    let executor = check::executor(speed);
    let network = executor.compile(program, &weights)?;
    let filled = |rate| -> Vec<Vec<f32>> {
        program.inputs_at(rate).map(|input| vec![0.5; program.shape(input.value).len()]).collect()
    };
    let (constant, frame) = (filled(Rate::Constant), filled(Rate::Frame));
    let constants = network.constants(&constant.iter().map(Vec::as_slice).collect::<Vec<_>>())?;
    let mut scratch = executor.queue().scratch(network.scratch_bytes())?;
    let mut output = vec![0.0; program.shape(program.outputs()[0].value).len()];
    let mut runs = Vec::new();
    for _ in 0..=ROUNDS {
        let inputs: Vec<View<'_>> = frame.iter().map(View::from).collect();
        let outputs = &mut [(&mut output).into()];
        let mut times = Vec::new();
        let args = RunArgs::new(&constants, &mut scratch, &inputs, outputs);
        network.run(RunArgs { times: Some(&mut times), ..args })?;
        runs.push(times);
    }
    let median = |step: usize| {
        let mut nanos: Vec<u64> = runs[1..].iter().map(|run| run[step].nanos).collect();
        nanos.sort_unstable();
        nanos[nanos.len() / 2] as f64 / 1e9
    };
    Ok((0..runs[0].len()).map(median).collect())
}

fn check(speed: &MachineSpeed, network: &str, side: u32) -> Result<()> {
    for (part, (program, estimated)) in
        ["encode", "unet", "decode"].iter().zip(check::steps(speed, network, (side, side))?)
    {
        let measured = measured(speed, &program)?;
        let costs = check::executor(speed).cost(&program).steps;
        let mut kinds: BTreeMap<CostKind, [f64; 3]> = BTreeMap::new();
        for ((cost, estimated), measured) in costs.iter().zip(&estimated).zip(&measured) {
            let sums = kinds.entry(cost.kind).or_default();
            let added = [measured * 1e3, estimated * 1e3, cost.operations / 1e9];
            sums.iter_mut().zip(added).for_each(|(sum, more)| *sum += more);
        }
        let [all, expected] = [&measured, &estimated].map(|times| times.iter().sum::<f64>() * 1e3);
        println!(
            "{network} {side} {part}: measured {all:.1} ms, estimated {expected:.1} ms, {:+.0} %",
            (expected / all - 1.0) * 100.0
        );
        for (kind, [measured, estimated, operations]) in kinds {
            let kind = format!("{kind:?}");
            println!("  {kind:40} {measured:9.2} ms {estimated:9.2} ms  {operations:8.1} GFLOP");
        }
    }
    Ok(())
}

/// Prints the pictures per second of every model on several machines.
fn table(speed: &MachineSpeed) -> Result<()> {
    let own = speed.rates().threads as f64;
    let machines = [
        ("this machine", None),
        ("8 cores", Some(speed.scaled(8.0 / own, 2.0)?)),
        ("16 cores", Some(speed.scaled(16.0 / own, 4.0)?)),
        ("RTX 4060", Some(MachineSpeed::of_gpu(30.2e12, 272e9, SHARE, STEP)?)),
        ("RTX 4090", Some(MachineSpeed::of_gpu(165.2e12, 1008e9, SHARE, STEP)?)),
    ];
    let mut rows: BTreeMap<(String, u32), Vec<f64>> = BTreeMap::new();
    for (_, machine) in &machines {
        for found in recommend(machine.as_ref().unwrap_or(speed), &[])? {
            rows.entry((found.model.to_owned(), found.width)).or_default().push(found.pictures_per_second);
        }
    }
    println!("| model | size | {} |", machines.map(|(name, _)| name).join(" | "));
    for ((model, side), rates) in rows {
        let rates: Vec<String> =
            rates.iter().map(|rate| format!("{rate:.*}", if *rate < 9.95 { 2 } else { 0 })).collect();
        println!("| `{model}` | {side} | {} |", rates.join(" | "));
    }
    Ok(())
}

fn main() -> Result<()> {
    // Flags of Cargo (`--bench`) are ignored.
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    let threads = args.get(1).and_then(|arg| arg.parse().ok());
    let started = std::time::Instant::now();
    let speed = MachineSpeed::measure(threads, &mut |_| {})?;
    println!("measured in {:.2} s: {:?}", started.elapsed().as_secs_f64(), speed.rates());
    if args.first().is_some_and(|arg| arg == "table") {
        return table(&speed);
    }
    let usual = ["demo:256", "sdxs:512", "sd-turbo:256"].map(str::to_owned);
    for wanted in args.get(2..).filter(|rest| !rest.is_empty()).unwrap_or(&usual) {
        if let Some((network, side)) = wanted.split_once(':') {
            check(&speed, network, side.parse().unwrap_or(512))?;
        }
    }
    Ok(())
}
