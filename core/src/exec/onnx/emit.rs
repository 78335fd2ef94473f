//! Writes a program as graphs of ONNX, with the operators of a dialect.
//!
//! A value is an image `[n, c, h, w]` for operators on pixels, and tokens `[n, h * w, c]` for the others. Tokens have the
//! memory order of this crate's values, so inputs and outputs of a graph are tokens. A value is converted once for each
//! layout that its readers need. Images are transposed with four dimensions, as the layout passes of providers do, which
//! remove pairs of such transpositions.

mod basic;

use std::collections::HashMap;

use dreamframe_kernels::Activation;

use super::super::MOST_PAST_FRAMES;
use super::dialect::{
    BIAS_SPLIT_GELU, Dialect, FusedOp, GROUP_NORM, GroupNorm, MULTI_HEAD_ATTENTION, SKIP_GROUP_NORM, fused_ops,
};
use super::graph::{Form, GraphBuilder, Model, Port};
use super::proto::Attribute::{Float, Int, Ints, Text};
use super::proto::ElementType;
use crate::net::{ImageOp, Op, OpKind, Padding, Program, Rate, Shape, ValueId, WeightId};

/// The graphs of a program.
#[derive(Debug)]
pub(super) struct Graphs {
    /// Computes the constants; `None` if every constant is an input.
    pub(super) constant: Option<Model>,
    /// Computes the outputs of a frame. Its inputs are the program's frame inputs, then `constants`.
    pub(super) frame: Model,
    /// The keys and values of each layer with cached attention, in the order of the frame graph, which has additional
    /// operands: for each layer and each of [`MOST_PAST_FRAMES`] the keys and the values of that frame, with any number of
    /// tokens, after all other inputs; and for each layer its own keys and values after all other outputs.
    pub(super) cached: Vec<[ValueId; 2]>,
    /// The constant values that a frame reads. Those that are no inputs of the program are the outputs of the constant
    /// graph, in the same order.
    pub(super) constants: Vec<ValueId>,
}

/// The dimensions of a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Layout {
    /// `[n, c, h, w]`
    Image,
    /// `[n, h * w, c]`
    Tokens,
    /// `[n, h, w, c]`, the memory order of tokens.
    ChannelsLast,
}

impl Layout {
    /// All layouts. If several suit an operation equally well, it has the first.
    const ALL: [Self; 3] = [Self::Image, Self::Tokens, Self::ChannelsLast];

    fn dims(self, shape: Shape) -> Vec<i64> {
        let dims = match self {
            Self::Image => vec![shape.n, shape.c, shape.h, shape.w],
            Self::Tokens => vec![shape.n, shape.pixels(), shape.c],
            Self::ChannelsLast => vec![shape.n, shape.h, shape.w, shape.c],
        };
        dims.into_iter().map(|dim| dim as i64).collect()
    }

    const fn channel_axis(self) -> i64 {
        match self {
            Self::Image => 1,
            Self::Tokens => 2,
            Self::ChannelsLast => 3,
        }
    }
}

/// Writes `program` with the operators of `dialect`, and values and weights of type `element`. Token ids and indices are
/// single precision in any case, since half precision does not have all of them.
pub(super) fn emit(program: &Program, element: ElementType, dialect: Dialect) -> Graphs {
    let constants = constants_of_frames(program);
    let is_computed = |value: &&ValueId| !program.inputs().iter().any(|input| input.value == **value);
    let computed: Vec<ValueId> = constants.iter().filter(is_computed).copied().collect();
    let constant = (!computed.is_empty()).then(|| {
        let mut emitter = Emitter::new(program, element, dialect);
        program.inputs_at(Rate::Constant).for_each(|input| emitter.input(input.value));
        program.ops().iter().filter(|op| program.is_constant(op.output)).for_each(|op| emitter.op(op));
        computed.iter().for_each(|&value| emitter.output(value));
        emitter.graph.finish(program.name())
    });
    let mut emitter = Emitter::new(program, element, dialect);
    program.inputs_at(Rate::Frame).for_each(|input| emitter.input(input.value));
    constants.iter().for_each(|&value| emitter.input(value));
    program.ops().iter().filter(|op| !program.is_constant(op.output)).for_each(|op| emitter.op(op));
    program.outputs().iter().for_each(|output| emitter.output(output.value));
    let cached = std::mem::take(&mut emitter.cached);
    cached.iter().flatten().for_each(|&value| emitter.output(value));
    Graphs { constant, frame: emitter.graph.finish(program.name()), cached, constants }
}

