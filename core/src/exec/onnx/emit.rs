//! Writes a program as graphs of ONNX, with standard operators alone.
//!
//! A value is an image `[n, c, h, w]` for operators on pixels, and tokens `[n, h * w, c]` for the others. Tokens have the
//! memory order of this crate's values, so inputs and outputs of a graph are tokens. A value is converted once for each
//! layout that its readers need.

use std::collections::HashMap;

use dreamframe_kernels::Activation;

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
}

impl Layout {
    fn dims(self, shape: Shape) -> Vec<i64> {
        let dims = match self {
            Self::Image => vec![shape.n, shape.c, shape.h, shape.w],
            Self::Tokens => vec![shape.n, shape.pixels(), shape.c],
        };
        dims.into_iter().map(|dim| dim as i64).collect()
    }

    const fn channel_axis(self) -> i64 {
        match self {
            Self::Image => 1,
            Self::Tokens => 2,
        }
    }
}

/// Writes `program` with values and weights of type `element`. Token ids and indices are single precision in any case,
/// since half precision does not have all of them.
pub(super) fn emit(program: &Program, element: ElementType) -> Graphs {
    let constants = constants_of_frames(program);
    let is_computed = |value: &&ValueId| !program.inputs().iter().any(|input| input.value == **value);
    let computed: Vec<ValueId> = constants.iter().filter(is_computed).copied().collect();
    let constant = (!computed.is_empty()).then(|| {
        let mut emitter = Emitter::new(program, element);
        program.inputs_at(Rate::Constant).for_each(|input| emitter.input(input.value));
        program.ops().iter().filter(|op| program.is_constant(op.output)).for_each(|op| emitter.op(op));
        computed.iter().for_each(|&value| emitter.output(value));
        emitter.graph.finish(program.name())
    });
    let mut emitter = Emitter::new(program, element);
    program.inputs_at(Rate::Frame).for_each(|input| emitter.input(input.value));
    constants.iter().for_each(|&value| emitter.input(value));
    program.ops().iter().filter(|op| !program.is_constant(op.output)).for_each(|op| emitter.op(op));
    program.outputs().iter().for_each(|output| emitter.output(output.value));
    Graphs { constant, frame: emitter.graph.finish(program.name()), constants }
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
    graph: GraphBuilder,
    /// The tensor of each value in each layout that exists.
    tensors: HashMap<(ValueId, Layout), String>,
}

impl<'a> Emitter<'a> {
    fn new(program: &'a Program, element: ElementType) -> Self {
        Self { program, element, graph: GraphBuilder::default(), tensors: HashMap::new() }
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
        let shape = self.program.shape(value);
        let other = if layout == Layout::Image { Layout::Tokens } else { Layout::Image };
        // Every value is written, in one layout at least, before it is read.
        let from = self.tensors.get(&(value, other)).cloned().unwrap_or_default();
        let tensor = if shape.pixels() == 1 || shape.c == 1 {
            self.reshape(&from, &layout.dims(shape))
        } else {
            let [n, c, pixels] = [shape.n, shape.c, shape.pixels()].map(|dim| dim as i64);
            let perm = [("perm", Ints(&[0, 2, 1]))];
            match layout {
                Layout::Image => {
                    let channels_first = self.graph.node("Transpose", &[&from], &perm);
                    self.reshape(&channels_first, &layout.dims(shape))
                }
                Layout::Tokens => {
                    let flat = self.reshape(&from, &[n, c, pixels]);
                    self.graph.node("Transpose", &[&flat], &perm)
                }
            }
        };
        self.tensors.insert((value, layout), tensor.clone());
        tensor
    }

    fn reshape(&mut self, tensor: &str, dims: &[i64]) -> String {
        let dims = self.graph.ints(dims);
        self.graph.node("Reshape", &[tensor, &dims], &[])
    }

