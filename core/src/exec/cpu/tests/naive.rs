//! Every operation by its definition, one element at a time, in `f64`.

pub(in crate::exec) use dreamframe_kernels::definitions::noise;
use dreamframe_kernels::definitions::{dot, erfc};

use crate::error::Result;
use crate::net::{Activation, ImageOp, Op, OpKind, Padding, Program, Rate, Shape, WeightId, WeightSource};

/// Pseudorandom weights that depend only on their names.
pub(in crate::exec) struct GeneratedWeights;

impl WeightSource for GeneratedWeights {
    fn shape(&self, _: &str) -> Option<Vec<usize>> {
        None
    }

    fn read(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let seed = name.bytes().fold(7_u64, |seed, byte| seed.wrapping_mul(31).wrapping_add(u64::from(byte)));
        let len: usize = shape.iter().product();
        // About the size of trained weights, so that results stay close to one.
        let size = 2.0 / (len as f32 / shape[0] as f32).sqrt().max(1.0);
        Ok(noise(seed, len).into_iter().map(|x| x * size).collect())
    }
}

/// Runs `program` on inputs of both rates and returns its outputs.
///
/// Each input and each result is disturbed by up to `disturb` times the largest element of its value, which shows how
/// much a program amplifies errors of that size.
pub(in crate::exec) fn run(
    program: &Program,
    constants: &[Vec<f32>],
    frames: &[Vec<f32>],
    disturb: f64,
) -> Vec<Vec<f64>> {
    run_with(program, &GeneratedWeights, constants, frames, disturb)
}

/// Like [`run`], with other weights.
pub(super) fn run_with(
    program: &Program,
    weights: &dyn WeightSource,
    constants: &[Vec<f32>],
    frames: &[Vec<f32>],
    disturb: f64,
) -> Vec<Vec<f64>> {
    let mut values = vec![Vec::new(); program.shapes().len()];
    for (rate, given) in [(Rate::Constant, constants), (Rate::Frame, frames)] {
        for (input, elements) in program.inputs_at(rate).zip(given) {
            let are_indices = input.name.starts_with("ids");
            let elements = elements.iter().map(|&x| f64::from(x)).collect();
            values[input.value.index()] =
                if are_indices { elements } else { disturbed(elements, input.value.index(), disturb) };
        }
    }
    for op in program.ops() {
        let inputs = op.inputs.iter().map(|&value| Value { shape: program.shape(value), x: &values[value.index()] });
        let out = Naive { program, weights }.op(op, &inputs.collect::<Vec<_>>());
        assert_eq!(out.len(), program.shape(op.output).len());
        values[op.output.index()] = disturbed(out, op.output.index(), disturb);
    }
    program.outputs().iter().map(|output| values[output.value.index()].clone()).collect()
}

/// Adds noise of up to `disturb` times the largest element.
fn disturbed(mut elements: Vec<f64>, value: usize, disturb: f64) -> Vec<f64> {
    let size = disturb * elements.iter().fold(0.0_f64, |size, x| size.max(x.abs()));
    let by = noise(value as u64 + 1000, elements.len());
    elements.iter_mut().zip(by).for_each(|(x, by)| *x += size * f64::from(by));
    elements
}

#[derive(Clone, Copy)]
struct Value<'a> {
    shape: Shape,
    x: &'a [f64],
}

impl Value<'_> {
    fn at(&self, n: usize, y: usize, x: usize, c: usize) -> f64 {
        let s = self.shape;
        assert!(n < s.n && y < s.h && x < s.w && c < s.c);
        self.x[((n * s.h + y) * s.w + x) * s.c + c]
    }

    /// Returns some channels of a pixel, by its index in the row.
    fn channels(&self, n: usize, token: usize, start: usize, len: usize) -> &[f64] {
        let s = self.shape;
        assert!(n < s.n && token < s.pixels() && start + len <= s.c);
        let at = (n * s.pixels() + token) * s.c + start;
        &self.x[at..at + len]
    }

    /// Returns one channel of a pixel, by its index in the row.
    fn token(&self, n: usize, token: usize, c: usize) -> f64 {
        self.at(n, token / self.shape.w, token % self.shape.w, c)
    }
}

