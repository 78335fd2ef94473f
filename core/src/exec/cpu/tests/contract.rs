//! Invalid arguments of networks, and work that is done only once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::naive::GeneratedWeights;
use super::{executor, frame, run};
use crate::error::{ErrorKind, Result};
use crate::exec::cpu::{CpuExecutor, CpuOptions, Isa};
use crate::exec::{Dtype, Executor, RunArgs, Scratch, StepBytes, View, ViewMut};
use crate::net::{ProgramBuilder, Rate, Shape, WeightSource, Weights};

#[test]
fn instruction_sets_of_another_architecture_are_unknown() {
    let foreign = if cfg!(target_arch = "aarch64") { Isa::Avx2 } else { Isa::Neon };
    assert!(!foreign.available() && !Isa::ALL.contains(&foreign));
    assert_eq!(Isa::from_name(foreign.name()), None);
    let options = CpuOptions { dtype: Dtype::F32, isa: Some(foreign), ..CpuOptions::default() };
    let refused = CpuExecutor::new(options).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unsupported);
    assert!(refused.to_string().contains(&format!("does not support {}", foreign.name())), "{refused}");
}

#[test]
fn an_invalid_token_id_is_rejected() {
    let mut builder = ProgramBuilder::new("text");
    let ids = builder.input("ids", Shape::tokens(1, 1, 1), Rate::Frame);
    let x = builder.embed("token", ids, 50, 4);
    builder.output("x", x);
    let program = Arc::new(builder.finish().unwrap());
    let network = executor(Isa::Portable, 1).compile(&program, &Weights::new(Arc::new(GeneratedWeights))).unwrap();
    let constants = network.constants(&[]).unwrap();
    for id in [50.0, -1.0, 0.5, f32::NAN, f32::INFINITY] {
        let mut out = [0.0; 4];
        let error = network.run_on_host(&constants, &mut Scratch::new(), &[&[id]], &mut [&mut out]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.to_string().contains("below 50"), "{error}");
    }
}

#[test]
fn wrong_inputs_outputs_and_constants_are_rejected() {
    let mut builder = ProgramBuilder::new("net");
    let x = frame(&mut builder, Shape::vector(1, 4));
    let y = builder.silu(x);
    builder.output("y", y);
    let program = Arc::new(builder.finish().unwrap());
    let compile = || executor(Isa::Portable, 1).compile(&program, &Weights::new(Arc::new(GeneratedWeights))).unwrap();
    let (network, other) = (compile(), compile());
    let constants = network.constants(&[]).unwrap();
    let mut scratch = Scratch::new();
    let mut out = [0.0; 4];
    assert!(network.constants(&[&[1.0]]).is_err());
    for (inputs, len) in [(&[][..], 4), (&[&[1.0; 3][..]][..], 4), (&[&[1.0; 4][..]][..], 3)] {
        let error = network.run_on_host(&constants, &mut scratch, inputs, &mut [&mut out[..len]]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    }
    assert!(network.run_on_host(&constants, &mut scratch, &[&[1.0; 4]], &mut []).is_err());
    assert!(other.run_on_host(&constants, &mut scratch, &[&[1.0; 4]], &mut [&mut out]).is_err());
    assert!(network.run_on_host(&constants, &mut scratch, &[&[1.0; 4]], &mut [&mut out]).is_ok());
}

/// Generated weights, with a counter of reads.
struct Counting(AtomicUsize);

impl WeightSource for Counting {
    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        GeneratedWeights.shape(name)
    }

    fn read(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        self.0.fetch_add(1, Ordering::Relaxed);
        GeneratedWeights.read(name, shape)
    }
}

#[test]
fn two_plans_over_the_same_weights_read_them_once() {
    let source = Arc::new(Counting(AtomicUsize::new(0)));
    let weights = Weights::new(source.clone());
    let executor = executor(Isa::Portable, 1);
    for side in [4, 9] {
        let mut builder = ProgramBuilder::new("net");
        let x = frame(&mut builder, Shape::new(1, side, side, 8));
        let y = builder.conv3x3("conv", x, 8);
        let y = builder.group_norm("norm", y, 2, 1e-5);
        builder.output("y", y);
        run(&*executor.compile(&Arc::new(builder.finish().unwrap()), &weights).unwrap());
    }
    assert_eq!(source.0.load(Ordering::Relaxed), 4);
}

#[test]
fn a_timed_run_reports_the_jobs_of_each_step() {
    let mut builder = ProgramBuilder::new("timed");
    let x = frame(&mut builder, Shape::tokens(1, 200, 8));
    let y = builder.linear("linear", x, 24, true);
    let y = builder.layer_norm("norm", y, 1e-5);
    builder.output("y", y);
    let program = Arc::new(builder.finish().unwrap());
    let network = executor(Isa::Portable, 1).compile(&program, &Weights::new(Arc::new(GeneratedWeights))).unwrap();
    let constants = network.constants(&[]).unwrap();
    let (x, mut y, mut times, mut scratch) = (vec![0.5; 200 * 8], vec![0.0; 200 * 24], Vec::new(), Scratch::new());
    let mut nanos = 0;
    for _ in 0..2 {
        let (inputs, mut outputs) = ([View::Host(&x)], [ViewMut::Host(&mut y)]);
        let args = RunArgs::new(&constants, &mut scratch, &inputs, &mut outputs);
        network.run(RunArgs { times: Some(&mut times), ..args }).unwrap();
        let [linear, norm] = times.as_slice() else { panic!("{times:?}") };
        // Three pieces of pixels for each of three panels of 8 channels, in one job.
        let [job] = linear.jobs.as_slice() else { panic!("{linear:?}") };
        assert_eq!(job.pieces.len(), 9);
        assert!(job.pieces.iter().sum::<u64>() <= job.nanos && nanos + job.nanos <= linear.nanos, "{linear:?}");
        assert_eq!(linear.bytes, StepBytes { weights: 8 * 24 * 4, values: 200 * (8 + 24) * 4 });
        assert_eq!(norm.bytes, StepBytes { weights: 2 * 24 * 4, values: 200 * (24 + 24) * 4 });
        assert_eq!(norm.jobs.len(), 1);
        nanos = linear.nanos;
    }
}
