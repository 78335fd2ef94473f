//! Assembly of a pipeline from components of earlier ones and new components.

use std::ptr;
use std::sync::Arc;

use super::Components;
use super::autoencoder::AutoencoderNetworks;
use super::cached::Cached;
use super::conditioning::{Conditioning, PromptKey};
use super::context::{BuildContext, Compiler};
use super::controlnet::{ControlNetBuild, ControlNetInputs, LoadedControlNets};
use super::img2img_turbo::Turbo;
use super::interpolation::{self, CachedInterpolation};
use super::ip_adapter::{Adapter, AdapterChoice, ImageKeys, ImagePrompt, Strength};
use super::keys::{
    AdapterKey, AutoencoderKey, ConstantsKey, ImageKey, InterpolationKey, LorasKey, ModelKey, NoiseKey, SizeKey,
    TextKey, TextWeightsKey, TurboKey, TurboUse, UnetKey, WeightsKey,
};
use super::limits::{check_model_size, step_table};
use super::lora::{Lora, LoraUse, UnetWeights, lcm_notice, lost_bytes, merged_text, wanted};
use super::models::Models;
use super::recipes::Recipes;
use super::safety::{self, CachedSafety};
use super::style::{Style, invalid};
use super::text::Text;
use super::unet::{CallConstants, CallRows, Extras, UnetNetworks, call_rows, wants_negative};
use crate::conditioning::seed::seed_noise;
use crate::conditioning::transition::TransitionState;
use crate::engine::options::Vae;
use crate::error::Result;
use crate::exec::Buffer;
use crate::net::{Shape, Weights};
use crate::params::{Notice, StreamDiffusionParams};
use crate::schedule::StepTable;
use crate::stream::guidance::UnetRow;

/// Assembles a pipeline: each component is taken from an earlier pipeline if its key is equal.
#[derive(Debug)]
pub(super) struct Assembly<'a> {
    pub(super) context: &'a BuildContext,
    pub(super) params: &'a StreamDiffusionParams,
    pub(super) way: Option<&'a TransitionState<Conditioning>>,
    /// Earlier pipelines' components, most similar first.
    pub(super) previous: &'a [&'a Components],
    /// Bytes of scratch memory that the engine has already.
    pub(super) held: usize,
    pub(super) notices: &'a mut Vec<Notice>,
}

impl<'a> Assembly<'a> {
    /// Returns all components, each built from those before it, and the denoising steps.
    pub(super) fn components(&mut self) -> Result<(Components, StepTable)> {
        let (context, params) = (self.context, self.params);
        let models = self.models()?;
        let loaded = &**models.get();
        check_model_size(params, loaded)?;
        let previous: Vec<&Recipes> = self.previous.iter().map(|components| &components.recipes).collect();
        let recipes = Recipes::new(&context.registry, params, &previous, self.notices)?;
        let size = SizeKey { models: models.key().clone(), width: params.width, height: params.height };
        let turbo = self.turbo(loaded, models.key())?;
        let autoencoder = self.autoencoder(loaded, &turbo, size.clone())?;
        let latent = autoencoder.get().latent;
        let table = step_table(params, loaded)?;
        let active = params.cfg_type.active(params.guidance_scale as f32);
        let call_rows = call_rows(params.cfg_type, active, context.is_batched(params), table.steps().len());
        let prompt = prompt_key(params, self.way, &call_rows);
        let loras = self.loras(loaded, models.key())?;
        let lora_use = LoraUse::new(context.options.lora_mode, params, loaded, loras.get());
        let weights = self.weights(loaded, &turbo, &loras, &lora_use)?;
        let text = self.text(loaded, &loras, &lora_use)?;
        let controlnet_build = self.controlnet_build(loaded, &call_rows, latent);
        let controls = LoadedControlNets::load(controlnet_build, self.notices)?;
        let adapter = self.adapter(loaded, models.key())?;
        let image = self.image(&adapter)?;
        let earlier = &params.cached_attention;
        let extras = Extras {
            residuals: controls.any(),
            cached_attention: earlier.enabled,
            feature_injection: earlier.enabled && earlier.feature_injection_strength > 0.0,
            token_merging: earlier.enabled && earlier.token_merging,
            image_tokens: adapter.get().as_ref().as_ref().map_or(0, Adapter::tokens),
            feature_reuse: params.reuses_features(),
        };
        let key = UnetKey { weights: weights.key().clone(), size, call_rows: call_rows.clone(), extras };
        let unet = self.unet(loaded, weights.get(), key, latent)?;
        let conditioning = self.conditioning(text.get(), TextKey { weights: text.key().clone(), prompt })?;
        let inputs = ControlNetInputs { conditioning: conditioning.get(), text: conditioning.key(), table: &table };
        let controls = controls.assemble(&inputs)?;
        let strength = Strength::of(&params.ip_adapter);
        let key = ConstantsKey {
            unet: unet.key().clone(),
            text: conditioning.key().clone(),
            table: table.clone(),
            adapter: adapter.key().clone(),
            image: image.key().clone().map(|image| (image, strength)),
            lora_scales: lora_use.live_scales(),
        };
        let seen =
            ImagePrompt { adapter: adapter.get().as_ref().as_ref(), image: image.get().as_ref().as_ref(), strength };
        let constants = self.constants(loaded, unet.get(), conditioning.get(), &seen, weights.get(), key)?;
        let noise = self.noise(Shape { n: table.steps().len(), ..latent })?;
        let safety = self.safety(models.key())?;
        let interpolation = self.interpolation(&recipes)?;
        let components = Components {
            models,
            turbo,
            autoencoder,
            loras,
            weights,
            text,
            unet,
            adapter,
            image,
            conditioning,
            constants,
            noise,
            controls,
            safety,
            interpolation,
            recipes,
        };
        Ok((components, table))
    }

