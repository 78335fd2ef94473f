//! The UNet of a pipeline: a compiled network for each call of a frame, and its constants.

use std::sync::Arc;

use super::conditioning::Conditioning;
use super::context::Compiler;
use super::lora::UnetWeights;
use super::models::Models;
use crate::error::Result;
use crate::exec::{Constants, Network};
use crate::models::{UnetConfig, UnetShape, time_ids_embedding, timestep_embedding, unet_program};
use crate::net::Shape;
use crate::schedule::StepTable;
use crate::stream::CfgType;
use crate::stream::guidance::{TextRow, UnetRow, rows, stage_rows};

/// The UNet rows of every call of a frame: one call with batching, one a stage without.
pub(crate) type CallRows = Vec<Vec<UnetRow>>;

/// The rows of a stream of `stages` stages.
pub(crate) fn call_rows(cfg_type: CfgType, active: bool, batched: bool, stages: usize) -> CallRows {
    if batched {
        vec![rows(cfg_type, active, stages)]
    } else {
        (0..stages).map(|stage| stage_rows(cfg_type, active, stage)).collect()
    }
}

/// Whether any row attends to the negative prompt.
pub(crate) fn wants_negative(call_rows: &CallRows) -> bool {
    call_rows.iter().flatten().any(|row| row.text == TextRow::Negative)
}

/// Optional inputs of a UNet in addition to latents, timesteps and texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extras {
    /// Whether it adds residuals of ControlNets.
    pub(crate) residuals: bool,
    /// Whether rows attend to earlier frames.
    pub(crate) cached_attention: bool,
    /// Number of image tokens that rows attend to in addition to their text.
    pub(crate) image_tokens: usize,
}

/// The compiled networks, one for each call; calls with the same texts share one.
#[derive(Debug)]
pub(crate) struct UnetNetworks {
    call_rows: CallRows,
    networks: Vec<Arc<dyn Network>>,
}

impl UnetNetworks {
    /// Compiles what `call_rows` needs over `weights`, for latents of the shape `latent`, with `extras`.
    ///
    /// # Errors
    ///
    /// Those of [`Compiler::compile`].
    pub(crate) fn compile(
        models: &Models,
        weights: &UnetWeights,
        compiler: &Compiler<'_>,
        call_rows: &CallRows,
        latent: Shape,
        extras: Extras,
    ) -> Result<Self> {
        let networks = compile_calls(call_rows, |CallTexts { text_rows, text_of_row }| {
            let rows = text_of_row.len();
            let Extras { residuals, cached_attention, image_tokens } = extras;
            let plain = UnetShape::new(rows, latent.h, latent.w);
            let shape = UnetShape { text_rows, text_of_row, residuals, cached_attention, image_tokens, ..plain };
            let program = weights.branches.add_to(unet_program(&models.unet, &shape)?)?;
            compiler.compile(program, &weights.weights)
        })?;
        Ok(Self { call_rows: call_rows.clone(), networks })
    }

    /// Computes what depends on prompt, schedule and `further` inputs of the rows alone: one set of constants for each
    /// call. `size` is that of the picture, in pixels.
    ///
    /// # Errors
    ///
    /// Those of [`Network::constants`].
    pub(crate) fn constants(
        &self,
        models: &Models,
        conditioning: &Conditioning,
        table: &StepTable,
        size: (u32, u32),
        further: impl Fn(&[UnetRow]) -> Vec<Vec<f32>>,
    ) -> Result<Vec<Constants>> {
        call_constants(&models.unet, &self.call_rows, &self.networks, conditioning, table, size, further)
    }

    /// Returns the network of each call.
    pub(crate) fn networks(&self) -> &[Arc<dyn Network>] {
        &self.networks
    }

    /// Returns how many UNet rows a call has; 0 if there is no such call.
    pub(crate) fn rows(&self, call: usize) -> usize {
        self.call_rows.get(call).map_or(0, Vec::len)
    }

    /// Returns how many UNet rows are evaluated for a frame.
    pub(crate) fn evaluations(&self) -> usize {
        self.call_rows.iter().map(Vec::len).sum()
    }

    /// Returns the bytes of scratch memory that the largest call needs.
    pub(crate) fn scratch_bytes(&self) -> usize {
        self.networks.iter().map(|network| network.scratch_bytes()).max().unwrap_or(0)
    }
}

/// The text of each row of a call.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct CallTexts {
    pub(super) text_rows: usize,
    pub(super) text_of_row: Vec<usize>,
}

/// Compiles a network for each call by `compile`; calls with the same texts share one.
///
/// # Errors
///
/// Those of `compile`.
pub(super) fn compile_calls(
    call_rows: &CallRows,
    mut compile: impl FnMut(CallTexts) -> Result<Arc<dyn Network>>,
) -> Result<Vec<Arc<dyn Network>>> {
    let text_rows = if wants_negative(call_rows) { 2 } else { 1 };
    let mut made: Vec<(CallTexts, Arc<dyn Network>)> = Vec::new();
    let mut networks = Vec::with_capacity(call_rows.len());
    for call in call_rows {
        let texts = CallTexts { text_rows, text_of_row: call.iter().map(|row| text_row(row.text)).collect() };
        let known = made.iter().find(|(known, _)| *known == texts).map(|(_, network)| network.clone());
        let network = match known {
            Some(network) => network,
            None => {
                let network = compile(texts.clone())?;
                made.push((texts, network.clone()));
                network
            }
        };
        networks.push(network);
    }
    Ok(networks)
}

/// Computes the constants of a UNet, or of its first half, for each call, with the `further` inputs of its rows. `size`
/// is the picture's, in pixels.
///
/// # Errors
///
/// Those of [`Network::constants`].
pub(super) fn call_constants(
    config: &UnetConfig,
    call_rows: &CallRows,
    networks: &[Arc<dyn Network>],
    conditioning: &Conditioning,
    table: &StepTable,
    (width, height): (u32, u32),
    further: impl Fn(&[UnetRow]) -> Vec<Vec<f32>>,
) -> Result<Vec<Constants>> {
    let mut states = conditioning.prompt.states.clone();
    if wants_negative(call_rows) {
        states.extend_from_slice(&conditioning.negative.states);
    }
    let (width, height) = (width as f32, height as f32);
    let one = |(call, network): (&Vec<UnetRow>, &Arc<dyn Network>)| {
        let timesteps: Vec<f32> =
            call.iter().filter_map(|row| table.steps().get(row.stage)).map(|step| step.timestep as f32).collect();
        let mut inputs = vec![timestep_embedding(&timesteps, config)];
        if config.added.is_some() {
            inputs.push(pooled(call, conditioning));
            let sizes = vec![[height, width, 0.0, 0.0, height, width]; call.len()];
            inputs.push(time_ids_embedding(&sizes, config));
        }
        inputs.extend(further(call));
        let inputs: Vec<&[f32]> = [&*states].into_iter().chain(inputs.iter().map(Vec::as_slice)).collect();
        network.constants(&inputs)
    };
    call_rows.iter().zip(networks).map(one).collect()
}

/// The pooled text of each row of a call.
fn pooled(call: &[UnetRow], conditioning: &Conditioning) -> Vec<f32> {
    let of_row = |row: &UnetRow| match row.text {
        TextRow::Prompt => &conditioning.prompt.pooled,
        TextRow::Negative => &conditioning.negative.pooled,
    };
    call.iter().flat_map(of_row).copied().collect()
}

/// The index of a text in the UNet's input: the prompt first.
fn text_row(text: TextRow) -> usize {
    match text {
        TextRow::Prompt => 0,
        TextRow::Negative => 1,
    }
}
