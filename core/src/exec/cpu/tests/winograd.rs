//! Winograd's algorithm compared with the definition, and with direct convolution.

use std::sync::Arc;

use proptest::prelude::*;

use super::naive::{self, GeneratedWeights};
use super::{BF16_ROUNDING, bits, error, executor, inputs, run};
use crate::exec::cpu::{CpuExecutor, CpuOptions, Isa, WinogradForm};
use crate::exec::{Dtype, Executor};
use crate::net::{Activation, Padding, Program, ProgramBuilder, Rate, Shape, Weights};

/// Every instruction set with every tile side that its format supports, and some block sizes.
fn forms() -> impl Iterator<Item = (Isa, WinogradForm)> {
    let sides = |isa: Isa| if Dtype::of(isa) == Dtype::F32 { &[2, 4][..] } else { &[2] };
    let blocks = [(1, false), (5, true), (48, false), (1000, true)];
    Isa::ALL.into_iter().filter(|isa| isa.available()).flat_map(move |isa| {
        let sides = sides(isa).iter();
        sides.flat_map(move |&side| blocks.map(|(tiles, shared)| (isa, WinogradForm { side, tiles, shared })))
    })
}

fn compiled(executor: &CpuExecutor, program: &Arc<Program>) -> Vec<Vec<f32>> {
    run(&*executor.compile(program, &Weights::new(Arc::new(GeneratedWeights))).unwrap())
}

/// Checks every form against the definition, and that threads and blocks do not change the result.
fn check(builder: ProgramBuilder) {
    let program = Arc::new(builder.finish().unwrap());
    let frame = inputs(&program, Rate::Frame);
    let expected = naive::run(&program, &[], &frame, 0.0);
    let disturbed = naive::run(&program, &[], &frame, BF16_ROUNDING);
    let mut before: Option<(Isa, usize, Vec<Vec<f32>>)> = None;
    for (isa, form) in forms() {
        let found = compiled(&executor(isa, 1).always_winograd(form), &program);
        for (i, output) in program.outputs().iter().enumerate() {
            let bound = match Dtype::of(isa) {
                Dtype::F32 => 2e-5,
                Dtype::Auto | Dtype::F16 | Dtype::Bf16 | Dtype::Int8 => {
                    4.0 * error(&expected[i], disturbed[i].iter().copied())
                }
            };
            let error = error(&expected[i], found[i].iter().map(|&x| f64::from(x)));
            assert!(error < bound, "{isa:?} {form:?} {}: {error:e} of {bound:e}", output.name);
        }
        let three = compiled(&executor(isa, 3).always_winograd(form), &program);
        assert_eq!(bits(&found), bits(&three), "{isa:?} {form:?} with three threads");
        if let Some((_, _, before)) = before.filter(|&(before, side, _)| before == isa && side == form.side) {
            assert_eq!(bits(&found), bits(&before), "{isa:?} {form:?} is not what other blocks give");
        }
        before = Some((isa, form.side, found));
    }
}

/// A convolution with a summand and an activation, one of a slice of its channels, and one of the upsampled result.
fn conv(shape: Shape, c_out: usize) -> ProgramBuilder {
    let mut b = ProgramBuilder::new("conv");
    let x = b.input("x", shape, Rate::Frame);
    let y = b.conv3x3("conv", x, c_out);
    b.output("y", y);
    let a = b.input("a", Shape::new(1, 1, 1, c_out), Rate::Frame);
    let y = b.add(y, a);
    let y = b.activate(y, Activation::Relu);
    let z = b.conv3x3("next", y, c_out + 1);
    let part = b.slice(z, 1, c_out);
    let part = b.conv3x3("part", part, 3);
    let part = b.activate(part, Activation::Silu);
    b.output("part", part);
    let large = b.conv2d("large", y, 4, 3, 1, Padding::all(1), true, true);
    b.output("large", large);
    b
}

