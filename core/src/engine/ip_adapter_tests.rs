//! An IP-Adapter in an engine: enabled, changed and refused while frames go on. The adapter and its image encoder are tiny
//! ones with random weights, made to fit the demo model.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use safetensors::tensor::{Dtype as TensorDtype, TensorView};

use super::{Engine, EngineOptions, StyleImages, Update};
use crate::conditioning::style::style_data_uri;
use crate::error::{Error, ErrorKind, Result};
use crate::frame::{FrameView, PixelFormat};
use crate::load::{ModelSource, PackedCache, RandomWeights};
use crate::models::ip_adapter::{AdapterKind, Place, cross_attentions};
use crate::models::{ClipVisionConfig, UnetConfig, VisionStates, clip_vision_program};
use crate::net::{WeightSource, WeightSpec};
use crate::params::{Cost, IPAdapterType, StreamDiffusionParams, WeightType};

const SIDE: u32 = 64;
const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/dreamframe-tiny");
const ENCODER: &str = r#"{"architectures": ["CLIPVisionModelWithProjection"], "hidden_size": 32, "intermediate_size": 48,
    "num_attention_heads": 4, "num_hidden_layers": 2, "image_size": 16, "patch_size": 4, "projection_dim": 24,
    "hidden_act": "gelu"}"#;
const PATH: &str = "h94/IP-Adapter/models";

fn unet() -> UnetConfig {
    UnetConfig::from_json(&fs::read_to_string(Path::new(MODEL).join("unet/config.json")).unwrap()).unwrap()
}

fn write(path: &Path, specs: &[WeightSpec], seed: u64) {
    let weights = RandomWeights::new(seed, specs);
    // Loud enough to be seen in the pictures.
    let bytes = |spec: &WeightSpec| -> Vec<u8> {
        let numbers = weights.read(&spec.name, &spec.shape).unwrap();
        numbers.iter().flat_map(|number| (number * 2.0).to_le_bytes()).collect()
    };
    let all: Vec<Vec<u8>> = specs.iter().map(bytes).collect();
    let views = specs
        .iter()
        .zip(&all)
        .map(|(spec, bytes)| (&*spec.name, TensorView::new(TensorDtype::F32, spec.shape.clone(), bytes).unwrap()));
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    safetensors::serialize_to_file(views, None, path).unwrap();
}

fn spec(name: impl Into<String>, shape: &[usize]) -> WeightSpec {
    WeightSpec { name: name.into(), shape: shape.to_vec() }
}

/// An adapter of `kind` for tokens of `text_dim` numbers, which reads vectors of `features`.
fn adapter(path: &Path, kind: AdapterKind, text_dim: usize, features: usize) {
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
        cross_attentions(&unet()).into_iter().partition(|site| site.place == Place::Mid);
    for (i, site) in others.iter().chain(&middle).enumerate() {
        for part in ["to_k_ip", "to_v_ip"] {
            specs.push(spec(format!("ip_adapter.{}.{part}.weight", 2 * i + 1), &[site.channels, text_dim]));
        }
    }
    write(path, &specs, 5);
}

fn encoder(folder: &Path) {
    let config = ClipVisionConfig::from_json(ENCODER).unwrap();
    let program = clip_vision_program(&config, 1, VisionStates::Projected).unwrap();
    let mut specs = program.weights().to_vec();
    for spec in specs.iter_mut().filter(|spec| spec.name.contains("patch_embedding")) {
        spec.shape = vec![config.hidden_size, 3, config.patch_size, config.patch_size];
    }
    specs.push(spec("vision_model.embeddings.class_embedding", &[config.hidden_size]));
    write(&folder.join("model.safetensors"), &specs, 6);
    fs::write(folder.join("config.json"), ENCODER).unwrap();
}

/// A directory of models: the demo model as `tiny`, and an adapter with its encoder where the published one lies.
fn models() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(MODEL, folder.path().join("tiny")).unwrap();
    adapter(&folder.path().join(PATH).join("ip-adapter_sd15.safetensors"), AdapterKind::Regular, unet().text_dim, 24);
    encoder(&folder.path().join(PATH).join("image_encoder"));
    folder
}

