//! Frames and pictures in the memory of a device. It is the host's for ONNX Runtime's provider `cpu`, and that of a GPU with
//! `DREAMFRAME_TEST_PROVIDER=cuda`.

#![allow(unsafe_code, reason = "frames on a device are described by addresses")]

use std::sync::Arc;

use dreamframe::exec::Provider;
use dreamframe::exec::simulated::SimulatedExecutor;
use dreamframe::exec::{cpu::CpuExecutor, cpu::CpuOptions};
use dreamframe::frame::{DeviceFrame, DeviceFrameMut, FrameMemory};
use dreamframe::{
    Dtype, Engine, EngineOptions, ErrorKind, ExecutorKind, FrameView, FrameViewMut, OnnxOptions, ParamsPatch,
    PictureKind, PixelFormat, Stamp, StreamDiffusionParams, Timestamp,
};
use dreamframe_tests::device_memory::DeviceBytes;
use dreamframe_tests::frames::{demo_engine, moving_disc};
use dreamframe_tests::{onnx_library, onnx_provider};
use serde_json::json;

const SIDE: u32 = 64;
const BYTES: usize = (SIDE * SIDE * 4) as usize;

/// Describes [`BYTES`] pixels in `memory`; or in the host's, which an engine with other memory refuses before it uses them.
fn device_frame(pixels: &DeviceBytes, memory: FrameMemory) -> DeviceFrame<'_> {
    let address = pixels.address().as_ptr();
    // SAFETY: the pixels are borrowed as long as the frame.
    unsafe { DeviceFrame::new(PixelFormat::Rgba8, SIDE, SIDE, address, SIDE as usize * 4, memory) }.unwrap()
}

fn device_frame_mut(pixels: &mut DeviceBytes, memory: FrameMemory) -> DeviceFrameMut<'_> {
    let address = pixels.address().as_ptr();
    // SAFETY: likewise.
    unsafe { DeviceFrameMut::new(PixelFormat::Bgra8, SIDE, SIDE, address, SIDE as usize * 4, memory) }.unwrap()
}

fn stamp(index: usize) -> Stamp {
    Stamp { timestamp: Timestamp(index as u64 * 1000), tag: 7 + index as u64 }
}

#[test]
fn frames_on_the_device_give_the_pictures_of_frames_in_host_memory() {
    if onnx_library().is_none() {
        return;
    }
    let engine = |changes: &serde_json::Value| {
        let size = StreamDiffusionParams { width: SIDE, height: SIDE, ..StreamDiffusionParams::demo() };
        let (params, _) = ParamsPatch::from_json(&changes.to_string()).unwrap().merge(&size).unwrap();
        let onnx = OnnxOptions::default().with_provider(onnx_provider());
        let options = EngineOptions::default().with_executor(ExecutorKind::Onnx).with_onnx(onnx);
        Engine::builder().params(params).options(options.with_dtype(Dtype::F32).with_threads(Some(1))).build().unwrap()
    };
    // Runs of one network on CUDA may differ in rounding.
    let most = Some(u8::from(onnx_provider() != Provider::Cpu));
    for changes in [
        json!({"t_index_list": [35, 45]}),
        json!({"enable_similar_image_filter": true, "similar_image_filter_threshold": 0.5}),
        json!({"image_preprocessing": {"processors": [{"type": "blur"}]}}),
    ] {
        let (mut host, mut device) = (engine(&changes), engine(&changes));
        let memory = device.frame_memory().unwrap();
        let expected =
            if onnx_provider() == Provider::Cpu { FrameMemory::Host } else { FrameMemory::Cuda { device: 0 } };
        assert_eq!(memory, expected);
        let mut kinds = Vec::new();
        // The second frame again, which the filter recognises.
        for (index, frame) in [0, 1, 1, 2].into_iter().enumerate() {
            let pixels = moving_disc(frame, SIDE, SIDE);
            let (mut expected, mut found) = (vec![0; BYTES], DeviceBytes::new(memory, &[0; BYTES]));
            let on_device = DeviceBytes::new(memory, &pixels);
            let view = FrameView::packed(PixelFormat::Rgba8, SIDE, SIDE, &pixels).unwrap().with_stamp(stamp(index));
            let mut out = FrameViewMut::packed(PixelFormat::Bgra8, SIDE, SIDE, &mut expected).unwrap();
            let info = host.process_into(&view, &mut out).unwrap();
            let frame = device_frame(&on_device, memory).with_stamp(stamp(index));
            let made = if index % 2 == 0 {
                device.process_device(&frame, &mut device_frame_mut(&mut found, memory)).unwrap()
            } else {
                assert_eq!(device.submit_device(&frame).unwrap(), info.id);
                device.collect_into_device(&mut device_frame_mut(&mut found, memory)).unwrap()
            };
            let found = found.read();
            let difference = expected.iter().zip(&found).map(|(a, b)| a.abs_diff(*b)).max();
            let others = expected.iter().zip(&found).filter(|(a, b)| a != b).count();
            assert!(difference <= most, "{changes}, frame {index}: {others} bytes differ by {difference:?}");
            let facts = |info: &dreamframe::PictureInfo| (info.id, info.source_id, info.stamp, info.kind);
            assert_eq!(facts(&made), facts(&info));
            kinds.push(made.kind);
        }
        assert!(kinds.contains(&PictureKind::New), "{kinds:?}");
    }
}

#[test]
fn executors_without_memory_for_frames_name_themselves_and_continue() {
    let simulated = SimulatedExecutor::new(Arc::new(CpuExecutor::new(CpuOptions::default()).unwrap()));
    let params = StreamDiffusionParams { width: SIDE, height: SIDE, ..StreamDiffusionParams::demo() };
    let simulated = Engine::builder().params(params).executor(Arc::new(simulated)).build().unwrap();
    for (mut engine, name) in [(demo_engine(SIDE, |_, _| {}), "executor "), (simulated, "executor simulated: ")] {
        let pixels = moving_disc(0, SIDE, SIDE);
        let mut out = DeviceBytes::new(FrameMemory::Host, &[7; BYTES]);
        let on_device = DeviceBytes::new(FrameMemory::Host, &pixels);
        if engine.frame_memory().is_some() {
            continue;
        }
        let frame = device_frame(&on_device, FrameMemory::Cuda { device: 0 });
        let refused = engine.submit_device(&frame).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Unsupported);
        let text = "frame on a device: got memory of CUDA device 0, expected a frame in host memory (`FrameView`)";
        assert!(refused.to_string().starts_with(name) && refused.to_string().ends_with(text), "{refused}");
        let mut target = device_frame_mut(&mut out, FrameMemory::Host);
        assert_eq!(engine.process_device(&frame, &mut target).unwrap_err().kind(), ErrorKind::Unsupported);
        // A frame in flight stays so.
        let view = FrameView::packed(PixelFormat::Rgba8, SIDE, SIDE, &pixels).unwrap();
        engine.submit(&view).unwrap();
        assert_eq!(engine.collect_into_device(&mut target).unwrap_err().kind(), ErrorKind::Unsupported);
        assert_eq!(engine.collect().unwrap().kind, PictureKind::New);
        assert!(out.read().iter().all(|&byte| byte == 7));
    }
}