/// Returns the constant values that operations of a frame read, or that are outputs.
fn constants_of_frames(program: &Program) -> Vec<ValueId> {
    let frame_ops = program.ops().iter().filter(|op| !program.is_constant(op.output));
    let read = frame_ops.flat_map(|op| &op.inputs).chain(program.outputs().iter().map(|output| &output.value));
    let mut constants: Vec<ValueId> = read.filter(|&&value| program.is_constant(value)).copied().collect();
    constants.sort_unstable();
    constants.dedup();
    constants
}

/// Returns the number of entries that `value`, token ids or indices, selects from; `None` for another value.
pub(super) fn index_range(program: &Program, value: ValueId) -> Option<usize> {
    let range = |op: &Op| {
        if let OpKind::Embed { weight } = &op.kind {
            (op.inputs[0] == value).then(|| program.weight(*weight).shape[0])
        } else if op.kind == OpKind::TakeToken {
            (op.inputs[1] == value).then(|| program.shape(op.inputs[0]).pixels())
        } else {
            None
        }
    };
    program.ops().iter().filter_map(range).min()
}

struct Emitter<'a> {
    program: &'a Program,
    element: ElementType,
    dialect: Dialect,
    graph: GraphBuilder,
    /// The operations that are parts of the nodes of others, by their outputs, which have no tensors.
    fused: HashMap<ValueId, FusedOp>,
    /// The tensor of each value in each layout that exists.
    tensors: HashMap<(ValueId, Layout), String>,
    /// The keys and values of the layers with cached attention so far.
    cached: Vec<[ValueId; 2]>,
}

impl<'a> Emitter<'a> {
    fn new(program: &'a Program, element: ElementType, dialect: Dialect) -> Self {
        let graph = GraphBuilder::new(dialect);
        Self {
            program,
            element,
            dialect,
            graph,
            fused: fused_ops(program, dialect),
            tensors: HashMap::new(),
            cached: Vec::new(),
        }
    }

    fn port(&self, name: String, value: ValueId) -> Port {
        let element = if index_range(self.program, value).is_some() { ElementType::F32 } else { self.element };
        Port { name, element, dims: Layout::Tokens.dims(self.program.shape(value)) }
    }

    fn input(&mut self, value: ValueId) {
        let name = format!("v{}", value.index());
        self.graph.input(self.port(name.clone(), value));
        self.tensors.insert((value, Layout::Tokens), name);
    }

    /// Adds an output; one value may be several.
    fn output(&mut self, value: ValueId) {
        let tensor = self.tensor(value, Layout::Tokens);
        let name = format!("o{}", self.graph.next_name());
        self.graph.node_with_outputs("Identity", &[&tensor], &[&name], &[]);
        self.graph.output(self.port(name, value));
    }

    /// Returns the tensor of a value in `layout`, converted if need be.
    fn tensor(&mut self, value: ValueId, layout: Layout) -> String {
        if let Some(tensor) = self.tensors.get(&(value, layout)) {
            return tensor.clone();
        }
        let (existing, one_order) = (self.layout(value), self.has_one_order(value));
        let from = match layout {
            _ if one_order => existing,
            Layout::Image | Layout::Tokens => Layout::ChannelsLast,
            Layout::ChannelsLast if self.exists(value, Layout::Tokens) => Layout::Tokens,
            Layout::ChannelsLast => existing,
        };
        let tensor = self.tensor(value, from);
        let tensor = match (from, layout) {
            (Layout::ChannelsLast, Layout::Image) if !one_order => self.transpose(&tensor, [0, 3, 1, 2]),
            (Layout::Image, Layout::ChannelsLast) if !one_order => self.transpose(&tensor, [0, 2, 3, 1]),
            _ => self.reshape(&tensor, &layout.dims(self.program.shape(value))),
        };
        self.tensors.insert((value, layout), tensor.clone());
        tensor
    }

