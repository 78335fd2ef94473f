//! Compares the executor with the definition of every operation, on every instruction set of this machine.

pub(in crate::exec) mod branches;
mod bytes;
mod contract;
mod images;
mod merge;
pub(in crate::exec) mod naive;
mod past;
mod ragged;
pub(in crate::exec) mod random;
mod regions;
mod stored_forms;
mod threads;
mod winograd;

use std::num::NonZeroUsize;
use std::sync::Arc;

use self::naive::{GeneratedWeights, noise};
use super::{CpuExecutor, CpuOptions, Isa};
use crate::exec::arena::Arena;
use crate::exec::{Dtype, Executor, Network, Scratch};
use crate::net::{Activation, Padding, Program, ProgramBuilder, Rate, Shape, ValueId, Weights};

/// The relative error of sums in `f32`.
pub(in crate::exec) const ROUNDING: f64 = 5e-7;
/// The relative error of a value stored as bf16: half of its last bit; weights have it, too.
const BF16_ROUNDING: f64 = 2.0 / 512.0;

pub(super) fn executor(isa: Isa, threads: usize) -> CpuExecutor {
    CpuExecutor::new(CpuOptions {
        threads: NonZeroUsize::new(threads),
        dtype: Dtype::of(isa),
        isa: Some(isa),
        pin: false,
        winograd: true,
    })
    .unwrap()
}

/// Random inputs of one rate. Inputs with indices (`ids3`: below 3) are integers.
pub(in crate::exec) fn inputs(program: &Program, rate: Rate) -> Vec<Vec<f32>> {
    let of = |(i, input): (usize, &crate::net::Input)| {
        let elements = noise(i as u64 + 1, program.shape(input.value).len());
        match input.name.strip_prefix("ids").map(|bound| bound.parse::<f32>().unwrap()) {
            Some(bound) => elements.into_iter().map(|x| ((x * 0.5 + 0.5) * bound).floor().min(bound - 1.0)).collect(),
            None => elements.into_iter().map(|x| x * 2.0).collect(),
        }
    };
    program.inputs_at(rate).enumerate().map(of).collect()
}

fn slices(elements: &[Vec<f32>]) -> Vec<&[f32]> {
    elements.iter().map(Vec::as_slice).collect()
}

/// Scratch memory filled with NaN.
fn dirty_scratch(network: &dyn Network) -> Scratch {
    let mut arena = Arena::with_capacity(network.scratch_bytes() / size_of::<f32>()).unwrap();
    arena.elements().fill(f32::NAN);
    Scratch::of(arena)
}

/// Runs twice over the same scratch memory without clearing it, so that the result must not depend on old contents.
pub(in crate::exec) fn run(network: &dyn Network) -> Vec<Vec<f32>> {
    let program = network.program();
    let (constant, frame) = (inputs(program, Rate::Constant), inputs(program, Rate::Frame));
    let constants = network.constants(&slices(&constant)).unwrap();
    let mut scratch = dirty_scratch(network);
    let mut run = || {
        let lens = program.outputs().iter().map(|output| program.shape(output.value).len());
        let mut outputs = lens.map(|len| vec![f32::NAN; len]).collect::<Vec<_>>();
        let mut slices_mut = outputs.iter_mut().map(Vec::as_mut_slice).collect::<Vec<_>>();
        network.run_on_host(&constants, &mut scratch, &slices(&frame), &mut slices_mut).unwrap();
        outputs
    };
    let first = run();
    assert_eq!(bits(&first), bits(&run()), "the second run differs");
    first
}

fn bits(outputs: &[Vec<f32>]) -> Vec<Vec<u32>> {
    outputs.iter().map(|output| output.iter().map(|x| x.to_bits()).collect()).collect()
}

/// The largest difference, relative to the largest value (or one).
pub(in crate::exec) fn error(expected: &[f64], found: impl Iterator<Item = f64>) -> f64 {
    let size = expected.iter().fold(1.0_f64, |size, x| size.max(x.abs()));
    // NaN counts as an infinite error.
    let worse = |worst: f64, by: f64| if by <= worst { worst } else { if by.is_nan() { f64::INFINITY } else { by } };
    expected.iter().zip(found).map(|(expected, found)| (expected - found).abs() / size).fold(0.0, worse)
}

/// Checks that every instruction set gives the results of the definitions, and that the number of threads does not
/// change them.
fn check(builder: ProgramBuilder) {
    check_program(builder.finish().unwrap());
}

