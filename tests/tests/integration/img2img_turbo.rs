//! img2img-turbo against torch, diffusers and PEFT: each network with a file's changes at most 1e-4 of the largest number
//! apart on every executor, streams of eight frames at most one level of 255; and files that do not fit.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dreamframe::exec::Executor;
use dreamframe::load::{Img2ImgTurboFile, WeightFiles};
use dreamframe::models::{
    Autoencoder, PictureRange, TurboChanges, UnetConfig, UnetShape, timestep_embedding, unet_program,
};
use dreamframe::net::{Program, WeightSource, Weights};
use dreamframe::params::Cost;
use dreamframe::{
    Device, Dtype, Engine, EngineOptions, Error, ErrorKind, FrameView, Generator, ModelSource, Outcome, ParamsPatch,
    PixelFormat, Result, SessionOptions, StreamDiffusionParams, Vae,
};
use dreamframe_tests::adapters::copy_folder;
use dreamframe_tests::controlnets::Folder;
use dreamframe_tests::frames::{largest_difference, psnr};
use dreamframe_tests::{Tensors, assert_close, executors, onnx_device, onnx_dtypes, onnx_library, run};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype as Stored, TensorView};
use serde_json::{Value, json};

const SIDE: u32 = 64;
const FRAME: usize = (SIDE * SIDE * 3) as usize;
/// Modes whose networks have goldens of their own: the file, the strength, and whether the direction is b2a.
const STEP_BY_STEP: [(&str, &str, f64, bool); 2] =
    [("sketch-0.6", "sketch.pkl", 0.6, false), ("b2a", "day2night.pkl", 1.0, true)];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/img2img_turbo")
}

fn golden() -> Tensors {
    Tensors::open(folder().join("golden.safetensors"))
}

fn config(component: &str) -> String {
    fs::read_to_string(folder().join("model").join(component).join("config.json")).unwrap()
}

/// The base model's weights of `component`, with the `changes` of a file at `strength`.
fn changed(
    component: &str,
    changes: dreamframe::net::NetworkChanges,
    programs: &[&Program],
    (file, strength): (&Arc<WeightFiles>, f64),
) -> Arc<Weights> {
    let specs: Vec<_> = programs.iter().flat_map(|program| program.weights().to_vec()).collect();
    let file: Arc<dyn WeightSource> = file.clone();
    let changes = TurboChanges::fit(component, changes, &specs, &file).unwrap();
    let path = folder().join("model").join(component).join("diffusion_pytorch_model.safetensors");
    changes.weights(&Arc::new(Weights::new(Arc::new(Tensors::open(path)))), strength)
}

/// Compares the networks of one mode on one executor.
fn check_networks(executor: &dyn Executor, what: &str, (mode, file, strength, backward): (&str, &str, f64, bool)) {
    let (golden, frames) = (golden(), frames());
    let file = Img2ImgTurboFile::read(&folder().join(file), backward).unwrap();
    let numbers = |name: &str| golden.numbers(&format!("{name}.{mode}"));
    let autoencoder = Autoencoder::from_json(&config("vae")).unwrap();
    let side = SIDE as usize;
    let range = if backward { PictureRange::Signed } else { PictureRange::Unit };
    let encoder = autoencoder.encoder_program_with_skips(1, side, side, range).unwrap();
    let decoder = autoencoder.decoder_program_with_skips(1, side, side).unwrap();
    let vae = changed("vae", file.vae, &[&encoder, &decoder], (&file.weights, strength));
    let picture: Vec<f32> = frames[..FRAME].iter().map(|&level| f32::from(level) / 127.5 - 1.0).collect();
    let encoded = run(executor, encoder, &vae, &[], &[&picture]);
    let names = ["latent".to_owned()].into_iter().chain((0..4).map(|i| format!("skip.{i}")));
    assert_eq!(encoded.len(), 5);
    for (got, name) in encoded.iter().zip(names) {
        assert_close(executor, &format!("{what}, {name}"), got, &numbers(&name));
    }
    let skips: Vec<Vec<f32>> = (0..4).map(|i| numbers(&format!("skip.{i}"))).collect();
    let clean = numbers("clean");
    let inputs: Vec<&[f32]> = [&*clean].into_iter().chain(skips.iter().map(Vec::as_slice)).collect();
    let decoded = run(executor, decoder, &vae, &[], &inputs).remove(0);
    assert_close(executor, &format!("{what}, decoded"), &decoded, &numbers("decoded"));

    let unet = UnetConfig::from_json(&config("unet")).unwrap();
    let program = unet_program(&unet, &UnetShape::new(1, side / 8, side / 8)).unwrap();
    let weights = changed("unet", file.unet, &[&program], (&file.weights, strength));
    let (text, time) = (golden.numbers("text"), timestep_embedding(&[999.0], &unet));
    let eps = run(executor, program, &weights, &[&text, &time], &[&numbers("x")]).remove(0);
    assert_close(executor, &format!("{what}, eps"), &eps, &numbers("eps"));
}

