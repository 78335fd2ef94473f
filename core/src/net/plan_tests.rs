use super::*;
use crate::net::{Activation, Padding, ProgramBuilder, ValueId};

/// A device without layouts of its own, that wants scratch memory for every step.
struct Plain;

impl Layout for Plain {
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

/// Half a UNet: two levels, a skip, a prompt, a time embedding.
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
    let program = builder.finish();
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
fn what_follows_a_layer_is_fused_and_constants_leave_the_frame() {
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
fn both_parts_of_a_skip_are_made_in_its_place() {
    let (_, plan) = plan(unet);
    let concat = plan.frame.iter().find(|planned| planned.step.kind == StepKind::Concat).unwrap();
    let whole = plan.places[concat.step.output];
    let [a, b] = [0, 1].map(|i| plan.places[concat.step.inputs[i]]);
    assert_eq!((a.offset, a.ld), (whole.offset, 32));
    assert_eq!((b.offset, b.ld), (whole.offset + 16, 32));
}

#[test]
fn the_last_layer_writes_to_the_caller() {
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

/// The numbers that a value covers in its memory: first, one past the last.
fn extent(plan: &Plan, value: Slot) -> (usize, usize) {
    let (place, shape) = (plan.places[value], plan.values[value].shape);
    (place.offset, place.offset + (shape.n * shape.pixels() - 1) * place.ld + shape.c)
}

/// Whether two values have a number in common.
fn overlap(plan: &Plan, a: Slot, b: Slot) -> bool {
    let (first, second) = (extent(plan, a), extent(plan, b));
    if first.0 >= second.1 || second.0 >= first.1 {
        return false;
    }
    // Beside each other in the pixels of a wider value.
    let (pa, pb) = (plan.places[a], plan.places[b]);
    let columns = |value: Slot, of: Place| (of.offset % of.ld, of.offset % of.ld + plan.values[value].shape.c);
    let (ca, cb) = (columns(a, pa), columns(b, pb));
    let beside = pa.ld == pb.ld && pa.offset / pa.ld == pb.offset / pb.ld && (ca.1 <= cb.0 || cb.1 <= ca.0);
    !beside
}

/// Writes every value's name into its memory as steps write, and finds it there as steps read.
#[test]
fn nothing_is_overwritten_that_is_still_read() {
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
