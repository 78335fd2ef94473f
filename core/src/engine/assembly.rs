//! Puts a pipeline together, out of pieces that were made before and those that have to be made.

use std::ptr;
use std::sync::Arc;

use super::chains::Recipes;
use super::checks::{check_model_size, step_table};
use super::codec::Codec;
use super::conditioning::{Conditioning, PromptKey};
use super::control::{Around, Loaded, Told};
use super::ip_adapter::{Adapter, ImageKeys, ImagePrompt, Strength};
use super::keys::{
    AdapterKey, ConstantsKey, ImageKey, LorasKey, ModelKey, NoiseKey, SizeKey, TextKey, UnetKey, WeightsKey,
};
use super::lora::{Lora, Merged, Wanted, lcm_notice, wanted};
use super::models::Models;
use super::piece::Piece;
use super::pipeline::Pieces;
use super::safety::{self, SafetyPiece};
use super::style::{Style, invalid};
use super::unet::{Extras, Layout, UnetNetworks, layout, wants_negative};
use super::workshop::{Compiler, Workshop};
use crate::conditioning::seed::seed_noise;
use crate::conditioning::transition::Way;
use crate::error::Result;
use crate::exec::Constants;
use crate::net::Shape;
use crate::params::{Notice, StreamDiffusionParams};
use crate::schedule::StepTable;

/// A pipeline that is being put together: each piece is taken from one that was made before, where its key is the same.
#[derive(Debug)]
pub(super) struct Assembly<'a> {
    pub(super) workshop: &'a Workshop,
    pub(super) params: &'a StreamDiffusionParams,
    pub(super) way: Option<&'a Way<Conditioning>>,
    /// Pieces that may be what is needed, most likely first.
    pub(super) previous: &'a [&'a Pieces],
    /// Bytes of scratch memory that the engine already has.
    pub(super) held: usize,
    pub(super) notices: &'a mut Vec<Notice>,
}

