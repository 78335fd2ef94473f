//! Times convolutions in the plain form and in Winograd's, alternately, at the sizes of real networks.
//!
//! `cargo bench -p dreamframe --features internals --bench winograd -- [threads] [isa] [part of a name] [forms]`
//!
//! Forms are side, tiles of a block, and whether threads share it: `2:48:alone,4:512:shared`; without, what was measured
//! to be best. Ratios are of the medians of runs in turn: on a machine with other work, seconds mean little.

#![allow(clippy::print_stdout, reason = "a bench prints its table")]

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Instant;

use dreamframe::Result;
use dreamframe::exec::cpu::{CpuExecutor, CpuOptions, Isa, WinogradForm};
use dreamframe::exec::{Constants, Dtype, Executor, Network, Scratch};
use dreamframe::net::{Padding, ProgramBuilder, Rate, Shape, WeightSource, Weights};

/// Weights of no meaning.
struct Counted;

impl WeightSource for Counted {
    fn shape(&self, _: &str) -> Option<Vec<usize>> {
        None
    }

    fn read(&self, _: &str, shape: &[usize]) -> Result<Vec<f32>> {
        Ok((0..shape.iter().product()).map(|i: usize| (i * 7919 % 201) as f32 * 1e-4 - 0.01).collect())
    }
}

/// Input channels, output channels, and the image's side.
const CASES: [(usize, usize, usize); 17] = [
    (320, 320, 64),
    (640, 320, 64),
    (960, 320, 64),
    (320, 640, 32),
    (640, 640, 32),
    (1280, 640, 32),
    (1280, 1280, 16),
    (2560, 1280, 16),
    (1280, 1280, 8),
    (2560, 1280, 8),
    (64, 64, 512),
    (64, 64, 256),
    (64, 64, 128),
    (64, 64, 64),
    (32, 32, 512),
    (32, 32, 256),
    (128, 128, 64),
];

/// Channels of what comes in.
const INPUTS: usize = 8;
/// Layers in a row, where one's output is as good an input.
const LAYERS: usize = 4;

/// A form of a convolution with all that it needs to run.
struct Runner {
    name: String,
    network: Arc<dyn Network>,
    constants: Constants,
    scratch: Scratch,
    times: Vec<f64>,
}

impl Runner {
    fn new(name: &str, executor: &CpuExecutor, [c_in, c_out, side]: [usize; 3]) -> Result<Self> {
        let mut b = ProgramBuilder::new("bench");
        // Few numbers come in, many layers follow: what is measured is the layer.
        let x = b.input("x", Shape::new(1, side, side, INPUTS), Rate::Frame);
        let mut y = b.conv2d("first", x, c_in, 1, 1, Padding::all(0), false, false);
        for _ in 0..if c_in == c_out { LAYERS } else { 1 } {
            y = b.conv3x3("conv", y, c_out);
        }
        let y = b.slice(y, 0, 1);
        b.output("y", y);
        let network = executor.compile(&Arc::new(b.finish().unwrap()), &Weights::new(Arc::new(Counted)))?;
        let constants = network.constants(&[])?;
        let scratch = executor.queue().scratch(network.scratch_bytes())?;
        Ok(Self { name: name.to_owned(), network, constants, scratch, times: Vec::new() })
    }

    fn run(&mut self, input: &[f32], output: &mut [f32]) -> Result<()> {
        let start = Instant::now();
        self.network.run_on_host(&self.constants, &mut self.scratch, &[input], &mut [output])?;
        self.times.push(start.elapsed().as_secs_f64() * 1e3);
        Ok(())
    }

    fn median(&mut self) -> f64 {
        self.times.sort_by(f64::total_cmp);
        self.times[self.times.len() / 2]
    }
}

fn form(text: &str) -> Option<WinogradForm> {
    let mut parts = text.split(':');
    let mut next = || parts.next();
    Some(WinogradForm { side: next()?.parse().ok()?, tiles: next()?.parse().ok()?, shared: next()? == "shared" })
}

fn main() -> Result<()> {
    // Flags of Cargo (`--bench`) are ignored.
    let mut args = std::env::args().skip(1).filter(|arg| !arg.starts_with("--"));
    let threads = args.next().and_then(|arg| arg.parse::<NonZeroUsize>().ok());
    let isa = args.next().and_then(|name| Isa::from_name(&name)).unwrap_or(Isa::Avx512);
    let part = args.next().unwrap_or_default();
    let forms = args.next().unwrap_or_default();
    let options = CpuOptions { threads, dtype: Dtype::of(isa), isa: Some(isa), ..Default::default() };
    let mut executors = vec![("plain".to_owned(), CpuExecutor::new(CpuOptions { winograd: false, ..options })?)];
    for text in forms.split(',').filter(|text| !text.is_empty()) {
        let form = form(text).unwrap_or_else(|| panic!("{text} is not a form"));
        executors.push((text.to_owned(), CpuExecutor::new(options)?.always_winograd(form)));
    }
    if executors.len() == 1 {
        executors.push(("chosen".to_owned(), CpuExecutor::new(options)?));
    }
    println!("{}", executors[0].1.describe());
    for (c_in, c_out, side) in CASES {
        let name = format!("{c_in}->{c_out}@{side}");
        if !name.contains(&part) {
            continue;
        }
        let runners = executors.iter().map(|(name, executor)| Runner::new(name, executor, [c_in, c_out, side]));
        let mut runners = runners.collect::<Result<Vec<_>>>()?;
        let input = (0..side * side * INPUTS).map(|i| (i * 7907 % 301) as f32 * 0.01 - 1.5).collect::<Vec<_>>();
        let mut output = vec![0.0; side * side];
        let begin = Instant::now();
        while runners[0].times.len() < 9 || (begin.elapsed().as_secs_f64() < 1.5 && runners[0].times.len() < 100) {
            for runner in &mut runners {
                runner.run(&input, &mut output)?;
            }
        }
        let plain = runners[0].median();
        for runner in &mut runners {
            let (median, least) = (runner.median(), runner.times[0]);
            println!("{name:16} {:16} {median:8.3} ms, least {least:8.3}, {:5.2}x", runner.name, plain / median);
        }
    }
    Ok(())
}