/// Calls `f` for all indices of a shape, in order, and collects the results.
fn each(shape: Shape, f: impl Fn(usize, usize, usize, usize) -> f64) -> Vec<f64> {
    let mut out = Vec::new();
    for n in 0..shape.n {
        for y in 0..shape.h {
            for x in 0..shape.w {
                for c in 0..shape.c {
                    out.push(f(n, y, x, c));
                }
            }
        }
    }
    out
}

struct Naive<'a> {
    program: &'a Program,
    weights: &'a dyn WeightSource,
}

impl Naive<'_> {
    fn weight(&self, id: WeightId) -> Vec<f64> {
        let spec = self.program.weight(id);
        self.weights.read(&spec.name, &spec.shape).unwrap().into_iter().map(f64::from).collect()
    }

    fn op(&self, op: &Op, inputs: &[Value<'_>]) -> Vec<f64> {
        let out = self.program.shape(op.output);
        let a = inputs[0];
        match op.kind {
            OpKind::Conv2d { weight, bias, kernel, stride, dilation, padding, upsample } => {
                let sides = [kernel, stride, dilation];
                self.conv(a, out, [weight, bias.unwrap_or(weight)], bias.is_some(), sides, padding, upsample)
            }
            OpKind::Depthwise { weight, bias, kernel, stride, padding } => {
                let (weight, bias) = (self.weight(weight), bias.map(|bias| self.weight(bias)));
                each(out, |n, y, x, c| {
                    let mut sum = bias.as_ref().map_or(0.0, |bias| bias[c]);
                    for tap in 0..kernel * kernel {
                        let (sy, sx) = (y * stride + tap / kernel, x * stride + tap % kernel);
                        let inside = sy >= padding.top && sx >= padding.left;
                        if inside && sy - padding.top < a.shape.h && sx - padding.left < a.shape.w {
                            sum += weight[c * kernel * kernel + tap] * a.at(n, sy - padding.top, sx - padding.left, c);
                        }
                    }
                    sum
                })
            }
            OpKind::Image(op) => image(a, op, out),
            OpKind::Linear { weight, bias } => {
                self.conv(a, out, [weight, bias.unwrap_or(weight)], bias.is_some(), [1, 1, 1], Padding::all(0), false)
            }
            OpKind::GroupNorm { groups, eps, weight, bias } => {
                let (weight, bias, wide) = (self.weight(weight), self.weight(bias), a.shape.c / groups);
                let norm = |n, group| {
                    let channels = group * wide..(group + 1) * wide;
                    let all = (0..a.shape.pixels()).flat_map(|p| channels.clone().map(move |c| (p, c)));
                    Norm::of(&all.map(|(p, c)| a.token(n, p, c)).collect::<Vec<_>>(), eps)
                };
                let norms = (0..a.shape.n * groups).map(|i| norm(i / groups, i % groups)).collect::<Vec<_>>();
                each(out, |n, y, x, c| norms[n * groups + c / wide].apply(a.at(n, y, x, c)) * weight[c] + bias[c])
            }
            OpKind::LayerNorm { eps, weight, bias } => {
                let (weight, bias) = (self.weight(weight), self.weight(bias));
                let norms = a.x.chunks_exact(a.shape.c).map(|pixel| Norm::of(pixel, eps)).collect::<Vec<_>>();
                each(out, |n, y, x, c| norms[(n * out.h + y) * out.w + x].apply(a.at(n, y, x, c)) * weight[c] + bias[c])
            }
            OpKind::Attention { heads, causal, ref kv_row, cached_layer: _ } => {
                attention(a, inputs[1], inputs[2], out, heads, causal, kv_row)
            }
            // Without earlier frames.
            OpKind::Inject { .. } => each(out, |n, y, x, c| a.at(n, y, x, c)),
            OpKind::Activate(activation) => each(out, |n, y, x, c| activate(a.at(n, y, x, c), activation)),
            OpKind::Geglu => {
                each(out, |n, y, x, c| a.at(n, y, x, c) * activate(a.at(n, y, x, c + out.c), Activation::Gelu))
            }
            OpKind::Add => {
                let b = inputs[1];
                let wrap = |i: usize, len: usize| if len == 1 { 0 } else { i };
                each(out, |n, y, x, c| {
                    a.at(n, y, x, c) + b.at(wrap(n, b.shape.n), wrap(y, b.shape.h), wrap(x, b.shape.w), c)
                })
            }
            OpKind::Mul => {
                let b = inputs[1];
                let wrap = |i: usize, len: usize| if len == 1 { 0 } else { i };
                each(out, |n, y, x, c| {
                    a.at(n, y, x, c) * b.at(wrap(n, b.shape.n), wrap(y, b.shape.h), wrap(x, b.shape.w), c)
                })
            }
            OpKind::Affine { mul, add } => each(out, |n, y, x, c| a.at(n, y, x, c) * f64::from(mul) + f64::from(add)),
            OpKind::Concat => {
                each(
                    out,
                    |n, y, x, c| {
                        if c < a.shape.c { a.at(n, y, x, c) } else { inputs[1].at(n, y, x, c - a.shape.c) }
                    },
                )
            }
            OpKind::Upsample => each(out, |n, y, x, c| a.at(n, y / 2, x / 2, c)),
            OpKind::Slice { start, .. } => each(out, |n, y, x, c| a.at(n, y, x, c + start)),
            OpKind::Embed { weight } => {
                let weight = self.weight(weight);
                each(out, |n, y, x, c| weight[a.at(n, y, x, 0) as usize * out.c + c])
            }
            OpKind::AddWeight { weight } => {
                let weight = self.weight(weight);
                each(out, |n, y, x, c| a.at(n, y, x, c) + weight[(y * out.w + x) * out.c + c])
            }
            OpKind::TakeToken => each(out, |n, _, _, c| a.token(n, inputs[1].at(n, 0, 0, 0) as usize, c)),
        }
    }

    #[allow(clippy::too_many_arguments, reason = "a convolution has this many degrees of freedom")]
    fn conv(
        &self,
        a: Value<'_>,
        out: Shape,
        [weight, bias]: [WeightId; 2],
        biased: bool,
        [kernel, stride, dilation]: [usize; 3],
        padding: Padding,
        upsample: bool,
    ) -> Vec<f64> {
        let (by_channel, bias, grow) = (self.weight(weight), self.weight(bias), if upsample { 2 } else { 1 });
        // In the order of output channels, taps and input channels, so that each tap is a product of two slices.
        let (taps, c_in) = (kernel * kernel, a.shape.c);
        let place = |i: usize| (i / (c_in * taps), i / c_in % taps, i % c_in);
        let weight = (0..by_channel.len()).map(place).map(|(o, tap, c)| by_channel[(o * c_in + c) * taps + tap]);
        let weight = weight.collect::<Vec<_>>();
        each(out, |n, y, x, o| {
            let mut sum = if biased { bias[o] } else { 0.0 };
            for tap in 0..taps {
                let (iy, ix) = (
                    (y * stride + tap / kernel * dilation) as i64 - padding.top as i64,
                    (x * stride + tap % kernel * dilation) as i64 - padding.left as i64,
                );
                if iy < 0 || ix < 0 || iy >= (a.shape.h * grow) as i64 || ix >= (a.shape.w * grow) as i64 {
                    continue;
                }
                let pixel = iy as usize / grow * a.shape.w + ix as usize / grow;
                let at = (o * taps + tap) * c_in;
                sum += dot(&weight[at..at + c_in], a.channels(n, pixel, 0, c_in));
            }
            sum
        })
    }
}

