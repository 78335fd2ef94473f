//! Low-rank branches: what they add to a network, compared with merged weights and with the definitions.

use std::sync::Arc;

use proptest::prelude::*;

use super::naive::{self, GeneratedWeights, noise};
use super::{check_program, executor, inputs, run};
use crate::exec::Dtype;
use crate::exec::Executor;
use crate::exec::cpu::best;
use crate::net::bytes::{ByteScale, ByteScales};
use crate::net::{Branches, LowRank, OpKind, Program, ProgramBuilder, Rate, Shape, Weights};

use super::random::seeded_program;

/// A LoRA: the names of the weights that it changes, and the changes.
type Changes = Vec<(String, Arc<LowRank>)>;

/// Returns two LoRAs, each for some of the layers of `program`, with ranks up to 5.
pub(in crate::exec) fn two_loras(program: &Program, seed: u64) -> [Changes; 2] {
    [seed, seed.wrapping_add(1)].map(|seed| {
        let mut changes = Changes::new();
        for (op, i) in program.ops().iter().zip(seed..) {
            let (OpKind::Conv2d { weight, .. } | OpKind::Linear { weight, .. }) = op.kind else { continue };
            let spec = program.weight(weight);
            let (rows, columns) = (spec.shape[0], spec.shape[1..].iter().product::<usize>());
            let rank = (i % 6) as usize;
            // None for every sixth operation, and for another one of each LoRA.
            let factor = |len: usize, seed| noise(seed, len).into_iter().map(|x| x * 0.3).collect::<Vec<_>>();
            let (up, down) = (factor(rows * rank, i), factor(columns * rank, i + 7));
            let change = LowRank::new(spec.shape.clone(), rank, up, down, 0.75);
            changes.extend(change.map(|change| (spec.name.clone(), Arc::new(change))));
        }
        changes
    })
}

/// Returns the branches of [`two_loras`].
pub(in crate::exec) fn branches(program: &Program, seed: u64) -> Branches {
    Branches::new(two_loras(program, seed))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn branches_of_a_random_program_are_equivalent_to_merged_weights(
        seed in 1_u64..1 << 60, len in 1_usize..12, scales in [-1.5_f32..1.5, -1.5_f32..1.5]
    ) {
        let program = seeded_program(seed, len).finish().unwrap();
        let loras = two_loras(&program, seed);
        let base = Arc::new(Weights::new(Arc::new(GeneratedWeights)));
        let changes = loras.iter().zip(scales).flat_map(|(lora, scale)| {
            lora.iter().map(move |(name, change)| (name.clone(), scale, change.clone()))
        });
        let merged = Weights::merged(&base, changes);
        let (constant, frame) = (inputs(&program, Rate::Constant), inputs(&program, Rate::Frame));
        let expected = naive::run_with(&program, merged.source(), &constant, &frame, 0.0);

        let branches = Branches::new(loras);
        let live = branches.weights(&base);
        let with_branches = branches.add_to(program).unwrap();
        let constant = [constant, branches.inputs(&scales)].concat();
        let found = naive::run_with(&with_branches, live.source(), &constant, &frame, 0.0);
        let disturbed = naive::run_with(&with_branches, live.source(), &constant, &frame, super::ROUNDING);
        for ((expected, found), disturbed) in expected.iter().zip(&found).zip(&disturbed) {
            let bound = 1e-5 + 4.0 * super::error(found, disturbed.iter().copied());
            let error = super::error(expected, found.iter().copied());
            prop_assert!(error < bound, "{error:e} of {bound:e}\n{:#?}", with_branches.ops());
        }
    }

    #[test]
    fn a_random_program_with_branches_matches_the_definitions(seed in 1_u64..1 << 60, len in 1_usize..12) {
        let program = seeded_program(seed, len).finish().unwrap();
        check_program(branches(&program, seed).add_to(program).unwrap());
    }
}

#[test]
fn a_layer_with_a_branch_stays_in_int8_unlike_one_that_is_merged() {
    let mut b = ProgramBuilder::new("layer");
    let x = b.input("x", Shape::tokens(2, 9, 64), Rate::Frame);
    let y = b.linear("layer", x, 48, true);
    b.output("y", y);
    let program = b.finish().unwrap();
    let scale = ByteScale::new(4.0 / 255.0, 128).unwrap();
    let scales = ByteScales::from_iter([("layer.weight".to_owned(), scale)]);
    let base = Arc::new(Weights::new(Arc::new(GeneratedWeights)).with_byte_scales(scales));
    let change = LowRank::new(vec![48, 64], 4, noise(1, 48 * 4), noise(2, 4 * 64), 0.1).unwrap();
    let lora = vec![("layer.weight".to_owned(), Arc::new(change))];
    let merged = Weights::merged(&base, lora.iter().map(|(name, change)| (name.clone(), 1.0, change.clone())));
    assert!(merged.byte_scales().is_empty());
    let branches = Branches::new([lora]);
    let live = branches.weights(&base);
    assert_eq!(live.byte_scales(), base.byte_scales());

    let Some(isa) = best(Dtype::Int8) else { return };
    let executor = executor(isa, 1);
    let program = Arc::new(program);
    let with_branches = Arc::new(branches.add_to((*program).clone()).unwrap());
    let frame = inputs(&program, Rate::Frame);
    let [plain, changed] = [0.0, 1.0].map(|scale| {
        let network = executor.compile(&with_branches, &live).unwrap();
        let constants = network.constants(&[&branches.inputs(&[scale])[0]]).unwrap();
        let mut out = vec![f32::NAN; 2 * 9 * 48];
        network.run_on_host(&constants, &mut Default::default(), &[&frame[0]], &mut [&mut out]).unwrap();
        out
    });
    // At scale zero, the layer's own result in int8 to the bit.
    assert_eq!(plain, run(&*executor.compile(&program, &base).unwrap())[0]);
    let expected = naive::run_with(&program, merged.source(), &[], &frame, 0.0);
    let error = super::error(&expected[0], changed.iter().map(|&x| f64::from(x)));
    assert!(error < 0.03 && changed != plain, "{error:e}");
}

#[test]
fn packed_forms_of_layers_are_shared_with_the_base() {
    let mut b = ProgramBuilder::new("layer");
    let x = b.input("x", Shape::tokens(1, 9, 64), Rate::Frame);
    let y = b.linear("layer", x, 48, true);
    b.output("y", y);
    let program = b.finish().unwrap();
    let base = Arc::new(Weights::new(Arc::new(GeneratedWeights)));
    let live = branches(&program, 1).weights(&base);
    let form = |weights: &Weights, name: &str| {
        let make = || Ok(weights.source().read(name, &[48, 64])?.len());
        weights.packed(&[name], "test", make).unwrap()
    };
    assert!(Arc::ptr_eq(&form(&base, "layer.weight"), &form(&live, "layer.weight")));
}
