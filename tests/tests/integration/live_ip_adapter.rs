//! An IP-Adapter in an engine: enabled, changed and refused while frames are processed. The adapter and its image encoder are tiny
//! ones with random weights, made to fit the demo model.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use dreamframe::models::ip_adapter::AdapterKind;
use dreamframe::params::{Cost, IPAdapterConfig, IPAdapterType, WeightType};
use dreamframe::{
    CfgType, Engine, EngineOptions, Error, ErrorKind, FrameView, ModelSource, PackedCache, PixelFormat, Result,
    StreamDiffusionParams, StyleImages, Update, face_data_uri, style_data_uri,
};
use dreamframe_tests::adapters::{DEMO, adapter, copy_folder, demo_unet, encoder, png, spec, write_random};

const SIDE: u32 = 64;
const PATH: &str = "h94/IP-Adapter/models";

/// Creates a directory of models: the demo model as `tiny`, and an adapter with its encoder at the published path.
fn models() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    copy_folder(Path::new(DEMO), &folder.path().join("tiny"));
    adapter(
        &folder.path().join(PATH).join("ip-adapter_sd15.safetensors"),
        AdapterKind::Regular,
        demo_unet().text_dim,
        24,
    );
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

fn uri(colour: [u8; 3]) -> String {
    style_data_uri(&png(colour)).unwrap()
}

