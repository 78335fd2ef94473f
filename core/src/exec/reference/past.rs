//! Keys, values and injected tokens of earlier frames, as tensors.

use std::sync::Arc;

use candle_core::{D, Device, Result as CandleResult, Tensor};

use crate::error::{Error, ErrorKind, Result};
use crate::exec::past::merge_order;
use crate::exec::{Injection, Past};
use crate::net::{Op, OpKind};

/// What is kept of a frame.
#[derive(Debug, Clone, Default)]
struct Kept {
    /// The keys and values of each layer with cached attention.
    layers: Vec<[Tensor; 2]>,
    /// The tokens of each layer with injection, and the index of that layer.
    tokens: Vec<(usize, Tensor)>,
}

/// What is kept of a frame; nothing before the first frame.
#[derive(Debug)]
pub(super) struct Seen {
    /// The network that they belong to.
    network: Arc<()>,
    kept: Kept,
}

impl Seen {
    pub(super) fn none(network: Arc<()>) -> Self {
        Self { network, kept: Kept::default() }
    }
}

/// What a run reads of earlier frames, and its own.
#[derive(Debug, Default)]
pub(super) struct LookBack {
    past: Vec<Kept>,
    own: Kept,
    injection: Injection,
}

impl LookBack {
    pub(super) fn new(past: &Past<'_>, network: &Arc<()>) -> Result<Self> {
        let refused = |text: &str| Error::new(ErrorKind::InvalidArgument, text);
        let mut seen = Vec::new();
        for (i, frame) in past.frames.iter().enumerate() {
            let frame = frame.get::<Seen>().filter(|seen| Arc::ptr_eq(&seen.network, network));
            let frame = frame.ok_or_else(|| refused("the earlier frames belong to another network"))?;
            if i < past.filled {
                seen.push(frame.kept.clone());
            }
        }
        Ok(Self { past: seen, own: Kept::default(), injection: past.injection })
    }

    /// Returns the keys and values of a layer, concatenated with those of all cached frames.
    pub(super) fn look(&mut self, layer: usize, own: [&Tensor; 2]) -> CandleResult<[Tensor; 2]> {
        let past = || self.past.iter().filter_map(|frame| frame.layers.get(layer));
        let all = |which: usize| {
            let parts: Vec<&Tensor> = std::iter::once(own[which]).chain(past().map(|frame| &frame[which])).collect();
            Tensor::cat(&parts, 1)
        };
        let both = [all(0)?, all(1)?];
        self.own.layers.push(own.map(Tensor::clone));
        Ok(both)
    }

    /// Injects tokens of earlier frames into `x`, the output of a layer.
    pub(super) fn inject(&mut self, layer: usize, x: &Tensor) -> CandleResult<Tensor> {
        let number = self.own.tokens.len();
        self.own.tokens.push((layer, x.clone()));
        let past = self.past.iter().filter_map(|frame| Some(&frame.tokens.get(number)?.1));
        let past = past.map(|tokens| tokens.flatten(1, 2)).collect::<CandleResult<Vec<_>>>()?;
        if past.is_empty() {
            return Ok(x.clone());
        }
        let (own, past) = (x.flatten(1, 2)?, Tensor::cat(&past, 1)?);
        let cosines = unit(&own)?.matmul(&unit(&past)?.transpose(1, 2)?.contiguous()?)?.to_vec3::<f32>()?;
        let (own, past) = (own.to_vec3::<f32>()?, past.to_vec3::<f32>()?);
        let mut out = Vec::new();
        for ((own, past), cosines) in own.iter().zip(&past).zip(&cosines) {
            for (token, cosines) in own.iter().zip(cosines) {
                let best = first_largest(cosines);
                let share = if cosines[best] >= self.injection.threshold { self.injection.strength } else { 0.0 };
                out.extend(token.iter().zip(&past[best]).map(|(x, y)| x + share * (y - x)));
            }
        }
        Tensor::from_vec(out, x.dims(), &Device::Cpu)
    }

