//! Implementation of each operation on tensors `[n, h, w, c]`.

use std::sync::Arc;

use candle_core::{D, DType, Result as CandleResult, Tensor};
use dreamframe_kernels::numbers::transpose;

use crate::net::{Activation, ImageOp, OpKind, Padding, Shape, WeightId, bilinear};

/// The reason why an operation failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum OpError {
    /// An id or index out of range.
    #[error("got index {index}, expected less than {len}")]
    Index { index: f32, len: usize },
    /// An error of candle.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

/// Evaluates `kind` for `inputs`; the result has `shape`.
pub(super) fn apply(
    kind: &OpKind,
    inputs: &[&Tensor],
    weights: &[Arc<Tensor>],
    shape: Shape,
) -> Result<Tensor, OpError> {
    let weight = |id: WeightId| &*weights[id.index()];
    let bias = |id: Option<WeightId>| id.map(weight);
    let x = inputs[0];
    let result = match kind {
        OpKind::Conv2d { weight: w, bias: b, stride, dilation, padding, upsample, kernel: _ } => {
            conv2d(x, weight(*w), bias(*b), [*stride, *dilation, 1], *padding, *upsample)
        }
        OpKind::Depthwise { weight: w, bias: b, stride, padding, kernel: _ } => {
            conv2d(x, weight(*w), bias(*b), [*stride, 1, shape.c], *padding, false)
        }
        OpKind::Image(op) => image(x, *op, shape),
        OpKind::Linear { weight: w, bias: b } => linear(x, weight(*w), bias(*b)),
        OpKind::GroupNorm { groups, eps, weight: w, bias: b } => {
            let grouped = x.reshape((shape.n, shape.pixels(), *groups, shape.c / groups))?;
            scale_shift(&normalise(&grouped, &[1, 3], *eps)?.reshape(x.dims())?, weight(*w), weight(*b))
        }
        OpKind::LayerNorm { eps, weight: w, bias: b } => {
            scale_shift(&normalise(x, &[3], *eps)?, weight(*w), weight(*b))
        }
        OpKind::Attention { heads, causal, kv_row, cached_layer: _ } => {
            attention(inputs, *heads, *causal, kv_row, shape)
        }
        // Without earlier frames.
        OpKind::Inject { .. } => Ok(x.clone()),
        OpKind::Activate(activation) => activate(x, *activation),
        OpKind::Geglu => &x.narrow(3, 0, shape.c)? * x.narrow(3, shape.c, shape.c)?.contiguous()?.gelu_erf()?,
        OpKind::Add => x.broadcast_add(inputs[1]),
        OpKind::Mul => x.broadcast_mul(inputs[1]),
        OpKind::Affine { mul, add } => x.affine(f64::from(*mul), f64::from(*add)),
        OpKind::Concat => Tensor::cat(&[x, inputs[1]], 3),
        OpKind::Upsample => from_nchw(&to_nchw(x)?.upsample_nearest2d(shape.h, shape.w)?),
        OpKind::Slice { start, len } => x.narrow(3, *start, *len)?.contiguous(),
        OpKind::Embed { weight: w } => {
            let table = weight(*w);
            let ids = indices(x, table.dim(0)?)?;
            let ids = Tensor::from_vec(ids, shape.n * shape.pixels(), x.device())?;
            table.index_select(&ids, 0)?.reshape((shape.n, shape.h, shape.w, shape.c))
        }
        OpKind::AddWeight { weight: w } => {
            let first = weight(*w).narrow(0, 0, shape.pixels())?;
            x.broadcast_add(&first.reshape((1, shape.h, shape.w, shape.c))?)
        }
        OpKind::TakeToken => {
            let tokens = x.flatten(1, 2)?;
            let taken = indices(inputs[1], tokens.dim(1)?)?.into_iter().enumerate();
            let taken =
                taken.map(|(row, token)| tokens.get(row)?.get(token as usize)).collect::<CandleResult<Vec<_>>>()?;
            Tensor::stack(&taken, 0)?.reshape((shape.n, 1, 1, shape.c))
        }
    };
    Ok(result?)
}

