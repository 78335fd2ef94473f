//! The stack that an engine needs on its caller's thread: main threads of programs for Windows have one mebibyte.

use crate::engine::{Engine, PictureKind};
use crate::frame::{FrameView, PixelFormat};
use crate::params::StreamDiffusionParams;

const SIDE: u32 = 64;
const MEBIBYTE: usize = 1 << 20;

#[test]
fn an_engine_is_built_updated_and_run_with_a_mebibyte_of_stack() {
    let work = || {
        let params = StreamDiffusionParams { width: SIDE, height: SIDE, ..StreamDiffusionParams::demo() };
        let mut engine = Engine::builder().params(params).build().unwrap();
        let pixels = vec![100; (SIDE * SIDE * 4) as usize];
        let frame = FrameView::packed(PixelFormat::Rgba8, SIDE, SIDE, &pixels).unwrap();
        engine.process(&frame).unwrap();
        engine.edit(|params| params.prompt = "moonlit night".into()).unwrap();
        engine.edit(|params| params.width = 2 * SIDE).unwrap();
        engine.process(&frame).unwrap().kind
    };
    let thread = std::thread::Builder::new().stack_size(MEBIBYTE).spawn(work).unwrap();
    assert_eq!(thread.join().unwrap(), PictureKind::New);
}
