//! int8 layers, compared with the definitions on inputs and weights that are quantized beforehand: the remaining
//! difference is the rounding of the result.

use std::sync::Arc;

use dreamframe_kernels::{Isa, plain_bytes};

use super::naive::{self, GeneratedWeights};
use super::{bits, executor, frame, inputs, run};
use crate::error::Result;
use crate::exec::Dtype;
use crate::exec::cpu::pool::Pool;
use crate::exec::cpu::step::CpuLayout;
use crate::exec::cpu::winograd_policy::WinogradPolicy;
use crate::exec::cpu::{CpuExecutor, Executor};
use crate::net::bytes::{ByteScale, ByteScales, weight_bytes};
use crate::net::plan::Plan;
use crate::net::steps::StepKind;
use crate::net::{Activation, Padding, ProgramBuilder, Rate, Shape, ValueId, WeightSource, Weights};

/// Weights that are exactly representable as bytes; biases are unchanged.
struct Rounded;

impl WeightSource for Rounded {
    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        GeneratedWeights.shape(name)
    }

    fn read(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let mut elements = GeneratedWeights.read(name, shape)?;
        if shape.len() > 1 {
            for row in elements.chunks_exact_mut(shape[1..].iter().product()) {
                let mut bytes = vec![0; row.len()];
                let scale = weight_bytes(row, &mut bytes);
                row.iter_mut().zip(bytes).for_each(|(x, byte)| *x = scale * f32::from(byte));
            }
        }
        Ok(elements)
    }
}

/// The int8 executors of this machine, with the relative error of their results.
fn executors(threads: usize) -> Vec<(CpuExecutor, f64)> {
    let pool = Arc::new(Pool::new(threads, false).unwrap());
    let mut found =
        vec![(CpuExecutor { kernels: &plain_bytes::KERNELS, winograd: WinogradPolicy::Measured, pool }, 1e-6)];
    for isa in Isa::ALL.into_iter().filter(|&isa| isa.available() && Dtype::of(isa) == Dtype::Int8) {
        let executor = executor(isa, threads);
        // For bf16, half of its last bit.
        let bound = if executor.kernels.stores_f32() { 1e-6 } else { 1.01 / 256.0 };
        found.push((executor, bound));
    }
    found
}

/// Checks one operation on one input, whose layer is called `layer`.
fn check(shape: Shape, scale: ByteScale, op: impl FnOnce(&mut ProgramBuilder, ValueId) -> ValueId) {
    let mut builder = ProgramBuilder::new("one");
    let x = frame(&mut builder, shape);
    let y = op(&mut builder, x);
    builder.output("y", y);
    let program = Arc::new(builder.finish().unwrap());
    let given = inputs(&program, Rate::Frame);
    for (i, (executor, bound)) in executors(1).into_iter().enumerate() {
        // With bf16 storage, values are rounded to bf16 before they are quantized.
        let exact = executor.kernels.stores_f32();
        let stored = |x: f32| if exact { x } else { half::bf16::from_f32(x).to_f32() };
        let rounded: Vec<f32> = given[0].iter().map(|&x| scale.number(scale.byte(stored(x)))).collect();
        let expected = naive::run_with(&program, &Rounded, &[], &[rounded], 0.0);
        let found = run(&*executor.compile(&program, &weights(scale)).unwrap());
        let error = super::error(&expected[0], found[0].iter().map(|&x| f64::from(x)));
        assert!(error < bound, "{:?}: {error:e} of {bound:e}\n{:#?}", executor.isa(), program.ops());
        let two = run(&*executors(2).swap_remove(i).0.compile(&program, &weights(scale)).unwrap());
        assert_eq!(bits(&found), bits(&two), "{:?} with two threads", executor.isa());
    }
}

fn weights(scale: ByteScale) -> Weights {
    Weights::new(Arc::new(GeneratedWeights))
        .with_byte_scales(ByteScales::from_iter([("layer.weight".to_owned(), scale)]))
}

/// For inputs from -2 to 2, and for a range that clips some of them.
fn scales() -> [ByteScale; 3] {
    [(4.0 / 255.0, 128), (4.0 / 255.0, 100), (0.02, 0)].map(|(scale, zero)| ByteScale::new(scale, zero).unwrap())
}