fn to_nchw(x: &Tensor) -> CandleResult<Tensor> {
    let (n, h, w, c) = x.dims4()?;
    exchanged(x, [n, h * w, c])?.reshape((n, c, h, w))
}

fn from_nchw(x: &Tensor) -> CandleResult<Tensor> {
    let (n, c, h, w) = x.dims4()?;
    exchanged(x, [n, c, h * w])?.reshape((n, h, w, c))
}

/// Transposes `n` matrices of these elements of rows and columns. A permuted tensor that is made contiguous is the
/// same, but takes several times as long.
fn exchanged(x: &Tensor, [n, rows, columns]: [usize; 3]) -> CandleResult<Tensor> {
    let elements = x.flatten_all()?.to_vec1::<f32>()?;
    let mut exchanged = vec![0.0; elements.len()];
    let len = (rows * columns).max(1);
    for (from, to) in elements.chunks_exact(len).zip(exchanged.chunks_exact_mut(len)) {
        transpose(from, columns, to);
    }
    Tensor::from_vec(exchanged, (n, columns, rows), x.device())
}

fn conv2d(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    [stride, dilation, groups]: [usize; 3],
    padding: Padding,
    upsample: bool,
) -> CandleResult<Tensor> {
    let mut x = to_nchw(x)?;
    if upsample {
        let (_, _, h, w) = x.dims4()?;
        x = x.upsample_nearest2d(h * 2, w * 2)?;
    }
    x = x.pad_with_zeros(2, padding.top, padding.bottom)?.pad_with_zeros(3, padding.left, padding.right)?;
    let y = from_nchw(&x.conv2d(weight, 0, stride, dilation, groups)?)?;
    match bias {
        Some(bias) => y.broadcast_add(bias),
        None => Ok(y),
    }
}

fn image(x: &Tensor, op: ImageOp, shape: Shape) -> CandleResult<Tensor> {
    let (n, h, w, c) = x.dims4()?;
    match op {
        ImageOp::MaxPool => {
            // Pixels mirrored at an odd edge are in the window already.
            let even = to_nchw(x)?.pad_with_same(2, 0, h % 2)?.pad_with_same(3, 0, w % 2)?;
            from_nchw(&even.max_pool2d(2)?)
        }
        ImageOp::Resize { align_corners } => {
            // Interpolation is one matrix for each direction.
            let matrix = |from: usize, to: usize| {
                let mut elements = vec![0.0; from * to];
                for at in 0..to {
                    let (first, second) = bilinear(at, from, to, align_corners);
                    elements[at * from + first] += 1.0 - second;
                    elements[at * from + (first + 1).min(from - 1)] += second;
                }
                Tensor::from_vec(elements, (to, from), x.device())
            };
            let tall = matrix(h, shape.h)?.broadcast_matmul(&x.reshape((n, h, w * c))?)?;
            let wide = matrix(w, shape.w)?.broadcast_matmul(&tall.reshape((n * shape.h, w, c))?)?;
            wide.reshape((n, shape.h, shape.w, c))
        }
        ImageOp::DepthToSpace { side } => {
            let parts = x.reshape(vec![n, h, w, side, side, shape.c])?;
            parts.permute(vec![0, 1, 3, 2, 4, 5])?.contiguous()?.reshape((n, shape.h, shape.w, shape.c))
        }
        ImageOp::Refold => {
            let pixels = x.reshape((n, h * w, c))?;
            let missing = shape.pixels().saturating_sub(h * w);
            let all = pixels.pad_with_zeros(1, 0, missing)?.narrow(1, 0, shape.pixels())?;
            all.contiguous()?.reshape((n, shape.h, shape.w, c))
        }
        ImageOp::Reflect { border } => {
            let mirrored = |len: usize| {
                let last = len as i64 - 1;
                let places =
                    (-(border as i64)..len as i64 + border as i64).map(|at| (last - (last - at.abs()).abs()) as u32);
                Tensor::from_iter(places, x.device())
            };
            x.index_select(&mirrored(h)?, 1)?.index_select(&mirrored(w)?, 2)
        }
    }
}

fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> CandleResult<Tensor> {
    let (n, h, w, c) = x.dims4()?;
    let y = x.reshape((n * h * w, c))?.matmul(&weight.t()?)?;
    let y = match bias {
        Some(bias) => y.broadcast_add(bias)?,
        None => y,
    };
    y.reshape((n, h, w, weight.dim(0)?))
}

/// Normalizes to mean 0 and variance 1 over `dims`.
fn normalise(x: &Tensor, dims: &[usize], eps: f32) -> CandleResult<Tensor> {
    let x = x.to_dtype(DType::F64)?;
    let centred = x.broadcast_sub(&x.mean_keepdim(dims)?)?;
    let variance = centred.sqr()?.mean_keepdim(dims)?;
    let scale = (variance + f64::from(eps))?.sqrt()?.recip()?;
    centred.broadcast_mul(&scale)?.to_dtype(DType::F32)
}

fn scale_shift(x: &Tensor, scale: &Tensor, shift: &Tensor) -> CandleResult<Tensor> {
    x.broadcast_mul(scale)?.broadcast_add(shift)
}

fn activate(x: &Tensor, activation: Activation) -> CandleResult<Tensor> {
    match activation {
        Activation::Silu => x.silu(),
        Activation::Gelu => x.gelu_erf(),
        Activation::QuickGelu => x * (x.affine(-1.702, 0.0)?.exp()? + 1.0)?.recip()?,
        Activation::Relu => x.relu(),
        Activation::ReluUpTo { limit } => x.clamp(0.0, limit),
        Activation::LeakyRelu { slope } => x.maximum(&x.affine(f64::from(slope), 0.0)?),
        Activation::SoftClamp { limit } => x.affine(1.0 / f64::from(limit), 0.0)?.tanh()?.affine(f64::from(limit), 0.0),
    }
}

/// One row and one head at a time, so that only one attention matrix is in memory.
fn attention(inputs: &[&Tensor], heads: usize, causal: bool, kv_row: &[usize], shape: Shape) -> CandleResult<Tensor> {
    let [q, k, v] = [inputs[0], inputs[1], inputs[2]].map(|x| x.flatten(1, 2));
    let (q, k, v) = (q?, k?, v?);
    let head = |x: &Tensor, row: usize, head: usize| {
        let width = x.dim(2)? / heads;
        x.get(row)?.narrow(1, head * width, width)?.contiguous()
    };
    let scale = 1.0 / ((q.dim(2)? / heads) as f64).sqrt();
    let mut rows = Vec::with_capacity(shape.n);
    for (row, &from) in kv_row.iter().enumerate() {
        let mixed = (0..heads).map(|i| {
            let mut scores = (head(&q, row, i)?.matmul(&head(&k, from, i)?.t()?)? * scale)?;
            if causal {
                scores = (scores + future(shape.pixels(), q.device())?)?;
            }
            softmax(&scores)?.matmul(&head(&v, from, i)?)
        });
        rows.push(Tensor::cat(&mixed.collect::<CandleResult<Vec<_>>>()?, 1)?);
    }
    Tensor::stack(&rows, 0)?.reshape((shape.n, shape.h, shape.w, shape.c))
}

/// The causal mask: minus infinity for later tokens.
fn future(tokens: usize, device: &candle_core::Device) -> CandleResult<Tensor> {
    let mask = (0..tokens * tokens).map(|i| if i % tokens > i / tokens { f32::NEG_INFINITY } else { 0.0 });
    Tensor::from_iter(mask, device)?.reshape((tokens, tokens))
}

fn softmax(scores: &Tensor) -> CandleResult<Tensor> {
    let exps = scores.broadcast_sub(&scores.max_keepdim(D::Minus1)?)?.exp()?;
    exps.broadcast_div(&exps.sum_keepdim(D::Minus1)?)
}

/// Integers below `len`, from `f32` values.
fn indices(x: &Tensor, len: usize) -> Result<Vec<u32>, OpError> {
    let whole = |index: f32| match index >= 0.0 && index < len as f32 && index.fract() == 0.0 {
        true => Ok(index as u32),
        false => Err(OpError::Index { index, len }),
    };
    x.flatten_all()?.to_vec1::<f32>()?.into_iter().map(whole).collect()
}
