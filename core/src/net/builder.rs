//! The builder of programs, which checks shapes as operations are added.

use std::collections::HashMap;

use super::{
    Activation, ImageOp, Input, Op, OpKind, Output, Padding, Program, Rate, Shape, ValueId, WeightId, WeightSpec,
};
use crate::error::{Error, ErrorKind, Result};

/// Maximum number of elements of a value or a weight: what memory can address with four bytes each.
const MAX_LEN: usize = isize::MAX as usize / size_of::<f32>();
/// A placeholder for an invalid shape, until [`ProgramBuilder::finish`] reports it.
const PLACEHOLDER: Shape = Shape::vector(1, 1);

/// Builds a program, one operation after the other. Shapes are computed and checked as operations are added.
/// [`finish`](Self::finish) returns the first error.
#[derive(Debug)]
pub struct ProgramBuilder {
    program: Program,
    weight_ids: HashMap<String, WeightId>,
    prefix: String,
    error: Option<String>,
}

impl ProgramBuilder {
    /// Starts an empty program.
    pub fn new(name: impl Into<String>) -> Self {
        let program = Program {
            name: name.into(),
            shapes: Vec::new(),
            ops: Vec::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            weights: Vec::new(),
            constant: Vec::new(),
            merges_tokens: false,
            copies: 1,
        };
        Self { program, weight_ids: HashMap::new(), prefix: String::new(), error: None }
    }

    /// Calls `body` with `prefix.` prepended to the names of its weights, like nested folders.
    pub fn scope<T>(&mut self, prefix: impl AsRef<str>, body: impl FnOnce(&mut Self) -> T) -> T {
        let outer = self.prefix.len();
        self.prefix.push_str(prefix.as_ref());
        self.prefix.push('.');
        let result = body(self);
        self.prefix.truncate(outer);
        result
    }

    /// Adds an input.
    pub fn input(&mut self, name: impl Into<String>, shape: Shape, rate: Rate) -> ValueId {
        let value = self.value(shape, rate == Rate::Constant);
        self.program.inputs.push(Input { name: name.into(), value, rate });
        value
    }

    /// Names `value` as an output.
    pub fn output(&mut self, name: impl Into<String>, value: ValueId) {
        self.program.outputs.push(Output { name: name.into(), value });
    }

    /// Returns the shape of a value.
    pub fn shape(&self, value: ValueId) -> Shape {
        self.program.shape(value)
    }

    /// Returns the current scopes, outermost first, separated by dots.
    pub fn path(&self) -> &str {
        self.prefix.trim_end_matches('.')
    }

    /// Returns the finished program.
    ///
    /// # Errors
    ///
    /// `BadModel` with the first operation whose shapes are incompatible, empty or too large.
    pub fn finish(mut self) -> Result<Program> {
        let outputs = self.program.outputs.len();
        self.require(outputs > 0, || "outputs: got none, expected at least one".to_owned());
        match self.error {
            None => Ok(self.program),
            Some(error) => Err(Error::new(ErrorKind::BadModel, error).within(&self.program.name)),
        }
    }

    /// Records the error `what` unless `condition` holds; the first error is kept.
    fn require(&mut self, condition: bool, what: impl FnOnce() -> String) {
        if !condition && self.error.is_none() {
            self.error = Some(format!("{}{}", self.prefix, what()));
        }
    }

    /// Adds a convolution with a square kernel of side `kernel`, `name.weight`, and `name.bias` if `bias`.
    #[allow(clippy::too_many_arguments, reason = "a convolution has this many degrees of freedom")]
    pub fn conv2d(
        &mut self,
        name: &str,
        x: ValueId,
        c_out: usize,
        kernel: usize,
        stride: usize,
        padding: Padding,
        upsample: bool,
        bias: bool,
    ) -> ValueId {
        let shape = self.shape(x);
        let grow = if upsample { 2 } else { 1 };
        let out = self.conv_output(name, shape.enlarged(grow), kernel, stride, padding).with_c(c_out);
        let weight = self.weight(format!("{name}.weight"), &[c_out, shape.c, kernel, kernel]);
        let bias = bias.then(|| self.weight(format!("{name}.bias"), &[c_out]));
        self.op(OpKind::Conv2d { weight, bias, kernel, stride, dilation: 1, padding, upsample }, &[x], out)
    }

