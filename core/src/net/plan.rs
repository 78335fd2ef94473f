//! Who uses each piece of memory when: lifetimes of values packed into one arena, and what need not be copied.

use super::fuse::fuse;
use super::memory::{Need, pack, rounded_up};
use super::steps::{Fused, PlanValue, Post, Repeat, Slot, Step, StepClass, StepKind, StorageLayout};
use super::{Program, Rate};

/// The location of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// In which memory.
    pub space: Space,
    /// Its first number there.
    pub offset: usize,
    /// Elements between pixels: more than its channels if it is a part of a wider value.
    pub ld: usize,
}

/// The memories of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Space {
    /// Scratch memory: the arena for the steps of a frame, and one that is dropped after the constant steps.
    Arena,
    /// Results of the constant steps, for every frame.
    Kept,
    /// An input of the rate of the step that reads it, by its place among those.
    Input(usize),
    /// An output, by its place.
    Output(usize),
}

/// A step and its scratch memory.
#[derive(Debug, Clone, PartialEq)]
pub struct Planned {
    /// The step.
    pub step: Step,
    /// The offset of its scratch memory in [`Space::Arena`].
    pub scratch: usize,
}

/// The steps of a program and the place of every value.
#[derive(Debug)]
pub struct Plan {
    /// All values.
    pub values: Vec<PlanValue>,
    /// Their memory.
    pub places: Vec<Place>,
    /// The steps that depend on constant inputs alone.
    pub constant: Vec<Planned>,
    /// Scratch numbers of those.
    pub constant_arena_len: usize,
    /// Numbers in [`Space::Kept`].
    pub kept_len: usize,
    /// Constant inputs that frames read: place among the constant inputs, value.
    pub kept_inputs: Vec<(usize, Slot)>,
    /// The steps of a frame.
    pub frame: Vec<Planned>,
    /// Scratch numbers of those.
    pub arena_len: usize,
    /// Values to copy to an output after the last step: value, place among the outputs.
    pub copies: Vec<(Slot, usize)>,
}

impl Plan {
    /// Plans `program` for a device.
    pub fn new(program: &Program, layout: &dyn StorageLayout) -> Self {
        let Fused { values, steps, outputs } = fuse(program, layout);
        let (constant, frame) = steps.into_iter().partition::<Vec<_>, _>(|step| values[step.output].constant);
        let mut placer = Placer::new(program, values, [&constant, &frame], &outputs, layout.stores_f32());
        placer.claim_concats(&constant);
        placer.claim_concats(&frame);
        placer.reuse(&constant, true);
        placer.reuse(&frame, false);
        placer.place(program, constant, frame, layout)
    }
}

/// State of a value while memory is assigned.
#[derive(Debug, Clone, Copy)]
struct Life {
    /// The wider value whose memory contains it, and the first channel in it.
    parent: Option<(Slot, usize)>,
    /// The step that writes it, of its own rate.
    written: Option<usize>,
    /// The last step of its own rate that reads it.
    read: usize,
    /// Whether its memory is not ours to choose: an input, an output, kept.
    fixed: Option<Space>,
}

struct Placer {
    values: Vec<PlanValue>,
    lives: Vec<Life>,
    copies: Vec<(Slot, usize)>,
    kept_inputs: Vec<(usize, Slot)>,
}

