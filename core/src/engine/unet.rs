//! The UNet of a pipeline: one compiled network for each call of a frame, and what is constant between frames.

use std::sync::Arc;

use super::conditioning::Conditioning;
use super::models::Models;
use super::workshop::Compiler;
use crate::error::{Error, ErrorKind, Result};
use crate::exec::{Arena, Constants, Network};
use crate::models::{UnetShape, time_ids_embedding, timestep_embedding, unet_program};
use crate::schedule::StepTable;
use crate::stream::guidance::{TextRow, UnetRow, rows, stage_rows};
use crate::stream::{Call, CfgType, Predict};

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

/// The compiled networks of a layout, one for each call; calls with the same texts share one.
#[derive(Debug)]
pub(crate) struct UnetNetworks {
    layout: Layout,
    networks: Vec<Arc<dyn Network>>,
}

impl UnetNetworks {
    /// Compiles what `layout` needs for latents of `height` x `width`.
    ///
    /// # Errors
    ///
    /// Those of [`Compiler::compile`].
    pub(crate) fn compile(
        models: &Models,
        compiler: &Compiler<'_>,
        layout: &Layout,
        height: usize,
        width: usize,
    ) -> Result<Self> {
        let text_rows = if wants_negative(layout) { 2 } else { 1 };
        let mut made: Vec<(Vec<usize>, Arc<dyn Network>)> = Vec::new();
        let mut networks = Vec::with_capacity(layout.len());
        for call in layout {
            let text_of_row: Vec<usize> = call.iter().map(|row| text_row(row.text)).collect();
            let known = made.iter().find(|(texts, _)| *texts == text_of_row).map(|(_, network)| network.clone());
            let network = match known {
                Some(network) => network,
                None => {
                    let shape = UnetShape {
                        text_rows,
                        text_of_row: text_of_row.clone(),
                        ..UnetShape::new(call.len(), height, width)
                    };
                    let network = compiler.compile(unet_program(&models.unet, &shape)?, &models.unet_weights)?;
                    made.push((text_of_row, network.clone()));
                    network
                }
            };
            networks.push(network);
        }
        Ok(Self { layout: layout.clone(), networks })
    }

    /// Works out what prompt and schedule give: one set of constants for each call. `size` is the picture's, in pixels.
    ///
    /// # Errors
    ///
    /// Those of [`Network::constants`].
    pub(crate) fn constants(
        &self,
        models: &Models,
        conditioning: &Conditioning,
        table: &StepTable,
        (width, height): (u32, u32),
    ) -> Result<Vec<Constants>> {
        let mut states = conditioning.prompt.states.clone();
        if wants_negative(&self.layout) {
            states.extend_from_slice(&conditioning.negative.states);
        }
        let (width, height) = (width as f32, height as f32);
        let one = |(call, network): (&Vec<UnetRow>, &Arc<dyn Network>)| {
            let timesteps: Vec<f32> =
                call.iter().filter_map(|row| table.steps().get(row.stage)).map(|step| step.timestep as f32).collect();
            let embedding = timestep_embedding(&timesteps, &models.unet);
            if models.unet.added.is_none() {
                return network.constants(&[&states, &embedding]);
            }
            let pooled: Vec<f32> = call
                .iter()
                .flat_map(|row| match row.text {
                    TextRow::Prompt => &conditioning.prompt.pooled,
                    TextRow::Negative => &conditioning.negative.pooled,
                })
                .copied()
                .collect();
            let sizes = vec![[height, width, 0.0, 0.0, height, width]; call.len()];
            network.constants(&[&states, &embedding, &pooled, &time_ids_embedding(&sizes, &models.unet)])
        };
        self.layout.iter().zip(&self.networks).map(one).collect()
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

/// The place of a text in the UNet's input: the prompt first.
fn text_row(text: TextRow) -> usize {
    match text {
        TextRow::Prompt => 0,
        TextRow::Negative => 1,
    }
}

/// The UNet for the length of one step of the stream.
#[derive(Debug)]
pub(crate) struct UnetCalls<'a> {
    pub(crate) unet: &'a UnetNetworks,
    pub(crate) constants: &'a [Constants],
    pub(crate) arena: &'a mut Arena,
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
        network.run(constants, self.arena, &[x], &mut [eps])
    }
}