    /// Adds a dilated 3x3 convolution with a padding of `dilation` zeros, stride 1 and a bias.
    pub fn dilated3x3(&mut self, name: &str, x: ValueId, c_out: usize, dilation: usize) -> ValueId {
        let shape = self.shape(x);
        let weight = self.weight(format!("{name}.weight"), &[c_out, shape.c, 3, 3]);
        let bias = Some(self.weight(format!("{name}.bias"), &[c_out]));
        let padding = Padding::all(dilation);
        let kind = OpKind::Conv2d { weight, bias, kernel: 3, stride: 1, dilation, padding, upsample: false };
        self.op(kind, &[x], shape.with_c(c_out))
    }

    /// Adds a depthwise convolution with `name.weight` (`[c, 1, kernel, kernel]`), and `name.bias` if `bias`.
    pub fn depthwise(
        &mut self,
        name: &str,
        x: ValueId,
        kernel: usize,
        stride: usize,
        padding: Padding,
        bias: bool,
    ) -> ValueId {
        let shape = self.shape(x);
        let out = self.conv_output(name, shape, kernel, stride, padding);
        let weight = self.weight(format!("{name}.weight"), &[shape.c, 1, kernel, kernel]);
        let bias = bias.then(|| self.weight(format!("{name}.bias"), &[shape.c]));
        self.op(OpKind::Depthwise { weight, bias, kernel, stride, padding }, &[x], out)
    }

    /// Adds 2x2 max pooling with stride 2; the size is rounded up.
    pub fn max_pool(&mut self, x: ValueId) -> ValueId {
        let shape = self.shape(x);
        let out = Shape { h: shape.h.div_ceil(2), w: shape.w.div_ceil(2), ..shape };
        self.op(OpKind::Image(ImageOp::MaxPool), &[x], out)
    }

    /// Resizes to `h` x `w` by bilinear interpolation.
    pub fn resize(&mut self, x: ValueId, h: usize, w: usize, align_corners: bool) -> ValueId {
        let shape = self.shape(x);
        self.op(OpKind::Image(ImageOp::Resize { align_corners }), &[x], Shape { h, w, ..shape })
    }

    /// Turns each pixel into `side` x `side` pixels with `side * side` times fewer channels.
    pub fn depth_to_space(&mut self, x: ValueId, side: usize) -> ValueId {
        let shape = self.shape(x);
        let parts = side.saturating_mul(side).max(1);
        self.require(side > 0 && shape.c.is_multiple_of(parts), || {
            format!("depth to space: got {side}x{side} pixels from {shape:?}, expected a divisor of the channels")
        });
        let (h, w) = (shape.h.saturating_mul(side), shape.w.saturating_mul(side));
        let out = Shape::new(shape.n, h, w, shape.c / parts);
        self.op(OpKind::Image(ImageOp::DepthToSpace { side }), &[x], out)
    }

    /// Reshapes each row of the batch to `h` x `w` pixels, in order; truncates surplus pixels, and pads with zeros.
    pub fn refold(&mut self, x: ValueId, h: usize, w: usize) -> ValueId {
        let shape = self.shape(x);
        self.op(OpKind::Image(ImageOp::Refold), &[x], Shape { h, w, ..shape })
    }

    /// Adds a mirrored border of `border` pixels on each side.
    pub fn reflect(&mut self, x: ValueId, border: usize) -> ValueId {
        let shape = self.shape(x);
        self.require(border < shape.h && border < shape.w, || {
            format!("mirrored border: got {border} pixels, expected fewer than the sides of {shape:?}")
        });
        let wider = |side: usize| side.saturating_add(border.saturating_mul(2));
        let out = Shape { h: wider(shape.h), w: wider(shape.w), ..shape };
        self.op(OpKind::Image(ImageOp::Reflect { border }), &[x], out)
    }

    /// Adds a 3x3 convolution with padding 1, stride 1 and a bias.
    pub fn conv3x3(&mut self, name: &str, x: ValueId, c_out: usize) -> ValueId {
        self.conv2d(name, x, c_out, 3, 1, Padding::all(1), false, true)
    }

    /// Adds a 1x1 convolution with a bias.
    pub fn conv1x1(&mut self, name: &str, x: ValueId, c_out: usize) -> ValueId {
        self.conv2d(name, x, c_out, 1, 1, Padding::all(0), false, true)
    }