    fn transpose(&mut self, tensor: &str, order: [i64; 4]) -> String {
        self.graph.node("Transpose", &[tensor], &[("perm", Ints(&order))])
    }

    fn reshape(&mut self, tensor: &str, dims: &[i64]) -> String {
        let dims = self.graph.ints(dims);
        self.graph.node("Reshape", &[tensor, &dims], &[])
    }

    fn exists(&self, value: ValueId, layout: Layout) -> bool {
        self.tensors.contains_key(&(value, layout))
    }

    /// Returns the first layout in which `value` exists: every value is written before it is read.
    fn layout(&self, value: ValueId) -> Layout {
        let layout = Layout::ALL.into_iter().find(|&layout| self.exists(value, layout));
        debug_assert!(layout.is_some(), "value {} is read before it is written", value.index());
        layout.unwrap_or(Layout::Tokens)
    }

    /// Returns whether the elements of `value` have the same order in all layouts.
    fn has_one_order(&self, value: ValueId) -> bool {
        let shape = self.program.shape(value);
        shape.pixels() == 1 || shape.c == 1
    }

    /// Returns the layout in which `values` together need the fewest transpositions, then the fewest nodes.
    fn common_layout(&self, values: [ValueId; 2]) -> Layout {
        let cost = |layout: &Layout| {
            let [a, b] = values.map(|value| self.conversions(value, *layout));
            (a[0] + b[0], a[1] + b[1])
        };
        Layout::ALL.into_iter().min_by_key(cost).unwrap_or(Layout::Image)
    }

    /// Returns the number of transpositions and of other nodes that convert `value` to `layout`.
    fn conversions(&self, value: ValueId, layout: Layout) -> [usize; 2] {
        let exists = |layout| self.exists(value, layout);
        match layout {
            _ if exists(layout) => [0, 0],
            _ if self.has_one_order(value) => [0, 1],
            Layout::Image => [1, usize::from(!exists(Layout::ChannelsLast))],
            Layout::Tokens => [usize::from(!exists(Layout::ChannelsLast)), 1],
            Layout::ChannelsLast if exists(Layout::Tokens) => [0, 1],
            Layout::ChannelsLast => [1, 0],
        }
    }

    /// Returns the first layout in which `value` exists, and its tensor.
    fn existing(&mut self, value: ValueId) -> (Layout, String) {
        let layout = self.layout(value);
        (layout, self.tensor(value, layout))
    }

    fn weight(&mut self, weight: WeightId, form: Form) -> String {
        self.weight_of(self.element, weight, form)
    }

    fn weight_of(&mut self, element: ElementType, weight: WeightId, form: Form) -> String {
        let dims: Vec<i64> = self.program.weight(weight).shape.iter().map(|&dim| dim as i64).collect();
        let dims = match form {
            Form::Plain => dims,
            Form::Transposed => dims.into_iter().rev().collect(),
        };
        self.graph.weight(element, weight.index(), form, dims)
    }