    /// Stores what the run has of its own in `past`.
    pub(super) fn keep(self, past: &mut Past<'_>) -> Result<()> {
        let Some(keep) = past.keep else { return Ok(()) };
        let order = past.merged().map(<[u32]>::to_vec);
        let place = past.frames.get_mut(keep).and_then(|frame| frame.get_mut::<Seen>());
        let place = place.ok_or_else(|| Error::new(ErrorKind::Internal, "an earlier frame is missing"))?;
        place.kept = match order {
            Some(order) => merged(&place.kept, &self.own, &order).map_err(|error| {
                Error::new(ErrorKind::Internal, "merging tokens failed in candle").with_source(error)
            })?,
            None => self.own,
        };
        Ok(())
    }
}

/// Returns tokens with a norm of 1, or 0.
fn unit(tokens: &Tensor) -> CandleResult<Tensor> {
    let norms = tokens.sqr()?.sum_keepdim(D::Minus1)?.sqrt()?;
    tokens.broadcast_div(&norms.maximum(f32::MIN_POSITIVE)?)
}

fn first_largest(numbers: &[f32]) -> usize {
    (0..numbers.len()).fold(0, |best, i| if numbers[i] > numbers[best] { i } else { best })
}

/// Merges what is kept with the run's own.
fn merged(kept: &Kept, own: &Kept, order: &[u32]) -> CandleResult<Kept> {
    let mut all = Kept::default();
    let mut plans = Vec::new();
    for ([kept_k, kept_v], [own_k, own_v]) in kept.layers.iter().zip(&own.layers) {
        let plan = MergePlan::new([kept_k, own_k], order)?;
        all.layers.push([plan.apply([kept_k, own_k])?, plan.apply([kept_v, own_v])?]);
        plans.push(plan);
    }
    for ((layer, kept), (_, own)) in kept.tokens.iter().zip(&own.tokens) {
        all.tokens.push((*layer, plans[*layer].apply([kept, own])?));
    }
    Ok(all)
}

/// Which tokens of a layer are merged.
struct MergePlan {
    /// The tokens that are merged, and those that remain.
    sides: [Vec<usize>; 2],
    /// For each row, the remaining token that each of the others is merged into.
    into: Vec<Vec<usize>>,
}

impl MergePlan {
    fn new(keys: [&Tensor; 2], order: &[u32]) -> CandleResult<Self> {
        let keys = both(keys)?;
        let mut numbers = vec![0; keys.dim(1)?];
        merge_order(order, &mut numbers);
        let numbers: Vec<usize> = numbers.into_iter().map(|number| number as usize).collect();
        let (merged, others) = numbers.split_at(numbers.len() / 2);
        let mut into = Vec::new();
        for row in unit(&keys)?.to_vec3::<f32>()? {
            let cosine = |a: usize, b: usize| row[a].iter().zip(&row[b]).map(|(x, y)| x * y).sum::<f32>();
            let best =
                |&token: &usize| first_largest(&others.iter().map(|&other| cosine(token, other)).collect::<Vec<_>>());
            into.push(merged.iter().map(best).collect());
        }
        Ok(Self { sides: [merged.to_vec(), others.to_vec()], into })
    }

    fn apply(&self, tokens: [&Tensor; 2]) -> CandleResult<Tensor> {
        let [merged, others] = &self.sides;
        let mut out = Vec::new();
        for (row, into) in both(tokens)?.to_vec3::<f32>()?.iter().zip(&self.into) {
            for (i, &other) in others.iter().enumerate() {
                let sources = merged.iter().zip(into).filter(|(_, place)| **place == i).map(|(token, _)| *token);
                let all: Vec<&Vec<f32>> = std::iter::once(other).chain(sources).map(|token| &row[token]).collect();
                let mean = |channel: usize| all.iter().map(|token| token[channel]).sum::<f32>() / all.len() as f32;
                out.extend((0..row[other].len()).map(mean));
            }
        }
        Tensor::from_vec(out, tokens[1].dims(), &Device::Cpu)
    }
}

/// Concatenates the tokens of two values.
fn both(values: [&Tensor; 2]) -> CandleResult<Tensor> {
    Tensor::cat(&[values[0].flatten(1, 2)?, values[1].flatten(1, 2)?], 1)
}

/// Returns the index of a layer among those with cached attention.
pub(super) fn cached_layer(op: &Op) -> Option<usize> {
    if let OpKind::Attention { cached_layer, .. } = op.kind { cached_layer } else { None }
}