impl Placer {
    fn new(
        program: &Program,
        values: Vec<PlanValue>,
        [constant, frame]: [&[Step]; 2],
        outputs: &[Slot],
        direct: bool,
    ) -> Self {
        let life = |value: &PlanValue| Life { parent: value.part_of, written: None, read: 0, fixed: None };
        let lives = values.iter().map(life).collect();
        let mut placer = Self { values, lives, copies: Vec::new(), kept_inputs: Vec::new() };
        for steps in [constant, frame] {
            for (at, step) in steps.iter().enumerate() {
                placer.lives[step.output].written = Some(at);
                for value in
                    step.reads().filter(|&value| placer.values[value].constant == placer.values[step.output].constant)
                {
                    placer.lives[value].read = at;
                }
            }
        }
        for rate in [Rate::Constant, Rate::Frame] {
            for (i, input) in program.inputs_at(rate).enumerate() {
                placer.lives[input.value.index()].fixed = Some(Space::Input(i));
            }
        }
        placer.keep(frame);
        for (i, &value) in outputs.iter().enumerate() {
            let life = &mut placer.lives[value];
            // Outputs are written directly to the caller's memory, unless they are part of another value or must be
            // converted.
            let free = life.written.is_some() && life.parent.is_none() && life.fixed.is_none();
            if direct && free && !placer.values[value].constant {
                life.fixed = Some(Space::Output(i));
            } else {
                life.read = usize::MAX;
                placer.copies.push((value, i));
                if placer.values[value].constant {
                    placer.keep_value(value);
                }
            }
        }
        placer
    }

    /// Keeps the constants that frames read.
    fn keep(&mut self, frame: &[Step]) {
        for step in frame {
            for value in step.reads().filter(|&value| self.values[value].constant).collect::<Vec<_>>() {
                self.keep_value(value);
            }
        }
    }

    fn keep_value(&mut self, value: Slot) {
        let (root, _) = self.root(value);
        if let Some(Space::Input(i)) = self.lives[root].fixed {
            self.kept_inputs.push((i, root));
        }
        self.lives[root].fixed = Some(Space::Kept);
    }

    /// Returns the value whose memory contains `value`, and the first channel in it.
    fn root(&self, mut value: Slot) -> (Slot, usize) {
        let mut offset = 0;
        while let Some((parent, start)) = self.lives[value].parent {
            value = parent;
            offset += start;
        }
        (value, offset)
    }

    /// Assigns the parts of a concatenation to their places in its result.
    fn claim_concats(&mut self, steps: &[Step]) {
        for step in steps.iter().filter(|step| step.kind == StepKind::Concat) {
            let mut start = 0;
            for &part in &step.inputs {
                let life = self.lives[part];
                let same_rate = self.values[part].constant == self.values[step.output].constant;
                if same_rate
                    && life.written.is_some()
                    && life.parent.is_none()
                    && life.fixed.is_none()
                    && life.read < usize::MAX
                {
                    self.lives[part].parent = Some((step.output, start));
                }
                start += self.values[part].shape.c;
            }
        }
    }

    /// Lets steps write over what nothing reads after them.
    fn reuse(&mut self, steps: &[Step], constant: bool) {
        let mut group_read = self.group_reads(constant);
        for (at, step) in steps.iter().enumerate() {
            let out = self.lives[step.output];
            if out.parent.is_some() || out.fixed.is_some() {
                continue;
            }
            let fits = |&value: &Slot| {
                let (root, offset) = self.root(value);
                let whole = offset == 0 && self.values[value].shape == self.values[root].shape;
                let same = self.values[value].shape == self.values[step.output].shape;
                let ours = self.values[value].constant == constant && self.lives[root].fixed.is_none();
                whole && same && ours && group_read[root] <= at
            };
            if let Some(value) = overwritable(step).find(fits) {
                // The group of the overwritten value continues with the group of the output.
                let (root, _) = self.root(value);
                group_read[root] = group_read[root].max(group_read[step.output]);
                self.lives[step.output].parent = Some((value, 0));
            }
        }
    }

    /// The last read of anything in the memory of each root.
    fn group_reads(&self, constant: bool) -> Vec<usize> {
        let mut reads = vec![0; self.values.len()];
        for (value, life) in self.lives.iter().enumerate().filter(|&(value, _)| self.values[value].constant == constant)
        {
            let (root, _) = self.root(value);
            reads[root] = reads[root].max(life.read).max(life.written.unwrap_or(0));
        }
        reads
    }

