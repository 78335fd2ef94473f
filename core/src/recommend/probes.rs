//! The measurement: small programs of the operations that networks consist of, timed step by step.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::speed::MachineSpeed;
use crate::error::Result;
use crate::exec::cost::{CostKind, StepCost};
use crate::exec::cpu::CpuExecutor;
use crate::exec::{Executor as _, RunArgs, View, ViewMut};
use crate::load::RandomWeights;
use crate::net::{Activation, Padding, ProgramBuilder, Rate, Shape, ValueId, Weights};

/// The time for which each program is repeated, at least [`FEWEST`] times.
const EACH: Duration = Duration::from_millis(40);
const FEWEST: usize = 3;
const MOST: usize = 100;

/// What a program is measured for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    /// The time of a step without work.
    Step,
    /// Reading weights from memory.
    Memory,
    /// Multiplications.
    Products,
    /// Norms.
    Norms,
    /// Steps that only read and write elements.
    Elements,
}

/// A program of the measurement.
struct Probe {
    wanted: Wanted,
    write: fn(&mut ProgramBuilder),
}

const PROBES: [Probe; 8] = [
    Probe { wanted: Wanted::Step, write: steps },
    Probe { wanted: Wanted::Products, write: linears },
    Probe { wanted: Wanted::Memory, write: memory },
    Probe { wanted: Wanted::Products, write: autoencoder },
    Probe { wanted: Wanted::Products, write: unet },
    Probe { wanted: Wanted::Products, write: attention },
    Probe { wanted: Wanted::Norms, write: norms },
    Probe { wanted: Wanted::Elements, write: elements },
];

/// Operations so small that their time is that of starting and finishing them.
fn steps(b: &mut ProgramBuilder) {
    const COUNT: usize = 32;
    let mut x = b.input("x", Shape::tokens(1, 256, 16), Rate::Frame);
    for i in 0..COUNT {
        x = b.linear(&format!("linear{i}"), x, 16, false);
    }
    b.output("y", x);
}

/// A product of few rows, which takes little longer than reading its weights, which do not fit into caches.
fn memory(b: &mut ProgramBuilder) {
    let x = b.input("x", Shape::tokens(1, 8, 2048), Rate::Frame);
    let y = b.linear("wide", x, 16384, false);
    b.output("y", y);
}

fn conv(b: &mut ProgramBuilder, side: usize, [c_in, c_out]: [usize; 2], stride: usize) {
    let name = format!("conv {side} {c_in} {c_out} {stride}");
    let x = b.input(format!("x of {name}"), Shape::new(1, side, side, c_in), Rate::Frame);
    let y = b.conv2d(&name, x, c_out, 3, stride, Padding::all(1), false, true);
    b.output(name, y);
}

/// Convolutions of large images with few channels. The second ones of a chain read what was just written, as in a network.
fn autoencoder(b: &mut ProgramBuilder) {
    conv(b, 128, [3, 64], 1);
    conv(b, 128, [64, 3], 1);
    for c in [32, 64] {
        let mut x = b.input(format!("x of {c}"), Shape::new(1, 256, 256, c), Rate::Frame);
        for i in 0..2 {
            x = b.conv3x3(&format!("conv {c} {i}"), x, c);
        }
        b.output(format!("chain {c}"), x);
    }
    conv(b, 64, [128, 128], 1);
}

/// Convolutions of small images with many channels.
fn unet(b: &mut ProgramBuilder) {
    conv(b, 64, [320, 4], 1);
    conv(b, 32, [320, 320], 1);
    conv(b, 16, [640, 640], 1);
    conv(b, 32, [320, 320], 2);
    conv(b, 8, [640, 640], 1);
}

fn linears(b: &mut ProgramBuilder) {
    for (name, tokens, c_in, c_out) in [("narrow", 1024, 320, 320), ("wide", 256, 1280, 1280)] {
        let x = b.input(format!("x of {name}"), Shape::tokens(1, tokens, c_in), Rate::Frame);
        let y = b.linear(name, x, c_out, true);
        b.output(name, y);
    }
    let x = b.input("x of gated", Shape::tokens(1, 1024, 320), Rate::Frame);
    let y = b.linear("gated", x, 2560, true);
    let y = b.geglu(y);
    b.output("gated", y);
}

