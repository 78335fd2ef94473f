//! Benchmarks single operations of the CPU executor at the sizes of real networks, with the peak of the machine.
//!
//! `cargo bench -p dreamframe --features internals --bench cpu_ops -- [threads] [part of a name] [isa]`; the instructions
//! say the number format. Ends with the share of the peak that the large convolutions and linear layers reach.

#![allow(clippy::print_stdout, reason = "a bench prints its table")]

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Instant;

use dreamframe::Result;
use dreamframe::exec::cpu::{CpuExecutor, CpuOptions, Isa};
use dreamframe::exec::{Dtype, Executor};
use dreamframe::net::bytes::ByteScale;
use dreamframe::net::{Activation, Padding, ProgramBuilder, Rate, Shape, ValueId, WeightSource, Weights};

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

/// Billions of operations from which on a convolution or a linear layer is a large one.
const LARGE: f64 = 5.0;

/// A name, multiplications and additions in billions, and how the program is written.
type Case = (String, f64, Box<dyn Fn(&mut ProgramBuilder)>);

fn input(b: &mut ProgramBuilder, shape: Shape) -> ValueId {
    b.input("x", shape, Rate::Frame)
}

fn conv(c_in: usize, c_out: usize, side: usize, relu: bool) -> Case {
    let ops = 2.0 * (side * side * 9 * c_in * c_out) as f64 / 1e9;
    let name = format!("conv3x3 {c_in}->{c_out} @{side}{}", if relu { " +skip relu" } else { "" });
    let write = move |b: &mut ProgramBuilder| {
        let x = input(b, Shape::new(1, side, side, c_in));
        let mut y = b.conv3x3("conv", x, c_out);
        if relu {
            y = b.add(y, x);
            y = b.activate(y, Activation::Relu);
        }
        b.output("y", y);
    };
    (name, ops, Box::new(write))
}

fn enlarging(c: usize, side: usize) -> Case {
    let ops = 2.0 * (4 * side * side * 9 * c * c) as f64 / 1e9;
    let write = move |b: &mut ProgramBuilder| {
        let x = input(b, Shape::new(1, side, side, c));
        let y = b.conv2d("conv", x, c, 3, 1, Padding::all(1), true, false);
        b.output("y", y);
    };
    (format!("upsample conv3x3 {c} @{side}"), ops, Box::new(write))
}

fn linear(rows: usize, c_in: usize, c_out: usize, geglu: bool) -> Case {
    let ops = 2.0 * (rows * c_in * c_out) as f64 / 1e9;
    let write = move |b: &mut ProgramBuilder| {
        let x = input(b, Shape::tokens(1, rows, c_in));
        let mut y = b.linear("linear", x, c_out, true);
        if geglu {
            y = b.geglu(y);
        }
        b.output("y", y);
    };
    (format!("linear {rows}x{c_in}x{c_out}{}", if geglu { " geglu" } else { "" }), ops, Box::new(write))
}

fn attention(heads: usize, queries: usize, keys: usize, width: usize) -> Case {
    let ops = 4.0 * (heads * queries * keys * width) as f64 / 1e9;
    let write = move |b: &mut ProgramBuilder| {
        let q = input(b, Shape::tokens(1, queries, heads * width));
        let k = b.input("k", Shape::tokens(1, keys, heads * width), Rate::Frame);
        let y = b.attention([q, k, k], heads, false, vec![0]);
        b.output("y", y);
    };
    (format!("attention {heads}x{queries}x{keys}x{width}"), ops, Box::new(write))
}

fn norm(side: usize, c: usize) -> Case {
    let write = move |b: &mut ProgramBuilder| {
        let x = input(b, Shape::new(1, side, side, c));
        let y = b.group_norm("norm", x, 32, 1e-5);
        let y = b.silu(y);
        b.output("y", y);
    };
    (format!("group norm + silu {c} @{side}"), 0.0, Box::new(write))
}

fn cases() -> Vec<Case> {
    vec![
        conv(320, 320, 64, false),
        conv(640, 640, 32, false),
        conv(1280, 1280, 16, false),
        conv(1280, 1280, 8, false),
        conv(64, 64, 512, false),
        conv(32, 32, 512, true),
        conv(32, 32, 256, true),
        conv(32, 32, 512, false),
        conv(3, 32, 512, false),
        conv(32, 3, 512, false),
        conv(320, 4, 64, false),
        enlarging(32, 256),
        enlarging(640, 32),
        linear(4096, 320, 2560, false),
        linear(4096, 320, 2560, true),
        linear(1024, 640, 5120, false),
        linear(256, 1280, 10240, false),
        attention(5, 4096, 4096, 64),
        attention(8, 4096, 4096, 40),
        attention(10, 1024, 1024, 64),
        attention(5, 4096, 77, 64),
        norm(64, 320),
        norm(16, 1280),
    ]
}

