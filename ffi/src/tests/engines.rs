//! Engines.

use std::ffi::CString;
use std::ptr::{null, null_mut};

use dreamframe::{EngineOptions, FrameView, PixelFormat, StreamDiffusionParams};

use super::kit::{Engine, PARAMS, Pixels, SIDE, c, empty_info, json, last_error, last_error_json, options};
use crate::engine::*;
use crate::options::dreamframe_executor_t::DREAMFRAME_EXECUTOR_ONNX;
use crate::options::dreamframe_options_t;
use crate::status::*;

/// Returns the engine of the Rust API with the options of [`Engine::new`].
pub(super) fn library_engine() -> dreamframe::Engine {
    let mut options = EngineOptions::default();
    (options.dtype, options.threads) = (dreamframe::Dtype::F32, Some(1));
    let (params, _) = StreamDiffusionParams::from_json(PARAMS.to_str().unwrap()).unwrap();
    dreamframe::Engine::builder().options(options).params(params).build().unwrap()
}

#[test]
fn pictures_equal_those_of_the_rust_api() {
    let (engine, mut library) = (Engine::new(), library_engine());
    for (index, shade) in [10, 90, 200, 30, 140].into_iter().enumerate() {
        let mut frame = Pixels::grey(shade);
        (frame.frame.timestamp_ns, frame.frame.user_tag) = (index as u64 * 10, index as u64 + 1);
        let (target, mut info) = (Pixels::grey(0), empty_info());
        // SAFETY: all arguments are valid during the call.
        let status = unsafe {
            dreamframe_engine_process(engine.0, &raw const frame.frame, &raw const target.frame, &raw mut info)
        };
        assert_eq!(status, DREAMFRAME_OK, "{}", last_error());
        let view = FrameView::packed(PixelFormat::Rgba8, SIDE, SIDE, &frame.bytes).unwrap();
        let picture = library.process(&view).unwrap();
        assert_eq!(target.bytes, picture.frame.pixels());
        assert_eq!((info.id, info.source_id, info.kind), (picture.id.0, picture.source_id.0, 1));
        assert_eq!((info.timestamp_ns, info.user_tag), (info.source_id * 10, info.source_id + 1));
        assert_eq!((info.width, info.height, info.version), (SIDE, SIDE, 0));
        assert!(info.total_us >= info.unet_us);
    }
}

#[test]
fn default_options_create_the_demo_model() {
    let mut engine = null_mut();
    // SAFETY: all arguments are valid during the call.
    unsafe {
        assert_eq!(dreamframe_engine_create(null(), &raw mut engine), DREAMFRAME_OK, "{}", last_error());
        let engine = Engine(engine);
        let params = json(|out| dreamframe_engine_params(engine.0, out));
        assert_eq!(params, StreamDiffusionParams::demo().to_value());
        let (mut width, mut height, mut delay) = (0, 0, 99);
        assert_eq!(dreamframe_engine_size(engine.0, &raw mut width, &raw mut height), DREAMFRAME_OK);
        assert_eq!((u64::from(width), u64::from(height)), (512, 512));
        assert_eq!(dreamframe_engine_delay(engine.0, &raw mut delay), DREAMFRAME_OK);
        assert_eq!(delay as usize + 1, params["t_index_list"].as_array().unwrap().len());
        let info = json(|out| dreamframe_engine_info(engine.0, out));
        // The fastest of the machine, which is chosen by default.
        let dtype = dreamframe::Device::cpu(dreamframe::Dtype::Auto, None).unwrap().dtype();
        assert_eq!((&info["executor"], &info["dtype"]), (&"cpu".into(), &dtype.name().into()));
        assert!(info["model"].as_str().unwrap().contains("demo"), "{info}");
        assert!(info["notices"].is_array());
    }
}

