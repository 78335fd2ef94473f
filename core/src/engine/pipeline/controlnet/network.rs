//! One ControlNet: its weights, networks and constants.

use std::sync::Arc;

use super::super::context::{BuildContext, Compiler, pickled, save_packed};
use super::super::keys::TextKey;
use super::super::models::Models;
use super::super::unet::{CallRows, CallTexts, call_constants, compile_calls};
use super::ControlNetInputs;
use crate::error::{Error, ErrorKind, Result, Violation};
use crate::exec::{Constants, Network, RunArgs, Scratch, View, ViewMut};
use crate::load::{Component, ModelId, ModelSource, RandomWeights};
use crate::models::{
    ControlNetModelConfig, ControlNetShape, UnetConfig, controlnet_embedding_program, controlnet_program,
};
use crate::net::{Footprint, Program, Shape, Weights};
use crate::params::{ControlNetConfig, Notice};
use crate::schedule::StepTable;

/// The key of a loaded ControlNet.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::engine) struct ControlNetKey {
    id: String,
    channels: Option<u32>,
}

impl ControlNetKey {
    pub(super) fn of(config: &ControlNetConfig) -> Self {
        Self { id: config.model_id.clone(), channels: config.conditioning_channels }
    }
}

/// The class of these networks in diffusers.
const CLASS: &str = "ControlNetModel";

/// A ControlNet with loaded weights. Shared by all pipelines that use it.
#[derive(Debug)]
pub(in crate::engine) struct ControlNetModel {
    config: ControlNetModelConfig,
    /// Of its control image.
    pub(in crate::engine) channels: usize,
    weights: Weights,
    /// A notice if its file is pickled.
    pickled: Option<Notice>,
}

impl ControlNetModel {
    /// Loads the ControlNet `key` for the model in use; `index` is its index in the parameters.
    ///
    /// # Errors
    ///
    /// `NotFound`, `BadModel`, `Unsupported`, and `InvalidParams` for channels that contradict its own.
    pub(super) fn load(context: &BuildContext, key: &ControlNetKey, models: &Models, index: usize) -> Result<Self> {
        if let ModelSource::Random(_) = context.source {
            return Self::random(key, models);
        }
        let (component, config) = open(&context.source, &key.id.parse()?, &models.unet)?;
        let channels = config.channels(key.channels.map(|channels| channels as usize)).map_err(|error| {
            let path = format!("controlnets[{index}].conditioning_channels");
            Error::invalid_params(vec![Violation { path, message: error.to_string() }])
        })?;
        for program in smallest(&config, channels)? {
            component.weights.check(program.weights()).require()?;
        }
        let pickled = pickled(&component.weights, "controlnets");
        Ok(Self { config, channels, weights: context.weights(&component), pickled })
    }

    /// A network of full size with random weights, regardless of its name: the time of a frame does not depend on the
    /// values of the weights.
    fn random(key: &ControlNetKey, models: &Models) -> Result<Self> {
        let config = ControlNetModelConfig::like(&models.unet);
        let channels = config.channels(key.channels.map(|channels| channels as usize))?;
        let programs = smallest(&config, channels)?;
        let weights = RandomWeights::new(3, programs.iter().flat_map(Program::weights));
        Ok(Self { config, channels, weights: Weights::new(Arc::new(weights)), pickled: None })
    }

    /// Checks that it can be used with a model.
    ///
    /// # Errors
    ///
    /// `BadModel`, naming what differs.
    pub(super) fn check_fits(&self, models: &Models) -> Result<()> {
        self.config.check_fits(&models.unet, models.autoencoder.scale())
    }

    /// Saves packed weights for the next start; returns notices about it, and one if its file is pickled.
    pub(super) fn save_packed(&self) -> impl Iterator<Item = Notice> + use<> {
        self.pickled.clone().into_iter().chain(save_packed(&self.weights))
    }
}

/// Opens the ControlNet `id` for a model with the UNet `unet`, and reads its config. Reads no weights but their headers.
///
/// # Errors
///
/// `NotFound`, `BadModel`, and `Unsupported` for the original layout.
fn open(source: &ModelSource, id: &ModelId, unet: &UnetConfig) -> Result<(Component, ControlNetModelConfig)> {
    let storage = source.network(id)?;
    let alone = match storage.folder() {
        Some(folder) => Component::without_config(folder, CLASS)?,
        None => None,
    };
    let has_config = alone.is_none();
    let component = alone.map_or_else(|| Component::alone(&storage), Ok)?;
    let original = |name: &str| name.starts_with("control_model.") || name.starts_with("input_hint_block.");
    if component.weights.names().any(original) {
        let text = "tensor names of the original layout (control_model.…) are not supported; convert the ControlNet with diffusers' \
                    `ControlNetModel.from_single_file(…).save_pretrained(…)`";
        return Err(Error::new(ErrorKind::Unsupported, text));
    }
    let config = match has_config {
        true => ControlNetModelConfig::from_json(&component.config).map_err(|error| error.within("config.json"))?,
        false => ControlNetModelConfig::of_weights(unet, &*component.weights)?,
    };
    Ok((component, config))
}