#[test]
fn the_networks_with_a_file_s_changes_give_what_diffusers_and_peft_give() {
    for (name, executor) in executors() {
        for mode in STEP_BY_STEP {
            check_networks(&*executor, &format!("{} on {name}", mode.0), mode);
        }
    }
}

fn frames() -> Vec<u8> {
    let file = fs::read(folder().with_file_name("stream").join("frames.safetensors")).unwrap();
    SafeTensors::deserialize(&file).unwrap().tensor("frames").unwrap().data().to_vec()
}

fn pictures(mode: &str) -> Vec<u8> {
    let file = fs::read(folder().join("golden.safetensors")).unwrap();
    SafeTensors::deserialize(&file).unwrap().tensor(&format!("pictures.{mode}")).unwrap().data().to_vec()
}

/// The parameters of every mode.
fn modes() -> BTreeMap<String, StreamDiffusionParams> {
    let meta: Value = serde_json::from_slice(&fs::read(folder().join("meta.json")).unwrap()).unwrap();
    let params = |(mode, params): (&String, &Value)| (mode.clone(), with(params.clone()));
    meta["modes"].as_object().unwrap().iter().map(params).collect()
}

fn with(mut params: Value) -> StreamDiffusionParams {
    params["model_id"] = "model".into();
    StreamDiffusionParams::from_json(&params.to_string()).unwrap().0
}

fn turbo(weights: &str) -> StreamDiffusionParams {
    with(json!({"t_index_list": [0], "width": SIDE, "height": SIDE, "img2img_turbo": {"weights": weights}}))
}

fn engine(folder: &Path, params: StreamDiffusionParams, device: Option<Device>) -> Result<Engine> {
    let mut options = EngineOptions::default();
    (options.noise, options.output) = (Generator::TorchCpu, PixelFormat::Rgb8);
    let device = device.unwrap_or_else(|| Device::cpu(Dtype::F32, Some(2)).unwrap());
    Engine::builder().models(ModelSource::folder(folder)).params(params).options(options).device(device).build()
}

fn stream(engine: &mut Engine) -> Vec<u8> {
    let mut pictures = Vec::new();
    for (index, frame) in frames().chunks_exact(FRAME).enumerate() {
        let picture = engine.process(&FrameView::packed(PixelFormat::Rgb8, SIDE, SIDE, frame).unwrap()).unwrap();
        assert_eq!(picture.source_id.0 as usize % 8, index, "there is no delay");
        pictures.extend_from_slice(picture.frame.pixels());
    }
    pictures
}

#[test]
fn eight_frames_agree_with_torch_with_every_layout_strength_and_direction() {
    let modes = modes();
    assert_eq!(modes.len(), 5);
    let onnx = || onnx_dtypes().iter().filter_map(|&dtype| Some(onnx_device(&onnx_library()?, dtype)));
    for (mode, params) in modes {
        let expected = pictures(&mode);
        for device in [Device::cpu(Dtype::F32, Some(2)).unwrap()].into_iter().chain(onnx()) {
            let what = format!("{mode} on {}", device.description());
            let is_f32 = device.dtype() == Dtype::F32;
            let got = stream(&mut engine(&folder(), params.clone(), Some(device)).unwrap());
            if is_f32 {
                let difference = largest_difference(&got, &expected);
                assert!(difference <= 1, "{what}: {difference} levels apart");
            } else {
                let decibels = psnr(std::slice::from_ref(&expected), &[got]);
                assert!(decibels >= 40.0, "{what}: {decibels} dB");
            }
        }
    }
}

