//! Tiny random IP-Adapters for the demo model, with their image encoder, and files of random weights.

use std::fs;
use std::io::Cursor;
use std::path::Path;

use dreamframe::load::RandomWeights;
use dreamframe::models::config::ClipVisionConfig;
use dreamframe::models::ip_adapter::{AdapterKind, Place, cross_attentions};
use dreamframe::models::{UnetConfig, VisionStates, clip_vision_program};
use dreamframe::net::{WeightSource, WeightSpec};
use safetensors::tensor::{Dtype, TensorView};

/// The path of the demo model.
pub const DEMO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/demo/dreamframe-tiny");
const ENCODER: &str = r#"{"architectures": ["CLIPVisionModelWithProjection"], "hidden_size": 32, "intermediate_size": 48,
    "num_attention_heads": 4, "num_hidden_layers": 2, "image_size": 16, "patch_size": 4, "projection_dim": 24,
    "hidden_act": "gelu"}"#;

/// The demo model's UNet.
///
/// # Panics
///
/// If it does not exist.
pub fn demo_unet() -> UnetConfig {
    UnetConfig::from_json(&fs::read_to_string(Path::new(DEMO).join("unet/config.json")).unwrap()).unwrap()
}

/// Writes random numbers for `specs`, loud enough to be seen in pictures.
///
/// # Panics
///
/// Where the file cannot be written.
pub fn write_random(path: &Path, specs: &[WeightSpec], seed: u64) {
    let weights = RandomWeights::new(seed, specs);
    let bytes = |spec: &WeightSpec| -> Vec<u8> {
        let numbers = weights.read(&spec.name, &spec.shape).unwrap();
        numbers.iter().flat_map(|number| (number * 2.0).to_le_bytes()).collect()
    };
    let all: Vec<Vec<u8>> = specs.iter().map(bytes).collect();
    let views = specs
        .iter()
        .zip(&all)
        .map(|(spec, bytes)| (&*spec.name, TensorView::new(Dtype::F32, spec.shape.clone(), bytes).unwrap()));
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    safetensors::serialize_to_file(views, None, path).unwrap();
}

/// A weight of `shape`.
pub fn spec(name: impl Into<String>, shape: &[usize]) -> WeightSpec {
    WeightSpec { name: name.into(), shape: shape.to_vec() }
}

/// An adapter of `kind` for tokens of `text_dim` numbers, which reads vectors of `features`.
///
/// # Panics
///
/// Where the file cannot be written.
pub fn adapter(path: &Path, kind: AdapterKind, text_dim: usize, features: usize) {
    let mut tensors: Vec<(&str, Vec<usize>)> = match kind {
        AdapterKind::Regular => {
            vec![("proj.weight", vec![4 * text_dim, features]), ("proj.bias", vec![4 * text_dim])]
        }
        AdapterKind::Face => vec![
            ("proj.0.weight", vec![64, features]),
            ("proj.0.bias", vec![64]),
            ("proj.2.weight", vec![4 * text_dim, 64]),
            ("proj.2.bias", vec![4 * text_dim]),
        ],
        AdapterKind::Plus => vec![
            ("latents", vec![1, 8, 16]),
            ("proj_in.weight", vec![16, features]),
            ("proj_in.bias", vec![16]),
            ("proj_out.weight", vec![text_dim, 16]),
            ("proj_out.bias", vec![text_dim]),
            ("layers.0.0.norm1.weight", vec![16]),
            ("layers.0.0.norm1.bias", vec![16]),
            ("layers.0.0.norm2.weight", vec![16]),
            ("layers.0.0.norm2.bias", vec![16]),
            ("layers.0.0.to_q.weight", vec![64, 16]),
            ("layers.0.0.to_kv.weight", vec![128, 16]),
            ("layers.0.0.to_out.weight", vec![16, 64]),
            ("layers.0.1.0.weight", vec![16]),
            ("layers.0.1.0.bias", vec![16]),
            ("layers.0.1.1.weight", vec![64, 16]),
            ("layers.0.1.3.weight", vec![16, 64]),
        ],
    };
    let norm =
        if kind == AdapterKind::Plus { ["norm_out.weight", "norm_out.bias"] } else { ["norm.weight", "norm.bias"] };
    tensors.extend(norm.map(|name| (name, vec![text_dim])));
    let mut specs: Vec<WeightSpec> =
        tensors.iter().map(|(name, shape)| spec(format!("image_proj.{name}"), shape)).collect();
    let (middle, others): (Vec<_>, Vec<_>) =
        cross_attentions(&demo_unet()).into_iter().partition(|site| site.place == Place::Mid);
    for (i, site) in others.iter().chain(&middle).enumerate() {
        for part in ["to_k_ip", "to_v_ip"] {
            specs.push(spec(format!("ip_adapter.{}.{part}.weight", 2 * i + 1), &[site.channels, text_dim]));
        }
    }
    write_random(path, &specs, 5);
}

/// An image encoder that gives 24 features.
///
/// # Panics
///
/// Where its folder cannot be written.
pub fn encoder(folder: &Path) {
    let config = ClipVisionConfig::from_json(ENCODER).unwrap();
    let program = clip_vision_program(&config, 1, VisionStates::Projected).unwrap();
    let mut specs = program.weights().to_vec();
    for spec in specs.iter_mut().filter(|spec| spec.name.contains("patch_embedding")) {
        spec.shape = vec![config.hidden_size, 3, config.patch_size, config.patch_size];
    }
    specs.push(spec("vision_model.embeddings.class_embedding", &[config.hidden_size]));
    write_random(&folder.join("model.safetensors"), &specs, 6);
    fs::write(folder.join("config.json"), ENCODER).unwrap();
}

/// A small picture about `colour`, as PNG.
///
/// # Panics
///
/// Where it cannot be encoded.
pub fn png(colour: [u8; 3]) -> Vec<u8> {
    let image = image::RgbImage::from_fn(20, 30, |x, y| image::Rgb(colour.map(|c| c.wrapping_add((x * y) as u8))));
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    bytes.into_inner()
}

/// Copies the folder `from` to `to`.
///
/// # Panics
///
/// Where it cannot be copied.
pub fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_folder(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}
