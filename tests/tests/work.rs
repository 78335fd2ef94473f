//! What a frame takes: network evaluations and rows, for every guidance mode and number of steps.

use dreamframe::{CfgType, Engine};
use dreamframe_tests::frames::{demo_engine, picture};

const SIDE: u32 = 64;

/// UNet evaluations and rows of one frame in the steady state.
fn of_a_frame(cfg_type: CfgType, guidance_scale: f64, steps: &[u32], batched: bool) -> (u64, u64) {
    let mut engine = demo_engine(SIDE, |params, options| {
        options.cfg_type = cfg_type;
        params.guidance_scale = guidance_scale;
        params.t_index_list = steps.to_vec();
        params.use_denoising_batch = batched;
    });
    let count = |engine: &Engine| (engine.work().unet_evaluations, engine.work().unet_rows);
    (0..2).for_each(|index| drop(picture(&mut engine, index)));
    let before = count(&engine);
    picture(&mut engine, 2);
    let after = count(&engine);
    assert_eq!(after.1 - before.1, engine.evaluations_per_frame() as u64, "the engine tells what it does");
    (after.0 - before.0, after.1 - before.1)
}

#[test]
fn a_frame_takes_one_evaluation_with_batching_and_one_a_step_without() {
    for steps in [&[45][..], &[41, 46], &[36, 40, 44, 48]] {
        let n = steps.len() as u64;
        for (cfg_type, scale, rows) in [
            (CfgType::None, 1.0, n),
            (CfgType::SelfNegative, 1.0, n),
            (CfgType::SelfNegative, 1.6, n),
            (CfgType::Initialize, 1.6, n + 1),
            (CfgType::Initialize, 1.0, n),
            (CfgType::Full, 1.6, 2 * n),
            (CfgType::Full, 1.0, n),
        ] {
            let what = format!("{cfg_type:?} at {scale}, {n} steps");
            assert_eq!(of_a_frame(cfg_type, scale, steps, true), (1, rows), "{what}");
            assert_eq!(of_a_frame(cfg_type, scale, steps, false), (n, rows), "{what}, without batching");
        }
    }
}

#[test]
fn a_new_stream_takes_as_many_further_evaluations_as_it_has_delay() {
    let mut engine = demo_engine(SIDE, |params, _| params.t_index_list = vec![36, 40, 44]);
    picture(&mut engine, 0);
    assert_eq!((engine.delay(), engine.work().unet_evaluations), (2, 3));
}

#[test]
fn what_is_skipped_or_passed_takes_nothing() {
    let mut engine = demo_engine(SIDE, |params, _| {
        params.enable_similar_image_filter = true;
        params.similar_image_filter_threshold = 0.1;
    });
    picture(&mut engine, 0);
    let before = engine.work();
    picture(&mut engine, 0);
    assert_eq!(engine.work(), before, "a frame like the last one is skipped");
    engine.edit(|params| params.skip_diffusion = true).unwrap();
    picture(&mut engine, 5);
    assert_eq!(engine.work(), before);
}
