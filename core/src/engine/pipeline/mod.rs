//! A pipeline: everything that is loaded, compiled and encoded for a set of parameters. Immutable; two pipelines share
//! the components whose inputs are equal.
//!
//! Nothing here uses the [state](super::state) of an engine.

mod assembly;
mod autoencoder;
mod cached;
pub(super) mod conditioning;
pub(super) mod context;
pub(super) mod controlnet;
pub(super) mod frame_memory;
mod img2img_turbo;
pub(super) mod interpolation;
mod ip_adapter;
mod keys;
pub(super) mod limits;
mod lora;
mod models;
pub(super) mod quantization;
pub(super) mod recipes;
#[cfg(feature = "hub")]
pub(super) mod requirements;
mod safety;
mod style;
mod text;
pub(super) mod unet;
mod vae;

use std::sync::Arc;

use self::assembly::Assembly;
use self::autoencoder::AutoencoderNetworks;
use self::cached::Cached;
use self::conditioning::Conditioning;
use self::context::BuildContext;
use self::controlnet::ControlNets;
use self::frame_memory::{FrameMemory, skip_lengths};
use self::img2img_turbo::Turbo;
use self::interpolation::CachedInterpolation;
use self::ip_adapter::{Adapter, ImageKeys};
use self::keys::{
    AdapterKey, AutoencoderKey, ConstantsKey, ImageKey, LorasKey, ModelKey, NoiseKey, TextKey, TextWeightsKey,
    TurboKey, UnetKey, WeightsKey,
};
use self::lora::{Lora, UnetWeights};
use self::models::Models;
use self::recipes::Recipes;
use self::safety::CachedSafety;
use self::text::Text;
use self::unet::{CallConstants, UnetNetworks};
use crate::conditioning::transition::TransitionState;
use crate::engine::host::SafetyChecker;
use crate::error::Result;
use crate::exec::{Buffer, Network};
use crate::interpolation::Rife;
use crate::params::{Change, Notice, StreamDiffusionParams, diff_with_live_loras};
use crate::stream::StreamConfig;

/// Everything that is loaded, compiled and encoded for a set of parameters. Immutable: an update builds another
/// pipeline out of the components that stay and those that it replaces.
#[derive(Debug)]
pub(crate) struct Pipeline {
    pub(crate) params: StreamDiffusionParams,
    /// The current blend of two prompts, during a transition.
    pub(crate) way: Option<TransitionState<Conditioning>>,
    pub(crate) components: Components,
    pub(crate) stream: StreamConfig,
    pub(crate) memory: FrameMemory,
}

/// The components of a pipeline.
#[derive(Debug)]
pub(crate) struct Components {
    models: Cached<ModelKey, Models>,
    turbo: Cached<Option<TurboKey>, Option<Turbo>>,
    autoencoder: Cached<AutoencoderKey, AutoencoderNetworks>,
    loras: Cached<LorasKey, Vec<Arc<Lora>>>,
    weights: Cached<WeightsKey, UnetWeights>,
    text: Cached<TextWeightsKey, Text>,
    unet: Cached<UnetKey, UnetNetworks>,
    adapter: Cached<Option<AdapterKey>, Option<Adapter>>,
    image: Cached<Option<ImageKey>, Option<ImageKeys>>,
    conditioning: Cached<TextKey, Conditioning>,
    constants: Cached<ConstantsKey, Vec<CallConstants>>,
    noise: Cached<NoiseKey, Buffer>,
    pub(super) controls: ControlNets,
    safety: CachedSafety,
    interpolation: CachedInterpolation,
    recipes: Recipes,
}

impl Pipeline {
    /// Builds the pipeline of `params`, which are valid by themselves, with the blend of prompts `way`.
    /// Shares the components of `base`, which it is to replace, and then of `others`. Slow if anything is loaded.
    ///
    /// # Errors
    ///
    /// `InvalidParams` for values that the model does not allow, `Unsupported` for features that are not built in, and
    /// errors of loading and compiling.
    pub(crate) fn build(
        context: &BuildContext,
        params: StreamDiffusionParams,
        way: Option<TransitionState<Conditioning>>,
        base: Option<&Self>,
        others: &[&Self],
        notices: &mut Vec<Notice>,
    ) -> Result<Self> {
        let previous: Vec<&Components> =
            base.into_iter().chain(others.iter().copied()).map(|one| &one.components).collect();
        let held = base.map_or(0, |pipeline| pipeline.memory.scratch);
        let way_so_far = way.as_ref();
        let mut assembly = Assembly { context, params: &params, way: way_so_far, previous: &previous, held, notices };
        let (components, table) = assembly.components()?;
        let memory = components.memory((params.width as usize, params.height as usize))?;
        memory.require(&*context.queue, base.map(|pipeline| pipeline.memory))?;
        let stream = StreamConfig {
            table: Arc::new(table),
            noise: components.noise.get().clone(),
            cfg_type: params.cfg_type,
            guidance_scale: params.guidance_scale as f32,
            delta: params.delta as f32,
            do_add_noise: params.do_add_noise,
            batched: context.is_batched(&params),
        };
        // Later sizes and row counts need the same packed forms, or few more: saving them once for each load is enough.
        if !previous.iter().any(|other| Arc::ptr_eq(other.models.get(), components.models.get())) {
            notices.extend(components.models().save_packed());
        }
        Ok(Self { params, way, components, stream, memory })
    }