#[test]
fn strength_direction_and_file_change_in_an_engine_as_in_a_new_one() {
    let mut running = engine(&folder(), modes()["edges"].clone(), None).unwrap();
    let mut update = |change: Value, cost, mode: &str| {
        let patch = json!({"img2img_turbo": change}).to_string();
        assert_eq!(running.update(&ParamsPatch::from_json(&patch).unwrap()).unwrap().cost, Some(cost), "{mode}");
        assert!(largest_difference(&stream(&mut running), &pictures(mode)) <= 1, "{mode}");
    };
    update(json!({"strength": 0.4}), Cost::Load, "edges-0.4");
    update(json!({"strength": 1.0}), Cost::Load, "edges");
    update(json!({"weights": "sketch.pkl", "strength": 0.6}), Cost::Rebuild, "sketch-0.6");
    update(json!({"weights": "day2night.pkl", "strength": 1.0}), Cost::Rebuild, "a2b");
    update(json!({"direction": "b2a"}), Cost::Load, "b2a");
    update(json!({"weights": "edges.pkl", "direction": null}), Cost::Rebuild, "edges");
}

#[test]
fn img2img_turbo_can_be_left_and_entered_while_frames_are_processed() {
    let plain = with(json!({"t_index_list": [20], "width": SIDE, "height": SIDE}));
    let kept = stream(&mut engine(&folder(), plain.clone(), None).unwrap());
    let mut running = engine(&folder(), plain, None).unwrap();
    assert!(stream(&mut running) == kept);
    let patch = |params: &Value| ParamsPatch::from_json(&params.to_string()).unwrap();
    let mut entered = json!({"prompt": "a red garden", "t_index_list": [0]});
    entered["img2img_turbo"] = json!({"weights": "edges.pkl"});
    running.update(&patch(&entered)).unwrap();
    assert!(largest_difference(&stream(&mut running), &pictures("edges")) <= 1);
    let prompt = StreamDiffusionParams::default().to_value()["prompt"].clone();
    running.update(&patch(&json!({"prompt": prompt, "t_index_list": [20], "img2img_turbo": null}))).unwrap();
    assert!(stream(&mut running) == kept);
}

#[test]
fn a_session_makes_pictures_while_the_strength_changes() {
    let session = engine(&folder(), modes()["edges"].clone(), None).unwrap().start(SessionOptions::default()).unwrap();
    let handle = session.handle();
    let patch = ParamsPatch::from_json(r#"{"img2img_turbo": {"strength": 0.4}}"#).unwrap();
    let ticket = handle.update(&patch).unwrap();
    let frames = frames();
    let frame = FrameView::packed(PixelFormat::Rgb8, SIDE, SIDE, &frames[..FRAME]).unwrap();
    let limit = std::time::Duration::from_secs(120);
    let picture = loop {
        let id = handle.submit(&frame).unwrap();
        let picture = handle.wait(limit).expect("a picture in time");
        assert_eq!(picture.id, id);
        if picture.version >= ticket.version {
            break picture;
        }
    };
    assert!(largest_difference(picture.frame.pixels(), &pictures("edges-0.4")[..FRAME]) <= 1);
    assert!(matches!(handle.wait_for(&ticket, limit), Ok(Outcome::Applied)));
    assert_eq!((handle.stats().failed.total, handle.stats().dropped.total), (0, 0));
}

#[test]
fn a_lora_of_the_parameters_is_added_to_the_weights_of_img2img_turbo() {
    let models = scratch("lora");
    let name = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q";
    let factor =
        |part: &str, shape: [usize; 2]| (format!("{name}.lora_{part}.weight"), (shape.to_vec(), vec![0.5; 32]));
    write(&models.join("lora.safetensors"), &BTreeMap::from([factor("down", [2, 16]), factor("up", [16, 2])]));
    let picture = |loras: Value| {
        let mut params = turbo("edges.pkl").to_value();
        params["lora_dict"] = loras;
        stream(&mut engine(&models, StreamDiffusionParams::from_json(&params.to_string()).unwrap().0, None).unwrap())
    };
    let plain = picture(json!(null));
    assert!(picture(json!({"lora": 0.0})) == plain);
    assert!(largest_difference(&picture(json!({"lora": 1.0})), &plain) > 1);
}

#[test]
fn controlnets_and_cached_attention_work_with_img2img_turbo() {
    let models = Folder::new(env!("CARGO_TARGET_TMPDIR"), "img2img-turbo-controlnet");
    copy_folder(&folder(), models.path());
    let mut unet: Value = serde_json::from_str(&config("unet")).unwrap();
    unet.as_object_mut().unwrap().remove("_class_name");
    models.changed_controlnet("control", 3, &unet);
    let mut running = engine(models.path(), turbo("edges.pkl"), None).unwrap();
    let plain = stream(&mut running);
    let mut changed = |patch: Value, unchanged: usize| {
        running.update(&ParamsPatch::from_json(&patch.to_string()).unwrap()).unwrap();
        let pictures = stream(&mut running);
        let same = pictures.chunks_exact(FRAME).zip(plain.chunks_exact(FRAME)).take_while(|(a, b)| a == b).count();
        assert_eq!(same, unchanged, "{patch}");
    };
    let control = json!({"model_id": "control", "preprocessor": "passthrough", "conditioning_scale": 1.0});
    changed(json!({"controlnets": [control]}), 0);
    changed(json!({"controlnets": []}), 8);
    // The first frame has none before it.
    changed(json!({"cached_attention": {"enabled": true, "interval": 1}}), 1);
    changed(json!({"cached_attention": {"enabled": false}}), 8);
}

/// Tensors by name, with their shapes.
type Contents = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

fn contents(file: &str) -> Contents {
    let files = WeightFiles::from_bytes(file, fs::read(folder().join(file)).unwrap()).unwrap();
    let tensor = |name: &str| {
        let shape = files.shape(name).unwrap();
        (name.to_owned(), (shape.clone(), files.read(name, &shape).unwrap()))
    };
    files.names().map(tensor).collect()
}

fn write(path: &Path, contents: &Contents) {
    let bytes: Vec<Vec<u8>> =
        contents.values().map(|(_, numbers)| numbers.iter().flat_map(|x| x.to_le_bytes()).collect()).collect();
    let views = contents.iter().zip(&bytes);
    let views =
        views.map(|((name, (shape, _)), bytes)| (name, TensorView::new(Stored::F32, shape.clone(), bytes).unwrap()));
    safetensors::serialize_to_file(views, None, path).unwrap();
}

/// A folder of its own with the base model and the files.
fn scratch(name: &str) -> PathBuf {
    let models = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("img2img-turbo-{name}"));
    copy_folder(&folder(), &models);
    models
}