    /// Earlier values of one component.
    fn kept<K: 'a, V: ?Sized + 'a>(
        &self,
        pick: fn(&Components) -> &Cached<K, V>,
    ) -> impl Iterator<Item = &'a Cached<K, V>> + use<'a, K, V> {
        self.previous.iter().map(move |components| pick(components))
    }

    fn models(&mut self) -> Result<Cached<ModelKey, Models>> {
        let full_vae = self.params.img2img_turbo.weights.is_some();
        let key = ModelKey { id: self.params.model_id.clone(), full_vae };
        Cached::reuse(self.kept(|components| &components.models), key, |key| {
            let choice = &self.context.options.vae;
            let vae = if key.full_vae && *choice == Vae::Auto { &Vae::Full } else { choice };
            Models::load(self.context, &key.id, vae, self.notices).map(Arc::new)
        })
    }

    /// Reads the weights of img2img-turbo, if the parameters name some.
    fn turbo(&mut self, models: &Models, model: &ModelKey) -> Result<Cached<Option<TurboKey>, Option<Turbo>>> {
        let params = &self.params.img2img_turbo;
        let key = params.weights.clone();
        let key = key.map(|weights| TurboKey { models: model.clone(), weights, direction: params.direction });
        let turbo = Cached::reuse(self.kept(|components| &components.turbo), key, |key| {
            let load = |key: &TurboKey| Turbo::load(self.context, models, key, self.notices);
            key.as_ref().map(load).transpose().map(Arc::new)
        })?;
        turbo.get().as_ref().as_ref().map_or(Ok(()), |turbo| turbo.check(params))?;
        Ok(turbo)
    }

    fn autoencoder(
        &self,
        models: &Models,
        turbo: &Cached<Option<TurboKey>, Option<Turbo>>,
        size: SizeKey,
    ) -> Result<Cached<AutoencoderKey, AutoencoderNetworks>> {
        let compiler = Compiler { executor: &*self.context.autoencoder_executor(), held: self.held };
        let key = AutoencoderKey { size, turbo: TurboUse::of(turbo.key().clone(), &self.params.img2img_turbo) };
        Cached::reuse(self.kept(|components| &components.autoencoder), key, |key| {
            let base = &models.autoencoder_weights;
            let changed = changed_by(turbo, key.turbo.as_ref(), |turbo, strength| turbo.vae_weights(base, strength));
            let range = turbo.get().as_ref().as_ref().map(Turbo::range);
            let weights = (&**changed.as_ref().unwrap_or(base), range);
            let size = (key.size.width, key.size.height);
            let options = &self.context.options;
            AutoencoderNetworks::compile(&models.autoencoder, weights, &compiler, size, options).map(Arc::new)
        })
    }

