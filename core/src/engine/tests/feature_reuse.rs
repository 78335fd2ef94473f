//! Features of the UNet that are used again for later frames.

use serde_json::{Value, json};

use super::lora::{LAST, Models};
use crate::engine::{Engine, EngineOptions, LoraMode};
use crate::frame::{FrameView, PixelFormat};
use crate::params::{FeatureReuseConfig, ParamsPatch, StreamDiffusionParams};

const SIDE: u32 = 64;

/// An engine with `changes` of the parameters, among them the interval and the largest error.
fn engine((interval, max_error): (u32, f64), changes: &Value) -> Engine {
    let params = StreamDiffusionParams { width: SIDE, height: SIDE, ..StreamDiffusionParams::demo() };
    let (mut params, _) = params.patched(&changes.to_string()).unwrap();
    params.feature_reuse = FeatureReuseConfig { interval, max_error };
    Engine::builder().params(params).build().unwrap()
}

/// The picture of stripes, `shift` pixels to the right.
fn picture(engine: &mut Engine, shift: u32) -> Vec<u8> {
    let stripe = |i: u32| if ((i % SIDE + shift) / 8).is_multiple_of(2) { 40 } else { 220 };
    let pixels: Vec<u8> = (0..SIDE * SIDE).flat_map(|i| [stripe(i), 128, (i / SIDE) as u8 * 3]).collect();
    let frame = FrameView::packed(PixelFormat::Rgb8, SIDE, SIDE, &pixels).unwrap();
    engine.process(&frame).unwrap().frame.pixels().to_vec()
}

/// How often the whole UNet ran, and its last layers alone.
fn runs(engine: &Engine) -> (u64, u64) {
    (engine.work().unet_evaluations, engine.work().shallow_evaluations)
}

#[test]
fn pictures_of_a_frame_that_stays_are_the_same_to_the_byte() {
    for stages in [json!({}), json!({"t_index_list": [46]}), json!({"use_denoising_batch": false})] {
        let [mut plain, mut reusing] = [(1, 1.0), (4, 0.0)].map(|reuse| engine(reuse, &stages));
        for frame in 0..6 {
            assert!(picture(&mut plain, 0) == picture(&mut reusing, 0), "{stages}, frame {frame}");
        }
        let ((plain, none), (whole, shallow)) = (runs(&plain), runs(&reusing));
        assert!(none == 0 && shallow > 0 && whole + shallow == plain, "{stages}: {whole} and {shallow} of {plain}");
    }
}

#[test]
fn a_frame_that_changed_runs_the_whole_unet_and_a_lenient_bound_makes_another_picture_of_it() {
    let [mut plain, mut strict, mut lenient] =
        [(1, 1.0), (9, 0.05), (9, 1.0)].map(|reuse| engine(reuse, &json!({"t_index_list": [46]})));
    let [expected, of_strict, of_lenient] = [&mut plain, &mut strict, &mut lenient].map(|engine| {
        picture(engine, 0);
        picture(engine, 1)
    });
    assert_eq!((runs(&strict), runs(&lenient)), ((2, 0), (1, 1)));
    assert!(of_strict == expected && of_lenient != expected);
}

#[test]
fn every_change_of_parameters_begins_with_a_full_run() {
    let mut engine = engine((60, 1.0), &json!({"t_index_list": [46]}));
    (0..3).for_each(|_| drop(picture(&mut engine, 0)));
    let before = runs(&engine);
    for change in [json!({"prompt": "blueprint"}), json!({"guidance_scale": 1.5}), json!({"seed": 3})] {
        engine.update(&ParamsPatch::from_json(&change.to_string()).unwrap()).unwrap();
        (0..2).for_each(|_| drop(picture(&mut engine, 0)));
    }
    let after = runs(&engine);
    assert_eq!((after.0 - before.0, after.1 - before.1), (3, 3));
}

#[test]
fn it_begins_and_ends_while_frames_are_processed_and_yields_to_cached_attention() {
    let mut engine = engine((1, 1.0), &json!({}));
    picture(&mut engine, 0);
    for (change, shallow) in [
        (json!({"feature_reuse": {"interval": 3}}), 2),
        (json!({"feature_reuse": {"interval": 2}}), 3),
        (json!({"cached_attention": {"enabled": true}}), 3),
        (json!({"cached_attention": {"enabled": false}, "feature_reuse": {"interval": 1}}), 3),
    ] {
        let update = engine.update(&ParamsPatch::from_json(&change.to_string()).unwrap()).unwrap();
        let is_idle = engine.params().cached_attention.enabled;
        assert_eq!(update.notices.iter().any(|notice| notice.path == "feature_reuse.interval"), is_idle, "{change}");
        (0..3).for_each(|_| drop(picture(&mut engine, 0)));
        assert_eq!(runs(&engine).1, shallow, "{change}");
    }
}

#[test]
fn live_loras_change_the_last_layers_alone_as_well() {
    let models = Models::new();
    models.lora("style.safetensors", &[LAST]);
    let build = |interval, scale| {
        let change = |params: &mut StreamDiffusionParams, options: &mut EngineOptions| {
            params.lora_dict = [("style.safetensors".to_owned(), scale)].into();
            params.feature_reuse.interval = interval;
            options.lora_mode = LoraMode::Live;
        };
        models.build(change).unwrap()
    };
    let (mut plain, mut reusing, mut without) = (build(1, 1.0), build(3, 1.0), build(3, 0.0));
    for frame in 0..3 {
        let expected = picture(&mut plain, 0);
        assert!(picture(&mut reusing, 0) == expected, "{frame}");
        assert!(picture(&mut without, 0) != expected, "{frame}");
    }
    assert_eq!(runs(&reusing).1, 2);
}
