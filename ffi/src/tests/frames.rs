//! Invalid frames, and all valid formats.

use std::ptr::null_mut;

use dreamframe::PixelFormat;
use dreamframe::frame::{YuvMatrix, YuvRange};

use super::kit::{Engine, LIMIT_MS, Pixels, RGBA8, SIDE, Session, empty_info, last_error};
use crate::engine::dreamframe_engine_process;
use crate::frame::*;
use crate::session_frames::*;
use crate::status::*;

type Change = fn(&mut dreamframe_frame_t);

/// Frames that are rejected, with a part of the message.
const WRONG: &[(&str, Change)] = &[
    ("frame: got 0x64", |frame| frame.width = 0),
    ("frame: got 64x0", |frame| frame.height = 0),
    ("frame: got 8193x64", |frame| frame.width = 8193),
    ("frame: got 64x4294967295", |frame| frame.height = u32::MAX),
    ("format of the frame: got 0", |frame| frame.format = 0),
    ("format of the frame: got 7", |frame| frame.format = 7),
    ("origin of the frame: got 3", |frame| frame.origin = 3),
    ("matrix of the frame: got 9", |frame| frame.matrix = 9),
    ("range of the frame: got 9", |frame| frame.range = 9),
    ("stride of plane 0", |frame| frame.strides[0] = 0),
    ("stride of plane 0", |frame| frame.strides[0] = 255),
    ("stride of plane 0", |frame| frame.strides[0] = usize::MAX),
    ("plane 0 of the RGBA8 frame: got NULL", |frame| frame.planes[0] = null_mut()),
    ("beyond the address space", |frame| frame.planes[0] = std::ptr::without_provenance_mut(usize::MAX - 9)),
    ("plane 1 of the NV12 frame: got NULL", |frame| frame.format = 5),
];

#[test]
fn invalid_frames_are_rejected_with_the_value() {
    let engine = Engine::new();
    for (part, change) in WRONG {
        let (good, mut bad) = (Pixels::grey(1), Pixels::grey(1));
        change(&mut bad.frame);
        for (frame, target) in [(&bad, &good), (&good, &bad)] {
            // SAFETY: all arguments are valid during the call.
            let status = unsafe {
                dreamframe_engine_process(engine.0, &raw const frame.frame, &raw const target.frame, null_mut())
            };
            assert_eq!(status, DREAMFRAME_ERROR_INVALID_FRAME, "{part}");
            assert!(last_error().contains(part), "{part}: {}", last_error());
        }
    }
}

#[test]
fn session_rejects_the_same_invalid_frames() {
    let engine = Engine::new();
    let session = Session::new(&engine);
    for (part, change) in WRONG {
        let mut bad = Pixels::grey(1);
        change(&mut bad.frame);
        let bad = &raw const bad.frame;
        // SAFETY: all arguments are valid during the call.
        let statuses = unsafe {
            [
                dreamframe_session_submit(session.0, bad, null_mut()),
                dreamframe_session_poll(session.0, bad, null_mut()),
                dreamframe_session_wait(session.0, 0, bad, null_mut()),
            ]
        };
        assert_eq!(statuses, [DREAMFRAME_ERROR_INVALID_FRAME; 3], "{part}");
        assert!(last_error().contains(part), "{part}: {}", last_error());
    }
}

#[test]
fn target_must_have_the_picture_size_and_not_overlap() {
    let engine = Engine::new();
    let (frame, small) = (Pixels::grey(1), Pixels::of(RGBA8, SIDE, SIDE / 2, 0));
    let process = |target: *const dreamframe_frame_t| {
        // SAFETY: all arguments are valid during the call.
        unsafe { dreamframe_engine_process(engine.0, &raw const frame.frame, target, null_mut()) }
    };
    assert_eq!(process(&raw const small.frame), DREAMFRAME_ERROR_INVALID_FRAME);
    assert_eq!(last_error(), "memory for the picture: got 64x32, expected 64x64");
    assert_eq!(process(&raw const frame.frame), DREAMFRAME_ERROR_INVALID_FRAME);
    assert!(last_error().contains("overlaps"), "{}", last_error());
    let mut yuv = Pixels::of(6, SIDE, SIDE, 0);
    yuv.frame.planes[2] = yuv.frame.planes[1];
    assert_eq!(process(&raw const yuv.frame), DREAMFRAME_ERROR_INVALID_FRAME);
    assert!(last_error().contains("plane 1 of the memory"), "{}", last_error());
}

#[test]
fn pictures_are_written_in_every_format_and_origin() {
    let engine = Engine::new();
    let session = Session::new(&engine);
    let mut tag = 0;
    let mut picture = |target: &mut Pixels| {
        tag += 1;
        let mut frame = Pixels::grey(80);
        (frame.frame.user_tag, frame.frame.timestamp_ns) = (tag, tag * 1000);
        let mut info = empty_info();
        // SAFETY: all arguments are valid during the call.
        unsafe {
            assert_eq!(dreamframe_session_submit(session.0, &raw const frame.frame, null_mut()), DREAMFRAME_OK);
            let status = dreamframe_session_wait(session.0, LIMIT_MS, &raw const target.frame, &raw mut info);
            assert_eq!(status, DREAMFRAME_OK, "{}", last_error());
        }
        assert_eq!((info.width, info.height), (SIDE, SIDE));
        assert_eq!(info.timestamp_ns, info.user_tag * 1000);
        assert!((1..=tag).contains(&info.user_tag));
    };
    // The stream is primed first; then identical frames give nearly the same picture.
    let mut first = Pixels::grey(0);
    (0..6).for_each(|_| picture(&mut first));
    for format in 2..=6 {
        let mut target = Pixels::of(format, SIDE, SIDE, 0);
        picture(&mut target);
        assert!(target.bytes.iter().any(|&byte| byte != 0), "format {format}");
    }
    let mut flipped = Pixels::grey(0);
    flipped.frame.origin = dreamframe_origin_t::DREAMFRAME_ORIGIN_BOTTOM_LEFT as u32;
    picture(&mut flipped);
    let mut upright = Pixels::grey(0);
    picture(&mut upright);
    let row = SIDE as usize * 4;
    let apart = |a: &[u8], b: &[u8]| a.iter().zip(b).map(|(a, b)| u64::from(a.abs_diff(*b))).sum::<u64>();
    let (top, bottom) = (&upright.bytes[..row], &upright.bytes[upright.bytes.len() - row..]);
    let first_in_memory = &flipped.bytes[..row];
    assert!(apart(first_in_memory, bottom) <= apart(first_in_memory, top));
}

