//! A directory of models in which every parameter has something to mean: two base models, ControlNets, LoRAs, IP-Adapters.
//! All are tiny and random, and made to fit the demo model.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use dreamframe::load::RandomWeights;
use dreamframe::models::config::ClipVisionConfig;
use dreamframe::models::ip_adapter::{Place, cross_attentions};
use dreamframe::models::{UnetConfig, VisionStates, clip_vision_program};
use dreamframe::net::{WeightSource, WeightSpec};
use dreamframe::preprocess::Image;
use dreamframe::{
    Engine, EngineOptions, ModelSource, PackedCache, Result, SafetyChecker, StreamDiffusionParams, StyleImages,
};
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};

use crate::controlnets::Folder;

/// Pixels to a side.
pub const SIDE: u32 = 64;
const DEMO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/dreamframe-tiny");
const ENCODER: &str = r#"{"architectures": ["CLIPVisionModelWithProjection"], "hidden_size": 32, "intermediate_size": 48,
    "num_attention_heads": 4, "num_hidden_layers": 2, "image_size": 16, "patch_size": 4, "projection_dim": 24,
    "hidden_act": "gelu"}"#;
/// Numbers that describe a face.
const FACE: usize = 16;
/// Two pictures of 2 x 2 pixels, as PNG in base64.
const STYLES: [&str; 2] = [
    "iVBORw0KGgoAAAANSUhEUgAAAAIAAAACCAIAAAD91JpzAAAAFklEQVR4nGMQ0TghZ7OFgUvkjkbAAgAaOgQl/8cjJAAAAABJRU5ErkJggg==",
    "iVBORw0KGgoAAAANSUhEUgAAAAIAAAACCAIAAAD91JpzAAAAFklEQVR4nGO4U8F1IkqO4UMPwxY3EQAoSgUphtj83wAAAABJRU5ErkJggg==",
];

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
            copy(Path::new(DEMO), &folder.path().join(model));
        }
        for (seed, name) in ["net-a", "net-b", "net-c", "net-d", "net-e"].into_iter().enumerate() {
            folder.controlnet(name, seed as u64);
        }
        for (seed, name) in ["lora-a", "lora-b"].into_iter().enumerate() {
            lora(&folder.path().join(name).join("pytorch_lora_weights.safetensors"), seed as u64);
        }
        let published = folder.path().join("h94/IP-Adapter/models");
        adapter(&published.join("ip-adapter_sd15.safetensors"), false);
        encoder(&published.join("image_encoder"));
        adapter(&folder.path().join("h94/IP-Adapter-FaceID/ip-adapter-faceid_sd15.safetensors"), true);
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
            "ip_adapter_style_image_url": STYLES[0],
            "cached_attention": {"enabled": true, "max_frames": 2, "interval": 2},
        });
        for (name, change) in changes.as_object().expect("an object") {
            merge(&mut value[name], change);
        }
        StreamDiffusionParams::from_json(&value.to_string()).expect("parameters that keep every rule").0
    }

    /// Another style image than that of [`params`](Self::params).
    pub fn other_style() -> &'static str {
        STYLES[1]
    }

    /// An engine of these models.
    ///
    /// # Errors
    ///
    /// Those of `EngineBuilder::build`.
    pub fn engine(&self, params: StreamDiffusionParams, change: impl FnOnce(&mut EngineOptions)) -> Result<Engine> {
        let mut options = EngineOptions::default();
        (options.allow_any_size, options.threads, options.packed_cache) = (true, Some(2), PackedCache::Off);
        change(&mut options);
        let builder = Engine::builder().models(ModelSource::folder(self.0.path())).params(params).options(options);
        builder.style_images(Arc::new(Host)).safety_checker(Arc::new(Harmless)).build()
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

fn unet() -> UnetConfig {
    let text = fs::read_to_string(Path::new(DEMO).join("unet/config.json")).expect("the demo model is there");
    UnetConfig::from_json(&text).expect("the demo model's config is one")
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder can be made");
    for entry in fs::read_dir(from).expect("a folder can be read").flatten() {
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).expect("a file can be copied");
        }
    }
}

fn spec(name: impl Into<String>, shape: &[usize]) -> WeightSpec {
    WeightSpec { name: name.into(), shape: shape.to_vec() }
}

/// Writes random numbers for `specs`.
fn write(path: &Path, specs: &[WeightSpec], seed: u64) {
    let weights = RandomWeights::new(seed, specs);
    let bytes = |spec: &WeightSpec| -> Vec<u8> {
        let numbers = weights.read(&spec.name, &spec.shape).expect("random weights are there");
        numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
    };
    let all: Vec<Vec<u8>> = specs.iter().map(bytes).collect();
    let views = specs.iter().zip(&all).map(|(spec, bytes)| {
        (&*spec.name, TensorView::new(Dtype::F32, spec.shape.clone(), bytes).expect("bytes of the shape"))
    });
    fs::create_dir_all(path.parent().expect("a file in a folder")).expect("a folder can be made");
    safetensors::serialize_to_file(views, None, path).expect("a file can be written");
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
            let inputs = if name.ends_with("attn2_to_v") { unet().text_dim } else { *width };
            [
                spec(format!("{name}.lora_down.weight"), &[2, inputs]),
                spec(format!("{name}.lora_up.weight"), &[*width, 2]),
            ]
        })
        .collect();
    write(path, &specs, seed + 40);
}

fn adapter(path: &Path, face: bool) {
    let text_dim = unet().text_dim;
    let mut specs = vec![spec("image_proj.norm.weight", &[text_dim]), spec("image_proj.norm.bias", &[text_dim])];
    if face {
        specs.push(spec("image_proj.proj.0.weight", &[64, FACE]));
        specs.push(spec("image_proj.proj.0.bias", &[64]));
        specs.push(spec("image_proj.proj.2.weight", &[4 * text_dim, 64]));
        specs.push(spec("image_proj.proj.2.bias", &[4 * text_dim]));
    } else {
        specs.push(spec("image_proj.proj.weight", &[4 * text_dim, 24]));
        specs.push(spec("image_proj.proj.bias", &[4 * text_dim]));
    }
    let (middle, others): (Vec<_>, Vec<_>) =
        cross_attentions(&unet()).into_iter().partition(|site| site.place == Place::Mid);
    for (i, site) in others.iter().chain(&middle).enumerate() {
        for part in ["to_k_ip", "to_v_ip"] {
            specs.push(spec(format!("ip_adapter.{}.{part}.weight", 2 * i + 1), &[site.channels, text_dim]));
        }
    }
    write(path, &specs, 5);
}

fn encoder(folder: &Path) {
    let config = ClipVisionConfig::from_json(ENCODER).expect("a config");
    let program = clip_vision_program(&config, 1, VisionStates::Projected).expect("a program");
    let mut specs = program.weights().to_vec();
    for spec in specs.iter_mut().filter(|spec| spec.name.contains("patch_embedding")) {
        spec.shape = vec![config.hidden_size, 3, config.patch_size, config.patch_size];
    }
    specs.push(spec("vision_model.embeddings.class_embedding", &[config.hidden_size]));
    write(&folder.join("model.safetensors"), &specs, 6);
    fs::write(folder.join("config.json"), ENCODER).expect("a file can be written");
}
