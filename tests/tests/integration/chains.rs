//! The four processing chains in the engine: what they see, how they change live, and what they may do to pictures.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use dreamframe::params::ProcessorName;
use dreamframe::preprocess::{Context, Factory, Image, Preprocessor, Registry};
use dreamframe::{
    Cost, Engine, EngineOptions, Error, ErrorKind, FrameView, ParamsPatch, PictureKind, PixelFormat, Result,
    StreamDiffusionParams,
};
use dreamframe_tests::frames::{demo_engine, largest_difference, moving_disc, picture, pictures};
use serde_json::{Map, Value, json};

const SIDE: u32 = 64;

fn patch(chain: &str, processors: Value) -> ParamsPatch {
    ParamsPatch::from_value(json!({ chain: { "processors": processors } })).unwrap()
}

/// An engine that passes frames through the image chains only.
fn passing() -> Engine {
    demo_engine(SIDE, |params, _| params.skip_diffusion = true)
}

fn engine_with(registry: Registry) -> Engine {
    let mut options = EngineOptions::default();
    options.dtype = dreamframe::Dtype::F32;
    options.threads = Some(2);
    let params = StreamDiffusionParams { width: SIDE, height: SIDE, ..StreamDiffusionParams::demo() };
    Engine::builder().params(params).options(options).processors(registry).build().unwrap()
}

/// A frame of one level, and the first byte of its picture.
fn level(engine: &mut Engine, level: u8) -> Result<u8> {
    let pixels = vec![level; (SIDE * SIDE * 4) as usize];
    let frame = FrameView::packed(PixelFormat::Rgba8, SIDE, SIDE, &pixels).unwrap();
    engine.process(&frame).map(|picture| picture.frame.pixels()[0])
}

#[test]
fn every_processor_runs_in_its_chains_or_is_refused_by_name() {
    for &name in ProcessorName::ALL {
        let chains = if name.is_latent() {
            ["latent_preprocessing", "latent_postprocessing"]
        } else {
            ["image_preprocessing", "image_postprocessing"]
        };
        for chain in chains {
            let mut engine = demo_engine(SIDE, |_, _| ());
            let before = engine.params().clone();
            match engine.update(&patch(chain, json!([{ "type": name.name() }]))) {
                Ok(update) => assert_eq!(update.cost, Some(if name.has_weights() { Cost::Load } else { Cost::Hot })),
                Err(error) => {
                    assert!(name.has_weights(), "{error}");
                    assert!(matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::NotFound), "{error}");
                    assert!(error.to_string().contains(&format!("{chain}.processors[0]")), "{error}");
                    assert!(error.to_string().contains(name.name()), "{error}");
                    assert_eq!(engine.params(), &before);
                }
            }
            let (width, height) = engine.size();
            for picture in pictures(&mut engine, 3) {
                assert_eq!(picture.len(), (width * height * 4) as usize, "{name} in {chain}");
            }
        }
    }
}

#[test]
fn settings_change_live_from_the_next_frame() {
    for (name, settings) in [
        ("blur", json!({ "blur_intensity": 0.5 })),
        ("blur", json!({ "kernel_size": 3 })),
        ("canny", json!({ "low_threshold": 10, "high_threshold": 20 })),
        ("sharpen", json!({ "sharpen_intensity": 9 })),
        ("sharpen", json!({ "unsharp_radius": 5 })),
        ("sharpen", json!({ "edge_enhancement": 0 })),
        ("sharpen", json!({ "detail_boost": 9 })),
        ("sharpen", json!({ "noise_reduction": 1 })),
        ("sharpen", json!({ "multi_scale": false })),
        ("standard_lineart", json!({ "detect_resolution": 64 })),
        ("standard_lineart", json!({ "gaussian_sigma": 2 })),
        ("feedback", json!({ "feedback_strength": 1 })),
        ("upscale", json!({ "scale_factor": 3, "algorithm": "nearest" })),
    ] {
        for chain in ["image_preprocessing", "image_postprocessing"] {
            let mut engine = passing();
            engine.update(&patch(chain, json!([{ "type": name }]))).unwrap();
            pictures(&mut engine, 2);
            let mut plain = passing();
            plain.update(&patch(chain, json!([{ "type": name }]))).unwrap();
            pictures(&mut plain, 2);
            let update = engine.update(&patch(chain, json!([{ "type": name, "params": settings }]))).unwrap();
            assert_eq!(update.cost, Some(Cost::Hot));
            let frame = |engine: &mut Engine| {
                // Grey, so that some pixels are darker than their surroundings in all channels.
                let pixels: Vec<u8> = moving_disc(5, SIDE, SIDE).chunks(4).flat_map(|pixel| [pixel[0]; 4]).collect();
                let frame = FrameView::packed(PixelFormat::Rgba8, SIDE, SIDE, &pixels).unwrap();
                engine.process(&frame).unwrap().frame.pixels().to_vec()
            };
            assert!(frame(&mut engine) != frame(&mut plain), "{name} {settings} in {chain} must count");
        }
    }
}