fn attention(b: &mut ProgramBuilder) {
    for (name, heads, width, keys) in
        [("narrow", 4, 40, 1024), ("usual", 4, 64, 1024), ("wide", 2, 160, 1024), ("text", 8, 64, 77)]
    {
        let c = heads * width;
        let q = b.input(format!("queries of {name}"), Shape::tokens(1, 1024, c), Rate::Frame);
        let [k, v] =
            ["keys", "values"].map(|what| b.input(format!("{what} of {name}"), Shape::tokens(1, keys, c), Rate::Frame));
        let y = b.attention([q, k, v], heads, false, vec![0]);
        b.output(name, y);
    }
}

fn norms(b: &mut ProgramBuilder) {
    for (name, side, c) in [("small", 32, 320), ("large", 128, 320)] {
        let x = b.input(format!("x of {name}"), Shape::new(1, side, side, c), Rate::Frame);
        let y = b.group_norm(&format!("group {name}"), x, 32, 1e-5);
        let y = b.silu(y);
        b.output(format!("group {name}"), y);
        let x = b.input(format!("tokens of {name}"), Shape::tokens(1, side * side, c), Rate::Frame);
        let y = b.layer_norm(&format!("layer {name}"), x, 1e-5);
        b.output(format!("layer {name}"), y);
    }
}

fn elements(b: &mut ProgramBuilder) {
    for (name, side) in [("small", 64), ("large", 512)] {
        let [x, y] =
            ["x", "y"].map(|what| b.input(format!("{what} of {name}"), Shape::new(1, side, side, 32), Rate::Frame));
        let sum: ValueId = b.mul(x, y);
        let sum = b.activate(sum, Activation::Relu);
        b.output(name, sum);
    }
}

impl MachineSpeed {
    /// Measures this machine's processor with `threads` threads (`None` for as many as it has), in the number format that
    /// an engine chooses on it, for about a second. `progress` is called with the part that is done, in 0..1.
    ///
    /// Other work on the processor makes the measurement, and so the estimates, slower; do not measure while a stream
    /// runs.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for more than 1024 threads, and for a value of `DREAMFRAME_CPU` that is not a name; `OutOfMemory`
    /// without some 200 MB of memory.
    pub fn measure(threads: Option<usize>, progress: &mut dyn FnMut(f64)) -> Result<Self> {
        let mut speed = Self::new(Self::start(threads)?);
        for (done, probe) in PROBES.iter().enumerate() {
            progress(done as f64 / PROBES.len() as f64);
            let steps = time(&speed.executor, probe.write)?;
            speed.learn(probe.wanted, &steps);
        }
        progress(1.0);
        Ok(speed)
    }

    /// Adds what the steps of a probe took.
    fn learn(&mut self, wanted: Wanted, steps: &[(StepCost, f64)]) {
        let fits = |kind: CostKind| match wanted {
            Wanted::Step | Wanted::Memory => kind == CostKind::Linear,
            Wanted::Products => kind.multiplies(),
            Wanted::Norms => matches!(kind, CostKind::GroupNorm | CostKind::LayerNorm),
            Wanted::Elements => kind == CostKind::Elements,
        };
        let found: Vec<&(StepCost, f64)> = steps.iter().filter(|(cost, _)| fits(cost.kind)).collect();
        let seconds: f64 = found.iter().map(|(_, seconds)| seconds).sum();
        match wanted {
            Wanted::Step => self.step_seconds = seconds / found.len().max(1) as f64,
            Wanted::Memory => {
                let bytes: f64 = found.iter().map(|(cost, _)| cost.bytes).sum();
                let work: f64 = found.iter().map(|(cost, _)| self.work(cost)).sum();
                // Where reading overlaps with multiplying altogether, there is no more to find out.
                self.bandwidth = bytes / (seconds - work).max(seconds / 10.0);
            }
            Wanted::Products | Wanted::Norms | Wanted::Elements => {
                for (cost, seconds) in found {
                    // A step is never free, however long its start and reading its weights were when these were measured.
                    let own = (seconds - self.step_seconds - cost.bytes / self.bandwidth).max(seconds / 4.0);
                    self.curves.entry(cost.kind).or_default().add(cost.scale, own / cost.work);
                }
            }
        }
    }
}

