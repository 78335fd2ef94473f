//! The stream batch: successive frames at successive denoising stages, in one UNet call. No weights, no clock.
//!
//! [`StreamBatch`] takes the latent of a frame and returns the clean latent of an earlier frame; a [`Predict`]
//! evaluates the UNet on its rows. [`guidance`] lists these rows, and [`noise`] generates the fixed noise of each
//! stage. A row is a range of elements of a buffer: this module is independent of channels and sizes.

mod batch;
pub mod guidance;
pub mod noise;
mod rows;
#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use self::batch::{StreamBatch, StreamRows};
use crate::Result;
use crate::exec::{Buffer, View, ViewMut};
use crate::params::CfgType;
use crate::schedule::StepTable;

/// The configuration of a [`StreamBatch`]; cheap to clone.
#[derive(Debug, Clone)]
pub struct StreamConfig {
    /// The denoising stages.
    pub table: Arc<StepTable>,
    /// The fixed noise of each stage, one row after the other: as many rows as `table` has steps.
    pub noise: Arc<Buffer>,
    /// The kind of guidance.
    pub cfg_type: CfgType,
    /// The guidance scale; no guidance up to 1. Finite.
    pub guidance_scale: f32,
    /// The weight of the stock noise. Finite.
    pub delta: f32,
    /// Whether a row gets new noise between two stages, if the table's rule has any.
    pub do_add_noise: bool,
    /// Whether successive frames share one UNet call, each at another stage; otherwise a frame runs through all stages
    /// before the next one enters.
    pub batched: bool,
}

/// The UNet call of a prediction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Call {
    /// All rows of the stream batch: [`guidance::rows`].
    Batch,
    /// One frame at one stage: [`guidance::stage_rows`].
    Stage(usize),
}

/// Predicts the noise in UNet rows.
pub trait Predict {
    /// Predicts the noise in `x` and writes it to `eps`; both contain the rows of `call`, concatenated.
    ///
    /// # Errors
    ///
    /// Errors of the network; the stream is then unchanged.
    fn predict(&mut self, call: Call, x: View<'_>, eps: ViewMut<'_>) -> Result<()>;
}

impl<F: FnMut(Call, View<'_>, ViewMut<'_>) -> Result<()>> Predict for F {
    fn predict(&mut self, call: Call, x: View<'_>, eps: ViewMut<'_>) -> Result<()> {
        self(call, x, eps)
    }
}
