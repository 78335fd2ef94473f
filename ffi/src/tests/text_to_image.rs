//! Pictures from the prompt alone.

use super::engines::library_engine;
use super::kit::{Engine, Pixels, RGBA8, SIDE, empty_info, last_error};
use crate::status::*;
use crate::text_to_image::dreamframe_engine_text_to_image;

#[test]
fn the_picture_of_a_prompt_is_that_of_the_rust_api() {
    let (engine, mut library) = (Engine::new(), library_engine());
    let (target, mut info) = (Pixels::grey(0), empty_info());
    // SAFETY: all arguments are valid during the call.
    let status = unsafe { dreamframe_engine_text_to_image(engine.0, &raw const target.frame, &raw mut info) };
    assert_eq!(status, DREAMFRAME_OK, "{}", last_error());
    let picture = library.text_to_image().unwrap();
    assert_eq!(target.bytes, picture.frame.pixels());
    assert_eq!((info.id, info.source_id), (picture.id.0, picture.source_id.0));
    assert_eq!((info.width, info.height), (SIDE, SIDE));
}

#[test]
fn memory_of_another_size_is_rejected() {
    let engine = Engine::new();
    let small = Pixels::of(RGBA8, SIDE / 2, SIDE, 0);
    // SAFETY: all arguments are valid during the call.
    let status = unsafe { dreamframe_engine_text_to_image(engine.0, &raw const small.frame, std::ptr::null_mut()) };
    assert_eq!(status, DREAMFRAME_ERROR_INVALID_FRAME);
    assert!(last_error().contains("got 32x64, expected 64x64"), "{}", last_error());
    assert!(small.bytes.iter().all(|&byte| byte == 0));
}
