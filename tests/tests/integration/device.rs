//! Engines on a device with memory of its own: what is transferred, when the host waits, and that the pictures are those
//! of the CPU. The device is simulated: its memory cannot be read by accident, and its work is done late.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use dreamframe::exec::cpu::{CpuExecutor, CpuOptions};
use dreamframe::exec::onnx::{OnnxConfig, OnnxExecutor};
use dreamframe::exec::simulated::{DeviceCounts, SimulatedExecutor};
use dreamframe::exec::{Dtype, Executor, Provider};
use dreamframe::preprocess::Image;
use dreamframe::{
    Engine, ErrorKind, FrameView, ModelSource, ParamsPatch, PictureKind, PixelFormat, Result, SafetyChecker,
    SessionOptions, StreamDiffusionParams,
};
use dreamframe_tests::controlnets::Folder;
use dreamframe_tests::frames::{demo_engine, largest_difference, moving_disc, picture, pictures};
use dreamframe_tests::onnx_library;
use serde_json::json;

const SIDE: u32 = 64;
/// How long anything may take before the test fails.
const LIMIT: Duration = Duration::from_secs(120);

fn executor(bytes: u64) -> SimulatedExecutor {
    let options = CpuOptions { threads: NonZeroUsize::new(2), dtype: Dtype::F32, pin: false, ..CpuOptions::default() };
    SimulatedExecutor::with_memory(Arc::new(CpuExecutor::new(options).unwrap()), bytes)
}

/// Any picture is harmless.
#[derive(Debug)]
struct Harmless;

impl SafetyChecker for Harmless {
    fn score(&self, _image: &Image) -> Result<f32> {
        Ok(0.0)
    }
}

fn params(changes: &serde_json::Value) -> StreamDiffusionParams {
    let size = StreamDiffusionParams { width: SIDE, height: SIDE, ..StreamDiffusionParams::demo() };
    ParamsPatch::from_json(&changes.to_string()).unwrap().merge(&size).unwrap().0
}

fn engine(executor: &SimulatedExecutor, models: ModelSource, changes: &serde_json::Value) -> Engine {
    let builder = Engine::builder().models(models).params(params(changes));
    builder.safety_checker(Arc::new(Harmless)).executor(Arc::new(executor.clone())).build().unwrap()
}

/// What the device does for each frame, once the stream is filled.
fn counts(executor: &SimulatedExecutor, engine: &mut Engine) -> DeviceCounts {
    pictures(engine, 4);
    executor.take_counts();
    picture(engine, 4);
    let first = executor.take_counts();
    picture(engine, 5);
    assert_eq!(executor.take_counts(), first, "the next frame");
    first
}

fn transfers(changes: &serde_json::Value) -> [u64; 3] {
    let executor = executor(0);
    let counts = counts(&executor, &mut engine(&executor, ModelSource::Demo, changes));
    [counts.uploads, counts.downloads, counts.waits]
}

#[test]
fn a_frame_with_three_rows_and_two_controlnets_is_one_upload_and_one_download() {
    let folder = Folder::new(env!("CARGO_TARGET_TMPDIR"), "device-counts");
    folder.controlnet("edges", 1);
    folder.controlnet("depth", 2);
    for guidance in ["none", "self", "full", "initialize"] {
        let executor = executor(0);
        let changes = json!({
            "t_index_list": [30, 38, 46], "cfg_type": guidance, "guidance_scale": 1.4,
            "controlnets": [{"model_id": "edges"}, {"model_id": "depth", "conditioning_scale": 0.4}],
        });
        let builder = Engine::builder().models(ModelSource::folder(folder.path())).params(params(&changes));
        let mut engine = builder.executor(Arc::new(executor.clone())).build().unwrap();
        let counts = counts(&executor, &mut engine);
        // Encoder, two embeddings, two ControlNets, UNet, decoder.
        assert_eq!(counts, DeviceCounts { uploads: 1, downloads: 1, waits: 1, runs: 7 }, "guidance {guidance}");
    }
}

