//! Cached attention, compared with attention over concatenated keys and values.

use std::sync::Arc;

use super::super::{Isa, best};
use super::naive::{GeneratedWeights, noise};
use super::{bits, dirty_scratch, error, executor};
use crate::error::{ErrorKind, Result};
use crate::exec::reference::ReferenceExecutor;
use crate::exec::{Dtype, Executor, FrameKeys, Injection, Network, Past, RunArgs, Scratch};
use crate::net::{Program, ProgramBuilder, Rate, Shape, Weights};

/// Two layers with cached attention, the second on the output of the first; `width` channels per head.
fn program(shape: Shape, heads: usize) -> Arc<Program> {
    let mut builder = ProgramBuilder::new("past");
    let b = &mut builder;
    let mut x = b.input("x", shape, Rate::Frame);
    for layer in ["one", "two"] {
        x = b.scope(layer, |b| {
            let [q, k, v] = ["q", "k", "v"].map(|name| b.linear(name, x, shape.c, false));
            b.cached_attention([q, k, v], heads)
        });
    }
    b.output("y", x);
    Arc::new(builder.finish().unwrap())
}

/// As `program`, with feature injection after both layers, and token merging; with many tokens the first layer alone, since
/// in the second one, several are so similar that rounding would choose the most similar one.
fn whole_program(shape: Shape, heads: usize) -> Arc<Program> {
    let mut builder = ProgramBuilder::new("past");
    let b = &mut builder;
    b.merge_tokens();
    let mut x = b.input("x", shape, Rate::Frame);
    for &layer in if shape.pixels() > 256 { &["one"][..] } else { &["one", "two"] } {
        x = b.scope(layer, |b| {
            let [q, k, v] = ["q", "k", "v"].map(|name| b.linear(name, x, shape.c, false));
            let mixed = b.cached_attention([q, k, v], heads);
            let mixed = b.linear("out", mixed, shape.c, true);
            // Means of many tokens are all alike: rounding would choose the most similar one.
            let distinct = b.add(mixed, x);
            b.inject(distinct)
        });
    }
    b.output("y", x);
    Arc::new(builder.finish().unwrap())
}

fn compile(executor: &dyn Executor, program: &Arc<Program>) -> Arc<dyn Network> {
    executor.compile(program, &Weights::new(Arc::new(GeneratedWeights))).unwrap()
}

fn keys(network: &dyn Network, count: usize) -> Vec<FrameKeys> {
    (0..count).map(|_| network.frame_keys().unwrap()).collect()
}

/// Runs frame `number` over uncleared scratch memory.
fn frame(network: &dyn Network, number: u64, past: &mut Past<'_>) -> Result<Vec<f32>> {
    let shape = network.program().shape(network.program().inputs()[0].value);
    let constants = network.constants(&[]).unwrap();
    let (input, mut output) = (noise(number, shape.len()), vec![f32::NAN; shape.len()]);
    let (inputs, outputs) = ([(&input).into()], &mut [(&mut output).into()]);
    let mut scratch = dirty_scratch(network);
    let args = RunArgs::new(&constants, &mut scratch, &inputs, outputs);
    network.run(RunArgs { past: Some(past.reborrow()), ..args })?;
    Ok(output)
}

/// Six frames with a ring of `slots` slots.
fn run_frames(network: &dyn Network, slots: usize) -> Vec<Vec<f32>> {
    let mut frames = keys(network, slots);
    let run = |number: usize| {
        let mut past =
            Past { frames: &mut frames, filled: number.min(slots), keep: Some(number % slots), ..Past::default() };
        frame(network, number as u64, &mut past).unwrap()
    };
    (0..6).map(run).collect()
}

