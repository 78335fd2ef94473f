//! The UNet of a pipeline: one compiled network for each call of a frame, and what is constant between frames.

use std::sync::Arc;

use super::conditioning::Conditioning;
use super::control::ControlCalls;
use super::ip_adapter::ImagePrompt;
use super::models::Models;
use super::past::PastFrames;
use super::workshop::Compiler;
use crate::error::{Error, ErrorKind, Result};
use crate::exec::{Arena, Constants, Network, Slices};
use crate::models::{UnetConfig, UnetShape, time_ids_embedding, timestep_embedding, unet_program};
use crate::net::{Shape, Weights};
use crate::schedule::StepTable;
use crate::stream::guidance::{TextRow, UnetRow, rows, stage_rows};
use crate::stream::{Call, CfgType, Predict};
use crate::telemetry::Work;

/// The UNet rows of every call of a frame: one call with batching, one a stage without.
pub(crate) type Layout = Vec<Vec<UnetRow>>;

/// The rows that a stream of `stages` stages sends.
pub(crate) fn layout(cfg_type: CfgType, active: bool, batched: bool, stages: usize) -> Layout {
    if batched {
        vec![rows(cfg_type, active, stages)]
    } else {
        (0..stages).map(|stage| stage_rows(cfg_type, active, stage)).collect()
    }
}

/// Whether any row attends to the negative prompt.
pub(crate) fn wants_negative(layout: &Layout) -> bool {
    layout.iter().flatten().any(|row| row.text == TextRow::Negative)
}

/// What a UNet works with besides latents, timesteps and texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extras {
    /// Whether ControlNets add to it.
    pub(crate) residuals: bool,
    /// Whether rows look back to themselves in earlier frames.
    pub(crate) cached_attention: bool,
    /// Tokens of an image that rows look at beside their text.
    pub(crate) image_tokens: usize,
}

/// The compiled networks of a layout, one for each call; calls with the same texts share one.
#[derive(Debug)]
pub(crate) struct UnetNetworks {
    layout: Layout,
    networks: Vec<Arc<dyn Network>>,
}

impl UnetNetworks {
    /// Compiles what `layout` needs over `weights`, for latents of the shape `latent`, with `extras`.
    ///
    /// # Errors
    ///
    /// Those of [`Compiler::compile`].
    pub(crate) fn compile(
        models: &Models,
        weights: &Weights,
        compiler: &Compiler<'_>,
        layout: &Layout,
        latent: Shape,
        extras: Extras,
    ) -> Result<Self> {
        let networks = compile_calls(layout, |CallTexts { text_rows, text_of_row }| {
            let rows = text_of_row.len();
            let Extras { residuals, cached_attention, image_tokens } = extras;
            let plain = UnetShape::new(rows, latent.h, latent.w);
            let shape = UnetShape { text_rows, text_of_row, residuals, cached_attention, image_tokens, ..plain };
            compiler.compile(unet_program(&models.unet, &shape)?, weights)
        })?;
        Ok(Self { layout: layout.clone(), networks })
    }

    /// Works out what prompt, schedule and image give: one set of constants for each call. `size` is the picture's, in pixels.
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
        image: &ImagePrompt<'_>,
    ) -> Result<Vec<Constants>> {
        call_constants(&models.unet, &self.layout, &self.networks, conditioning, table, size, |call| {
            image.inputs(call, table.steps().len())
        })
    }

    /// The network of each call.
    pub(crate) fn networks(&self) -> &[Arc<dyn Network>] {
        &self.networks
    }

    /// UNet rows that one frame costs.
    pub(crate) fn evaluations(&self) -> usize {
        self.layout.iter().map(Vec::len).sum()
    }

    /// Numbers of the largest call's arena.
    pub(crate) fn arena_len(&self) -> usize {
        self.networks.iter().map(|network| network.arena_len()).max().unwrap_or(0)
    }
}

/// Which text each row of a call attends to.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct CallTexts {
    pub(super) text_rows: usize,
    pub(super) text_of_row: Vec<usize>,
}

/// Lets `compile` make one network for each call; calls with the same texts share one.
///
/// # Errors
///
/// Those of `compile`.
pub(super) fn compile_calls(
    layout: &Layout,
    mut compile: impl FnMut(CallTexts) -> Result<Arc<dyn Network>>,
) -> Result<Vec<Arc<dyn Network>>> {
    let text_rows = if wants_negative(layout) { 2 } else { 1 };
    let mut made: Vec<(CallTexts, Arc<dyn Network>)> = Vec::new();
    let mut networks = Vec::with_capacity(layout.len());
    for call in layout {
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

/// What prompt and schedule give the networks of a UNet, or of its first half, in each call, with the `further` inputs of
/// its rows. `size` is the picture's, in pixels.
///
/// # Errors
///
/// Those of [`Network::constants`].
pub(super) fn call_constants(
    config: &UnetConfig,
    layout: &Layout,
    networks: &[Arc<dyn Network>],
    conditioning: &Conditioning,
    table: &StepTable,
    (width, height): (u32, u32),
    further: impl Fn(&[UnetRow]) -> Vec<Vec<f32>>,
) -> Result<Vec<Constants>> {
    let mut states = conditioning.prompt.states.clone();
    if wants_negative(layout) {
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
    layout.iter().zip(networks).map(one).collect()
}

/// The pooled text of each row of a call.
fn pooled(call: &[UnetRow], conditioning: &Conditioning) -> Vec<f32> {
    let of_row = |row: &UnetRow| match row.text {
        TextRow::Prompt => &conditioning.prompt.pooled,
        TextRow::Negative => &conditioning.negative.pooled,
    };
    call.iter().flat_map(of_row).copied().collect()
}

/// The place of a text in the UNet's input: the prompt first.
fn text_row(text: TextRow) -> usize {
    match text {
        TextRow::Prompt => 0,
        TextRow::Negative => 1,
    }
}

/// The UNet for the length of one step of the stream, after the ControlNets if there are any.
#[derive(Debug)]
pub(crate) struct UnetCalls<'a> {
    pub(crate) unet: &'a UnetNetworks,
    pub(crate) constants: &'a [Constants],
    pub(crate) arena: &'a mut Arena,
    pub(crate) past: &'a mut PastFrames,
    /// After how many frames one is kept to be looked back to.
    pub(crate) interval: u32,
    pub(crate) control: ControlCalls<'a>,
    pub(crate) work: &'a mut Work,
}

impl Predict for UnetCalls<'_> {
    fn predict(&mut self, call: Call, x: &[f32], eps: &mut [f32]) -> Result<()> {
        let index = match call {
            Call::Batch => 0,
            Call::Stage(stage) => stage,
        };
        let (Some(network), Some(constants)) = (self.unet.networks.get(index), self.constants.get(index)) else {
            let text = format!("the stream asks for {call:?}, but the UNet has {} calls", self.unet.networks.len());
            return Err(Error::new(ErrorKind::Internal, text));
        };
        let rows = self.unet.layout.get(index).map_or(0, Vec::len);
        let mut inputs = Slices::new();
        inputs.push(x)?;
        for residual in self.control.residuals(index, rows, x, self.arena, self.work)? {
            inputs.push(residual)?;
        }
        let arena = &mut *self.arena;
        self.past.run(index, self.interval, |past| {
            network.run_with_past(constants, arena, past, inputs.get(), &mut [eps])
        })?;
        self.work.unet_evaluations += 1;
        self.work.unet_rows += rows as u64;
        Ok(())
    }
}