/// Milliseconds that this thread was on a core: on a machine with other work, the better measure of one thread.
fn on_core() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    Some(stat.split(' ').next()?.parse::<f64>().ok()? / 1e6)
}

/// Median milliseconds of one run, and what it is by [`on_core`] on average.
fn time(executor: &CpuExecutor, write: &dyn Fn(&mut ProgramBuilder)) -> Result<(f64, f64)> {
    let mut builder = ProgramBuilder::new("bench");
    write(&mut builder);
    let program = Arc::new(builder.finish().unwrap());
    // What the inputs below are spread over; other executors pass it over.
    let scale = ByteScale::new(3.0 / 255.0, 128).into_iter();
    let scales = scale.flat_map(|scale| ["conv.weight", "linear.weight"].map(|name| (name.to_owned(), scale)));
    let weights = Weights::new(Arc::new(Counted)).with_byte_scales(scales.collect());
    let network = executor.compile(&program, &weights)?;
    let constants = network.constants(&[])?;
    let mut scratch = executor.queue().scratch(network.scratch_bytes())?;
    let numbers = |shape: Shape| (0..shape.len()).map(|i| (i * 7907 % 301) as f32 * 0.01 - 1.5).collect::<Vec<_>>();
    let inputs = program.inputs().iter().map(|input| numbers(program.shape(input.value))).collect::<Vec<_>>();
    let inputs = inputs.iter().map(Vec::as_slice).collect::<Vec<_>>();
    let mut output = vec![0.0; program.shape(program.outputs()[0].value).len()];
    let mut times = Vec::new();
    network.run_on_host(&constants, &mut scratch, &inputs, &mut [&mut output])?;
    let (begin, core) = (Instant::now(), on_core().unwrap_or(0.0));
    while times.len() < 5 || (begin.elapsed().as_secs_f64() < 0.5 && times.len() < 50) {
        let start = Instant::now();
        network.run_on_host(&constants, &mut scratch, &inputs, &mut [&mut output])?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    let core = (on_core().unwrap_or(0.0) - core) / times.len() as f64;
    times.sort_by(f64::total_cmp);
    Ok((times[times.len() / 2], core))
}

fn main() -> Result<()> {
    // Flags of Cargo (`--bench`) are ignored.
    let mut args = std::env::args().skip(1).filter(|arg| !arg.starts_with("--"));
    let threads = args.next().and_then(|arg| arg.parse::<NonZeroUsize>().ok());
    let part = args.next().unwrap_or_default();
    let isa = args.next().and_then(|name| Isa::ALL.into_iter().find(|isa| isa.name() == name));
    let executor =
        CpuExecutor::new(CpuOptions { threads, dtype: isa.map_or(Dtype::F32, Dtype::of), isa, ..Default::default() })?;
    println!("{} with {} threads", executor.isa().name(), executor.threads());
    let mut large: Vec<(f64, String)> = Vec::new();
    for (name, ops, write) in cases().into_iter().filter(|(name, ..)| name.contains(&part)) {
        let peak = (0..5).map(|_| executor.peak()).fold(0.0, f64::max);
        let (ms, core) = time(&executor, &*write)?;
        let rate = ops / ms * 1e3;
        println!(
            "{name:36} {ms:8.3} ms {rate:7.0} GFLOP/s {:5.1} % of {peak:4.0}; caller on core {core:8.3} ms {:5.1} %",
            rate / peak * 100.0,
            ops / core * 1e3 / peak * 100.0,
        );
        if ops >= LARGE && (name.starts_with("conv3x3") || name.starts_with("linear")) {
            large.push((rate / peak * 100.0, name));
        }
    }
    large.sort_by(|a, b| a.0.total_cmp(&b.0));
    if let (Some((lowest, name)), Some((middle, _))) = (large.first(), large.get(large.len() / 2)) {
        println!(
            "large convolutions and linear layers: median {middle:.1} % of the peak, lowest {lowest:.1} % ({name})"
        );
    }
    Ok(())
}