    /// Adds a linear layer over the channels with `name.weight`, and `name.bias` if `bias`.
    pub fn linear(&mut self, name: &str, x: ValueId, c_out: usize, bias: bool) -> ValueId {
        let shape = self.shape(x);
        let weight = self.weight(format!("{name}.weight"), &[c_out, shape.c]);
        let bias = bias.then(|| self.weight(format!("{name}.bias"), &[c_out]));
        self.op(OpKind::Linear { weight, bias }, &[x], shape.with_c(c_out))
    }

    /// Adds a group norm with `name.weight` and `name.bias`.
    pub fn group_norm(&mut self, name: &str, x: ValueId, groups: usize, eps: f32) -> ValueId {
        let shape = self.shape(x);
        let fits = groups > 0 && shape.c.is_multiple_of(groups);
        self.require(fits, || format!("{name}: got {groups} groups, expected a divisor of {} channels", shape.c));
        let weight = self.weight(format!("{name}.weight"), &[shape.c]);
        let bias = self.weight(format!("{name}.bias"), &[shape.c]);
        self.op(OpKind::GroupNorm { groups, eps, weight, bias }, &[x], shape)
    }

    /// Adds a layer norm with `name.weight` and `name.bias`.
    pub fn layer_norm(&mut self, name: &str, x: ValueId, eps: f32) -> ValueId {
        let shape = self.shape(x);
        let weight = self.weight(format!("{name}.weight"), &[shape.c]);
        let bias = self.weight(format!("{name}.bias"), &[shape.c]);
        self.op(OpKind::LayerNorm { eps, weight, bias }, &[x], shape)
    }

    /// Adds attention of `q` over `k` and `v`; `kv_row[i]` is the row of `k` and `v` that row `i` of `q` attends to.
    pub fn attention(&mut self, [q, k, v]: [ValueId; 3], heads: usize, causal: bool, kv_row: Vec<usize>) -> ValueId {
        let (qs, ks, vs) = (self.shape(q), self.shape(k), self.shape(v));
        let divide = heads > 0 && qs.c.is_multiple_of(heads) && vs.c.is_multiple_of(heads);
        self.require(divide, || {
            format!("attention heads: got {heads}, expected a divisor of the channels of {qs:?} and {vs:?}")
        });
        let fits = qs.c == ks.c && ks.n == vs.n && ks.pixels() == vs.pixels();
        self.require(fits, || {
            format!("attention: got queries {qs:?}, keys {ks:?} and values {vs:?}, which do not match")
        });
        let rows = kv_row.len() == qs.n && kv_row.iter().all(|&row| row < ks.n);
        self.require(rows, || {
            format!("rows of attention: got {kv_row:?}, expected one row of {ks:?} for each row of {qs:?}")
        });
        self.require(!causal || qs.pixels() == ks.pixels(), || {
            format!("causal attention: got queries {qs:?} and keys {ks:?}, expected as many tokens of both")
        });
        let kind = OpKind::Attention { heads, causal, kv_row, cached_layer: None };
        self.op(kind, &[q, k, v], qs.with_c(vs.c))
    }

    /// Adds cached attention: each row attends to its own keys and values, and to the cached ones of earlier frames.
    pub fn cached_attention(&mut self, [q, k, v]: [ValueId; 3], heads: usize) -> ValueId {
        let layer = self.program.cached_attention_layers();
        let rows = (0..self.shape(q).n).collect();
        let out = self.attention([q, k, v], heads, false, rows);
        let of_frame = !self.program.is_constant(out) && self.shape(k).n == self.shape(q).n;
        self.require(of_frame, || {
            "attention to earlier frames: got constant keys or another number of rows, expected the rows of the frame"
                .to_owned()
        });
        if let Some(Op { kind: OpKind::Attention { cached_layer, .. }, .. }) = self.program.ops.last_mut() {
            *cached_layer = Some(layer);
        }
        out
    }

