//! From operations to steps: what can be done in the store of the step that made a value is done there.

use super::{Activation, OpKind, Padding, Program, Shape, ValueId, WeightId};

/// A value of a plan: those of the program by [`ValueId::index`], then those that only the plan has.
pub type Slot = usize;

/// The most that is done in one store; longer chains go on in a step of their own.
pub const MAX_POSTS: usize = 4;

/// One thing for a device to do.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// What.
    pub kind: StepKind,
    /// What it reads, beside the operands of `posts`.
    pub inputs: Vec<Slot>,
    /// What is done to each number before it is stored, in order.
    pub posts: Vec<Post>,
    /// What it writes.
    pub output: Slot,
}

impl Step {
    /// All that it reads.
    pub fn reads(&self) -> impl Iterator<Item = Slot> {
        self.inputs.iter().copied().chain(self.posts.iter().filter_map(Post::operand))
    }
}

/// What a step does before its posts.
#[derive(Debug, Clone, PartialEq)]
pub enum StepKind {
    /// `[x]`: a convolution; a linear layer is one of side 1.
    Product(Product),
    /// `[x]`: as the operation.
    GroupNorm {
        /// Number of groups.
        groups: usize,
        /// Added to the variance.
        eps: f32,
        /// Scale.
        weight: WeightId,
        /// Shift.
        bias: WeightId,
    },
    /// `[x]`: as the operation.
    LayerNorm {
        /// Added to the variance.
        eps: f32,
        /// Scale.
        weight: WeightId,
        /// Shift.
        bias: WeightId,
    },
    /// `[k, v]`: lays keys and values out as the device likes them; a value of the plan only.
    PackKeys {
        /// Number of heads.
        heads: usize,
    },
    /// `[q, packed]`: as the operation.
    Attention {
        /// Number of heads.
        heads: usize,
        /// Whether a token sees only itself and those before it.
        causal: bool,
        /// Row of the keys for each row of `q`.
        kv_row: Vec<usize>,
        /// How many keys there are in a row.
        keys: usize,
    },
    /// `[x]`: `x` itself; the posts do the work.
    Pointwise,
    /// `[x]`: as the operation.
    Geglu,
    /// `[a, b]`: as the operation; a part that is made in its place is not copied.
    Concat,
    /// `[x]`: as the operation.
    Upsample,
    /// `[ids]`: as the operation.
    Embed {
        /// The table.
        weight: WeightId,
    },
    /// `[x]`: as the operation.
    AddWeight {
        /// What is added.
        weight: WeightId,
    },
    /// `[x, index]`: as the operation.
    TakeToken,
}

/// A convolution or a linear layer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Product {
    /// The weight, `[c_out, c_in, kernel, kernel]` or `[c_out, c_in]`.
    pub weight: WeightId,
    /// The bias.
    pub bias: Option<WeightId>,
    /// Side of the kernel.
    pub kernel: usize,
    /// Step between output pixels.
    pub stride: usize,
    /// Zeros around the input.
    pub padding: Padding,
    /// Whether the input is enlarged twofold first.
    pub upsample: bool,
    /// Whether the first half of the channels is multiplied by the GELU of the second.
    pub geglu: bool,
}

/// What is done to a number on its way into memory.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Post {
    /// Another value is added.
    Add {
        /// Which.
        value: Slot,
        /// How it is repeated to fit.
        repeat: Repeat,
    },
    /// A function is applied.
    Activate(Activation),
    /// `x * mul + add`.
    Affine {
        /// Factor.
        mul: f32,
        /// Summand.
        add: f32,
    },
}

impl Post {
    /// The value it reads, if any.
    pub fn operand(&self) -> Option<Slot> {
        match *self {
            Self::Add { value, .. } => Some(value),
            Self::Activate(_) | Self::Affine { .. } => None,
        }
    }
}

/// How the second summand is repeated to the size of the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    /// Not at all.
    None,
    /// It has one pixel a row.
    Pixels,
    /// It has one row.
    Rows,
    /// It has one pixel in all.
    Both,
}

