//! Processors that are networks against torch, on every executor: at most 2e-3 of a colour apart, which leaves room for
//! a map that is stretched to its range, and 0.1 where values are kept in bf16.

use std::sync::Arc;

use dreamframe::exec::{Dtype, Executor};
use dreamframe::load::ModelSource;
use dreamframe::params::ProcessorName;
use dreamframe::preprocess::networks::ModelNetworks;
use dreamframe::preprocess::{Context, Image, Registry};
use dreamframe::{Error, ErrorKind};
use dreamframe_tests::controlnets::{Folder, controlnets};
use dreamframe_tests::frames::{picture, pictures};
use dreamframe_tests::{Golden, executors};
use serde_json::{Map, Value, json};

fn folder(part: &str) -> String {
    format!("{}/golden/{part}", env!("CARGO_MANIFEST_DIR"))
}

fn image(golden: &Golden, name: &str) -> Image {
    let &[height, width, channels] = golden.shape(name) else { panic!("{name} is no picture") };
    Image::from_pixels(width, height, channels, golden.numbers(name)).unwrap()
}

fn registry(source: ModelSource, executor: Arc<dyn Executor>, size: (usize, usize)) -> Registry {
    Registry::new().with_networks(Arc::new(ModelNetworks::new(source, executor))).sized(size)
}

/// What the processor `name` makes of `picture` on one executor.
fn run(
    source: ModelSource,
    executor: &Arc<dyn Executor>,
    name: ProcessorName,
    settings: &Value,
    picture: &Image,
) -> Result<Image, Error> {
    let size = (picture.width(), picture.height());
    let recipe = registry(source, executor.clone(), size).recipe(name, settings.as_object().unwrap())?;
    let (mut processor, mut output) = (recipe.start(), Image::new());
    // The second time over memory that is not new.
    for _ in 0..2 {
        processor.run(picture, &Context { previous: None, size }, &mut output)?;
    }
    Ok(output)
}

fn all() -> Vec<(String, Arc<dyn Executor>)> {
    executors().into_iter().map(|(name, executor)| (name, Arc::from(executor))).collect()
}

/// Checks a processor against the golden `expected`, a map or a picture, on every executor.
fn check(name: ProcessorName, settings: Value, picture: &str, expected: &str) {
    check_in("annotators", 2e-3, name, settings, [picture, expected]);
}

/// The same with a golden in the folder `part`, and another bound where values are kept in single precision.
fn check_in(part: &str, bound: f32, name: ProcessorName, settings: Value, [picture, expected]: [&str; 2]) {
    let golden = Golden::folder(folder(part));
    let (picture, expected) = (image(&golden, picture), image(&golden, expected));
    for (which, executor) in all() {
        let source = ModelSource::folder(folder(&format!("{part}/models")));
        let found = run(source, &executor, name, &settings, &picture).unwrap();
        assert_eq!((found.width(), found.height(), found.channels()), (expected.width(), expected.height(), 3));
        let of = |i: usize| expected.pixels()[if expected.channels() == 1 { i / 3 } else { i }];
        let apart = found.pixels().iter().enumerate().map(|(i, x)| (x - of(i)).abs());
        let (worst, bound) = (apart.fold(0.0, f32::max), if executor.dtype() == Dtype::F32 { bound } else { 0.1 });
        assert!(worst <= bound, "{name} on {which}: {worst} apart");
    }
}

#[test]
fn soft_edges_are_those_of_hed_where_its_weights_are() {
    check(ProcessorName::Hed, json!({}), "hed.picture", "hed.map");
}