    /// Adds feature injection to `x`, which is made from the output of the last cached attention, with the same rows and
    /// tokens.
    pub fn inject(&mut self, x: ValueId) -> ValueId {
        let (shape, layers) = (self.shape(x), self.program.cached_attention_layers());
        let is_of_layer = |op: &&Op| matches!(op.kind, OpKind::Attention { cached_layer: Some(_), .. });
        let attention = self.program.ops.iter().rev().find(is_of_layer).map(|op| self.shape(op.output));
        let fits = attention.is_some_and(|out| (out.n, out.pixels()) == (shape.n, shape.pixels()));
        self.require(fits && !self.program.is_constant(x), || {
            format!("feature injection: got {shape:?} after {attention:?}, expected the tokens of a cached attention")
        });
        self.op(OpKind::Inject { layer: layers.saturating_sub(1) }, &[x], shape)
    }

    /// Lets runs merge the tokens of a frame with those that its memory contains.
    pub fn merge_tokens(&mut self) {
        self.program.merges_tokens = true;
    }

    /// Adds an activation.
    pub fn activate(&mut self, x: ValueId, activation: Activation) -> ValueId {
        let shape = self.shape(x);
        self.op(OpKind::Activate(activation), &[x], shape)
    }

    /// Adds SiLU: `x * sigmoid(x)`.
    pub fn silu(&mut self, x: ValueId) -> ValueId {
        self.activate(x, Activation::Silu)
    }

    /// Multiplies the first half of the channels by the GELU of the second.
    pub fn geglu(&mut self, x: ValueId) -> ValueId {
        let shape = self.shape(x);
        self.require(shape.c.is_multiple_of(2), || {
            format!("GEGLU: got {shape:?}, expected an even number of channels")
        });
        self.op(OpKind::Geglu, &[x], shape.with_c(shape.c / 2))
    }

    /// Adds `b` to `a`; a single pixel or a single row of `b` is broadcast.
    pub fn add(&mut self, a: ValueId, b: ValueId) -> ValueId {
        let (sa, sb) = (self.shape(a), self.shape(b));
        self.require(broadcasts(sb, sa), || format!("{sa:?} + {sb:?}"));
        self.op(OpKind::Add, &[a, b], sa)
    }

    /// Multiplies `a` by `b`; a single pixel or a single row of `b` is broadcast.
    pub fn mul(&mut self, a: ValueId, b: ValueId) -> ValueId {
        let (sa, sb) = (self.shape(a), self.shape(b));
        self.require(broadcasts(sb, sa), || format!("{sa:?} * {sb:?}"));
        self.op(OpKind::Mul, &[a, b], sa)
    }

    /// Computes `x * mul + add`.
    pub fn affine(&mut self, x: ValueId, mul: f32, add: f32) -> ValueId {
        let shape = self.shape(x);
        self.op(OpKind::Affine { mul, add }, &[x], shape)
    }

    /// Concatenates the channels of `a` and `b`.
    pub fn concat(&mut self, a: ValueId, b: ValueId) -> ValueId {
        let (sa, sb) = (self.shape(a), self.shape(b));
        self.require((sa.n, sa.h, sa.w) == (sb.n, sb.h, sb.w), || {
            format!("concatenation: got {sa:?} and {sb:?}, expected the same rows and sides")
        });
        self.op(OpKind::Concat, &[a, b], sa.with_c(sa.c.saturating_add(sb.c)))
    }

    /// Doubles height and width by repeating pixels.
    pub fn upsample(&mut self, x: ValueId) -> ValueId {
        let shape = self.shape(x);
        self.op(OpKind::Upsample, &[x], shape.enlarged(2))
    }

    /// Selects the channels `start..start + len`.
    pub fn slice(&mut self, x: ValueId, start: usize, len: usize) -> ValueId {
        let shape = self.shape(x);
        let fits = start.checked_add(len).is_some_and(|end| end <= shape.c);
        self.require(fits, || format!("slice: got {len} channels from {start}, expected a range inside {shape:?}"));
        self.op(OpKind::Slice { start, len }, &[x], shape.with_c(len))
    }

    /// Looks up rows of the table `name` (`[entries, c]`) by `ids`.
    pub fn embed(&mut self, name: &str, ids: ValueId, entries: usize, c: usize) -> ValueId {
        let shape = self.shape(ids);
        self.require(shape.c == 1, || format!("{name}: got ids of {shape:?}, expected one channel"));
        let weight = self.weight(name.to_owned(), &[entries, c]);
        self.op(OpKind::Embed { weight }, &[ids], shape.with_c(c))
    }

