//! Runs in which only those pixels are computed that depend on changed ones.

use crate::exec::Region;
use crate::exec::arena::Arena;
use crate::net::plan::Plan;
use crate::net::steps::{PlanValue, Post, Repeat, Slot, Step, StepKind};
use crate::net::{Program, Rate};

/// The values of a run, for the next one.
#[derive(Debug, Default)]
pub(super) struct KeptValues {
    pub(super) arena: Arena,
    /// The network that has computed all of them; 0 if none has.
    pub(super) network: u64,
    /// Memory for the changed pixels of each value.
    pub(super) regions: Vec<Region>,
}

/// The changed pixels of each value of a run.
pub(super) struct Changes<'a> {
    regions: &'a mut [Region],
}

/// The part of its output that a step has to compute.
pub(super) enum Part<'a> {
    /// Nothing.
    None,
    /// These pixels.
    Region(&'a Region),
    /// All pixels.
    Whole,
}

impl<'a> Changes<'a> {
    /// The frame inputs of `program` have changed in `changed`.
    pub(super) fn new(changed: &Region, regions: &'a mut [Region], program: &Program) -> Self {
        regions.fill(Region::default());
        for input in program.inputs_at(Rate::Frame) {
            regions[input.value.index()] = changed.within(program.shape(input.value));
        }
        Self { regions }
    }

    /// Returns the part of the output of a step that depends on changes; it is changed for the next steps. The step
    /// computes squares of `side` pixels together: all pixels of one have the rounding errors of all its input.
    pub(super) fn advance(&mut self, step: &Step, side: usize, values: &[PlanValue]) -> Part<'_> {
        let shape = values[step.output].shape;
        let mut region = Region::default();
        for &input in &step.inputs {
            let seen = self.of(input, values);
            region = region.union(&if let StepKind::Product(geometry) = &step.kind {
                seen.through(geometry, shape)
            } else if step.kind == StepKind::Upsample {
                seen.scaled(2)
            } else {
                seen.clone()
            });
        }
        for post in &step.posts {
            if let Post::Add { value, repeat } = *post {
                let seen = self.of(value, values);
                let repeated = repeat != Repeat::None && !seen.is_empty();
                region = if repeated { Region::whole(shape) } else { region.union(seen) };
            }
        }
        if !region.is_empty() && !is_local(step, values) {
            region = Region::whole(shape);
        }
        let to = &mut self.regions[step.output];
        *to = region.in_squares(side).scaled(side).within(shape);
        if to.is_empty() {
            Part::None
        } else if *to == Region::whole(shape) {
            Part::Whole
        } else {
            Part::Region(to)
        }
    }

    /// The changed pixels of a value: of a slice, those of the value that it is a part of.
    fn of(&self, mut value: Slot, values: &[PlanValue]) -> &Region {
        while let Some((parent, _)) = values[value].part_of {
            value = parent;
        }
        &self.regions[value]
    }
}

/// Returns whether all values of the frames of a plan can be computed in part.
pub(super) fn is_local_plan(plan: &Plan) -> bool {
    plan.frame.iter().all(|planned| is_local(&planned.step, &plan.values))
}

/// Returns whether a step computes each pixel from pixels near it, and can compute some of them alone.
fn is_local(step: &Step, values: &[PlanValue]) -> bool {
    let local = match step.kind {
        StepKind::Product(_)
        | StepKind::Pointwise
        | StepKind::Concat
        | StepKind::Upsample
        | StepKind::Import
        | StepKind::ToBytes { .. } => true,
        StepKind::Depthwise(_)
        | StepKind::Image(_)
        | StepKind::GroupNorm { .. }
        | StepKind::LayerNorm { .. }
        | StepKind::PackKeys { .. }
        | StepKind::Attention { .. }
        | StepKind::Inject { .. }
        | StepKind::Mul
        | StepKind::Geglu
        | StepKind::Embed { .. }
        | StepKind::AddWeight { .. }
        | StepKind::TakeToken => false,
    };
    local && values[step.output].shape.n == 1
}