    /// Reads the LoRAs that no earlier pipeline has.
    fn loras(&mut self, models: &Models, key: &ModelKey) -> Result<Cached<LorasKey, Vec<Arc<Lora>>>> {
        let ids = wanted(self.params, models).into_iter().map(|lora| lora.id).collect();
        let known = self.kept(|components| &components.loras).filter(|cached| cached.key().models == *key);
        let known: Vec<&Arc<Lora>> = known.flat_map(|cached| &**cached.get()).collect();
        let key = LorasKey { models: key.clone(), ids };
        Cached::reuse(self.kept(|components| &components.loras), key, |key| {
            self.notices.extend(lcm_notice(self.params, models));
            let read = |id: &String| match known.iter().find(|lora| lora.id == *id) {
                Some(known) => Ok((*known).clone()),
                None => Lora::read(self.context, self.params, models, id, self.notices).map(Arc::new),
            };
            Ok(Arc::new(key.ids.iter().map(read).collect::<Result<_>>()?))
        })
    }

    fn weights(
        &mut self,
        models: &Models,
        turbo: &Cached<Option<TurboKey>, Option<Turbo>>,
        loras: &Cached<LorasKey, Vec<Arc<Lora>>>,
        lora_use: &LoraUse,
    ) -> Result<Cached<WeightsKey, UnetWeights>> {
        let models_key = loras.key().models.clone();
        let live = lora_use.live.iter().map(|lora| lora.id.clone()).collect();
        let turbo_use = TurboUse::of(turbo.key().clone(), &self.params.img2img_turbo);
        let key = WeightsKey { models: models_key, turbo: turbo_use, merged: lora_use.merged.clone(), live };
        Cached::reuse(self.kept(|components| &components.weights), key, |key| {
            let base = &models.unet_weights;
            let changed = changed_by(turbo, key.turbo.as_ref(), |turbo, strength| turbo.unet_weights(base, strength));
            let changed = changed.unwrap_or_else(|| base.clone());
            self.notices.extend(lost_bytes(self.context, base, &changed, "img2img_turbo.weights"));
            let lists = (&*key.merged, &*key.live);
            Ok(Arc::new(UnetWeights::new(self.context, &changed, loras.get(), lists, self.notices)))
        })
    }

    fn text(
        &self,
        models: &Models,
        loras: &Cached<LorasKey, Vec<Arc<Lora>>>,
        lora_use: &LoraUse,
    ) -> Result<Cached<TextWeightsKey, Text>> {
        let key = TextWeightsKey { models: loras.key().models.clone(), merged: lora_use.text.clone() };
        Cached::reuse(self.kept(|components| &components.text), key, |key| {
            merged_text(self.context, models, loras.get(), &key.merged)
        })
    }

    fn unet(
        &self,
        models: &Models,
        weights: &UnetWeights,
        key: UnetKey,
        latent: Shape,
    ) -> Result<Cached<UnetKey, UnetNetworks>> {
        Cached::reuse(self.kept(|components| &components.unet), key, |key| {
            let compiler = Compiler { executor: &*self.context.unet_executor(), held: self.held };
            let unet = UnetNetworks::compile(models, weights, &compiler, &key.call_rows, latent, key.extras)?;
            Ok(Arc::new(if self.context.shares_passes() { unet.joined(self.context, weights) } else { unet }))
        })
    }

    /// Loads the IP-Adapter, if the parameters enable it.
    fn adapter(&mut self, models: &Models, model: &ModelKey) -> Result<Cached<Option<AdapterKey>, Option<Adapter>>> {
        let params = &self.params.ip_adapter;
        let key = params.enabled.then(|| AdapterKey { models: model.clone(), choice: AdapterChoice::new(params) });
        Cached::reuse(self.kept(|components| &components.adapter), key, |key| {
            let load = |key: &AdapterKey| Adapter::load(self.context, models, &key.choice, self.notices);
            key.as_ref().map(load).transpose().map(Arc::new)
        })
    }

    /// Encodes the style image by the adapter, if there are both.
    fn image(
        &self,
        adapter: &Cached<Option<AdapterKey>, Option<Adapter>>,
    ) -> Result<Cached<Option<ImageKey>, Option<ImageKeys>>> {
        let url = &self.params.ip_adapter_style_image_url;
        let key = adapter.key().clone().filter(|_| !url.is_empty());
        let key = key.map(|adapter| ImageKey { adapter, url: url.clone() });
        Cached::reuse(self.kept(|components| &components.image), key, |key| {
            let (Some(key), Some(adapter)) = (key, &**adapter.get()) else { return Ok(Arc::new(None)) };
            let style = Style::read(self.context, key.adapter.choice.kind, &key.url)?;
            adapter.encode(&style).map_err(invalid).map(|keys| Arc::new(Some(keys)))
        })
    }

