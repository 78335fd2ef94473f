//! Downloads of ControlNets, LoRAs, adapters and the networks of processors, from a hub that serves a folder.

use std::fs;

use super::*;
use crate::params::{
    ControlNetConfig, IPAdapterConfig, InterpolationConfig, ProcessingConfig, ProcessorName, SingleProcessorConfig,
    StreamDiffusionParams,
};

/// Returns a hub whose repositories are the folders `organisation/name` of `root`.
fn hub_of(root: &Path) -> Setup {
    let root = root.to_owned();
    setup(move |request| {
        let path = request.path.trim_start_matches('/');
        if let Some(id) = path.strip_prefix("api/models/").and_then(|rest| rest.strip_suffix("/revision/main")) {
            let Some(files) = files_in(&root.join(id)) else { return Reply { status: 404, ..Default::default() } };
            let siblings: Vec<_> = files.iter().map(|file| serde_json::json!({ "rfilename": file })).collect();
            let body = serde_json::json!({ "sha": COMMIT, "siblings": siblings }).to_string().into_bytes();
            return Reply { status: 200, body, ..Default::default() };
        }
        let file = path.replace(&format!("resolve/{COMMIT}/"), "");
        let Ok(body) = fs::read(root.join(file)) else { return Reply { status: 404, ..Default::default() } };
        let headers = vec![("X-Linked-ETag", sha(&body)), ("X-Linked-Size", body.len().to_string())];
        Reply { status: 200, headers, body, cut: None }
    })
}

/// Returns the paths of all files in `folder`, sorted; `None` if it does not exist.
fn files_in(folder: &Path) -> Option<Vec<String>> {
    let mut all = Vec::new();
    let mut folders = vec![folder.is_dir().then(|| folder.to_owned())?];
    while let Some(next) = folders.pop() {
        for path in fs::read_dir(next).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else {
                let inside = path.strip_prefix(folder).unwrap().to_str().unwrap();
                all.push(inside.replace(std::path::MAIN_SEPARATOR, "/"));
            }
        }
    }
    all.sort();
    Some(all)
}

fn write(root: &Path, files: &[&str]) {
    for name in files {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, name).unwrap();
    }
}

/// Writes a pipeline whose UNet was distilled to few steps.
fn write_distilled(root: &Path, id: &str) {
    let (golden, own) = (Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/lcm/unet")), root.join(id));
    write(root, &[&format!("{id}/text_encoder/model.safetensors"), &format!("{id}/README.md")]);
    fs::create_dir_all(own.join("unet")).unwrap();
    fs::create_dir_all(own.join("scheduler")).unwrap();
    for file in ["config.json", "diffusion_pytorch_model.safetensors"] {
        fs::copy(golden.join(file), own.join("unet").join(file)).unwrap();
    }
    let index = r#"{"_class_name": "StableDiffusionPipeline", "unet": ["diffusers", "UNet2DConditionModel"],
        "scheduler": ["diffusers", "DDIMScheduler"]}"#;
    fs::write(own.join("model_index.json"), index).unwrap();
    fs::write(own.join("scheduler/scheduler_config.json"), r#"{"_class_name": "DDIMScheduler"}"#).unwrap();
}

#[test]
fn a_file_and_a_folder_of_a_repository_are_fetched_by_their_paths_and_found_by_the_loader() {
    let root = tempfile::tempdir().unwrap();
    write(
        root.path(),
        &["org/many/a.safetensors", "org/many/b.pth", "org/many/c.safetensors", "org/many/net/config.json"],
    );
    write(root.path(), &["org/many/net/diffusion_pytorch_model.bin"]);
    let setup = hub_of(root.path());
    let source = crate::load::ModelSource::Cache(HubCache::at(setup.folder.path()));
    let fetch = |id: &str| setup.hub.fetch(&id.parse().unwrap(), &mut |_| ControlFlow::Continue(()));

    let error = fetch("org/many").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains("such as org/many/a.safetensors"), "{error}");
    assert!(!setup.folder.path().join("models--org--many").exists(), "nothing is written");

    let id: ModelId = "org/many/b.safetensors".parse().unwrap();
    let path = fetch(id.as_str()).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "org/many/b.pth");
    assert!(!path.with_file_name("a.safetensors").exists());
    assert_eq!(source.lora(&"org/many/b.pth".parse().unwrap()).unwrap(), path);

    let path = fetch("org/many/net").unwrap();
    assert_eq!(files_in(&path).unwrap(), ["config.json", "diffusion_pytorch_model.bin"]);
    assert_eq!(source.find(&"org/many/net".parse().unwrap()).unwrap(), path);

    let options = HubOptions { offline: true, ..setup.hub.options.clone() };
    let offline = Hub::new(options).unwrap();
    assert_eq!(offline.fetch(&id, &mut |_| ControlFlow::Continue(())).unwrap(), path.with_file_name("b.pth"));
    let missing =
        offline.fetch(&"org/many/a.safetensors".parse().unwrap(), &mut |_| ControlFlow::Continue(())).unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
}