#[test]
fn update_returns_its_cost_and_plan_changes_nothing() {
    let engine = Engine::new();
    let mut cost = 99;
    let patch = c(r#"{"guidance_scale": 0.5, "seed": 5}"#);
    // SAFETY: all arguments are valid during the call.
    unsafe {
        let plan = json(|out| dreamframe_engine_plan(engine.0, patch.as_ptr(), &raw mut cost, out));
        assert_eq!((cost, &plan["cost"]), (2, &"recompute".into()));
        assert_eq!(json(|out| dreamframe_engine_params(engine.0, out))["seed"], 789);
        let update = json(|out| dreamframe_engine_update(engine.0, patch.as_ptr(), &raw mut cost, out));
        assert_eq!((cost, update["changes"].as_array().unwrap().len()), (2, 2));
        assert_eq!(json(|out| dreamframe_engine_params(engine.0, out))["seed"], 5);
        assert_eq!(dreamframe_engine_update(engine.0, patch.as_ptr(), &raw mut cost, null_mut()), DREAMFRAME_OK);
        assert_eq!(cost, 0);
    }
}

#[test]
fn rejected_update_lists_its_violations_and_changes_nothing() {
    let engine = Engine::new();
    // SAFETY: all arguments are valid during the call.
    unsafe {
        let before = json(|out| dreamframe_engine_params(engine.0, out));
        let patch = c(r#"{"delta": 99, "seed": 5, "guidance": 1}"#);
        let status = dreamframe_engine_update(engine.0, patch.as_ptr(), null_mut(), null_mut());
        assert_eq!(status, DREAMFRAME_ERROR_INVALID_PARAMS);
        assert_eq!(last_error_json()["violations"].as_array().unwrap().len(), 2);
        assert_eq!(json(|out| dreamframe_engine_params(engine.0, out)), before);
    }
}

#[test]
fn transition_ends_at_the_target_prompt() {
    let engine = Engine::new();
    // SAFETY: all arguments are valid during the call.
    unsafe {
        let text = c(r#"{"target_prompts": "snow", "num_steps": 2}"#);
        let update = json(|out| dreamframe_engine_transition(engine.0, text.as_ptr(), out));
        assert_eq!(update["changes"][0]["path"], "prompt");
        assert_eq!(json(|out| dreamframe_engine_params(engine.0, out))["prompt"], "snow");
        let wrong = c(r#"{"target": "snow"}"#);
        let status = dreamframe_engine_transition(engine.0, wrong.as_ptr(), null_mut());
        assert_eq!(status, DREAMFRAME_ERROR_INVALID_ARGUMENT);
        assert!(last_error().contains("target"), "{}", last_error());
    }
}

/// Changes valid options, and returns the status and the message.
fn refused(change: impl FnOnce(&mut dreamframe_options_t)) -> (i32, String) {
    let mut options = options();
    change(&mut options);
    let mut engine = null_mut();
    // SAFETY: all arguments are valid during the call.
    let status = unsafe { dreamframe_engine_create(&raw const options, &raw mut engine) };
    assert!(engine.is_null(), "it was built");
    (status, last_error())
}

#[test]
fn invalid_options_are_rejected_by_name() {
    type Change = fn(&mut dreamframe_options_t);
    let cases: [(&str, Change); 16] = [
        ("executor: got 5, expected 0 to 4", |options| options.executor = 5),
        ("provider: got 10, expected 0 to 9", |options| options.provider = 10),
        ("onnxruntime: not UTF-8", |options| options.onnxruntime = c"\xff".as_ptr()),
        ("dtype: got 5, expected 0 to 4", |options| options.dtype = 5),
        ("noise: got 3, expected 0 to 2", |options| options.noise = 3),
        ("fit: got 4, expected 0 to 3", |options| options.fit = 4),
        ("flagged: got 3, expected 0 to 2", |options| options.flagged = 3),
        ("control_images: got 3, expected 0 to 2", |options| options.control_images = 3),
        ("lora_mode: got 4, expected 0 to 3", |options| options.lora_mode = 4),
        ("batching: got 3, expected 0 to 2", |options| options.batching = 3),
        ("batch_streams: got 4, expected 0 to 3", |options| options.batch_streams = 4),
        ("region_reuse: got 4, expected 0 to 3", |options| options.region_reuse = 4),
        ("region_threshold: got 256, expected 0 to 255", |options| options.region_threshold = 256.0),
        ("cuda_graphs: got 2, expected 0 to 1", |options| options.cuda_graphs = 2),
        ("log_level: got 6, expected 0 to 5", |options| options.log_level = 6),
        ("models: not UTF-8", |options| options.models = c"\xff".as_ptr()),
    ];
    for (message, change) in cases {
        let (status, text) = refused(change);
        assert_eq!(status, DREAMFRAME_ERROR_INVALID_ARGUMENT, "{text}");
        assert!(text.starts_with(message), "{text}");
    }
    let (status, message) = refused(|options| options.output = 7);
    assert_eq!(status, DREAMFRAME_ERROR_INVALID_FRAME, "{message}");
}

#[test]
fn each_build_failure_has_its_own_status() {
    let folder = CString::new(concat!(env!("CARGO_MANIFEST_DIR"), "/no-such-folder")).unwrap();
    let (status, message) = refused(|options| {
        options.models = folder.as_ptr();
        options.params_json = c"{\"model_id\": \"somebody/something\"}".as_ptr();
    });
    assert_eq!(status, DREAMFRAME_ERROR_NOT_FOUND, "{message}");
    assert!(message.contains("somebody/something"), "{message}");
    let (status, message) = refused(|options| options.params_json = c"{\"width\": 63}".as_ptr());
    assert_eq!(status, DREAMFRAME_ERROR_INVALID_PARAMS, "{message}");
    let (status, message) = refused(|options| (options.executor, options.dtype) = (2, 2));
    assert_eq!(status, DREAMFRAME_ERROR_UNSUPPORTED, "{message}");
    let (status, message) = refused(|options| options.calibration = folder.as_ptr());
    assert_eq!(status, DREAMFRAME_ERROR_NOT_FOUND, "{message}");
    let (status, message) = refused(|options| {
        options.executor = DREAMFRAME_EXECUTOR_ONNX as u32;
        options.onnxruntime = folder.as_ptr();
    });
    assert_eq!(status, DREAMFRAME_ERROR_NOT_FOUND, "{message}");
    assert!(message.starts_with("ONNX Runtime: got no library at ") && message.contains("no-such-folder"), "{message}");
}
