//! The memory plan: assigns values to one arena by their lifetimes, and avoids copies.

use super::fuse::fuse;
use super::memory::{Buffer, align_up, pack};
use super::steps::{Fused, PlanValue, Post, Repeat, Slot, Step, StepClass, StepKind, StorageLayout};
use super::{Program, Rate};

/// The location of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The memory that contains it.
    pub space: Space,
    /// The offset of its first element, in elements.
    pub offset: usize,
    /// The stride between pixels, in elements: more than its channels if it is a part of a wider value.
    pub ld: usize,
}

/// The memories of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Space {
    /// Scratch memory: one arena for the steps of a frame, and another one, dropped after use, for the constant steps.
    Arena,
    /// Results of the constant steps, which frames read.
    Constants,
    /// An input, by its index among the inputs of its rate.
    Input(usize),
    /// An output, by its index.
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

/// The steps of a program, and the location of every value.
#[derive(Debug)]
pub struct Plan {
    /// All values.
    pub values: Vec<PlanValue>,
    /// Their locations.
    pub places: Vec<Place>,
    /// The steps that depend on constant inputs only.
    pub constant: Vec<Planned>,
    /// Elements of scratch memory of these steps.
    pub constant_arena_len: usize,
    /// Elements in [`Space::Constants`].
    pub constants_len: usize,
    /// Constant inputs that frames read: index among the constant inputs, value.
    pub constant_inputs: Vec<(usize, Slot)>,
    /// The steps of a frame.
    pub frame: Vec<Planned>,
    /// Elements of scratch memory of these steps.
    pub arena_len: usize,
    /// Values to copy to an output after the last step: value, index of the output.
    pub copies: Vec<(Slot, usize)>,
}

impl Plan {
    /// Plans `program` for a device.
    pub fn new(program: &Program, layout: &dyn StorageLayout) -> Self {
        Self::with_lifetimes(program, layout, false)
    }

    /// Like [`new`](Self::new), with memory of its own for each value of a frame, also for outputs, so that all values
    /// are there until the next run.
    pub fn keeping(program: &Program, layout: &dyn StorageLayout) -> Self {
        Self::with_lifetimes(program, layout, true)
    }

    fn with_lifetimes(program: &Program, layout: &dyn StorageLayout, keep: bool) -> Self {
        let Fused { values, steps, outputs } = fuse(program, layout);
        let (constant, frame) = steps.into_iter().partition::<Vec<_>, _>(|step| values[step.output].constant);
        let mut planner =
            MemoryPlanner::new(program, values, [&constant, &frame], &outputs, layout.stores_f32() && !keep);
        planner.place_concat_inputs(&constant);
        planner.place_concat_inputs(&frame);
        planner.overwrite_inputs(&constant, true);
        if !keep {
            planner.overwrite_inputs(&frame, false);
        }
        planner.place(program, constant, frame, (layout, keep))
    }
}

/// The state of a value while memory is assigned.
#[derive(Debug, Clone, Copy)]
struct Lifetime {
    /// The wider value whose memory contains it, and its first channel there.
    parent: Option<(Slot, usize)>,
    /// The step of its own rate that writes it.
    written: Option<usize>,
    /// The last step of its own rate that reads it.
    read: usize,
    /// The memory of a value outside the arena: an input, an output, or a constant that frames read.
    fixed: Option<Space>,
}

struct MemoryPlanner {
    values: Vec<PlanValue>,
    lifetimes: Vec<Lifetime>,
    copies: Vec<(Slot, usize)>,
    constant_inputs: Vec<(usize, Slot)>,
}

