//! Sessions.

use std::ptr::null_mut;

use super::kit::{Engine, LIMIT_MS, Pixels, SIDE, Session, c, empty_info, json, last_error, last_error_json};
use crate::engine::dreamframe_engine_params;
use crate::session::dreamframe_session_stop;
use crate::session_frames::*;
use crate::session_updates::*;
use crate::stats::*;
use crate::status::*;

/// Submits a frame and waits for a picture.
fn one_picture(session: &Session, shade: u8) -> crate::picture::dreamframe_picture_info_t {
    let (frame, target, mut info) = (Pixels::grey(shade), Pixels::grey(0), empty_info());
    // SAFETY: all arguments are valid during the call.
    unsafe {
        assert_eq!(dreamframe_session_submit(session.0, &raw const frame.frame, null_mut()), DREAMFRAME_OK);
        let status = dreamframe_session_wait(session.0, LIMIT_MS, &raw const target.frame, &raw mut info);
        assert_eq!(status, DREAMFRAME_OK, "{}", last_error());
    }
    assert!(target.bytes.iter().any(|&byte| byte != 0));
    info
}

/// Waits until the update `version` has ended.
fn end_of(session: &Session, version: u64) -> (i32, u32) {
    let mut outcome = 0;
    // SAFETY: all arguments are valid during the call.
    let status = unsafe { dreamframe_session_wait_for(session.0, version, LIMIT_MS, &raw mut outcome) };
    (status, outcome)
}

#[test]
fn submitted_frames_produce_pictures() {
    let engine = Engine::new();
    let session = Session::new(&engine);
    let target = Pixels::grey(0);
    let poll = || {
        // SAFETY: all arguments are valid during the call.
        unsafe { dreamframe_session_poll(session.0, &raw const target.frame, null_mut()) }
    };
    assert_eq!(poll(), DREAMFRAME_NOT_READY);
    for id in 0..4 {
        let info = one_picture(&session, 100);
        assert_eq!((info.id, info.kind, info.width, info.height), (id, 1, SIDE, SIDE));
    }
    // SAFETY: zeros are valid for each field.
    let mut stats: dreamframe_stats_t = unsafe { std::mem::zeroed() };
    stats.struct_size = size_of_val(&stats);
    let mut running = false;
    // SAFETY: all arguments are valid during the call.
    unsafe {
        assert_eq!(dreamframe_session_stats(session.0, &raw mut stats), DREAMFRAME_OK);
        assert_eq!((stats.submitted, stats.computed, stats.dropped, stats.failed), (4, 4, 0, 0));
        assert!(stats.frame_median_us > 0.0 && stats.frame_p95_us >= stats.frame_median_us);
        let more = json(|out| dreamframe_session_stats_json(session.0, out));
        assert_eq!(more["submitted"]["total"], 4);
        assert_eq!(dreamframe_session_is_running(session.0, &raw mut running), DREAMFRAME_OK);
        assert!(running);
        assert_eq!(dreamframe_session_stop(session.0, LIMIT_MS), DREAMFRAME_OK);
        assert_eq!(dreamframe_session_is_running(session.0, &raw mut running), DREAMFRAME_OK);
        assert!(!running);
        assert_eq!(poll(), DREAMFRAME_ERROR_CLOSED);
        let frame = Pixels::grey(1);
        let late = dreamframe_session_submit(session.0, &raw const frame.frame, null_mut());
        assert_eq!(late, DREAMFRAME_ERROR_CLOSED);
    }
}

