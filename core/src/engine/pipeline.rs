//! Everything that a set of parameters stands for, made and ready; what two sets have in common is shared.

use std::sync::Arc;

use super::chains::Recipes;
use super::checks::{check_model_size, check_service_size, step_table};
use super::codec::Codec;
use super::conditioning::{Conditioning, PromptKey};
use super::control::{Around, Controls, Loaded, Told};
use super::ip_adapter::{Adapter, ImageKeys, ImagePrompt, Strength};
use super::memory::FrameMemory;
use super::models::Models;
use super::piece::Piece;
use super::style::{Style, invalid};
use super::unet::{Extras, Layout, UnetNetworks, layout, wants_negative};
use super::workshop::{Compiler, Workshop};
use crate::conditioning::seed::seed_noise;
use crate::conditioning::transition::Way;
use crate::error::Result;
use crate::exec::Constants;
use crate::net::Shape;
use crate::params::{IPAdapterType, Interpolation, Notice, StreamDiffusionParams, Weighted, check_supported};
use crate::schedule::StepTable;
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
    models: Piece<ModelKey, Models>,
    autoencoder: Piece<SizeKey, Codec>,
    unet: Piece<UnetKey, UnetNetworks>,
    adapter: Piece<Option<AdapterKey>, Option<Adapter>>,
    image: Piece<Option<ImageKey>, Option<ImageKeys>>,
    conditioning: Piece<(ModelKey, PromptKey), Conditioning>,
    constants: Piece<ConstantsKey, Vec<Constants>>,
    noise: Piece<NoiseKey, [f32]>,
    pub(super) controls: Controls,
    recipes: Recipes,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct ModelKey {
    id: String,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct SizeKey {
    models: ModelKey,
    width: u32,
    height: u32,
}

#[derive(Debug, Clone, PartialEq)]
struct UnetKey {
    size: SizeKey,
    layout: Layout,
    extras: Extras,
}

/// What an IP-Adapter is made from, where one is installed.
#[derive(Debug, Clone, PartialEq)]
struct AdapterKey {
    models: ModelKey,
    kind: IPAdapterType,
}

/// What an adapter made tokens of, where there is a style image.
#[derive(Debug, Clone, PartialEq)]
struct ImageKey {
    adapter: AdapterKey,
    text: String,
}

#[derive(Debug, Clone, PartialEq)]
struct ConstantsKey {
    unet: UnetKey,
    prompt: PromptKey,
    table: StepTable,
    adapter: Option<AdapterKey>,
    image: Option<(ImageKey, Strength)>,
}

#[derive(Debug, Clone, PartialEq)]
struct NoiseKey {
    seed: Weighted<u64>,
    method: Interpolation,
    normalise: bool,
    shape: Shape,
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

    /// What prompt and schedule give the UNet.
    pub(crate) fn constants(&self) -> &[Constants] {
        self.constants.get()
    }
}

/// A pipeline that is being put together: each piece is taken from one that was made before, where its key is the same.
#[derive(Debug)]
struct Assembly<'a> {
    workshop: &'a Workshop,
    params: &'a StreamDiffusionParams,
    way: Option<&'a Way<Conditioning>>,
    /// Pieces that may be what is needed, most likely first.
    previous: &'a [&'a Pieces],
    /// Bytes of scratch memory that the engine already has.
    held: usize,
    notices: &'a mut Vec<Notice>,
}

impl<'a> Assembly<'a> {
    /// All pieces, each made from those before it, and the steps they are made for.
    fn pieces(&mut self) -> Result<(Pieces, StepTable)> {
        let (workshop, params) = (self.workshop, self.params);
        let models = self.models()?;
        let loaded = &**models.get();
        // Fields in use whose machinery is not built are refused by name, never passed over.
        check_supported(params, !loaded.distilled)?;
        check_model_size(params, loaded)?;
        let size = SizeKey { models: models.key().clone(), width: params.width, height: params.height };
        let autoencoder = self.autoencoder(loaded, size.clone())?;
        let latent = autoencoder.get().latent;
        let table = step_table(params, loaded)?;
        let active = workshop.options.cfg_type.active(params.guidance_scale as f32);
        let layout = layout(workshop.options.cfg_type, active, params.use_denoising_batch, table.steps().len());
        let prompt = prompt_key(params, self.way, &layout);
        let around = self.around(loaded, &layout, latent);
        let controls = Loaded::load(around, self.notices)?;
        let adapter = self.adapter(loaded, models.key())?;
        let image = self.image(&adapter)?;
        let extras = Extras {
            residuals: controls.any(),
            cached_attention: params.cached_attention.enabled,
            image_tokens: adapter.get().as_ref().as_ref().map_or(0, Adapter::tokens),
        };
        let unet = self.unet(loaded, UnetKey { size, layout: layout.clone(), extras }, latent)?;
        let conditioning = self.conditioning(loaded, (models.key().clone(), prompt.clone()))?;
        let told = Told { conditioning: conditioning.get(), prompt: &prompt, table: &table };
        let controls = controls.assemble(&told)?;
        let strength = Strength::of(&params.ip_adapter);
        let key = ConstantsKey {
            unet: unet.key().clone(),
            prompt,
            table: table.clone(),
            adapter: adapter.key().clone(),
            image: image.key().clone().map(|image| (image, strength)),
        };
        let seen =
            ImagePrompt { adapter: adapter.get().as_ref().as_ref(), image: image.get().as_ref().as_ref(), strength };
        let constants = self.constants(loaded, unet.get(), conditioning.get(), &seen, key)?;
        let noise = self.noise(Shape { n: table.steps().len(), ..latent })?;
        let previous: Vec<&Recipes> = self.previous.iter().map(|pieces| &pieces.recipes).collect();
        let recipes = Recipes::new(&workshop.registry, params, &previous)?;
        let pieces =
            Pieces { models, autoencoder, unet, adapter, image, conditioning, constants, noise, controls, recipes };
        Ok((pieces, table))
    }