    /// Returns the layout in which `value` exists; images, if it exists in both.
    fn layout(&self, value: ValueId) -> Layout {
        if self.tensors.contains_key(&(value, Layout::Image)) { Layout::Image } else { Layout::Tokens }
    }

    fn weight(&mut self, weight: WeightId, form: Form) -> String {
        let dims: Vec<i64> = self.program.weight(weight).shape.iter().map(|&dim| dim as i64).collect();
        let dims = match form {
            Form::Plain => dims,
            Form::Transposed => dims.into_iter().rev().collect(),
        };
        self.graph.weight(self.element, weight.index(), form, dims)
    }

    /// Returns the names of a weight and, if there is one, of a bias.
    fn weight_and_bias(&mut self, weight: WeightId, bias: Option<WeightId>) -> Vec<String> {
        let weight = self.weight(weight, Form::Plain);
        let bias = bias.map(|bias| self.weight(bias, Form::Plain));
        std::iter::once(weight).chain(bias).collect()
    }

    /// Writes one operation.
    fn op(&mut self, op: &Op) {
        let x = op.inputs[0];
        let (layout, tensor) = match &op.kind {
            OpKind::Conv2d { weight, bias, kernel, stride, dilation, padding, upsample } => {
                let names = self.weight_and_bias(*weight, *bias);
                let mut image = self.tensor(x, Layout::Image);
                if *upsample {
                    image = self.enlarged(&image);
                }
                (Layout::Image, self.conv(&image, &names, [*kernel, *stride, *dilation, 1], *padding))
            }
            OpKind::Depthwise { weight, bias, kernel, stride, padding } => {
                let names = self.weight_and_bias(*weight, *bias);
                let image = self.tensor(x, Layout::Image);
                let groups = self.program.shape(x).c;
                (Layout::Image, self.conv(&image, &names, [*kernel, *stride, 1, groups], *padding))
            }
            OpKind::Image(image_op) => self.image(op, *image_op),
            OpKind::Linear { weight, bias } => (Layout::Tokens, self.linear(x, *weight, *bias)),
            OpKind::GroupNorm { groups, eps, weight, bias } => {
                let names = self.weight_and_bias(*weight, Some(*bias));
                let image = self.tensor(x, Layout::Image);
                let attributes = [("num_groups", Int(*groups as i64)), ("epsilon", Float(*eps))];
                let inputs = [&*image, &*names[0], &*names[1]];
                (Layout::Image, self.graph.node("GroupNormalization", &inputs, &attributes))
            }
            OpKind::LayerNorm { eps, weight, bias } => {
                let names = self.weight_and_bias(*weight, Some(*bias));
                let tokens = self.tensor(x, Layout::Tokens);
                let inputs = [&*tokens, &*names[0], &*names[1]];
                let attributes = [("axis", Int(-1)), ("epsilon", Float(*eps))];
                (Layout::Tokens, self.graph.node("LayerNormalization", &inputs, &attributes))
            }
            OpKind::Attention { heads, causal, kv_row, cached_layer: _ } => {
                (Layout::Tokens, self.attention(op, *heads, *causal, kv_row))
            }
            OpKind::Activate(activation) => {
                let layout = self.layout(x);
                let tensor = self.tensor(x, layout);
                (layout, self.activate(&tensor, *activation))
            }
            OpKind::Geglu => (Layout::Tokens, self.geglu(x)),
            OpKind::Add => self.binary("Add", op),
            OpKind::Mul => self.binary("Mul", op),
            OpKind::Affine { mul, add } => {
                let layout = self.layout(x);
                let tensor = self.tensor(x, layout);
                (layout, self.affine(&tensor, *mul, *add))
            }
            OpKind::Concat => {
                let layout = self.layout(x);
                let [a, b] = [x, op.inputs[1]].map(|value| self.tensor(value, layout));
                (layout, self.graph.node("Concat", &[&a, &b], &[("axis", Int(layout.channel_axis()))]))
            }
            OpKind::Upsample => {
                let image = self.tensor(x, Layout::Image);
                (Layout::Image, self.enlarged(&image))
            }
            OpKind::Slice { start, len } => {
                let layout = self.layout(x);
                let tensor = self.tensor(x, layout);
                (layout, self.slice(&tensor, layout.channel_axis(), *start, *len))
            }
            OpKind::Embed { weight } => {
                let ids = self.indices(x, &[self.program.shape(x).n, self.program.shape(x).pixels()]);
                let table = self.weight(*weight, Form::Plain);
                (Layout::Tokens, self.graph.node("Gather", &[&table, &ids], &[("axis", Int(0))]))
            }
            OpKind::AddWeight { weight } => (Layout::Tokens, self.add_weight(x, *weight)),
            OpKind::TakeToken => {
                let tokens = self.tensor(x, Layout::Tokens);
                let shape = self.program.shape(op.output);
                let index = self.indices(op.inputs[1], &[shape.n, 1]);
                let taken = self.graph.node("GatherND", &[&tokens, &index], &[("batch_dims", Int(1))]);
                (Layout::Tokens, self.reshape(&taken, &Layout::Tokens.dims(shape)))
            }
        };
        self.tensors.insert((op.output, layout), tensor);
    }