impl MemoryPlanner {
    fn new(
        program: &Program,
        values: Vec<PlanValue>,
        [constant, frame]: [&[Step]; 2],
        outputs: &[Slot],
        direct: bool,
    ) -> Self {
        let lifetime = |value: &PlanValue| Lifetime { parent: value.part_of, written: None, read: 0, fixed: None };
        let lifetimes = values.iter().map(lifetime).collect();
        let mut planner = Self { values, lifetimes, copies: Vec::new(), constant_inputs: Vec::new() };
        for steps in [constant, frame] {
            for (at, step) in steps.iter().enumerate() {
                planner.lifetimes[step.output].written = Some(at);
                for value in
                    step.reads().filter(|&value| planner.values[value].constant == planner.values[step.output].constant)
                {
                    planner.lifetimes[value].read = at;
                }
            }
        }
        for rate in [Rate::Constant, Rate::Frame] {
            for (i, input) in program.inputs_at(rate).enumerate() {
                planner.lifetimes[input.value.index()].fixed = Some(Space::Input(i));
            }
        }
        planner.retain(frame);
        for (i, &value) in outputs.iter().enumerate() {
            let lifetime = &mut planner.lifetimes[value];
            // Outputs are written directly to the caller's memory, unless they are part of another value or must be
            // converted.
            let free = lifetime.written.is_some() && lifetime.parent.is_none() && lifetime.fixed.is_none();
            if direct && free && !planner.values[value].constant {
                lifetime.fixed = Some(Space::Output(i));
            } else {
                lifetime.read = usize::MAX;
                planner.copies.push((value, i));
                if planner.values[value].constant {
                    planner.retain_value(value);
                }
            }
        }
        planner
    }

    /// Retains the constants that frames read.
    fn retain(&mut self, frame: &[Step]) {
        for step in frame {
            for value in step.reads().filter(|&value| self.values[value].constant).collect::<Vec<_>>() {
                self.retain_value(value);
            }
        }
    }

    fn retain_value(&mut self, value: Slot) {
        let (root, _) = self.root(value);
        if let Some(Space::Input(i)) = self.lifetimes[root].fixed {
            self.constant_inputs.push((i, root));
        }
        self.lifetimes[root].fixed = Some(Space::Constants);
    }

    /// Returns the value whose memory contains `value`, and the first channel in it.
    fn root(&self, mut value: Slot) -> (Slot, usize) {
        let mut offset = 0;
        while let Some((parent, start)) = self.lifetimes[value].parent {
            value = parent;
            offset += start;
        }
        (value, offset)
    }

    /// Places the inputs of concatenations directly in the result.
    fn place_concat_inputs(&mut self, steps: &[Step]) {
        for step in steps.iter().filter(|step| step.kind == StepKind::Concat) {
            let mut start = 0;
            for &part in &step.inputs {
                let lifetime = self.lifetimes[part];
                let same_rate = self.values[part].constant == self.values[step.output].constant;
                if same_rate
                    && lifetime.written.is_some()
                    && lifetime.parent.is_none()
                    && lifetime.fixed.is_none()
                    && lifetime.read < usize::MAX
                {
                    self.lifetimes[part].parent = Some((step.output, start));
                }
                start += self.values[part].shape.c;
            }
        }
    }

    /// Lets steps overwrite inputs that no later step reads.
    fn overwrite_inputs(&mut self, steps: &[Step], constant: bool) {
        let mut group_read = self.group_reads(constant);
        for (at, step) in steps.iter().enumerate() {
            let out = self.lifetimes[step.output];
            if out.parent.is_some() || out.fixed.is_some() {
                continue;
            }
            let fits = |&value: &Slot| {
                let (root, offset) = self.root(value);
                let whole = offset == 0 && self.values[value].shape == self.values[root].shape;
                let same = self.values[value].shape == self.values[step.output].shape;
                let in_arena = self.values[value].constant == constant && self.lifetimes[root].fixed.is_none();
                // A slice of the value is another one in the same memory.
                let read_once = step.reads().filter(|&read| self.root(read).0 == root).count() == 1;
                whole && same && in_arena && read_once && group_read[root] <= at
            };
            if let Some(value) = overwritable(step).find(fits) {
                // The group of the overwritten value continues with the group of the output.
                let (root, _) = self.root(value);
                group_read[root] = group_read[root].max(group_read[step.output]);
                self.lifetimes[step.output].parent = Some((value, 0));
            }
        }
    }

