//! Checkpoints in one file: the same networks as those of the diffusers folder, the same pictures before and after
//! `convert`, and every refusal by name.

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::LazyLock;

use dreamframe::exec::reference::ReferenceExecutor;
use dreamframe::load::{Checkpoint, Component, ConvertOptions, ModelId, StoredDtype};
use dreamframe::models::{Autoencoder, ClipTextConfig, TextStates, UnetConfig, UnetShape, clip_program, unet_program};
use dreamframe::net::{Program, Rate, WeightSource as _, Weights};
use dreamframe::{
    Engine, EngineOptions, ErrorKind, ExecutorKind, FrameView, ModelSource, PackedCache, PixelFormat,
    StreamDiffusionParams,
};
use dreamframe_tests::{Single, Stored, run};
use safetensors::Dtype;

const FAMILIES: [&str; 3] = ["sd15", "sd21", "sdxl"];
const SIDE: u32 = 64;
/// Words of text encoders that need not know a prompt.
const WORDS: usize = 64;

/// The checkpoint of `family` with few words, drawn once.
fn small(family: &str) -> Single {
    static DRAWN: LazyLock<Vec<Single>> =
        LazyLock::new(|| FAMILIES.iter().map(|family| Single::of_words(family, WORDS)).collect());
    DRAWN[FAMILIES.iter().position(|known| *known == family).unwrap()].clone()
}

/// Both forms of a family in `folder`: `model.safetensors`, its conversion `converted`, and `folder`.
fn prepare(single: &Single, folder: &Path) {
    single.write_file(&folder.join("model.safetensors"));
    convert(&folder.join("model.safetensors"), &folder.join("converted"), ConvertOptions::default());
    single.write_folder(&folder.join("folder"), &folder.join("converted"));
}

fn convert(file: &Path, folder: &Path, options: ConvertOptions) {
    let mut last = (0, 0);
    let flow = Checkpoint::folder(file).unwrap().convert(folder, options, &mut |progress| {
        assert!(progress.bytes > last.0);
        last = (progress.bytes, progress.total);
        ControlFlow::Continue(())
    });
    assert!(flow.unwrap().is_continue());
    assert_eq!(last.0, last.1);
}

/// The programs of a component, as a stream runs them.
fn programs(name: &str, component: &Component) -> Vec<Program> {
    if name == "unet" {
        let config = UnetConfig::from_json(&component.config).unwrap();
        return vec![unet_program(&config, &UnetShape { text_tokens: 5, ..UnetShape::new(1, 8, 8) }).unwrap()];
    }
    if name == "vae" {
        let vae = Autoencoder::from_json(&component.config).unwrap();
        return vec![vae.encoder_program(1, 16, 16).unwrap(), vae.decoder_program(1, 16, 16).unwrap()];
    }
    let config = ClipTextConfig::from_json(&component.config).unwrap();
    [TextStates::Last, TextStates::Penultimate].map(|states| clip_program(&config, 1, 5, states).unwrap()).into()
}

/// What a network makes of numbers that are the same every time.
fn outputs(program: Program, component: &Component) -> Vec<Vec<f32>> {
    let is_text = program.name() == "text_encoder";
    let fill = |rate: Rate| -> Vec<Vec<f32>> {
        let inputs = program.inputs_at(rate).map(|input| {
            let count = program.shape(input.value).len();
            (0..count).map(|i| if is_text { (i % 4) as f32 } else { ((i * 37) % 101) as f32 / 50.0 - 1.0 }).collect()
        });
        inputs.collect()
    };
    let (constant, frame) = (fill(Rate::Constant), fill(Rate::Frame));
    let constant: Vec<&[f32]> = constant.iter().map(Vec::as_slice).collect();
    let frame: Vec<&[f32]> = frame.iter().map(Vec::as_slice).collect();
    run(&ReferenceExecutor, program, &Weights::new(component.weights.clone()), &constant, &frame)
}

#[test]
fn networks_of_a_single_file_are_those_of_the_folder_to_the_bit() {
    for family in FAMILIES {
        let folder = tempfile::tempdir().unwrap();
        let single = small(family);
        prepare(&single, folder.path());
        let open = |name: &str| Checkpoint::folder(folder.path().join(name)).unwrap();
        let expected = open("folder");
        for other in ["model.safetensors", "converted"] {
            let checkpoint = open(other);
            for name in single.components() {
                let what = format!("{family} {name} of {other}");
                let (one, two) = (checkpoint.component(name).unwrap(), expected.component(name).unwrap());
                assert_eq!(one.class, two.class, "{what}");
                let sorted = |component: &Component| {
                    let mut names: Vec<String> = component.weights.names().map(str::to_owned).collect();
                    names.sort_unstable();
                    names
                };
                assert_eq!(sorted(&one), sorted(&two), "{what}");
                for weight in two.weights.names() {
                    let shape = two.weights.shape(weight).unwrap();
                    let read = |component: &Component| component.weights.read(weight, &shape).unwrap();
                    assert!(read(&one) == read(&two), "{what}: {weight}");
                    assert_eq!(one.weights.shape(weight).unwrap(), shape, "{what}: {weight}");
                }
                for (a, b) in programs(name, &one).into_iter().zip(programs(name, &two)) {
                    assert_eq!(outputs(a, &one), outputs(b, &two), "{what}");
                }
            }
        }
    }
}