    /// Returns what ControlNets are built from.
    fn controlnet_build<'b>(&self, models: &'b Models, call_rows: &'b CallRows, latent: Shape) -> ControlNetBuild<'b>
    where
        'a: 'b,
    {
        let previous = self.previous.iter().map(|components| &components.controls).collect();
        let (context, params, held) = (self.context, self.params, self.held);
        ControlNetBuild { context, params, models, call_rows, latent, held, previous }
    }

    fn conditioning(&mut self, text: &Text, key: TextKey) -> Result<Cached<TextKey, Conditioning>> {
        Cached::reuse(self.kept(|components| &components.conditioning), key, |key| {
            Conditioning::new(text, &key.prompt, self.notices).map(Arc::new)
        })
    }

    fn constants(
        &self,
        models: &Models,
        unet: &UnetNetworks,
        conditioning: &Conditioning,
        image: &ImagePrompt<'_>,
        weights: &UnetWeights,
        key: ConstantsKey,
    ) -> Result<Cached<ConstantsKey, Vec<CallConstants>>> {
        let size = (self.params.width, self.params.height);
        // Constants are valid for one UNet only, and pipelines with equal keys may have different ones.
        let same = self.previous.iter().filter(|components| ptr::eq(components.unet(), unet));
        Cached::reuse(same.map(|components| &components.constants), key, |key| {
            let further = |call: &[UnetRow]| {
                let mut inputs = image.inputs(call, key.table.steps().len());
                inputs.extend(weights.branches.inputs(&key.lora_scales));
                inputs
            };
            unet.constants(models, conditioning, &key.table, size, further).map(Arc::new)
        })
    }

    fn safety(&mut self, model: &ModelKey) -> Result<CachedSafety> {
        let key = self.params.use_safety_checker.then(|| model.clone());
        Cached::reuse(self.kept(|components| &components.safety), key, |key| {
            let load = |key: &ModelKey| safety::load(self.context, &key.id, self.notices);
            key.as_ref().map(load).transpose().map(Arc::new)
        })
    }

    /// Loads the network that interpolates between pictures, for the size of pictures after processing.
    fn interpolation(&mut self, recipes: &Recipes) -> Result<CachedInterpolation> {
        let params = self.params;
        let picture = recipes.picture_size((params.width as usize, params.height as usize))?;
        let key = params.interpolation.model_id.clone().map(|id| InterpolationKey { id, picture });
        Cached::reuse(self.kept(|components| &components.interpolation), key, |key| {
            let load = |key: &InterpolationKey| interpolation::load(self.context, key, self.notices);
            key.as_ref().map(load).transpose().map(Arc::new)
        })
    }

    fn noise(&self, shape: Shape) -> Result<Cached<NoiseKey, Buffer>> {
        let params = self.params;
        let key = NoiseKey {
            seed: params.seed.clone(),
            method: params.seed_interpolation_method,
            normalise: params.normalize_seed_weights,
            shape,
        };
        Cached::reuse(self.kept(|components| &components.noise), key, |key| {
            let seeds: Vec<(u64, f32)> = key.seed.iter().map(|(&seed, weight)| (seed, weight as f32)).collect();
            let noise = seed_noise(&seeds, key.method, key.normalise, key.shape, self.context.options.noise)?;
            let queue = &self.context.queue;
            let mut buffer = queue.buffer(noise.len())?;
            queue.upload(&noise, buffer.view_mut())?;
            Ok(Arc::new(buffer))
        })
    }
}

/// Returns the weights that img2img-turbo makes of a network's at the strength of `turbo_use`; `None` without it.
fn changed_by(
    turbo: &Cached<Option<TurboKey>, Option<Turbo>>,
    turbo_use: Option<&TurboUse>,
    change: impl FnOnce(&Turbo, f64) -> Arc<Weights>,
) -> Option<Arc<Weights>> {
    Some(change(turbo.get().as_ref().as_ref()?, turbo_use?.strength))
}

fn prompt_key(
    params: &StreamDiffusionParams,
    way: Option<&TransitionState<Conditioning>>,
    call_rows: &CallRows,
) -> PromptKey {
    PromptKey {
        prompt: params.prompt.clone(),
        method: params.prompt_interpolation_method,
        normalise: params.normalize_prompt_weights,
        negative: wants_negative(call_rows).then(|| params.negative_prompt.clone()),
        way: way.cloned(),
    }
}
