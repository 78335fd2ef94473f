//! The cost of programs on the CPU: the steps of the plan with what they multiply, read and write.

use std::collections::HashSet;

use dreamframe_kernels::Kernels;

use super::CpuExecutor;
use super::product::Product;
use super::step::CpuLayout;
use super::winograd_policy::Form;
use crate::error::Result;
use crate::exec::cost::{CostKind, ProgramCost, StepCost};
use crate::net::plan::Plan;
use crate::net::steps::{Product as Geometry, Slot, Step, StepKind};
use crate::net::{Branches, Program, Weights};

/// Fewer keys than this are those of a text: the time for their blocks is not that of full ones.
const FEW_KEYS: usize = 128;
/// The time of an operation of a LoRA's branch over that of one of the layers, which have more channels, and of which many
/// run by Winograd's algorithm. Measured with ranks 16 and 64 (docs/performance.md, "Live LoRAs").
const BRANCH_TIME: f64 = 2.5;
/// The time of an operation in int8 over that of one in another format, measured likewise.
const INT8_TIME: f64 = 0.7;

impl CpuExecutor {
    /// Returns the cost of `program`, planned as [`compile`](crate::exec::Executor::compile) plans it, but from its shapes
    /// alone: no weight is read or allocated.
    pub fn cost(&self, program: &Program) -> ProgramCost {
        let plan = self.plan(program);
        let counter = self.counter(program, &plan);
        let stored = plan.arena_len.saturating_add(plan.constants_len);
        ProgramCost {
            steps: plan.frame.iter().map(|planned| counter.step(&planned.step)).collect(),
            weight_bytes: counter.weight_bytes(),
            value_bytes: (stored as u64).saturating_mul(self.kernels.size as u64),
        }
    }

    fn plan(&self, program: &Program) -> Plan {
        let layout = CpuLayout { kernels: self.kernels, winograd: self.winograd, program, weights: None };
        Plan::new(program, &layout)
    }

    fn counter<'a>(&'a self, program: &'a Program, plan: &'a Plan) -> Counter<'a> {
        Counter { executor: self, program, plan, kernels: self.kernels }
    }

    /// Returns how much longer a frame of `program` over `weights` takes with `branches` than with their changes merged,
    /// as a share: the ratio of both counts of products, minus 1. A merged change takes its layer out of int8.
    pub(super) fn added_by(&self, program: &Program, weights: &Weights, branches: &Branches) -> Result<f64> {
        let in_bytes = |name: &str| weights.byte_scales().get(name).is_some();
        let plan = self.plan(program);
        let counter = self.counter(program, &plan);
        let merged = counter.products(|name| in_bytes(name) && !branches.contains(name));
        let layers = counter.products(in_bytes);
        let branched = branches.add_to(program.clone())?;
        let all = self.counter(&branched, &self.plan(&branched)).products(in_bytes);
        Ok((layers + BRANCH_TIME * (all - layers)) / merged - 1.0)
    }
}

struct Counter<'a> {
    executor: &'a CpuExecutor,
    program: &'a Program,
    plan: &'a Plan,
    kernels: &'static Kernels,
}