/// Two pictures that an engine makes with a model.
fn pictures(models: ModelSource) -> Vec<u8> {
    let mut options = EngineOptions::default();
    options.executor = ExecutorKind::Cpu;
    options.dtype = dreamframe::Dtype::F32;
    options.threads = Some(2);
    options.output = PixelFormat::Rgb8;
    options.packed_cache = PackedCache::Off;
    let json = format!(
        r#"{{"prompt": "a photo of a red garden", "t_index_list": [30, 45], "width": {SIDE}, "height": {SIDE},
            "guidance_scale": 1.0, "use_lcm_lora": false}}"#
    );
    let (params, _) = StreamDiffusionParams::from_json(&json).unwrap();
    let mut engine = Engine::builder().models(models).params(params).options(options).build().unwrap();
    let frame: Vec<u8> = (0..SIDE * SIDE * 3).map(|i| (i * 7 % 256) as u8).collect();
    let view = FrameView::packed(PixelFormat::Rgb8, SIDE, SIDE, &frame).unwrap();
    (0..2).flat_map(|_| engine.process(&view).unwrap().frame.pixels().to_vec()).collect()
}

#[test]
fn a_file_its_folder_and_its_conversion_make_the_same_pictures() {
    for family in FAMILIES {
        let folder = tempfile::tempdir().unwrap();
        prepare(&Single::family(family), folder.path());
        let of = |name: &str| pictures(ModelSource::folder(folder.path().join(name)));
        let expected = of("folder");
        assert!(expected.iter().any(|&value| value != expected[0]), "{family}");
        assert!(of("model.safetensors") == expected, "{family}");
        assert!(of("converted") == expected, "{family}");
    }
}

#[test]
fn numbers_are_stored_as_asked_and_a_folder_is_only_replaced_on_request() {
    let folder = tempfile::tempdir().unwrap();
    small("sd15").write_file(&folder.path().join("model.safetensors"));
    let file = folder.path().join("model.safetensors");
    let target = folder.path().join("made/model");
    let options = |dtype, replace| ConvertOptions::default().with_dtype(Some(dtype)).with_replace(replace);
    convert(&file, &target, options(StoredDtype::F32, false));
    let size = |target: &Path| fs::metadata(target.join("unet/diffusion_pytorch_model.safetensors")).unwrap().len();
    let single = size(&target);
    let checkpoint = Checkpoint::folder(&file).unwrap();
    let refused = checkpoint.convert(&target, options(StoredDtype::F16, false), &mut |_| ControlFlow::Continue(()));
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::InvalidArgument);
    // Broken off, it leaves what was there.
    let mut count = 0;
    let flow = checkpoint.convert(&target, options(StoredDtype::F16, true), &mut |_| {
        count += 1;
        if count == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert!(flow.unwrap().is_break());
    assert_eq!(size(&target), single);
    convert(&file, &target, options(StoredDtype::Bf16, true));
    assert!(size(&target) < single * 6 / 10);
    assert_eq!(fs::read_dir(folder.path().join("made")).unwrap().count(), 1);
}

#[test]
fn value_out_of_half_precision_range_leaves_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("model.safetensors");
    let mut single = small("sd15");
    let bias = single.file.get_mut("model.diffusion_model.out.2.bias").unwrap();
    bias.dtype = Dtype::F32;
    bias.bytes = [1e5_f32, 0.0, 0.0, 0.0].into_iter().flat_map(f32::to_le_bytes).collect();
    single.write_file(&file);
    let checkpoint = Checkpoint::folder(&file).unwrap();
    let target = folder.path().join("folder");
    let options = ConvertOptions::default().with_dtype(Some(StoredDtype::F16));
    let error = checkpoint.convert(&target, options, &mut |_| ControlFlow::Continue(())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BadModel);
    assert!(error.to_string().contains("unet: tensor \"conv_out.bias\": got values beyond"), "{error}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    convert(&file, &target, ConvertOptions::default());
    let unet = Checkpoint::folder(&target).unwrap().component("unet").unwrap();
    assert_eq!(unet.weights.read("conv_out.bias", &[4]).unwrap()[0], 1e5);
}

#[test]
fn a_file_is_found_by_its_path_its_folder_and_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("my-model.safetensors");
    small("sd21").write_file(&file);
    let id = |text: &str| text.parse::<ModelId>().unwrap();
    let found = |path: &Path, name: &str| {
        let found = ModelSource::folder(path).base(&id(name)).unwrap();
        assert_eq!(found.checkpoint.location(), file.display().to_string());
        found.notice.unwrap()
    };
    // The notice about the assumed prediction is given for every 2.x file.
    let notice = found(&file, "org/other");
    assert!(notice.contains("is ignored") && notice.contains("the prediction of noise is assumed"), "{notice}");
    assert!(!found(&file, "org/my-model").contains("is ignored"));
    assert!(found(folder.path(), "org/other").contains("is ignored"));
    // The folder may also contain another model's LoRA: the embedded model does not use it.
    let found_demo = ModelSource::folder(folder.path()).base(&id("demo")).unwrap();
    assert_eq!(found_demo.checkpoint.location(), "demo");
    let other = tempfile::tempdir().unwrap();
    let mut lora = small("sd21");
    rename(&mut lora, "model.diffusion_model.", "lora_unet_");
    lora.write_file(&other.path().join("style.safetensors"));
    let error = ModelSource::folder(other.path()).base(&id("org/other")).unwrap_err();
    assert!(error.to_string().contains("style.safetensors: got a LoRA"), "{error}");
    // Beside other models, it goes by its name.
    fs::create_dir(folder.path().join("another")).unwrap();
    assert!(!found(folder.path(), "org/my-model").contains("is ignored"));
    let error = ModelSource::folder(folder.path()).base(&id("org/other")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains(&folder.path().join("org/other.safetensors").display().to_string()), "{error}");
    fs::copy(&file, folder.path().join("second.safetensors")).unwrap();
    let error = Checkpoint::folder(folder.path()).unwrap_err();
    assert!(error.to_string().contains("got 2 checkpoints in single files, expected one"), "{error}");
}

