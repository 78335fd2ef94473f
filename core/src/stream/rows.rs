//! One row's arithmetic: noising, the consistency step, and what becomes of the stock noise.

use crate::schedule::Step;

/// The constants of one stage as the frame loop multiplies by them: combined in `f64`, rounded once.
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
    /// Brings the clean `latent` to this stage's level by `noise`.
    pub(super) fn noise(&self, latent: &[f32], noise: &[f32], x: &mut [f32]) {
        for ((x, latent), noise) in x.iter_mut().zip(latent).zip(noise) {
            *x = self.sqrt_alpha * latent + self.sqrt_beta * noise;
        }
    }

    /// Scales the clean `latent` to this stage's level, without noise.
    pub(super) fn scale(&self, latent: &[f32], x: &mut [f32]) {
        for (x, latent) in x.iter_mut().zip(latent) {
            *x = self.sqrt_alpha * latent;
        }
    }

    /// Predicts the clean latent of `x` at this stage from the noise `eps` in it.
    pub(super) fn denoise(&self, x: &[f32], eps: &[f32], clean: &mut [f32]) {
        for ((clean, x), eps) in clean.iter_mut().zip(x).zip(eps) {
            *clean = self.clean_from_x * x - self.clean_from_eps * eps;
        }
    }

    /// Finds by how much the prediction misses the latent that `stock` alone explains: the same step, of the stock noise
    /// in place of `x`.
    pub(super) fn residue(&self, stock: &[f32], eps: &[f32], residue: &mut [f32]) {
        for ((residue, stock), eps) in residue.iter_mut().zip(stock).zip(eps) {
            *residue = self.clean_from_x * (self.sqrt_beta * stock) - self.clean_from_eps * eps;
        }
    }

    /// Makes the stock noise of a row that comes to this stage, whose fixed noise is `noise`, with `residue`.
    pub(super) fn restock(&self, residue: &[f32], noise: &[f32], stock: &mut [f32]) {
        for ((stock, residue), noise) in stock.iter_mut().zip(residue).zip(noise) {
            *stock = noise + self.signal_to_noise * residue;
        }
    }
}

/// Pushes `prompt` away from `share * negative`, by `scale`; the result replaces `prompt`.
pub(super) fn guide(scale: f32, share: f32, negative: &[f32], prompt: &mut [f32]) {
    for (prompt, negative) in prompt.iter_mut().zip(negative) {
        let negative = share * negative;
        *prompt = negative + scale * (*prompt - negative);
    }
}