    /// Returns true if latents of `other` are valid in this pipeline: model and size are equal.
    pub(crate) fn continues(&self, other: &Self) -> bool {
        self.components.autoencoder.key().has_latents_of(other.components.autoencoder.key())
    }

    /// Returns the changes from `old` to `new`, parameters of this pipeline or of updates to it.
    pub(crate) fn diff(&self, old: &StreamDiffusionParams, new: &StreamDiffusionParams) -> Vec<Change> {
        // Text encoders have no branches: another scale merges their weights again.
        let without_text = |id: &str| self.components.loras.get().iter().any(|lora| lora.id == id && !lora.has_text());
        let live = &self.components.weights.key().live;
        diff_with_live_loras(old, new, |id| live.iter().any(|live| live == id) && without_text(id))
    }

    /// Returns the number of earlier frames that the UNet attends to.
    pub(crate) fn cached_frames(&self) -> usize {
        cached_frames(&self.params)
    }

    /// Returns the bytes of the keys and values of one frame; 0 without cached attention.
    pub(crate) fn cached_frame_bytes(&self) -> usize {
        let networks = self.components.unet().networks().iter();
        networks.map(|network| network.frame_keys_bytes()).fold(0, usize::saturating_add)
    }

    /// Returns true if both share one UNet, so that its keys and values of earlier frames stay valid.
    pub(crate) fn shares_unet(&self, other: &Self) -> bool {
        Arc::ptr_eq(self.components.unet.get(), other.components.unet.get())
    }
}

/// Returns the number of earlier frames that the UNet attends to with `params`.
pub(super) fn cached_frames(params: &StreamDiffusionParams) -> usize {
    let settings = &params.cached_attention;
    match (settings.enabled, settings.token_merging) {
        (false, _) => 0,
        // Its tokens stand for all earlier frames.
        (true, true) => 1,
        (true, false) => settings.max_frames as usize,
    }
}

impl Components {
    /// Returns the base model.
    pub(crate) fn models(&self) -> &Models {
        self.models.get()
    }

    /// Returns the autoencoder at this size.
    pub(crate) fn autoencoder(&self) -> &AutoencoderNetworks {
        self.autoencoder.get()
    }

    /// Returns the UNet's weights, with LoRAs.
    pub(crate) fn unet_weights(&self) -> &UnetWeights {
        self.weights.get()
    }

    /// Returns the text encoders, with LoRAs.
    #[cfg(test)]
    pub(crate) fn text(&self) -> &Arc<Text> {
        self.text.get()
    }

    /// Returns the UNet's networks.
    pub(crate) fn unet(&self) -> &UnetNetworks {
        self.unet.get()
    }

    /// Returns the recipes of the processing chains.
    pub(super) fn recipes(&self) -> &Recipes {
        &self.recipes
    }

    /// Returns the networks that run for a frame, each once.
    pub(super) fn frame_networks(&self) -> Vec<&Arc<dyn Network>> {
        let autoencoder = self.autoencoder();
        let mut networks: Vec<&Arc<dyn Network>> = vec![&autoencoder.encoder, &autoencoder.decoder];
        for network in self.unet().all().chain(self.controls.frame_networks()) {
            if !networks.iter().any(|known| Arc::ptr_eq(known, network)) {
                networks.push(network);
            }
        }
        networks
    }

    /// Returns the memory that a frame with the width and height `frame` needs.
    fn memory(&self, frame: (usize, usize)) -> Result<FrameMemory> {
        let (autoencoder, controls) = (self.autoencoder(), &self.controls);
        let halves = [&autoencoder.encoder, &autoencoder.decoder];
        // Networks with kept values have memory of their own.
        let [encoder, decoder] = halves.map(|half| if half.kept_bytes() > 0 { 0 } else { half.scratch_bytes() });
        let networks = [encoder, decoder, self.unet().scratch_bytes(), controls.scratch_bytes()];
        let picture = self.recipes.picture_size(frame)?;
        Ok(FrameMemory {
            scratch: networks.into_iter().max().unwrap_or(0),
            frame,
            latent: autoencoder.latent,
            skips: skip_lengths(&autoencoder.skips),
            picture,
            chains: self.recipes.memory(frame, picture),
            control: controls.memory(),
            kept: halves.iter().fold(0, |sum, half| sum.saturating_add(half.kept_bytes())),
        })
    }

    /// Returns the encoded prompt, or the current blend during a transition.
    pub(crate) fn conditioning(&self) -> &Arc<Conditioning> {
        self.conditioning.get()
    }

    /// Whether any processor may use the last picture.
    pub(super) fn looks_back(&self) -> bool {
        self.recipes().has_image_chain() || self.controls.has_preprocessor()
    }

    /// Returns what scores pictures for safety, if `use_safety_checker` is on.
    pub(crate) fn safety_checker(&self) -> Option<&dyn SafetyChecker> {
        self.safety.get().as_deref()
    }

    /// Returns the network that interpolates between pictures, if the parameters name one.
    pub(crate) fn interpolation_network(&self) -> Option<&Arc<Rife>> {
        self.interpolation.get().as_ref().as_ref()
    }

    /// Returns what the UNet computes from prompt and schedule, one set of constants for each call.
    pub(crate) fn constants(&self) -> &[CallConstants] {
        self.constants.get()
    }
}
