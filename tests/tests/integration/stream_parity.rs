//! Eight frames through the whole engine against the same stream written in plain torch: every guidance mode, batched
//! and sequential, on every executor.

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
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/stream")
}

fn bytes(file: &str, name: &str) -> Vec<u8> {
    let file = std::fs::read(folder().join(file)).unwrap();
    SafeTensors::deserialize(&file).unwrap().tensor(name).unwrap().data().to_vec()
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

/// The pictures that the engine makes of `frames` in one mode.
fn run(mode: &Mode, device: &Device, frames: &[u8]) -> Vec<u8> {
    let (params, _) = StreamDiffusionParams::from_json(&mode.params.to_string()).unwrap();
    let mut options = EngineOptions::default();
    options.noise = Generator::TorchCpu;
    options.output = PixelFormat::Rgb8;
    let params = StreamDiffusionParams { cfg_type: mode.cfg_type, use_lcm_lora: false, ..params };
    let models = ModelSource::folder(folder().join("model"));
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
    let meta: Meta = serde_json::from_slice(&std::fs::read(folder().join("meta.json")).unwrap()).unwrap();
    let frames = bytes("frames.safetensors", "frames");
    assert_eq!((frames.len() / FRAME, meta.modes.len()), (8, 6));
    for (name, mode) in &meta.modes {
        let expected = bytes("golden.safetensors", &format!("pictures.{name}"));
        for device in devices() {
            let pictures = run(mode, &device, &frames);
            assert_eq!(pictures.len(), expected.len());
            let what = format!("{name} on {}", device.description());
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
    let of = |mode: &str| bytes("golden.safetensors", &format!("pictures.{mode}"));
    for (a, b) in [("none", "self"), ("self", "full"), ("full", "initialize"), ("self", "initialize")] {
        assert!(largest_difference(&of(a), &of(b)) > 3, "{a} and {b} must be told apart");
    }
}
