//! The networks of the benches, by name, with random weights and inputs: UNets by the names of known models and `demo`,
//! and `taesd-enc`, `taesd-dec`, `demo-enc`, `demo-dec`.

use std::sync::Arc;
use std::time::Instant;

use dreamframe::exec::cpu::CpuExecutor;
use dreamframe::exec::observe::byte_scales;
use dreamframe::exec::{Constants, Dtype, Executor, Network, RunArgs, Scratch, StepTime, View};
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

/// A network with its weights and inputs, for any number of threads.
pub(crate) struct Subject {
    program: Arc<Program>,
    weights: Weights,
    constant: Vec<Vec<f32>>,
    frame: Vec<Vec<f32>>,
}

impl Subject {
    /// Returns the network `name` for pictures of `size` pixels a side, in the number format of `executor`.
    pub(crate) fn new(name: &str, size: usize, executor: &Arc<CpuExecutor>) -> Result<Self> {
        let program = Arc::new(program(name, size, 1)?);
        let source: Arc<dyn WeightSource> = Arc::new(RandomWeights::new(1, program.weights()));
        let (constant, frame) = (inputs(&program, Rate::Constant)?, inputs(&program, Rate::Frame)?);
        let mut weights = Weights::new(source.clone());
        if executor.dtype() == Dtype::Int8 {
            let executor: Arc<dyn Executor> = executor.clone();
            let scales = byte_scales(&executor, &program, &source, &slices(&constant), &slices(&frame))?;
            weights = weights.with_byte_scales(scales);
        }
        Ok(Self { program, weights, constant, frame })
    }

    /// Compiles the network, over packed weights that all executors of a number format share.
    pub(crate) fn compile(&self, executor: &CpuExecutor) -> Result<Compiled<'_>> {
        let network = executor.compile(&self.program, &self.weights)?;
        let constants = network.constants(&slices(&self.constant))?;
        let scratch = executor.queue().scratch(network.scratch_bytes())?;
        let output = vec![0.0; self.program.shape(self.program.outputs()[0].value).len()];
        Ok(Compiled { frame: &self.frame, network, constants, scratch, output })
    }
}

/// A network on one executor.
pub(crate) struct Compiled<'a> {
    frame: &'a [Vec<f32>],
    network: Arc<dyn Network>,
    constants: Constants,
    scratch: Scratch,
    output: Vec<f32>,
}

impl Compiled<'_> {
    /// Runs one frame; returns its milliseconds and the times of its steps.
    pub(crate) fn run(&mut self) -> Result<(f64, Vec<StepTime>)> {
        let inputs: Vec<View<'_>> = self.frame.iter().map(View::from).collect();
        let outputs = &mut [(&mut self.output).into()];
        let mut times = Vec::new();
        let start = Instant::now();
        let args = RunArgs::new(&self.constants, &mut self.scratch, &inputs, outputs);
        self.network.run(RunArgs { times: Some(&mut times), ..args })?;
        Ok((start.elapsed().as_secs_f64() * 1e3, times))
    }
}
