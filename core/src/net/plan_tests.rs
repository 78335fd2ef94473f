use super::*;
use crate::net::bytes::ByteScale;
use crate::net::{Activation, Padding, ProgramBuilder, Shape, ValueId, WeightId};

/// A device without layouts of its own, with scratch memory for every step.
struct Plain;

impl StorageLayout for Plain {
    fn stores_f32(&self) -> bool {
        true
    }

    fn byte_scale(&self, _: WeightId) -> Option<ByteScale> {
        None
    }

    fn keys_len(&self, k: Shape, v: Shape, _: usize) -> usize {
        k.len() + v.len()
    }

    fn scratch_len(&self, _: &Step, input: Shape, _: Shape) -> usize {
        input.c
    }
}

/// A small UNet: two levels, a skip connection, a prompt, a time embedding.
fn unet(builder: &mut ProgramBuilder) {
    let x = builder.input("x", Shape::new(2, 8, 8, 4), Rate::Frame);
    let time = builder.input("time", Shape::vector(2, 16), Rate::Constant);
    let text = builder.input("text", Shape::tokens(1, 7, 12), Rate::Constant);
    let h = builder.conv3x3("conv_in", x, 16);
    let skip = resnet(builder, "down", h, time);
    let h = builder.conv2d("smaller", skip, 16, 3, 2, Padding::all(1), false, true);
    let q = builder.linear("q", h, 16, false);
    let (k, v) = (builder.linear("k", text, 16, false), builder.linear("v", text, 16, false));
    let y = builder.attention([q, k, v], 2, false, vec![0, 0]);
    let h = builder.add(y, h);
    let up = builder.upsample(h);
    let h = builder.conv3x3("up", up, 16);
    let h = builder.concat(h, skip);
    let h = resnet(builder, "mid", h, time);
    let h = builder.conv3x3("conv_out", h, 4);
    builder.output("y", h);
}

fn resnet(builder: &mut ProgramBuilder, name: &str, x: ValueId, time: ValueId) -> ValueId {
    builder.scope(name, |b| {
        let h = b.group_norm("norm1", x, 4, 1e-5);
        let h = b.silu(h);
        let h = b.conv3x3("conv1", h, 16);
        let t = b.silu(time);
        let t = b.linear("time", t, 16, true);
        let h = b.add(h, t);
        let h = b.group_norm("norm2", h, 4, 1e-5);
        let h = b.silu(h);
        let h = b.conv3x3("conv2", h, 16);
        let short = b.conv1x1("short", x, 16);
        b.add(short, h)
    })
}

fn plan(write: impl FnOnce(&mut ProgramBuilder)) -> (Program, Plan) {
    let mut builder = ProgramBuilder::new("plan");
    write(&mut builder);
    let program = builder.finish().unwrap();
    let plan = Plan::new(&program, &Plain);
    (program, plan)
}

fn kinds(steps: &[Planned]) -> Vec<(&'static str, usize)> {
    let name = |kind: &StepKind| match kind {
        StepKind::Product(product) if product.geglu => "geglu product",
        StepKind::Product(product) if product.upsample => "upsample product",
        StepKind::Product(_) => "product",
        StepKind::GroupNorm { .. } => "group norm",
        StepKind::LayerNorm { .. } => "layer norm",
        StepKind::PackKeys { .. } => "keys",
        StepKind::Attention { .. } => "attention",
        StepKind::Inject { .. } => "inject",
        StepKind::Pointwise => "pointwise",
        StepKind::Mul => "product of two",
        StepKind::Geglu => "geglu",
        StepKind::Depthwise(_) => "depthwise",
        StepKind::Image(_) => "image",
        StepKind::Concat => "concat",
        StepKind::Upsample => "upsample",
        StepKind::Embed { .. } | StepKind::AddWeight { .. } | StepKind::TakeToken => "lookup",
        StepKind::Import => "import",
        StepKind::ToBytes { .. } => "to bytes",
    };
    steps.iter().map(|planned| (name(&planned.step.kind), planned.step.posts.len())).collect()
}