#[test]
fn int8_convolutions_match_the_definition() {
    for (n, h, w, c_in, c_out) in [
        (1, 5, 7, 4, 5),
        (2, 9, 4, 20, 33),
        (1, 8, 8, 64, 64),
        (3, 1, 1, 8, 70),
        (1, 13, 11, 32, 130),
        (2, 2, 67, 12, 1),
    ] {
        for (kernel, stride, padding) in [
            (3, 1, Padding::all(1)),
            (1, 1, Padding::all(0)),
            (3, 2, Padding::all(1)),
            (3, 2, Padding { top: 0, left: 0, bottom: 1, right: 1 }),
            (2, 1, Padding { top: 3, left: 1, bottom: 0, right: 2 }),
            (1, 2, Padding::all(1)),
        ] {
            if kernel > h + padding.top + padding.bottom || kernel > w + padding.left + padding.right {
                continue;
            }
            for scale in scales() {
                check(Shape::new(n, h, w, c_in), scale, |b, x| {
                    b.conv2d("layer", x, c_out, kernel, stride, padding, false, c_out % 2 == 0)
                });
            }
        }
    }
}

#[test]
fn int8_upsampling_convolutions_are_close_to_the_definition() {
    // Four kernels of sums of weights, each rounded separately: close to the definition, not equal.
    for (h, w, c_in, c_out) in [(1, 1, 4, 9), (3, 100, 8, 33), (7, 13, 640, 64), (5, 96, 16, 3)] {
        let mut builder = ProgramBuilder::new("one");
        let x = frame(&mut builder, Shape::new(2, h, w, c_in));
        let y = builder.conv2d("layer", x, c_out, 3, 1, Padding::all(1), true, true);
        builder.output("y", y);
        let program = Arc::new(builder.finish().unwrap());
        let scale = scales()[1];
        let given = inputs(&program, Rate::Frame);
        let rounded = given[0].iter().map(|&x| scale.number(scale.byte(x))).collect();
        let expected = naive::run(&program, &[], &[rounded], 0.0);
        for (executor, _) in executors(2) {
            let found = run(&*executor.compile(&program, &weights(scale)).unwrap());
            let error = super::error(&expected[0], found[0].iter().map(|&x| f64::from(x)));
            assert!(error < 0.02, "{:?} {h}x{w} {c_in}->{c_out}: {error}", executor.isa());
        }
    }
    // Upsampled by another kernel, no weights are summed beforehand.
    for kernel in [1, 2] {
        check(Shape::new(2, 5, 7, 12), scales()[1], |b, x| {
            b.conv2d("layer", x, 20, kernel, 1, Padding::all(0), true, true)
        });
    }
}

#[test]
fn int8_linear_layers_of_any_width_match_the_definition() {
    for c in [4, 8, 16, 28, 48, 64, 72, 132] {
        check(Shape::tokens(2, 13, c), scales()[1], |b, x| b.linear("layer", x, 37, true));
        check(Shape::tokens(2, 13, 36), scales()[1], |b, x| b.linear("layer", x, c, false));
    }
    check(Shape::vector(3, 64), scales()[0], |b, x| b.linear("layer", x, 24, true));
}

#[test]
fn int8_sums_split_for_the_cache_match_the_definition() {
    check(Shape::new(1, 3, 3, 1400), scales()[1], |b, x| b.conv3x3("layer", x, 66));
    check(Shape::tokens(1, 100, 8004), scales()[1], |b, x| b.linear("layer", x, 130, true));
}

#[test]
fn elementwise_operations_fused_to_int8_layers_match_the_definition() {
    check(Shape::new(2, 6, 5, 40), scales()[0], |b, x| {
        let y = b.conv3x3("layer", x, 40);
        b.activate(y, Activation::Silu)
    });
    check(Shape::tokens(2, 11, 12), scales()[0], |b, x| {
        let y = b.linear("layer", x, 66, true);
        b.geglu(y)
    });
}