    /// Writes one operation.
    fn op(&mut self, op: &Op) {
        if self.fused.contains_key(&op.output) {
            return;
        }
        let x = op.inputs[0];
        let (layout, tensor) = match &op.kind {
            &OpKind::Conv2d { weight, bias, kernel, stride, dilation, padding, upsample } => {
                let image = if upsample { self.enlarged(x) } else { self.tensor(x, Layout::Image) };
                (Layout::Image, self.conv(&image, weight, bias, [kernel, stride, dilation, 1], padding))
            }
            &OpKind::Depthwise { weight, bias, kernel, stride, padding } => {
                let image = self.tensor(x, Layout::Image);
                let groups = self.program.shape(x).c;
                (Layout::Image, self.conv(&image, weight, bias, [kernel, stride, 1, groups], padding))
            }
            OpKind::Image(image_op) => self.image(op, *image_op),
            OpKind::Linear { weight, bias } => (Layout::Tokens, self.linear(x, *weight, *bias)),
            &OpKind::GroupNorm { groups, eps, weight, bias } => {
                self.group_norm(x, GroupNorm { groups, eps, weight, bias }, false)
            }
            OpKind::LayerNorm { eps, weight, bias } => {
                let tokens = self.tensor(x, Layout::Tokens);
                let [scale, shift] = [*weight, *bias].map(|weight| self.weight(weight, Form::Plain));
                let attributes = [("axis", Int(-1)), ("epsilon", Float(*eps))];
                (Layout::Tokens, self.graph.node("LayerNormalization", &[&tokens, &scale, &shift], &attributes))
            }
            OpKind::Attention { heads, causal, kv_row, cached_layer } => {
                (Layout::Tokens, self.attention(op, *heads, *causal, kv_row, cached_layer.is_some()))
            }
            // Without earlier frames; programs that inject tokens are not compiled.
            OpKind::Inject { .. } => self.existing(x),
            OpKind::Activate(activation) => self.activated(x, *activation),
            OpKind::Geglu => (Layout::Tokens, self.geglu(x)),
            OpKind::Add => self.binary("Add", op),
            OpKind::Mul => self.binary("Mul", op),
            OpKind::Affine { mul, add } => {
                let (layout, tensor) = self.existing(x);
                (layout, self.affine(&tensor, *mul, *add))
            }
            OpKind::Concat => {
                let layout = self.common_layout([x, op.inputs[1]]);
                let [a, b] = [x, op.inputs[1]].map(|value| self.tensor(value, layout));
                (layout, self.graph.node("Concat", &[&a, &b], &[("axis", Int(layout.channel_axis()))]))
            }
            OpKind::Upsample => (Layout::Image, self.enlarged(x)),
            OpKind::Slice { start, len } => {
                let (layout, tensor) = self.existing(x);
                (layout, self.slice(&tensor, layout.channel_axis(), *start, *len))
            }
            OpKind::Embed { weight } => (Layout::Tokens, self.embed(x, *weight)),
            OpKind::AddWeight { weight } => (Layout::Tokens, self.add_weight(x, *weight)),
            OpKind::TakeToken => (Layout::Tokens, self.take_token(op)),
        };
        self.tensors.insert((op.output, layout), tensor);
    }

    /// Writes a convolution; `sizes` are kernel, stride, dilation and groups.
    fn conv(
        &mut self,
        image: &str,
        weight: WeightId,
        bias: Option<WeightId>,
        sizes: [usize; 4],
        padding: Padding,
    ) -> String {
        let weights: Vec<String> =
            std::iter::once(weight).chain(bias).map(|weight| self.weight(weight, Form::Plain)).collect();
        let [kernel, stride, dilation, groups] = sizes.map(|size| size as i64);
        let pads = [padding.top, padding.left, padding.bottom, padding.right].map(|pad| pad as i64);
        let inputs: Vec<&str> = std::iter::once(image).chain(weights.iter().map(String::as_str)).collect();
        let attributes = [
            ("kernel_shape", Ints(&[kernel, kernel])),
            ("strides", Ints(&[stride, stride])),
            ("dilations", Ints(&[dilation, dilation])),
            ("pads", Ints(&pads)),
            ("group", Int(groups)),
        ];
        self.graph.node("Conv", &inputs, &attributes)
    }

    /// Returns the image `x` at twice its size, with repeated pixels.
    fn enlarged(&mut self, x: ValueId) -> String {
        let image = self.tensor(x, Layout::Image);
        let scales = self.graph.floats(&[1.0, 1.0, 2.0, 2.0]);
        let attributes = [
            ("mode", Text("nearest")),
            ("coordinate_transformation_mode", Text("asymmetric")),
            ("nearest_mode", Text("floor")),
        ];
        self.graph.node("Resize", &[&image, "", &scales], &attributes)
    }

