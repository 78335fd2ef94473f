//! The demo model with its ControlNets, its LoRA and its IP-Adapter, which are embedded like itself.

use std::path::Path;

use serde_json::{Value, json};

use super::packed::copy_folder;
use crate::engine::Engine;
use crate::error::ErrorKind;
use crate::frame::{FrameView, PixelFormat};
use crate::load::{HubCache, ModelId, ModelSource};
use crate::params::{DEMO_ADAPTER, DEMO_CONTROLNETS, DEMO_LORA, StreamDiffusionParams};

const SIDE: u32 = 64;

/// A picture of rings, with the parameters of the demo model and `change`.
fn picture(source: ModelSource, change: &Value) -> Vec<u8> {
    let t_index_list = vec![46];
    let params = StreamDiffusionParams { width: SIDE, height: SIDE, t_index_list, ..StreamDiffusionParams::demo() };
    let (params, _) = params.patched(&change.to_string()).unwrap();
    let mut engine = Engine::builder().models(source).params(params).build().unwrap();
    let at = |i: u32| (i % SIDE) as i32 - 32;
    let ring = |i: u32| (((at(i).pow(2) + at(i / SIDE).pow(2)) / 64) % 4 * 80) as u8;
    let pixels: Vec<u8> = (0..SIDE * SIDE).flat_map(|i| [ring(i), 90, 255 - ring(i)]).collect();
    let frame = FrameView::packed(PixelFormat::Rgb8, SIDE, SIDE, &pixels).unwrap();
    engine.process(&frame).unwrap().frame.pixels().to_vec()
}

fn controlnet(id: &str, processor: &str) -> Value {
    json!({"controlnets": [{"model_id": id, "preprocessor": processor}]})
}

fn lora(id: &str) -> Value {
    json!({"lora_dict": {id: 1.0}})
}

/// A style image of one pixel; the adapter of the model if `adapter` is empty.
fn style(adapter: &str) -> Value {
    let dot = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg==";
    json!({"ip_adapter": {"enabled": true, "ip_adapter_model_path": adapter}, "ip_adapter_style_image_url": dot})
}

#[test]
fn every_built_in_network_changes_the_picture() {
    let [canny, soft] = DEMO_CONTROLNETS;
    let changes = [json!({}), controlnet(canny, "canny"), controlnet(soft, "soft_edge"), lora(DEMO_LORA), style("")];
    let all = changes.map(|change| picture(ModelSource::Demo, &change));
    for (i, one) in all.iter().enumerate() {
        assert!(all.iter().skip(i + 1).all(|other| other != one), "picture {i}");
    }
}

#[test]
fn networks_in_the_folder_of_the_package_make_the_same_pictures_as_built_in_ones() {
    let package = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../models/demo"));
    let copy = tempfile::tempdir().unwrap();
    // Other names, since those of the built-in networks are never searched for.
    for (id, name) in [(DEMO_CONTROLNETS[0], "edges"), (DEMO_LORA, "style"), (DEMO_ADAPTER, "adapter")] {
        copy_folder(&package.join(id), &copy.path().join(name));
    }
    copy_folder(&package.join("dreamframe-tiny"), &copy.path().join("base"));
    for (built_in, mut own) in [
        (controlnet(DEMO_CONTROLNETS[0], "canny"), controlnet("edges", "canny")),
        (lora(DEMO_LORA), lora("style")),
        (style(""), style("adapter")),
    ] {
        own["model_id"] = "base".into();
        let expected = picture(ModelSource::Demo, &built_in);
        assert!(picture(ModelSource::folder(copy.path()), &own) == expected, "{own}");
    }
}

#[test]
fn built_in_ids_need_no_source_of_models_and_others_are_not_found() {
    let nowhere = ModelSource::Cache(HubCache::at("/nonexistent"));
    let id = |text: &str| text.parse::<ModelId>().unwrap();
    for name in DEMO_CONTROLNETS {
        assert!(id(name).is_built_in());
        assert_eq!(nowhere.component(&id(name)).unwrap().class, "ControlNetModel");
    }
    for name in ["demo-", "demo-other", "dreamframe-tiny", "edges"] {
        assert!(!id(name).is_built_in());
        assert_eq!(nowhere.component(&id(name)).unwrap_err().kind(), ErrorKind::NotFound, "{name}");
    }
}