#[test]
fn the_largest_sums_do_not_overflow() {
    // All weights and inputs at the ends of their ranges.
    struct Ones;
    impl WeightSource for Ones {
        fn shape(&self, _: &str) -> Option<Vec<usize>> {
            None
        }

        fn read(&self, _: &str, shape: &[usize]) -> Result<Vec<f32>> {
            Ok(vec![-1.0; shape.iter().product()])
        }
    }
    let channels = 66_304;
    let mut builder = ProgramBuilder::new("long");
    let x = frame(&mut builder, Shape::vector(1, channels));
    let y = builder.linear("layer", x, 1, false);
    builder.output("y", y);
    let program = Arc::new(builder.finish().unwrap());
    let scale = ByteScale::new(1.0, 0).unwrap();
    let scales = ByteScales::from_iter([("layer.weight".to_owned(), scale)]);
    for (executor, bound) in executors(1) {
        let weights = Weights::new(Arc::new(Ones)).with_byte_scales(scales.clone());
        let network = executor.compile(&program, &weights).unwrap();
        let (input, mut out) = (vec![255.0; channels], [0.0]);
        let constants = network.constants(&[]).unwrap();
        let mut scratch = crate::exec::Scratch::new();
        network.run_on_host(&constants, &mut scratch, &[&input], &mut [&mut out]).unwrap();
        let expected = -255.0 * channels as f64;
        assert!((f64::from(out[0]) / expected - 1.0).abs() < bound.max(2e-6) * 2.0, "{}", out[0]);
    }
}

#[test]
fn the_error_of_an_int8_layer_is_within_its_rounding() {
    let (shape, c_out) = (Shape::new(1, 9, 7, 48), 40);
    let mut builder = ProgramBuilder::new("one");
    let x = frame(&mut builder, shape);
    let y = builder.conv3x3("layer", x, c_out);
    builder.output("y", y);
    let program = Arc::new(builder.finish().unwrap());
    let scale = ByteScale::new(4.0 / 255.0, 128).unwrap();
    let given = inputs(&program, Rate::Frame);
    let expected = naive::run(&program, &[], &given, 0.0);
    let weight = GeneratedWeights.read("layer.weight", &[c_out, 48, 3, 3]).unwrap();
    for (executor, rounding) in executors(2) {
        let found = run(&*executor.compile(&program, &weights(scale)).unwrap());
        let plain = run(&*executor.compile(&program, &Weights::new(Arc::new(GeneratedWeights))).unwrap());
        assert_ne!(bits(&found), bits(&plain), "without scales, nothing is in bytes");
        let size = expected[0].iter().fold(0.0_f64, |size, x| size.max(x.abs()));
        for (i, (expected, found)) in expected[0].iter().zip(&found[0]).enumerate() {
            let row = &weight[i % c_out * 432..][..432];
            let largest = row.iter().fold(0.0_f64, |largest, &w| largest.max(f64::from(w.abs())));
            let whole = row.iter().map(|&w| f64::from(w.abs())).sum::<f64>();
            // Half a step of each input (and its bf16), times its weight; half a step of each weight, times its input.
            let input_step = f64::from(scale.scale()) * 0.51 + 2.0 / 512.0;
            let bound = whole * input_step + 432.0 * 2.02 * (largest / 127.0 * 0.51) + rounding * size;
            let error = (expected - f64::from(*found)).abs();
            assert!(error < bound, "{i}: {error} of {bound}");
        }
    }
}

#[test]
fn layers_with_equal_quantization_share_the_quantized_input() {
    for (second, shared) in [(scales()[0], true), (scales()[1], false)] {
        let mut builder = ProgramBuilder::new("shared");
        let x = frame(&mut builder, Shape::tokens(1, 9, 32));
        let x = builder.silu(x);
        let names = ["layer", "other"];
        let [q, k] = names.map(|name| builder.linear(name, x, 32, false));
        let y = builder.add(q, k);
        builder.output("y", y);
        let program = Arc::new(builder.finish().unwrap());
        let scales = [("layer.weight".to_owned(), scales()[0]), ("other.weight".to_owned(), second)];
        let weights = Weights::new(Arc::new(GeneratedWeights)).with_byte_scales(ByteScales::from_iter(scales));
        let (kernels, winograd) = (&plain_bytes::KERNELS, WinogradPolicy::Never);
        let plan = Plan::new(&program, &CpuLayout { kernels, winograd, program: &program, weights: Some(&weights) });
        let steps = plan.frame.iter().filter(|planned| matches!(planned.step.kind, StepKind::ToBytes { .. }));
        assert_eq!(steps.count(), if shared { 1 } else { 2 });
        for (executor, _) in executors(1) {
            run(&*executor.compile(&program, &weights).unwrap());
        }
    }
}