    fn image(&mut self, op: &Op, image_op: ImageOp) -> (Layout, String) {
        let (from, to) = (self.program.shape(op.inputs[0]), self.program.shape(op.output));
        if image_op == ImageOp::Refold {
            let tokens = self.tensor(op.inputs[0], Layout::Tokens);
            return (Layout::Tokens, self.refold(&tokens, from.pixels(), to.pixels()));
        }
        let image = self.tensor(op.inputs[0], Layout::Image);
        let tensor = match image_op {
            ImageOp::MaxPool => {
                let attributes = [("kernel_shape", Ints(&[2, 2])), ("strides", Ints(&[2, 2])), ("ceil_mode", Int(1))];
                self.graph.node("MaxPool", &[&image], &attributes)
            }
            ImageOp::Resize { align_corners } => {
                let mode = if align_corners { "align_corners" } else { "half_pixel" };
                let sizes = self.graph.ints(&Layout::Image.dims(to));
                let attributes = [("mode", Text("linear")), ("coordinate_transformation_mode", Text(mode))];
                self.graph.node("Resize", &[&image, "", "", &sizes], &attributes)
            }
            ImageOp::DepthToSpace { side } => {
                let attributes = [("blocksize", Int(side as i64)), ("mode", Text("DCR"))];
                self.graph.node("DepthToSpace", &[&image], &attributes)
            }
            ImageOp::Reflect { border } => {
                let border = border as i64;
                let pads = self.graph.ints(&[0, 0, border, border, 0, 0, border, border]);
                self.graph.node("Pad", &[&image, &pads], &[("mode", Text("reflect"))])
            }
            ImageOp::Refold => image,
        };
        (Layout::Image, tensor)
    }

    /// Returns `to` of `from` tokens, with zeros for missing ones.
    fn refold(&mut self, tokens: &str, from: usize, to: usize) -> String {
        if to <= from {
            return if to == from { tokens.to_owned() } else { self.slice(tokens, 1, 0, to) };
        }
        let pads = self.graph.ints(&[0, 0, 0, 0, (to - from) as i64, 0]);
        self.graph.node("Pad", &[tokens, &pads], &[])
    }

    fn linear(&mut self, x: ValueId, weight: WeightId, bias: Option<WeightId>) -> String {
        let product = self.product(x, weight);
        match bias {
            Some(bias) => {
                let bias = self.weight(bias, Form::Plain);
                self.graph.node("Add", &[&product, &bias], &[])
            }
            None => product,
        }
    }

    fn product(&mut self, x: ValueId, weight: WeightId) -> String {
        let tokens = self.tensor(x, Layout::Tokens);
        let weight = self.weight(weight, Form::Transposed);
        self.graph.node("MatMul", &[&tokens, &weight], &[])
    }

    /// Writes a group norm, and SiLU of its result if `silu`.
    fn group_norm(&mut self, x: ValueId, norm: GroupNorm, silu: bool) -> (Layout, String) {
        let [groups, eps] = [Int(norm.groups as i64), Float(norm.eps)];
        if self.dialect == Dialect::Basic {
            return (Layout::Image, self.group_norm_of_instances(x, norm));
        }
        if self.dialect == Dialect::Standard {
            let [scale, shift] = [norm.weight, norm.bias].map(|weight| self.weight(weight, Form::Plain));
            let image = self.tensor(x, Layout::Image);
            let attributes = [("num_groups", groups), ("epsilon", eps)];
            return (Layout::Image, self.graph.node("GroupNormalization", &[&image, &scale, &shift], &attributes));
        }
        // The kernels of the CUDA provider read scale and shift in single precision.
        let weights = [norm.weight, norm.bias].map(|weight| self.weight_of(ElementType::F32, weight, Form::Plain));
        let attributes =
            [("groups", groups), ("epsilon", eps), ("activation", Int(silu.into())), ("channels_last", Int(1))];
        let layout = Layout::ChannelsLast;
        let tensor = if let Some(&FusedOp::Sum(value, vector)) = self.fused.get(&x) {
            let [value, vector] = [value, vector].map(|value| self.tensor(value, layout));
            self.graph.node(SKIP_GROUP_NORM, &[&value, &weights[0], &weights[1], &vector], &attributes)
        } else {
            let value = self.tensor(x, layout);
            self.graph.node(GROUP_NORM, &[&value, &weights[0], &weights[1]], &attributes)
        };
        (layout, tensor)
    }