#[test]
fn feedback_sees_the_last_picture() {
    let mut engine = passing();
    engine.update(&patch("image_preprocessing", json!([{ "type": "feedback" }]))).unwrap();
    let levels: Vec<u8> = [200, 100, 100].map(|value| level(&mut engine, value).unwrap()).to_vec();
    assert_eq!(levels, [200, 150, 125]);
}

#[test]
fn the_last_picture_is_the_one_that_was_shown() {
    // The picture of the first frame, again and again: whatever the stream makes, all of the last picture counts.
    let mut engine = demo_engine(SIDE, |_, _| ());
    let first = picture(&mut engine, 0);
    let whole = json!([{ "type": "feedback", "params": { "feedback_strength": 1 } }]);
    engine.update(&patch("image_postprocessing", whole)).unwrap();
    for index in 1..4 {
        assert!(largest_difference(&picture(&mut engine, index), &first) <= 1);
    }
    engine.update(&patch("image_postprocessing", json!([]))).unwrap();
    assert!(largest_difference(&picture(&mut engine, 4), &first) > 1);
}

#[test]
fn latents_are_mixed_from_the_second_frame_on_and_at_most_four_tenths() {
    for chain in ["latent_preprocessing", "latent_postprocessing"] {
        let with = |strength: f64| {
            let mut engine = demo_engine(SIDE, |_, _| ());
            let processors = json!([{ "type": "latent_feedback", "params": { "feedback_strength": strength } }]);
            engine.update(&patch(chain, processors)).unwrap();
            pictures(&mut engine, 4)
        };
        let plain = pictures(&mut demo_engine(SIDE, |_, _| ()), 4);
        let (none, some, most) = (with(0.0), with(0.4), with(1.0));
        assert!(none == plain, "{chain}");
        assert!(some[0] == plain[0] && some[2] != plain[2], "{chain}");
        assert!(some == most, "{chain}");
    }
}

/// Keeps the first number of what it sees.
#[derive(Debug, Default)]
struct Watcher {
    seen: Arc<Mutex<Vec<f32>>>,
    started: AtomicUsize,
}

#[derive(Debug)]
struct Watching(Arc<Mutex<Vec<f32>>>);

impl Factory for Watcher {
    fn start(&self, _: &Map<String, Value>) -> Box<dyn Preprocessor> {
        self.started.fetch_add(1, Ordering::Relaxed);
        Box::new(Watching(self.seen.clone()))
    }
}

impl Preprocessor for Watching {
    fn run(&mut self, input: &Image, _: &Context<'_>, output: &mut Image) -> Result<()> {
        self.0.lock().unwrap().push(input.pixels()[0]);
        output.copy_from(input);
        if input.pixels()[0] == 1.0 {
            return Err(Error::new(ErrorKind::Device, "it is too bright"));
        }
        Ok(())
    }

    fn configure(&mut self, _: &Map<String, Value>) {}
}

#[test]
fn latent_preprocessing_sees_the_noised_latent() {
    let first_seen = |seed: u64| {
        let watcher = Arc::new(Watcher::default());
        let mut engine = engine_with(Registry::new().with(ProcessorName::LatentFeedback, watcher.clone()));
        engine.edit(|params| params.seed = seed.into()).unwrap();
        engine.update(&patch("latent_preprocessing", json!([{ "type": "latent_feedback" }]))).unwrap();
        level(&mut engine, 90).unwrap();
        let seen = watcher.seen.lock().unwrap();
        seen[0]
    };
    // Nothing but its noise depends on the seed before the UNet has run.
    assert!(first_seen(1) != first_seen(2));
    assert_eq!(first_seen(1), first_seen(1));
}

#[test]
fn failing_processor_fails_its_frame_and_the_stream_continues() {
    let watcher = Arc::new(Watcher::default());
    let mut engine = engine_with(Registry::new().with(ProcessorName::Hed, watcher.clone()));
    engine.update(&patch("image_preprocessing", json!([{ "type": "hed" }]))).unwrap();
    assert!(level(&mut engine, 90).is_ok());
    let failed = level(&mut engine, 255).unwrap_err();
    assert_eq!(
        (failed.kind(), failed.to_string().as_str()),
        (ErrorKind::Device, "processor \"hed\": it is too bright")
    );
    assert!(level(&mut engine, 91).is_ok());
    let seen = watcher.seen.lock().unwrap();
    let expected = [90.0, 255.0, 91.0].map(|level| level / 255.0);
    assert!(seen.iter().zip(expected).all(|(seen, expected)| (seen - expected).abs() < 1e-5), "{seen:?}");
}