#[test]
fn picture_of_another_size_is_kept_and_its_size_returned() {
    let engine = Engine::new();
    let session = Session::new(&engine);
    let (frame, small, right) = (Pixels::grey(80), Pixels::of(RGBA8, 32, 32, 0), Pixels::grey(0));
    let (mut width, mut height) = (0, 0);
    // SAFETY: all arguments are valid during the call.
    unsafe {
        assert_eq!(dreamframe_session_submit(session.0, &raw const frame.frame, null_mut()), DREAMFRAME_OK);
        let wait = dreamframe_session_wait(session.0, LIMIT_MS, &raw const small.frame, null_mut());
        assert_eq!(wait, DREAMFRAME_ERROR_INVALID_FRAME);
        assert_eq!(last_error(), "output frame: got 32x32, expected 64x64");
        let poll = dreamframe_session_poll(session.0, &raw const small.frame, null_mut());
        assert_eq!(poll, DREAMFRAME_ERROR_INVALID_FRAME);
        assert_eq!(dreamframe_session_size(session.0, &raw mut width, &raw mut height), DREAMFRAME_OK);
        assert_eq!((width, height), (SIDE, SIDE));
        assert_eq!(dreamframe_session_poll(session.0, &raw const right.frame, null_mut()), DREAMFRAME_OK);
        assert_eq!(dreamframe_session_poll(session.0, &raw const right.frame, null_mut()), DREAMFRAME_NOT_READY);
    }
}

#[test]
fn frame_packed_describes_contiguous_pixels() {
    let yuv = Pixels::of(6, 5, 3, 0);
    let start = yuv.bytes.as_ptr().addr();
    assert_eq!(yuv.frame.planes.map(|plane| plane.addr()), [start, start + 15, start + 21, 0]);
    assert_eq!(yuv.frame.strides, [5, 3, 3, 0]);
    let mut frame = yuv.frame;
    let pixels = yuv.bytes.as_ptr().cast_mut();
    // SAFETY: all arguments are valid during the call.
    unsafe {
        assert_eq!(dreamframe_frame_packed(6, 5, 3, pixels, 26, &raw mut frame), DREAMFRAME_ERROR_INVALID_FRAME);
        assert_eq!(dreamframe_frame_packed(0, 5, 3, pixels, 27, &raw mut frame), DREAMFRAME_ERROR_INVALID_FRAME);
        let refused = dreamframe_frame_packed(6, 5, 3, pixels, usize::MAX, &raw mut frame);
        assert_eq!(refused, DREAMFRAME_ERROR_INVALID_ARGUMENT);
    }
}

#[test]
fn enum_values_of_the_header_match_the_library() {
    use dreamframe_pixel_format_t as Format;
    for (number, format) in [
        (Format::DREAMFRAME_PIXEL_FORMAT_RGBA8, PixelFormat::Rgba8),
        (Format::DREAMFRAME_PIXEL_FORMAT_BGRA8, PixelFormat::Bgra8),
        (Format::DREAMFRAME_PIXEL_FORMAT_RGB8, PixelFormat::Rgb8),
        (Format::DREAMFRAME_PIXEL_FORMAT_RGBA16F, PixelFormat::Rgba16F),
        (Format::DREAMFRAME_PIXEL_FORMAT_NV12, PixelFormat::Nv12),
        (Format::DREAMFRAME_PIXEL_FORMAT_I420, PixelFormat::I420),
    ] {
        assert_eq!(number as u32, format as u32);
        assert_eq!(format_of(number as u32).unwrap(), format);
    }
    use dreamframe::Origin;
    assert_eq!(dreamframe_origin_t::DREAMFRAME_ORIGIN_TOP_LEFT as u32, Origin::TopLeft as u32);
    assert_eq!(dreamframe_origin_t::DREAMFRAME_ORIGIN_BOTTOM_LEFT as u32, Origin::BottomLeft as u32);
    assert_eq!(dreamframe_yuv_matrix_t::DREAMFRAME_YUV_MATRIX_BT601 as u32, YuvMatrix::Bt601 as u32);
    assert_eq!(dreamframe_yuv_matrix_t::DREAMFRAME_YUV_MATRIX_BT709 as u32, YuvMatrix::Bt709 as u32);
    assert_eq!(dreamframe_yuv_range_t::DREAMFRAME_YUV_RANGE_LIMITED as u32, YuvRange::Limited as u32);
    assert_eq!(dreamframe_yuv_range_t::DREAMFRAME_YUV_RANGE_FULL as u32, YuvRange::Full as u32);
}