impl<'a> Assembly<'a> {
    /// All pieces, each made from those before it, and the steps they are made for.
    pub(super) fn pieces(&mut self) -> Result<(Pieces, StepTable)> {
        let (workshop, params) = (self.workshop, self.params);
        let models = self.models()?;
        let loaded = &**models.get();
        check_model_size(params, loaded)?;
        let previous: Vec<&Recipes> = self.previous.iter().map(|pieces| &pieces.recipes).collect();
        let recipes = Recipes::new(&workshop.registry, params, &previous)?;
        let size = SizeKey { models: models.key().clone(), width: params.width, height: params.height };
        let autoencoder = self.autoencoder(loaded, size.clone())?;
        let latent = autoencoder.get().latent;
        let table = step_table(params, loaded)?;
        let active = workshop.options.cfg_type.active(params.guidance_scale as f32);
        let layout = layout(workshop.options.cfg_type, active, params.use_denoising_batch, table.steps().len());
        let prompt = prompt_key(params, self.way, &layout);
        let loras = self.loras(loaded, models.key())?;
        let weights = self.weights(loaded, &loras)?;
        let around = self.around(loaded, &layout, latent);
        let controls = Loaded::load(around, self.notices)?;
        let adapter = self.adapter(loaded, models.key())?;
        let image = self.image(&adapter)?;
        let extras = Extras {
            residuals: controls.any(),
            cached_attention: params.cached_attention.enabled,
            image_tokens: adapter.get().as_ref().as_ref().map_or(0, Adapter::tokens),
        };
        let key = UnetKey { weights: weights.key().clone(), size, layout: layout.clone(), extras };
        let unet = self.unet(loaded, weights.get(), key, latent)?;
        let conditioning = self.conditioning(weights.get(), TextKey { weights: weights.key().clone(), prompt })?;
        let told = Told { conditioning: conditioning.get(), text: conditioning.key(), table: &table };
        let controls = controls.assemble(&told)?;
        let strength = Strength::of(&params.ip_adapter);
        let key = ConstantsKey {
            unet: unet.key().clone(),
            text: conditioning.key().clone(),
            table: table.clone(),
            adapter: adapter.key().clone(),
            image: image.key().clone().map(|image| (image, strength)),
        };
        let seen =
            ImagePrompt { adapter: adapter.get().as_ref().as_ref(), image: image.get().as_ref().as_ref(), strength };
        let constants = self.constants(loaded, unet.get(), conditioning.get(), &seen, key)?;
        let noise = self.noise(Shape { n: table.steps().len(), ..latent })?;
        let safety = self.safety(models.key())?;
        let pieces = Pieces {
            models,
            autoencoder,
            loras,
            weights,
            unet,
            adapter,
            image,
            conditioning,
            constants,
            noise,
            controls,
            safety,
            recipes,
        };
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

    /// Reads the LoRAs that were not read before.
    fn loras(&mut self, models: &Models, key: &ModelKey) -> Result<Piece<LorasKey, Vec<Arc<Lora>>>> {
        let ids = wanted(self.params, models).into_iter().map(|lora| lora.id).collect();
        let known = self.kept(|pieces| &pieces.loras).filter(|piece| piece.key().models == *key);
        let known: Vec<&Arc<Lora>> = known.flat_map(|piece| &**piece.get()).collect();
        let key = LorasKey { models: key.clone(), ids };
        Piece::reuse(self.kept(|pieces| &pieces.loras), key, |key| {
            self.notices.extend(lcm_notice(self.params, models));
            let read = |id: &String| match known.iter().find(|lora| lora.id == *id) {
                Some(known) => Ok((*known).clone()),
                None => Lora::read(self.workshop, self.params, models, id, self.notices).map(Arc::new),
            };
            Ok(Arc::new(key.ids.iter().map(read).collect::<Result<_>>()?))
        })
    }

    fn weights(
        &mut self,
        models: &Models,
        loras: &Piece<LorasKey, Vec<Arc<Lora>>>,
    ) -> Result<Piece<WeightsKey, Merged>> {
        let counts = wanted(self.params, models).into_iter().filter(|lora| lora.scale != 0.0);
        let key = WeightsKey { models: loras.key().models.clone(), loras: counts.collect() };
        Piece::reuse(self.kept(|pieces| &pieces.weights), key, |key| {
            let scaled = |wanted: &Wanted| {
                let lora = loras.get().iter().find(|lora| lora.id == wanted.id)?;
                Some((lora.clone(), wanted.scale))
            };
            let scaled: Vec<_> = key.loras.iter().filter_map(scaled).collect();
            Merged::new(self.workshop, models, &scaled, self.notices).map(Arc::new)
        })
    }

    fn unet(
        &self,
        models: &Models,
        weights: &Merged,
        key: UnetKey,
        latent: Shape,
    ) -> Result<Piece<UnetKey, UnetNetworks>> {
        Piece::reuse(self.kept(|pieces| &pieces.unet), key, |key| {
            let compiler = Compiler { executor: &*self.workshop.unet_executor(), held: self.held };
            UnetNetworks::compile(models, &weights.unet, &compiler, &key.layout, latent, key.extras).map(Arc::new)
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

    fn conditioning(&mut self, weights: &Merged, key: TextKey) -> Result<Piece<TextKey, Conditioning>> {
        Piece::reuse(self.kept(|pieces| &pieces.conditioning), key, |key| {
            Conditioning::new(&weights.text, &key.prompt, self.notices).map(Arc::new)
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
        // Of several pipelines with the same key each has a UNet of its own, which takes no other's constants.
        let same = self.previous.iter().filter(|pieces| ptr::eq(pieces.unet(), unet));
        Piece::reuse(same.map(|pieces| &pieces.constants), key, |key| {
            unet.constants(models, conditioning, &key.table, size, image).map(Arc::new)
        })
    }

    fn safety(&mut self, model: &ModelKey) -> Result<SafetyPiece> {
        let key = self.params.use_safety_checker.then(|| model.clone());
        Piece::reuse(self.kept(|pieces| &pieces.safety), key, |key| {
            let load = |key: &ModelKey| safety::load(self.workshop, &key.id, self.notices);
            key.as_ref().map(load).transpose().map(Arc::new)
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