#[test]
fn safe_edges_are_those_of_hed_in_three_steps_and_change_live() {
    let golden = Golden::folder(folder("annotators"));
    let (picture, map) = (image(&golden, "hed.picture"), image(&golden, "hed.map"));
    let size = (picture.width(), picture.height());
    let (_, executor) = all().remove(0);
    let registry = registry(ModelSource::folder(folder("annotators/models")), executor, size);
    let (mut processor, mut edges) = (registry.recipe(ProcessorName::Hed, &Map::new()).unwrap().start(), Image::new());
    let mut run = |safe: bool| {
        processor.configure(&Map::from_iter([("safe".to_owned(), safe.into())]));
        processor.run(&picture, &Context { previous: None, size }, &mut edges).unwrap();
        edges.pixels().to_vec()
    };
    for (safe, plain) in run(true).into_iter().zip(map.pixels().iter().flat_map(|value| [*value; 3])) {
        // A value near a boundary may fall on either side.
        let is_near = [1.0 / 3.0, 2.0 / 3.0].iter().any(|boundary: &f32| (plain - boundary).abs() < 2e-3);
        assert!(safe == ((plain * 3.0).floor() / 2.0).min(1.0) || is_near, "{safe} for {plain}");
    }
    assert!(run(false).iter().any(|value| ![0.0, 0.5, 1.0].contains(value)));
}

#[test]
fn lines_are_coarse_or_fine() {
    check(ProcessorName::Lineart, json!({"detect_resolution": 32}), "lineart.picture", "lineart.coarse");
    check(ProcessorName::Lineart, json!({"detect_resolution": 32, "coarse": false}), "lineart.picture", "lineart.fine");
}

#[test]
fn lines_are_those_of_anime_where_they_are_asked_for() {
    let settings = json!({"anime_style": true, "detect_resolution": 32});
    check_in("anime", 1e-4, ProcessorName::Lineart, settings, ["picture", "lines"]);
}

#[test]
fn flow_is_that_of_raft_where_its_weights_are() {
    let golden = Golden::folder(folder("flow"));
    let [previous, current, shown] = ["previous", "current", "shown"].map(|name| image(&golden, name));
    let (size, settings) = ((previous.width(), previous.height()), json!({"width": 136, "height": 128}));
    for (which, executor) in all() {
        let registry = registry(ModelSource::folder(folder("flow/models")), executor.clone(), size);
        let recipe = registry.recipe(ProcessorName::TemporalNetTensorrt, settings.as_object().unwrap()).unwrap();
        let (mut processor, mut output) = (recipe.start(), Image::new());
        for frame in [&previous, &current] {
            processor.run(frame, &Context { previous: None, size }, &mut output).unwrap();
        }
        let mut worst = 0.0_f32;
        let pixels = output.pixels().as_chunks::<6>().0.iter().zip(previous.pixels().as_chunks::<3>().0);
        for ((found, last), shown) in pixels.zip(shown.pixels().as_chunks::<3>().0) {
            assert_eq!(found[..3], last[..]);
            worst = found[3..].iter().zip(shown).map(|(found, shown)| (found - shown).abs()).fold(worst, f32::max);
        }
        // Colours are whole bytes, so a little may be a whole one.
        assert!(worst <= if executor.dtype() == Dtype::F32 { 0.01 } else { 0.2 }, "{which}: {worst} apart");
    }
}

#[test]
fn depth_is_the_same_from_both_layouts_of_its_weights() {
    let settings = json!({"detect_resolution": 28});
    check(ProcessorName::Depth, settings.clone(), "depth.picture", "depth.map");
    check(ProcessorName::DepthTensorrt, settings, "depth.picture", "depth.map");
    let authors = json!({"model": "authors/depth", "detect_resolution": 28});
    check(ProcessorName::Depth, authors, "depth.picture", "depth.map");
}

#[test]
fn pictures_are_enlarged_twofold() {
    check(ProcessorName::RealesrganTrt, json!({}), "upscaler.picture", "upscaler.enlarged");
}

#[test]
fn soft_edges_need_no_file() {
    let golden = Golden::folder(folder("annotators"));
    let (picture, expected) = (image(&golden, "edges.picture"), golden.numbers("edges.map"));
    for (which, executor) in all() {
        let found = run(ModelSource::Demo, &executor, ProcessorName::Hed, &json!({}), &picture).unwrap();
        let apart = found.pixels().iter().step_by(3).zip(&expected).map(|(x, y)| (x - y).abs()).fold(0.0, f32::max);
        assert!(apart <= if executor.dtype() == Dtype::F32 { 2e-3 } else { 0.1 }, "{which}: {apart}");
    }
}

