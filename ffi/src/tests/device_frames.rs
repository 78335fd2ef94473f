//! Frames in the memory of a device: invalid ones, and pictures on ONNX Runtime's provider `cpu`, if it is installed.

use std::ffi::CString;
use std::ptr::{null_mut, without_provenance_mut};

use super::kit::{Engine, Pixels, SIDE, empty_info, last_error, options};
use crate::device_frame::*;
use crate::engine::dreamframe_engine_process;
use crate::options::{dreamframe_executor_t, dreamframe_options_t, dreamframe_provider_t};
use crate::picture::dreamframe_picture_info_t;
use crate::status::*;

type Change = fn(&mut dreamframe_device_frame_t);

/// Frames that are rejected, with a part of the message.
const WRONG: &[(&str, Change)] = &[
    ("got 0x64", |frame| frame.width = 0),
    ("got 64x8193", |frame| frame.height = 8193),
    ("format of the frame: got 0", |frame| frame.format = 0),
    ("got RGBA16F, expected RGBA8, BGRA8 or RGB8", |frame| frame.format = 4),
    ("got NV12, expected RGBA8, BGRA8 or RGB8", |frame| frame.format = 5),
    ("origin of the frame: got 3", |frame| frame.origin = 3),
    ("memory of the frame: got 0, expected 1 to 2", |frame| frame.memory = 0),
    ("memory of the frame: got 3, expected 1 to 2", |frame| frame.memory = 3),
    ("device of a frame in memory of the host: got 1, expected 0", |frame| frame.device = 1),
    ("address of a frame on a device: got NULL", |frame| frame.address = null_mut()),
    ("expected an end within the address space", |frame| frame.address = without_provenance_mut(usize::MAX - 9)),
    ("stride of plane 0", |frame| frame.stride = 255),
    ("stride of plane 0", |frame| frame.stride = usize::MAX),
];

fn process(
    engine: &Engine,
    frame: &dreamframe_device_frame_t,
    target: &dreamframe_device_frame_t,
    info: *mut dreamframe_picture_info_t,
) -> i32 {
    // SAFETY: all arguments are valid during the call, or refused.
    unsafe { dreamframe_engine_process_device(engine.0, frame, target, info) }
}

fn memory(engine: &Engine) -> (u32, u32) {
    let (mut memory, mut device) = (77, 77);
    // SAFETY: all arguments are valid during the call.
    let status = unsafe { dreamframe_engine_frame_memory(engine.0, &raw mut memory, &raw mut device) };
    assert_eq!(status, DREAMFRAME_OK, "{}", last_error());
    (memory, device)
}

#[test]
fn invalid_frames_are_rejected_with_the_value() {
    let engine = Engine::new();
    for (part, change) in WRONG {
        let (mut pixels, mut others) = (Pixels::grey(1), Pixels::grey(2));
        let (good, mut bad) = (others.device(), pixels.device());
        change(&mut bad);
        for (frame, target) in [(&bad, &good), (&good, &bad)] {
            assert_eq!(process(&engine, frame, target, null_mut()), DREAMFRAME_ERROR_INVALID_FRAME, "{part}");
            assert!(last_error().contains(part), "{part}: {}", last_error());
        }
    }
    let mut pixels = Pixels::grey(1);
    let frame = pixels.device();
    assert_eq!(process(&engine, &frame, &frame, null_mut()), DREAMFRAME_ERROR_INVALID_FRAME);
    assert_eq!(last_error(), "memory for the picture on the device: got bytes of the frame, expected others");
    let (mut pixels, mut small) = (Pixels::grey(1), Pixels::of(1, SIDE, SIDE / 2, 0));
    assert_eq!(process(&engine, &pixels.device(), &small.device(), null_mut()), DREAMFRAME_ERROR_INVALID_FRAME);
    assert_eq!(last_error(), "memory for the picture: got 64x32, expected 64x64");
    for size in [0, 1, size_of::<dreamframe_device_frame_t>() - 1, 4097] {
        let bad = dreamframe_device_frame_t { struct_size: size, ..pixels.device() };
        assert_eq!(process(&engine, &bad, &small.device(), null_mut()), DREAMFRAME_ERROR_INVALID_ARGUMENT);
        assert!(last_error().contains("DREAMFRAME_DEVICE_FRAME_INIT"), "{}", last_error());
    }
}

#[test]
fn executor_without_memory_for_frames_is_named_and_writes_nothing() {
    let engine = Engine::new();
    assert_eq!(memory(&engine), (0, 0));
    let (mut pixels, mut target, mut info) = (Pixels::grey(1), Pixels::grey(7), empty_info());
    let status = process(&engine, &pixels.device(), &target.device(), &raw mut info);
    assert_eq!(status, DREAMFRAME_ERROR_UNSUPPORTED);
    assert!(last_error().starts_with("executor cpu"), "{}", last_error());
    assert!(target.bytes.iter().all(|&byte| byte == 7) && info.width == 0);
}

#[test]
fn pictures_on_the_device_equal_those_in_host_memory() {
    let Some(library) = std::env::var_os("DREAMFRAME_ONNXRUNTIME") else {
        eprintln!("skipped: DREAMFRAME_ONNXRUNTIME does not name ONNX Runtime's library");
        return;
    };
    let library = CString::new(library.into_encoded_bytes()).unwrap();
    let options = dreamframe_options_t {
        executor: dreamframe_executor_t::DREAMFRAME_EXECUTOR_ONNX as u32,
        provider: dreamframe_provider_t::DREAMFRAME_PROVIDER_CPU as u32,
        onnxruntime: library.as_ptr(),
        ..options()
    };
    let [host, device] = [(); 2].map(|()| Engine::with(&options));
    let own = dreamframe_frame_memory_t::DREAMFRAME_FRAME_MEMORY_HOST as u32;
    assert_eq!(memory(&device), (own, 0));
    let (mut frame, mut found, expected) = (Pixels::grey(0), Pixels::grey(7), Pixels::grey(8));
    frame.bytes.iter_mut().enumerate().for_each(|(index, byte)| *byte = (index * 7 % 251) as u8);
    let mut info = empty_info();
    let from = dreamframe_device_frame_t { user_tag: 42, ..frame.device() };
    assert_eq!(process(&device, &from, &found.device(), &raw mut info), DREAMFRAME_OK, "{}", last_error());
    assert_eq!((info.width, info.height, info.user_tag), (SIDE, SIDE, 42));
    // SAFETY: all arguments are valid during the call.
    let status =
        unsafe { dreamframe_engine_process(host.0, &raw const frame.frame, &raw const expected.frame, null_mut()) };
    assert_eq!(status, DREAMFRAME_OK, "{}", last_error());
    assert!(found.bytes == expected.bytes);
    let cuda = dreamframe_frame_memory_t::DREAMFRAME_FRAME_MEMORY_CUDA as u32;
    let other = dreamframe_device_frame_t { memory: cuda, ..from };
    assert_eq!(process(&device, &other, &found.device(), null_mut()), DREAMFRAME_ERROR_INVALID_ARGUMENT);
    assert!(last_error().ends_with("got memory of CUDA device 0, expected memory of the host"), "{}", last_error());
}
