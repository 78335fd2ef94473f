//! Checks whether the old and the new pipeline fit in memory together.

use super::pipeline::context::BuildContext;
use super::pipeline::{Pipeline, cached_frames};
use crate::error::Result;
use crate::params::StreamDiffusionParams;

/// Returns true if a pipeline for `params` does not fit in memory together with `base`, as estimated before anything is
/// loaded; false if that cannot be estimated.
pub(super) fn is_short(context: &BuildContext, base: &Pipeline, params: &StreamDiffusionParams) -> bool {
    let needed = weights(context, base, params)
        .unwrap_or(0)
        .saturating_add(scratch(base, params))
        .saturating_add(past(base, params));
    context.queue.available_memory().is_some_and(|available| available < needed)
}

/// Bytes of the weights that another model brings.
fn weights(context: &BuildContext, base: &Pipeline, params: &StreamDiffusionParams) -> Result<u64> {
    if base.params.model_id == params.model_id {
        return Ok(0);
    }
    let checkpoint = context.source.base(&params.model_id.parse()?)?.checkpoint;
    let mut numbers = 0_u64;
    for part in ["unet", "vae", "text_encoder", "text_encoder_2"] {
        if let Ok(component) = checkpoint.component(part) {
            numbers = numbers.saturating_add(component.weights.numbers());
        }
    }
    // Forms for convolutions with fewer multiplications are up to twice as large, in about half of the weights.
    Ok(context.stored_bytes(numbers).saturating_mul(3) / 2)
}

/// Bytes of scratch memory that another size needs: it grows with the pixels, or faster.
fn scratch(base: &Pipeline, params: &StreamDiffusionParams) -> u64 {
    let (old, new) = (pixels(&base.params), pixels(params));
    if new <= old {
        return 0;
    }
    (base.memory.scratch as u64).saturating_mul(new) / old.max(1)
}

/// Bytes of cached frames for attention: those in use stay allocated until the new ones are.
fn past(base: &Pipeline, params: &StreamDiffusionParams) -> u64 {
    let each = base.cached_frame_bytes() as u64;
    let old = pixels(&base.params).max(1);
    each.saturating_mul(cached_frames(params) as u64).saturating_mul(pixels(params)) / old
}

fn pixels(params: &StreamDiffusionParams) -> u64 {
    u64::from(params.width) * u64::from(params.height)
}