impl Counter<'_> {
    fn len(&self, value: Slot) -> f64 {
        self.plan.values[value].shape.len() as f64
    }

    /// Returns the work of the products of a frame, where those with a weight for which `in_bytes` returns true count
    /// as [`INT8_TIME`].
    fn products(&self, in_bytes: impl Fn(&str) -> bool) -> f64 {
        let is_in_bytes = |step: &Step| matches!(&step.kind, StepKind::Product(product) if in_bytes(&self.program.weight(product.weight).name));
        let steps = self.plan.frame.iter().map(|planned| &planned.step);
        let costs = steps.map(|step| (self.step(step), if is_in_bytes(step) { INT8_TIME } else { 1.0 }));
        costs.filter(|(cost, _)| cost.kind.multiplies()).map(|(cost, time)| cost.work * time).sum()
    }

    fn form(&self, step: &Step, geometry: &Geometry) -> Option<Form> {
        let [x, out] = [step.inputs[0], step.output].map(|value| self.plan.values[value].shape);
        self.executor.winograd.form(geometry, x.c, self.program.shape_of_copy(out), self.kernels)
    }

    fn step(&self, step: &Step) -> StepCost {
        let values = if step.kind == StepKind::Concat {
            self.copied(step)
        } else {
            self.len(step.output) + step.reads().map(|value| self.len(value)).sum::<f64>()
        };
        let values = values * self.kernels.size as f64;
        let scale = values.max(1.0).ln();
        let elements = |kind| StepCost { kind, operations: 0.0, work: values, scale, bytes: 0.0 };
        match step.kind {
            StepKind::Product(ref geometry) => self.product(step, geometry),
            StepKind::Attention { heads, keys, .. } => self.attention(step, [heads, keys]),
            StepKind::GroupNorm { .. } => elements(CostKind::GroupNorm),
            StepKind::LayerNorm { .. } => elements(CostKind::LayerNorm),
            StepKind::Depthwise(_)
            | StepKind::Image(_)
            | StepKind::PackKeys { .. }
            | StepKind::Inject { .. }
            | StepKind::Pointwise
            | StepKind::Mul
            | StepKind::Geglu
            | StepKind::Concat
            | StepKind::Upsample
            | StepKind::Embed { .. }
            | StepKind::AddWeight { .. }
            | StepKind::TakeToken
            | StepKind::Import
            | StepKind::ToBytes { .. } => elements(CostKind::Elements),
        }
    }

    /// Elements that a concatenation reads and writes: those of parts that were not computed in place.
    fn copied(&self, step: &Step) -> f64 {
        let place = |value: Slot| (self.plan.places[value].space, self.plan.places[value].offset);
        let (space, mut at) = place(step.output);
        let mut copied = 0.0;
        for &part in &step.inputs {
            copied += if place(part) == (space, at) { 0.0 } else { 2.0 * self.len(part) };
            at += self.plan.values[part].shape.c;
        }
        copied
    }

    fn product(&self, step: &Step, geometry: &Geometry) -> StepCost {
        let [x, out] = [step.inputs[0], step.output].map(|value| self.plan.values[value].shape);
        let (form, taps) = (self.form(step, geometry), geometry.kernel * geometry.kernel);
        let c_out = if geometry.geglu { 2 * out.c } else { out.c };
        let sums = 2.0 * (out.n * out.pixels() * c_out) as f64;
        let operations = sums * (x.c * taps) as f64;
        let phases = form.is_none() && Product::in_phases(geometry);
        let length = if phases { 4 * x.c } else { taps * x.c };
        let (kind, length) = match form {
            Some(Form { side, shared, .. }) => (CostKind::Winograd { side, shared }, x.c),
            None if geometry.geglu => (CostKind::Gated, length),
            None if geometry.kernel == 1 => (CostKind::Linear, length),
            None => (CostKind::Direct, length),
        };
        let work = if phases { sums * length as f64 } else { operations };
        let scale = 1.0 / length as f64 + 1.0 / c_out as f64;
        let bytes = self.packed_bytes(step, geometry) as f64;
        StepCost { kind, operations, work, scale, bytes }
    }

    fn attention(&self, step: &Step, [heads, keys]: [usize; 2]) -> StepCost {
        let q = self.plan.values[step.inputs[0]].shape;
        let operations = 4.0 * (q.n * q.pixels() * keys * q.c) as f64;
        let kind = if keys < FEW_KEYS { CostKind::TextAttention } else { CostKind::Attention };
        StepCost { kind, operations, work: operations, scale: heads as f64 / q.c as f64, bytes: 0.0 }
    }

    /// Bytes of the packed weight of a product: full vectors of output channels, full groups of input channels.
    fn packed_bytes(&self, step: &Step, geometry: &Geometry) -> u64 {
        let spec = &self.program.weight(geometry.weight).shape;
        let points = match self.form(step, geometry) {
            Some(form) => (form.side + 2) * (form.side + 2),
            None if Product::in_phases(geometry) => 16,
            None => geometry.kernel * geometry.kernel,
        };
        let columns = spec[0].next_multiple_of(self.kernels.lanes);
        (columns * spec[1].next_multiple_of(self.kernels.group) * points * self.kernels.size) as u64
    }

    /// Bytes of all weights: packed forms of products, each once, and the others as they are stored.
    fn weight_bytes(&self) -> u64 {
        let (mut seen, mut bytes) = (HashSet::new(), 0);
        for planned in self.plan.constant.iter().chain(&self.plan.frame) {
            if let StepKind::Product(ref geometry) = planned.step.kind {
                let side = self.form(&planned.step, geometry).map(|form| form.side);
                if seen.insert((geometry.weight, side)) {
                    bytes += self.packed_bytes(&planned.step, geometry);
                }
            }
        }
        let products: HashSet<_> = seen.into_iter().map(|(weight, _)| weight.index()).collect();
        let others = self.program.weights().iter().enumerate().filter(|(index, _)| !products.contains(index));
        let others = others.map(|(_, weight)| weight.shape.iter().product::<usize>() as u64).sum::<u64>();
        bytes + others * self.kernels.size as u64
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::CpuOptions;
    use super::*;
    use crate::exec::Dtype;
    use crate::load::RandomWeights;
    use crate::models::known::known_model;
    use crate::models::{Autoencoder, UnetConfig, UnetShape, unet_program};
    use crate::net::LowRank;
    use crate::net::bytes::ByteScale;

    fn executor() -> CpuExecutor {
        let threads = std::num::NonZeroUsize::new(1);
        CpuExecutor::new(CpuOptions { threads, dtype: Dtype::F32, ..CpuOptions::default() }).unwrap()
    }

    fn unet(name: &str, rows: usize, side: usize) -> Program {
        let config = UnetConfig::from_json(known_model(name).unwrap().unet).unwrap();
        unet_program(&config, &UnetShape::new(rows, side, side)).unwrap()
    }

    /// 804 GFLOP with the keys and values of the text and the time embedding, of which 4 are computed once.
    #[test]
    fn the_operations_of_a_frame_are_those_of_the_published_network() {
        let cost = executor().cost(&unet("sd-turbo", 1, 64));
        assert!((798e9..802e9).contains(&cost.operations()), "{}", cost.operations());
        let all = 2.0 * unet("sd-turbo", 1, 64).multiplications() as f64;
        assert!((802e9..806e9).contains(&all), "{all}");
    }

    #[test]
    fn rows_and_pixels_multiply_the_operations_and_leave_the_weights() {
        let (one, three) = (executor().cost(&unet("sdxs", 1, 32)), executor().cost(&unet("sdxs", 3, 32)));
        assert!((three.operations() / one.operations() - 3.0).abs() < 1e-9);
        assert!(three.value_bytes > one.value_bytes);
        let config = Autoencoder::from_json(known_model("sdxs").unwrap().autoencoder).unwrap();
        let of = |side| executor().cost(&config.decoder_program(1, side, side).unwrap());
        let (small, large) = (of(256), of(512));
        assert!((large.operations() / small.operations() - 4.0).abs() < 1e-9);
        assert_eq!(small.weight_bytes, large.weight_bytes);
        assert!(large.value_bytes > 3 * small.value_bytes);
    }

    #[test]
    fn packed_weights_are_larger_than_the_plain_ones_but_not_by_more_than_winograds_forms() {
        let program = unet("sdxs", 1, 32);
        let plain = program.footprint().weights as u64 * 4;
        let packed = executor().cost(&program).weight_bytes;
        assert!(packed >= plain && packed <= 4 * plain, "{packed} {plain}");
    }

    /// A LoRA of `rank` for the layers of `program` whose names have `part`.
    fn branches(program: &Program, part: &str, rank: usize) -> Branches {
        let specs = program.weights().iter().filter(|spec| spec.shape.len() > 1 && spec.name.contains(part));
        Branches::new([specs.map(|spec| {
            let (rows, columns) = (spec.shape[0], spec.shape[1..].iter().product::<usize>());
            let (up, down) = (vec![0.0; rows * rank], vec![0.0; rank * columns]);
            (spec.name.clone(), Arc::new(LowRank::new(spec.shape.clone(), rank, up, down, 1.0).unwrap()))
        })])
    }

    #[test]
    fn branches_cost_their_share_of_the_products() {
        let program = unet("sdxs", 1, 32);
        let weights = Weights::new(Arc::new(RandomWeights::new(1, program.weights())));
        let cost = |part, rank| executor().added_by(&program, &weights, &branches(&program, part, rank)).unwrap();
        // Of one layer: both factors are linear, on as many pixels as the layer.
        let layer = "down_blocks.2.attentions.0.proj_in.weight";
        let spec = program.weights().iter().find(|spec| spec.name == layer).unwrap();
        let pixels = 8.0 * 8.0;
        let products = 2.0 * pixels * 16.0 * (spec.shape[0] + spec.shape[1]) as f64;
        let cpu = executor();
        let all = cpu.counter(&program, &cpu.plan(&program)).products(|_| false);
        let share = BRANCH_TIME * products / all;
        assert!((cost(layer, 16) / share - 1.0).abs() < 1e-9, "{} {share}", cost(layer, 16));
        // The factors grow with the rank, and nothing is added without layers.
        let [eight, sixteen] = [8, 16].map(|rank| cost("", rank));
        assert!((sixteen / eight - 2.0).abs() < 0.01 && sixteen > 0.05, "{eight} {sixteen}");
        assert!(cost("no such layer", 16).abs() < 1e-12);
    }

    #[test]
    fn merging_costs_more_than_branches_where_layers_are_in_int8() {
        let program = unet("sdxs", 1, 32);
        let names = program.weights().iter().map(|weight| weight.name.clone());
        let scales = names.map(|name| (name, ByteScale::new(1.0, 0).unwrap())).collect();
        let weights = Weights::new(Arc::new(RandomWeights::new(1, program.weights()))).with_byte_scales(scales);
        let branches = branches(&program, "transformer_blocks", 16);
        let cost = executor().added_by(&program, &weights, &branches).unwrap();
        assert!((-0.3..-0.05).contains(&cost), "{cost}");
    }
}
