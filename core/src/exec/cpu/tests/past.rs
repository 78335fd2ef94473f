//! Cached attention, compared with attention over concatenated keys and values.

use std::sync::Arc;

use super::super::{Isa, best};
use super::naive::{GeneratedWeights, noise};
use super::{bits, dirty_scratch, error, executor};
use crate::error::{ErrorKind, Result};
use crate::exec::reference::ReferenceExecutor;
use crate::exec::{Dtype, Executor, FrameKeys, Network, Past, RunArgs, Scratch};
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
        let mut past = Past { frames: &mut frames, filled: number.min(slots), keep: Some(number % slots) };
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
        let mut run =
            |number, filled, keep| frame(&*network, number, &mut Past { frames: &mut frames, filled, keep }).unwrap();
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
            let refused = frame(&*network, 1, &mut Past { frames: &mut frames, filled, keep }).unwrap_err();
            assert!(refused.kind() == ErrorKind::InvalidArgument && refused.to_string().contains(part), "{refused}");
        }
        let mut frames = keys(&*other, 1);
        let refused = frame(&*network, 1, &mut Past { frames: &mut frames, filled: 0, keep: None }).unwrap_err();
        assert!(refused.to_string().contains("belong to another network"), "{refused}");
    }
}