    /// Returns the last read of any value in the memory of each root.
    fn group_reads(&self, constant: bool) -> Vec<usize> {
        let mut reads = vec![0; self.values.len()];
        for (value, lifetime) in
            self.lifetimes.iter().enumerate().filter(|&(value, _)| self.values[value].constant == constant)
        {
            let (root, _) = self.root(value);
            reads[root] = reads[root].max(lifetime.read).max(lifetime.written.unwrap_or(0));
        }
        reads
    }

    fn place(
        self,
        program: &Program,
        constant: Vec<Step>,
        frame: Vec<Step>,
        (layout, keep): (&dyn StorageLayout, bool),
    ) -> Plan {
        let mut bases = vec![0; self.values.len()];
        let (constant, constant_arena_len) = self.arena(constant, true, (layout, false), &mut bases);
        let (frame, arena_len) = self.arena(frame, false, (layout, keep), &mut bases);
        let mut constants_len = 0;
        for (root, lifetime) in self.lifetimes.iter().enumerate() {
            if lifetime.fixed == Some(Space::Constants) && lifetime.parent.is_none() {
                bases[root] = constants_len;
                constants_len = align_up(constants_len.saturating_add(self.values[root].shape.len()));
            }
        }
        let place = |value| {
            let (root, offset) = self.root(value);
            let space = self.lifetimes[root].fixed.unwrap_or(Space::Arena);
            Place { space, offset: bases[root] + offset, ld: self.values[root].shape.c }
        };
        let places = (0..self.values.len()).map(place).collect();
        debug_assert!(program.shapes().len() <= self.values.len());
        let Self { values, copies, constant_inputs, .. } = self;
        Plan { values, places, constant, constant_arena_len, constants_len, constant_inputs, frame, arena_len, copies }
    }

    /// Packs the values and the scratch memory of the steps of one rate.
    fn arena(
        &self,
        steps: Vec<Step>,
        constant: bool,
        (layout, keep): (&dyn StorageLayout, bool),
        bases: &mut [usize],
    ) -> (Vec<Planned>, usize) {
        let mut buffers = Vec::new();
        let mut owners = Vec::new();
        for (root, buffer) in self.group_buffers(constant) {
            owners.push(root);
            buffers.push(if keep { Buffer { first: 0, last: usize::MAX, ..buffer } } else { buffer });
        }
        for (at, step) in steps.iter().enumerate() {
            let input = self.values[step.inputs[0]].shape;
            let len = layout.scratch_len(step, input, self.values[step.output].shape);
            buffers.push(Buffer { len, first: at, last: at });
        }
        let (offsets, total) = pack(&buffers);
        for (&root, &offset) in owners.iter().zip(&offsets) {
            bases[root] = offset;
        }
        let scratch = &offsets[owners.len()..];
        let planned = steps.into_iter().zip(scratch).map(|(step, &scratch)| Planned { step, scratch }).collect();
        (planned, total)
    }

    /// Returns the buffer of each root in the arena, which is live from the first write to the last read of any value
    /// in it.
    fn group_buffers(&self, constant: bool) -> Vec<(Slot, Buffer)> {
        let mut found: Vec<Option<Buffer>> = vec![None; self.values.len()];
        for (value, lifetime) in
            self.lifetimes.iter().enumerate().filter(|&(value, _)| self.values[value].constant == constant)
        {
            let (root, _) = self.root(value);
            let Some(written) = lifetime.written else { continue };
            let len = self.values[root].shape.len();
            let buffer = found[root].get_or_insert(Buffer { len, first: written, last: written });
            buffer.first = buffer.first.min(written);
            buffer.last = buffer.last.max(written);
        }
        for (value, lifetime) in
            self.lifetimes.iter().enumerate().filter(|&(value, _)| self.values[value].constant == constant)
        {
            if let Some(buffer) = &mut found[self.root(value).0] {
                buffer.last = buffer.last.max(lifetime.read);
            }
        }
        let in_arena = |&(root, _): &(Slot, Buffer)| self.lifetimes[root].fixed.is_none();
        found.into_iter().enumerate().filter_map(|(root, buffer)| Some((root, buffer?))).filter(in_arena).collect()
    }
}

/// Returns the inputs that a step may overwrite, unless it reads parts of them as well: it reads each element only to write
/// the same one.
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
