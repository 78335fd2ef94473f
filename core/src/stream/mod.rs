//! The heart: rows of a frame pipeline in one UNet batch. No weights, no device, no clock.
//!
//! [`StreamBatch`] takes a frame's latent in and gives the clean latent of an earlier frame out; what the UNet predicts
//! for its rows it asks of a [`Predict`]. [`guidance`] says which rows those are, [`noise`] where the fixed noise of each
//! stage comes from.
//! A row is a flat slice of numbers: nothing here knows channels or sizes.

mod batch;
pub mod guidance;
pub mod noise;
mod rows;
#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use self::batch::StreamBatch;
pub use self::guidance::CfgType;
use crate::Result;
use crate::schedule::StepTable;

/// Everything a [`StreamBatch`] works by; cheap to clone, so that one number can be changed alone.
#[derive(Debug, Clone)]
pub struct StreamConfig {
    /// The denoising stages.
    pub table: Arc<StepTable>,
    /// The fixed noise of each stage, one row after the other: as many rows as `table` has steps.
    pub noise: Arc<[f32]>,
    /// How the picture is pushed away from the negative prompt.
    pub cfg_type: CfgType,
    /// How far; up to 1, not at all. Finite.
    pub guidance_scale: f32,
    /// How much of the stock noise counts. Finite.
    pub delta: f32,
    /// Whether a row is given its noise anew between two stages.
    pub do_add_noise: bool,
    /// Whether successive frames share one UNet call, each at another stage; otherwise a frame runs through all stages
    /// before the next one enters.
    pub batched: bool,
}

/// Which UNet call a prediction is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Call {
    /// All rows of the stream batch: [`guidance::rows`].
    Batch,
    /// One frame at one stage: [`guidance::stage_rows`].
    Stage(usize),
}

/// Predicts the noise in UNet rows.
pub trait Predict {
    /// Writes to `eps` what noise is in `x`; both hold the rows of `call`, one after the other.
    ///
    /// # Errors
    ///
    /// Whatever kept the network from running; the stream then stays as it was.
    fn predict(&mut self, call: Call, x: &[f32], eps: &mut [f32]) -> Result<()>;
}

impl<F: FnMut(Call, &[f32], &mut [f32]) -> Result<()>> Predict for F {
    fn predict(&mut self, call: Call, x: &[f32], eps: &mut [f32]) -> Result<()> {
        self(call, x, eps)
    }
}