#[test]
fn all_models_of_parameters_are_fetched_and_failures_do_not_stop_the_others() {
    let root = tempfile::tempdir().unwrap();
    write_distilled(root.path(), "org/base");
    write(
        root.path(),
        &[
            "madebyollin/taesd/config.json",
            "madebyollin/taesd/diffusion_pytorch_model.safetensors",
            "org/style/pytorch_lora_weights.safetensors",
            "org/canny/config.json",
            "org/canny/diffusion_pytorch_model.bin",
            "org/between/flownet.pkl",
            "lllyasviel/Annotators/sk_model2.pth",
            "depth-anything/Depth-Anything-V2-Small/depth_anything_v2_vits.pth",
            "h94/IP-Adapter/models/ip-adapter_sd15.bin",
            "h94/IP-Adapter/models/image_encoder/config.json",
            "h94/IP-Adapter/models/image_encoder/model.safetensors",
        ],
    );
    let setup = hub_of(root.path());
    let controlnet =
        |id: &str, preprocessor| ControlNetConfig { preprocessor: Some(preprocessor), ..ControlNetConfig::new(id) };
    let processor = SingleProcessorConfig { kind: ProcessorName::Hed, enabled: true, params: serde_json::Map::new() };
    let params = StreamDiffusionParams {
        model_id: "org/base".into(),
        lora_dict: [("org/style".to_owned(), 1.0)].into(),
        controlnets: vec![
            controlnet("org/canny", ProcessorName::Lineart),
            controlnet("org/canny", ProcessorName::Openpose),
            controlnet("org/missing", ProcessorName::Depth),
        ],
        ip_adapter: IPAdapterConfig { enabled: true, ..IPAdapterConfig::default() },
        image_preprocessing: ProcessingConfig { enabled: true, processors: vec![processor] },
        interpolation: InterpolationConfig { model_id: Some("org/between".into()), ..InterpolationConfig::default() },
        ..StreamDiffusionParams::default()
    };
    let mut models = Vec::new();
    let fetched = setup.hub.fetch_for(&params, &mut |progress| {
        if models.last() != Some(progress.model) {
            models.push(progress.model.clone());
        }
        ControlFlow::Continue(())
    });
    let fetched = fetched.unwrap();
    let found: Vec<_> = fetched.iter().filter(|model| model.result.is_ok()).map(|model| model.id.as_str()).collect();
    let expected = [
        "org/base",
        "madebyollin/taesd",
        "h94/IP-Adapter/models",
        "org/style",
        "org/canny",
        "org/between",
        "lllyasviel/Annotators/sk_model2.safetensors",
        "depth-anything/Depth-Anything-V2-Small/depth_anything_v2_vits.safetensors",
    ];
    assert_eq!(found, expected);
    assert_eq!(models.iter().map(ModelId::as_str).collect::<Vec<_>>(), expected);
    let failed: Vec<_> = fetched.iter().filter(|model| model.result.is_err()).collect();
    let failed: Vec<_> = failed.iter().map(|model| (model.field.as_str(), model.id.as_str(), model.optional)).collect();
    let hed = "lllyasviel/Annotators/ControlNetHED.safetensors";
    let expected =
        [("controlnets[2].model_id", "org/missing", false), ("image_preprocessing.processors[0]", hed, true)];
    assert_eq!(failed, expected);
}

#[test]
fn the_tiny_autoencoder_is_fetched_with_a_model_that_needs_a_lora_for_few_steps() {
    let root = tempfile::tempdir().unwrap();
    write_distilled(root.path(), "org/base");
    // Without the guidance embedding of a model that was distilled.
    let unet = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/sd15/unet/config.json"));
    fs::copy(unet, root.path().join("org/base/unet/config.json")).unwrap();
    write(root.path(), &["madebyollin/taesd/config.json", "madebyollin/taesd/diffusion_pytorch_model.safetensors"]);
    let setup = hub_of(root.path());
    let params = StreamDiffusionParams { model_id: "org/base".into(), ..StreamDiffusionParams::default() };
    let fetched = setup.hub.fetch_for(&params, &mut |_| ControlFlow::Continue(())).unwrap();
    let fetched: Vec<_> = fetched.iter().map(|model| (model.id.as_str(), model.result.is_ok())).collect();
    let expected = [("org/base", true), ("madebyollin/taesd", true), ("latent-consistency/lcm-lora-sdv1-5", false)];
    assert_eq!(fetched, expected);
}

#[test]
fn nothing_is_fetched_for_the_embedded_model() {
    let root = tempfile::tempdir().unwrap();
    let setup = hub_of(root.path());
    assert!(
        setup.hub.fetch_for(&StreamDiffusionParams::demo(), &mut |_| ControlFlow::Continue(())).unwrap().is_empty()
    );
    assert!(setup.server.requests().is_empty());
}
