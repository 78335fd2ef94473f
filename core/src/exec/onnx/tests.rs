//! The graphs on ONNX Runtime's CPU provider against the definition of every operation.
//!
//! The library comes from the variable `DREAMFRAME_ONNXRUNTIME`, which `cargo xtask test` sets; without it, these tests are
//! skipped.

mod cuda;
mod local_functions;
mod structure;

use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::*;
use crate::exec::Provider;
use crate::exec::cpu::tests::branches::branches;
use crate::exec::cpu::tests::naive::{self, GeneratedWeights};
use crate::exec::cpu::tests::random::seeded_program;
use crate::exec::cpu::tests::{ROUNDING, error, inputs, run};
use crate::load::OnnxRuntimeFiles;
use crate::net::{Activation, LowRank, Padding, ProgramBuilder, Rate, Shape, ValueId};

/// The relative error of a value in half precision.
const F16_ROUNDING: f64 = 1.0 / 2048.0;

pub(in crate::exec) fn library() -> Option<PathBuf> {
    let library = std::env::var_os("DREAMFRAME_ONNXRUNTIME").map(PathBuf::from);
    if library.is_none() {
        eprintln!("skipped: DREAMFRAME_ONNXRUNTIME does not name ONNX Runtime's library");
    }
    library
}

/// Returns the library for tests that are about the CPU's provider alone, whose device has the host's memory.
pub(super) fn library_for_cpu() -> Option<PathBuf> {
    let named = std::env::var("DREAMFRAME_TEST_PROVIDER").ok().filter(|name| name != "cpu");
    if let Some(name) = named {
        eprintln!("skipped with the provider {name}: the test is about the provider cpu");
        return None;
    }
    library()
}

/// Returns an executor on the provider that `DREAMFRAME_TEST_PROVIDER` names, or the CPU's.
pub(in crate::exec) fn executor(library: &Path, dtype: Dtype) -> Result<OnnxExecutor> {
    let provider = std::env::var("DREAMFRAME_TEST_PROVIDER").map_or(Provider::Cpu, |name| name.parse().unwrap());
    let row = Row::of(provider);
    let files = OnnxRuntimeFiles::find(Some(library)).ok();
    let plug_in = files.as_ref().zip(row.library()).and_then(|(files, file)| match row.packaging {
        Packaging::PlugIn { package, .. } => files.provider(&file, Some(package)),
        Packaging::BuiltIn | Packaging::Build(_) => None,
    });
    let (library, plug_in) = (files.as_ref().map_or(library, |files| files.library()), plug_in.as_deref());
    OnnxExecutor::new(&OnnxConfig {
        library,
        provider,
        plug_in,
        device_index: 0,
        dtype,
        threads: 1,
        cuda_graphs: false,
    })
}

/// Returns the network of the executor whose graphs have the operators of `dialect`, those of the CUDA provider as
/// functions of the model.
fn network(executor: &OnnxExecutor, program: &Arc<Program>, dialect: Dialect) -> Arc<dyn Network> {
    let mut graphs = emit::emit(program, executor.device.element, dialect);
    if dialect == Dialect::Cuda {
        local_functions::replace_operators(&mut graphs);
    }
    executor.network(program, &Weights::new(Arc::new(GeneratedWeights)), graphs).unwrap()
}

/// Checks that the graphs of a program give the results of the definitions, in every dialect, in single and in half
/// precision.
fn check(builder: ProgramBuilder) {
    check_program(builder.finish().unwrap());
}

fn check_program(program: Program) {
    let Some(library) = library() else { return };
    let program = Arc::new(program);
    let (constant, frame) = (inputs(&program, Rate::Constant), inputs(&program, Rate::Frame));
    let expected = naive::run(&program, &constant, &frame, 0.0);
    for (dtype, rounding, least) in [(Dtype::F32, ROUNDING, 1e-5), (Dtype::F16, F16_ROUNDING, 2e-3)] {
        // Norms of nearly equal values, and differences of large ones, amplify rounding errors.
        let disturbed = naive::run(&program, &constant, &frame, rounding);
        let executor = executor(&library, dtype).unwrap();
        for dialect in Dialect::ALL {
            let found = run(&*network(&executor, &program, dialect));
            for (i, output) in program.outputs().iter().enumerate() {
                let bound = least + 4.0 * error(&expected[i], disturbed[i].iter().copied());
                let error = error(&expected[i], found[i].iter().map(|&x| f64::from(x)));
                let (name, ops) = (&output.name, program.ops());
                assert!(error < bound, "{dialect:?} {dtype} {name}: {error:e} of {bound:e}\n{ops:#?}");
            }
        }
    }
}