#[test]
fn each_row_attends_to_its_cached_keys() {
    for (rows, tokens, heads, width) in [(1, 5, 1, 8), (3, 20, 2, 12), (2, 300, 1, 40)] {
        let program = program(Shape::new(rows, tokens, 1, heads * width), heads);
        let expected = |slots| run_frames(&*compile(&ReferenceExecutor, &program), slots);
        let expected = [1, 3].map(expected);
        for isa in Isa::ALL.into_iter().filter(|isa| isa.available()) {
            let bound = if Dtype::of(isa) == Dtype::F32 { 1e-5 } else { 5e-2 };
            for (slots, expected) in [1, 3].into_iter().zip(&expected) {
                let got = run_frames(&*compile(&executor(isa, 1), &program), slots);
                for (number, (got, expected)) in got.iter().zip(expected).enumerate() {
                    let expected: Vec<f64> = expected.iter().map(|&x| f64::from(x)).collect();
                    let error = error(&expected, got.iter().map(|&x| f64::from(x)));
                    assert!(error < bound, "{isa:?} frame {number} of {slots}, {tokens} tokens: {error:e}");
                }
                assert_eq!(
                    bits(&got),
                    bits(&run_frames(&*compile(&executor(isa, 2), &program), slots)),
                    "{isa:?} threads"
                );
            }
        }
    }
}

#[test]
fn filled_cache_slots_are_used_and_empty_ones_are_not() {
    let program = program(Shape::new(2, 9, 1, 8), 2);
    let executors = Isa::ALL.into_iter().filter(|isa| isa.available()).map(|isa| Box::new(executor(isa, 2)) as _);
    for executor in executors.chain([Box::new(ReferenceExecutor) as Box<dyn Executor>]) {
        let network = compile(&*executor, &program);
        let mut frames = keys(&*network, 2);
        let mut run = |number, filled, keep| {
            frame(&*network, number, &mut Past { frames: &mut frames, filled, keep, ..Past::default() }).unwrap()
        };
        let plain = run(1, 0, None);
        assert_eq!(plain, run(1, 0, Some(0)));
        let with_itself = run(1, 1, Some(1));
        // Duplicated keys have the same effect as single ones.
        let apart = plain.iter().zip(&with_itself).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(apart < 2e-2, "{apart}");
        let other = run(2, 0, None);
        assert_ne!(other, run(2, 1, None));
        assert_eq!(other, run(2, 0, None));
        let constants = network.constants(&[]).unwrap();
        let mut output = vec![0.0; other.len()];
        let input = noise(2, other.len());
        network.run_on_host(&constants, &mut Scratch::new(), &[&input], &mut [&mut output]).unwrap();
        assert_eq!(other, output);
    }
}

#[test]
fn invalid_cached_frames_are_rejected() {
    let program = program(Shape::new(1, 4, 1, 8), 1);
    let executors: [Box<dyn Executor>; 2] =
        [Box::new(executor(best(Dtype::F32).unwrap(), 1)), Box::new(ReferenceExecutor)];
    for executor in executors {
        let [network, other] = [0, 1].map(|_| compile(&*executor, &program));
        assert!(network.frame_keys_bytes() >= 2 * 2 * 4 * 8 * size_of::<f32>());
        for (count, filled, keep, part) in [
            (5, 0, None, "earlier frames: got 5, expected at most 4"),
            (2, 3, None, "filled earlier frames: got 3, expected at most 2"),
            (2, 0, Some(2), "earlier frame to overwrite: got 2, expected less than 2"),
        ] {
            let mut frames = keys(&*network, count);
            let refused =
                frame(&*network, 1, &mut Past { frames: &mut frames, filled, keep, ..Past::default() }).unwrap_err();
            assert!(refused.kind() == ErrorKind::InvalidArgument && refused.to_string().contains(part), "{refused}");
        }
        let mut frames = keys(&*other, 1);
        let refused = frame(&*network, 1, &mut Past { frames: &mut frames, filled: 0, keep: None, ..Past::default() })
            .unwrap_err();
        assert!(refused.to_string().contains("belong to another network"), "{refused}");
    }
}

