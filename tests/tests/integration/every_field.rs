//! Every parameter changes mid-stream: at the cost that its row declares, without a frame lost, and counts from the first
//! frame after it was applied. A value that is not allowed changes nothing.

use std::time::{Duration, Instant};

use dreamframe::params::{Constraint, Cost, FIELDS, Field, ParamsPatch};
use dreamframe::{Engine, ErrorKind, FrameView, Outcome, Picture, PixelFormat, SessionHandle, SessionOptions};
use dreamframe_tests::controlnets::RIFE;
use dreamframe_tests::frames::moving_disc;
use dreamframe_tests::kit::{Kit, SIDE};
use serde_json::{Value, json};

/// How long anything may take before the test fails.
const LIMIT: Duration = Duration::from_secs(180);

/// The number of frames of a stream whose parameters change, and of those before the change.
const FRAMES: usize = 9;
const CHANGE: usize = 4;

/// The picture that comes out with a new frame.
fn picture(handle: &SessionHandle, index: usize) -> Picture {
    let pixels = moving_disc(index % 8, SIDE, SIDE);
    let id = handle.submit(&FrameView::packed(PixelFormat::Rgba8, SIDE, SIDE, &pixels).unwrap()).unwrap();
    let deadline = Instant::now() + LIMIT;
    loop {
        let picture = handle.wait(deadline.saturating_duration_since(Instant::now())).expect("a picture in time");
        if picture.id == id {
            return picture;
        }
    }
}

/// The value at the path of a field; of lists, the first item's.
fn at<'a>(root: &'a mut Value, path: &str) -> &'a mut Value {
    let pointer = format!("/{}", path.replace("[]", "/0").replace('.', "/"));
    root.pointer_mut(&pointer).unwrap_or_else(|| panic!("{path}"))
}

/// A patch of the root field that `path` is in.
fn patch(root: &Value, path: &str) -> Value {
    let name = path.split(['.', '[']).next().unwrap();
    json!({ name: root[name] })
}

/// Another value for a field.
#[allow(clippy::wildcard_enum_match_arm, reason = "kinds of values that a field may have are many, and few need care")]
fn another(field: &Field, old: &Value) -> Value {
    match (field.path, &field.constraint) {
        ("model_id", _) => "second-demo".into(),
        ("width" | "height", _) => 96.into(),
        ("t_index_list", _) => json!([38, 43, 47]),
        ("num_inference_steps", _) => 60.into(),
        ("lora_dict", _) => json!({"lora-a": 0.25, "lora-b": 1.0}),
        ("ip_adapter_style_image_url", _) => Kit::other_style().into(),
        ("ip_adapter.ip_adapter_model_path", _) => "another-adapter".into(),
        ("ip_adapter.image_encoder_path", _) => "another-adapter/image_encoder".into(),
        ("interpolation.model_id", _) => RIFE[0].into(),
        ("controlnets", _) => {
            let mut another = old[1].clone();
            another["model_id"] = "net-c".into();
            json!([old[0], another])
        }
        ("controlnets[].model_id", _) => "net-c".into(),
        // With 50 steps, the first other one has the same timesteps.
        ("timestep_spacing", _) => "leading".into(),
        ("controlnets[].preprocessor" | "image_preprocessing.processors[].type", _) => "soft_edge".into(),
        ("image_postprocessing.processors[].type", _) => "blur".into(),
        // The only processor of latents: what can change is whether there is another one.
        ("latent_preprocessing.processors[].type" | "latent_postprocessing.processors[].type", _) => old.clone(),
        ("controlnets[].preprocessor_params", _) => json!({"low_threshold": 70}),
        // Above nearly all similarities.
        ("cached_attention.feature_similarity_threshold", _) => 1.0.into(),
        ("controlnets[].conditioning_channels", _) => 3.into(),
        ("image_preprocessing.processors[].params", _) => json!({"blur_intensity": 1.5}),
        ("image_postprocessing.processors[].params", _) => json!({"sharpen_intensity": 0.9}),
        // There is one step and no guidance with it: `img2img_turbo.rs` changes it.
        ("img2img_turbo.weights", _) => old.clone(),
        (_, Constraint::Items { .. }) => json!([old[0], old[0]]),
        (_, Constraint::Settings) => json!({"feedback_strength": 0.3}),
        (_, Constraint::Flag) => (!old.as_bool().unwrap()).into(),
        (_, Constraint::Integer { max, .. }) => {
            (old.as_u64().map_or(1, |old| if old < *max { old + 1 } else { old - 1 })).into()
        }
        (_, Constraint::Number { max, .. }) => {
            // On the same side of 1, where a guidance scale changes what it costs.
            let old = old.as_f64().unwrap();
            (if old + 0.05 <= *max { old + 0.05 } else { old - 0.05 }).into()
        }
        (_, Constraint::Choice(names)) => (*names.iter().find(|name| **name != old.as_str().unwrap()).unwrap()).into(),
        (_, Constraint::Weighted(inner)) => match **inner {
            Constraint::Text { .. } => "a red brick wall".into(),
            _ => 12345.into(),
        },
        (_, Constraint::Text { .. } | Constraint::Nullable(_)) => "another/one".into(),
        (_, Constraint::List { .. } | Constraint::Named { .. }) => {
            unreachable!("{} has a value of its own", field.path)
        }
        (_, _) => unreachable!("{} is of a new kind", field.path),
    }
}