impl Repeat {
    fn of(a: Shape, b: Shape) -> Self {
        match (a.n == b.n, a.pixels() == b.pixels()) {
            (true, true) => Self::None,
            (true, false) => Self::Pixels,
            (false, true) => Self::Rows,
            (false, false) => Self::Both,
        }
    }
}

/// A value of a plan.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PlanValue {
    /// Its shape.
    pub shape: Shape,
    /// Whether it depends on constant inputs and weights alone.
    pub constant: bool,
    /// For a slice: the value that it is a part of, and its first channel there.
    pub part_of: Option<(Slot, usize)>,
}

/// The steps of a program, and the values between them.
#[derive(Debug)]
pub struct Fused {
    /// All values.
    pub values: Vec<PlanValue>,
    /// All steps, each after those it reads from.
    pub steps: Vec<Step>,
}

/// Turns the operations of `program` into steps. `keys_len(k, v, heads)` tells how many numbers the device's layout of
/// keys and values takes.
pub fn fuse(program: &Program, keys_len: &dyn Fn(Shape, Shape, usize) -> usize) -> Fused {
    let values = (program.shapes().iter().enumerate())
        .map(|(i, &shape)| PlanValue { shape, constant: program.constant_at(i), part_of: None })
        .collect::<Vec<_>>();
    let mut readers = vec![0; values.len()];
    let read = program.ops().iter().flat_map(|op| &op.inputs).chain(program.outputs().iter().map(|out| &out.value));
    for value in read {
        readers[value.index()] += 1;
    }
    let mut fuser =
        Fuser { producer: vec![None; values.len()], values, readers, steps: Vec::new(), packed: Vec::new() };
    for op in program.ops() {
        fuser.op(&op.kind, &op.inputs, op.output.index(), keys_len);
    }
    Fused { values: fuser.values, steps: fuser.steps.into_iter().flatten().collect() }
}

struct Fuser {
    values: Vec<PlanValue>,
    /// How many operations and outputs read each value.
    readers: Vec<usize>,
    /// Which step makes each value.
    producer: Vec<Option<usize>>,
    /// `None` where a step moved on or was folded into another.
    steps: Vec<Option<Step>>,
    /// Keys and values laid out so far, so that two attentions over the same ones share them.
    packed: Vec<([Slot; 2], usize, Slot)>,
}

impl Fuser {
    fn op(&mut self, kind: &OpKind, inputs: &[ValueId], out: Slot, keys_len: &dyn Fn(Shape, Shape, usize) -> usize) {
        let ins = inputs.iter().map(|value| value.index()).collect::<Vec<_>>();
        let x = ins[0];
        match *kind {
            OpKind::Conv2d { weight, bias, kernel, stride, padding, upsample } => {
                let product = Product { weight, bias, kernel, stride, padding, upsample, geglu: false };
                self.product(product, x, out);
            }
            OpKind::Linear { weight, bias } => {
                let padding = Padding::all(0);
                let product = Product { weight, bias, kernel: 1, stride: 1, padding, upsample: false, geglu: false };
                self.push(StepKind::Product(product), ins, out);
            }
            OpKind::GroupNorm { groups, eps, weight, bias } => {
                self.push(StepKind::GroupNorm { groups, eps, weight, bias }, ins, out);
            }
            OpKind::LayerNorm { eps, weight, bias } => self.push(StepKind::LayerNorm { eps, weight, bias }, ins, out),
            OpKind::Attention { heads, causal, ref kv_row } => {
                let keys = self.values[ins[1]].shape.pixels();
                let packed = self.packed_keys([ins[1], ins[2]], heads, keys_len);
                let kind = StepKind::Attention { heads, causal, kv_row: kv_row.clone(), keys };
                self.push(kind, vec![x, packed], out);
            }
            OpKind::Activate(activation) => self.follow(x, Post::Activate(activation), out),
            OpKind::Affine { mul, add } => self.follow(x, Post::Affine { mul, add }, out),
            OpKind::Add => self.add(x, ins[1], out),
            OpKind::Geglu => self.geglu(x, out),
            OpKind::Concat => self.push(StepKind::Concat, ins, out),
            OpKind::Upsample => self.push(StepKind::Upsample, ins, out),
            OpKind::Slice { start, .. } => self.values[out].part_of = Some((x, start)),
            OpKind::Embed { weight } => self.push(StepKind::Embed { weight }, ins, out),
            OpKind::AddWeight { weight } => self.push(StepKind::AddWeight { weight }, ins, out),
            OpKind::TakeToken => self.push(StepKind::TakeToken, ins, out),
        }
    }

