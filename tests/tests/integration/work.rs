//! What a frame takes: network evaluations and rows, for every guidance mode and number of steps, network by network.

use std::sync::Arc;

use dreamframe::preprocess::Image;
use dreamframe::telemetry::{ControlWork, Work};
use dreamframe::{CfgType, ControlImages, Engine, EngineOptions, Error, StreamDiffusionParams};
use dreamframe_tests::controlnets::{Folder, controlnets};
use dreamframe_tests::frames::{demo_engine, picture};
use serde_json::json;

const SIDE: u32 = 64;

/// All that one more frame takes.
fn taken(engine: &mut Engine, index: usize) -> Work {
    let before = engine.work();
    picture(engine, index);
    let after = engine.work();
    let mut work = Work::default();
    work.text_encodings = after.text_encodings - before.text_encodings;
    work.encoder_evaluations = after.encoder_evaluations - before.encoder_evaluations;
    work.decoder_evaluations = after.decoder_evaluations - before.decoder_evaluations;
    work.unet_evaluations = after.unet_evaluations - before.unet_evaluations;
    work.unet_rows = after.unet_rows - before.unet_rows;
    work.control_images = after.control_images - before.control_images;
    work.control_embeddings = after.control_embeddings - before.control_embeddings;
    work.control_evaluations = after.control_evaluations - before.control_evaluations;
    work.control_rows = after.control_rows - before.control_rows;
    work.processor_evaluations = after.processor_evaluations - before.processor_evaluations;
    work.safety_evaluations = after.safety_evaluations - before.safety_evaluations;
    work
}

/// What a frame takes that goes once through the autoencoder, with these evaluations and rows of the UNet.
fn plain((evaluations, rows): (u64, u64)) -> Work {
    let mut work = Work::default();
    (work.encoder_evaluations, work.decoder_evaluations) = (1, 1);
    (work.unet_evaluations, work.unet_rows) = (evaluations, rows);
    work
}

/// What one more frame takes of each of the first two ControlNets: embeddings, evaluations, rows.
fn taken_by_controls(engine: &mut Engine, index: usize) -> [[u64; 3]; 2] {
    let count = |ControlWork { embeddings, evaluations, rows, .. }| [embeddings, evaluations, rows];
    let work = |engine: &Engine| [0, 1].map(|index| count(engine.control_work(index)));
    let before = work(engine);
    picture(engine, index);
    let after = work(engine);
    std::array::from_fn(|net| std::array::from_fn(|i| after[net][i] - before[net][i]))
}

/// An engine of this mode, and what the UNet does for each of its frames.
type Mode = (CfgType, f64, fn(u64) -> u64);

/// Every guidance mode, with and without effect, and its rows for a number of steps.
const MODES: [Mode; 7] = [
    (CfgType::None, 1.0, |n| n),
    (CfgType::SelfNegative, 1.0, |n| n),
    (CfgType::SelfNegative, 1.6, |n| n),
    (CfgType::Initialize, 1.6, |n| n + 1),
    (CfgType::Initialize, 1.0, |n| n),
    (CfgType::Full, 1.6, |n| 2 * n),
    (CfgType::Full, 1.0, |n| n),
];
const STEPS: [&[u32]; 3] = [&[45], &[41, 46], &[36, 40, 44, 48]];

fn set(
    (cfg_type, guidance_scale, _): Mode,
    steps: &'static [u32],
    batched: bool,
) -> impl Fn(&mut StreamDiffusionParams, &mut EngineOptions) {
    move |params, _| {
        params.cfg_type = cfg_type;
        params.guidance_scale = guidance_scale;
        params.t_index_list = steps.to_vec();
        params.use_denoising_batch = batched;
    }
}

#[test]
fn a_frame_takes_one_evaluation_with_batching_and_one_a_step_without() {
    for steps in STEPS {
        for mode in MODES {
            for batched in [true, false] {
                let n = steps.len() as u64;
                let mut engine = demo_engine(SIDE, set(mode, steps, batched));
                (0..2).for_each(|index| drop(picture(&mut engine, index)));
                let work = taken(&mut engine, 2);
                let evaluations = if batched { 1 } else { n };
                let what = format!("{:?} at {}, {n} steps, batched: {batched}", mode.0, mode.1);
                assert_eq!(work, plain((evaluations, mode.2(n))), "{what}");
                assert_eq!(
                    work.unet_rows,
                    engine.evaluations_per_frame() as u64,
                    "{what}: the engine tells what it does"
                );
            }
        }
    }
}