#[test]
fn elementwise_operations_are_fused_and_constants_are_not_frame_steps() {
    let (_, plan) = plan(unet);
    let constant = kinds(&plan.constant);
    assert_eq!(constant.iter().filter(|(name, _)| *name == "keys").count(), 1);
    assert_eq!(constant.iter().filter(|(name, _)| *name == "product").count(), 4);
    assert_eq!(
        kinds(&plan.frame),
        [
            ("product", 0),
            ("group norm", 1),
            ("product", 1),
            ("group norm", 1),
            ("product", 0),
            ("product", 1),
            ("product", 0),
            ("product", 0),
            ("attention", 0),
            ("pointwise", 1),
            ("upsample product", 0),
            ("concat", 0),
            ("group norm", 1),
            ("product", 1),
            ("group norm", 1),
            ("product", 0),
            ("product", 1),
            ("product", 0),
        ]
    );
}

#[test]
fn inputs_of_a_concatenation_are_computed_in_place() {
    let (_, plan) = plan(unet);
    let concat = plan.frame.iter().find(|planned| planned.step.kind == StepKind::Concat).unwrap();
    let whole = plan.places[concat.step.output];
    let [a, b] = [0, 1].map(|i| plan.places[concat.step.inputs[i]]);
    assert_eq!((a.offset, a.ld), (whole.offset, 32));
    assert_eq!((b.offset, b.ld), (whole.offset + 16, 32));
}

#[test]
fn the_last_layer_writes_to_the_output() {
    let (program, plan) = plan(unet);
    let place = plan.places[program.outputs()[0].value.index()];
    assert_eq!(place, Place { space: Space::Output(0), offset: 0, ld: 4 });
    assert!(plan.copies.is_empty());
}

#[test]
fn a_gated_layer_is_one_step() {
    let (_, plan) = plan(|b| {
        let x = b.input("x", Shape::tokens(1, 4, 8), Rate::Frame);
        let y = b.linear("proj", x, 64, true);
        let y = b.geglu(y);
        let y = b.linear("out", y, 8, true);
        let y = b.add(y, x);
        let y = b.activate(y, Activation::Relu);
        b.output("y", y);
    });
    assert_eq!(kinds(&plan.frame), [("geglu product", 0), ("product", 2)]);
}

/// Returns the elements that a value covers in its memory: first, one past the last.
fn extent(plan: &Plan, value: Slot) -> (usize, usize) {
    let (place, shape) = (plan.places[value], plan.values[value].shape);
    (place.offset, place.offset + (shape.n * shape.pixels() - 1) * place.ld + shape.c)
}

/// Returns whether two values have an element in common.
fn overlap(plan: &Plan, a: Slot, b: Slot) -> bool {
    let (first, second) = (extent(plan, a), extent(plan, b));
    if first.0 >= second.1 || second.0 >= first.1 {
        return false;
    }
    // Adjacent channels of a wider value.
    let (pa, pb) = (plan.places[a], plan.places[b]);
    let columns = |value: Slot, of: Place| (of.offset % of.ld, of.offset % of.ld + plan.values[value].shape.c);
    let (ca, cb) = (columns(a, pa), columns(b, pb));
    let disjoint = pa.ld == pb.ld && pa.offset / pa.ld == pb.offset / pb.ld && (ca.1 <= cb.0 || cb.1 <= ca.0);
    !disjoint
}

#[test]
fn no_value_is_overwritten_before_its_last_read() {
    let (_, plan) = plan(unet);
    for (at, writer) in plan.frame.iter().enumerate() {
        let written = writer.step.output;
        let in_arena = |value: Slot| plan.places[value].space == Space::Arena && !plan.values[value].constant;
        if !in_arena(written) {
            continue;
        }
        for (later, reader) in plan.frame.iter().enumerate().skip(at) {
            for read in reader.step.reads().filter(|&read| in_arena(read) && read != written) {
                let made = plan.frame.iter().position(|planned| planned.step.output == read).unwrap();
                let over = made < at && at < later && overlap(&plan, written, read);
                let part = writer.step.kind == StepKind::Concat;
                assert!(!over || part, "step {at} writes over value {read} that step {later} reads");
            }
        }
    }
}

