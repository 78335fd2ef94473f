//! A directory of models in which every parameter has something to mean: two base models, ControlNets, LoRAs,
//! IP-Adapters, and networks that interpolate. All are tiny and random, and made to fit the demo model.

use std::path::Path;
use std::sync::Arc;

use dreamframe::models::ip_adapter::AdapterKind;
use dreamframe::net::WeightSpec;
use dreamframe::preprocess::{Image, Registry};
use dreamframe::{
    Engine, EngineBuilder, EngineOptions, ModelSource, PackedCache, Result, SafetyChecker, StreamDiffusionParams,
    StyleImages, style_data_uri,
};
use serde_json::{Value, json};

use crate::adapters::{DEMO, adapter, copy_folder, demo_unet, encoder, png, spec, write_random};
use crate::controlnets::Folder;

/// Pixels to a side.
pub const SIDE: u32 = 64;
/// Numbers that describe a face.
const FACE: usize = 16;
/// Where the models of one test lie.
#[derive(Debug)]
pub struct Kit(Folder);

impl Kit {
    /// Writes all of them into a folder of their own under `parent`.
    ///
    /// # Panics
    ///
    /// Where they cannot be written.
    pub fn new(parent: &str, name: &str) -> Self {
        let folder = Folder::new(parent, name);
        for model in ["first-demo", "second-demo"] {
            copy_folder(Path::new(DEMO), &folder.path().join(model));
        }
        for (seed, name) in ["net-a", "net-b", "net-c", "net-d", "net-e"].into_iter().enumerate() {
            folder.controlnet(name, seed as u64);
        }
        for (seed, name) in ["lora-a", "lora-b"].into_iter().enumerate() {
            lora(&folder.path().join(name).join("pytorch_lora_weights.safetensors"), seed as u64);
        }
        let published = folder.path().join("h94/IP-Adapter/models");
        let text_dim = demo_unet().text_dim;
        adapter(&published.join("ip-adapter_sd15.safetensors"), AdapterKind::Regular, text_dim, 24);
        encoder(&published.join("image_encoder"));
        let faces = folder.path().join("h94/IP-Adapter-FaceID/ip-adapter-faceid_sd15.safetensors");
        adapter(&faces, AdapterKind::Face, text_dim, FACE);
        folder.rife();
        let another = folder.path().join("another-adapter");
        adapter(&another.join("any.safetensors"), AdapterKind::Plus, text_dim, 32);
        encoder(&another.join("image_encoder"));
        Self(folder)
    }

    /// Parameters that use all of it.
    ///
    /// # Panics
    ///
    /// Where they keep not every rule.
    pub fn params() -> StreamDiffusionParams {
        let mut value = StreamDiffusionParams::demo().to_value();
        let changes = json!({
            "model_id": "first-demo",
            "width": SIDE,
            "height": SIDE,
            "prompt": [["a mosaic", 1.0], ["moonlit night", 0.5]],
            "seed": [[3, 1.0], [4, 0.5]],
            "guidance_scale": 1.5,
            "lora_dict": {"lora-a": 0.5},
            "use_safety_checker": true,
            "safety_checker_threshold": 0.9,
            "image_preprocessing": {"processors": [{"type": "blur", "params": {"blur_intensity": 0.5}}]},
            "image_postprocessing": {"processors": [{"type": "sharpen", "params": {"sharpen_intensity": 0.2}}]},
            "latent_preprocessing": {"processors": [{"type": "latent_feedback", "params": {"feedback_strength": 0.1}}]},
            "latent_postprocessing": {"processors": [{"type": "latent_feedback", "params": {"feedback_strength": 0.1}}]},
            "controlnets": [
                {"model_id": "net-a", "preprocessor": "canny", "conditioning_scale": 0.3,
                 "preprocessor_params": {"low_threshold": 50}},
                {"model_id": "net-b", "conditioning_scale": 0.2, "control_guidance_end": 0.9},
            ],
            "ip_adapter": {"enabled": true, "scale": 0.5},
            "ip_adapter_style_image_url": style([20, 40, 200]),
            "cached_attention": {"enabled": true, "max_frames": 2, "interval": 2,
                "feature_injection_strength": 0.5, "feature_similarity_threshold": 0.0},
        });
        for (name, change) in changes.as_object().expect("an object") {
            merge(&mut value[name], change);
        }
        StreamDiffusionParams::from_json(&value.to_string()).expect("parameters that keep every rule").0
    }

    /// The folder of the models.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Another style image than that of [`params`](Self::params).
    pub fn other_style() -> String {
        style([220, 120, 10])
    }

    /// An engine of these models.
    ///
    /// # Errors
    ///
    /// Those of `EngineBuilder::build`.
    pub fn engine(&self, params: StreamDiffusionParams, change: impl FnOnce(&mut EngineOptions)) -> Result<Engine> {
        self.engine_with(params, Registry::new(), change)
    }

    /// The same, with processors of the host.
    ///
    /// # Errors
    ///
    /// Those of `EngineBuilder::build`.
    pub fn engine_with(
        &self,
        params: StreamDiffusionParams,
        processors: Registry,
        change: impl FnOnce(&mut EngineOptions),
    ) -> Result<Engine> {
        self.builder(params, change).processors(processors).build()
    }

    /// What builds such engines.
    pub fn builder(&self, params: StreamDiffusionParams, change: impl FnOnce(&mut EngineOptions)) -> EngineBuilder {
        let mut options = EngineOptions::default();
        (options.dtype, options.threads, options.packed_cache) = (dreamframe::Dtype::F32, Some(2), PackedCache::Off);
        change(&mut options);
        let builder = Engine::builder().models(ModelSource::folder(self.0.path())).params(params).options(options);
        builder.style_images(Arc::new(Host)).safety_checker(Arc::new(Harmless))
    }
}

/// Puts what `change` has over `value`, object by object.
fn merge(value: &mut Value, change: &Value) {
    match (value, change) {
        (Value::Object(fields), Value::Object(changes)) => {
            for (name, change) in changes {
                merge(fields.entry(name).or_insert(Value::Null), change);
            }
        }
        (value, change) => *value = change.clone(),
    }
}

/// A host that knows the face in every picture.
#[derive(Debug)]
struct Host;

impl StyleImages for Host {
    fn face(&self, source: &str) -> Result<Vec<f32>> {
        Ok((0..FACE).map(|i| ((source.len() + i) % 7) as f32 / 7.0).collect())
    }
}

/// A safety checker that finds a little in every picture.
#[derive(Debug)]
struct Harmless;

impl SafetyChecker for Harmless {
    fn score(&self, _: &Image) -> Result<f32> {
        Ok(0.1)
    }
}

/// A picture about `colour`, as a parameter has it.
fn style(colour: [u8; 3]) -> String {
    style_data_uri(&png(colour)).expect("a picture")
}

/// A LoRA for two layers of the UNet and one of the text encoder.
fn lora(path: &Path, seed: u64) {
    let layers = [
        ("lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q", 96),
        ("lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_v", 96),
        ("lora_te_text_model_encoder_layers_0_self_attn_v_proj", 128),
    ];
    let specs: Vec<WeightSpec> = layers
        .iter()
        .flat_map(|(name, width)| {
            let inputs = if name.ends_with("attn2_to_v") { demo_unet().text_dim } else { *width };
            [
                spec(format!("{name}.lora_down.weight"), &[2, inputs]),
                spec(format!("{name}.lora_up.weight"), &[*width, 2]),
            ]
        })
        .collect();
    write_random(path, &specs, seed + 40);
}