    /// Adds the first tokens of the weight `name` (`[entries, c]`, `entries` at least the tokens of `x`) to every row.
    pub fn add_weight(&mut self, name: &str, x: ValueId, entries: usize) -> ValueId {
        let shape = self.shape(x);
        self.require(shape.pixels() <= entries, || {
            format!("{name}: got {entries} entries, expected at least one for each token of {shape:?}")
        });
        let weight = self.weight(name.to_owned(), &[entries, shape.c]);
        self.op(OpKind::AddWeight { weight }, &[x], shape)
    }

    /// Selects the token `index` (`[n, 1, 1, 1]`) of each row of `x`.
    pub fn take_token(&mut self, x: ValueId, index: ValueId) -> ValueId {
        let (shape, si) = (self.shape(x), self.shape(index));
        self.require(si == Shape::vector(shape.n, 1), || {
            format!("token index: got {si:?}, expected one index for each row of {shape:?}")
        });
        self.op(OpKind::TakeToken, &[x, index], Shape::vector(shape.n, shape.c))
    }

    fn weight(&mut self, name: String, shape: &[usize]) -> WeightId {
        let name = format!("{}{name}", self.prefix);
        if let Some(&id) = self.weight_ids.get(&name) {
            let other = self.program.weights[id.0].shape.clone();
            self.require(other == shape, || {
                format!("{name}: got the shape {shape:?}, expected {other:?} as in an earlier use")
            });
            return id;
        }
        let len = shape.iter().try_fold(1_usize, |len, &side| len.checked_mul(side));
        let fits = len.is_some_and(|len| (1..=MAX_LEN).contains(&len));
        self.require(fits, || format!("{name}: got the shape {shape:?}, expected 1 to {MAX_LEN} elements"));
        let id = WeightId(self.program.weights.len());
        self.program.weights.push(WeightSpec { name: name.clone(), shape: shape.to_vec() });
        self.weight_ids.insert(name, id);
        id
    }

    fn value(&mut self, shape: Shape, constant: bool) -> ValueId {
        let fits = shape.checked_len().is_some_and(|len| (1..=MAX_LEN).contains(&len));
        self.require(fits, || format!("value: got the shape {shape:?}, expected 1 to {MAX_LEN} elements"));
        self.program.shapes.push(if fits { shape } else { PLACEHOLDER });
        self.program.constant.push(constant);
        ValueId(self.program.shapes.len() - 1)
    }

    /// Returns the shape of the output of a convolution over `shape`, with the channels of `shape`.
    fn conv_output(&mut self, name: &str, shape: Shape, kernel: usize, stride: usize, padding: Padding) -> Shape {
        let h = shape.h.saturating_add(padding.top).saturating_add(padding.bottom);
        let w = shape.w.saturating_add(padding.left).saturating_add(padding.right);
        let fits = (1..=h.min(w)).contains(&kernel) && stride > 0;
        self.require(fits, || {
            format!("{name}: got a kernel of side {kernel} with stride {stride}, expected one that fits into {h}x{w}")
        });
        if fits { Shape { h: (h - kernel) / stride + 1, w: (w - kernel) / stride + 1, ..shape } } else { PLACEHOLDER }
    }

    fn op(&mut self, kind: OpKind, inputs: &[ValueId], shape: Shape) -> ValueId {
        let constant = inputs.iter().all(|&input| self.program.is_constant(input));
        let output = self.value(shape, constant);
        self.program.ops.push(Op { kind, inputs: inputs.to_vec(), output });
        output
    }
}

