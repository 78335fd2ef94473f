//! Runs of which only what depends on changed pixels is computed have the bytes of whole runs.

use std::sync::Arc;

use super::naive::{GeneratedWeights, noise};
use super::{bits, executor};
use crate::exec::cpu::Isa;
use crate::exec::{Executor, Network, Region, RunArgs, Scratch, View, ViewMut};
use crate::net::bytes::{ByteScale, candidates};
use crate::net::{Activation, Padding, Program, ProgramBuilder, Rate, Shape, Weights};

/// Down and up again, like an autoencoder, with wide and narrow layers and a residual connection.
fn autoencoder(height: usize, width: usize, c: usize) -> Arc<Program> {
    let mut b = ProgramBuilder::new("autoencoder");
    let picture = b.input("picture", Shape::new(1, height, width, 3), Rate::Frame);
    let x = b.affine(picture, 0.5, 0.5);
    let x = b.conv3x3("in", x, c);
    let fine = b.activate(x, Activation::Relu);
    let x = b.conv2d("down", fine, c, 3, 2, Padding::all(1), false, false);
    let deep = b.conv3x3("a", x, c);
    let deep = b.activate(deep, Activation::Relu);
    let deep = b.conv3x3("b", deep, c);
    let x = b.add(deep, x);
    let wide = b.linear("wide", x, 2 * c, true);
    let narrow = b.slice(wide, c / 2, c);
    b.output("latent", narrow);
    let x = b.conv2d("up", narrow, c, 3, 1, Padding::all(1), true, true);
    let enlarged = b.upsample(narrow);
    let x = b.concat(x, enlarged);
    let x = b.conv2d("last", x, 5, 5, 1, Padding::all(2), false, true);
    b.output("picture", x);
    Arc::new(b.finish().unwrap())
}

/// Weights with all layers that can be quantized in int8, if `quantized`.
fn weights(program: &Program, quantized: bool) -> Weights {
    let scale = ByteScale::new(0.02, 128).unwrap();
    let scales = candidates(program).into_iter().map(|found| (program.weight(found.weight).name.clone(), scale));
    let weights = Weights::new(Arc::new(GeneratedWeights));
    if quantized { weights.with_byte_scales(scales.collect()) } else { weights }
}

/// Runs `network` on one picture; `changed` are the pixels that differ from the last one.
fn run(network: &dyn Network, scratch: &mut Scratch, picture: &[f32], changed: Option<&Region>) -> Vec<Vec<u32>> {
    let program = network.program();
    let constants = network.constants(&[]).unwrap();
    let lens = program.outputs().iter().map(|output| program.shape(output.value).len());
    let mut outputs: Vec<Vec<f32>> = lens.map(|len| vec![f32::NAN; len]).collect();
    {
        let mut views: Vec<ViewMut<'_>> = outputs.iter_mut().map(|output| ViewMut::Host(output)).collect();
        let inputs = [View::Host(picture)];
        network.run(RunArgs { changed, ..RunArgs::new(&constants, scratch, &inputs, &mut views) }).unwrap();
    }
    bits(&outputs)
}

/// Replaces the pixels of `region` by noise.
fn change(picture: &mut [f32], shape: Shape, region: &Region, seed: u64) {
    let mut values = noise(seed, region.pixels() * shape.c).into_iter();
    for y in region.y.clone() {
        for x in region.x.clone() {
            let at = (y * shape.w + x) * shape.c;
            picture[at..at + shape.c].iter_mut().for_each(|value| *value = values.next().unwrap());
        }
    }
}

#[test]
fn regions_of_any_place_and_size_have_the_bytes_of_whole_runs() {
    // Lines shorter and longer than a piece of work, of Winograd's algorithm and of direct sums.
    for ((height, width, c), quantized) in [((24, 40, 16), false), ((32, 232, 64), false), ((24, 232, 48), true)] {
        let program = autoencoder(height, width, c);
        let shape = program.shape(program.inputs()[0].value);
        for isa in Isa::ALL.into_iter().filter(|isa| isa.available()) {
            for threads in [1, 3] {
                let (executor, weights) = (executor(isa, threads), weights(&program, quantized));
                let whole = executor.compile(&program, &weights).unwrap();
                let partial = executor.compile_keeping(&program, &weights).unwrap().unwrap();
                let (mut scratch, mut kept) = (Scratch::new(), partial.kept_values().unwrap());
                let mut picture = noise(1, shape.len());
                // Without values of an earlier run, all are computed.
                let regions = [
                    Region { x: 3..4, y: 2..5 },
                    Region::default(),
                    Region { x: 3..4, y: 5..6 },
                    Region { x: 0..width, y: 9..10 },
                    Region { x: 7..width - 1, y: 1..height },
                    Region { x: width - 1..width, y: height - 1..height },
                    Region { x: 0..width, y: 0..height },
                ];
                for (seed, region) in (2..).zip(&regions) {
                    change(&mut picture, shape, region, seed);
                    let found = run(&*partial, &mut kept, &picture, Some(region));
                    let expected = run(&*whole, &mut scratch, &picture, None);
                    assert!(found == expected, "{isa:?}, {threads} threads, {region:?} of {width}x{height}");
                }
            }
        }
    }
}

#[test]
fn pixels_that_did_not_change_are_not_read_again() {
    let program = autoencoder(24, 40, 16);
    let shape = program.shape(program.inputs()[0].value);
    let weights = weights(&program, false);
    for isa in Isa::ALL.into_iter().filter(|isa| isa.available()) {
        let network = executor(isa, 2).compile_keeping(&program, &weights).unwrap().unwrap();
        let mut kept = network.kept_values().unwrap();
        let picture = noise(1, shape.len());
        let first = run(&*network, &mut kept, &picture, None);
        let other = noise(2, shape.len());
        assert!(run(&*network, &mut kept, &other, Some(&Region::default())) == first, "{isa:?}");
        let corner = run(&*network, &mut kept, &other, Some(&Region { x: 0..1, y: 0..1 }));
        let equal = corner[0].iter().zip(&first[0]).filter(|(a, b)| a == b).count();
        assert!(corner != first && 2 * equal > first[0].len(), "{isa:?}: {equal} of {}", first[0].len());
    }
}

#[test]
fn values_of_another_network_are_not_used() {
    let [program, other] = [autoencoder(24, 40, 16), autoencoder(24, 40, 16)];
    let shape = program.shape(program.inputs()[0].value);
    let weights = weights(&program, false);
    let executor = executor(Isa::Portable, 1);
    let compile = |program| executor.compile_keeping(program, &weights).unwrap().unwrap();
    let (network, other) = (compile(&program), compile(&other));
    let mut kept = network.kept_values().unwrap();
    let [picture, second] = [1, 2].map(|seed| noise(seed, shape.len()));
    let expected = run(&*network, &mut kept, &second, None);
    run(&*other, &mut kept, &picture, None);
    assert!(run(&*network, &mut kept, &second, Some(&Region::default())) == expected);
}

#[test]
fn programs_with_a_value_of_all_pixels_are_not_compiled_for_parts() {
    let mut b = ProgramBuilder::new("norm");
    let x = b.input("x", Shape::new(1, 8, 8, 16), Rate::Frame);
    let x = b.group_norm("norm", x, 4, 1e-5);
    b.output("x", x);
    let program = Arc::new(b.finish().unwrap());
    let weights = Weights::new(Arc::new(GeneratedWeights));
    assert!(executor(Isa::Portable, 1).compile_keeping(&program, &weights).unwrap().is_none());
}