#[test]
fn a_safetensors_file_with_the_same_names_is_the_same() {
    let models = scratch("safetensors");
    for (file, mode) in [("edges.pkl", "edges"), ("day2night.pkl", "a2b")] {
        write(&models.join("same.safetensors"), &contents(file));
        let mut params = modes()[mode].clone();
        params.img2img_turbo.weights = Some("same.safetensors".into());
        assert!(
            largest_difference(&stream(&mut engine(&models, params, None).unwrap()), &pictures(mode)) <= 1,
            "{mode}"
        );
    }
}

/// The error of an engine with the file `original` after `change`.
fn refused(name: &str, original: &str, change: impl FnOnce(&mut Contents)) -> Error {
    let models = scratch(name);
    let mut tensors = contents(original);
    change(&mut tensors);
    write(&models.join("bad.safetensors"), &tensors);
    engine(&models, turbo("bad.safetensors"), None).unwrap_err()
}

#[track_caller]
fn assert_says(error: &Error, parts: &[&str]) {
    let text = error.to_string();
    assert_eq!(error.kind(), ErrorKind::BadModel, "{text}");
    for part in ["img2img_turbo.weights", "bad.safetensors", "got", "expected"].iter().chain(parts) {
        assert!(text.contains(part), "{part:?} in {text}");
    }
}

fn rename(tensors: &mut Contents, from: &str, to: &str) {
    let tensor = tensors.remove(from).unwrap();
    tensors.insert(to.to_owned(), tensor);
}

#[test]
fn a_file_that_lacks_a_skip_connection_is_refused() {
    let error = refused("skips", "edges.pkl", |tensors| {
        tensors.retain(|name, _| !name.contains("skip_conv_3"));
    });
    assert_says(&error, &["got 3 of 4, expected all", "decoder.skip_conv_3.weight"]);
    let error = refused("all-skips", "edges.pkl", |tensors| {
        tensors.retain(|name, _| !name.contains("skip_conv_"));
    });
    assert_says(&error, &["got 0 of 4, expected all"]);
    let error = refused("part-of-vae", "day2night.pkl", |tensors| {
        tensors.remove("sd_vae_enc.vae.encoder.conv_norm_out.bias").unwrap();
    });
    assert_says(&error, &["expected all", "missing: encoder.conv_norm_out.bias"]);
}