/// A host that knows one picture and one face.
#[derive(Debug)]
struct Host;

impl StyleImages for Host {
    fn fetch(&self, url: &str) -> Result<Vec<u8>> {
        match url {
            "https://host/warm.png" => Ok(png([250, 120, 10])),
            _ => Err(Error::new(ErrorKind::NotFound, format!("{url} is not there"))),
        }
    }

    fn face(&self, source: &str) -> Result<Vec<f32>> {
        Ok(vec![if source.contains("warm") { 0.5 } else { -0.5 }; 16])
    }
}

fn png(colour: [u8; 3]) -> Vec<u8> {
    let image = image::RgbImage::from_fn(20, 30, |x, y| image::Rgb(colour.map(|c| c.wrapping_add((x * y) as u8))));
    let mut bytes = std::io::Cursor::new(Vec::new());
    image.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    bytes.into_inner()
}

fn uri(colour: [u8; 3]) -> String {
    style_data_uri(&png(colour)).unwrap()
}

fn engine_with(folder: &Path, change: impl FnOnce(&mut StreamDiffusionParams, &mut EngineOptions)) -> Result<Engine> {
    let mut options = EngineOptions {
        allow_any_size: true,
        threads: Some(2),
        packed_cache: PackedCache::Off,
        ..EngineOptions::default()
    };
    let mut params = StreamDiffusionParams::demo();
    params.model_id = "tiny".into();
    (params.width, params.height) = (SIDE, SIDE);
    change(&mut params, &mut options);
    let builder = Engine::builder().models(ModelSource::folder(folder)).params(params).options(options);
    builder.style_images(Arc::new(Host)).build()
}

fn engine(folder: &Path) -> Engine {
    engine_with(folder, |_, _| ()).unwrap()
}

/// An engine that sees a style image.
fn styled(folder: &Path) -> Engine {
    engine_with(folder, |params, _| {
        params.ip_adapter.enabled = true;
        params.ip_adapter_style_image_url = uri([20, 40, 200]);
    })
    .unwrap()
}

/// The last of a few pictures of the same frame.
fn picture(engine: &mut Engine) -> Vec<u8> {
    let pixels: Vec<u8> = (0..SIDE * SIDE * 4).map(|i| (i / 9) as u8).collect();
    let frame = FrameView::packed(PixelFormat::Rgba8, SIDE, SIDE, &pixels).unwrap();
    let mut last = Vec::new();
    for _ in 0..4 {
        let picture = engine.process(&frame).unwrap();
        last = picture.frame.pixels().to_vec();
    }
    last
}

fn far(a: &[u8], b: &[u8]) -> u8 {
    a.iter().zip(b).map(|(a, b)| a.abs_diff(*b)).max().unwrap_or(0)
}

fn edit(engine: &mut Engine, change: impl FnOnce(&mut StreamDiffusionParams)) -> Update {
    engine.edit(change).unwrap()
}

#[test]
fn an_adapter_comes_and_goes_while_frames_go_on() {
    let folder = models();
    let mut plain = engine(folder.path());
    let mut engine = engine(folder.path());
    let before = picture(&mut engine);
    assert_eq!(before, picture(&mut plain));
    let update = edit(&mut engine, |params| {
        params.ip_adapter.enabled = true;
        params.ip_adapter_style_image_url = uri([20, 40, 200]);
    });
    assert_eq!(update.cost, Some(Cost::Load));
    let with = picture(&mut engine);
    assert!(far(&with, &picture(&mut plain)) > 3);
    assert_eq!(with, picture(&mut { styled(folder.path()) }), "rows in flight leave, and nothing else stays");
    assert_eq!(edit(&mut engine, |params| params.ip_adapter.enabled = false).cost, Some(Cost::Load));
    assert_eq!(picture(&mut engine), picture(&mut plain));
}