#[test]
fn a_controlnet_sees_every_row_of_the_unet_in_every_mode_and_none_at_scale_zero() {
    let folder = Folder::new(env!("CARGO_TARGET_TMPDIR"), "work-modes");
    ["counts", "idle"].into_iter().zip(1..).for_each(|(name, seed)| folder.controlnet(name, seed));
    // The second of the list is the first by its name.
    let list = json!([{"model_id": "idle", "conditioning_scale": 0.0}, {"model_id": "counts"}]);
    for steps in STEPS {
        for mode in MODES {
            for batched in [true, false] {
                let mut engine = folder.engine(SIDE, set(mode, steps, batched));
                picture(&mut engine, 0);
                engine.update(&controlnets(list.clone())).unwrap();
                picture(&mut engine, 1);
                let what = format!("{:?} at {}, {} steps, batched: {batched}", mode.0, mode.1, steps.len());
                let work = taken(&mut engine, 2);
                let unet = (work.unet_evaluations, work.unet_rows);
                let mut expected = plain(unet);
                (expected.control_images, expected.control_embeddings) = (1, 1);
                (expected.control_evaluations, expected.control_rows) = unet;
                assert_eq!(work, expected, "{what}");
                assert_eq!(taken_by_controls(&mut engine, 3), [[0; 3], [1, unet.0, unet.1]], "{what}");
            }
        }
    }
}

#[test]
fn controlnets_are_counted_by_list_index_while_loaded() {
    let folder = Folder::new(env!("CARGO_TARGET_TMPDIR"), "work-places");
    ["a", "b"].into_iter().zip(1..).for_each(|(name, seed)| folder.controlnet(name, seed));
    let mut engine = folder.engine(SIDE, |params, options| {
        params.t_index_list = vec![40, 44];
        params.use_denoising_batch = true;
        options.control_images = ControlImages::PerRow;
    });
    let late = json!({"model_id": "b", "control_guidance_start": 0.4});
    engine.update(&controlnets(json!([late, {"model_id": "a"}]))).unwrap();
    picture(&mut engine, 0);
    assert_eq!(taken_by_controls(&mut engine, 1), [[1, 1, 2]; 2]);
    let counted = engine.control_work(1);
    assert!(counted.evaluations >= 2);
    // Counts follow the network through changes of the list and of the size.
    engine.update(&controlnets(json!([{"model_id": "a"}, late]))).unwrap();
    assert_eq!(engine.control_work(0), counted);
    engine.edit(|params| params.width = 96).unwrap();
    assert_eq!(engine.control_work(0), counted);
    // Absent and disabled networks have no cost.
    engine.update(&controlnets(json!([{"model_id": "a", "enabled": false}, late]))).unwrap();
    assert_eq!([0, 2].map(|index| engine.control_work(index)), [ControlWork::default(); 2]);
    let [off, on] = taken_by_controls(&mut engine, 2);
    assert!(off == [0; 3] && on[1] > 0, "{off:?} {on:?}");
}

#[test]
fn a_new_prompt_is_encoded_once_and_a_known_one_not_at_all() {
    let mut engine = demo_engine(SIDE, |params, _| params.prompt = "a".into());
    let start = engine.work().text_encodings;
    assert_eq!(start, 1);
    let mut encoded = |prompt: &str| {
        let before = engine.work().text_encodings;
        engine.edit(|params| params.prompt = prompt.into()).unwrap();
        picture(&mut engine, 0);
        engine.work().text_encodings - before
    };
    assert_eq!(["snow", "fog", "snow", "a", "rain"].map(&mut encoded), [1, 1, 0, 0, 1]);
    // The negative prompt is a text, too, where a row attends to it.
    let before = engine.work().text_encodings;
    engine.edit(|params| (params.negative_prompt, params.seed) = ("blur".into(), 9_u64.into())).unwrap();
    assert_eq!(engine.work().text_encodings, before);
    let mut engine = demo_engine(SIDE, |params, _| {
        (params.cfg_type, params.guidance_scale) = (CfgType::Full, 1.6);
        (params.prompt, params.negative_prompt) = ("snow".into(), "fog".into());
    });
    assert_eq!(engine.work().text_encodings, 2);
    (0..3).for_each(|index| drop(picture(&mut engine, index)));
    assert_eq!(engine.work().text_encodings, 2, "frames encode nothing");
}