/// Returns the memory that the ControlNet `id` needs for pictures of the given width and height, and latents whose sides
/// are `scale` times smaller, with `rows` rows.
///
/// # Errors
///
/// Those of loading it, and `InvalidArgument` for a size that it does not have.
pub(in crate::engine) fn footprint(
    source: &ModelSource,
    id: &ModelId,
    unet: &UnetConfig,
    ([width, height], scale): ([usize; 2], usize),
    rows: usize,
) -> Result<Footprint> {
    let (_, config) = open(source, id, unet)?;
    let embedding = controlnet_embedding_program(&config, config.channels(None)?, height, width)?;
    let network = controlnet_program(&config, &ControlNetShape::new(rows, height / scale, width / scale))?;
    Ok(embedding.footprint().plus(network.footprint()))
}

/// The programs at the smallest size that they can be run at: their weights are those of every size.
fn smallest(config: &ControlNetModelConfig, channels: usize) -> Result<[Program; 2]> {
    let (scale, side) = (config.scale(), config.half.latent_multiple());
    let shape = ControlNetShape { text_tokens: 1, ..ControlNetShape::new(1, side, side) };
    Ok([controlnet_embedding_program(config, channels, scale, scale)?, controlnet_program(config, &shape)?])
}

/// The key of the networks of a ControlNet.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::engine) struct ControlNetworksKey {
    pub(super) net: ControlNetKey,
    /// Of the picture, in pixels.
    pub(super) size: (u32, u32),
    pub(in crate::engine) call_rows: CallRows,
    /// Whether each row has a control image of its own.
    pub(super) per_row: bool,
}

/// The networks of a ControlNet: one that embeds its image, and one for each call.
#[derive(Debug)]
pub(in crate::engine) struct ControlNetworks {
    embedding: Arc<dyn Network>,
    embedding_constants: Constants,
    /// Elements of an embedded image.
    pub(in crate::engine) embedding_len: usize,
    pub(in crate::engine) call_rows: CallRows,
    calls: Vec<Arc<dyn Network>>,
}

impl ControlNetworks {
    /// Compiles the networks of `key` for latents with the shape `latent`.
    ///
    /// # Errors
    ///
    /// Those of [`Compiler::compile`].
    pub(super) fn compile(
        net: &ControlNetModel,
        compiler: &Compiler<'_>,
        key: &ControlNetworksKey,
        latent: Shape,
    ) -> Result<Self> {
        let (width, height) = (key.size.0 as usize, key.size.1 as usize);
        let program = controlnet_embedding_program(&net.config, net.channels, height, width)?;
        let embedding_len = program.outputs().iter().map(|output| program.shape(output.value).len()).sum();
        let embedding = compiler.compile(program, &net.weights)?;
        let calls = compile_calls(&key.call_rows, |CallTexts { text_rows, text_of_row }| {
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
        Ok(Self { embedding, embedding_constants, embedding_len, call_rows: key.call_rows.clone(), calls })
    }

    /// Computes what depends on prompt and schedule alone: one set of constants for each call. `size` is that of the
    /// picture, in pixels.
    ///
    /// # Errors
    ///
    /// Those of [`Network::constants`].
    pub(super) fn constants(
        &self,
        net: &ControlNetModel,
        call_rows: &CallRows,
        inputs: &ControlNetInputs<'_>,
        size: (u32, u32),
    ) -> Result<Vec<Constants>> {
        call_constants(&net.config.half, call_rows, &self.calls, inputs.conditioning, inputs.table, size, |_| {
            Vec::new()
        })
    }

    /// Embeds a control image.
    ///
    /// # Errors
    ///
    /// Those of the device.
    pub(in crate::engine) fn embed(
        &self,
        image: View<'_>,
        scratch: &mut Scratch,
        embedding: ViewMut<'_>,
    ) -> Result<()> {
        self.embedding.run(RunArgs::new(&self.embedding_constants, scratch, &[image], &mut [embedding]))
    }

    /// Returns the network of a call.
    pub(in crate::engine) fn call(&self, call: usize) -> Option<&Arc<dyn Network>> {
        self.calls.get(call)
    }

    /// Returns the networks.
    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<dyn Network>> {
        std::iter::once(&self.embedding).chain(&self.calls)
    }

    /// Returns the bytes of scratch memory that the largest of them needs.
    pub(super) fn scratch_bytes(&self) -> usize {
        let calls = self.calls.iter().map(|network| network.scratch_bytes()).max();
        calls.unwrap_or(0).max(self.embedding.scratch_bytes())
    }
}

/// The key of the constants of a ControlNet.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::engine) struct ControlConstantsKey {
    pub(super) networks: ControlNetworksKey,
    pub(super) text: TextKey,
    pub(super) table: StepTable,
}
