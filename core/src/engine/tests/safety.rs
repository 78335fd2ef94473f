//! The safety checker in an engine: added, used and removed while frames continue.

use std::path::Path;
use std::sync::Arc;

use super::packed::copy_folder;
use crate::engine::{Engine, EngineOptions, Flagged, PictureKind, SafetyChecker};
use crate::error::{Error, ErrorKind, Result};
use crate::frame::{FrameView, PixelFormat};
use crate::load::{ModelSource, PackedCache};
use crate::params::{Cost, StreamDiffusionParams};
use crate::preprocess::Image;

const SIDE: u32 = 64;

/// Scores pictures by brightness; fails for one size.
#[derive(Debug)]
struct Bright;

impl SafetyChecker for Bright {
    fn score(&self, image: &Image) -> Result<f32> {
        assert!(image.pixels().iter().all(|number| (0.0..=1.0).contains(number)));
        if image.width() == 2 * SIDE as usize {
            return Err(Error::new(ErrorKind::Device, "out of order"));
        }
        Ok(image.pixels().iter().sum::<f32>() / image.pixels().len() as f32)
    }
}

fn engine(source: ModelSource, flagged: Flagged, change: impl FnOnce(&mut StreamDiffusionParams)) -> Result<Engine> {
    let options = EngineOptions {
        dtype: crate::Dtype::F32,
        threads: Some(2),
        packed_cache: PackedCache::Off,
        flagged,
        ..EngineOptions::default()
    };
    let mut params = StreamDiffusionParams::demo();
    (params.width, params.height, params.t_index_list) = (SIDE, SIDE, vec![45]);
    change(&mut params);
    Engine::builder().models(source).params(params).options(options).safety_checker(Arc::new(Bright)).build()
}

/// Returns the picture of a grey frame, and its pixels.
fn picture(engine: &mut Engine, grey: u8) -> (PictureKind, u64, Vec<u8>) {
    let pixels = vec![grey; (SIDE * SIDE * 4) as usize];
    let frame = FrameView::packed(PixelFormat::Rgba8, SIDE, SIDE, &pixels).unwrap();
    let picture = engine.process(&frame).unwrap();
    (picture.kind, picture.source_id.0, picture.frame.pixels().to_vec())
}

fn is_black(pixels: &[u8]) -> bool {
    pixels.chunks(4).all(|pixel| pixel[..3] == [0; 3])
}

#[test]
fn safety_checker_is_added_and_removed_and_its_threshold_takes_effect_immediately() {
    let mut engine = engine(ModelSource::Demo, Flagged::Previous, |_| ()).unwrap();
    let (kind, _, plain) = picture(&mut engine, 100);
    assert_eq!(kind, PictureKind::New);
    let set = |engine: &mut Engine, on: bool, threshold: f64| {
        let change = |params: &mut StreamDiffusionParams| {
            (params.use_safety_checker, params.safety_checker_threshold) = (on, threshold);
        };
        engine.edit(change).unwrap().cost
    };
    assert_eq!(set(&mut engine, true, 0.0), Some(Cost::Load));
    let (kind, source, pixels) = picture(&mut engine, 100);
    assert!(kind == PictureKind::Flagged && source == 1 && is_black(&pixels), "nothing was judged good before");
    assert_eq!(set(&mut engine, true, 1.0), Some(Cost::Hot));
    assert_eq!(picture(&mut engine, 100), (PictureKind::New, 2, plain.clone()));
    assert_eq!(set(&mut engine, true, 0.0), Some(Cost::Hot));
    assert_eq!(picture(&mut engine, 200), (PictureKind::Flagged, 2, plain));
    assert_eq!(set(&mut engine, false, 0.0), Some(Cost::Load));
    assert_eq!(picture(&mut engine, 100).0, PictureKind::New);
}

#[test]
fn flagged_pictures_are_black_if_the_host_wants_that() {
    let mut engine = engine(ModelSource::Demo, Flagged::Black, |params| {
        (params.use_safety_checker, params.safety_checker_threshold) = (true, 1.0);
    })
    .unwrap();
    assert_eq!(picture(&mut engine, 100).0, PictureKind::New);
    engine.edit(|params| params.safety_checker_threshold = 0.0).unwrap();
    let (kind, _, pixels) = picture(&mut engine, 100);
    assert!(kind == PictureKind::Flagged && is_black(&pixels));
    // Frames that are passed through are not scored.
    engine.edit(|params| params.skip_diffusion = true).unwrap();
    assert_eq!(picture(&mut engine, 100).0, PictureKind::Passed);
}

