//! Running programs on every executor there is.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dreamframe::exec::cpu::{CpuExecutor, CpuOptions, Isa};
use dreamframe::exec::onnx::{OnnxConfig, OnnxExecutor, Packaging, Row};
use dreamframe::exec::reference::ReferenceExecutor;
use dreamframe::exec::{Dtype, Executor, Provider, Scratch};
use dreamframe::load::OnnxRuntimeFiles;
use dreamframe::models::{
    UnetConfig, UnetShape, guidance_embedding, time_ids_embedding, timestep_embedding, unet_program,
};
use dreamframe::net::{Branches, Program, Weights};
use dreamframe::{Device, OnnxOptions};

use crate::Golden;
use crate::native::is_full;

/// Returns the executors that are compared with reference data, with their names for messages: the CPU's, once for each
/// instruction set that this machine has, and with `cargo xtask test --full` the reference executor, and ONNX Runtime's for
/// [`onnx_dtypes`], if its library is known. In the short run, tests compare the reference executor's pictures with the CPU's.
///
/// # Panics
///
/// Where one cannot be made.
pub fn executors() -> Vec<(String, Box<dyn Executor>)> {
    let mut executors: Vec<(String, Box<dyn Executor>)> = Vec::new();
    if is_full() {
        executors.push((ReferenceExecutor.name().to_owned(), Box::new(ReferenceExecutor)));
    }
    for isa in Isa::ALL.into_iter().filter(|isa| isa.available()) {
        let options = CpuOptions {
            threads: NonZeroUsize::new(2),
            dtype: Dtype::of(isa),
            isa: Some(isa),
            pin: false,
            winograd: true,
        };
        let executor = CpuExecutor::new(options).unwrap();
        executors.push((format!("{}-{}", executor.name(), isa.name()), Box::new(executor)));
    }
    for &dtype in onnx_dtypes() {
        let Some(library) = onnx_library() else { break };
        let executor = onnx_executor(&library, dtype);
        executors.push((format!("{}-{dtype}", executor.name()), Box::new(executor)));
    }
    executors
}

/// The variable that names ONNX Runtime's library; `cargo xtask test` sets it.
const ONNX_RUNTIME: &str = "DREAMFRAME_ONNXRUNTIME";

/// Returns the number formats of ONNX Runtime in comparisons with reference data: none but with `cargo xtask test --full`,
/// since each takes as long as all instruction sets together. The short run compares its graphs with the definitions of all
/// operations, and its engines' pictures with those of the CPU executor.
pub fn onnx_dtypes() -> &'static [Dtype] {
    if is_full() { &[Dtype::F32, Dtype::F16] } else { &[] }
}

/// Returns the path of ONNX Runtime's library; without it, prints that tests are skipped on it.
pub fn onnx_library() -> Option<PathBuf> {
    let library = std::env::var_os(ONNX_RUNTIME).map(PathBuf::from);
    if library.is_none() {
        eprintln!("skipped on the executor onnx: {ONNX_RUNTIME} does not name ONNX Runtime's library");
    }
    library
}

/// Returns the provider of ONNX Runtime that tests run on: the one that `DREAMFRAME_TEST_PROVIDER` names, or the CPU's.
///
/// # Panics
///
/// If there is no such provider.
pub fn onnx_provider() -> Provider {
    let named = std::env::var("DREAMFRAME_TEST_PROVIDER");
    named.map_or(Provider::Cpu, |name| name.parse().expect("DREAMFRAME_TEST_PROVIDER names a provider"))
}

/// Returns the device of [`onnx_provider`], of the library `library`.
///
/// # Panics
///
/// If the provider does not work on this machine.
pub fn onnx_device(library: &Path, dtype: Dtype) -> Device {
    let options = OnnxOptions::default().with_library(Some(library.to_owned())).with_provider(onnx_provider());
    Device::onnx(&options, dtype, Some(2)).unwrap()
}