#[test]
fn networks_run_once_before_a_frame_does() {
    let Some(library) = library() else { return };
    let executor = executor(&library, Dtype::F32).unwrap();
    let program = program(Shape::new(1, 4, 4, 8), |b, x| b.conv3x3("w", x, 8)).finish().unwrap();
    executor.take_counts();
    executor.compile(&Arc::new(program), &Weights::new(Arc::new(GeneratedWeights))).unwrap();
    assert_eq!(executor.take_counts().runs, 1);
}

#[test]
fn engines_share_networks_of_one_program_and_the_same_weights_while_they_are_in_use() {
    let Some(library) = library() else { return };
    let executor = executor(&library, Dtype::F32).unwrap();
    let program = |side| Arc::new(program(Shape::new(1, side, 4, 8), |b, x| b.conv3x3("w", x, 8)).finish().unwrap());
    let base = Arc::new(Weights::new(Arc::new(GeneratedWeights)));
    let compile = |side, weights: &Weights| executor.compile(&program(side), weights).unwrap();
    let first = compile(8, &base);
    assert!(Arc::ptr_eq(&first, &compile(8, &base)));
    assert!(!Arc::ptr_eq(&first, &compile(4, &base)));
    assert!(!Arc::ptr_eq(&first, &compile(8, &Weights::new(Arc::new(GeneratedWeights)))));
    // A LoRA for another network changes nothing here.
    let merge = |name: &str, shape: Vec<usize>| {
        let (up, down) = (vec![0.5; shape[0]], vec![0.5; shape[1..].iter().product()]);
        let change = Arc::new(LowRank::new(shape, 1, up, down, 1.0).unwrap());
        Weights::merged(&base, [(name.to_owned(), 1.0, change)])
    };
    assert!(Arc::ptr_eq(&first, &compile(8, &merge("other.weight", vec![2, 2]))));
    assert!(!Arc::ptr_eq(&first, &compile(8, &merge("w.weight", vec![8, 8, 3, 3]))));
    let dropped = Arc::downgrade(&first);
    drop(first);
    assert!(dropped.upgrade().is_none());
}

/// Returns a program with the output that `write` computes from one input.
pub(super) fn program(shape: Shape, write: impl FnOnce(&mut ProgramBuilder, ValueId) -> ValueId) -> ProgramBuilder {
    let mut builder = ProgramBuilder::new("one");
    let x = builder.input("x", shape, Rate::Frame);
    let y = write(&mut builder, x);
    builder.output("y", y);
    builder
}

/// Checks one operation on one input.
fn check_one(shape: Shape, op: impl FnOnce(&mut ProgramBuilder, ValueId) -> ValueId) {
    check(program(shape, op));
}

#[test]
fn convolutions_give_what_their_definitions_say() {
    let shape = Shape::new(2, 6, 5, 4);
    let ragged = Padding { top: 0, left: 1, bottom: 1, right: 0 };
    for (kernel, stride, padding, upsample) in [
        (3, 1, Padding::all(1), false),
        (3, 2, ragged, false),
        (1, 1, Padding::all(0), false),
        (3, 1, Padding::all(1), true),
    ] {
        check_one(shape, |b, x| b.conv2d("w", x, 6, kernel, stride, padding, upsample, true));
    }
    check_one(shape, |b, x| b.dilated3x3("w", x, 3, 2));
    check_one(shape, |b, x| b.depthwise("w", x, 3, 2, Padding::all(1), true));
}

#[test]
fn operations_on_pixels_give_what_their_definitions_say() {
    let shape = Shape::new(2, 5, 3, 4);
    check_one(shape, |b, x| b.max_pool(x));
    for align_corners in [false, true] {
        check_one(shape, |b, x| b.resize(x, 8, 2, align_corners));
        check_one(shape, |b, x| b.resize(x, 1, 7, align_corners));
    }
    check_one(shape, |b, x| b.depth_to_space(x, 2));
    check_one(shape, |b, x| b.refold(x, 2, 3));
    check_one(shape, |b, x| b.refold(x, 4, 5));
    check_one(shape, |b, x| b.refold(x, 3, 5));
    check_one(shape, |b, x| b.reflect(x, 2));
    check_one(shape, |b, x| b.upsample(x));
}