    fn attention(&mut self, op: &Op, heads: usize, causal: bool, kv_row: &[usize], is_cached: bool) -> String {
        let q = self.tensor(op.inputs[0], Layout::Tokens);
        let keys_and_values = [op.inputs[1], op.inputs[2]];
        let mut tensors = keys_and_values.map(|value| self.tensor(value, Layout::Tokens));
        if is_cached {
            tensors = self.with_past(keys_and_values, tensors);
        }
        let rows = self.program.shape(op.inputs[1]).n;
        let [k, v] = tensors.map(|tensor| self.rows(tensor, rows, kv_row));
        let (count, is_causal) = (Int(heads as i64), Int(causal.into()));
        match self.dialect {
            Dialect::Standard => {
                let attributes = [("q_num_heads", count), ("kv_num_heads", count), ("is_causal", is_causal)];
                self.graph.node("Attention", &[&q, &k, &v], &attributes)
            }
            Dialect::Basic => {
                let (queries, keys) = (self.program.shape(op.inputs[0]), self.program.shape(op.inputs[1]));
                self.attention_of_products([&q, &k, &v], heads, causal, queries, keys.pixels())
            }
            Dialect::Cuda => {
                let attributes = [("num_heads", count), ("unidirectional", is_causal)];
                self.graph.node(MULTI_HEAD_ATTENTION, &[&q, &k, &v], &attributes)
            }
        }
    }

    /// Returns `own`, the tensors of keys and values, followed by those of earlier frames, which become inputs.
    fn with_past(&mut self, values: [ValueId; 2], own: [String; 2]) -> [String; 2] {
        let layer = self.cached.len();
        self.cached.push(values);
        let shape = self.program.shape(values[0]);
        let mut all = own.map(|tensor| vec![tensor]);
        for frame in 0..MOST_PAST_FRAMES {
            for (all, name) in all.iter_mut().zip(["k", "v"]) {
                let name = format!("{name}{layer}_{frame}");
                // One number of tokens for each frame: none, if it is missing.
                let dims = vec![shape.n as i64, -1 - frame as i64, shape.c as i64];
                self.graph.input(Port { name: name.clone(), element: self.element, dims });
                all.push(name);
            }
        }
        all.map(|parts| {
            let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
            self.graph.node("Concat", &parts, &[("axis", Int(1))])
        })
    }

    /// Returns the rows of `tokens` with the indices `rows`, of `count` rows.
    fn rows(&mut self, tokens: String, count: usize, rows: &[usize]) -> String {
        if rows.iter().copied().eq(0..count) {
            return tokens;
        }
        let rows: Vec<i64> = rows.iter().map(|&row| row as i64).collect();
        let rows = self.graph.ints(&rows);
        self.graph.node("Gather", &[&tokens, &rows], &[("axis", Int(0))])
    }

    /// Writes an activation, and the group norm before it if the dialect fuses them.
    fn activated(&mut self, x: ValueId, activation: Activation) -> (Layout, String) {
        if let Some(&FusedOp::GroupNorm(x, norm)) = self.fused.get(&x) {
            return self.group_norm(x, norm, true);
        }
        let (layout, tensor) = self.existing(x);
        (layout, self.activate(&tensor, activation))
    }

    fn activate(&mut self, x: &str, activation: Activation) -> String {
        match activation {
            Activation::Silu => {
                let gate = self.graph.node("Sigmoid", &[x], &[]);
                self.graph.node("Mul", &[x, &gate], &[])
            }
            Activation::Gelu => self.graph.node("Gelu", &[x], &[]),
            Activation::QuickGelu => {
                let scaled = self.affine(x, 1.702, 0.0);
                let gate = self.graph.node("Sigmoid", &[&scaled], &[]);
                self.graph.node("Mul", &[x, &gate], &[])
            }
            Activation::Relu => self.graph.node("Relu", &[x], &[]),
            Activation::ReluUpTo { limit } => {
                let [low, high] = [0.0, limit].map(|bound| self.graph.scalar(self.element, bound));
                self.graph.node("Clip", &[x, &low, &high], &[])
            }
            Activation::LeakyRelu { slope } => self.graph.node("LeakyRelu", &[x], &[("alpha", Float(slope))]),
            Activation::SoftClamp { limit } => {
                let scaled = self.affine(x, 1.0 / limit, 0.0);
                let bounded = self.graph.node("Tanh", &[&scaled], &[]);
                self.affine(&bounded, limit, 0.0)
            }
        }
    }

