//! Images of the host besides frames.

use std::ptr::{null, null_mut};

use super::kit::{Engine, LIMIT_MS, Pixels, RGBA8, SIDE, Session, json, last_error, options};
use crate::engine::{dreamframe_engine_params, dreamframe_engine_process};
use crate::images::*;
use crate::session_frames::{dreamframe_session_submit, dreamframe_session_wait};
use crate::session_updates::dreamframe_session_params;
use crate::status::*;

/// An engine whose pictures are the host's image, or the frame.
fn shown() -> Engine {
    let params = c"{\"width\": 64, \"height\": 64, \"model_id\": \"demo\", \"use_lcm_lora\": false, \
        \"skip_diffusion\": true, \"image_preprocessing\": {\"processors\": [{\"type\": \"external\"}]}}";
    Engine::with(&crate::options::dreamframe_options_t { params_json: params.as_ptr(), ..options() })
}

#[test]
fn an_engine_shows_the_image_until_it_is_cleared() {
    let engine = shown();
    let shade = |frame: u8| {
        let (frame, target) = (Pixels::grey(frame), Pixels::grey(0));
        // SAFETY: all arguments are valid during the call.
        let status =
            unsafe { dreamframe_engine_process(engine.0, &raw const frame.frame, &raw const target.frame, null_mut()) };
        assert_eq!(status, DREAMFRAME_OK, "{}", last_error());
        target.bytes[0]
    };
    assert_eq!(shade(40), 40);
    // Scaled, since it has another size.
    let image = Pixels::of(RGBA8, 7, 5, 200);
    // SAFETY: all arguments are valid during the call.
    let set = unsafe { dreamframe_engine_set_external_image(engine.0, null(), &raw const image.frame) };
    assert_eq!(set, DREAMFRAME_OK, "{}", last_error());
    // The library keeps no pointer.
    drop(image);
    assert_eq!([shade(40), shade(41)], [200, 200]);
    // SAFETY: as above.
    assert_eq!(unsafe { dreamframe_engine_clear_external_image(engine.0, null()) }, DREAMFRAME_OK);
    assert_eq!(shade(40), 40);
}

#[test]
fn a_session_shows_the_newest_image() {
    let engine = shown();
    let session = Session::new(&engine);
    for shade in [50, 90] {
        let image = Pixels::grey(shade);
        // SAFETY: all arguments are valid during the call.
        let set = unsafe { dreamframe_session_set_external_image(session.0, null(), &raw const image.frame) };
        assert_eq!(set, DREAMFRAME_OK, "{}", last_error());
    }
    let (frame, target) = (Pixels::grey(9), Pixels::grey(0));
    // SAFETY: as above.
    unsafe {
        assert_eq!(dreamframe_session_submit(session.0, &raw const frame.frame, null_mut()), DREAMFRAME_OK);
        let waited = dreamframe_session_wait(session.0, LIMIT_MS, &raw const target.frame, null_mut());
        assert_eq!(waited, DREAMFRAME_OK, "{}", last_error());
    }
    assert_eq!(target.bytes[0], 90);
}

#[test]
fn invalid_images_are_rejected() {
    let engine = Engine::new();
    let mut image = Pixels::grey(1);
    image.frame.width = 0;
    let mut text = null_mut();
    // SAFETY: all arguments are valid during the call, as far as the header requires.
    unsafe {
        let bad = &raw const image.frame;
        assert_eq!(dreamframe_engine_set_external_image(engine.0, null(), bad), DREAMFRAME_ERROR_INVALID_FRAME);
        assert_eq!(dreamframe_engine_set_style_image(engine.0, bad), DREAMFRAME_ERROR_INVALID_FRAME);
        assert_eq!(dreamframe_style_pixels_uri(bad, &raw mut text), DREAMFRAME_ERROR_INVALID_FRAME);
        image.frame.width = SIDE;
        let good = &raw const image.frame;
        for (id, part) in [(c"", "empty id"), (c"\xff", "not UTF-8")] {
            let status = dreamframe_engine_set_external_image(engine.0, id.as_ptr(), good);
            assert_eq!(status, DREAMFRAME_ERROR_INVALID_ARGUMENT);
            assert!(last_error().contains(part), "{}", last_error());
        }
    }
    assert!(text.is_null());
}

#[test]
fn a_style_image_of_pixels_is_a_parameter() {
    let engine = Engine::new();
    let image = Pixels::grey(77);
    // SAFETY: all arguments are valid during the call.
    assert_eq!(unsafe { dreamframe_engine_set_style_image(engine.0, &raw const image.frame) }, DREAMFRAME_OK);
    // SAFETY: as above.
    let params = json(|out| unsafe { dreamframe_engine_params(engine.0, out) });
    let url = params["ip_adapter_style_image_url"].as_str().unwrap();
    assert!(url.starts_with("data:image/png;base64,"), "{url}");
    let session = Session::new(&engine);
    let other = Pixels::grey(78);
    let mut version = 0;
    // SAFETY: as above.
    let set = unsafe { dreamframe_session_set_style_image(session.0, &raw const other.frame, &raw mut version) };
    assert_eq!((set, version), (DREAMFRAME_OK, 1), "{}", last_error());
    // SAFETY: as above.
    let params = json(|out| unsafe { dreamframe_session_params(session.0, out) });
    assert_ne!(params["ip_adapter_style_image_url"], url);
}
