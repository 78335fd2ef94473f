//! Fusion: converts operations to steps, and applies elementwise operations when the preceding step stores its result.

use super::bytes::ByteScale;
use super::steps::{
    Depthwise, Fused, MAX_POSTS, PlanValue, Post, Product, Repeat, Slot, Step, StepClass, StepKind, StorageLayout,
};
use super::{OpKind, Padding, Program, Shape, ValueId};

/// Converts the operations of `program` to steps for a device with the storage format of `layout`.
pub(super) fn fuse(program: &Program, layout: &dyn StorageLayout) -> Fused {
    let values = (program.shapes().iter().enumerate())
        .map(|(i, &shape)| PlanValue { shape, constant: program.constant_at(i), part_of: None })
        .collect::<Vec<_>>();
    let mut readers = vec![0; values.len()];
    let read = program.ops().iter().flat_map(|op| &op.inputs).chain(program.outputs().iter().map(|out| &out.value));
    for value in read {
        readers[value.index()] += 1;
    }
    let mut fuser = Fuser {
        layout,
        producer: vec![None; values.len()],
        own: (0..values.len()).collect(),
        values,
        readers,
        steps: Vec::new(),
        packed: Vec::new(),
        bytes: Vec::new(),
    };
    if !layout.stores_f32() {
        program.inputs().iter().for_each(|input| fuser.own[input.value.index()] = Slot::MAX);
    }
    for op in program.ops() {
        fuser.op(&op.kind, &op.inputs, op.output.index());
    }
    let outputs = program.outputs().iter().map(|output| fuser.imported(output.value.index())).collect();
    Fused { values: fuser.values, steps: fuser.steps.into_iter().flatten().collect(), outputs }
}

struct Fuser<'a> {
    layout: &'a dyn StorageLayout,
    values: Vec<PlanValue>,
    /// Number of operations and outputs that read each value.
    readers: Vec<usize>,
    /// The step that computes each value.
    producer: Vec<Option<usize>>,
    /// `None` for a step that was moved, or fused into another.
    steps: Vec<Option<Step>>,
    /// The packed keys and values so far, so that two attentions over the same values share them.
    packed: Vec<([Slot; 2], usize, Slot)>,
    /// The quantized values so far: the value, its quantization, and the resulting value.
    bytes: Vec<(Slot, ByteScale, Slot)>,
    /// The value in the device's format: itself, or the imported form of an input; `Slot::MAX` if it is not imported
    /// yet.
    own: Vec<Slot>,
}