/// A value that no field like this takes.
#[allow(clippy::wildcard_enum_match_arm, reason = "kinds of values that a field may have are many, and few need care")]
fn forbidden(field: &Field) -> Value {
    match field.constraint {
        Constraint::Integer { max, .. } => (max + 1).into(),
        Constraint::Number { max, .. } => (max + 1.0).into(),
        Constraint::Choice(_) => "no such name".into(),
        _ => json!({"x": {"y": []}}),
    }
}

#[test]
fn every_field_changes_while_frames_are_processed() {
    let kit = Kit::new(env!("CARGO_TARGET_TMPDIR"), "every-field");
    let base = Kit::params();
    let session = kit.engine(base.clone(), |_| ()).unwrap().start(SessionOptions::default()).unwrap();
    let handle = session.handle();
    let mut frames = 0;
    let mut next = |handle: &SessionHandle| {
        frames += 1;
        picture(handle, frames)
    };
    // Applies a patch with frames continuing all the while; gives what it cost.
    let mut apply = |handle: &SessionHandle, patch: &Value| -> Option<Cost> {
        let ticket = handle.update(&ParamsPatch::from_json(&patch.to_string()).unwrap()).unwrap();
        let deadline = Instant::now() + LIMIT;
        while handle.active_version() < ticket.version {
            assert!(next(handle).version <= ticket.version && Instant::now() < deadline, "{patch}");
            if let Ok(Outcome::Rejected(error)) = handle.wait_for(&ticket, Duration::ZERO) {
                panic!("{patch}: {error}");
            }
        }
        assert_eq!(next(handle).version, ticket.version, "{patch} counts from the first frame on");
        ticket.cost
    };
    for field in FIELDS {
        let mut wanted = base.to_value();
        let place = at(&mut wanted, field.path);
        let old = place.clone();
        *place = another(field, &old);
        if *place != old {
            let cost = apply(&handle, &patch(&wanted, field.path));
            assert_eq!(cost, Some(field.cost), "{}: {old} to {}", field.path, at(&mut wanted, field.path));
            let mut now = handle.params().to_value();
            assert_eq!(at(&mut now, field.path), at(&mut wanted, field.path), "{}", field.path);
        }

        let (before, version) = (handle.params(), handle.active_version());
        *at(&mut wanted, field.path) = forbidden(field);
        let bad = patch(&wanted, field.path).to_string();
        let refused = ParamsPatch::from_json(&bad).and_then(|patch| handle.update(&patch)).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidParams, "{}: {refused}", field.path);
        let name = field.path.rsplit('.').next().unwrap().trim_end_matches("[]");
        assert!(refused.to_string().contains(name), "{}: {refused}", field.path);
        assert_eq!((handle.params(), handle.active_version()), (before, version));

        // Back again, with whatever came along.
        let now = handle.params().to_value();
        let back: serde_json::Map<String, Value> = base.to_value().as_object().unwrap().clone();
        let back: serde_json::Map<String, Value> =
            back.into_iter().filter(|(name, value)| now[name] != *value).collect();
        if !back.is_empty() {
            apply(&handle, &Value::Object(back));
        }
        assert_eq!(handle.params(), base, "{}", field.path);
    }
    let stats = handle.stats();
    assert_eq!((stats.failed.total, stats.dropped.total), (0, 0));
    assert_eq!(stats.submitted.total, stats.computed.total + stats.passed.total + stats.skipped.total);
}

