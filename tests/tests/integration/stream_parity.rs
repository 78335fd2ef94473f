//! Eight frames through the whole engine against the same stream written in plain torch: every guidance mode, batched
//! and sequential, all kinds of prediction, the schedulers DDIM, Euler and TCD of diffusers and their timestep spacings, and one
//! step of a network laid out like SDXS's, on every executor.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use dreamframe::{
    CfgType, Device, Dtype, Engine, EngineOptions, FrameView, Generator, ModelSource, PixelFormat,
    StreamDiffusionParams,
};
use dreamframe_tests::frames::{largest_difference, psnr};
use dreamframe_tests::native::is_full;
use dreamframe_tests::{onnx_device, onnx_dtypes, onnx_library};
use safetensors::SafeTensors;
use serde::Deserialize;

const SIDE: u32 = 64;
const FRAME: usize = (SIDE * SIDE * 3) as usize;

#[derive(Deserialize)]
struct Meta {
    tolerance: Tolerance,
    modes: BTreeMap<String, Mode>,
}

#[derive(Deserialize)]
struct Tolerance {
    /// Levels of 255.
    pictures: u8,
}

#[derive(Deserialize)]
struct Mode {
    cfg_type: CfgType,
    params: serde_json::Value,
    /// Values of `scheduler_config.json` in place of the model's.
    scheduler: serde_json::Map<String, serde_json::Value>,
}

fn golden(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(folder)
}

fn bytes(folder: &str, file: &str, name: &str) -> Vec<u8> {
    let file = std::fs::read(golden(folder).join(file)).unwrap();
    SafeTensors::deserialize(&file).unwrap().tensor(name).unwrap().data().to_vec()
}

/// The model of `folder` with the scheduler of a mode, as a copy if it differs.
fn model(folder: &str, name: &str, mode: &Mode) -> PathBuf {
    const SCHEDULER: &str = "scheduler/scheduler_config.json";

    let original = golden(folder).join("model");
    if mode.scheduler.is_empty() {
        return original;
    }
    let copy = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{folder}-{name}"));
    copy_folder(&original, &copy);
    let text = std::fs::read_to_string(original.join(SCHEDULER)).unwrap();
    let mut config: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&text).unwrap();
    config.extend(mode.scheduler.clone());
    std::fs::write(copy.join(SCHEDULER), serde_json::to_string(&config).unwrap()).unwrap();
    copy
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Returns the executor of the CPU in `f32`, and with `--full` the reference executor and ONNX Runtime's.
fn devices() -> Vec<Device> {
    let mut devices = vec![Device::cpu(Dtype::F32, Some(2)).unwrap()];
    devices.extend(is_full().then(|| Device::reference().unwrap()));
    for &dtype in onnx_dtypes() {
        devices.extend(onnx_library().map(|library| onnx_device(&library, dtype)));
    }
    devices
}

/// The pictures that the engine makes of `frames` in one mode, with the model in `folder`.
fn run(folder: &Path, mode: &Mode, device: &Device, frames: &[u8]) -> Vec<u8> {
    let (params, _) = StreamDiffusionParams::from_json(&mode.params.to_string()).unwrap();
    let mut options = EngineOptions::default();
    options.noise = Generator::TorchCpu;
    options.output = PixelFormat::Rgb8;
    let params = StreamDiffusionParams { cfg_type: mode.cfg_type, use_lcm_lora: false, ..params };
    let models = ModelSource::folder(folder);
    let mut engine =
        Engine::builder().models(models).params(params).options(options).device(device.clone()).build().unwrap();
    let mut pictures = Vec::with_capacity(frames.len());
    for (index, frame) in frames.chunks_exact(FRAME).enumerate() {
        let view = FrameView::packed(PixelFormat::Rgb8, SIDE, SIDE, frame).unwrap();
        let picture = engine.process(&view).unwrap();
        assert_eq!(picture.source_id.0 as usize, index.saturating_sub(engine.delay()));
        pictures.extend_from_slice(picture.frame.pixels());
    }
    pictures
}

#[test]
fn eight_frames_agree_with_torch_in_every_mode_on_every_executor() {
    compare_modes("stream", 14);
}

#[test]
fn eight_frames_of_one_step_agree_with_torch_for_the_layout_of_sdxs() {
    compare_modes("stream-sdxs", 2);
}

/// Compares the pictures of all modes of `folder`, of which there are `modes`.
fn compare_modes(folder: &str, modes: usize) {
    let meta: Meta = serde_json::from_slice(&std::fs::read(golden(folder).join("meta.json")).unwrap()).unwrap();
    let frames = bytes(folder, "frames.safetensors", "frames");
    assert_eq!((frames.len() / FRAME, meta.modes.len()), (8, modes));
    for (name, mode) in &meta.modes {
        let expected = bytes(folder, "golden.safetensors", &format!("pictures.{name}"));
        let model = model(folder, name, mode);
        for device in devices() {
            let pictures = run(&model, mode, &device, &frames);
            assert_eq!(pictures.len(), expected.len());
            let what = format!("{folder}, {name} on {}", device.description());
            if device.dtype() == Dtype::F32 {
                let difference = largest_difference(&pictures, &expected);
                assert!(difference <= meta.tolerance.pictures, "{what}: {difference} levels apart");
            } else {
                let decibels = psnr(std::slice::from_ref(&expected), &[pictures]);
                assert!(decibels >= 40.0, "{what}: {decibels} dB");
            }
        }
    }
}

#[test]
fn the_modes_differ_from_each_other_by_more_than_the_tolerance() {
    let of = |mode: &str| bytes("stream", "golden.safetensors", &format!("pictures.{mode}"));
    for (a, b) in
        [("none", "self"), ("self", "full"), ("full", "initialize"), ("self", "initialize"), ("self", "velocity")]
    {
        assert!(largest_difference(&of(a), &of(b)) > 3, "{a} and {b} must be told apart");
    }
}