#[test]
fn norms_and_layers_give_what_their_definitions_say() {
    check_one(Shape::new(2, 3, 3, 8), |b, x| b.group_norm("w", x, 4, 1e-5));
    check_one(Shape::tokens(2, 5, 8), |b, x| b.layer_norm("w", x, 1e-5));
    check_one(Shape::tokens(2, 5, 8), |b, x| b.linear("w", x, 3, true));
    check_one(Shape::tokens(2, 5, 8), |b, x| b.linear("w", x, 3, false));
    check_one(Shape::tokens(2, 5, 8), |b, x| b.geglu(x));
    check_one(Shape::new(1, 2, 3, 8), |b, x| b.slice(x, 2, 5));
    check_one(Shape::tokens(2, 5, 8), |b, x| b.affine(x, 0.5, -0.25));
}

#[test]
fn activations_give_what_their_definitions_say() {
    for activation in [
        Activation::Silu,
        Activation::Gelu,
        Activation::QuickGelu,
        Activation::Relu,
        Activation::ReluUpTo { limit: 0.5 },
        Activation::LeakyRelu { slope: 0.2 },
        Activation::SoftClamp { limit: 3.0 },
    ] {
        check_one(Shape::new(1, 3, 3, 4), |b, x| b.activate(x, activation));
    }
}

#[test]
fn attention_reads_the_rows_that_it_is_given() {
    let (tokens, context) = (Shape::tokens(3, 4, 8), Shape::tokens(2, 5, 8));
    for (causal, kv_row, shape) in [
        (false, vec![0, 1, 2], tokens),
        (true, vec![0, 1, 2], tokens),
        (false, vec![1, 0, 1], context),
        (false, vec![0; 3], context),
    ] {
        let mut b = ProgramBuilder::new("attention");
        let q = b.input("q", tokens, Rate::Frame);
        let k = b.input("k", shape, Rate::Constant);
        let v = b.input("v", shape, Rate::Frame);
        let y = b.attention([q, k, v], 2, causal, kv_row);
        b.output("y", y);
        check(b);
    }
}

#[test]
fn providers_without_attention_and_group_norms_have_older_operators_for_them() {
    let mut b = ProgramBuilder::new("attention");
    let [q, k, v] = ["q", "k", "v"].map(|name| b.input(name, Shape::tokens(2, 4, 8), Rate::Frame));
    let y = b.attention([q, k, v], 2, true, vec![0, 1]);
    let y = b.group_norm("norm", y, 4, 1e-5);
    b.output("y", y);
    let program = b.finish().unwrap();
    let nodes = decode::nodes(&emit::emit(&program, ElementType::F16, Dialect::Basic).frame.bytes);
    let operators = decode::operators(&nodes);
    let count = |operator: &str| operators.get(operator).copied().unwrap_or_default();
    assert_eq!((count("MatMul"), count("Softmax"), count("InstanceNormalization")), (2, 1, 1));
    assert_eq!((count("Attention"), count("GroupNormalization")), (0, 0));
}

#[test]
fn a_text_is_embedded_and_a_token_of_it_taken() {
    let mut b = ProgramBuilder::new("text");
    let ids = b.input("ids7", Shape::tokens(2, 5, 1), Rate::Frame);
    let place = b.input("ids5", Shape::vector(2, 1), Rate::Constant);
    let words = b.embed("words", ids, 7, 6);
    let words = b.add_weight("positions", words, 9);
    let word = b.take_token(words, place);
    b.output("words", words);
    b.output("word", word);
    check(b);
}

#[test]
fn a_program_of_constants_alone_and_repeated_outputs_run() {
    let mut b = ProgramBuilder::new("constants");
    let x = b.input("x", Shape::new(1, 2, 2, 3), Rate::Constant);
    let y = b.silu(x);
    b.output("y", y);
    b.output("x", x);
    b.output("again", y);
    check(b);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn random_programs_give_what_their_definitions_say(seed in 1_u64.., len in 1_usize..25) {
        check(seeded_program(seed, len));
    }

    #[test]
    fn random_programs_with_low_rank_branches_give_what_their_definitions_say(seed in 1_u64.., len in 1_usize..12) {
        let program = seeded_program(seed, len).finish().unwrap();
        check_program(branches(&program, seed).add_to(program).unwrap());
    }
}