/// A frame on ONNX Runtime transfers bytes once each way, whatever the guidance: values, factors and ControlNets' residuals
/// stay on its device. Every graph is waited for.
#[test]
fn a_frame_on_onnx_runtime_is_one_upload_and_one_download() {
    let Some(library) = onnx_library() else { return };
    let folder = Folder::new(env!("CARGO_TARGET_TMPDIR"), "onnx-counts");
    folder.controlnet("edges", 1);
    folder.controlnet("depth", 2);
    for (guidance, dtype, runs) in
        [("none", Dtype::F16, 27), ("self", Dtype::F32, 38), ("full", Dtype::F16, 31), ("initialize", Dtype::F32, 40)]
    {
        let (library, provider) = (&*library, Provider::Cpu);
        let config =
            OnnxConfig { library, provider, plug_in: None, device_index: 0, dtype, threads: 2, cuda_graphs: false };
        let executor = OnnxExecutor::new(&config).unwrap();
        let changes = json!({
            "t_index_list": [30, 38, 46], "cfg_type": guidance, "guidance_scale": 1.4,
            "controlnets": [{"model_id": "edges"}, {"model_id": "depth", "conditioning_scale": 0.4}],
        });
        let builder = Engine::builder().models(ModelSource::folder(folder.path())).params(params(&changes));
        let mut engine = builder.executor(Arc::new(executor.clone())).build().unwrap();
        pictures(&mut engine, 6);
        executor.take_counts();
        picture(&mut engine, 6);
        let counts = executor.take_counts();
        assert_eq!((counts.uploads, counts.downloads), (1, 1), "guidance {guidance}");
        // Seven networks, two conversions of pixels, and sums.
        assert_eq!(counts.runs, runs, "guidance {guidance}");
        // All at addresses that they have run at: captured graphs would be repeated.
        assert_eq!(counts.bindings, 0, "guidance {guidance}");
    }
}

#[test]
fn what_needs_pixels_of_the_host_downloads_them_once() {
    assert_eq!(transfers(&json!({})), [1, 1, 1]);
    assert_eq!(transfers(&json!({"use_denoising_batch": false, "guidance_scale": 1.3})), [1, 1, 1]);
    assert_eq!(transfers(&json!({"cached_attention": {"enabled": true}})), [1, 1, 1]);
    assert_eq!(transfers(&json!({"skip_diffusion": true})), [1, 1, 1]);
    // The frame, for the comparison.
    assert_eq!(
        transfers(&json!({"enable_similar_image_filter": true, "similar_image_filter_threshold": 1.0})),
        [1, 2, 2]
    );
    // The picture, for the checker.
    assert_eq!(transfers(&json!({"use_safety_checker": true})), [1, 2, 2]);
    // The frame and the last picture for the processor, and what the processor makes.
    let blur = json!({"processors": [{"type": "blur"}]});
    assert_eq!(transfers(&json!({"image_preprocessing": blur})), [2, 3, 3]);
    // The latent for the processor and what it makes.
    let noise = json!({"processors": [{"type": "latent_feedback"}]});
    assert_eq!(transfers(&json!({"latent_preprocessing": noise}))[0], 2);
}

/// Runs an engine on the executor and one on the CPU through updates, and returns the largest difference of their pictures.
fn difference_across_updates(executor: Arc<dyn Executor>, name: &str) -> u8 {
    let folder = Folder::new(env!("CARGO_TARGET_TMPDIR"), name);
    folder.controlnet("edges", 1);
    let changes = [
        json!({"prompt": "moonlit night", "delta": 0.8, "guidance_scale": 1.5}),
        json!({"t_index_list": [30, 38, 42, 47]}),
        json!({"seed": 7, "negative_prompt": "blurry"}),
        json!({"controlnets": [{"model_id": "edges"}]}),
        json!({"controlnets": [{"model_id": "edges", "preprocessor": "canny", "conditioning_scale": 0.3}]}),
        json!({"cached_attention": {"enabled": true, "max_frames": 2}}),
        json!({"t_index_list": [45], "image_postprocessing": {"processors": [{"type": "blur"}]}}),
        json!({"use_denoising_batch": false}),
        json!({"width": 128, "use_denoising_batch": true}),
        json!({"skip_diffusion": true}),
    ];
    let models = ModelSource::folder(folder.path());
    let mut device = Engine::builder().models(models).params(params(&json!({}))).executor(executor).build().unwrap();
    let mut cpu = folder.engine(SIDE, |params, _| *params = self::params(&json!({})));
    let mut largest = 0;
    for (number, change) in changes.iter().enumerate() {
        let patch = ParamsPatch::from_json(&change.to_string()).unwrap();
        cpu.update(&patch).unwrap();
        device.update(&patch).unwrap();
        for index in 0..4 {
            let index = 4 * number + index;
            largest = largest.max(largest_difference(&picture(&mut cpu, index), &picture(&mut device, index)));
        }
    }
    largest
}

#[test]
fn pictures_equal_those_of_the_cpu_across_updates() {
    assert_eq!(difference_across_updates(Arc::new(executor(0)), "device-pictures"), 0);
}