    fn geglu(&mut self, x: ValueId) -> String {
        if let Some(&FusedOp::Linear(x, weight, bias)) = self.fused.get(&x) {
            let product = self.product(x, weight);
            let bias = self.weight(bias, Form::Plain);
            return self.graph.node(BIAS_SPLIT_GELU, &[&product, &bias], &[]);
        }
        let tokens = self.tensor(x, Layout::Tokens);
        let name = self.graph.next_name();
        let [a, b] = ["a", "b"].map(|half| format!("{name}{half}"));
        self.graph.node_with_outputs("Split", &[&tokens], &[&a, &b], &[("axis", Int(2)), ("num_outputs", Int(2))]);
        let gate = self.graph.node("Gelu", &[&b], &[]);
        self.graph.node("Mul", &[&a, &gate], &[])
    }

    /// Writes an operator that repeats its second input along dimensions of one element.
    fn binary(&mut self, operator: &'static str, op: &Op) -> (Layout, String) {
        let values = [op.inputs[0], op.inputs[1]];
        let layout = self.common_layout(values);
        let [a, b] = values.map(|value| self.tensor(value, layout));
        (layout, self.graph.node(operator, &[&a, &b], &[]))
    }

    fn affine(&mut self, x: &str, mul: f32, add: f32) -> String {
        let mut tensor = x.to_owned();
        if mul.to_bits() != 1.0_f32.to_bits() {
            let mul = self.graph.scalar(self.element, mul);
            tensor = self.graph.node("Mul", &[&tensor, &mul], &[]);
        }
        if add.to_bits() != 0.0_f32.to_bits() {
            let add = self.graph.scalar(self.element, add);
            tensor = self.graph.node("Add", &[&tensor, &add], &[]);
        }
        tensor
    }

    fn slice(&mut self, tensor: &str, axis: i64, start: usize, len: usize) -> String {
        let [start, end, axis] = [start as i64, (start + len) as i64, axis].map(|value| self.graph.ints(&[value]));
        self.graph.node("Slice", &[tensor, &start, &end, &axis], &[])
    }

    /// Returns the integers of `value`, with dimensions `dims`.
    fn indices(&mut self, value: ValueId, dims: &[usize]) -> String {
        let tensor = self.tensor(value, Layout::Tokens);
        let integers = self.graph.node("Cast", &[&tensor], &[("to", Int(ElementType::I64.code()))]);
        let dims: Vec<i64> = dims.iter().map(|&dim| dim as i64).collect();
        self.reshape(&integers, &dims)
    }

    fn embed(&mut self, x: ValueId, weight: WeightId) -> String {
        let ids = self.indices(x, &[self.program.shape(x).n, self.program.shape(x).pixels()]);
        let table = self.weight(weight, Form::Plain);
        self.graph.node("Gather", &[&table, &ids], &[("axis", Int(0))])
    }

    fn take_token(&mut self, op: &Op) -> String {
        let tokens = self.tensor(op.inputs[0], Layout::Tokens);
        let shape = self.program.shape(op.output);
        let index = self.indices(op.inputs[1], &[shape.n, 1]);
        let taken = self.graph.node("GatherND", &[&tokens, &index], &[("batch_dims", Int(1))]);
        self.reshape(&taken, &Layout::Tokens.dims(shape))
    }

    fn add_weight(&mut self, x: ValueId, weight: WeightId) -> String {
        let tokens = self.tensor(x, Layout::Tokens);
        let (len, available) = (self.program.shape(x).pixels(), self.program.weight(weight).shape[0]);
        let mut table = self.weight(weight, Form::Plain);
        if len < available {
            table = self.slice(&table, 0, 0, len);
        }
        self.graph.node("Add", &[&tokens, &table], &[])
    }
}
