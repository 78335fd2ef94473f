//! Limits of parameters that depend on the model.

use super::models::Models;
use crate::error::{Error, Result, Violation};
use crate::params::StreamDiffusionParams;
use crate::schedule::{StepTable, grid};

/// Returns the denoising steps that `params` describe.
///
/// # Errors
///
/// `InvalidParams` naming the field; `BadModel` if the model's noise schedule has no such steps.
pub(super) fn step_table(params: &StreamDiffusionParams, models: &Models) -> Result<StepTable> {
    let turbo = &params.img2img_turbo;
    if turbo.weights.is_some() {
        return Ok(StepTable::direct(&models.alphas_cumprod, turbo.strength)?);
    }
    let train_timesteps = models.alphas_cumprod.len() as u32;
    let grid = grid(params.spacing(), params.num_inference_steps as usize, train_timesteps)?;
    let indices: Vec<usize> = params.t_index_list.iter().map(|&index| index as usize).collect();
    Ok(StepTable::new(&grid, &models.alphas_cumprod, &indices, params.update_rule())?)
}

/// Checks the size against those that the model supports.
///
/// # Errors
///
/// `InvalidParams` naming the nearest sizes.
pub(in crate::engine) fn check_model_size(params: &StreamDiffusionParams, models: &Models) -> Result<()> {
    models.unet.check_size(models.autoencoder.scale(), params.width as usize, params.height as usize).map_err(|error| {
        Error::invalid_params(vec![Violation { path: "width, height".into(), message: error.to_string() }])
    })
}
