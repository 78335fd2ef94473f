//! Images of the host besides frames: those of `external` preprocessors.

use std::sync::Arc;
use std::time::Duration;

use dreamframe::params::ProcessorName;
use dreamframe::preprocess::{Context, Factory, Image, Preprocessor, Registry};
use dreamframe::{
    Engine, ErrorKind, Event, FrameView, ParamsPatch, PictureKind, PixelFormat, SessionOptions, StreamDiffusionParams,
};
use dreamframe_tests::controlnets::{Folder, controlnets};
use dreamframe_tests::frames::picture;
use serde_json::{Map, Value, json};

const SIDE: u32 = 64;
const LIMIT: Duration = Duration::from_secs(60);

fn folder(name: &str) -> Folder {
    Folder::new(env!("CARGO_TARGET_TMPDIR"), name)
}

/// Pixels of the stream's size, a gradient whose slope is `step`.
fn gradient(step: u32) -> Vec<u8> {
    (0..SIDE * SIDE * 3).map(|i| (i / 3 % SIDE * step) as u8).collect()
}

fn view(pixels: &[u8]) -> FrameView<'_> {
    FrameView::packed(PixelFormat::Rgb8, SIDE, SIDE, pixels).unwrap()
}

fn external(names: &[&str]) -> ParamsPatch {
    let list = names.iter().map(|name| json!({"model_id": name, "preprocessor": "external"}));
    controlnets(list.collect())
}

/// The picture of frame 0 once all rows have seen the current images.
fn settled(engine: &mut Engine) -> Vec<u8> {
    (0..engine.delay() + 2).map(|_| picture(engine, 0)).last().unwrap()
}

/// Returns the same image for every frame.
#[derive(Debug, Clone)]
struct Fixed(Image);

impl Preprocessor for Fixed {
    fn run(&mut self, _: &Image, _: &Context<'_>, output: &mut Image) -> dreamframe::Result<()> {
        output.copy_from(&self.0);
        Ok(())
    }

    fn configure(&mut self, _: &Map<String, Value>) {}
}

impl Factory for Fixed {
    fn start(&self, _: &Map<String, Value>) -> Box<dyn Preprocessor> {
        Box::new(self.clone())
    }
}

#[test]
fn the_image_is_the_control_image_in_place_of_the_frame() {
    let folder = folder("external-image");
    folder.controlnet("edges", 1);
    let mut engine = folder.engine(SIDE, |_, _| ());
    let mut plain = folder.engine(SIDE, |_, _| ());
    engine.update(&external(&["edges"])).unwrap();
    plain.update(&controlnets(json!([{"model_id": "edges"}]))).unwrap();
    let of_frame = settled(&mut engine);
    assert!(of_frame == settled(&mut plain), "without an image, it is the frame");
    let image = gradient(3);
    engine.set_external_image(Some("edges"), &view(&image)).unwrap();
    let of_image = settled(&mut engine);
    assert!(of_image != of_frame);
    let unit = image.iter().map(|&byte| f32::from(byte) / 255.0).collect();
    let fixed = Fixed(Image::from_pixels(SIDE as usize, SIDE as usize, 3, unit).unwrap());
    let registry = Registry::new().with(ProcessorName::External, Arc::new(fixed));
    let mut params = plain.params().clone();
    params.controlnets[0].preprocessor = Some(ProcessorName::External);
    let builder = Engine::builder().models(dreamframe::ModelSource::folder(folder.path())).params(params);
    let mut expected = builder.options(plain.options().clone()).processors(registry).build().unwrap();
    assert!(of_image == settled(&mut expected));
    engine.clear_external_image(Some("edges"));
    assert!(settled(&mut engine) == of_frame);
}