/// Returns whether a value of shape `b` can be broadcast to `a`: by repeating a single pixel, a single row, or both.
pub(super) fn broadcasts(b: Shape, a: Shape) -> bool {
    a.c == b.c && (b.n == a.n || b.n == 1) && ((b.h, b.w) == (a.h, a.w) || b.pixels() == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_depend_on_constant_inputs_only_are_constant() {
        let mut builder = ProgramBuilder::new("test");
        let text = builder.input("text", Shape::tokens(1, 7, 8), Rate::Constant);
        let x = builder.input("x", Shape::new(2, 4, 4, 8), Rate::Frame);
        let key = builder.linear("key", text, 8, false);
        let query = builder.linear("query", x, 8, false);
        let out = builder.attention([query, key, key], 2, false, vec![0, 0]);
        builder.output("out", out);
        let program = builder.finish().unwrap();
        assert!(program.is_constant(key) && !program.is_constant(query) && !program.is_constant(out));
        assert_eq!(program.shape(out), Shape::new(2, 4, 4, 8));
    }

    #[test]
    fn nested_scopes_prefix_the_names_of_weights() {
        let mut builder = ProgramBuilder::new("test");
        let x = builder.input("x", Shape::new(1, 8, 8, 3), Rate::Frame);
        let y = builder.scope("down_blocks.0", |b| b.scope("resnets.1", |b| b.conv3x3("conv1", x, 16)));
        builder.output("y", y);
        let program = builder.finish().unwrap();
        assert_eq!(program.weights()[0].name, "down_blocks.0.resnets.1.conv1.weight");
        assert_eq!(program.weights()[0].shape, [16, 3, 3, 3]);
    }

    #[test]
    fn an_upsampling_convolution_doubles_the_size() {
        let mut builder = ProgramBuilder::new("test");
        let x = builder.input("x", Shape::new(1, 8, 6, 3), Rate::Frame);
        let y = builder.conv2d("conv", x, 5, 3, 1, Padding::all(1), true, false);
        let z = builder.conv2d("down", y, 5, 3, 2, Padding { top: 0, left: 0, bottom: 1, right: 1 }, false, true);
        assert_eq!(builder.shape(y), Shape::new(1, 16, 12, 5));
        assert_eq!(builder.shape(z), Shape::new(1, 8, 6, 5));
    }

    /// Returns the error of a program that applies `write` to an input of shape `[2, 6, 6, 8]`.
    fn error_of(write: impl FnOnce(&mut ProgramBuilder, ValueId) -> ValueId) -> String {
        let mut builder = ProgramBuilder::new("test");
        let x = builder.input("x", Shape::new(2, 6, 6, 8), Rate::Frame);
        let y = builder.scope("outer", |b| write(b, x));
        // Later operations must not panic either.
        let y = builder.scope("later", |b| {
            let y = b.conv3x3("conv", y, 8);
            let y = b.group_norm("norm", y, 3, 1e-5);
            let y = b.attention([y, y, x], 5, true, vec![0, 7]);
            b.concat(y, x)
        });
        builder.output("y", y);
        let error = builder.finish().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BadModel);
        error.to_string()
    }

    #[test]
    fn finish_returns_the_first_shape_error() {
        let text = error_of(|b, x| b.conv2d("conv", x, 4, 9, 1, Padding::all(0), false, true));
        assert_eq!(text, "test: outer.conv: got a kernel of side 9 with stride 1, expected one that fits into 6x6");
        for (part, text) in [
            ("got 3 groups, expected a divisor of 8", error_of(|b, x| b.group_norm("norm", x, 3, 1e-5))),
            ("got 0 groups, expected a divisor of 8", error_of(|b, x| b.group_norm("norm", x, 0, 1e-5))),
            ("attention heads: got 0", error_of(|b, x| b.attention([x, x, x], 0, false, vec![0, 1]))),
            ("rows of attention: got [0, 2]", error_of(|b, x| b.attention([x, x, x], 2, false, vec![0, 2]))),
            ("stride 0", error_of(|b, x| b.depthwise("conv", x, 3, 0, Padding::all(1), true))),
            ("mirrored border: got 6 pixels", error_of(|b, x| b.reflect(x, 6))),
            ("depth to space: got 0x0 pixels", error_of(|b, x| b.depth_to_space(x, 0))),
            ("slice: got 2 channels from 18446744073709551615", error_of(|b, x| b.slice(x, usize::MAX, 2))),
            ("value: got the shape [2, 0, 6, 8]", error_of(|b, x| b.resize(x, 0, 6, false))),
            ("lin.weight: got the shape [0, 8]", error_of(|b, x| b.linear("lin", x, 0, true))),
            ("value: got the shape [2, 4611686018427387904", error_of(|b, x| b.refold(x, 1 << 62, 1 << 62))),
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn a_program_without_an_output_is_an_error() {
        let error = ProgramBuilder::new("test").finish().unwrap_err();
        assert_eq!(error.to_string(), "test: outputs: got none, expected at least one");
    }
}