fn check_program(program: Program) {
    let program = Arc::new(program);
    let (constant, frame) = (inputs(&program, Rate::Constant), inputs(&program, Rate::Frame));
    let expected = naive::run(&program, &constant, &frame, 0.0);
    // Norms of nearly equal values, and differences of large ones, amplify rounding errors.
    let disturbed = |by| naive::run(&program, &constant, &frame, by);
    let (disturbed, disturbed_bf16) = (disturbed(ROUNDING), disturbed(BF16_ROUNDING));
    for isa in Isa::ALL.into_iter().filter(|isa| isa.available()) {
        let weights = Weights::new(Arc::new(GeneratedWeights));
        let found = run(&*executor(isa, 1).compile(&program, &weights).unwrap());
        for (i, output) in program.outputs().iter().enumerate() {
            let bound = match Dtype::of(isa) {
                Dtype::F32 => 1e-5 + 4.0 * error(&expected[i], disturbed[i].iter().copied()),
                // Weights are rounded as well, which the disturbance leaves out; and of few values, it can leave all nearly as
                // they are, so that the bound is at least the rounding of the largest one.
                Dtype::Auto | Dtype::F16 | Dtype::Bf16 | Dtype::Int8 => {
                    0.5 * BF16_ROUNDING + 8.0 * error(&expected[i], disturbed_bf16[i].iter().copied())
                }
            };
            let error = error(&expected[i], found[i].iter().map(|&x| f64::from(x)));
            assert!(error < bound, "{isa:?} {}: {error:e} of {bound:e}\n{:#?}", output.name, program.ops());
        }
        let two = run(&*executor(isa, 2).compile(&program, &weights).unwrap());
        assert_eq!(bits(&found), bits(&two), "{isa:?} with two threads");
    }
}

fn frame(builder: &mut ProgramBuilder, shape: Shape) -> ValueId {
    builder.input("x", shape, Rate::Frame)
}

/// One operation on one input.
fn check_one(shape: Shape, op: impl FnOnce(&mut ProgramBuilder, ValueId) -> ValueId) {
    let mut builder = ProgramBuilder::new("one");
    let x = frame(&mut builder, shape);
    let y = op(&mut builder, x);
    builder.output("y", y);
    check(builder);
}

#[test]
fn convolutions_of_odd_sizes_match_the_definition() {
    for (n, h, w, c_in, c_out) in [
        (1, 5, 7, 3, 4),
        (2, 9, 4, 17, 33),
        (1, 8, 8, 64, 64),
        (3, 1, 1, 5, 70),
        (1, 13, 11, 32, 32),
        (2, 3, 30, 1, 1),
        (2, 2, 67, 3, 32),
    ] {
        for (kernel, stride, padding) in [
            (3, 1, Padding::all(1)),
            (1, 1, Padding::all(0)),
            (3, 2, Padding::all(1)),
            (3, 2, Padding { top: 0, left: 0, bottom: 1, right: 1 }),
            (2, 1, Padding { top: 3, left: 1, bottom: 0, right: 2 }),
            (1, 2, Padding::all(1)),
        ] {
            for upsample in [false, true] {
                let grow = if upsample { 2 } else { 1 };
                if kernel > h * grow + padding.top + padding.bottom || kernel > w * grow + padding.left + padding.right
                {
                    continue;
                }
                check_one(Shape::new(n, h, w, c_in), |b, x| {
                    b.conv2d("conv", x, c_out, kernel, stride, padding, upsample, c_out % 2 == 0)
                });
            }
        }
    }
}

#[test]
fn upsampling_convolutions_match_the_definition() {
    for (h, w, c_in, c_out) in [(1, 1, 5, 9), (3, 100, 6, 33), (7, 13, 600, 64), (5, 96, 16, 3), (9, 24, 20, 16)] {
        check_one(Shape::new(2, h, w, c_in), |b, x| {
            let y = b.conv2d("conv", x, c_out, 3, 1, Padding::all(1), true, true);
            let z = b.conv2d("other", x, c_out, 3, 1, Padding::all(1), true, false);
            let y = b.add(y, z);
            b.activate(y, Activation::Relu)
        });
    }
}