#[test]
fn an_image_stays_with_its_controlnet_over_changes_of_the_list_and_the_size() {
    let folder = folder("external-changes");
    folder.controlnet("a", 1);
    folder.controlnet("b", 2);
    let (one, two) = (gradient(1), gradient(4));
    let fresh = |names: &[&str], images: &[(&str, &[u8])]| {
        let mut engine = folder.engine(SIDE, |_, _| ());
        images.iter().for_each(|(id, pixels)| engine.set_external_image(Some(id), &view(pixels)).unwrap());
        engine.update(&external(names)).unwrap();
        settled(&mut engine)
    };
    let mut engine = folder.engine(SIDE, |_, _| ());
    engine.update(&external(&["a", "b"])).unwrap();
    engine.set_external_image(Some("a"), &view(&one)).unwrap();
    engine.set_external_image(Some("b"), &view(&two)).unwrap();
    let both = settled(&mut engine);
    assert!(both == fresh(&["a", "b"], &[("a", &one), ("b", &two)]));
    assert!(both != fresh(&["a", "b"], &[("a", &two), ("b", &one)]), "each has its own");
    for names in [&["b", "a"][..], &["b"], &[], &["b", "a"]] {
        engine.update(&external(names)).unwrap();
        assert!(settled(&mut engine) == fresh(names, &[("a", &one), ("b", &two)]), "{names:?}");
    }
    let size = |side: u32| ParamsPatch::from_json(&format!(r#"{{"width": {side}, "height": {side}}}"#)).unwrap();
    engine.update(&size(2 * SIDE)).unwrap();
    settled(&mut engine);
    engine.update(&size(SIDE)).unwrap();
    assert!(settled(&mut engine) == both);
}

#[test]
fn a_notice_tells_of_a_missing_image_once() {
    let folder = folder("external-notice");
    folder.controlnet("edges", 1);
    let mut engine = folder.engine(SIDE, |_, _| ());
    let notices = |update: dreamframe::Update| update.notices.iter().map(ToString::to_string).collect::<Vec<_>>();
    let told = notices(engine.update(&external(&["edges"])).unwrap());
    let text = "controlnets[0].preprocessor is \"external\", and the host gave no image";
    assert!(told.iter().any(|notice| notice.contains(text)), "{told:?}");
    let patch = ParamsPatch::from_json(r#"{"delta": 0.9}"#).unwrap();
    assert_eq!(notices(engine.update(&patch).unwrap()), [""; 0]);
    let chain = r#"{"image_preprocessing": {"processors": [{"type": "external"}]}}"#;
    let told = notices(engine.update(&ParamsPatch::from_json(chain).unwrap()).unwrap());
    assert!(told.iter().any(|notice| notice.starts_with("image_preprocessing.processors[0].type ")), "{told:?}");
    let mut given = folder.engine(SIDE, |_, _| ());
    given.set_external_image(None, &view(&gradient(1))).unwrap();
    assert_eq!(notices(given.update(&external(&["edges"])).unwrap()), [""; 0]);
}

/// A demo engine whose pictures are the host's image.
fn shown(more: &Value) -> Engine {
    let mut patch = json!({
        "width": SIDE, "height": SIDE, "skip_diffusion": true,
        "image_preprocessing": {"processors": [{"type": "external"}]},
    });
    patch.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let (params, _) = StreamDiffusionParams::demo().patched(&patch.to_string()).unwrap();
    Engine::builder().params(params).build().unwrap()
}

#[test]
fn a_session_takes_images_from_any_thread_and_shows_the_newest() {
    let session = shown(&json!({})).start(SessionOptions::default()).unwrap();
    let handle = session.handle();
    let frame = gradient(2);
    std::thread::scope(|scope| {
        for shade in 0..4_u8 {
            let handle = handle.clone();
            scope.spawn(move || {
                let pixels = vec![shade; (SIDE * SIDE * 3) as usize];
                (0..50).for_each(|_| handle.set_external_image(None, &view(&pixels)).unwrap());
            });
        }
        for _ in 0..20 {
            handle.submit(&view(&frame)).unwrap();
            handle.wait(LIMIT).expect("pictures go on");
        }
    });
    handle.set_external_image(None, &view(&vec![77; (SIDE * SIDE * 3) as usize])).unwrap();
    handle.submit(&view(&frame)).unwrap();
    let newest = handle.wait(LIMIT).unwrap();
    assert!(newest.frame.pixels().chunks_exact(4).all(|pixel| pixel == [77, 77, 77, 255]));
    assert!(!handle.events().try_iter().any(|event| matches!(event, Event::FrameFailed { .. })));
    let mut engine = session.stop(LIMIT).unwrap();
    assert_eq!(handle.set_external_image(None, &view(&frame)).unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(handle.clear_external_image(None).unwrap_err().kind(), ErrorKind::Closed);
    // The engine has the image, too.
    assert_eq!(engine.process(&view(&frame)).unwrap().frame.pixels()[..3], [77; 3]);
}

#[test]
fn another_image_is_seen_although_frames_are_similar() {
    let filter = json!({
        "skip_diffusion": false, "enable_similar_image_filter": true, "similar_image_filter_threshold": 0.9,
        "image_preprocessing": {"processors": []},
        "image_postprocessing": {"processors": [{"type": "external"}]},
    });
    let mut engine = shown(&filter);
    let frame = gradient(2);
    let kinds = |engine: &mut Engine, count: usize| -> Vec<PictureKind> {
        (0..count).map(|_| engine.process(&view(&frame)).unwrap().info().kind).collect()
    };
    let still = kinds(&mut engine, 8);
    assert!(still.contains(&PictureKind::Repeated), "{still:?}");
    engine.set_external_image(None, &view(&gradient(1))).unwrap();
    assert_eq!(kinds(&mut engine, 1), [PictureKind::New]);
}

#[test]
fn invalid_ids_are_rejected_and_change_nothing() {
    let mut engine = shown(&json!({}));
    let (frame, image) = (gradient(2), vec![50; (SIDE * SIDE * 3) as usize]);
    engine.set_external_image(None, &view(&image)).unwrap();
    assert_eq!(engine.set_external_image(Some(""), &view(&frame)).unwrap_err().kind(), ErrorKind::InvalidArgument);
    assert_eq!(engine.process(&view(&frame)).unwrap().frame.pixels()[..3], [50; 3]);
}