impl Fuser<'_> {
    fn op(&mut self, kind: &OpKind, inputs: &[ValueId], out: Slot) {
        // Indices are not converted: a narrower format could not represent them.
        let index_input =
            if matches!(kind, OpKind::Embed { .. }) { Some(0) } else { (*kind == OpKind::TakeToken).then_some(1) };
        let own = |(i, value): (usize, &ValueId)| {
            if index_input == Some(i) { value.index() } else { self.imported(value.index()) }
        };
        let ins = inputs.iter().enumerate().map(own).collect::<Vec<_>>();
        let x = ins[0];
        match *kind {
            OpKind::Conv2d { weight, bias, kernel, stride, dilation, padding, upsample } => {
                let (geglu, bytes) = (false, None);
                let product = Product { weight, bias, kernel, stride, dilation, padding, upsample, geglu, bytes };
                self.product(product, x, out);
            }
            OpKind::Linear { weight, bias } => {
                let padding = Padding::all(0);
                let (upsample, geglu, bytes) = (false, false, None);
                let product =
                    Product { weight, bias, kernel: 1, stride: 1, dilation: 1, padding, upsample, geglu, bytes };
                self.product(product, x, out);
            }
            OpKind::Depthwise { weight, bias, kernel, stride, padding } => {
                self.push(StepKind::Depthwise(Depthwise { weight, bias, kernel, stride, padding }), ins, out);
            }
            OpKind::Image(op) => self.push(StepKind::Image(op), ins, out),
            OpKind::GroupNorm { groups, eps, weight, bias } => {
                self.push(StepKind::GroupNorm { groups, eps, weight, bias }, ins, out);
            }
            OpKind::LayerNorm { eps, weight, bias } => self.push(StepKind::LayerNorm { eps, weight, bias }, ins, out),
            OpKind::Attention { heads, causal, ref kv_row, cached_layer } => {
                let keys = self.values[ins[1]].shape.pixels();
                let packed = self.packed_keys([ins[1], ins[2]], heads);
                let kind = StepKind::Attention { heads, causal, kv_row: kv_row.clone(), keys, cached_layer };
                self.push(kind, vec![x, packed], out);
            }
            OpKind::Inject { layer } => self.push(StepKind::Inject { layer }, ins, out),
            OpKind::Activate(activation) => self.apply(x, Post::Activate(activation), out),
            OpKind::Affine { mul, add } => self.apply(x, Post::Affine { mul, add }, out),
            OpKind::Add => self.add(x, ins[1], out),
            OpKind::Mul => self.push(StepKind::Mul, ins, out),
            OpKind::Geglu => self.geglu(x, out),
            OpKind::Concat => self.push(StepKind::Concat, ins, out),
            OpKind::Upsample => self.push(StepKind::Upsample, ins, out),
            OpKind::Slice { start, .. } => self.values[out].part_of = Some((x, start)),
            OpKind::Embed { weight } => self.push(StepKind::Embed { weight }, ins, out),
            OpKind::AddWeight { weight } => self.push(StepKind::AddWeight { weight }, ins, out),
            OpKind::TakeToken => self.push(StepKind::TakeToken, ins, out),
        }
    }

    /// Adds a value that only the plan has.
    fn new_value(&mut self, shape: Shape, constant: bool) -> Slot {
        self.values.push(PlanValue { shape, constant, part_of: None });
        self.readers.push(0);
        self.producer.push(None);
        self.values.len() - 1
    }

    /// Returns the value in the device's format; adds a conversion if needed.
    fn imported(&mut self, value: Slot) -> Slot {
        if self.own[value] == Slot::MAX {
            let PlanValue { shape, constant, .. } = self.values[value];
            let own = self.new_value(shape, constant);
            self.readers[own] = self.readers[value];
            self.own[value] = own;
            self.push(StepKind::Import, vec![value], own);
        }
        self.own[value]
    }

    fn push(&mut self, kind: StepKind, inputs: Vec<Slot>, output: Slot) {
        self.producer[output] = Some(self.steps.len());
        self.steps.push(Some(Step { kind, inputs, posts: Vec::new(), output }));
    }

    /// Returns the step that computes `x`, if `out` can replace `x`: nothing else reads `x`, and both have the same
    /// rate.
    fn sole_producer(&self, x: Slot, out: Slot) -> Option<usize> {
        let sole = self.readers[x] == 1 && self.values[x].constant == self.values[out].constant;
        self.producer[x].filter(|_| sole)
    }

    /// Returns the step that computes `x`, if it can apply one more elementwise operation and output `out` instead.
    fn extendable(&self, x: Slot, out: Slot) -> Option<usize> {
        self.sole_producer(x, out).filter(|&index| {
            self.steps[index].as_ref().is_some_and(|step| {
                let stores = match step.kind.class() {
                    StepClass::Product => !matches!(step.kind, StepKind::Product(product) if product.geglu),
                    StepClass::Window | StepClass::Norm | StepClass::Elementwise | StepClass::Binary => true,
                    StepClass::Other => false,
                };
                stores && step.posts.len() < MAX_POSTS
            })
        })
    }

    /// Applies `post` to `x`, in the step that computes `x` if possible.
    fn apply(&mut self, x: Slot, post: Post, out: Slot) {
        match self.extendable(x, out) {
            Some(index) => self.extend(index, post, out),
            None => {
                self.push(StepKind::Pointwise, vec![x], out);
                self.extend(self.steps.len() - 1, post, out);
            }
        }
    }

    fn extend(&mut self, mut index: usize, post: Post, out: Slot) {
        let ready = post.operand().map(|value| self.root(value)).and_then(|value| self.producer[value]);
        if ready.is_some_and(|ready| ready > index) {
            // The operand is computed after the step. No step in between reads the step's result, so it can move.
            let step = self.steps[index].take();
            index = self.steps.len();
            self.steps.push(step);
        }
        if let Some(step) = &mut self.steps[index] {
            step.posts.push(post);
            step.output = out;
            self.producer[out] = Some(index);
        }
    }

    /// Returns the value that `value` is a slice of, or `value` itself.
    fn root(&self, mut value: Slot) -> Slot {
        while let Some((whole, _)) = self.values[value].part_of {
            value = whole;
        }
        value
    }

    fn add(&mut self, a: Slot, b: Slot, out: Slot) {
        let repeat = Repeat::of(self.values[a].shape, self.values[b].shape);
        let into_a = self.extendable(a, out);
        let into_b = if repeat == Repeat::None { self.extendable(b, out) } else { None };
        // Extends the later of the two steps, so that the other operand is already computed.
        if into_b > into_a {
            self.apply(b, Post::Add { value: a, repeat }, out);
        } else {
            self.apply(a, Post::Add { value: b, repeat }, out);
        }
    }

    fn geglu(&mut self, x: Slot, out: Slot) {
        if let Some(index) = self.extendable(x, out)
            && let Some(step) = &mut self.steps[index]
            && let StepKind::Product(product) = &mut step.kind
            && step.posts.is_empty()
        {
            product.geglu = true;
            step.output = out;
            self.producer[out] = Some(index);
            return;
        }
        self.push(StepKind::Geglu, vec![x], out);
    }

    /// Adds a convolution, and fuses a preceding upsampling that nothing else reads.
    fn product(&mut self, mut product: Product, mut x: Slot, out: Slot) {
        if let Some(index) = self.sole_producer(x, out)
            && !product.upsample
            && let Some(step) = self.steps[index].take_if(|step| step.kind == StepKind::Upsample)
        {
            product.upsample = true;
            x = step.inputs[0];
        }
        if !self.values[x].constant {
            product.bytes = self.layout.byte_scale(product.weight);
        }
        if let Some(scale) = product.bytes {
            x = self.bytes(x, scale);
        }
        self.push(StepKind::Product(product), vec![x], out);
    }

    /// Returns the quantized value, which all readers with the same scale share.
    fn bytes(&mut self, x: Slot, scale: ByteScale) -> Slot {
        if let Some(&(.., bytes)) = self.bytes.iter().find(|&&(of, with, _)| of == x && with == scale) {
            return bytes;
        }
        // Allocates as much memory as the value itself, although less would suffice: offsets are in stored elements.
        let bytes = self.new_value(self.values[x].shape, false);
        self.bytes.push((x, scale, bytes));
        self.push(StepKind::ToBytes { scale }, vec![x], bytes);
        bytes
    }

    fn packed_keys(&mut self, [k, v]: [Slot; 2], heads: usize) -> Slot {
        if let Some(&(_, _, packed)) = self.packed.iter().find(|&&(kv, h, _)| kv == [k, v] && h == heads) {
            return packed;
        }
        let (ks, vs) = (self.values[k], self.values[v]);
        let shape = Shape::vector(1, self.layout.keys_len(ks.shape, vs.shape, heads));
        let packed = self.new_value(shape, ks.constant && vs.constant);
        self.packed.push(([k, v], heads, packed));
        self.push(StepKind::PackKeys { heads }, vec![k, v], packed);
        packed
    }
}