#[test]
fn tensors_of_other_widths_are_refused_with_both_shapes() {
    let skip = "state_dict_vae.decoder.skip_conv_2.base_layer.weight";
    let error = refused("skip-width", "edges.pkl", |tensors| {
        tensors.insert(skip.into(), (vec![12, 16, 1, 1], vec![0.0; 12 * 16]));
    });
    assert_says(&error, &[skip, "got shape [12, 16, 1, 1]", "expected [12, 8, 1, 1]"]);
    let lora = "state_dict_unet.mid_block.attentions.0.proj_in.lora_A.default.weight";
    let error = refused("lora-width", "edges.pkl", |tensors| {
        tensors.insert(lora.into(), (vec![4, 20], vec![0.0; 80]));
    });
    assert_says(&error, &[lora, "got shape [16, 20]", "expected [16, 16]"]);
    let error = refused("lora-rank", "edges.pkl", |tensors| {
        tensors.insert(lora.into(), (vec![3, 16], vec![0.0; 48]));
    });
    assert_says(&error, &[lora, "of shape [3, 16]", "of shape [16, 4]"]);
}

#[test]
fn changes_of_layers_that_the_model_does_not_have_are_refused() {
    let block = "state_dict_unet.down_blocks.0.resnets.0.conv1";
    let error = refused("layer", "edges.pkl", |tensors| {
        for part in ["lora_A", "lora_B"] {
            let end = format!("{part}.default.weight");
            rename(tensors, &format!("{block}.{end}"), &format!("state_dict_unet.down_blocks.7.resnets.0.conv1.{end}"));
        }
    });
    assert_says(&error, &["got a change of down_blocks.7.resnets.0.conv1.weight", "weights of the UNet"]);
    let error = refused("half", "edges.pkl", |tensors| {
        tensors.remove(&format!("{block}.lora_B.default.weight")).unwrap();
    });
    assert_says(&error, &["lora_A.default.weight", "got it alone", "lora_B"]);
    let error = refused("twin", "sketch.pkl", |tensors| {
        tensors.remove("state_dict_unet.conv_in.conv_in_curr.bias").unwrap();
    });
    assert_says(&error, &["conv_in.conv_in_pretrained.bias", "conv_in.conv_in_curr.bias"]);
}

#[test]
fn files_of_another_layout_are_refused_naming_both_layouts() {
    let lora = folder().with_file_name("lora").join("diffusers.safetensors");
    let models = scratch("layout");
    fs::copy(&lora, models.join("bad.safetensors")).unwrap();
    let error = engine(&models, turbo("bad.safetensors"), None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    for part in ["got neither", "lora", "state_dict_unet, state_dict_vae", "sd_vae_enc"] {
        assert!(error.to_string().contains(part), "{error}");
    }
    let error = refused("section", "day2night.pkl", |tensors| {
        tensors.retain(|name, _| !name.starts_with("sd_other."));
    });
    assert_says(&error, &["got none of sd_other"]);
}

#[test]
fn parameters_that_a_file_does_not_have_are_refused() {
    let refused = |weights: &str, name: &str, value: Value| {
        let mut params = turbo(weights).to_value();
        params["img2img_turbo"][name] = value;
        let params = StreamDiffusionParams::from_json(&params.to_string()).unwrap().0;
        let error = engine(&folder(), params, None).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidParams, "{error}");
        error.to_string()
    };
    let expected = "img2img_turbo.direction: got \"b2a\", expected \"a2b\"";
    assert!(refused("edges.pkl", "direction", "b2a".into()).contains(expected));
    let expected = "img2img_turbo.strength: got 0.5, expected 1";
    assert!(refused("day2night.pkl", "strength", 0.5.into()).contains(expected));
    assert!(refused("../edges.pkl", "strength", 1.into()).contains("img2img_turbo.weights"));
    let missing = engine(&folder(), turbo("lost.pkl"), None).unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    assert!(missing.to_string().contains("lost.pkl"), "{missing}");
}

#[test]
fn a_tiny_autoencoder_is_refused_since_it_has_no_skip_connections() {
    let models = scratch("tiny");
    copy_folder(&folder().with_file_name("stream").join("model/vae"), &models.join("tiny"));
    let mut options = EngineOptions::default();
    options.vae = Vae::Id("tiny".into());
    let builder = Engine::builder().models(ModelSource::folder(&models)).params(turbo("edges.pkl"));
    let error = builder.options(options).build().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    for part in ["img2img_turbo.weights", "got AutoencoderTiny", "expected AutoencoderKL", "`vae`"] {
        assert!(error.to_string().contains(part), "{error}");
    }
}
