//! What live branches of a LoRA cost: the time of a UNet with merged weights and with branches, in turn, and of a change
//! of the scale.
//!
//! `cargo run --release -p dreamframe-tests --bin lora_modes -- [network] [size] [dtype] [threads] [rounds] [rank]`
//!
//! Weights are random. The LoRA changes the linear layers of the transformers, as most do, or all layers.

#![allow(clippy::print_stdout, reason = "prints its measurements")]

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Instant;

use dreamframe::exec::cpu::{CpuExecutor, CpuOptions};
use dreamframe::exec::observe::byte_scales;
use dreamframe::exec::{Constants, Dtype, Executor, Network, Scratch};
use dreamframe::load::RandomWeights;
use dreamframe::models::known::known_model;
use dreamframe::models::{UnetConfig, UnetShape, unet_program};
use dreamframe::net::{Branches, Input, LowRank, Program, Rate, WeightSource, WeightSpec, Weights};
use dreamframe::{Error, ErrorKind, Result};

/// The names of the weights that a LoRA changes, and the changes.
type Changes = Vec<(String, Arc<LowRank>)>;

fn random(name: &str, len: usize) -> Result<Vec<f32>> {
    let shape = vec![len, 1];
    let source = RandomWeights::new(2, &[WeightSpec { name: name.to_owned(), shape: shape.clone() }]);
    source.read(name, &shape)
}

fn inputs(program: &Program, rate: Rate) -> Result<Vec<Vec<f32>>> {
    let random = |input: &Input| random(&input.name, program.shape(input.value).len());
    program.inputs_at(rate).map(random).collect()
}

fn slices(numbers: &[Vec<f32>]) -> Vec<&[f32]> {
    numbers.iter().map(Vec::as_slice).collect()
}

/// A LoRA of rank `rank` for the layers of `program` whose names have `part`.
fn lora(program: &Program, part: &str, rank: usize) -> Result<Changes> {
    let specs = program.weights().iter().filter(|spec| spec.shape.len() > 1 && spec.name.contains(part));
    let change = |spec: &WeightSpec| {
        let (rows, columns) = (spec.shape[0], spec.shape[1..].iter().product::<usize>());
        let (up, down) = (random(&spec.name, rows * rank)?, random(&spec.name, rank * columns)?);
        let change = LowRank::new(spec.shape.clone(), rank, up, down, 1.0);
        let change =
            change.ok_or_else(|| Error::new(ErrorKind::InvalidArgument, "rank: got 0, expected at least 1"))?;
        Ok((spec.name.clone(), Arc::new(change)))
    };
    specs.map(change).collect()
}

/// A network with all that a pass needs.
struct Pass {
    network: Arc<dyn Network>,
    constants: Constants,
    scratch: Scratch,
    frame: Vec<Vec<f32>>,
    output: Vec<f32>,
}

impl Pass {
    fn new(executor: &dyn Executor, program: Program, weights: &Weights) -> Result<Self> {
        let program = Arc::new(program);
        let network = executor.compile(&program, weights)?;
        let constants = network.constants(&slices(&inputs(&program, Rate::Constant)?))?;
        let scratch = executor.queue().scratch(network.scratch_bytes())?;
        let output = vec![0.0; program.shape(program.outputs()[0].value).len()];
        Ok(Self { network, constants, scratch, frame: inputs(&program, Rate::Frame)?, output })
    }

    /// Runs once; returns the time in milliseconds.
    fn run(&mut self) -> Result<f64> {
        let Self { network, constants, scratch, frame, output } = self;
        let start = Instant::now();
        network.run_on_host(constants, scratch, &slices(frame), &mut [output])?;
        Ok(milliseconds(start))
    }
}

fn milliseconds(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e3
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

fn main() -> Result<()> {
    let args = std::env::args().skip(1).collect::<Vec<_>>();
    let arg = |i: usize, or: &'static str| args.get(i).cloned().unwrap_or_else(|| or.to_owned());
    let number = |i: usize, or: &'static str| arg(i, or).parse::<usize>().unwrap_or(0);
    let (name, side, dtype) = (arg(0, "sd15"), number(1, "256") / 8, arg(2, "auto").parse::<Dtype>()?);
    let (threads, rounds, rank) = (NonZeroUsize::new(number(3, "0")), number(4, "9").max(1), number(5, "16"));
    let executor = Arc::new(CpuExecutor::new(CpuOptions { threads, dtype, ..Default::default() })?);
    let known = known_model(&name).ok_or_else(|| Error::new(ErrorKind::NotFound, format!("no network {name}")))?;
    let program = unet_program(&UnetConfig::from_json(known.unet)?, &UnetShape::new(1, side, side))?;
    let source: Arc<dyn WeightSource> = Arc::new(RandomWeights::new(1, program.weights()));
    let mut base = Weights::new(source.clone());
    if dtype == Dtype::Int8 {
        let (constant, frame) = (inputs(&program, Rate::Constant)?, inputs(&program, Rate::Frame)?);
        let (dynamic, program): (Arc<dyn Executor>, _) = (executor.clone(), Arc::new(program.clone()));
        let scales = byte_scales(&dynamic, &program, &source, &slices(&constant), &slices(&frame))?;
        base = base.with_byte_scales(scales);
    }
    let base = Arc::new(base);
    println!("{name} {}, {}, rank {rank}: medians of {rounds} rounds", side * 8, executor.describe());
    for (what, part) in [("transformers", "transformer_blocks"), ("all layers", "")] {
        let changes = lora(&program, part, rank)?;
        let start = Instant::now();
        let merged = Weights::merged(&base, changes.iter().map(|(name, change)| (name.clone(), 0.5, change.clone())));
        let mut plain = Pass::new(&*executor, program.clone(), &merged)?;
        let merging = milliseconds(start);
        let count = changes.len();
        let branches = Branches::new([changes]);
        let estimate = executor.branch_cost(&program, &base, &branches)? * 100.0;
        let mut live = Pass::new(&*executor, branches.add_to(program.clone())?, &branches.weights(&base))?;
        let constant = inputs(live.network.program(), Rate::Constant)?;
        let (mut merged_times, mut live_times, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for round in 0..=rounds {
            // In turns, so that neither always follows the other.
            let (merged, live) = if round % 2 == 0 {
                let merged = plain.run()?;
                (merged, live.run()?)
            } else {
                let live = live.run()?;
                (plain.run()?, live)
            };
            // The first round fills caches.
            if round > 0 {
                merged_times.push(merged);
                live_times.push(live);
                ratios.push(live / merged);
            }
        }
        let start = Instant::now();
        live.constants = live.network.constants(&slices(&constant))?;
        let rescaling = milliseconds(start);
        println!(
            "{what} ({count}): merged {:.1} ms, live {:.1} ms, median of the ratios {:+.1} % (estimate {estimate:+.1} %); another scale: merged \
             {merging:.0} ms, live {rescaling:.1} ms",
            median(merged_times),
            median(live_times),
            (median(ratios) - 1.0) * 100.0
        );
    }
    Ok(())
}