#[test]
fn convolutions_to_few_channels_match_the_definition() {
    for c_out in 1..=5 {
        for c_in in [16, 48, 320] {
            check_one(Shape::new(2, 7, 19, c_in), |b, x| {
                let y = b.conv3x3("conv", x, c_out);
                b.affine(y, 2.0, -1.0)
            });
        }
        check_one(Shape::tokens(2, 7, 32), |b, x| b.linear("linear", x, c_out, true));
    }
}

#[test]
fn sums_split_for_the_cache_match_the_definition() {
    check_one(Shape::new(1, 3, 3, 700), |b, x| b.conv3x3("conv", x, 66));
    check_one(Shape::tokens(1, 100, 3001), |b, x| b.linear("linear", x, 130, true));
}

#[test]
fn linear_layers_of_any_width_match_the_definition() {
    for c in [1, 2, 7, 15, 16, 31, 48, 49, 63, 64, 70, 129] {
        check_one(Shape::tokens(2, 13, 37), |b, x| b.linear("linear", x, c, true));
        check_one(Shape::vector(3, c), |b, x| b.linear("linear", x, 24, false));
    }
}

#[test]
fn fused_elementwise_operations_match_the_definition() {
    for activation in [
        Activation::Silu,
        Activation::Gelu,
        Activation::QuickGelu,
        Activation::Relu,
        Activation::ReluUpTo { limit: 1.5 },
        Activation::LeakyRelu { slope: 0.2 },
        Activation::SoftClamp { limit: 3.0 },
    ] {
        check_one(Shape::new(2, 5, 5, 9), |b, x| {
            let y = b.conv3x3("conv", x, 21);
            b.activate(y, activation)
        });
        check_one(Shape::new(2, 5, 5, 9), |b, x| b.activate(x, activation));
    }
    // A TAESD block, and a resnet's half.
    check_one(Shape::new(2, 6, 5, 40), |b, x| {
        let y = b.conv3x3("conv", x, 40);
        let y = b.add(y, x);
        b.activate(y, Activation::Relu)
    });
    check_one(Shape::new(2, 6, 5, 40), |b, x| {
        let y = b.group_norm("norm", x, 8, 1e-5);
        let y = b.silu(y);
        let y = b.conv3x3("conv", y, 40);
        let y = b.affine(y, 0.5, 0.25);
        b.add(x, y)
    });
}

#[test]
fn a_convolution_of_a_part_is_added_to_the_whole() {
    // Of several tiles, which read pixels that others write if the sum takes the place of its summand.
    check_one(Shape::new(2, 20, 20, 24), |b, x| {
        let x = b.silu(x);
        let part = b.slice(x, 2, 12);
        let y = b.conv3x3("conv", part, 24);
        let y = b.add(x, y);
        // An output would have memory of its own.
        b.upsample(y)
    });
}

#[test]
fn summands_are_broadcast_over_rows_and_pixels() {
    let a = Shape::new(3, 4, 5, 19);
    for b in [a, Shape { n: 1, ..a }, Shape { h: 1, w: 1, ..a }, Shape::vector(1, 19)] {
        for fused in [false, true] {
            let mut builder = ProgramBuilder::new("add");
            let x = frame(&mut builder, a);
            let small = builder.input("b", b, Rate::Constant);
            let x = if fused { builder.conv3x3("conv", x, 19) } else { x };
            let y = builder.add(x, small);
            let y = builder.silu(y);
            builder.output("y", y);
            check(builder);
        }
    }
}

#[test]
fn geglu_is_correct_fused_and_alone() {
    for c in [2, 6, 30, 32, 64, 66, 150] {
        check_one(Shape::tokens(2, 11, 9), |b, x| {
            let y = b.linear("proj", x, c, true);
            b.geglu(y)
        });
        check_one(Shape::tokens(2, 11, c), |b, x| b.geglu(x));
    }
}

#[test]
fn norms_match_the_definition() {
    for (c, groups) in [(1, 1), (6, 3), (32, 32), (40, 8), (70, 7), (64, 1)] {
        for (h, w) in [(1, 1), (7, 5), (13, 21)] {
            check_one(Shape::new(2, h, w, c), |b, x| b.group_norm("norm", x, groups, 1e-5));
        }
        check_one(Shape::tokens(2, 9, c), |b, x| b.layer_norm("norm", x, 1e-5));
        check_one(Shape::new(2, 5, 3, c), |b, x| {
            let y = b.group_norm("norm", x, groups, 1e-6);
            b.silu(y)
        });
    }
}