#[test]
fn numbers_booleans_and_strings_are_set_by_name() {
    let engine = Engine::new();
    let session = Session::new(&engine);
    let mut version = 0;
    // SAFETY: all arguments are valid during the call.
    unsafe {
        let set = dreamframe_session_set_f32(session.0, c"delta".as_ptr(), 0.7, &raw mut version);
        assert_eq!((set, version), (DREAMFRAME_OK, 0), "0.7 is the default, so nothing changes");
        let set = dreamframe_session_set_f32(session.0, c"delta".as_ptr(), 0.35, &raw mut version);
        assert_eq!((set, version), (DREAMFRAME_OK, 1));
        assert_eq!(end_of(&session, version), (DREAMFRAME_OK, 1));
        let set = dreamframe_session_set_f32(session.0, c"ip_adapter.scale".as_ptr(), 0.25, null_mut());
        assert_eq!(set, DREAMFRAME_OK, "{}", last_error());
        assert_eq!(dreamframe_session_set_i64(session.0, c"seed".as_ptr(), 11, null_mut()), DREAMFRAME_OK);
        let flag = c"enable_similar_image_filter".as_ptr();
        assert_eq!(dreamframe_session_set_bool(session.0, flag, true, null_mut()), DREAMFRAME_OK);
        let text = c(r#"a "quoted" garden"#);
        assert_eq!(
            dreamframe_session_set_text(session.0, c"prompt".as_ptr(), text.as_ptr(), &raw mut version),
            DREAMFRAME_OK
        );
        assert_eq!(end_of(&session, version).0, DREAMFRAME_OK);
        let params = json(|out| dreamframe_session_params(session.0, out));
        assert_eq!((&params["delta"], &params["seed"]), (&0.35.into(), &11.into()));
        assert_eq!(params["ip_adapter"]["scale"], 0.25);
        assert_eq!(
            (&params["enable_similar_image_filter"], &params["prompt"]),
            (&true.into(), &text.to_str().unwrap().into())
        );
        assert!(one_picture(&session, 50).version >= 1);
        for value in [f32::NAN, f32::INFINITY] {
            let refused = dreamframe_session_set_f32(session.0, c"delta".as_ptr(), value, null_mut());
            assert_eq!(refused, DREAMFRAME_ERROR_INVALID_ARGUMENT);
        }
        let refused = dreamframe_session_set_f32(session.0, c"guidence_scale".as_ptr(), 1.0, null_mut());
        assert_eq!(refused, DREAMFRAME_ERROR_INVALID_PARAMS);
        assert!(last_error().contains("guidance_scale"), "{}", last_error());
    }
}

#[test]
fn update_is_planned_applied_and_reported() {
    let engine = Engine::new();
    let session = Session::new(&engine);
    let (mut cost, mut version) = (0, 0);
    let patch = c(r#"{"delta": 0.4}"#);
    // SAFETY: all arguments are valid during the call.
    unsafe {
        let plan = json(|out| dreamframe_session_plan(session.0, patch.as_ptr(), &raw mut cost, out));
        assert_eq!((cost, &plan["changes"][0]["path"]), (1, &"delta".into()));
        let ticket = json(|out| dreamframe_session_update(session.0, patch.as_ptr(), &raw mut version, out));
        assert_eq!((version, &ticket["version"], &ticket["cost"]), (1, &1.into(), &"hot".into()));
        assert_eq!(end_of(&session, version), (DREAMFRAME_OK, 1));
        let event = json(|out| dreamframe_session_next_event(session.0, LIMIT_MS, out));
        assert_eq!((&event["type"], &event["version"]), (&"update_applied".into(), &1.into()));
        let mut none = null_mut();
        assert_eq!(dreamframe_session_next_event(session.0, 0, &raw mut none), DREAMFRAME_NOT_READY);
        assert!(none.is_null());
        let wrong = c(r#"{"delta": 99}"#);
        let refused = dreamframe_session_update(session.0, wrong.as_ptr(), &raw mut version, null_mut());
        assert_eq!((refused, version), (DREAMFRAME_ERROR_INVALID_PARAMS, 1));
        // The engine is returned with the changes.
        assert_eq!(dreamframe_session_stop(session.0, LIMIT_MS), DREAMFRAME_OK);
        assert_eq!(json(|out| dreamframe_engine_params(engine.0, out))["delta"], 0.4);
    }
}

#[test]
fn update_that_fails_later_is_reported_with_its_error() {
    let engine = Engine::new();
    let session = Session::new(&engine);
    let mut version = 0;
    let patch = c(r#"{"controlnets": [{"model_id": "nobody/nothing", "conditioning_scale": 0.5}]}"#);
    // SAFETY: all arguments are valid during the call.
    unsafe {
        let accepted = dreamframe_session_update(session.0, patch.as_ptr(), &raw mut version, null_mut());
        assert_eq!(accepted, DREAMFRAME_OK, "{}", last_error());
        assert_eq!(end_of(&session, version).0, DREAMFRAME_ERROR_NOT_FOUND, "{}", last_error());
        assert!(last_error_json()["message"].as_str().unwrap().contains("nobody/nothing"));
        let event = json(|out| dreamframe_session_next_event(session.0, LIMIT_MS, out));
        assert_eq!((&event["type"], &event["error"]["kind"]), (&"update_rejected".into(), &"not_found".into()));
        let mut outcome = 0;
        let never = dreamframe_session_wait_for(session.0, version + 1, 1, &raw mut outcome);
        assert_eq!((never, outcome), (DREAMFRAME_ERROR_TIMEOUT, 0));
    }
}

#[test]
fn transition_advances_with_each_picture() {
    let engine = Engine::new();
    let session = Session::new(&engine);
    let mut version = 0;
    let text = c(r#"{"target_prompts": "snow", "num_steps": 2}"#);
    // SAFETY: all arguments are valid during the call.
    unsafe {
        let status = dreamframe_session_transition(session.0, text.as_ptr(), &raw mut version);
        assert_eq!((status, version), (DREAMFRAME_OK, 1), "{}", last_error());
        assert_eq!(end_of(&session, version), (DREAMFRAME_OK, 1));
        assert_eq!(json(|out| dreamframe_session_params(session.0, out))["prompt"], "snow");
    }
    one_picture(&session, 60);
}

#[test]
fn freeing_a_session_wakes_waiting_threads() {
    let engine = Engine::new();
    let session = Session::new(&engine);
    let address = session.0.addr();
    let waits = std::thread::spawn(move || {
        let target = Pixels::grey(0);
        // SAFETY: handles are checked, and the target lives through the call.
        unsafe {
            dreamframe_session_wait(
                std::ptr::without_provenance_mut(address),
                10 * LIMIT_MS,
                &raw const target.frame,
                null_mut(),
            )
        }
    });
    drop(session);
    // Whichever was first.
    let status = waits.join().unwrap();
    assert!([DREAMFRAME_ERROR_CLOSED, DREAMFRAME_ERROR_INVALID_ARGUMENT].contains(&status), "{status}");
}