#[test]
fn images_of_any_size_match_the_definition() {
    for (n, h, w) in [(1, 1, 1), (3, 1, 2), (2, 2, 1), (1, 3, 3), (2, 4, 5), (1, 5, 4), (2, 9, 7), (1, 17, 40)] {
        check(conv(Shape::new(n, h, w, 6), 5));
    }
}

#[test]
fn any_number_of_channels_matches_the_definition() {
    for (c_in, c_out) in [(1, 1), (2, 3), (15, 17), (16, 16), (33, 31), (64, 64), (65, 130), (300, 7)] {
        check(conv(Shape::new(1, 5, 6, c_in), c_out));
    }
}

#[test]
fn sums_split_for_the_cache_match_the_definition() {
    let mut b = ProgramBuilder::new("conv");
    let x = b.input("x", Shape::new(1, 4, 3, 3301), Rate::Frame);
    let y = b.conv3x3("conv", x, 66);
    b.output("y", y);
    check(b);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn any_convolution_matches_the_definition(n in 1_usize..4, h in 1_usize..20, w in 1_usize..20, c_in in 1_usize..70, c_out in 1_usize..70) {
        check(conv(Shape::new(n, h, w, c_in), c_out));
    }
}

/// The root mean square of the error, relative to that of the values.
fn rms(expected: &[f64], found: &[f32]) -> f64 {
    let error = expected.iter().zip(found).map(|(a, &b)| (a - f64::from(b)).powi(2)).sum::<f64>();
    (error / expected.iter().map(|a| a * a).sum::<f64>()).sqrt()
}

fn one_layer(shape: Shape, c_out: usize) -> Arc<Program> {
    let mut b = ProgramBuilder::new("conv");
    let x = b.input("x", shape, Rate::Frame);
    let y = b.conv3x3("conv", x, c_out);
    b.output("y", y);
    Arc::new(b.finish().unwrap())
}

fn plain(isa: Isa) -> CpuExecutor {
    let options =
        CpuOptions { dtype: Dtype::of(isa), isa: Some(isa), pin: false, winograd: false, ..Default::default() };
    CpuExecutor::new(options).unwrap()
}

#[test]
fn its_error_is_at_most_twice_that_of_direct_convolution() {
    for c_in in [64, 320] {
        let program = one_layer(Shape::new(1, 16, 16, c_in), 64);
        let expected = &naive::run(&program, &[], &inputs(&program, Rate::Frame), 0.0)[0];
        for (isa, form) in forms().filter(|(_, form)| form.tiles == 48) {
            let plain = rms(expected, &compiled(&plain(isa), &program)[0]);
            let found = rms(expected, &compiled(&executor(isa, 1).always_winograd(form), &program)[0]);
            let most = if Dtype::of(isa) == Dtype::F32 { 2e-6 } else { 6e-3 };
            assert!(found < most && found < plain * 2.0, "{isa:?} {form:?} from {c_in}: {found:e}, plain {plain:e}");
        }
    }
}

#[test]
fn it_is_selected_where_it_is_faster_unless_disabled() {
    let (worth, not) = (one_layer(Shape::new(1, 16, 16, 64), 64), one_layer(Shape::new(1, 16, 16, 16), 64));
    for isa in Isa::ALL.into_iter().filter(|isa| isa.available()) {
        let form = WinogradForm { side: 2, tiles: 7, shared: false };
        let chosen = |program| bits(&compiled(&executor(isa, 1), program));
        if matches!(isa, Isa::AmxBf16 | Isa::AmxInt8) {
            // It is not used there.
            assert_eq!(chosen(&worth), bits(&compiled(&plain(isa), &worth)), "{isa:?}");
            continue;
        }
        assert_eq!(chosen(&worth), bits(&compiled(&executor(isa, 1).always_winograd(form), &worth)), "{isa:?}");
        assert_ne!(chosen(&worth), bits(&compiled(&plain(isa), &worth)), "{isa:?}");
        assert_eq!(chosen(&not), bits(&compiled(&plain(isa), &not)), "{isa:?}");
    }
}