/// Returns an executor of [`onnx_provider`], of the library `library`.
fn onnx_executor(library: &Path, dtype: Dtype) -> OnnxExecutor {
    let row = Row::of(onnx_provider());
    let files = OnnxRuntimeFiles::find(Some(library)).unwrap();
    let plug_in = match row.packaging {
        Packaging::PlugIn { package, .. } => files.provider(&row.library().unwrap(), Some(package)),
        Packaging::BuiltIn | Packaging::Build(_) => None,
    };
    let (library, provider, plug_in) = (files.library(), row.provider, plug_in.as_deref());
    OnnxExecutor::new(&OnnxConfig {
        library,
        provider,
        plug_in,
        device_index: 0,
        dtype,
        threads: 2,
        cuda_graphs: false,
    })
    .unwrap()
}

/// Runs `program` once; returns its outputs in order.
///
/// # Panics
///
/// Where the executor refuses.
pub fn run(
    executor: &dyn Executor,
    program: Program,
    weights: &Weights,
    constant: &[&[f32]],
    frame: &[&[f32]],
) -> Vec<Vec<f32>> {
    let network = executor.compile(&Arc::new(program), weights).unwrap();
    let constants = network.constants(constant).unwrap();
    let outputs = network.program().outputs().iter();
    let mut outputs: Vec<Vec<f32>> =
        outputs.map(|output| vec![f32::NAN; network.program().shape(output.value).len()]).collect();
    let mut rooms: Vec<&mut [f32]> = outputs.iter_mut().map(Vec::as_mut_slice).collect();
    network.run_on_host(&constants, &mut Scratch::new(), frame, &mut rooms).unwrap();
    outputs
}

/// Runs the UNet of `golden` on its first `rows` rows, with the guidance embedding if `guided`; returns `eps`.
///
/// # Panics
///
/// Where the golden has no UNet, or the executor refuses.
pub fn run_unet(golden: &Golden, executor: &dyn Executor, rows: usize, guided: bool) -> Vec<f32> {
    run_unet_over(golden, &golden.weights("unet"), executor, rows, guided)
}

/// Like [`run_unet`], over other weights than the golden's.
///
/// # Panics
///
/// Like [`run_unet`].
pub fn run_unet_over(
    golden: &Golden,
    weights: &Weights,
    executor: &dyn Executor,
    rows: usize,
    guided: bool,
) -> Vec<f32> {
    run_unet_with_branches(golden, weights, executor, (rows, guided), &Branches::default(), &[])
}

/// Like [`run_unet_over`], with the branches of LoRAs and their scales.
///
/// # Panics
///
/// Like [`run_unet`].
pub fn run_unet_with_branches(
    golden: &Golden,
    weights: &Weights,
    executor: &dyn Executor,
    (rows, guided): (usize, bool),
    branches: &Branches,
    scales: &[f32],
) -> Vec<f32> {
    let config = UnetConfig::from_json(&golden.config("unet")).unwrap();
    let &[all_rows, height, width, _] = golden.shape("unet.sample") else { panic!("no latent") };
    let &[text_rows, text_tokens, _] = golden.shape("unet.encoder_hidden_states") else { panic!("no text") };
    let text_of_row = match golden.has("unet.text_of_row") {
        true => golden.numbers("unet.text_of_row")[..rows].iter().map(|&text| text as usize).collect(),
        false => vec![0; rows],
    };
    let shape = UnetShape {
        text_rows,
        text_tokens,
        text_of_row,
        guidance_embedding: guided,
        ..UnetShape::new(rows, height, width)
    };
    let program = branches.add_to(unet_program(&config, &shape).unwrap()).unwrap();

    let mut constant = vec![golden.numbers("unet.encoder_hidden_states")];
    constant.push(timestep_embedding(&golden.numbers("unet.timesteps")[..rows], &config));
    if guided {
        constant.push(guidance_embedding(&golden.numbers("unet.guidance")[..rows], &config));
    }
    if let Some(added) = &config.added {
        constant.push(golden.numbers("unet.pooled")[..rows * added.pooled_dim].to_vec());
        let time_ids = golden.numbers("unet.time_ids");
        constant.push(time_ids_embedding(&time_ids.as_chunks().0[..rows], &config));
    }
    constant.extend(branches.inputs(scales));
    let constant: Vec<&[f32]> = constant.iter().map(Vec::as_slice).collect();
    let sample = golden.numbers("unet.sample");
    let sample = &sample[..sample.len() / all_rows * rows];
    run(executor, program, weights, &constant, &[sample]).remove(0)
}