/// Graphs run at addresses that are bound once: an update must not leave one that reads memory of an earlier pipeline.
#[test]
fn pictures_on_onnx_runtime_are_those_of_the_cpu_across_updates() {
    let Some(library) = onnx_library() else { return };
    let (library, provider, dtype) = (&*library, Provider::Cpu, Dtype::F32);
    let config =
        OnnxConfig { library, provider, plug_in: None, device_index: 0, dtype, threads: 2, cuda_graphs: false };
    let difference = difference_across_updates(Arc::new(OnnxExecutor::new(&config).unwrap()), "onnx-pictures");
    assert!(difference <= 1, "{difference} levels");
}

#[test]
fn frames_are_submitted_while_the_device_works() {
    let executor = executor(0);
    let (mut device, mut cpu) = (
        engine(&executor, ModelSource::Demo, &json!({})),
        demo_engine(SIDE, |params, _| *params = self::params(&json!({}))),
    );
    assert_eq!((device.depth(), cpu.depth()), (2, 1));
    let frames: Vec<Vec<u8>> = (0..6).map(|index| moving_disc(index, SIDE, SIDE)).collect();
    let view = |index: usize| FrameView::packed(PixelFormat::Rgba8, SIDE, SIDE, &frames[index]).unwrap();
    executor.take_counts();
    device.submit(&view(0)).unwrap();
    device.submit(&view(1)).unwrap();
    assert_eq!(executor.take_counts().waits, 0, "submitting does not wait");
    assert!(executor.unfinished() > 0);
    let refused = device.submit(&view(2)).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidArgument);
    assert_eq!(refused.to_string(), "frames in flight: got one more than 2, expected a call of `collect` before");
    for index in 0..6 {
        let expected = cpu.process(&view(index)).unwrap();
        let made = device.collect().unwrap();
        assert!(made.frame.pixels() == expected.frame.pixels(), "frame {index}");
        assert_eq!((made.kind, made.source_id), (PictureKind::New, expected.source_id));
        assert!(made.timings.unet <= made.timings.total);
        if index + 2 < 6 {
            device.submit(&view(index + 2)).unwrap();
        }
    }
    assert_eq!(device.collect().unwrap_err().kind(), ErrorKind::InvalidArgument);
}

#[test]
fn a_picture_in_flight_outlives_the_frames_after_it_and_updates_wait_for_it() {
    let executor = executor(0);
    let mut device = engine(&executor, ModelSource::Demo, &json!({}));
    let frames: Vec<Vec<u8>> = (0..2).map(|index| moving_disc(index, SIDE, SIDE)).collect();
    let view = |index: usize| FrameView::packed(PixelFormat::Rgba8, SIDE, SIDE, &frames[index]).unwrap();
    device.submit(&view(0)).unwrap();
    let patch = ParamsPatch::from_json(r#"{"delta": 0.3}"#).unwrap();
    let refused = device.update(&patch).unwrap_err();
    assert_eq!(refused.to_string(), "frames in flight: got 1, expected none; collect them before");
    assert_eq!(device.process(&view(1)).unwrap_err().to_string(), refused.to_string());
    device.collect().unwrap();
    device.update(&patch).unwrap();
    device.process(&view(1)).unwrap();
}

#[test]
fn the_memory_of_the_device_is_the_budget() {
    let executor = executor(3_000_000);
    let mut device = engine(&executor, ModelSource::Demo, &json!({}));
    let before = picture(&mut device, 0);
    let larger = ParamsPatch::from_json(r#"{"width": 512, "height": 512}"#).unwrap();
    let refused = device.update(&larger).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::OutOfMemory);
    assert!(refused.to_string().contains("bytes available, expected at least"), "{refused}");
    assert_eq!(picture(&mut device, 0).len(), before.len());
}

#[test]
fn frames_on_a_lost_device_are_errors_and_the_last_picture_is_shown_again() {
    let executor = executor(0);
    let mut device = engine(&executor, ModelSource::Demo, &json!({}));
    pictures(&mut device, 3);
    let pixels = moving_disc(3, SIDE, SIDE);
    let frame = FrameView::packed(PixelFormat::Rgba8, SIDE, SIDE, &pixels).unwrap();
    let before = device.process(&frame).unwrap();
    executor.set_lost(true);
    let lost = device.process(&frame).unwrap_err();
    assert_eq!((lost.kind(), &*lost.to_string()), (ErrorKind::Device, "the simulated device is lost"));

    let session = device.start(SessionOptions::default()).unwrap();
    let handle = session.handle();
    let show = || {
        handle.submit(&frame).unwrap();
        handle.wait(LIMIT).unwrap()
    };
    for _ in 0..3 {
        let picture = show();
        assert_eq!((picture.kind, picture.source_id), (PictureKind::Repeated, before.source_id));
        assert!(picture.frame.pixels() == before.frame.pixels());
    }
    executor.set_lost(false);
    assert_eq!(show().kind, PictureKind::New);
    session.stop(LIMIT).unwrap();
}
