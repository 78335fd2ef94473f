//! One ControlNet: loaded, compiled, and told prompt and schedule.

use std::sync::Arc;

use super::super::keys::TextKey;
use super::super::models::Models;
use super::super::unet::{CallTexts, Layout, call_constants, compile_calls};
use super::super::workshop::{Compiler, Workshop, save_packed};
use super::Told;
use crate::error::{Error, ErrorKind, Result, Violation};
use crate::exec::{Arena, Constants, Network};
use crate::load::{Component, ModelSource, RandomWeights};
use crate::models::{ControlNetModelConfig, ControlNetShape, controlnet_embedding_program, controlnet_program};
use crate::net::{Program, Shape, Weights};
use crate::params::{ControlNetConfig, Notice};
use crate::schedule::StepTable;

/// What a ControlNet is loaded by.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct NetKey {
    id: String,
    channels: Option<u32>,
}

impl NetKey {
    pub(super) fn of(config: &ControlNetConfig) -> Self {
        Self { id: config.model_id.clone(), channels: config.conditioning_channels }
    }
}

/// What diffusers calls these networks.
const CLASS: &str = "ControlNetModel";

/// A ControlNet whose weights are there. Shared by every pipeline that uses it.
#[derive(Debug)]
pub(super) struct ControlNet {
    config: ControlNetModelConfig,
    /// Of its control image.
    pub(super) channels: usize,
    weights: Weights,
}

impl ControlNet {
    /// Loads what `key` names for the model in use; `index` is its place in the parameters.
    ///
    /// # Errors
    ///
    /// `NotFound`, `BadModel`, `Unsupported`, and `InvalidParams` for channels that contradict its own.
    pub(super) fn load(workshop: &Workshop, key: &NetKey, models: &Models, index: usize) -> Result<Self> {
        if let ModelSource::Random(_) = workshop.source {
            return Self::random(key, models);
        }
        let folder = workshop.source.find(&key.id.parse()?)?;
        let alone = Component::without_config(&folder, CLASS)?;
        let has_config = alone.is_none();
        let component = alone.map_or_else(|| Component::folder(&folder), Ok)?;
        let original = |name: &str| name.starts_with("control_model.") || name.starts_with("input_hint_block.");
        if component.weights.names().any(original) {
            let text = "its tensors have the names of the original layout (control_model.…); bring it as diffusers' \
                        `ControlNetModel.from_single_file(…).save_pretrained(…)` writes it";
            return Err(Error::new(ErrorKind::Unsupported, text));
        }
        let config = match has_config {
            true => ControlNetModelConfig::from_json(&component.config).map_err(|error| error.within("config.json"))?,
            false => ControlNetModelConfig::of_weights(&models.unet, &*component.weights)?,
        };
        let channels = config.channels(key.channels.map(|channels| channels as usize)).map_err(|error| {
            let path = format!("controlnets[{index}].conditioning_channels");
            Error::invalid_params(vec![Violation { path, message: error.to_string() }])
        })?;
        for program in smallest(&config, channels)? {
            component.weights.check(program.weights()).require()?;
        }
        Ok(Self { config, channels, weights: workshop.weights(&component) })
    }

    /// One of full size with random weights, whatever it is called: what a frame costs does not depend on what the weights
    /// say.
    fn random(key: &NetKey, models: &Models) -> Result<Self> {
        let config = ControlNetModelConfig::like(&models.unet);
        let channels = config.channels(key.channels.map(|channels| channels as usize))?;
        let programs = smallest(&config, channels)?;
        let weights = RandomWeights::new(3, programs.iter().flat_map(Program::weights));
        Ok(Self { config, channels, weights: Weights::new(Arc::new(weights)) })
    }

    /// Checks that it can be used with a model.
    ///
    /// # Errors
    ///
    /// `BadModel`, naming what differs.
    pub(super) fn check_fits(&self, models: &Models) -> Result<()> {
        self.config.check_fits(&models.unet, models.autoencoder.scale())
    }