    /// What is there of one piece.
    fn kept<K: 'a, V: ?Sized + 'a>(
        &self,
        pick: fn(&Pieces) -> &Piece<K, V>,
    ) -> impl Iterator<Item = &'a Piece<K, V>> + use<'a, K, V> {
        self.previous.iter().map(move |pieces| pick(pieces))
    }

    fn models(&mut self) -> Result<Piece<ModelKey, Models>> {
        let key = ModelKey { id: self.params.model_id.clone() };
        Piece::reuse(self.kept(|pieces| &pieces.models), key, |key| {
            Models::load(self.workshop, &key.id, self.notices).map(Arc::new)
        })
    }

    fn autoencoder(&self, models: &Models, key: SizeKey) -> Result<Piece<SizeKey, Codec>> {
        let compiler = Compiler { executor: &*self.workshop.executor, held: self.held };
        Piece::reuse(self.kept(|pieces| &pieces.autoencoder), key, |key| {
            Codec::compile(models, &compiler, key.width, key.height).map(Arc::new)
        })
    }

    fn unet(&self, models: &Models, key: UnetKey, latent: Shape) -> Result<Piece<UnetKey, UnetNetworks>> {
        Piece::reuse(self.kept(|pieces| &pieces.unet), key, |key| {
            let compiler = Compiler { executor: &*self.workshop.unet_executor(), held: self.held };
            UnetNetworks::compile(models, &compiler, &key.layout, latent, key.extras).map(Arc::new)
        })
    }

    /// The IP-Adapter, installed where the parameters enable it.
    fn adapter(&mut self, models: &Models, model: &ModelKey) -> Result<Piece<Option<AdapterKey>, Option<Adapter>>> {
        let params = &self.params.ip_adapter;
        let key = params.enabled.then(|| AdapterKey { models: model.clone(), kind: params.kind });
        Piece::reuse(self.kept(|pieces| &pieces.adapter), key, |key| {
            let load = |key: &AdapterKey| Adapter::load(self.workshop, models, key.kind, self.notices);
            key.as_ref().map(load).transpose().map(Arc::new)
        })
    }

    /// What the adapter makes of the style image, where there are both.
    fn image(
        &self,
        adapter: &Piece<Option<AdapterKey>, Option<Adapter>>,
    ) -> Result<Piece<Option<ImageKey>, Option<ImageKeys>>> {
        let text = &self.params.ip_adapter_style_image_url;
        let key = adapter.key().clone().filter(|_| !text.is_empty());
        let key = key.map(|adapter| ImageKey { adapter, text: text.clone() });
        Piece::reuse(self.kept(|pieces| &pieces.image), key, |key| {
            let (Some(key), Some(adapter)) = (key, &**adapter.get()) else { return Ok(Arc::new(None)) };
            let style = Style::read(self.workshop, key.adapter.kind, &key.text)?;
            adapter.encode(&style).map_err(invalid).map(|keys| Arc::new(Some(keys)))
        })
    }

    /// What ControlNets are made of.
    fn around<'b>(&self, models: &'b Models, layout: &'b Layout, latent: Shape) -> Around<'b>
    where
        'a: 'b,
    {
        let previous = self.previous.iter().map(|pieces| &pieces.controls).collect();
        let (workshop, params, held) = (self.workshop, self.params, self.held);
        Around { workshop, params, models, layout, latent, held, previous }
    }

    fn conditioning(
        &mut self,
        models: &Models,
        key: (ModelKey, PromptKey),
    ) -> Result<Piece<(ModelKey, PromptKey), Conditioning>> {
        Piece::reuse(self.kept(|pieces| &pieces.conditioning), key, |(_, prompt)| {
            Conditioning::new(&models.text, prompt, self.notices).map(Arc::new)
        })
    }

    fn constants(
        &self,
        models: &Models,
        unet: &UnetNetworks,
        conditioning: &Conditioning,
        image: &ImagePrompt<'_>,
        key: ConstantsKey,
    ) -> Result<Piece<ConstantsKey, Vec<Constants>>> {
        let size = (self.params.width, self.params.height);
        Piece::reuse(self.kept(|pieces| &pieces.constants), key, |key| {
            unet.constants(models, conditioning, &key.table, size, image).map(Arc::new)
        })
    }

    fn noise(&self, shape: Shape) -> Result<Piece<NoiseKey, [f32]>> {
        let params = self.params;
        let key = NoiseKey {
            seed: params.seed.clone(),
            method: params.seed_interpolation_method,
            normalise: params.normalize_seed_weights,
            shape,
        };
        Piece::reuse(self.kept(|pieces| &pieces.noise), key, |key| {
            let seeds: Vec<(u64, f32)> = key.seed.iter().map(|(&seed, weight)| (seed, weight as f32)).collect();
            let noise = seed_noise(&seeds, key.method, key.normalise, key.shape, self.workshop.options.noise)?;
            Ok(Arc::from(noise))
        })
    }
}

fn prompt_key(params: &StreamDiffusionParams, way: Option<&Way<Conditioning>>, layout: &Layout) -> PromptKey {
    PromptKey {
        prompt: params.prompt.clone(),
        method: params.prompt_interpolation_method,
        normalise: params.normalize_prompt_weights,
        negative: wants_negative(layout).then(|| params.negative_prompt.clone()),
        way: way.cloned(),
    }
}