/// Opens a file of `family` after `change`, and returns the message.
fn refusal(family: &str, change: impl FnOnce(&mut Single)) -> (ErrorKind, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("model.safetensors");
    let mut single = small(family);
    change(&mut single);
    single.write_file(&file);
    let error = Checkpoint::folder(&file).unwrap_err();
    assert!(error.to_string().contains(&file.display().to_string()), "{error}");
    (error.kind(), error.to_string())
}

fn resize(single: &mut Single, name: &str, axis: usize, size: usize) {
    let tensor = single.file.get_mut(name).unwrap();
    tensor.shape[axis] = size;
    tensor.bytes.resize(tensor.shape.iter().product::<usize>() * 2, 0);
}

fn rename(single: &mut Single, from: &str, to: &str) {
    let renamed = |(name, tensor): (String, Stored)| (name.replacen(from, to, 1), tensor);
    single.file = std::mem::take(&mut single.file).into_iter().map(renamed).collect();
}

const CONV_IN: &str = "model.diffusion_model.input_blocks.0.0.weight";

#[test]
fn other_kinds_of_files_are_named() {
    for (channels, part) in
        [(9, "an inpainting model"), (8, "InstructPix2Pix"), (5, "depth map"), (6, "a UNet with 6 input channels")]
    {
        let (kind, text) = refusal("sd15", |single| resize(single, CONV_IN, 1, channels));
        assert_eq!(kind, ErrorKind::Unsupported);
        assert!(text.contains(part), "{text}");
    }
    for (from, to, part) in [
        ("model.diffusion_model.", "lora_unet_", "got a LoRA"),
        ("model.diffusion_model.", "control_model.", "got a ControlNet"),
        ("model.diffusion_model.", "model.diffusion_model.joint_blocks.", "Stable Diffusion 3"),
        ("model.diffusion_model.", "double_blocks.", "Flux"),
        ("model.diffusion_model.", "down_blocks.", "one network of a diffusers folder"),
        ("model.diffusion_model.", "unknown.", "got an autoencoder alone"),
        ("alphas_cumprod", "v_pred", "got velocity (v_prediction)"),
        ("alphas_cumprod", "edm_mean", "EDM"),
        ("alphas_cumprod", "control_model.x", "got a ControlNet"),
    ] {
        let (kind, text) = refusal("sd15", |single| rename(single, from, to));
        assert_eq!(kind, ErrorKind::Unsupported, "{text}");
        assert!(text.contains(part), "{text}");
    }
    let (kind, text) = refusal("sdxl", |single| {
        single.file.retain(|name, _| !name.starts_with("conditioner.embedders.0."));
        rename(single, "conditioner.embedders.1.", "conditioner.embedders.0.");
    });
    assert_eq!((kind, text.contains("the refiner of SDXL")), (ErrorKind::Unsupported, true), "{text}");
    let (kind, text) = refusal("sdxl", |single| rename(single, "conditioner.embedders.", "cond_stage_model.model."));
    assert_eq!((kind, text.contains("unCLIP")), (ErrorKind::Unsupported, true), "{text}");
}

