//! Keys and values of earlier frames, as tensors.

use std::sync::Arc;

use candle_core::{Result as CandleResult, Tensor};

use crate::error::{Error, ErrorKind, Result};
use crate::exec::Past;
use crate::net::{Op, OpKind};

/// The keys and values of a frame by layer; none before the first frame.
#[derive(Debug)]
pub(super) struct Seen {
    /// The network that they belong to.
    network: Arc<()>,
    layers: Vec<[Tensor; 2]>,
}

impl Seen {
    pub(super) fn none(network: Arc<()>) -> Self {
        Self { network, layers: Vec::new() }
    }
}

/// Cached keys and values that a run reads, and its own.
#[derive(Debug, Default)]
pub(super) struct LookBack {
    past: Vec<Vec<[Tensor; 2]>>,
    own: Vec<[Tensor; 2]>,
}

impl LookBack {
    pub(super) fn new(past: &Past<'_>, network: &Arc<()>) -> Result<Self> {
        past.check()?;
        let refused = |text: &str| Error::new(ErrorKind::InvalidArgument, text);
        let mut seen = Vec::new();
        for (i, frame) in past.frames.iter().enumerate() {
            let frame = frame.get::<Seen>().filter(|seen| Arc::ptr_eq(&seen.network, network));
            let frame = frame.ok_or_else(|| refused("the earlier frames belong to another network"))?;
            if i < past.filled {
                seen.push(frame.layers.clone());
            }
        }
        Ok(Self { past: seen, own: Vec::new() })
    }

    /// Returns the keys and values of a layer, concatenated with those of all cached frames.
    pub(super) fn look(&mut self, layer: usize, own: [&Tensor; 2]) -> CandleResult<[Tensor; 2]> {
        let past = || self.past.iter().filter_map(|frame| frame.get(layer));
        let all = |which: usize| {
            let parts: Vec<&Tensor> = std::iter::once(own[which]).chain(past().map(|frame| &frame[which])).collect();
            Tensor::cat(&parts, 1)
        };
        let both = [all(0)?, all(1)?];
        self.own.push(own.map(Tensor::clone));
        Ok(both)
    }

    /// Stores the run's own keys and values in `past`.
    pub(super) fn keep(self, past: &mut Past<'_>) -> Result<()> {
        let Some(keep) = past.keep else { return Ok(()) };
        let place = past.frames.get_mut(keep).and_then(|frame| frame.get_mut::<Seen>());
        place.ok_or_else(|| Error::new(ErrorKind::Internal, "an earlier frame is missing"))?.layers = self.own;
        Ok(())
    }
}

/// Returns the index of a layer among those with cached attention.
pub(super) fn cached_layer(op: &Op) -> Option<usize> {
    if let OpKind::Attention { cached_layer, .. } = op.kind { cached_layer } else { None }
}