#[test]
fn processor_state_survives_updates_until_it_is_disabled() {
    let watcher = Arc::new(Watcher::default());
    let mut engine = engine_with(Registry::new().with(ProcessorName::Blur, watcher.clone()));
    let started = || watcher.started.load(Ordering::Relaxed);
    engine.update(&patch("image_preprocessing", json!([{ "type": "blur" }]))).unwrap();
    for (update, expected) in [
        (r#"{"prompt": "moonlit night"}"#, 1),
        (r#"{"image_preprocessing": {"processors": [{"type": "canny"}, {"type": "blur"}]}}"#, 1),
        (r#"{"image_preprocessing": {"processors": [{"type": "blur", "params": {"blur_intensity": 1}}]}}"#, 1),
        (r#"{"image_preprocessing": {"enabled": false, "processors": [{"type": "blur"}]}}"#, 1),
        (r#"{"image_preprocessing": {"enabled": true}}"#, 2),
        (r#"{"image_preprocessing": {"processors": [{"type": "blur", "enabled": false}]}}"#, 2),
        (r#"{"image_preprocessing": {"processors": [{"type": "blur"}, {"type": "blur"}]}}"#, 4),
    ] {
        engine.update(&ParamsPatch::from_json(update).unwrap()).unwrap();
        level(&mut engine, 90).unwrap();
        assert_eq!(started(), expected, "{update}");
    }
}

#[test]
fn an_enlarged_picture_changes_the_engines_size() {
    let mut engine = demo_engine(SIDE, |params, _| {
        params.enable_similar_image_filter = true;
        params.similar_image_filter_threshold = 0.5;
    });
    let plain = picture(&mut engine, 0);
    let enlarge =
        |factor: f64| json!([{ "type": "upscale", "params": { "scale_factor": factor, "algorithm": "nearest" } }]);
    let pixels = moving_disc(0, SIDE, SIDE);
    let frame = FrameView::packed(PixelFormat::Rgba8, SIDE, SIDE, &pixels).unwrap();
    engine.update(&patch("image_postprocessing", enlarge(1.75))).unwrap();
    assert_eq!(engine.size(), (112, 112));
    for kind in [PictureKind::New, PictureKind::Repeated] {
        let picture = engine.process(&frame).unwrap();
        assert_eq!((picture.kind, picture.frame.width(), picture.frame.height()), (kind, 112, 112));
    }
    engine.update(&patch("image_postprocessing", enlarge(1.0))).unwrap();
    assert_eq!(engine.size(), (SIDE, SIDE));
    assert_eq!(picture(&mut engine, 0).len(), plain.len());
}

#[test]
fn pictures_that_are_too_large_are_refused_with_the_processor() {
    let mut engine = demo_engine(SIDE, |_, _| ());
    let eight = json!({ "type": "upscale", "params": { "scale_factor": 8 } });
    let off = json!({ "type": "blur", "enabled": false });
    let refused = engine.update(&patch("image_postprocessing", json!([eight, off, eight, eight]))).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidParams);
    assert_eq!(refused.violations()[0].path, "image_postprocessing.processors[3]");
    assert!(refused.to_string().contains("got 32768x32768 as the size of the result"), "{refused}");
    assert_eq!((engine.size(), picture(&mut engine, 0).len()), ((SIDE, SIDE), (SIDE * SIDE * 4) as usize));
}

#[test]
fn before_the_network_an_enlarged_frame_has_the_streams_size() {
    let mut engine = demo_engine(SIDE, |_, _| ());
    let enlarge = json!([{ "type": "upscale", "params": { "scale_factor": 4 } }]);
    engine.update(&patch("image_preprocessing", enlarge)).unwrap();
    assert_eq!(engine.size(), (SIDE, SIDE));
    picture(&mut engine, 0);
}

#[test]
fn without_diffusion_frames_go_through_both_image_chains() {
    let mut engine = passing();
    engine.update(&patch("image_preprocessing", json!([{ "type": "canny" }]))).unwrap();
    let edges = picture(&mut engine, 0);
    assert!(edges.iter().all(|&byte| byte == 0 || byte == 255) && edges.chunks(4).any(|pixel| pixel[0] == 255));
    engine.update(&patch("image_postprocessing", json!([{ "type": "blur" }]))).unwrap();
    let soft = picture(&mut engine, 0);
    assert!(soft.chunks(4).any(|pixel| (1..255).contains(&pixel[0])));
}

#[test]
fn a_released_engine_shows_frames_at_the_size_of_its_pictures() {
    let mut engine = demo_engine(SIDE, |_, _| ());
    engine.update(&patch("image_postprocessing", json!([{ "type": "upscale" }]))).unwrap();
    engine.release();
    let (width, height) = engine.size();
    assert_eq!((width, height), (2 * SIDE, 2 * SIDE));
    assert!(level(&mut engine, 90).unwrap().abs_diff(90) <= 1);
}