#[test]
fn style_image_scale_and_type_change_live_and_nothing_is_loaded() {
    let folder = models();
    let mut engine = styled(folder.path());
    // What is loaded is in memory: nothing is read again.
    fs::remove_dir_all(folder.path().join("h94")).unwrap();
    let blue = picture(&mut engine);
    let mut seen = vec![blue.clone()];
    let mut changes = |engine: &mut Engine, cost: Cost, change: &dyn Fn(&mut StreamDiffusionParams)| {
        assert_eq!(edit(engine, change).cost, Some(cost));
        let now = picture(engine);
        assert!(!seen.contains(&now), "the change counts");
        seen.push(now);
    };
    changes(&mut engine, Cost::Recompute, &|params| params.ip_adapter_style_image_url = uri([200, 90, 0]));
    changes(&mut engine, Cost::Recompute, &|params| params.ip_adapter_style_image_url = "https://host/warm.png".into());
    changes(&mut engine, Cost::Hot, &|params| params.ip_adapter.scale = 0.4);
    for kind in [WeightType::EaseIn, WeightType::EaseOut, WeightType::StrongStyleTransfer, WeightType::WeakInput] {
        changes(&mut engine, Cost::Hot, &|params| params.ip_adapter.weight_type = kind);
    }
    edit(&mut engine, |params| {
        params.ip_adapter = crate::params::IPAdapterConfig { enabled: true, ..Default::default() };
        params.ip_adapter_style_image_url = uri([20, 40, 200]);
    });
    assert_eq!(picture(&mut engine), blue);
}

#[test]
fn scale_zero_and_no_style_image_are_as_no_adapter() {
    let folder = models();
    let expected = picture(&mut engine(folder.path()));
    let mut engine = styled(folder.path());
    assert_ne!(picture(&mut engine), expected);
    edit(&mut engine, |params| params.ip_adapter.scale = 0.0);
    assert_eq!(picture(&mut engine), expected);
    edit(&mut engine, |params| {
        params.ip_adapter.scale = 1.0;
        params.ip_adapter_style_image_url = String::new();
    });
    assert_eq!(picture(&mut engine), expected);
}

#[test]
fn every_guidance_and_size_works_with_an_adapter() {
    let folder = models();
    for cfg_type in [crate::CfgType::Full, crate::CfgType::Initialize, crate::CfgType::SelfNegative] {
        let mut engine = engine_with(folder.path(), |params, options| {
            options.cfg_type = cfg_type;
            params.guidance_scale = 1.6;
            params.cached_attention.enabled = cfg_type == crate::CfgType::Full;
            params.ip_adapter.enabled = true;
            params.ip_adapter_style_image_url = uri([20, 40, 200]);
        })
        .unwrap();
        let with = picture(&mut engine);
        edit(&mut engine, |params| params.ip_adapter.scale = 0.0);
        assert_ne!(picture(&mut engine), with, "{cfg_type:?}");
        edit(&mut engine, |params| params.use_denoising_batch = false);
        edit(&mut engine, |params| params.width = 2 * SIDE);
        picture(&mut engine);
    }
}

#[test]
fn an_adapter_that_reads_all_tokens_serves_as_a_regular_one() {
    let folder = models();
    let own = folder.path().join("plus");
    adapter(&own.join("any.safetensors"), AdapterKind::Plus, unet().text_dim, 32);
    encoder(&own.join("image_encoder"));
    let with = |colour: [u8; 3]| {
        let engine = engine_with(folder.path(), |params, options| {
            options.cfg_type = crate::CfgType::Full;
            options.ip_adapter = Some("plus".into());
            params.guidance_scale = 1.6;
            params.ip_adapter.enabled = true;
            params.ip_adapter_style_image_url = uri(colour);
        });
        picture(&mut engine.unwrap())
    };
    let blue = with([20, 40, 200]);
    assert!(blue != with([200, 90, 0]) && blue == with([20, 40, 200]));
}

