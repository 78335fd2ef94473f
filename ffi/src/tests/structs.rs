//! Structs of other versions of the header, and with invalid sizes.

use std::ptr::{null, null_mut};

use super::kit::{Engine, Pixels, Session, empty_frame, empty_info, last_error, options};
use crate::engine::{dreamframe_engine_create, dreamframe_engine_process};
use crate::frame::{dreamframe_frame_packed, dreamframe_frame_t};
use crate::options::dreamframe_options_t;
use crate::picture::dreamframe_picture_info_t;
use crate::pointer::Versioned;
use crate::session::{dreamframe_session_options_t, dreamframe_session_start};
use crate::session_frames::{dreamframe_session_poll, dreamframe_session_submit, dreamframe_session_wait};
use crate::stats::{dreamframe_session_stats, dreamframe_stats_t};
use crate::status::*;

/// Sizes of no version of the header.
fn wrong_sizes<T: Versioned>() -> [usize; 5] {
    [0, 1, T::LEAST - 1, 4097, usize::MAX]
}

fn check(what: &str, status: i32) {
    assert_eq!(status, DREAMFRAME_ERROR_INVALID_ARGUMENT, "{what}");
    assert!(last_error().contains("struct_size of ") && last_error().contains("_INIT"), "{what}: {}", last_error());
}

#[test]
fn functions_reject_a_wrong_struct_size() {
    let engine = Engine::new();
    for size in wrong_sizes::<dreamframe_frame_t>() {
        let (good, mut bad) = (Pixels::grey(1), Pixels::grey(1));
        bad.frame.struct_size = size;
        let (good, bad) = (&raw const good.frame, &raw const bad.frame);
        // SAFETY: all arguments are valid during the call.
        unsafe {
            check("process, frame", dreamframe_engine_process(engine.0, bad, good, null_mut()));
            check("process, target", dreamframe_engine_process(engine.0, good, bad, null_mut()));
            check("packed", dreamframe_frame_packed(1, 1, 1, [0_u8; 4].as_mut_ptr(), 4, bad.cast_mut()));
        }
    }
    for size in wrong_sizes::<dreamframe_picture_info_t>() {
        let pixels = [Pixels::grey(1), Pixels::grey(1)];
        let mut info = dreamframe_picture_info_t { struct_size: size, ..empty_info() };
        let [frame, target] = pixels.each_ref().map(|pixels| &raw const pixels.frame);
        // SAFETY: all arguments are valid during the call.
        check("process, info", unsafe { dreamframe_engine_process(engine.0, frame, target, &raw mut info) });
    }
    for size in wrong_sizes::<dreamframe_options_t>() {
        let options = dreamframe_options_t { struct_size: size, ..options() };
        // SAFETY: all arguments are valid during the call.
        check("create", unsafe { dreamframe_engine_create(&raw const options, &mut null_mut()) });
    }
    for size in wrong_sizes::<dreamframe_session_options_t>() {
        let options = dreamframe_session_options_t {
            struct_size: size,
            on_picture: None,
            user_data: null_mut(),
            failed_frame: 0,
            reserved: 0,
        };
        // SAFETY: all arguments are valid during the call.
        check("start", unsafe { dreamframe_session_start(engine.0, &raw const options, &mut null_mut()) });
    }
}

#[test]
fn session_functions_reject_a_wrong_struct_size() {
    let engine = Engine::new();
    let session = Session::new(&engine);
    for size in wrong_sizes::<dreamframe_frame_t>() {
        let mut bad = Pixels::grey(1);
        bad.frame.struct_size = size;
        let bad = &raw const bad.frame;
        // SAFETY: all arguments are valid during the call.
        unsafe {
            check("submit", dreamframe_session_submit(session.0, bad, null_mut()));
            check("poll", dreamframe_session_poll(session.0, bad, null_mut()));
            check("wait", dreamframe_session_wait(session.0, 0, bad, null_mut()));
        }
    }
    for size in wrong_sizes::<dreamframe_picture_info_t>() {
        let target = Pixels::grey(1);
        let target = &raw const target.frame;
        let mut info = dreamframe_picture_info_t { struct_size: size, ..empty_info() };
        // SAFETY: all arguments are valid during the call.
        unsafe {
            check("poll, info", dreamframe_session_poll(session.0, target, &raw mut info));
            check("wait, info", dreamframe_session_wait(session.0, 0, target, &raw mut info));
        }
    }
    for size in wrong_sizes::<dreamframe_stats_t>() {
        // SAFETY: zeros are valid for each field.
        let mut stats: dreamframe_stats_t = unsafe { std::mem::zeroed() };
        stats.struct_size = size;
        // SAFETY: all arguments are valid during the call.
        check("stats", unsafe { dreamframe_session_stats(session.0, &raw mut stats) });
    }
}