    fn conv(&mut self, image: &str, weights: &[String], sizes: [usize; 4], padding: Padding) -> String {
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

    /// Returns the image at twice its size, with repeated pixels.
    fn enlarged(&mut self, image: &str) -> String {
        let scales = self.graph.floats(&[1.0, 1.0, 2.0, 2.0]);
        let attributes = [
            ("mode", Text("nearest")),
            ("coordinate_transformation_mode", Text("asymmetric")),
            ("nearest_mode", Text("floor")),
        ];
        self.graph.node("Resize", &[image, "", &scales], &attributes)
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
        let tokens = self.tensor(x, Layout::Tokens);
        let weight = self.weight(weight, Form::Transposed);
        let product = self.graph.node("MatMul", &[&tokens, &weight], &[]);
        match bias {
            Some(bias) => {
                let bias = self.weight(bias, Form::Plain);
                self.graph.node("Add", &[&product, &bias], &[])
            }
            None => product,
        }
    }

    fn attention(&mut self, op: &Op, heads: usize, causal: bool, kv_row: &[usize]) -> String {
        let [q, k, v] = [0, 1, 2].map(|i| self.tensor(op.inputs[i], Layout::Tokens));
        let rows = self.program.shape(op.inputs[1]).n;
        let own = kv_row.len() == rows && kv_row.iter().enumerate().all(|(row, &from)| row == from);
        let [k, v] = [k, v].map(|tensor| {
            if own {
                return tensor;
            }
            let rows: Vec<i64> = kv_row.iter().map(|&row| row as i64).collect();
            let rows = self.graph.ints(&rows);
            self.graph.node("Gather", &[&tensor, &rows], &[("axis", Int(0))])
        });
        let heads = Int(heads as i64);
        let attributes = [("q_num_heads", heads), ("kv_num_heads", heads), ("is_causal", Int(causal.into()))];
        self.graph.node("Attention", &[&q, &k, &v], &attributes)
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
        let tokens = self.tensor(x, Layout::Tokens);
        let name = self.graph.next_name();
        let [a, b] = ["a", "b"].map(|half| format!("{name}{half}"));
        self.graph.node_with_outputs("Split", &[&tokens], &[&a, &b], &[("axis", Int(2)), ("num_outputs", Int(2))]);
        let gate = self.graph.node("Gelu", &[&b], &[]);
        self.graph.node("Mul", &[&a, &gate], &[])
    }

    /// Writes an operator that repeats its second input along dimensions of one element.
    fn binary(&mut self, operator: &'static str, op: &Op) -> (Layout, String) {
        let layout = self.layout(op.inputs[0]);
        let [a, b] = [0, 1].map(|i| self.tensor(op.inputs[i], layout));
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