    fn place(self, program: &Program, constant: Vec<Step>, frame: Vec<Step>, layout: &dyn StorageLayout) -> Plan {
        let mut bases = vec![0; self.values.len()];
        let (constant, constant_arena_len) = self.arena(constant, true, layout, &mut bases);
        let (frame, arena_len) = self.arena(frame, false, layout, &mut bases);
        let mut kept_len = 0;
        for (root, life) in self.lives.iter().enumerate() {
            if life.fixed == Some(Space::Kept) && life.parent.is_none() {
                bases[root] = kept_len;
                kept_len = rounded_up(kept_len.saturating_add(self.values[root].shape.len()));
            }
        }
        let place = |value| {
            let (root, offset) = self.root(value);
            let space = self.lives[root].fixed.unwrap_or(Space::Arena);
            Place { space, offset: bases[root] + offset, ld: self.values[root].shape.c }
        };
        let places = (0..self.values.len()).map(place).collect();
        debug_assert!(program.shapes().len() <= self.values.len());
        let Self { values, copies, kept_inputs, .. } = self;
        Plan { values, places, constant, constant_arena_len, kept_len, kept_inputs, frame, arena_len, copies }
    }

    /// Packs the values and the scratch memory of the steps of one rate.
    fn arena(
        &self,
        steps: Vec<Step>,
        constant: bool,
        layout: &dyn StorageLayout,
        bases: &mut [usize],
    ) -> (Vec<Planned>, usize) {
        let mut needs = Vec::new();
        let mut owners = Vec::new();
        for (root, need) in self.group_needs(constant) {
            owners.push(root);
            needs.push(need);
        }
        for (at, step) in steps.iter().enumerate() {
            let input = self.values[step.inputs[0]].shape;
            let len = layout.scratch_len(step, input, self.values[step.output].shape);
            needs.push(Need { len, first: at, last: at });
        }
        let (offsets, total) = pack(&needs);
        for (&root, &offset) in owners.iter().zip(&offsets) {
            bases[root] = offset;
        }
        let scratch = &offsets[owners.len()..];
        let planned = steps.into_iter().zip(scratch).map(|(step, &scratch)| Planned { step, scratch }).collect();
        (planned, total)
    }

    /// The memory of each root in the arena: from the first write to the last read of any value in it.
    fn group_needs(&self, constant: bool) -> Vec<(Slot, Need)> {
        let mut found: Vec<Option<Need>> = vec![None; self.values.len()];
        for (value, life) in self.lives.iter().enumerate().filter(|&(value, _)| self.values[value].constant == constant)
        {
            let (root, _) = self.root(value);
            let Some(written) = life.written else { continue };
            let len = self.values[root].shape.len();
            let need = found[root].get_or_insert(Need { len, first: written, last: written });
            need.first = need.first.min(written);
            need.last = need.last.max(written);
        }
        for (value, life) in self.lives.iter().enumerate().filter(|&(value, _)| self.values[value].constant == constant)
        {
            if let Some(need) = &mut found[self.root(value).0] {
                need.last = need.last.max(life.read);
            }
        }
        let ours = |&(root, _): &(Slot, Need)| self.lives[root].fixed.is_none();
        found.into_iter().enumerate().filter_map(|(root, need)| Some((root, need?))).filter(ours).collect()
    }
}

/// Returns the inputs that a step may overwrite: it reads each element only to write the same one.
fn overwritable(step: &Step) -> impl Iterator<Item = Slot> {
    let class = step.kind.class();
    let input = matches!(class, StepClass::Norm | StepClass::Elementwise).then_some(step.inputs[0]);
    // The first post reads its operand just before the result is stored; a norm stores before its posts.
    let stores_once = matches!(class, StepClass::Product | StepClass::Elementwise);
    let operand = |post: &Post| match *post {
        Post::Add { value, repeat: Repeat::None } if stores_once => Some(value),
        Post::Add { .. } | Post::Activate(_) | Post::Affine { .. } => None,
    };
    let operands = step.posts.first().and_then(operand);
    input.into_iter().chain(operands).filter(|&value| step.reads().filter(|&read| read == value).count() == 1)
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
