//! Running programs on every executor there is.

use std::sync::Arc;

use dreamframe::exec::cpu::{CpuExecutor, CpuOptions};
use dreamframe::exec::reference::ReferenceExecutor;
use dreamframe::exec::{Arena, Executor};
use dreamframe::net::{Program, Weights};

/// Every executor that runs everywhere.
pub fn executors() -> Vec<Box<dyn Executor>> {
    let cpu = CpuExecutor::new(CpuOptions::default()).expect("this machine runs the portable kernels");
    vec![Box::new(ReferenceExecutor), Box::new(cpu)]
}

/// A network and what it runs in.
#[derive(Debug)]
pub struct Runner<'a> {
    /// On what it runs.
    pub executor: &'a dyn Executor,
}

impl Runner<'_> {
    /// Runs `program` once; returns its outputs in order.
    ///
    /// # Panics
    ///
    /// Where the executor refuses.
    pub fn run(&self, program: Program, weights: &Weights, constant: &[&[f32]], frame: &[&[f32]]) -> Vec<Vec<f32>> {
        let network = self.executor.compile(&Arc::new(program), weights).unwrap();
        let constants = network.constants(constant).unwrap();
        let mut arena = Arena::new();
        arena.reserve(network.arena_len());
        let outputs = network.program().outputs().iter();
        let mut outputs: Vec<Vec<f32>> =
            outputs.map(|output| vec![f32::NAN; network.program().shape(output.value).len()]).collect();
        let mut rooms: Vec<&mut [f32]> = outputs.iter_mut().map(Vec::as_mut_slice).collect();
        network.run(&constants, &mut arena, frame, &mut rooms).unwrap();
        outputs
    }
}
