//! Pictures that are made from the prompt alone.

use crate::engine::{Engine, PictureKind};
use crate::frame::{FrameId, FrameView, FrameViewMut, PixelFormat};
use crate::params::{ParamsPatch, StreamDiffusionParams};

fn engine(change: impl FnOnce(&mut StreamDiffusionParams)) -> Engine {
    let t_index_list = vec![0, 25];
    let mut params = StreamDiffusionParams { width: 64, height: 64, t_index_list, ..StreamDiffusionParams::demo() };
    change(&mut params);
    Engine::builder().params(params).build().unwrap()
}

#[test]
fn a_picture_of_the_prompt_does_not_depend_on_earlier_frames() {
    let mut fresh = engine(|_| ());
    let mut used = engine(|params| params.prompt = "blueprint".into());
    let pixels: Vec<u8> = (0..64 * 64 * 3).map(|i| (i * 7) as u8).collect();
    used.process(&FrameView::packed(PixelFormat::Rgb8, 64, 64, &pixels).unwrap()).unwrap();
    let other = used.text_to_image().unwrap();
    let prompt = serde_json::json!({ "prompt": fresh.params().prompt }).to_string();
    used.update(&ParamsPatch::from_json(&prompt).unwrap()).unwrap();
    let picture = used.text_to_image().unwrap();
    assert_eq!(picture.source_id, FrameId(3), "the first of the last two grey frames");
    assert!(picture.frame.pixels() == fresh.text_to_image().unwrap().frame.pixels());
    assert!(picture.frame.pixels() != other.frame.pixels());
}

#[test]
fn a_picture_of_the_prompt_is_written_into_memory_of_the_host() {
    let picture = engine(|_| ()).text_to_image().unwrap();
    let mut pixels = vec![0; 64 * 64 * 4];
    let mut out = FrameViewMut::packed(PixelFormat::Rgba8, 64, 64, &mut pixels).unwrap();
    let info = engine(|_| ()).text_to_image_into(&mut out).unwrap();
    assert_eq!((info.source_id, info.kind), (picture.source_id, PictureKind::New));
    assert!(pixels == picture.frame.pixels());
}

#[test]
fn the_similar_image_filter_skips_no_frame_of_a_picture_of_the_prompt() {
    let mut filtered = engine(|params| {
        params.enable_similar_image_filter = true;
        params.similar_image_filter_threshold = 0.1;
        params.similar_image_filter_max_skip_frame = 100;
    });
    let expected = engine(|_| ()).text_to_image().unwrap();
    for _ in 0..4 {
        let picture = filtered.text_to_image().unwrap();
        assert_eq!(picture.kind, PictureKind::New);
        assert!(picture.frame.pixels() == expected.frame.pixels());
    }
}