/// A device with a configurable storage format and size of scratch memory.
struct Device {
    f32: bool,
    scratch: usize,
}

impl StorageLayout for Device {
    fn stores_f32(&self) -> bool {
        self.f32
    }

    fn byte_scale(&self, weight: WeightId) -> Option<ByteScale> {
        (!self.f32 && weight.index().is_multiple_of(3)).then(|| ByteScale::new(0.02, 128).unwrap())
    }

    fn keys_len(&self, k: Shape, v: Shape, _: usize) -> usize {
        k.len() + v.len() + self.scratch
    }

    fn scratch_len(&self, _: &Step, input: Shape, output: Shape) -> usize {
        (input.c * self.scratch) % (output.len() + 1)
    }
}

/// The value that was last written to each element of a memory; `None` if it must not be read.
type Elements = Vec<Option<Slot>>;

/// An interpreter of plans that records which value each element of memory belongs to.
struct Interpreter<'a> {
    plan: &'a Plan,
    arena: Elements,
    constants: Elements,
    outputs: Vec<Elements>,
}

impl Interpreter<'_> {
    fn elements(&mut self, space: Space) -> Option<&mut Elements> {
        match space {
            Space::Arena => Some(&mut self.arena),
            Space::Constants => Some(&mut self.constants),
            Space::Output(i) => Some(&mut self.outputs[i]),
            Space::Input(_) => None,
        }
    }

    /// Returns the indices of the elements of `value`.
    fn indices(&self, value: Slot) -> impl Iterator<Item = usize> + use<> {
        let (place, shape) = (self.plan.places[value], self.plan.values[value].shape);
        assert!(shape.c <= place.ld, "value {value} is wider than what it lies in");
        (0..shape.n * shape.pixels())
            .flat_map(move |pixel| (0..shape.c).map(move |c| place.offset + pixel * place.ld + c))
    }

    /// Returns whether an element of `held` is also one of `value`: a slice of it, or a concatenation with it.
    fn holds(&self, held: Slot, value: Slot) -> bool {
        let wider = self.plan.values[value].part_of.map(|(wider, _)| wider);
        let steps = self.plan.constant.iter().chain(&self.plan.frame).map(|planned| &planned.step);
        let joined = steps.filter(|step| step.kind == StepKind::Concat && step.inputs.contains(&value));
        held == value || wider.into_iter().chain(joined.map(|step| step.output)).any(|wider| self.holds(held, wider))
    }

    fn read(&mut self, value: Slot, by: &str) {
        let indices: Vec<usize> = self.indices(value).collect();
        let Some(elements) = self.elements(self.plan.places[value].space) else { return };
        let held: std::collections::BTreeSet<_> = indices.iter().map(|&at| elements[at]).collect();
        let overwritten = held.into_iter().find(|held| !held.is_some_and(|held| self.holds(held, value)));
        assert_eq!(overwritten, None, "{by} reads value {value}, which was overwritten");
    }

    fn write(&mut self, value: Slot, by: &str) {
        let indices: Vec<usize> = self.indices(value).collect();
        let elements =
            self.elements(self.plan.places[value].space).unwrap_or_else(|| panic!("{by} writes to an input"));
        indices.into_iter().for_each(|at| elements[at] = Some(value));
    }

    fn run(&mut self, steps: &[Planned], layout: &dyn StorageLayout) {
        for (at, Planned { step, scratch }) in steps.iter().enumerate() {
            let by = format!("step {at}, {:?},", step.kind);
            let [input, output] = [step.inputs[0], step.output].map(|value| self.plan.values[value].shape);
            let scratch = *scratch..*scratch + layout.scratch_len(step, input, output);
            // Scratch memory is written before anything is read.
            self.arena[scratch.clone()].fill(None);
            step.reads().for_each(|value| self.read(value, &by));
            let (place, indices) = (self.plan.places[step.output], self.indices(step.output).collect::<Vec<_>>());
            let in_scratch = indices.iter().any(|at| place.space == Space::Arena && scratch.contains(at));
            assert!(!in_scratch, "{by} writes to its scratch memory");
            for value in step.reads().filter(|&value| self.plan.places[value].space == place.space) {
                let same = self.plan.places[value] == place && self.plan.values[value].shape == output;
                let in_place = step.kind == StepKind::Concat || (same && overwritable(step).any(|over| over == value));
                let overlaps = self.indices(value).any(|at| indices.binary_search(&at).is_ok());
                assert!(in_place || !overlaps, "{by} writes over value {value}, which it still reads");
            }
            self.write(step.output, &by);
        }
    }
}