#[test]
fn faces_come_from_the_host() {
    let folder = models();
    let own = folder.path().join("faces");
    adapter(&own.join("any.safetensors"), AdapterKind::Face, unet().text_dim, 16);
    let mut engine = engine_with(folder.path(), |params, options| {
        options.ip_adapter = Some("faces".into());
        params.ip_adapter.enabled = true;
        params.ip_adapter.kind = IPAdapterType::Faceid;
        params.ip_adapter_style_image_url = "https://host/warm.png".into();
    })
    .unwrap();
    let warm = picture(&mut engine);
    edit(&mut engine, |params| params.ip_adapter_style_image_url = "https://host/cold.png".into());
    assert_ne!(picture(&mut engine), warm);
    let refused = engine.edit(|params| params.ip_adapter.kind = IPAdapterType::Regular).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::BadModel);
    assert!(refused.to_string().contains("of type \"faceid\", but ip_adapter.type is \"regular\""), "{refused}");
}

#[test]
fn what_is_no_style_image_is_refused_and_nothing_changes() {
    let folder = models();
    let mut engine = styled(folder.path());
    let before = picture(&mut engine);
    for (text, kind, part) in [
        ("aGVsbG8=", ErrorKind::InvalidParams, "ip_adapter_style_image_url is no image"),
        ("data:image/png;base64,!", ErrorKind::InvalidParams, "ip_adapter_style_image_url is no base64"),
        ("https://host/other.png", ErrorKind::NotFound, "https://host/other.png is not there"),
        ("file:///etc/passwd", ErrorKind::InvalidParams, "an http(s) URL"),
    ] {
        let refused = engine
            .edit(|params| {
                params.ip_adapter.scale = 0.1;
                params.ip_adapter_style_image_url = text.into();
            })
            .unwrap_err();
        assert_eq!(refused.kind(), kind, "{refused}");
        assert!(refused.to_string().contains(part), "{refused}");
        assert_eq!(engine.params().ip_adapter.scale, 1.0);
    }
    assert_eq!(picture(&mut engine), before);
    // Nobody looks at it while there is no adapter.
    edit(&mut engine, |params| {
        params.ip_adapter.enabled = false;
        params.ip_adapter_style_image_url = "aGVsbG8=".into();
    });
}

#[test]
fn adapters_that_do_not_fit_are_refused_and_frames_go_on() {
    let folder = models();
    let published = folder.path().join(PATH);
    let file = published.join("ip-adapter_sd15.safetensors");
    let mut engine = engine(folder.path());
    let before = picture(&mut engine);
    let mut refused = |kind: ErrorKind, part: &str| {
        let refused = engine.edit(|params| params.ip_adapter.enabled = true).unwrap_err();
        assert_eq!(refused.kind(), kind, "{refused}");
        assert!(refused.to_string().contains(part), "{refused}");
        assert!(!engine.params().ip_adapter.enabled);
    };
    adapter(&file, AdapterKind::Regular, 2048, 24);
    refused(ErrorKind::BadModel, "2048 numbers, but the UNet attends to 128");
    adapter(&file, AdapterKind::Regular, unet().text_dim, 1024);
    refused(ErrorKind::BadModel, "gives 24 numbers a feature, but the adapter reads 1024");
    write(&file, &[spec("unet.conv_in.weight", &[3, 3])], 1);
    refused(ErrorKind::BadModel, "not an IP-Adapter");
    fs::rename(&file, file.with_extension("bin")).unwrap();
    refused(ErrorKind::Unsupported, "ip-adapter_sd15.bin is a pickled file");
    fs::remove_dir_all(&published).unwrap();
    refused(ErrorKind::NotFound, "models/ip-adapter_sd15.safetensors");
    assert_eq!(picture(&mut engine), before);
    let sd21 = engine_with(folder.path(), |params, _| {
        params.model_id = "stabilityai/sd-turbo".into();
        params.ip_adapter.enabled = true;
    });
    assert!(sd21.unwrap_err().to_string().contains("no IP-Adapter fits \"stabilityai/sd-turbo\""));
}