#[test]
fn norms_of_values_far_from_zero_keep_their_precision() {
    check_one(Shape::new(1, 20, 20, 12), |b, x| {
        let y = b.affine(x, 1.0, 300.0);
        let y = b.group_norm("norm", y, 3, 1e-5);
        b.affine(y, 0.01, 0.0)
    });
}

#[test]
fn attention_with_heads_of_any_width_matches_the_definition() {
    for (heads, width, queries, keys) in
        [(1, 1, 1, 1), (2, 40, 13, 77), (3, 5, 100, 9), (1, 70, 97, 300), (8, 8, 20, 20), (2, 64, 7, 513)]
    {
        let mut builder = ProgramBuilder::new("attention");
        let q = frame(&mut builder, Shape::tokens(2, queries, heads * width));
        let k = builder.input("k", Shape::tokens(3, keys, heads * width), Rate::Constant);
        let v = builder.input("v", Shape::tokens(3, keys, heads * (width + 3)), Rate::Frame);
        let y = builder.attention([q, k, v], heads, false, vec![2, 0]);
        builder.output("y", y);
        check(builder);
    }
}

#[test]
fn attention_to_a_constant_prompt_matches_the_definition() {
    let mut builder = ProgramBuilder::new("attention");
    let x = frame(&mut builder, Shape::new(2, 6, 6, 24));
    let text = builder.input("text", Shape::tokens(1, 77, 30), Rate::Constant);
    let (q, k, v) =
        (builder.linear("q", x, 24, false), builder.linear("k", text, 24, false), builder.linear("v", text, 24, true));
    let y = builder.attention([q, k, v], 3, false, vec![0, 0]);
    builder.output("y", y);
    check(builder);
}

#[test]
fn causal_attention_matches_the_definition() {
    for (heads, tokens) in [(1, 1), (2, 7), (2, 77), (1, 300)] {
        check_one(Shape::tokens(2, tokens, heads * 12), |b, x| {
            let q = b.linear("q", x, heads * 12, true);
            b.attention([q, x, x], heads, true, vec![0, 1])
        });
    }
}

#[test]
fn operations_without_arithmetic_match_the_definition() {
    let shape = Shape::new(2, 5, 3, 23);
    check_one(shape, |b, x| b.upsample(x));
    check_one(shape, |b, x| {
        let y = b.upsample(x);
        b.conv3x3("conv", y, 9)
    });
    check_one(shape, |b, x| b.slice(x, 5, 7));
    check_one(shape, |b, x| {
        let (y, z) = (b.slice(x, 5, 7), b.silu(x));
        let z = b.slice(z, 1, 20);
        b.concat(y, z)
    });
    check_one(Shape::tokens(2, 9, 12), |b, x| b.add_weight("position", x, 11));
}

#[test]
fn token_lookup_and_selection_match_the_definition() {
    let mut builder = ProgramBuilder::new("text");
    let ids = builder.input("ids50", Shape::tokens(2, 9, 1), Rate::Constant);
    let last = builder.input("ids9", Shape::vector(2, 1), Rate::Constant);
    let x = builder.embed("token", ids, 50, 13);
    let y = builder.take_token(x, last);
    builder.output("x", x);
    builder.output("y", y);
    check(builder);
}

#[test]
fn concatenations_with_and_without_copies_match_the_definition() {
    let mut builder = ProgramBuilder::new("skip");
    let x = frame(&mut builder, Shape::new(1, 6, 6, 10));
    let a = builder.conv3x3("a", x, 21);
    let b = builder.conv3x3("b", a, 13);
    let ab = builder.concat(a, b);
    let abx = builder.concat(ab, x);
    let twice = builder.concat(a, a);
    let y = builder.conv3x3("y", abx, 5);
    let z = builder.group_norm("z", twice, 6, 1e-5);
    builder.output("y", y);
    builder.output("z", z);
    builder.output("b", b);
    check(builder);
}

#[test]
fn an_output_may_be_an_input_a_constant_or_a_duplicate() {
    let mut builder = ProgramBuilder::new("outputs");
    let x = frame(&mut builder, Shape::new(1, 3, 3, 5));
    let c = builder.input("c", Shape::vector(1, 5), Rate::Constant);
    let d = builder.silu(c);
    let y = builder.add(x, d);
    let z = builder.slice(y, 1, 3);
    for (name, value) in [("x", x), ("c", c), ("d", d), ("y", y), ("y again", y), ("z", z)] {
        builder.output(name, value);
    }
    check(builder);
}