fn image(a: Value<'_>, op: ImageOp, out: Shape) -> Vec<f64> {
    let (h, w) = (a.shape.h, a.shape.w);
    match op {
        ImageOp::MaxPool => each(out, |n, y, x, c| {
            let seen = (0..4).map(|i| (2 * y + i / 2, 2 * x + i % 2)).filter(|&(y, x)| y < h && x < w);
            seen.map(|(y, x)| a.at(n, y, x, c)).fold(f64::NEG_INFINITY, f64::max)
        }),
        ImageOp::Resize { align_corners } => {
            // A pixel is weighted by its distance.
            let weight = |at: usize, from: usize, to: usize, seen: usize| {
                let (at, from, to) = (at as f64, from as f64, to as f64);
                let place = match align_corners {
                    true => at * (from - 1.0) / (to - 1.0).max(1.0),
                    false => ((at + 0.5) * from / to - 0.5).clamp(0.0, from - 1.0),
                };
                (1.0 - (place - seen as f64).abs()).max(0.0)
            };
            each(out, |n, y, x, c| {
                let all = (0..h * w).map(|p| (p / w, p % w));
                all.map(|(sy, sx)| weight(y, h, out.h, sy) * weight(x, w, out.w, sx) * a.at(n, sy, sx, c)).sum()
            })
        }
        ImageOp::DepthToSpace { side } => {
            each(out, |n, y, x, c| a.at(n, y / side, x / side, (y % side * side + x % side) * out.c + c))
        }
        ImageOp::Refold => each(out, |n, y, x, c| {
            let pixel = y * out.w + x;
            if pixel < h * w { a.token(n, pixel, c) } else { 0.0 }
        }),
        ImageOp::Reflect { border } => {
            let back = |at: usize, len: usize| {
                let at = (at as i64 - border as i64).unsigned_abs() as usize;
                if at < len { at } else { 2 * len - 2 - at }
            };
            each(out, |n, y, x, c| a.at(n, back(y, h), back(x, w), c))
        }
    }
}