#[test]
fn a_picture_that_could_not_be_judged_is_not_shown_later() {
    let mut engine = engine(ModelSource::Demo, Flagged::Previous, |params| {
        (params.use_safety_checker, params.safety_checker_threshold) = (true, 1.0);
        params.width = 2 * SIDE;
    })
    .unwrap();
    let pixels = vec![100; (SIDE * SIDE * 4) as usize];
    let frame = FrameView::packed(PixelFormat::Rgba8, SIDE, SIDE, &pixels).unwrap();
    assert_eq!(engine.process(&frame).unwrap_err().kind(), ErrorKind::Device);
    engine.release();
    let picture = engine.process(&frame).unwrap();
    assert_eq!(picture.kind, PictureKind::Passed);
}

/// An engine over a folder with the demo model as `tiny`, without a checker.
fn bare(folder: &Path) -> Engine {
    let root = env!("CARGO_MANIFEST_DIR");
    copy_folder(Path::new(&format!("{root}/../models/demo/dreamframe-tiny")), &folder.join("tiny"));
    let options = EngineOptions {
        dtype: crate::Dtype::F32,
        threads: Some(2),
        packed_cache: PackedCache::Off,
        ..Default::default()
    };
    let mut params = StreamDiffusionParams::demo();
    (params.width, params.height, params.model_id) = (SIDE, SIDE, "tiny".into());
    let builder = Engine::builder().models(ModelSource::folder(folder)).params(params).options(options);
    builder.build().unwrap()
}

#[test]
fn safety_checker_in_the_models_folder_is_found() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("CompVis")).unwrap();
    let published = folder.path().join("CompVis/stable-diffusion-safety-checker");
    let checker = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/safety_checker");
    copy_folder(Path::new(checker), &published);
    let mut engine = bare(folder.path());
    let update = engine.edit(|params| params.use_safety_checker = true).unwrap();
    assert!(!update.notices.iter().any(|notice| notice.path == "use_safety_checker"), "{:?}", update.notices);
    engine.edit(|params| params.safety_checker_threshold = 0.0).unwrap();
    for _ in 0..3 {
        assert_eq!(picture(&mut engine, 100).0, PictureKind::Flagged);
    }
}

#[cfg(not(feature = "safety"))]
#[test]
fn a_checker_that_is_nowhere_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let refused = bare(folder.path()).edit(|params| params.use_safety_checker = true).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::NotFound);
    assert!(refused.to_string().contains("stable-diffusion-safety-checker"), "{refused}");
}

#[cfg(feature = "safety")]
#[test]
fn without_another_checker_the_built_in_one_is_used_with_a_notice() {
    let folder = tempfile::tempdir().unwrap();
    let mut engine = bare(folder.path());
    let (_, _, plain) = picture(&mut engine, 100);
    let rgb = plain.chunks(4).flat_map(|pixel| &pixel[..3]).map(|&byte| f32::from(byte) / 255.0).collect();
    let shown = Image::from_pixels(SIDE as usize, SIDE as usize, 3, rgb).unwrap();
    let executor = crate::exec::reference::ReferenceExecutor;
    let score = crate::preprocess::networks::NsfwClassifier::load(&executor).unwrap().score(&shown).unwrap();
    assert!(score > 1e-3 && score < 0.5, "{score}");
    // The picture was rounded to bytes after it was scored.
    let [below, above] = [0.8, 1.2].map(|times| f64::from(score * times));
    let update = engine.edit(|params| (params.use_safety_checker, params.safety_checker_threshold) = (true, above));
    let update = update.unwrap();
    assert_eq!(update.cost, Some(Cost::Load));
    let told = update.notices.iter().find(|notice| notice.path == "use_safety_checker");
    assert!(told.is_some_and(|notice| notice.message.contains("nsfwjs")), "{:?}", update.notices);
    assert_eq!(picture(&mut engine, 100).0, PictureKind::New);
    let update = engine.edit(|params| params.safety_checker_threshold = below).unwrap();
    assert_eq!((update.cost, update.notices.len()), (Some(Cost::Hot), 0));
    assert_eq!(picture(&mut engine, 100).0, PictureKind::Flagged);
    let update = engine.edit(|params| params.use_safety_checker = false).unwrap();
    assert_eq!((update.cost, update.notices.len()), (Some(Cost::Load), 0));
    assert_eq!(picture(&mut engine, 100).0, PictureKind::New);
}
