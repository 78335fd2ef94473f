//! The arithmetic of rows: noising, the consistency step, guidance and the stock noise.

use crate::error::Result;
use crate::exec::{Queue, View, ViewMut};
use crate::schedule::Step;

/// The coefficients of one stage, computed in `f64` and rounded once.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Stage {
    sqrt_alpha: f32,
    sqrt_beta: f32,
    /// The weights of the clean latent and of noise in a row that comes from a frame.
    entering: [f32; 2],
    /// The weight of new noise in a row that comes from the stage before.
    new_noise: f32,
    /// The weight of the noise predicted at the stage before.
    predicted_noise: f32,
    /// `sqrt_alpha / sqrt_beta`.
    signal_to_noise: f32,
    /// The shares of both noises in the noise of the row: their weights over `sqrt_beta`.
    noise_shares: [f32; 2],
    /// The weight of `x_t` in `x_0`: `c_out / sqrt_alpha + c_skip`.
    clean_from_x: f32,
    /// The weight of the predicted noise in `x_0`: `c_out * sqrt_beta / sqrt_alpha`.
    clean_from_eps: f32,
}

/// A row that enters a stage from the one before.
pub(super) struct Entering<'a> {
    /// Its clean latent.
    pub(super) clean: View<'a>,
    /// The noise predicted at the stage before.
    pub(super) predicted: View<'a>,
    /// The fixed noise of the stage that it enters.
    pub(super) noise: View<'a>,
}

impl From<&Step> for Stage {
    fn from(step: &Step) -> Self {
        Self {
            sqrt_alpha: step.sqrt_alpha as f32,
            sqrt_beta: step.sqrt_beta as f32,
            entering: step.entering.map(|weight| weight as f32),
            new_noise: step.new_noise as f32,
            predicted_noise: step.predicted_noise as f32,
            signal_to_noise: (step.sqrt_alpha / step.sqrt_beta) as f32,
            noise_shares: [step.new_noise, step.predicted_noise].map(|noise| (noise / step.sqrt_beta) as f32),
            clean_from_x: (step.c_out / step.sqrt_alpha + step.c_skip) as f32,
            clean_from_eps: (step.c_out * step.sqrt_beta / step.sqrt_alpha) as f32,
        }
    }
}

impl Stage {
    /// Adds `noise` to the clean `latent` of a frame, usually at the level of this stage: `sqrt_alpha * latent + sqrt_beta *
    /// noise`.
    pub(super) fn noise(&self, queue: &dyn Queue, latent: View<'_>, noise: View<'_>, x: ViewMut<'_>) -> Result<()> {
        let [of_latent, of_noise] = self.entering;
        let terms = [(of_latent, latent), (of_noise, noise)];
        queue.combine(x, 0.0, if of_noise == 0.0 { &terms[..1] } else { &terms })
    }

    /// Brings a row from the stage before to the level of this one: its clean latent, and the noise that it gets, without
    /// new noise unless `add_noise`.
    pub(super) fn enter(&self, queue: &dyn Queue, row: &Entering<'_>, add_noise: bool, x: ViewMut<'_>) -> Result<()> {
        let new_noise = if add_noise { self.new_noise } else { 0.0 };
        let terms = [(self.sqrt_alpha, row.clean), (new_noise, row.noise), (self.predicted_noise, row.predicted)];
        combine_nonzero(queue, x, terms)
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

    /// Computes the stock noise of a row that enters this stage, from the noise that it gets and its `residue`.
    pub(super) fn stock_noise(
        &self,
        queue: &dyn Queue,
        row: &Entering<'_>,
        residue: View<'_>,
        stock: ViewMut<'_>,
    ) -> Result<()> {
        let [new_noise, predicted_noise] = self.noise_shares;
        let terms = [(new_noise, row.noise), (predicted_noise, row.predicted), (self.signal_to_noise, residue)];
        combine_nonzero(queue, stock, terms)
    }
}

/// Writes the sum of those of three terms that have a weight: a device is slower with one that has none.
fn combine_nonzero(queue: &dyn Queue, to: ViewMut<'_>, terms: [(f32, View<'_>); 3]) -> Result<()> {
    let [first, second, third] = terms;
    match (second.0 == 0.0, third.0 == 0.0) {
        (true, true) => queue.combine(to, 0.0, &[first]),
        (false, true) => queue.combine(to, 0.0, &[first, second]),
        (true, false) => queue.combine(to, 0.0, &[first, third]),
        (false, false) => queue.combine(to, 0.0, &[first, second, third]),
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