/// The mean and the divisor of a norm.
struct Norm {
    mean: f64,
    deviation: f64,
}

impl Norm {
    fn of(elements: &[f64], eps: f32) -> Self {
        let mean = elements.iter().sum::<f64>() / elements.len() as f64;
        let variance = elements.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / elements.len() as f64;
        Self { mean, deviation: (variance + f64::from(eps)).sqrt() }
    }

    fn apply(&self, x: f64) -> f64 {
        (x - self.mean) / self.deviation
    }
}

fn attention(
    q: Value<'_>,
    k: Value<'_>,
    v: Value<'_>,
    out: Shape,
    heads: usize,
    causal: bool,
    kv_row: &[usize],
) -> Vec<f64> {
    let (width, value_width) = (q.shape.c / heads, v.shape.c / heads);
    // The weight of each key that a token attends to, for each head, in the order of rows, tokens and heads.
    let weights = |n: usize, token: usize, head: usize| {
        let seen = if causal { token + 1 } else { k.shape.pixels() };
        let query = q.channels(n, token, head * width, width);
        let score = |key| dot(query, k.channels(kv_row[n], key, head * width, width)) / (width as f64).sqrt();
        let scores = (0..seen).map(score).collect::<Vec<_>>();
        let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let weights = scores.iter().map(|score| (score - largest).exp()).collect::<Vec<_>>();
        let sum = weights.iter().sum::<f64>();
        weights.into_iter().map(|weight| weight / sum).collect::<Vec<_>>()
    };
    let mut result = Vec::new();
    for (n, &row) in kv_row.iter().enumerate().take(out.n) {
        for (token, head) in (0..out.pixels()).flat_map(|token| (0..heads).map(move |head| (token, head))) {
            let mut sums = vec![0.0; value_width];
            for (key, weight) in weights(n, token, head).into_iter().enumerate() {
                let values = v.channels(row, key, head * value_width, value_width);
                sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += weight * value);
            }
            result.extend(sums);
        }
    }
    result
}

fn activate(x: f64, activation: Activation) -> f64 {
    match activation {
        Activation::Silu => x / (1.0 + (-x).exp()),
        Activation::QuickGelu => x / (1.0 + (-1.702 * x).exp()),
        Activation::Gelu => x * 0.5 * erfc(-x / std::f64::consts::SQRT_2),
        Activation::Relu => x.max(0.0),
        Activation::ReluUpTo { limit } => x.clamp(0.0, f64::from(limit)),
        Activation::LeakyRelu { slope } => {
            if x > 0.0 {
                x
            } else {
                x * f64::from(slope)
            }
        }
        Activation::SoftClamp { limit } => f64::from(limit) * (x / f64::from(limit)).tanh(),
    }
}
