//! Everything that a set of parameters stands for, made and ready; what two sets have in common is shared.

use std::sync::Arc;

use super::assembly::Assembly;
use super::chains::Recipes;
use super::checks::check_service_size;
use super::codec::Codec;
use super::conditioning::Conditioning;
use super::control::Controls;
use super::ip_adapter::{Adapter, ImageKeys};
use super::keys::{
    AdapterKey, ConstantsKey, ImageKey, LorasKey, ModelKey, NoiseKey, SizeKey, TextKey, UnetKey, WeightsKey,
};
use super::lora::{Lora, Merged};
use super::memory::FrameMemory;
use super::models::Models;
use super::piece::Piece;
use super::safety::{SafetyChecker, SafetyPiece};
use super::unet::UnetNetworks;
use super::workshop::Workshop;
use crate::conditioning::transition::Way;
use crate::error::Result;
use crate::exec::Constants;
use crate::params::{Notice, StreamDiffusionParams};
use crate::stream::StreamConfig;

/// What a set of parameters stands for. Immutable: an update makes another one, beside this one, out of the pieces that
/// stay and those that it makes anew.
#[derive(Debug)]
pub(crate) struct Pipeline {
    pub(crate) params: StreamDiffusionParams,
    /// Where it is between two prompts, during a transition.
    pub(crate) way: Option<Way<Conditioning>>,
    pub(crate) pieces: Pieces,
    pub(crate) stream: StreamConfig,
    pub(crate) memory: FrameMemory,
}

/// The loaded pieces of a pipeline.
#[derive(Debug)]
pub(crate) struct Pieces {
    pub(super) models: Piece<ModelKey, Models>,
    pub(super) autoencoder: Piece<SizeKey, Codec>,
    pub(super) loras: Piece<LorasKey, Vec<Arc<Lora>>>,
    pub(super) weights: Piece<WeightsKey, Merged>,
    pub(super) unet: Piece<UnetKey, UnetNetworks>,
    pub(super) adapter: Piece<Option<AdapterKey>, Option<Adapter>>,
    pub(super) image: Piece<Option<ImageKey>, Option<ImageKeys>>,
    pub(super) conditioning: Piece<TextKey, Conditioning>,
    pub(super) constants: Piece<ConstantsKey, Vec<Constants>>,
    pub(super) noise: Piece<NoiseKey, [f32]>,
    pub(super) controls: Controls,
    pub(super) safety: SafetyPiece,
    pub(super) recipes: Recipes,
}

impl Pipeline {
    /// Makes what `params` (already validated) stand for, but for a prompt that is still on its `way`, sharing what `base`,
    /// the pipeline in whose place it comes, and then `others` have. Slow where something is loaded; touches nothing that
    /// is in use.
    ///
    /// # Errors
    ///
    /// `InvalidParams` for what this model cannot do, `Unsupported` for fields whose machinery is not built, and what
    /// loading and compiling report.
    pub(crate) fn build(
        workshop: &Workshop,
        params: StreamDiffusionParams,
        way: Option<Way<Conditioning>>,
        base: Option<&Self>,
        others: &[&Self],
        notices: &mut Vec<Notice>,
    ) -> Result<Self> {
        check_service_size(&workshop.options, &params)?;
        let previous: Vec<&Pieces> = base.into_iter().chain(others.iter().copied()).map(|one| &one.pieces).collect();
        let held = base.map_or(0, |pipeline| pipeline.memory.arena * size_of::<f32>());
        let way_so_far = way.as_ref();
        let mut assembly = Assembly { workshop, params: &params, way: way_so_far, previous: &previous, held, notices };
        let (pieces, table) = assembly.pieces()?;
        let memory = pieces.memory((params.width as usize, params.height as usize))?;
        memory.require(base.map(|pipeline| pipeline.memory))?;
        let stream = StreamConfig {
            table: Arc::new(table),
            noise: pieces.noise.get().clone(),
            cfg_type: workshop.options.cfg_type,
            guidance_scale: params.guidance_scale as f32,
            delta: params.delta as f32,
            do_add_noise: params.do_add_noise,
            batched: params.use_denoising_batch,
        };
        // Later sizes and row counts need the same forms, or few more: one file a load is enough.
        if !previous.iter().any(|other| Arc::ptr_eq(other.models.get(), pieces.models.get())) {
            notices.extend(pieces.models().save_packed());
        }
        Ok(Self { params, way, pieces, stream, memory })
    }

    /// Whether latents of `other` can go on in this pipeline: same networks, same size.
    pub(crate) fn continues(&self, other: &Self) -> bool {
        self.pieces.autoencoder.key() == other.pieces.autoencoder.key()
    }

    /// Whether both run the very same UNet, so that what it kept of earlier frames still counts.
    pub(crate) fn shares_unet(&self, other: &Self) -> bool {
        Arc::ptr_eq(self.pieces.unet.get(), other.pieces.unet.get())
    }
}

impl Pieces {
    /// The base model.
    pub(crate) fn models(&self) -> &Models {
        self.models.get()
    }

    /// The autoencoder at this size.
    pub(crate) fn codec(&self) -> &Codec {
        self.autoencoder.get()
    }

    /// The base model's weights with LoRAs merged into them.
    pub(crate) fn weights(&self) -> &Merged {
        self.weights.get()
    }

    /// The UNet's networks.
    pub(crate) fn unet(&self) -> &UnetNetworks {
        self.unet.get()
    }

    /// The recipes of the processing chains.
    pub(super) fn recipes(&self) -> &Recipes {
        &self.recipes
    }

    /// What a frame of `frame` pixels, width and height, needs memory for.
    fn memory(&self, frame: (usize, usize)) -> Result<FrameMemory> {
        let (codec, controls) = (self.codec(), &self.controls);
        let networks =
            [codec.encoder.arena_len(), codec.decoder.arena_len(), self.unet().arena_len(), controls.arena_len()];
        let picture = self.recipes.picture_size(frame)?;
        Ok(FrameMemory {
            arena: networks.into_iter().max().unwrap_or(0),
            frame,
            latent: codec.latent,
            picture,
            chains: self.recipes.memory(frame, picture),
            control: controls.memory(),
        })
    }

    /// What the prompt gives: its own, or what leads to it.
    pub(crate) fn conditioning(&self) -> &Arc<Conditioning> {
        self.conditioning.get()
    }

    /// Whether any processor may look at the last picture.
    pub(super) fn looks_back(&self) -> bool {
        self.recipes().has_image_chain() || self.controls.has_preprocessor()
    }

    /// What judges pictures, if anything does.
    pub(crate) fn safety_checker(&self) -> Option<&dyn SafetyChecker> {
        self.safety.get().as_deref()
    }

    /// What prompt and schedule give the UNet.
    pub(crate) fn constants(&self) -> &[Constants] {
        self.constants.get()
    }
}