#[test]
fn missing_files_are_reported_with_the_searched_paths() {
    let picture = Image::from_pixels(16, 16, 3, vec![0.5; 16 * 16 * 3]).unwrap();
    let (_, executor) = all().swap_remove(0);
    let refused = |source: ModelSource, name: ProcessorName, settings: Value| {
        let error = run(source, &executor, name, &settings, &picture).unwrap_err();
        (error.kind(), error.to_string())
    };
    for (name, settings, kind, words) in [
        (ProcessorName::Lineart, json!({}), ErrorKind::NotFound, "lllyasviel/Annotators/sk_model2.safetensors"),
        (ProcessorName::Lineart, json!({"anime_style": true}), ErrorKind::NotFound, "netG.safetensors"),
        (ProcessorName::Depth, json!({}), ErrorKind::NotFound, "depth-anything/Depth-Anything-V2-Small-hf"),
        (ProcessorName::Depth, json!({"model": "my/own"}), ErrorKind::NotFound, "my/own"),
        (ProcessorName::Depth, json!({"model": "../x"}), ErrorKind::InvalidArgument, "model id: got \"../x\""),
        (ProcessorName::RealesrganTrt, json!({}), ErrorKind::NotFound, "RealESRGAN_x2plus.safetensors"),
    ] {
        let (found, text) = refused(ModelSource::Demo, name, settings);
        assert_eq!(found, kind, "{text}");
        assert!(text.contains(words) && text.contains(name.name()), "{text}");
    }
    // A file of another network.
    let wrong = json!({"model": "xinntao/Real-ESRGAN"});
    let (kind, text) = refused(ModelSource::folder(folder("annotators/models")), ProcessorName::Depth, wrong);
    assert_eq!(kind, ErrorKind::NotFound, "{text}");
}

#[test]
fn a_network_is_loaded_once_for_all_that_use_it() {
    let (_, executor) = all().swap_remove(0);
    let networks = Arc::new(ModelNetworks::new(ModelSource::folder(folder("annotators/models")), executor));
    let registry = |size| Registry::new().with_networks(networks.clone()).sized(size);
    let settings = json!({"detect_resolution": 32});
    let recipe = |size| registry(size).recipe(ProcessorName::Lineart, settings.as_object().unwrap()).unwrap();
    let (one, same, other) = (recipe((32, 32)), recipe((32, 32)), recipe((64, 32)));
    assert!(one.continues(&same) && !one.continues(&other));
}

#[test]
fn controlnets_of_an_engine_see_what_networks_make() {
    let folder = Folder::new(env!("CARGO_TARGET_TMPDIR"), "annotators");
    folder.controlnet("edges", 1);
    let mut seen = Vec::new();
    for name in ["passthrough", "hed", "openpose", "mediapipe_pose", "pose_tensorrt", "mediapipe_segmentation"] {
        let list = || controlnets(json!([{"model_id": "edges", "preprocessor": name}]));
        let (mut engine, mut same) = (folder.engine(64, |_, _| {}), folder.engine(64, |_, _| {}));
        engine.update(&list()).unwrap();
        same.update(&list()).unwrap();
        let made = pictures(&mut engine, 2);
        assert!(made == pictures(&mut same, 2), "{name} makes the same of the same frames");
        seen.push((name, made));
        // Another size lays the network out again.
        engine.edit(|params| (params.width, params.height) = (96, 64)).unwrap();
        picture(&mut engine, 2);
    }
    assert!(seen[1].1 != seen[0].1, "hed changes the picture");
    let mut engine = folder.engine(64, |_, _| {});
    let missing = controlnets(json!([{"model_id": "edges", "preprocessor": "depth"}]));
    let refused = engine.update(&missing).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::NotFound);
    assert!(refused.to_string().contains("Depth-Anything"), "{refused}");
    picture(&mut engine, 0);
}