/// A permutation of the numbers below twice `tokens`, another one for each `number`.
fn order(number: usize, tokens: usize) -> Vec<u32> {
    let mut all: Vec<u32> = (0..2 * tokens as u32).collect();
    all.sort_by_key(|&token| (token as usize + 1).wrapping_mul(0x9e37_79b9 * (2 * number + 1)) % 1_000_003);
    all
}

/// Six frames, successive ones alike, with injection; merged into one if `merges`, otherwise with a ring of two.
fn run_injected(network: &dyn Network, injection: Injection, merges: bool) -> Vec<Vec<f32>> {
    let shape = network.program().shape(network.program().inputs()[0].value);
    let slots = if merges { 1 } else { 2 };
    let mut frames = keys(network, slots);
    let constants = network.constants(&[]).unwrap();
    let mut scratch = dirty_scratch(network);
    let still = noise(100, shape.len());
    let run = |number: usize| {
        let order = order(number, shape.pixels());
        let drift = noise(number as u64, shape.len());
        let input: Vec<f32> = still.iter().zip(drift).map(|(still, drift)| still + 0.1 * drift).collect();
        let mut output = vec![f32::NAN; shape.len()];
        let (inputs, outputs) = ([(&input).into()], &mut [(&mut output).into()]);
        let (filled, keep) = (number.min(slots), Some(number % slots));
        let past = Past { frames: &mut frames, filled, keep, injection, order: merges.then_some(&order) };
        let args = RunArgs::new(&constants, &mut scratch, &inputs, outputs);
        network.run(RunArgs { past: Some(past), ..args }).unwrap();
        output
    };
    (0..6).map(run).collect()
}

fn doubles(numbers: &[f32]) -> Vec<f64> {
    numbers.iter().map(|&x| f64::from(x)).collect()
}

#[test]
fn injection_and_merging_are_those_of_the_reference() {
    for (rows, tokens, heads, width) in [(1, 5, 1, 8), (3, 20, 2, 12), (2, 300, 1, 40)] {
        let program = whole_program(Shape::new(rows, tokens, 1, heads * width), heads);
        let reference = compile(&ReferenceExecutor, &program);
        // With a strength of 1, several tokens may become equal, among which rounding would choose.
        for (strength, threshold) in [(0.8, 0.98), (0.5, 0.0), (0.3, 0.9)] {
            let injection = Injection { strength, threshold };
            let expected = [false, true].map(|merges| run_injected(&*reference, injection, merges));
            for isa in Isa::ALL.into_iter().filter(|isa| isa.available() && Dtype::of(*isa) == Dtype::F32) {
                let networks = [1, 2].map(|threads| compile(&executor(isa, threads), &program));
                for (merges, expected) in [false, true].into_iter().zip(&expected) {
                    let [got, threaded] =
                        networks.each_ref().map(|network| run_injected(&**network, injection, merges));
                    for (number, (got, expected)) in got.iter().zip(expected).enumerate() {
                        let error = error(&doubles(expected), doubles(got).into_iter());
                        assert!(error < 1e-5, "{isa:?} {injection:?} {merges} frame {number}, {tokens}: {error:e}");
                    }
                    assert_eq!(bits(&got), bits(&threaded), "{isa:?} threads");
                }
            }
        }
    }
}

#[test]
fn narrow_formats_inject_and_merge_as_the_reference_does_but_for_rounding() {
    // With a threshold of 0 every token has a match; among similar ones, rounding chooses.
    let injection = Injection { strength: 0.5, threshold: 0.0 };
    let program = whole_program(Shape::new(2, 40, 1, 32), 2);
    let reference = compile(&ReferenceExecutor, &program);
    for isa in Isa::ALL.into_iter().filter(|isa| isa.available() && Dtype::of(*isa) != Dtype::F32) {
        for merges in [false, true] {
            let expected = run_injected(&*reference, injection, merges);
            let networks = [1, 2].map(|threads| compile(&executor(isa, threads), &program));
            let [got, threaded] = networks.each_ref().map(|network| run_injected(&**network, injection, merges));
            for (number, (got, expected)) in got.iter().zip(&expected).enumerate() {
                let error = error(&doubles(expected), doubles(got).into_iter());
                assert!(error < 0.1, "{isa:?} {merges} frame {number}: {error:e}");
            }
            assert_eq!(bits(&got), bits(&threaded), "{isa:?} threads");
        }
    }
}