/// Runs a program repeatedly; returns the cost of each step with its median time in seconds.
fn time(executor: &CpuExecutor, write: fn(&mut ProgramBuilder)) -> Result<Vec<(StepCost, f64)>> {
    let mut builder = ProgramBuilder::new("measurement");
    write(&mut builder);
    let program = Arc::new(builder.finish()?);
    let weights = Weights::new(Arc::new(RandomWeights::new(1, program.weights())));
    let network = executor.compile(&program, &weights)?;
    let constants = network.constants(&[])?;
    let mut scratch = executor.queue().scratch(network.scratch_bytes())?;
    let zeros = |value| vec![0.5_f32; program.shape(value).len()];
    let inputs: Vec<Vec<f32>> = program.inputs().iter().map(|input| zeros(input.value)).collect();
    let mut outputs: Vec<Vec<f32>> = program.outputs().iter().map(|output| zeros(output.value)).collect();
    let (mut runs, begin) = (Vec::new(), Instant::now());
    // The first run fills caches and wakes the threads.
    while runs.len() <= FEWEST || (begin.elapsed() < EACH && runs.len() < MOST) {
        let inputs: Vec<View<'_>> = inputs.iter().map(View::from).collect();
        let mut views: Vec<ViewMut<'_>> = outputs.iter_mut().map(ViewMut::from).collect();
        let mut times = Vec::new();
        let args = RunArgs::new(&constants, &mut scratch, &inputs, &mut views);
        network.run(RunArgs { times: Some(&mut times), ..args })?;
        runs.push(times);
    }
    let median = |step: usize| {
        let mut nanos: Vec<u64> = runs.iter().skip(1).filter_map(|run| Some(run.get(step)?.nanos)).collect();
        nanos.sort_unstable();
        nanos.get(nanos.len() / 2).copied().unwrap_or(0) as f64 / 1e9
    };
    Ok(executor.cost(&program).steps.into_iter().enumerate().map(|(step, cost)| (cost, median(step))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn probes_cover_every_kind_of_step_of_the_known_networks() {
        let executor = MachineSpeed::start(Some(1)).unwrap();
        let kinds = |write: fn(&mut ProgramBuilder)| {
            let mut builder = ProgramBuilder::new("probe");
            write(&mut builder);
            executor.cost(&builder.finish().unwrap()).steps.into_iter().map(|step| step.kind).collect::<Vec<_>>()
        };
        let measured: BTreeSet<CostKind> = PROBES.iter().flat_map(|probe| kinds(probe.write)).collect();
        for model in crate::recommend::networks::all() {
            for cost in
                crate::recommend::networks::Networks::of(model).unwrap().costs(&executor, (512, 512)).unwrap().frame()
            {
                for step in &cost.steps {
                    assert!(measured.contains(&step.kind), "{model} {:?}", step.kind);
                }
            }
        }
    }

    #[test]
    fn the_measurement_finds_a_positive_finite_rate_for_every_probe() {
        let mut parts = Vec::new();
        let speed = MachineSpeed::measure(Some(1), &mut |part| parts.push(part)).unwrap();
        let rates = speed.rates();
        for rate in [rates.convolution_gflops, rates.linear_gflops, rates.attention_gflops, rates.bandwidth_gb] {
            assert!(rate.is_finite() && rate > 0.0, "{rates:?}");
        }
        assert_eq!((rates.threads, parts.first(), parts.last()), (1, Some(&0.0), Some(&1.0)));
        assert!(parts.is_sorted() && speed.step_seconds > 0.0);
    }
}
