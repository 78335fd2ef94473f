//! Repeated pictures.

use std::sync::Arc;

use crate::engine::Engine;
use crate::exec::cpu::CpuExecutor;
use crate::exec::simulated::SimulatedExecutor;
use crate::frame::{FrameId, FrameView, PixelFormat};
use crate::params::{ParamsPatch, StreamDiffusionParams};

#[test]
fn a_picture_of_an_earlier_size_is_not_shown_again() {
    let executor = SimulatedExecutor::new(Arc::new(CpuExecutor::new(crate::exec::cpu::CpuOptions::default()).unwrap()));
    let params = StreamDiffusionParams { width: 64, height: 128, ..StreamDiffusionParams::demo() };
    let mut engine = Engine::builder().params(params).executor(Arc::new(executor.clone())).build().unwrap();
    let pixels: Vec<u8> = (0..64 * 128 * 4).map(|i| (i * 7) as u8).collect();
    let frame = FrameView::packed(PixelFormat::Rgba8, 64, 128, &pixels).unwrap();
    let picture = engine.process(&frame).unwrap();
    executor.set_lost(true);
    let repeated = engine.repeat(FrameId(1)).unwrap().unwrap();
    assert!(repeated.frame.pixels() == picture.frame.pixels());
    executor.set_lost(false);

    // As many elements as before.
    engine.update(&ParamsPatch::from_json(r#"{"width": 128, "height": 64}"#).unwrap()).unwrap();
    assert!(engine.repeat(FrameId(2)).unwrap().is_none());
}