#[test]
fn a_transformer_block_transposes_its_image_once_each_way() {
    let mut b = ProgramBuilder::new("block");
    let x = b.input("x", Shape::new(2, 4, 4, 8), Rate::Frame);
    let y = b.conv3x3("in", x, 8);
    let tokens = b.layer_norm("norm", y, 1e-5);
    let [q, k, v] = ["q", "k", "v"].map(|name| b.linear(name, tokens, 8, false));
    let mixed = b.attention([q, k, v], 2, false, vec![0, 1]);
    let mixed = b.linear("out", mixed, 8, true);
    let sum = b.add(mixed, y);
    let y = b.conv3x3("last", sum, 8);
    b.output("y", y);
    let program = b.finish().unwrap();
    for element in [ElementType::F32, ElementType::F16] {
        let graphs = emit::emit(&program, element, Dialect::Standard);
        let nodes = decode::nodes(&graphs.frame.bytes);
        let operators = decode::operators(&nodes);
        let count = |operator: &str| operators.get(operator).copied().unwrap_or_default();
        // The other two are of the graph's input and output.
        assert_eq!((count("Transpose"), count("Cast"), count("Attention"), count("Conv")), (4, 0, 1, 2));
        assert!(graphs.constant.is_none());
    }
}

#[test]
fn wrong_lengths_and_indices_out_of_range_are_errors() {
    let Some(library) = library() else { return };
    let mut b = ProgramBuilder::new("text");
    let ids = b.input("ids", Shape::tokens(1, 2, 1), Rate::Frame);
    let y = b.embed("words", ids, 3, 2);
    b.output("y", y);
    let executor = executor(&library, Dtype::F32).unwrap();
    let program = Arc::new(b.finish().unwrap());
    let network = executor.compile(&program, &Weights::new(Arc::new(GeneratedWeights))).unwrap();
    let constants = network.constants(&[]).unwrap();
    let run = |ids: &[f32]| {
        let error = network.run_on_host(&constants, &mut Default::default(), &[ids], &mut [&mut [0.0; 4]]).unwrap_err();
        (error.kind(), error.to_string())
    };
    let invalid = |text: &str| (ErrorKind::InvalidArgument, text.to_owned());
    assert_eq!(run(&[1.0]), invalid("text: ids: got 1 elements, expected 2 for the shape [1, 2, 1, 1]"));
    assert_eq!(run(&[0.0, 3.0]), invalid("text: ids: got index 3, expected a whole number less than 3"));
    assert_eq!(run(&[0.0, f32::NAN]), invalid("text: ids: got index NaN, expected a whole number less than 3"));
}

#[test]
fn a_missing_library_and_another_one_are_errors() {
    let Some(library) = library() else { return };
    let kind = |path: &Path, dtype| executor(path, dtype).unwrap_err().kind();
    executor(&library, Dtype::F32).unwrap();
    assert_eq!(kind(Path::new("/nonexistent/libonnxruntime.so"), Dtype::F32), ErrorKind::InvalidArgument);
    assert_eq!(kind(&library, Dtype::Int8), ErrorKind::Unsupported);
}

#[test]
fn a_provider_that_the_build_of_the_library_lacks_is_an_error_with_its_package() {
    let Some(library) = library_for_cpu() else { return };
    if cfg!(target_os = "macos") {
        return;
    }
    let config = OnnxConfig {
        library: &library,
        provider: Provider::TensorRt,
        plug_in: None,
        device_index: 0,
        dtype: Dtype::F32,
        threads: 1,
        cuda_graphs: false,
    };
    let error = OnnxExecutor::new(&config).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("onnxruntime-gpu"), "{error}");
}

#[test]
fn the_version_of_the_library_is_known() {
    let Some(library) = library() else { return };
    let version = executor(&library, Dtype::F32).unwrap().version();
    let numbers: Vec<u32> = version.split('.').filter_map(|number| number.parse().ok()).collect();
    assert!(numbers.len() >= 2 && numbers[0] == 1 && numbers[1] >= 24, "{version}");
}

#[test]
fn feature_injection_and_token_merging_are_not_supported() {
    for (injects, merges) in [(false, false), (true, false), (false, true)] {
        let mut builder = ProgramBuilder::new("test");
        let x = builder.input("x", Shape::tokens(1, 4, 8), Rate::Frame);
        let mut y = builder.cached_attention([x, x, x], 1);
        if injects {
            y = builder.inject(y);
        }
        if merges {
            builder.merge_tokens();
        }
        builder.output("y", y);
        let result = check_supported(&builder.finish().unwrap());
        let kind = result.map_err(|error| error.kind());
        assert_eq!(kind, if injects || merges { Err(ErrorKind::Unsupported) } else { Ok(()) });
    }
}