/// A frame of a header that is newer than the library.
#[repr(C)]
struct NewerFrame {
    frame: dreamframe_frame_t,
    more: [u64; 4],
}

#[test]
fn newer_struct_with_zero_fields_is_accepted() {
    let engine = Engine::new();
    let (pixels, target) = (Pixels::grey(1), Pixels::grey(1));
    let mut frame = NewerFrame { frame: pixels.frame, more: [0; 4] };
    frame.frame.struct_size = size_of::<NewerFrame>();
    let process = |frame: &NewerFrame| {
        // SAFETY: all arguments are valid during the call.
        unsafe {
            dreamframe_engine_process(engine.0, std::ptr::from_ref(frame).cast(), &raw const target.frame, null_mut())
        }
    };
    assert_eq!(process(&frame), DREAMFRAME_OK, "{}", last_error());
    frame.more[3] = 1;
    assert_eq!(process(&frame), DREAMFRAME_ERROR_INVALID_ARGUMENT);
    assert!(last_error().contains("older than the header"), "{}", last_error());
}

#[test]
fn results_do_not_exceed_the_struct_size_of_the_host() {
    #[repr(C)]
    struct Newer {
        frame: dreamframe_frame_t,
        more: [u8; 64],
    }
    let mut newer = Newer { frame: empty_frame(), more: [7; 64] };
    newer.frame.struct_size = size_of::<Newer>();
    let mut pixels = [0_u8; 16];
    // SAFETY: all arguments are valid during the call.
    let status =
        unsafe { dreamframe_frame_packed(1, 2, 2, pixels.as_mut_ptr(), 16, std::ptr::from_mut(&mut newer).cast()) };
    assert_eq!(status, DREAMFRAME_OK);
    assert_eq!((newer.frame.struct_size, newer.frame.strides[0]), (size_of::<Newer>(), 8));
    assert_eq!(newer.more, [7; 64]);
}

#[test]
fn misaligned_struct_is_rejected() {
    let engine = Engine::new();
    let frame = Pixels::grey(1);
    let crooked = (&raw const frame.frame).cast::<u8>().wrapping_add(1).cast::<dreamframe_frame_t>();
    // SAFETY: the address is rejected before it is read.
    let status = unsafe { dreamframe_engine_process(engine.0, crooked, null(), null_mut()) };
    assert_eq!(status, DREAMFRAME_ERROR_INVALID_ARGUMENT);
    assert!(last_error().contains("multiple of"), "{}", last_error());
}

#[test]
fn outputs_are_unchanged_on_an_error() {
    let engine = Engine::new();
    let options = dreamframe_options_t { executor: 77, ..options() };
    let mut out = engine.0;
    // SAFETY: all arguments are valid during the call.
    unsafe {
        let refused = dreamframe_engine_create(&raw const options, &raw mut out);
        assert_eq!((refused, out), (DREAMFRAME_ERROR_INVALID_ARGUMENT, engine.0));
        let (mut cost, mut report) = (42, std::ptr::without_provenance_mut(42));
        let patch = c"{\"delta\": 99}".as_ptr();
        let refused = crate::engine::dreamframe_engine_update(engine.0, patch, &raw mut cost, &raw mut report);
        assert_eq!((refused, cost, report.addr()), (DREAMFRAME_ERROR_INVALID_PARAMS, 42, 42));
        let mut info = dreamframe_picture_info_t { id: 42, ..empty_info() };
        let (frame, target) = (Pixels::of(1, 32, 32, 1), Pixels::of(1, 32, 32, 1));
        let refused =
            dreamframe_engine_process(engine.0, &raw const frame.frame, &raw const target.frame, &raw mut info);
        assert_eq!((refused, info.id), (DREAMFRAME_ERROR_INVALID_FRAME, 42));
    }
}
