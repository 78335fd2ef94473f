//! Beta schedules, and their cumulative product of alphas.

use serde::{Deserialize, Serialize};

use crate::{Error, ErrorKind};

/// The interpolation of the betas between their ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BetaSchedule {
    /// The square roots are evenly spaced.
    ScaledLinear,
    /// The betas are evenly spaced.
    Linear,
}

/// The noise per timestep in training, by a scheduler's `config.json`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Betas {
    /// The interpolation of the betas.
    pub schedule: BetaSchedule,
    /// The first beta; above 0.
    pub start: f64,
    /// The last beta; not below `start`, below 1.
    pub end: f64,
    /// The number of training timesteps; 100 to 10000.
    pub train_timesteps: u32,
    /// Whether the schedule is rescaled so that nothing but noise is left at the last timestep
    /// (`rescale_betas_zero_snr`).
    pub zero_terminal_snr: bool,
}

impl Default for Betas {
    /// Returns the schedule that Stable Diffusion 1, 2 and XL were trained with.
    fn default() -> Self {
        Self {
            schedule: BetaSchedule::ScaledLinear,
            start: 0.000_85,
            end: 0.012,
            train_timesteps: 1000,
            zero_terminal_snr: false,
        }
    }
}

impl Betas {
    /// Computes alpha-bar: one number in (0, 1) per training timestep, decreasing; the last is 0 with a zero terminal SNR.
    ///
    /// The spacing and each beta are rounded to `f32`, as in training; the product is computed in `f64` and rounded to
    /// `f32`.
    ///
    /// # Errors
    ///
    /// [`BetasError`] if a field is out of the bounds in its description.
    pub fn alphas_cumprod(&self) -> Result<Vec<f64>, BetasError> {
        let Self { schedule, start, end, train_timesteps, zero_terminal_snr } = *self;
        if !(100..=10_000).contains(&train_timesteps) {
            return Err(BetasError::Timesteps(train_timesteps));
        }
        if !(start > 0.0 && start <= end && end < 1.0) {
            return Err(BetasError::Range { start, end });
        }
        let betas = match schedule {
            BetaSchedule::Linear => linspace(start, end, train_timesteps),
            BetaSchedule::ScaledLinear => {
                let mut roots = linspace(start.sqrt(), end.sqrt(), train_timesteps);
                roots.iter_mut().for_each(|root| *root *= *root);
                roots
            }
        };
        let mut product = 1.0;
        let mut alphas: Vec<f64> = betas
            .iter()
            .map(|beta| {
                product *= f64::from(1.0 - beta);
                f64::from(product as f32)
            })
            .collect();
        if zero_terminal_snr {
            with_zero_terminal_snr(&mut alphas);
        }
        Ok(alphas)
    }
}

/// Shifts the square roots so that the last becomes 0, and scales them so that the first stays.
fn with_zero_terminal_snr(alphas: &mut [f64]) {
    let [first, .., last] = *alphas else { return };
    let (first, last) = (first.sqrt(), last.sqrt());
    let scale = first / (first - last);
    alphas.iter_mut().for_each(|alpha| *alpha = ((alpha.sqrt() - last) * scale).powi(2));
}

/// Returns `count` evenly spaced values, computed from the start in the lower half and from the end in the upper one,
/// so that both ends are exact. Each is rounded once.
fn linspace(start: f64, end: f64, count: u32) -> Vec<f32> {
    let (start, end) = (start as f32, end as f32);
    let step = f64::from((end - start) / (count - 1) as f32);
    let at = |i: u32| {
        if i < count / 2 {
            (f64::from(start) + step * f64::from(i)) as f32
        } else {
            (f64::from(end) - step * f64::from(count - 1 - i)) as f32
        }
    };
    (0..count).map(at).collect()
}

/// The error of an invalid scheduler configuration.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum BetasError {
    /// The number of training timesteps is out of range.
    #[error("num_train_timesteps: got {0}, expected 100 to 10000")]
    Timesteps(u32),
    /// The betas do not rise inside (0, 1).
    #[error("beta_start and beta_end: got {start} and {end}, expected 0 < beta_start <= beta_end < 1")]
    Range {
        /// The first beta.
        start: f64,
        /// The last beta.
        end: f64,
    },
}

impl From<BetasError> for Error {
    fn from(error: BetasError) -> Self {
        Self::new(ErrorKind::BadModel, error.to_string()).with_source(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_product_decreases_from_one_to_zero() {
        for schedule in [BetaSchedule::ScaledLinear, BetaSchedule::Linear] {
            let alphas = Betas { schedule, ..Betas::default() }.alphas_cumprod().unwrap();
            assert_eq!(alphas.len(), 1000);
            assert!(alphas.iter().all(|&alpha| 0.0 < alpha && alpha < 1.0));
            assert!(alphas.windows(2).all(|pair| pair[1] < pair[0]));
        }
    }

    #[test]
    fn a_zero_terminal_snr_leaves_noise_alone_at_the_last_timestep() {
        let of = |zero_terminal_snr| Betas { zero_terminal_snr, ..Betas::default() }.alphas_cumprod().unwrap();
        let (plain, rescaled) = (of(false), of(true));
        assert!((rescaled[0] - plain[0]).abs() < 1e-12 && rescaled[999] == 0.0);
        assert!(rescaled.windows(2).all(|pair| pair[1] < pair[0]));
        let middle =
            ((plain[499].sqrt() - plain[999].sqrt()) / (plain[0].sqrt() - plain[999].sqrt())).powi(2) * plain[0];
        assert!((rescaled[499] - middle).abs() < 1e-12);
    }

    /// From `torch.linspace` and `torch.cumprod`; see `tests/golden/generate/noise.py` for the versions.
    #[test]
    fn the_ends_match_the_reference_exactly() {
        let alphas = Betas::default().alphas_cumprod().unwrap();
        let bits = |i: usize| (alphas[i] as f32).to_bits();
        assert_eq!([bits(0), bits(499), bits(500), bits(999)], ALPHA_BITS);
    }

    const ALPHA_BITS: [u32; 4] = [0x3f7f_c84b, 0x3e8e_2ab0, 0x3e8d_7b73, 0x3b98_b3b6];

    #[test]
    fn invalid_betas_are_rejected() {
        let refused = |betas: Betas| betas.alphas_cumprod().unwrap_err();
        let good = Betas::default();
        assert_eq!(refused(Betas { train_timesteps: 99, ..good }), BetasError::Timesteps(99));
        assert_eq!(refused(Betas { train_timesteps: u32::MAX, ..good }), BetasError::Timesteps(u32::MAX));
        for (start, end) in [(0.0, 0.5), (0.5, 0.4), (0.1, 1.0), (f64::NAN, 0.5), (0.1, f64::NAN)] {
            assert!(matches!(refused(Betas { start, end, ..good }), BetasError::Range { .. }), "{start} {end}");
        }
        let error = Error::from(BetasError::Timesteps(7));
        assert_eq!(error.kind(), ErrorKind::BadModel);
        assert!(error.to_string().contains("got 7"));
    }
}
