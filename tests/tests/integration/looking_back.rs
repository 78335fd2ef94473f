//! Attention to earlier frames in a running engine.

use dreamframe::{CfgType, Cost, Engine, ParamsPatch};
use dreamframe_tests::frames::{demo_engine, picture, pictures};

const SIDE: u32 = 64;

fn update(engine: &mut Engine, text: &str) -> Option<Cost> {
    engine.update(&ParamsPatch::from_json(text).unwrap()).unwrap().cost
}

/// The demo engine, which keeps `max_frames` frames, one after every `interval`.
fn looking_back(max_frames: u32, interval: u32) -> Engine {
    demo_engine(SIDE, |params, _| {
        params.cached_attention.enabled = true;
        params.cached_attention.max_frames = max_frames;
        params.cached_attention.interval = interval;
    })
}

#[test]
fn without_a_frame_to_look_back_to_pictures_are_the_plain_ones() {
    let mut plain = demo_engine(SIDE, |_, _| ());
    assert!(pictures(&mut looking_back(4, 1440), 5) == pictures(&mut plain, 5));
}

#[test]
fn it_can_be_switched_on_and_off_live() {
    let (mut engine, mut plain) = (demo_engine(SIDE, |_, _| ()), demo_engine(SIDE, |_, _| ()));
    assert!(pictures(&mut engine, 3) == pictures(&mut plain, 3));
    assert_eq!(update(&mut engine, r#"{"cached_attention": {"enabled": true}}"#), Some(Cost::Load));
    // The first frame has no earlier frames yet.
    assert!(picture(&mut engine, 3) == picture(&mut plain, 3));
    for index in 4..7 {
        assert!(picture(&mut engine, index) != picture(&mut plain, index), "frame {index}");
    }
    update(&mut engine, r#"{"cached_attention": {"enabled": false}}"#);
    let (after, plain_after) = (pictures(&mut engine, 5), pictures(&mut plain, 5));
    // Those in flight still are what they became.
    let delay = engine.delay();
    assert!(after[0] != plain_after[0] && after[delay..] == plain_after[delay..]);
}

#[test]
fn the_interval_counts_from_the_next_frame_on() {
    let (mut engine, mut plain) = (looking_back(2, 1440), demo_engine(SIDE, |_, _| ()));
    assert!(pictures(&mut engine, 3) == pictures(&mut plain, 3));
    assert_eq!(update(&mut engine, r#"{"cached_attention": {"interval": 1}}"#), Some(Cost::Hot));
    assert!(picture(&mut engine, 3) == picture(&mut plain, 3));
    assert!(picture(&mut engine, 4) != picture(&mut plain, 4));
}

#[test]
fn larger_attention_cache_keeps_its_frames() {
    let (mut engine, mut same) = (looking_back(1, 1), looking_back(1, 1));
    assert!(pictures(&mut engine, 3) == pictures(&mut same, 3));
    assert_eq!(update(&mut engine, r#"{"cached_attention": {"max_frames": 3}}"#), Some(Cost::Recompute));
    assert!(picture(&mut engine, 3) == picture(&mut same, 3), "one frame is kept still");
    assert!(picture(&mut engine, 4) != picture(&mut same, 4), "and then two are");
}

#[test]
fn smaller_attention_cache_takes_effect_immediately() {
    let (mut engine, mut same) = (looking_back(4, 1), looking_back(4, 1));
    assert!(pictures(&mut engine, 5) == pictures(&mut same, 5));
    assert_eq!(update(&mut engine, r#"{"cached_attention": {"max_frames": 1}}"#), Some(Cost::Recompute));
    let after = pictures(&mut engine, 3);
    assert!(after[0] != picture(&mut same, 0));
}

#[test]
fn every_kind_of_guidance_and_both_orders_of_work_look_back() {
    for cfg_type in [CfgType::None, CfgType::Full, CfgType::SelfNegative, CfgType::Initialize] {
        for batched in [true, false] {
            let film = |enabled: bool| {
                let mut engine = demo_engine(SIDE, |params, _| {
                    params.cached_attention.enabled = enabled;
                    params.use_denoising_batch = batched;
                    params.guidance_scale = 1.4;
                    params.cfg_type = cfg_type;
                });
                pictures(&mut engine, 4)
            };
            let (plain, back) = (film(false), film(true));
            assert!(plain[3] != back[3], "{cfg_type:?}, batched {batched}");
        }
    }
}

#[test]
fn another_number_of_rows_starts_with_nothing_kept() {
    let (mut engine, mut plain) = (looking_back(2, 1), looking_back(2, 1));
    assert!(pictures(&mut engine, 4) == pictures(&mut plain, 4));
    for engine in [&mut engine, &mut plain] {
        update(engine, r#"{"t_index_list": [30, 38, 45]}"#);
    }
    update(&mut plain, r#"{"cached_attention": {"enabled": false}}"#);
    assert!(picture(&mut engine, 4) == picture(&mut plain, 4));
}

#[test]
fn another_size_starts_as_a_new_engine_does() {
    let (mut engine, mut fresh) = (looking_back(2, 1), looking_back(2, 1));
    pictures(&mut engine, 4);
    for engine in [&mut engine, &mut fresh] {
        update(engine, r#"{"width": 128}"#);
    }
    assert!(pictures(&mut engine, 3) == pictures(&mut fresh, 3));
}

/// The demo engine, which keeps one frame and injects its tokens.
fn injecting(strength: f64, threshold: f64, token_merging: bool) -> Engine {
    demo_engine(SIDE, |params, _| {
        params.cached_attention.enabled = true;
        params.cached_attention.feature_injection_strength = strength;
        params.cached_attention.feature_similarity_threshold = threshold;
        params.cached_attention.token_merging = token_merging;
    })
}

#[test]
fn feature_injection_and_token_merging_change_pictures_once_a_frame_is_kept() {
    let plain = pictures(&mut looking_back(1, 1), 5);
    assert!(pictures(&mut injecting(0.0, 0.0, false), 5) == plain);
    for (strength, merging) in [(0.8, false), (0.0, true)] {
        // The first frame fills all rows, and so is kept before its last row is computed.
        let changed = pictures(&mut injecting(strength, 0.0, merging), 5);
        assert!(changed[3] != plain[3], "strength {strength}, merging {merging}");
        let mut engine = injecting(strength, 0.0, merging);
        assert_eq!(update(&mut engine, r#"{"cached_attention": {"interval": 1440}}"#), Some(Cost::Hot));
        assert!(pictures(&mut engine, 5) == pictures(&mut looking_back(1, 1440), 5), "nothing is kept");
    }
}

#[test]
fn feature_injection_and_token_merging_change_while_frames_are_processed() {
    let (mut engine, mut same) = (injecting(0.8, 0.0, true), injecting(0.8, 0.0, true));
    assert!(pictures(&mut engine, 3) == pictures(&mut same, 3));
    let hot = r#"{"cached_attention": {"feature_injection_strength": 0.1}}"#;
    assert_eq!(update(&mut engine, hot), Some(Cost::Hot));
    assert!(picture(&mut engine, 3) != picture(&mut same, 3));
    let threshold = r#"{"cached_attention": {"feature_similarity_threshold": 0.9}}"#;
    assert_eq!(update(&mut engine, threshold), Some(Cost::Hot));
    for off in [r#"{"feature_injection_strength": 0}"#, r#"{"token_merging": false}"#] {
        assert_eq!(update(&mut engine, &format!(r#"{{"cached_attention": {off}}}"#)), Some(Cost::Load));
        pictures(&mut engine, 2);
    }
}