/// Fields whose change has no effect on these pictures, and why.
const WITHOUT_EFFECT: [(&str, &str); 23] = [
    ("negative_prompt", "the type of guidance does not use it"),
    ("use_safety_checker", "the host's checker finds every picture harmless"),
    ("safety_checker_threshold", "as above"),
    ("use_lcm_lora", "the model is distilled for few steps"),
    ("lcm_lora_id", "as above"),
    ("acceleration", "a hint, with a notice"),
    ("eta", "the scheduler is not tcd"),
    ("enable_similar_image_filter", "no two frames are similar"),
    ("similar_image_filter_threshold", "the filter is off"),
    ("similar_image_filter_max_skip_frame", "the filter is off"),
    ("show_reloading_frame", "for the server, while it loads"),
    ("controlnets[].preprocessor_params", "the frames have no edge between both thresholds"),
    ("controlnets[].control_guidance_end", "every timestep lies before both ends"),
    ("controlnets[].conditioning_channels", "the number that the ControlNet has anyway"),
    ("ip_adapter.image_encoder_path", "an encoder with the same weights"),
    ("ip_adapter.insightface_model_name", "faces are embedded by the host"),
    ("feature_reuse.interval", "attention to earlier frames is on"),
    ("feature_reuse.max_error", "as above"),
    ("interpolation.factor", "sessions interpolate between pictures, engines do not"),
    ("interpolation.scene_cut", "as above"),
    ("interpolation.model_id", "as above"),
    ("img2img_turbo.direction", "img2img-turbo is off"),
    ("img2img_turbo.strength", "as above"),
];

/// Two engines get the same frames: one whose field changes after some of them, and one that keeps its parameters.
#[test]
fn every_field_changes_the_pictures() {
    let kit = Kit::new(env!("CARGO_TARGET_TMPDIR"), "every-picture");
    let base = Kit::params();
    let process = |engine: &mut Engine, index: usize| {
        let pixels = moving_disc(index, SIDE, SIDE);
        let picture = engine.process(&FrameView::packed(PixelFormat::Rgba8, SIDE, SIDE, &pixels).unwrap()).unwrap();
        picture.frame.pixels().to_vec()
    };
    let kept: Vec<Vec<u8>> = {
        let mut engine = kit.engine(base.clone(), |_| ()).unwrap();
        (0..FRAMES).map(|index| process(&mut engine, index)).collect()
    };
    let mut wrong = Vec::new();
    for field in FIELDS {
        let mut wanted = base.to_value();
        let place = at(&mut wanted, field.path);
        let old = place.clone();
        *place = another(field, &old);
        if *place == old {
            continue;
        }
        let mut engine = kit.engine(base.clone(), |_| ()).unwrap();
        for (index, kept) in kept.iter().enumerate().take(CHANGE) {
            assert!(process(&mut engine, index) == *kept, "{}: before the change", field.path);
        }
        engine.update(&ParamsPatch::from_json(&patch(&wanted, field.path).to_string()).unwrap()).unwrap();
        let has_effect = (CHANGE..FRAMES).any(|index| process(&mut engine, index) != kept[index]);
        let excepted = WITHOUT_EFFECT.iter().any(|(path, _)| *path == field.path);
        if has_effect == excepted {
            wrong.push((field.path, has_effect));
        }
    }
    assert!(wrong.is_empty(), "fields, and whether they have an effect: {wrong:#?}");
}
