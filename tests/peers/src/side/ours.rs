//! Our side: the parts of a model on the CPU executor, with random weights.

use std::sync::Arc;

use dreamframe::exec::cpu::{CpuExecutor, CpuOptions};
use dreamframe::exec::observe::byte_scales;
use dreamframe::exec::{Constants, Dtype, Executor, Network, Scratch};
use dreamframe::load::RandomWeights;
use dreamframe::models::{UnetConfig, timestep_embedding};
use dreamframe::net::{Program, Rate, Shape, WeightSource, WeightSpec, Weights};

use super::Warm;
use crate::case::Case;
use crate::{Result, system};

/// Seeds of the weights and of the inputs.
const WEIGHTS: u64 = 1;
const INPUTS: u64 = 2;

/// The noisiest timestep: which one it is does not matter for the time.
pub(super) const TIMESTEP: f32 = 999.0;

/// The parts of a model, warm.
#[derive(Debug)]
pub(crate) struct Ours {
    about: String,
    stages: Vec<Stage>,
    scratch: Scratch,
}

/// A network with its inputs and room for its outputs.
#[derive(Debug)]
struct Stage {
    network: Arc<dyn Network>,
    constants: Constants,
    inputs: Vec<Vec<f32>>,
    outputs: Vec<Vec<f32>>,
}

/// The executor for `case`, with each thread on a core of its own, as the peers have theirs.
///
/// # Errors
///
/// For a number format that it does not compute in, and what [`CpuExecutor::new`] reports.
pub(crate) fn executor(case: &Case) -> Result<CpuExecutor> {
    // By name: the library lists the known ones.
    let dtype = case.dtype.to_string().parse()?;
    let executor = CpuExecutor::new(CpuOptions { threads: Some(case.threads), dtype, ..Default::default() })?;
    if executor.dtype() == dtype {
        Ok(executor)
    } else {
        Err(format!("DREAMFRAME_CPU chooses {}, but the figure is of {dtype}", executor.dtype()).into())
    }
}

/// The weights of `program`: the same for every program of a network.
pub(super) fn weights(program: &Program) -> RandomWeights {
    RandomWeights::new(WEIGHTS, program.weights())
}

/// Random numbers for an input called `name`.
///
/// # Errors
///
/// None in practice; they are as [`RandomWeights`] gives them.
pub(super) fn input(name: &str, shape: Shape) -> Result<Vec<f32>> {
    let spec = WeightSpec { name: name.to_owned(), shape: vec![shape.n * shape.pixels(), shape.c] };
    Ok(RandomWeights::new(INPUTS, [&spec]).read(name, &spec.shape)?)
}

impl Ours {
    /// Builds the networks of `case`.
    ///
    /// # Errors
    ///
    /// What the executor reports.
    pub(crate) fn new(case: &Case) -> Result<Self> {
        let executor: Arc<dyn Executor> = Arc::new(executor(case)?);
        let programs = case.programs()?.into_iter();
        let stages = programs.map(|program| Stage::new(&executor, program, case)).collect::<Result<Vec<_>>>()?;
        let scratch = stages.iter().map(|stage| stage.network.scratch_bytes()).max().unwrap_or(0);
        let scratch = executor.queue().scratch(scratch)?;
        // The executor has its threads on the other cores; ours, which works too, would wander onto one of them.
        system::keep_to_cores(1)?;
        Ok(Self { about: format!("dreamframe {}", executor.describe()), stages, scratch })
    }
}

fn slices(numbers: &[Vec<f32>]) -> Vec<&[f32]> {
    numbers.iter().map(Vec::as_slice).collect()
}

impl Stage {
    fn new(executor: &Arc<dyn Executor>, program: Program, case: &Case) -> Result<Self> {
        let program = Arc::new(program);
        let inputs = |rate| -> Result<Vec<Vec<f32>>> {
            let numbers = |name: &str, shape| match name {
                "timestep_embedding" => {
                    let config = UnetConfig::from_json(case.model.config)?;
                    Ok(timestep_embedding(&vec![TIMESTEP; case.rows], &config))
                }
                _ => input(name, shape),
            };
            program.inputs_at(rate).map(|input| numbers(&input.name, program.shape(input.value))).collect()
        };
        let (constant, frame) = (inputs(Rate::Constant)?, inputs(Rate::Frame)?);
        let source: Arc<dyn WeightSource> = Arc::new(weights(&program));
        let mut weights = Weights::new(source.clone());
        if executor.dtype() == Dtype::Int8 {
            // One pass determines the range of every layer's input, like a user's frames.
            let scales = byte_scales(executor, &program, &source, &slices(&constant), &slices(&frame))?;
            weights = weights.with_byte_scales(scales);
        }
        let network = executor.compile(&program, &weights)?;
        let constants = network.constants(&slices(&constant))?;
        let outputs = program.outputs().iter().map(|output| vec![0.0; program.shape(output.value).len()]).collect();
        Ok(Self { network, constants, inputs: frame, outputs })
    }
}

impl Warm for Ours {
    fn about(&self) -> String {
        self.about.clone()
    }

    fn run(&mut self) -> Result<()> {
        for Stage { network, constants, inputs, outputs } in &mut self.stages {
            let inputs: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
            let mut outputs: Vec<&mut [f32]> = outputs.iter_mut().map(Vec::as_mut_slice).collect();
            network.run_on_host(constants, &mut self.scratch, &inputs, &mut outputs)?;
        }
        Ok(())
    }

    fn output(&self) -> Result<Vec<f32>> {
        let last = self.stages.last().and_then(|stage| stage.outputs.last());
        Ok(last.ok_or("no network, no output")?.clone())
    }
}