    /// Keeps what was packed for the next start, and gives what there is to tell about that.
    pub(super) fn save_packed(&self) -> impl Iterator<Item = Notice> + use<> {
        save_packed(&self.weights)
    }
}

/// The programs at the smallest size that they can be run at: their weights are those of every size.
fn smallest(config: &ControlNetModelConfig, channels: usize) -> Result<[Program; 2]> {
    let (scale, side) = (config.scale(), config.half.latent_multiple());
    let shape = ControlNetShape { text_tokens: 1, ..ControlNetShape::new(1, side, side) };
    Ok([controlnet_embedding_program(config, channels, scale, scale)?, controlnet_program(config, &shape)?])
}

/// What the networks of a ControlNet are compiled for.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct NetworksKey {
    pub(super) net: NetKey,
    /// Of the picture, in pixels.
    pub(super) size: (u32, u32),
    pub(super) layout: Layout,
    /// Whether each row has a control image of its own.
    pub(super) per_row: bool,
}

/// The networks of a ControlNet: what embeds its image, and one for each call.
#[derive(Debug)]
pub(super) struct Networks {
    embedding: Arc<dyn Network>,
    embedding_constants: Constants,
    /// Numbers of an embedded image.
    pub(super) embedding_len: usize,
    pub(super) layout: Layout,
    calls: Vec<Arc<dyn Network>>,
}

impl Networks {
    /// Compiles what `key` says for latents like `latent`.
    ///
    /// # Errors
    ///
    /// Those of [`Compiler::compile`].
    pub(super) fn compile(net: &ControlNet, compiler: &Compiler<'_>, key: &NetworksKey, latent: Shape) -> Result<Self> {
        let (width, height) = (key.size.0 as usize, key.size.1 as usize);
        let program = controlnet_embedding_program(&net.config, net.channels, height, width)?;
        let embedding_len = program.outputs().iter().map(|output| program.shape(output.value).len()).sum();
        let embedding = compiler.compile(program, &net.weights)?;
        let calls = compile_calls(&key.layout, |CallTexts { text_rows, text_of_row }| {
            let rows = text_of_row.len();
            let image_per_row = key.per_row;
            let shape = ControlNetShape {
                text_rows,
                text_of_row,
                image_per_row,
                ..ControlNetShape::new(rows, latent.h, latent.w)
            };
            compiler.compile(controlnet_program(&net.config, &shape)?, &net.weights)
        })?;
        let embedding_constants = embedding.constants(&[])?;
        Ok(Self { embedding, embedding_constants, embedding_len, layout: key.layout.clone(), calls })
    }

    /// Works out what prompt and schedule give: one set of constants for each call. `size` is the picture's, in pixels.
    ///
    /// # Errors
    ///
    /// Those of [`Network::constants`].
    pub(super) fn constants(
        &self,
        net: &ControlNet,
        layout: &Layout,
        told: &Told<'_>,
        size: (u32, u32),
    ) -> Result<Vec<Constants>> {
        call_constants(&net.config.half, layout, &self.calls, told.conditioning, told.table, size, |_| Vec::new())
    }

    /// Turns a control image into its embedding.
    ///
    /// # Errors
    ///
    /// What the device reports.
    pub(super) fn embed(&self, image: &[f32], arena: &mut Arena, embedding: &mut [f32]) -> Result<()> {
        self.embedding.run(&self.embedding_constants, arena, &[image], &mut [embedding])
    }

    /// The network of a call.
    pub(super) fn call(&self, call: usize) -> Option<&Arc<dyn Network>> {
        self.calls.get(call)
    }

    /// Numbers of scratch memory that the largest of them needs.
    pub(super) fn arena_len(&self) -> usize {
        let calls = self.calls.iter().map(|network| network.arena_len()).max();
        calls.unwrap_or(0).max(self.embedding.arena_len())
    }
}

/// What the constants of a ControlNet are worked out from.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ConstantsKey {
    pub(super) networks: NetworksKey,
    pub(super) text: TextKey,
    pub(super) table: StepTable,
}
