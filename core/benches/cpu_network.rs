//! Where the time of a whole network goes: each kind of step with its share of the time, and of the machine's peak.
//!
//! `cargo bench -p dreamframe --features internals --bench cpu_network -- [network] [size] [dtype] [threads] [rounds]`
//!
//! Networks: `sd-turbo`, `sdxl-turbo`, `bk-sdm-tiny`, `demo` (UNets), `taesd-enc`, `taesd-dec`, `demo-enc`, `demo-dec`;
//! weights are random.

#![allow(clippy::print_stdout, reason = "a bench prints its table")]

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Instant;

use dreamframe::exec::cpu::{CpuExecutor, CpuOptions};
use dreamframe::exec::observe::byte_scales;
use dreamframe::exec::{Dtype, Executor, RunArgs, View};
use dreamframe::load::RandomWeights;
use dreamframe::models::known::known_model;
use dreamframe::models::{Autoencoder, UnetConfig, UnetShape, unet_program};
use dreamframe::net::{Program, Rate, WeightSource, WeightSpec, Weights};
use dreamframe::{Error, ErrorKind, Result};

fn unknown(name: &str) -> Error {
    Error::new(ErrorKind::NotFound, format!("no network {name}"))
}

/// The `config.json` of a part of `model`.
fn config(model: &str, part: &str) -> Result<String> {
    if model == "demo" {
        let folder = if part == "unet" { "unet" } else { "vae" };
        let path = format!("{}/../models/demo/dreamframe-tiny/{folder}/config.json", env!("CARGO_MANIFEST_DIR"));
        return std::fs::read_to_string(&path).map_err(|_| unknown(&path));
    }
    let known = known_model(model).ok_or_else(|| unknown(model))?;
    Ok(if part == "unet" { known.unet } else { known.autoencoder }.to_owned())
}

fn program(name: &str, size: usize, rows: usize) -> Result<Program> {
    if let Some((model, part @ ("enc" | "dec"))) = name.rsplit_once('-') {
        let model = if model == "taesd" { "sd-turbo" } else { model };
        let autoencoder = Autoencoder::from_json(&config(model, part)?)?;
        return match part {
            "enc" => autoencoder.encoder_program(rows, size, size),
            _ => autoencoder.decoder_program(rows, size, size),
        };
    }
    let unet = UnetConfig::from_json(&config(name, "unet")?)?;
    let side = size / 8;
    let shape = UnetShape::new(rows, side, side);
    unet_program(&unet, &shape)
}

fn inputs(program: &Program, rate: Rate) -> Result<Vec<Vec<f32>>> {
    let random = |input: &dreamframe::net::Input| {
        let shape = vec![program.shape(input.value).len(), 1];
        let source = RandomWeights::new(2, &[WeightSpec { name: input.name.clone(), shape: shape.clone() }]);
        source.read(&input.name, &shape)
    };
    program.inputs_at(rate).map(random).collect()
}

fn slices(numbers: &[Vec<f32>]) -> Vec<&[f32]> {
    numbers.iter().map(Vec::as_slice).collect()
}

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
    let program = Arc::new(program(&name, size, 1)?);
    let source: Arc<dyn WeightSource> = Arc::new(RandomWeights::new(1, program.weights()));
    let (constant, frame) = (inputs(&program, Rate::Constant)?, inputs(&program, Rate::Frame)?);
    let mut weights = Weights::new(source.clone());
    if dtype == Dtype::Int8 {
        let executor: Arc<dyn Executor> = executor.clone();
        weights =
            weights.with_byte_scales(byte_scales(&executor, &program, &source, &slices(&constant), &slices(&frame))?);
    }
    let network = executor.compile(&program, &weights)?;
    let constants = network.constants(&slices(&constant))?;
    let mut scratch = executor.queue().scratch(network.scratch_bytes())?;
    let mut output = vec![0.0; program.shape(program.outputs()[0].value).len()];
    network.run_on_host(&constants, &mut scratch, &slices(&frame), &mut [&mut output])?;

    let (mut all, mut whole, mut peak) = (Vec::new(), Vec::new(), 0.0_f64);
    for _ in 0..rounds {
        let mut times = Vec::new();
        peak = peak.max(executor.peak());
        let start = Instant::now();
        let inputs: Vec<View<'_>> = frame.iter().map(View::from).collect();
        let outputs = &mut [(&mut output).into()];
        let args = RunArgs::new(&constants, &mut scratch, &inputs, outputs);
        network.run(RunArgs { times: Some(&mut times), ..args })?;
        whole.push(start.elapsed().as_secs_f64() * 1e3);
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
