//! Lets a CUDA device fail under two engines and a session: `onnx_device_loss`, with `DREAMFRAME_ONNXRUNTIME`. A frame at an
//! address that no allocation has, with padding in its rows so that a kernel reads it, ends the process's work on the device. For a machine with a GPU; run manually.

#![allow(unsafe_code, reason = "describes a frame at an address that is not valid")]

use std::error::Error;
use std::io::Write as _;
use std::time::Duration;

use dreamframe::exec::Provider;
use dreamframe::frame::{DeviceFrame, DeviceFrameMut};
use dreamframe::{
    Device, Dtype, Engine, EngineOptions, FrameView, OnnxOptions, PixelFormat, SessionOptions, StreamDiffusionParams,
};
use dreamframe_tests::device_memory::DeviceBytes;
use dreamframe_tests::frames::moving_disc;

const SIDE: u32 = 64;
const BYTES: usize = (SIDE * SIDE * 4) as usize;
/// The first pages of the address space are never allocated.
const INVALID: *const u8 = std::ptr::without_provenance(4096);
const LIMIT: Duration = Duration::from_secs(30);

fn main() -> Result<(), Box<dyn Error>> {
    let mut out = std::io::stdout();
    let options = OnnxOptions::default().with_provider(Provider::Cuda);
    let device = Device::onnx(&options, Dtype::F16, None)?;
    let engine = || {
        let params = StreamDiffusionParams { width: SIDE, height: SIDE, ..StreamDiffusionParams::demo() };
        Engine::builder().device(device.clone()).params(params).options(EngineOptions::default()).build()
    };
    let (mut first, mut second, session) = (engine()?, engine()?, engine()?.start(SessionOptions::default())?);
    let handle = session.handle();
    let memory = first.frame_memory().ok_or("the device has no memory for frames")?;
    let pixels = moving_disc(0, SIDE, SIDE);
    let view = FrameView::packed(PixelFormat::Rgba8, SIDE, SIDE, &pixels)?;
    handle.submit(&view)?;
    let picture = handle.wait(LIMIT).ok_or("the session made no picture")?;
    writeln!(out, "before: the session made a {:?} picture", picture.info().kind)?;
    second.process(&view)?;
    let target = DeviceBytes::new(memory, &[0; BYTES]);
    let address = target.address().as_ptr();
    // SAFETY: the target lives as long.
    let mut picture =
        unsafe { DeviceFrameMut::new(PixelFormat::Rgba8, SIDE, SIDE, address, SIDE as usize * 4, memory) }?;
    // SAFETY: this is what the program is for: the device fails, not this process, whose memory it is not.
    let frame = unsafe { DeviceFrame::new(PixelFormat::Rgba8, SIDE, SIDE, INVALID, SIDE as usize * 4 + 64, memory) }?;
    let outcome = first.process_device(&frame, &mut picture).map(|info| info.kind);
    writeln!(out, "the frame at an invalid address: {outcome:?}")?;
    writeln!(out, "the same engine: {:?}", first.process(&view).map(|_| ()))?;
    writeln!(out, "another engine: {:?}", second.process(&view).map(|_| ()))?;
    for _ in 0..3 {
        let submitted = handle.submit(&view);
        let picture = handle.wait(LIMIT).map(|picture| picture.info().kind);
        writeln!(out, "the session: submitted {submitted:?}, picture {picture:?}")?;
    }
    for event in handle.events().try_iter() {
        writeln!(out, "event: {event:?}")?;
    }
    writeln!(out, "a new engine: {:?}", engine().map(|_| ()))?;
    writeln!(out, "a new device: {:?}", Device::onnx(&options, Dtype::F16, None).map(|_| ()))?;
    // The memory is gone with the device.
    std::mem::forget(target);
    drop((first, second));
    writeln!(out, "engines are dropped")?;
    drop(session);
    writeln!(out, "the session is dropped; the process continues")?;
    Ok(())
}