#[test]
fn networks_of_processors_are_counted_in_chains_and_for_control_images_alike() {
    let folder = Folder::new(env!("CARGO_TARGET_TMPDIR"), "work-processors");
    ["a", "b", "c"].into_iter().zip(1..).for_each(|(name, seed)| folder.controlnet(name, seed));
    let mut engine = folder.engine(SIDE, |_, _| {});
    let hed = |name: &str| json!({"model_id": name, "preprocessor": "hed"});
    // Two share an image; one has a processor without a network.
    engine.update(&controlnets(json!([hed("a"), hed("b"), {"model_id": "c", "preprocessor": "canny"}]))).unwrap();
    picture(&mut engine, 0);
    let work = taken(&mut engine, 1);
    assert_eq!((work.control_images, work.control_embeddings, work.processor_evaluations), (2, 3, 1));
    let chain = json!({"image_postprocessing": {"processors": [{"type": "blur"}, {"type": "hed"}]}, "controlnets": []});
    engine.update(&dreamframe::ParamsPatch::from_json(&chain.to_string()).unwrap()).unwrap();
    assert_eq!(taken(&mut engine, 2).processor_evaluations, 1);
}

#[test]
fn optical_flow_looks_at_each_frame_once_and_moves_on_in_twelve_rounds() {
    let folder = Folder::new(env!("CARGO_TARGET_TMPDIR"), "work-flow");
    folder.changed_controlnet("moved", 1, &json!({"conditioning_channels": 6}));
    let settings = json!({"width": 128, "height": 128});
    let net = json!({"model_id": "moved", "preprocessor": "temporal_net_tensorrt", "preprocessor_params": settings});
    let list = controlnets(json!([net]));
    let mut without = folder.engine(SIDE, |_, _| {});
    without.update(&list).unwrap();
    folder.flow();
    let mut engine = folder.engine(SIDE, |_, _| {});
    engine.update(&list).unwrap();
    assert_eq!(taken(&mut engine, 0).processor_evaluations, 0, "the first frame has none before it");
    // Features of both frames and what surrounds the motion; later the last frame's features are known.
    assert_eq!(taken(&mut engine, 1).processor_evaluations, 3 + 3 * 12);
    assert_eq!(taken(&mut engine, 2).processor_evaluations, 2 + 3 * 12);
    (0..3).for_each(|index| drop(picture(&mut without, index)));
    assert_eq!(without.work().processor_evaluations, 0, "without weights there is no network");
}

/// Judges every picture to be harmless.
#[derive(Debug)]
struct Harmless;

impl dreamframe::SafetyChecker for Harmless {
    fn score(&self, _: &Image) -> Result<f32, Error> {
        Ok(0.0)
    }
}

#[test]
fn a_picture_is_judged_once_where_the_checker_is_on() {
    let mut params = StreamDiffusionParams { width: SIDE, height: SIDE, ..StreamDiffusionParams::demo() };
    params.use_safety_checker = true;
    let mut options = EngineOptions::default();
    options.dtype = dreamframe::Dtype::F32;
    let builder = Engine::builder().params(params).options(options).safety_checker(Arc::new(Harmless));
    let mut engine = builder.build().unwrap();
    picture(&mut engine, 0);
    assert_eq!(taken(&mut engine, 1).safety_evaluations, 1);
    engine.edit(|params| params.use_safety_checker = false).unwrap();
    assert_eq!(taken(&mut engine, 2).safety_evaluations, 0);
}

#[test]
fn priming_takes_as_many_evaluations_as_the_delay() {
    let mut engine = demo_engine(SIDE, |params, _| params.t_index_list = vec![36, 40, 44]);
    picture(&mut engine, 0);
    assert_eq!((engine.delay(), engine.work().unet_evaluations), (2, 3));
}

#[test]
fn skipped_and_passed_frames_run_no_network() {
    let mut engine = demo_engine(SIDE, |params, _| {
        params.enable_similar_image_filter = true;
        params.similar_image_filter_threshold = 0.1;
    });
    picture(&mut engine, 0);
    assert_eq!(taken(&mut engine, 0), Work::default(), "a frame like the last one is skipped");
    engine.edit(|params| params.skip_diffusion = true).unwrap();
    assert_eq!(taken(&mut engine, 5), Work::default());
}
