//! Parameters change between two frames: immediately, atomically, and never without a picture.

use dreamframe::{CfgType, Cost, ErrorKind, ParamsPatch, PictureKind};
use dreamframe::{FrameView, PixelFormat};
use dreamframe_tests::frames::{demo_engine, largest_difference, moving_disc, picture, pictures};

const SIDE: u32 = 64;

fn patch(text: &str) -> ParamsPatch {
    ParamsPatch::from_json(text).unwrap()
}

#[test]
fn every_number_changes_live_and_counts() {
    for (change, cost) in [
        (r#"{"prompt": "moonlit night"}"#, Cost::Recompute),
        (r#"{"prompt": [["moonlit night", 1], ["a mosaic", 1]]}"#, Cost::Recompute),
        (r#"{"seed": 4}"#, Cost::Recompute),
        (r#"{"seed": [[4, 0.5], [9, 0.5]], "seed_interpolation_method": "slerp"}"#, Cost::Recompute),
        (r#"{"t_index_list": [35, 44]}"#, Cost::Recompute),
        (r#"{"t_index_list": [45]}"#, Cost::Recompute),
        (r#"{"t_index_list": [30, 38, 42, 47]}"#, Cost::Recompute),
        (r#"{"num_inference_steps": 30}"#, Cost::Recompute),
        (r#"{"do_add_noise": false}"#, Cost::Recompute),
        (r#"{"guidance_scale": 1.8}"#, Cost::Hot),
        (r#"{"guidance_scale": 1.8, "cfg_type": "full"}"#, Cost::Recompute),
        (r#"{"guidance_scale": 1.8, "cfg_type": "initialize"}"#, Cost::Recompute),
        (r#"{"use_denoising_batch": false}"#, Cost::Rebuild),
    ] {
        let mut plain = demo_engine(SIDE, |_, _| ());
        let mut changed = demo_engine(SIDE, |_, _| ());
        assert_eq!(pictures(&mut plain, 4), pictures(&mut changed, 4));
        let update = changed.update(&patch(change)).unwrap();
        assert_eq!(update.cost, Some(cost), "{change}");
        let frames = 4..8;
        let (a, b): (Vec<_>, Vec<_>) =
            frames.map(|index| (picture(&mut plain, index), picture(&mut changed, index))).unzip();
        assert!(a != b, "{change} must count");
        for picture in &b {
            let mean = picture.iter().map(|&byte| f64::from(byte)).sum::<f64>() / picture.len() as f64;
            assert!((60.0..240.0).contains(&mean), "{change}: a picture of mean {mean}");
        }
    }
}

/// Frames go on through every change of the kind of guidance, and the stream then is the one of that kind: once every row
/// in flight has entered with it, its pictures are those of a stream that had it from the start.
#[test]
fn the_kind_of_guidance_changes_live_without_a_lost_picture() {
    for batched in [true, false] {
        let engine = |cfg_type: CfgType| {
            demo_engine(SIDE, |params, _| {
                params.cfg_type = cfg_type;
                params.guidance_scale = 1.6;
                params.negative_prompt = "a grey wall".into();
                params.use_denoising_batch = batched;
            })
        };
        let plain: Vec<Vec<Vec<u8>>> =
            CfgType::ALL.iter().map(|&cfg_type| pictures(&mut engine(cfg_type), 6)).collect();
        for (at, own) in plain.iter().enumerate() {
            assert!(plain.iter().skip(at + 1).all(|other| other[5] != own[5]), "{}", CfgType::ALL[at]);
        }
        for &from in CfgType::ALL {
            for (at, &to) in CfgType::ALL.iter().enumerate().filter(|(_, to)| **to != from) {
                let mut changed = engine(from);
                pictures(&mut changed, 3);
                let update = changed.update(&patch(&format!(r#"{{"cfg_type": "{to}"}}"#))).unwrap();
                let uses = |cfg_type: CfgType| matches!(cfg_type, CfgType::Full | CfgType::Initialize);
                let cost = if uses(from) || uses(to) { Cost::Recompute } else { Cost::Hot };
                assert_eq!(update.cost, Some(cost), "{from} to {to}");
                for index in 3..5 {
                    let next = picture(&mut changed, index);
                    let mean = next.iter().map(|&byte| f64::from(byte)).sum::<f64>() / next.len() as f64;
                    assert!((60.0..240.0).contains(&mean), "{from} to {to}: a picture of mean {mean}");
                }
                assert!(picture(&mut changed, 5) == plain[at][5], "{from} to {to}, batched {batched}");
            }
        }
    }
}

#[test]
fn a_negative_prompt_counts_with_guidance_that_uses_it_and_is_free_otherwise() {
    for &cfg_type in CfgType::ALL {
        for guidance_scale in [1.0, 1.6] {
            let mut engine = demo_engine(SIDE, |params, _| {
                (params.cfg_type, params.guidance_scale) = (cfg_type, guidance_scale);
            });
            pictures(&mut engine, 4);
            let before = picture(&mut engine, 3);
            assert!(picture(&mut engine, 3) == before, "the same frame again");
            let plan = engine.plan(&patch(r#"{"negative_prompt": "a grey wall"}"#)).unwrap();
            let update = engine.update(&patch(r#"{"negative_prompt": "a grey wall"}"#)).unwrap();
            let counts = guidance_scale > 1.0 && matches!(cfg_type, CfgType::Full | CfgType::Initialize);
            assert_eq!(update.cost, Some(if counts { Cost::Recompute } else { Cost::Hot }), "{cfg_type}");
            let told = plan.notices().iter().any(|notice| notice.path == "negative_prompt");
            assert_eq!(told, !counts, "{cfg_type} {guidance_scale}: {:?}", plan.notices());
            picture(&mut engine, 3);
            assert_eq!(picture(&mut engine, 3) != before, counts, "{cfg_type} {guidance_scale}");
        }
    }
}

#[test]
fn delta_counts_while_guidance_is_on() {
    let guided = |delta: f64| {
        pictures(
            &mut demo_engine(SIDE, |params, _| {
                params.guidance_scale = 1.5;
                params.delta = delta;
            }),
            4,
        )
    };
    assert!(guided(0.2) != guided(0.9));
}

#[test]
fn an_equal_value_changes_nothing() {
    let mut engine = demo_engine(SIDE, |_, _| ());
    let update = engine.update(&patch(r#"{"t_index_list": [41, 46], "guidance_scale": 1.0}"#)).unwrap();
    assert_eq!((update.cost, update.changes.len()), (None, 0));
}

#[test]
fn a_failed_update_changes_nothing() {
    let mut tried = demo_engine(SIDE, |_, _| ());
    let mut untouched = demo_engine(SIDE, |_, _| ());
    for (change, kind) in [
        (r#"{"delta": 0.1, "t_index_list": [51]}"#, ErrorKind::InvalidParams),
        (r#"{"delta": 0.1, "width": 136}"#, ErrorKind::InvalidParams),
        (
            r#"{"delta": 0.1, "controlnets": [{"model_id": "some/controlnet", "preprocessor": "canny"}]}"#,
            ErrorKind::NotFound,
        ),
    ] {
        let before = tried.params().clone();
        let refused = tried.update(&patch(change)).unwrap_err();
        assert_eq!(refused.kind(), kind, "{change}: {refused}");
        assert_eq!(tried.params(), &before);
        assert!(picture(&mut tried, 0) == picture(&mut untouched, 0), "{change}");
    }
}

#[test]
fn plan_returns_the_cost_and_changes_nothing() {
    let engine = demo_engine(SIDE, |_, _| ());
    let plan = engine.plan(&patch(r#"{"width": 192, "delta": 0.5}"#)).unwrap();
    assert_eq!((plan.cost(), plan.changes().len(), plan.params().width), (Some(Cost::Rebuild), 2, 192));
    assert!(!plan.frees_first(), "the demo model has room twice");
    assert_eq!(engine.size(), (SIDE, SIDE));
    assert_eq!(engine.plan(&patch(r#"{"t_index_list": [51]}"#)).unwrap_err().kind(), ErrorKind::InvalidParams);
}

#[test]
fn update_is_prepared_on_another_thread_while_frames_are_processed() {
    let (mut engine, mut plain) = (demo_engine(SIDE, |_, _| ()), demo_engine(SIDE, |_, _| ()));
    let plan = engine.plan(&patch(r#"{"prompt": "moonlit night"}"#)).unwrap();
    let worker = std::thread::spawn(move || plan.prepare());
    assert!(pictures(&mut engine, 3) == pictures(&mut plain, 3));
    let mut prepared = worker.join().unwrap().unwrap();
    engine.swap(&mut prepared).unwrap();
    assert!(picture(&mut engine, 3) != picture(&mut plain, 3));
    // What was in use is what a second swap would bring back, and that is not its turn.
    assert_eq!(engine.swap(&mut prepared).unwrap_err().kind(), ErrorKind::InvalidArgument);
}

#[test]
fn update_based_on_a_replaced_pipeline_is_rejected() {
    let mut engine = demo_engine(SIDE, |_, _| ());
    let early = engine.prepare(&patch(r#"{"delta": 0.2}"#)).unwrap();
    engine.update(&patch(r#"{"delta": 0.9}"#)).unwrap();
    assert_eq!(engine.apply(early).unwrap_err().kind(), ErrorKind::InvalidArgument);
    assert_eq!(engine.params().delta, 0.9);
    let foreign = demo_engine(SIDE, |_, _| ()).prepare(&patch(r#"{"delta": 0.3}"#)).unwrap();
    assert_eq!(engine.apply(foreign).unwrap_err().kind(), ErrorKind::InvalidArgument);
}

#[test]
fn a_released_engine_repeats_the_last_picture_until_it_has_a_pipeline_again() {
    let mut engine = demo_engine(SIDE, |_, _| ());
    let last = pictures(&mut engine, 3).pop().unwrap();
    let (bench, params) = (engine.workbench(), engine.params().clone());
    engine.release();
    assert!(picture(&mut engine, 7) == last);
    assert_eq!(engine.evaluations_per_frame(), 0);
    assert_eq!(engine.plan(&patch(r#"{"delta": 0.2}"#)).unwrap_err().kind(), ErrorKind::InvalidArgument);
    engine.apply(bench.prepare(params, None, &[]).unwrap()).unwrap();
    assert!(pictures(&mut engine, 3) == pictures(&mut demo_engine(SIDE, |_, _| ()), 3));
}

#[test]
fn the_size_changes_live() {
    let mut engine = demo_engine(SIDE, |_, _| ());
    picture(&mut engine, 0);
    engine.update(&patch(r#"{"width": 192, "height": 64}"#)).unwrap();
    assert_eq!(picture(&mut engine, 1).len(), 192 * 64 * 4);
    assert_eq!(engine.size(), (192, 64));
}

#[test]
fn a_size_that_the_model_cannot_do_names_the_nearest() {
    let mut engine = demo_engine(SIDE, |_, _| ());
    let refused = engine.update(&patch(r#"{"width": 72}"#)).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidParams);
    assert!(refused.to_string().contains("64x64") && refused.to_string().contains("80x64"), "{refused}");
}

#[test]
fn the_first_pictures_after_a_change_of_length_are_whole() {
    let mut engine = demo_engine(SIDE, |_, _| ());
    let steady = pictures(&mut engine, 4).pop().unwrap();
    for list in ["[38, 43, 47]", "[45]", "[36, 40, 44, 48]"] {
        engine.update(&patch(&format!(r#"{{"t_index_list": {list}}}"#))).unwrap();
        for _ in 0..4 {
            let next = picture(&mut engine, 3);
            let mean = |pixels: &[u8]| pixels.iter().map(|&byte| f64::from(byte)).sum::<f64>() / pixels.len() as f64;
            let apart = (mean(&next) - mean(&steady)).abs();
            assert!(apart < 25.0, "{list}: mean level {apart} away from the steady picture");
        }
    }
}

#[test]
fn a_picture_names_the_frame_it_was_made_from() {
    let mut engine = demo_engine(SIDE, |params, _| params.t_index_list = vec![38, 42, 46]);
    let mut sources = Vec::new();
    for index in 0..6 {
        let pixels = moving_disc(index, SIDE, SIDE);
        let frame = FrameView::packed(PixelFormat::Rgba8, SIDE, SIDE, &pixels).unwrap();
        sources.push(engine.process(&frame).unwrap().source_id.0);
    }
    assert_eq!(engine.delay(), 2);
    assert_eq!(sources, [0, 0, 0, 1, 2, 3]);
}

#[test]
fn still_frames_are_repeated_and_counted_exactly() {
    let mut engine = demo_engine(SIDE, |params, _| {
        params.enable_similar_image_filter = true;
        params.similar_image_filter_max_skip_frame = 3;
        params.similar_image_filter_threshold = 0.5;
    });
    let pixels = moving_disc(0, SIDE, SIDE);
    let frame = FrameView::packed(PixelFormat::Rgba8, SIDE, SIDE, &pixels).unwrap();
    let kinds: Vec<PictureKind> = (0..9).map(|_| engine.process(&frame).unwrap().kind).collect();
    use PictureKind::{New, Repeated};
    assert_eq!(kinds, [New, Repeated, Repeated, Repeated, New, Repeated, Repeated, Repeated, New]);
}

#[test]
fn skipping_diffusion_passes_the_frame() {
    let mut engine = demo_engine(SIDE, |params, _| params.skip_diffusion = true);
    assert!(largest_difference(&picture(&mut engine, 2), &moving_disc(2, SIDE, SIDE)) <= 1);
}

#[test]
fn invalid_frame_is_rejected_and_the_stream_continues() {
    let mut engine = demo_engine(SIDE, |_, _| ());
    let good = picture(&mut engine, 0);
    let short = FrameView::packed(PixelFormat::Rgba8, SIDE, SIDE, &[0; 16]).unwrap_err();
    assert_eq!(short.kind(), ErrorKind::InvalidFrame);
    assert_eq!(picture(&mut engine, 0).len(), good.len());
}
