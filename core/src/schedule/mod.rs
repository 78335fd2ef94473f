//! The coefficients of the noise schedule, in `f64`; no tensors, no frames.
//!
//! [`Betas`] computes `alphas_cumprod`, [`grid()`] the timesteps that `num_inference_steps` selects, and
//! [`StepTable`] combines both at the positions of `t_index_list`. [`rescale()`] maps these positions to a grid of
//! another length.

mod betas;
mod grid;
mod rescale;
mod table;

pub use betas::{BetaSchedule, Betas, BetasError};
pub use grid::{GridError, MAX_INFERENCE_STEPS, Spacing, grid};
pub use rescale::rescale;
pub use table::{Step, StepTable, TableError, UpdateRule};