    fn push(&mut self, kind: StepKind, inputs: Vec<Slot>, output: Slot) {
        self.producer[output] = Some(self.steps.len());
        self.steps.push(Some(Step { kind, inputs, posts: Vec::new(), output }));
    }

    /// The step that makes `x`, if `x` need not exist once `out` does: nothing else reads it, and both are worked out
    /// equally often.
    fn sole_producer(&self, x: Slot, out: Slot) -> Option<usize> {
        let sole = self.readers[x] == 1 && self.values[x].constant == self.values[out].constant;
        self.producer[x].filter(|_| sole)
    }

    /// The step that makes `x`, if it can do one thing more in its store and give `out` instead.
    fn extendable(&self, x: Slot, out: Slot) -> Option<usize> {
        self.sole_producer(x, out).filter(|&index| {
            self.steps[index].as_ref().is_some_and(|step| {
                let stores = match step.kind {
                    StepKind::Product(product) => !product.geglu,
                    StepKind::GroupNorm { .. } | StepKind::LayerNorm { .. } | StepKind::Pointwise => true,
                    StepKind::PackKeys { .. }
                    | StepKind::Attention { .. }
                    | StepKind::Geglu
                    | StepKind::Concat
                    | StepKind::Upsample
                    | StepKind::Embed { .. }
                    | StepKind::AddWeight { .. }
                    | StepKind::TakeToken => false,
                };
                stores && step.posts.len() < MAX_POSTS
            })
        })
    }

    /// Applies `post` to `x`: in the step that makes `x` if possible.
    fn follow(&mut self, x: Slot, post: Post, out: Slot) {
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
            // The operand comes later than the step does; nothing between reads the step's result, so it can wait.
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

    /// The value that `value` is a slice of.
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
        // The later of the two, so that the other one is there already.
        if into_b > into_a {
            self.follow(b, Post::Add { value: a, repeat }, out);
        } else {
            self.follow(a, Post::Add { value: b, repeat }, out);
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

    /// A convolution; an enlargement that only it reads happens as it reads.
    fn product(&mut self, mut product: Product, mut x: Slot, out: Slot) {
        if let Some(index) = self.sole_producer(x, out)
            && !product.upsample
            && let Some(step) = self.steps[index].take_if(|step| step.kind == StepKind::Upsample)
        {
            product.upsample = true;
            x = step.inputs[0];
        }
        self.push(StepKind::Product(product), vec![x], out);
    }

    fn packed_keys(
        &mut self,
        [k, v]: [Slot; 2],
        heads: usize,
        keys_len: &dyn Fn(Shape, Shape, usize) -> usize,
    ) -> Slot {
        if let Some(&(_, _, packed)) = self.packed.iter().find(|&&(kv, h, _)| kv == [k, v] && h == heads) {
            return packed;
        }
        let (ks, vs) = (self.values[k], self.values[v]);
        let packed = self.values.len();
        let shape = Shape::vector(1, keys_len(ks.shape, vs.shape, heads));
        self.values.push(PlanValue { shape, constant: ks.constant && vs.constant, part_of: None });
        self.readers.push(0);
        self.producer.push(None);
        self.packed.push(([k, v], heads, packed));
        self.push(StepKind::PackKeys { heads }, vec![k, v], packed);
        packed
    }
}
