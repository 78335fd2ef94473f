//! The arithmetic of rows: noising, the consistency step, guidance and the stock noise.

use crate::error::Result;
use crate::exec::{Queue, View, ViewMut};
use crate::schedule::Step;

/// The coefficients of one stage, computed in `f64` and rounded once.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Stage {
    sqrt_alpha: f32,
    sqrt_beta: f32,
    /// `sqrt_alpha / sqrt_beta`.
    signal_to_noise: f32,
    /// The weight of `x_t` in `x_0`: `c_out / sqrt_alpha + c_skip`.
    clean_from_x: f32,
    /// The weight of the predicted noise in `x_0`: `c_out * sqrt_beta / sqrt_alpha`.
    clean_from_eps: f32,
}

impl From<&Step> for Stage {
    fn from(step: &Step) -> Self {
        Self {
            sqrt_alpha: step.sqrt_alpha as f32,
            sqrt_beta: step.sqrt_beta as f32,
            signal_to_noise: (step.sqrt_alpha / step.sqrt_beta) as f32,
            clean_from_x: (step.c_out / step.sqrt_alpha + step.c_skip) as f32,
            clean_from_eps: (step.c_out * step.sqrt_beta / step.sqrt_alpha) as f32,
        }
    }
}

impl Stage {
    /// Adds `noise` to the clean `latent`, at the level of this stage: `sqrt_alpha * latent + sqrt_beta * noise`.
    pub(super) fn noise(&self, queue: &dyn Queue, latent: View<'_>, noise: View<'_>, x: ViewMut<'_>) -> Result<()> {
        queue.combine(x, 0.0, &[(self.sqrt_alpha, latent), (self.sqrt_beta, noise)])
    }

    /// Scales the clean `latent` to the level of this stage, without noise.
    pub(super) fn scale(&self, queue: &dyn Queue, latent: View<'_>, x: ViewMut<'_>) -> Result<()> {
        queue.combine(x, 0.0, &[(self.sqrt_alpha, latent)])
    }

    /// Computes the clean latent of `x` at this stage from the predicted noise `eps`.
    pub(super) fn denoise(&self, queue: &dyn Queue, x: View<'_>, eps: View<'_>, clean: ViewMut<'_>) -> Result<()> {
        queue.combine(clean, 0.0, &[(self.clean_from_x, x), (-self.clean_from_eps, eps)])
    }

    /// Computes the residue: the same step as [`denoise`](Self::denoise), of the stock noise in place of `x`.
    pub(super) fn residue(
        &self,
        queue: &dyn Queue,
        stock: View<'_>,
        eps: View<'_>,
        mut residue: ViewMut<'_>,
    ) -> Result<()> {
        queue.combine(residue.reborrow(), 0.0, &[(self.sqrt_beta, stock)])?;
        queue.combine(residue, self.clean_from_x, &[(-self.clean_from_eps, eps)])
    }

    /// Computes the stock noise of a row that enters this stage, from the stage's fixed noise and the row's `residue`.
    pub(super) fn stock_noise(
        &self,
        queue: &dyn Queue,
        residue: View<'_>,
        noise: View<'_>,
        stock: ViewMut<'_>,
    ) -> Result<()> {
        queue.combine(stock, 0.0, &[(1.0, noise), (self.signal_to_noise, residue)])
    }
}

/// Applies guidance: writes `n + scale * (prompt - n)` with `n = share * negative`.
pub(super) fn guide(
    queue: &dyn Queue,
    (scale, share): (f32, f32),
    negative: View<'_>,
    prompt: View<'_>,
    mut guided: ViewMut<'_>,
) -> Result<()> {
    queue.combine(guided.reborrow(), 0.0, &[(1.0, prompt), (-share, negative)])?;
    queue.combine(guided, scale, &[(share, negative)])
}