fn engine_with(folder: &Path, change: impl FnOnce(&mut StreamDiffusionParams, &mut EngineOptions)) -> Result<Engine> {
    let mut options = EngineOptions::default();
    (options.dtype, options.threads, options.packed_cache) = (dreamframe::Dtype::F32, Some(2), PackedCache::Off);
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
        params.ip_adapter_style_image_url = uri([20, 40, 200]).into();
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
fn adapter_is_added_and_removed_while_frames_are_processed() {
    let folder = models();
    let mut plain = engine(folder.path());
    let mut engine = engine(folder.path());
    let before = picture(&mut engine);
    assert_eq!(before, picture(&mut plain));
    let update = edit(&mut engine, |params| {
        params.ip_adapter.enabled = true;
        params.ip_adapter_style_image_url = uri([20, 40, 200]).into();
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
    changes(&mut engine, Cost::Recompute, &|params| params.ip_adapter_style_image_url = uri([200, 90, 0]).into());
    changes(&mut engine, Cost::Recompute, &|params| params.ip_adapter_style_image_url = "https://host/warm.png".into());
    changes(&mut engine, Cost::Hot, &|params| params.ip_adapter.scale = 0.4);
    for kind in [WeightType::EaseIn, WeightType::EaseOut, WeightType::StrongStyleTransfer, WeightType::WeakInput] {
        changes(&mut engine, Cost::Hot, &|params| params.ip_adapter.weight_type = kind);
    }
    edit(&mut engine, |params| {
        params.ip_adapter = IPAdapterConfig { enabled: true, ..Default::default() };
        params.ip_adapter_style_image_url = uri([20, 40, 200]).into();
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
        params.ip_adapter_style_image_url = "".into();
    });
    assert_eq!(picture(&mut engine), expected);
}

#[test]
fn every_guidance_and_size_works_with_an_adapter() {
    let folder = models();
    for cfg_type in [CfgType::Full, CfgType::Initialize, CfgType::SelfNegative] {
        let mut engine = engine_with(folder.path(), |params, _| {
            params.cfg_type = cfg_type;
            params.guidance_scale = 1.6;
            params.cached_attention.enabled = cfg_type == CfgType::Full;
            params.ip_adapter.enabled = true;
            params.ip_adapter_style_image_url = uri([20, 40, 200]).into();
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
    adapter(&own.join("any.safetensors"), AdapterKind::Plus, demo_unet().text_dim, 32);
    encoder(&own.join("image_encoder"));
    let with = |colour: [u8; 3]| {
        let engine = engine_with(folder.path(), |params, options| {
            params.cfg_type = CfgType::Full;
            options.ip_adapter = Some("plus".into());
            params.guidance_scale = 1.6;
            params.ip_adapter.enabled = true;
            params.ip_adapter_style_image_url = uri(colour).into();
        });
        picture(&mut engine.unwrap())
    };
    let blue = with([20, 40, 200]);
    assert!(blue != with([200, 90, 0]) && blue == with([20, 40, 200]));
}

#[test]
fn the_parameters_name_another_adapter_and_another_encoder() {
    let folder = models();
    let own = folder.path().join("mine");
    adapter(&own.join("plus.safetensors"), AdapterKind::Plus, demo_unet().text_dim, 32);
    encoder(&folder.path().join("encoders/other"));
    let mut engine = styled(folder.path());
    let published = picture(&mut engine);
    // Published names of other base models and types, as clients send them, change nothing.
    let update = edit(&mut engine, |params| {
        params.ip_adapter.ip_adapter_model_path = Some("h94/IP-Adapter/sdxl_models/ip-adapter_sdxl.bin".into());
        params.ip_adapter.image_encoder_path = Some("h94/IP-Adapter/sdxl_models/image_encoder".into());
    });
    let paths: Vec<&str> = update.notices.iter().map(|notice| notice.path.as_str()).collect();
    assert_eq!(paths, ["ip_adapter.ip_adapter_model_path", "ip_adapter.image_encoder_path"]);
    assert_eq!(picture(&mut engine), published);
    let update = edit(&mut engine, |params| {
        params.ip_adapter.ip_adapter_model_path = Some("h94/IP-Adapter/models/ip-adapter_sd15.bin".into());
        params.ip_adapter.image_encoder_path = Some("h94/IP-Adapter/models/image_encoder".into());
    });
    assert_eq!((update.notices.len(), picture(&mut engine)), (0, published.clone()));
    // Another file, with the encoder in another folder.
    let update = edit(&mut engine, |params| {
        params.ip_adapter.ip_adapter_model_path = Some("mine/plus.bin".into());
        params.ip_adapter.image_encoder_path = Some("encoders/other".into());
    });
    assert_eq!((update.cost, update.notices.len()), (Some(Cost::Load), 0), "{:?}", update.notices);
    let other = picture(&mut engine);
    assert_ne!(other, published);
    for (file, encoder, kind, part) in [
        ("mine/missing.safetensors", "encoders/other", ErrorKind::NotFound, "ip_adapter.ip_adapter_model_path"),
        ("mine/plus.safetensors", "encoders/missing", ErrorKind::NotFound, "ip_adapter.image_encoder_path"),
        ("mine/plus.safetensors", "", ErrorKind::NotFound, "image_encoder"),
        ("/etc/passwd", "", ErrorKind::InvalidParams, "ip_adapter.ip_adapter_model_path: model id"),
    ] {
        let refused = engine.edit(|params| {
            params.ip_adapter.ip_adapter_model_path = Some(file.into());
            params.ip_adapter.image_encoder_path = Some(encoder.into());
        });
        let refused = refused.unwrap_err();
        assert!(refused.kind() == kind && refused.to_string().contains(part), "{refused}");
    }
    assert_eq!(picture(&mut engine), other);
}

#[test]
fn a_face_is_an_embedding_in_the_parameters() {
    let folder = models();
    adapter(&folder.path().join("faces/any.safetensors"), AdapterKind::Face, demo_unet().text_dim, 16);
    let mut engine = engine_with(folder.path(), |params, _| {
        params.ip_adapter.ip_adapter_model_path = Some("faces".into());
        params.ip_adapter.enabled = true;
        params.ip_adapter.kind = IPAdapterType::Faceid;
        params.ip_adapter_style_image_url = face_data_uri(&[0.5; 16]).unwrap().into();
    })
    .unwrap();
    let one = picture(&mut engine);
    edit(&mut engine, |params| params.ip_adapter_style_image_url = face_data_uri(&[-0.5; 16]).unwrap().into());
    assert_ne!(picture(&mut engine), one);
    // The host, which returns the same numbers for this URL.
    edit(&mut engine, |params| params.ip_adapter_style_image_url = "https://host/warm.png".into());
    assert_eq!(picture(&mut engine), one);
    let refused = engine.edit(|params| params.ip_adapter_style_image_url = face_data_uri(&[0.5; 8]).unwrap().into());
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("face embedding: got 8 numbers, expected 16"), "{refused}");
}

#[test]
fn faces_come_from_the_host() {
    let folder = models();
    let own = folder.path().join("faces");
    adapter(&own.join("any.safetensors"), AdapterKind::Face, demo_unet().text_dim, 16);
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
    assert!(refused.to_string().contains("type of the adapter: got \"faceid\", expected \"regular\""), "{refused}");
}

#[test]
fn invalid_style_images_are_rejected_without_a_change() {
    let folder = models();
    let mut engine = styled(folder.path());
    let before = picture(&mut engine);
    for (text, kind, part) in [
        ("aGVsbG8=", ErrorKind::InvalidParams, "ip_adapter_style_image_url: got another format"),
        (
            "data:image/png;base64,!",
            ErrorKind::InvalidParams,
            "ip_adapter_style_image_url: got text that is not valid base64",
        ),
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
fn incompatible_adapters_are_rejected_and_frames_continue() {
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
    refused(ErrorKind::BadModel, "got 2048, expected 128 by the UNet");
    adapter(&file, AdapterKind::Regular, demo_unet().text_dim, 1024);
    refused(ErrorKind::BadModel, "got 24, expected 1024 by the adapter");
    write_random(&file, &[spec("unet.conv_in.weight", &[3, 3])], 1);
    refused(ErrorKind::BadModel, "not an IP-Adapter");
    fs::rename(&file, file.with_extension("bin")).unwrap();
    refused(ErrorKind::BadModel, "ip-adapter_sd15.bin: not an IP-Adapter");
    fs::remove_dir_all(&published).unwrap();
    refused(ErrorKind::NotFound, "models/ip-adapter_sd15.safetensors");
    assert_eq!(picture(&mut engine), before);
    let sd21 = engine_with(folder.path(), |params, _| {
        params.model_id = "stabilityai/sd-turbo".into();
        params.ip_adapter.enabled = true;
    });
    assert!(sd21.unwrap_err().to_string().contains("there is no IP-Adapter for \"stabilityai/sd-turbo\""));
}

#[test]
fn pixels_of_the_host_are_a_style_image() {
    let models = models();
    // One colour, so that neither the crop nor the scaling counts.
    let mut file = std::io::Cursor::new(Vec::new());
    let plain = image::RgbImage::from_pixel(90, 70, image::Rgb([20, 40, 200]));
    plain.write_to(&mut file, image::ImageFormat::Png).unwrap();
    let pixels = [200, 40, 20, 9].repeat(90 * 70);
    let frame = FrameView::packed(PixelFormat::Bgra8, 90, 70, &pixels).unwrap();
    let enabled = || engine_with(models.path(), |params, _| params.ip_adapter.enabled = true).unwrap();
    let (mut by_file, mut by_pixels) = (enabled(), enabled());
    let without = picture(&mut by_pixels);
    assert!(without == picture(&mut by_file));
    edit(&mut by_file, |params| {
        params.ip_adapter_style_image_url = style_data_uri(file.get_ref()).unwrap().into();
    });
    assert_eq!(by_pixels.set_style_image(&frame).unwrap().cost, Some(Cost::Recompute));
    let seen = picture(&mut by_pixels);
    assert!(seen != without && seen == picture(&mut by_file));
}