/// Interprets the constant steps once and the steps of a frame twice, as a device does.
fn check_memory(program: &Program, layout: &dyn StorageLayout) {
    check_plan(program, &Plan::new(program, layout), layout);
}

fn check_plan(program: &Program, plan: &Plan, layout: &dyn StorageLayout) {
    let outputs = program.outputs().iter().map(|output| vec![None; program.shape(output.value).len()]).collect();
    let mut interpreter = Interpreter {
        plan,
        arena: vec![None; plan.constant_arena_len],
        constants: vec![None; plan.constants_len],
        outputs,
    };
    plan.constant_inputs.iter().for_each(|&(_, value)| interpreter.write(value, "the caller"));
    interpreter.run(&plan.constant, layout);
    let constants = interpreter.constants.clone();
    for _ in 0..2 {
        interpreter.arena = vec![None; plan.arena_len];
        interpreter.run(&plan.frame, layout);
        plan.copies.iter().for_each(|&(value, _)| interpreter.read(value, "the last copy"));
        assert_eq!(interpreter.constants, constants, "a frame writes to constants");
    }
    for (i, output) in interpreter.outputs.iter().enumerate() {
        let copied = plan.copies.iter().any(|&(_, to)| to == i);
        assert!(copied || output.iter().all(Option::is_some), "output {i} has a gap");
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(400))]
    #[test]
    fn no_two_live_values_of_a_random_program_overlap(
        choices in proptest::collection::vec(proptest::prelude::any::<usize>(), 400),
        len in 1_usize..40,
        f32: bool,
        scratch in 0_usize..7,
    ) {
        let mut choices = choices.into_iter().cycle();
        let program = crate::net::random_program(len, &mut |below| choices.next().unwrap() % below);
        check_memory(&program.finish().unwrap(), &Device { f32, scratch });
    }
}

#[test]
fn a_value_is_not_overwritten_by_a_step_that_reads_a_part_of_it() {
    let mut b = ProgramBuilder::new("part");
    let x = b.input("x", Shape::new(1, 4, 4, 24), Rate::Frame);
    let x = b.silu(x);
    let part = b.slice(x, 2, 12);
    let y = b.conv3x3("conv", part, 24);
    let y = b.add(x, y);
    let y = b.upsample(y);
    b.output("y", y);
    let program = b.finish().unwrap();
    for f32 in [true, false] {
        check_memory(&program, &Device { f32, scratch: 3 });
    }
}

#[test]
fn no_two_live_values_of_a_unet_overlap() {
    for f32 in [true, false] {
        check_memory(&plan(unet).0, &Device { f32, scratch: 3 });
    }
}

#[test]
fn the_check_detects_overlapping_values() {
    let (program, mut plan) = plan(unet);
    check_plan(&program, &plan, &Plain);
    plan.places.iter_mut().filter(|place| place.space == Space::Arena).for_each(|place| place.offset = 0);
    assert!(std::panic::catch_unwind(|| check_plan(&program, &plan, &Plain)).is_err());
}