#[test]
fn without_strength_or_above_every_similarity_nothing_is_injected() {
    let program = whole_program(Shape::new(2, 30, 1, 16), 2);
    let executors = Isa::ALL.into_iter().filter(|isa| isa.available()).map(|isa| Box::new(executor(isa, 2)) as _);
    for executor in executors.chain([Box::new(ReferenceExecutor) as Box<dyn Executor>]) {
        let network = compile(&*executor, &program);
        for merges in [false, true] {
            let run = |strength, threshold| bits(&run_injected(&*network, Injection { strength, threshold }, merges));
            let plain = run(0.0, 0.98);
            assert_eq!(plain, run(0.8, 1.5));
            assert_eq!(plain, run(0.0, 0.0));
            assert_ne!(plain, run(0.8, 0.0));
        }
    }
}

#[test]
fn a_frame_that_is_its_own_past_is_unchanged_but_for_rounding() {
    let mut builder = ProgramBuilder::new("past");
    let x = builder.input("x", Shape::new(2, 9, 1, 16), Rate::Frame);
    let mixed = builder.cached_attention([x, x, x], 2);
    let out = builder.inject(mixed);
    builder.output("y", out);
    let program = Arc::new(builder.finish().unwrap());
    for isa in Isa::ALL.into_iter().filter(|isa| isa.available()) {
        let network = compile(&executor(isa, 2), &program);
        let mut frames = keys(&*network, 1);
        let mut run = |filled, strength| {
            let injection = Injection { strength, threshold: 0.9 };
            let mut past = Past { frames: &mut frames, filled, keep: Some(0), injection, order: None };
            frame(&*network, 3, &mut past).unwrap()
        };
        // Its keys twice have the effect of once.
        let (first, second) = (run(0, 1.0), run(1, 1.0));
        let apart = first.iter().zip(&second).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(apart < if Dtype::of(isa) == Dtype::F32 { 1e-5 } else { 5e-2 }, "{isa:?} {apart}");
    }
}

#[test]
fn invalid_orders_of_tokens_are_rejected() {
    let shape = Shape::new(1, 4, 1, 8);
    let (merging, plain) = (whole_program(shape, 1), program(shape, 1));
    let executors: [Box<dyn Executor>; 2] =
        [Box::new(executor(best(Dtype::F32).unwrap(), 1)), Box::new(ReferenceExecutor)];
    for executor in executors {
        for (program, len, part) in [
            (&merging, 7, "order of merged tokens: got 7 numbers, expected 8"),
            (&plain, 8, "expected none for a program that merges no tokens"),
        ] {
            let network = compile(&*executor, program);
            let (mut frames, order) = (keys(&*network, 1), vec![0; len]);
            let mut past =
                Past { frames: &mut frames, filled: 1, keep: Some(0), order: Some(&order), ..Past::default() };
            let refused = frame(&*network, 1, &mut past).unwrap_err();
            assert!(refused.kind() == ErrorKind::InvalidArgument && refused.to_string().contains(part), "{refused}");
        }
        // What is no permutation merges tokens more than once, or not at all.
        let network = compile(&*executor, &merging);
        let (mut frames, order) = (keys(&*network, 1), [u32::MAX; 8]);
        for number in 0..3 {
            let past = Past { frames: &mut frames, filled: 1, keep: Some(0), order: Some(&order), ..Past::default() };
            let mut past = if number == 0 { Past { filled: 0, order: None, ..past } } else { past };
            assert!(frame(&*network, number, &mut past).unwrap().iter().all(|x| x.is_finite()));
        }
    }
}