#[test]
fn missing_networks_of_a_file_are_named() {
    for (family, prefix) in [("sd15", "cond_stage_model."), ("sdxl", "conditioner.embedders.1.")] {
        let (kind, text) = refusal(family, |single| single.file.retain(|name, _| !name.starts_with(prefix)));
        assert_eq!(kind, ErrorKind::NotFound);
        assert!(text.contains("text encoders: missing"), "{text}");
    }
    for name in [
        "model.diffusion_model.time_embed.0.weight",
        "first_stage_model.decoder.conv_in.weight",
        "cond_stage_model.transformer.text_model.embeddings.token_embedding.weight",
    ] {
        let (kind, text) = refusal("sd15", |single| drop(single.file.remove(name)));
        assert_eq!(kind, ErrorKind::BadModel);
        assert!(text.contains("missing"), "{text}");
    }
    // Without an autoencoder, another one can be given.
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("model.safetensors");
    let mut single = small("sd15");
    single.file.retain(|name, _| !name.starts_with("first_stage_model."));
    single.write_file(&file);
    let error = Checkpoint::folder(&file).unwrap().component("vae").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[test]
fn assumed_properties_of_a_file_are_reported() {
    let unet = |name: &str| format!("model.diffusion_model.{name}");
    for (family, name, axis, size, part) in [
        ("sd15", unet("input_blocks.1.0.out_layers.3.weight"), 0, 33, "as in its resolution"),
        ("sd15", unet("input_blocks.4.0.out_layers.3.weight"), 0, 96, "as in its resolution"),
        ("sd21", unet("input_blocks.1.0.out_layers.3.weight"), 0, 48, "expected a multiple of 32"),
        ("sdxl", unet("label_emb.0.0.weight"), 1, 97, "label_emb of the UNet: got 97"),
        (
            "sdxl",
            "conditioner.embedders.1.model.transformer.resblocks.0.attn.in_proj_bias".into(),
            0,
            9,
            "queries, keys",
        ),
        ("sd15", "first_stage_model.encoder.down.0.block.0.conv1.weight".into(), 0, 20, "expected a multiple of 32"),
    ] {
        let (_, text) = refusal(family, |single| resize(single, &name, axis, size));
        assert!(text.contains(part), "{name}: {text}");
    }
    let (_, text) = refusal("sd21", |single| {
        for block in ["input_blocks.1", "output_blocks.2", "output_blocks.3"] {
            resize(single, &unet(&format!("{block}.0.out_layers.3.weight")), 0, 96);
        }
    });
    assert!(text.contains("expected a multiple of 64"), "{text}");
    let (_, text) = refusal("sd15", |single| {
        single.file.retain(|name, _| !name.contains("output_blocks.5.0."));
    });
    assert!(text.contains("in reverse order"), "{text}");
}

#[test]
fn a_file_cut_off_or_of_another_kind_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("model.safetensors");
    small("sd21").write_file(&file);
    let bytes = fs::read(&file).unwrap();
    for (len, part) in [(bytes.len() - 1, "the length of the data"), (1000, "bytes that follow"), (3, "at least 8")] {
        fs::write(&file, &bytes[..len]).unwrap();
        let error = Checkpoint::folder(&file).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BadModel);
        assert!(error.to_string().contains(part), "{error}");
    }
    for (name, content, part) in [
        ("model.safetensors", &b"PK\x03\x04 and the rest of a zip"[..], "zip archive"),
        ("model.ckpt", b"PK\x03\x04", "zip archive"),
        ("model.pt", b"", "got 0 bytes"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(name);
        fs::write(&file, content).unwrap();
        let error = Checkpoint::folder(&file).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BadModel);
        assert!(error.to_string().contains(part), "{error}");
    }
    for (name, content, part) in [
        ("model.safetensors", &b"GGUF and the rest"[..], "GGUF"),
        ("model.ckpt", b"\x80\x02cos\nsystem\n.", "got os.system"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(name);
        fs::write(&file, content).unwrap();
        let error = Checkpoint::folder(&file).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains(part), "{error}");
    }
    let demo = Checkpoint::demo().unwrap();
    let refused = demo.convert(&folder.path().join("x"), ConvertOptions::default(), &mut |_| ControlFlow::Continue(()));
    assert!(refused.unwrap_err().to_string().contains("only such checkpoints can be converted"));
}
