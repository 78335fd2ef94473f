//! Every function with NULL for all its pointers; and functions of an object, with all other arguments valid.

#![expect(
    clippy::undocumented_unsafe_blocks,
    reason = "each call is wrong on purpose or right by its place in the table"
)]

use std::ptr::{null, null_mut};

use super::kit::{Pixels, empty_info};
use crate::device_frame::*;
use crate::engine::*;
use crate::frame::*;
use crate::images::*;
use crate::models::*;
use crate::params::*;
use crate::session::*;
use crate::session_frames::*;
use crate::session_updates::*;
use crate::stats::*;
use crate::style::*;
use crate::text_to_image::*;

/// Calls with NULL, by function name, and the status.
pub(super) type Call = (&'static str, fn() -> i32);
/// Calls of one object, by function name, and the status.
pub(super) type CallOf<T> = (&'static str, fn(*mut T) -> i32);

/// Functions that return a status, with NULL for every required pointer.
pub(super) const NULLS: &[Call] = &[
    ("dreamframe_engine_create", || unsafe { dreamframe_engine_create(null(), null_mut()) }),
    ("dreamframe_engine_process", || unsafe { dreamframe_engine_process(null_mut(), null(), null(), null_mut()) }),
    ("dreamframe_engine_process_device", || unsafe {
        dreamframe_engine_process_device(null_mut(), null(), null(), null_mut())
    }),
    ("dreamframe_engine_frame_memory", || unsafe {
        dreamframe_engine_frame_memory(null_mut(), null_mut(), null_mut())
    }),
    ("dreamframe_engine_update", || unsafe { dreamframe_engine_update(null_mut(), null(), null_mut(), null_mut()) }),
    ("dreamframe_engine_plan", || unsafe { dreamframe_engine_plan(null_mut(), null(), null_mut(), null_mut()) }),
    ("dreamframe_engine_transition", || unsafe { dreamframe_engine_transition(null_mut(), null(), null_mut()) }),
    ("dreamframe_engine_params", || unsafe { dreamframe_engine_params(null_mut(), null_mut()) }),
    ("dreamframe_engine_size", || unsafe { dreamframe_engine_size(null_mut(), null_mut(), null_mut()) }),
    ("dreamframe_engine_delay", || unsafe { dreamframe_engine_delay(null_mut(), null_mut()) }),
    ("dreamframe_engine_info", || unsafe { dreamframe_engine_info(null_mut(), null_mut()) }),
    ("dreamframe_engine_text_to_image", || unsafe { dreamframe_engine_text_to_image(null_mut(), null(), null_mut()) }),
    ("dreamframe_models_fetch", || unsafe { dreamframe_models_fetch(null(), null(), null_mut()) }),
    ("dreamframe_models_fetch_for", || unsafe { dreamframe_models_fetch_for(null(), null(), null_mut()) }),
    ("dreamframe_frame_packed", || unsafe { dreamframe_frame_packed(1, 1, 1, null_mut(), 4, null_mut()) }),
    ("dreamframe_params_defaults", || unsafe { dreamframe_params_defaults(null_mut()) }),
    ("dreamframe_params_demo", || unsafe { dreamframe_params_demo(null_mut()) }),
    ("dreamframe_params_for_model", || unsafe { dreamframe_params_for_model(null(), null_mut()) }),
    ("dreamframe_params_schema", || unsafe { dreamframe_params_schema(null_mut()) }),
    ("dreamframe_params_check", || unsafe { dreamframe_params_check(null(), null_mut()) }),
    ("dreamframe_params_merge", || unsafe { dreamframe_params_merge(null(), null(), null_mut()) }),
    ("dreamframe_session_start", || unsafe { dreamframe_session_start(null_mut(), null(), null_mut()) }),
    ("dreamframe_session_stop", || unsafe { dreamframe_session_stop(null_mut(), 0) }),
    ("dreamframe_session_submit", || unsafe { dreamframe_session_submit(null_mut(), null(), null_mut()) }),
    ("dreamframe_session_poll", || unsafe { dreamframe_session_poll(null_mut(), null(), null_mut()) }),
    ("dreamframe_session_wait", || unsafe { dreamframe_session_wait(null_mut(), 0, null(), null_mut()) }),
    ("dreamframe_session_size", || unsafe { dreamframe_session_size(null_mut(), null_mut(), null_mut()) }),
    ("dreamframe_session_is_running", || unsafe { dreamframe_session_is_running(null_mut(), null_mut()) }),
    ("dreamframe_session_update", || unsafe { dreamframe_session_update(null_mut(), null(), null_mut(), null_mut()) }),
    ("dreamframe_session_set_f32", || unsafe { dreamframe_session_set_f32(null_mut(), null(), 1.0, null_mut()) }),
    ("dreamframe_session_set_i64", || unsafe { dreamframe_session_set_i64(null_mut(), null(), 1, null_mut()) }),
    ("dreamframe_session_set_bool", || unsafe { dreamframe_session_set_bool(null_mut(), null(), true, null_mut()) }),
    ("dreamframe_session_set_text", || unsafe { dreamframe_session_set_text(null_mut(), null(), null(), null_mut()) }),
    ("dreamframe_session_transition", || unsafe { dreamframe_session_transition(null_mut(), null(), null_mut()) }),
    ("dreamframe_session_params", || unsafe { dreamframe_session_params(null_mut(), null_mut()) }),
    ("dreamframe_session_plan", || unsafe { dreamframe_session_plan(null_mut(), null(), null_mut(), null_mut()) }),
    ("dreamframe_session_wait_for", || unsafe { dreamframe_session_wait_for(null_mut(), 0, 0, null_mut()) }),
    ("dreamframe_session_next_event", || unsafe { dreamframe_session_next_event(null_mut(), 0, null_mut()) }),
    ("dreamframe_session_stats", || unsafe { dreamframe_session_stats(null_mut(), null_mut()) }),
    ("dreamframe_session_stats_json", || unsafe { dreamframe_session_stats_json(null_mut(), null_mut()) }),
    ("dreamframe_reply_bytes", || unsafe { dreamframe_reply_bytes(null_mut(), null(), 0) }),
    ("dreamframe_reply_floats", || unsafe { dreamframe_reply_floats(null_mut(), null(), 0) }),
    ("dreamframe_reply_error", || unsafe { dreamframe_reply_error(null_mut(), null()) }),
    ("dreamframe_style_data_uri", || unsafe { dreamframe_style_data_uri(null(), 0, null_mut()) }),
    ("dreamframe_style_pixels_uri", || unsafe { dreamframe_style_pixels_uri(null(), null_mut()) }),
    ("dreamframe_engine_set_external_image", || unsafe {
        dreamframe_engine_set_external_image(null_mut(), null(), null())
    }),
    ("dreamframe_engine_clear_external_image", || unsafe {
        dreamframe_engine_clear_external_image(null_mut(), null())
    }),
    ("dreamframe_engine_set_style_image", || unsafe { dreamframe_engine_set_style_image(null_mut(), null()) }),
    ("dreamframe_session_set_external_image", || unsafe {
        dreamframe_session_set_external_image(null_mut(), null(), null())
    }),
    ("dreamframe_session_clear_external_image", || unsafe {
        dreamframe_session_clear_external_image(null_mut(), null())
    }),
    ("dreamframe_session_set_style_image", || unsafe {
        dreamframe_session_set_style_image(null_mut(), null(), null_mut())
    }),
];

/// Functions of an engine that return a status, with all other arguments valid.
pub(super) const ENGINE: &[CallOf<dreamframe_engine_t>] = &[
    ("dreamframe_engine_process", |engine| {
        let (frame, target, mut info) = (Pixels::grey(9), Pixels::grey(0), empty_info());
        unsafe { dreamframe_engine_process(engine, &raw const frame.frame, &raw const target.frame, &raw mut info) }
    }),
    ("dreamframe_engine_process_device", |engine| {
        let (mut frame, mut target, mut info) = (Pixels::grey(9), Pixels::grey(0), empty_info());
        let (frame, target) = (frame.device(), target.device());
        unsafe { dreamframe_engine_process_device(engine, &raw const frame, &raw const target, &raw mut info) }
    }),
    ("dreamframe_engine_frame_memory", |engine| unsafe { dreamframe_engine_frame_memory(engine, &mut 0, &mut 0) }),
    ("dreamframe_engine_update", |engine| unsafe {
        dreamframe_engine_update(engine, c"{\"delta\": 0.4}".as_ptr(), &mut 0, null_mut())
    }),
    ("dreamframe_engine_plan", |engine| unsafe {
        dreamframe_engine_plan(engine, c"{\"delta\": 0.4}".as_ptr(), &mut 0, null_mut())
    }),
    ("dreamframe_engine_transition", |engine| unsafe {
        dreamframe_engine_transition(engine, c"{\"target_prompts\": \"snow\"}".as_ptr(), null_mut())
    }),
    ("dreamframe_engine_params", |engine| text(|out| unsafe { dreamframe_engine_params(engine, out) })),
    ("dreamframe_engine_size", |engine| unsafe { dreamframe_engine_size(engine, &mut 0, &mut 0) }),
    ("dreamframe_engine_delay", |engine| unsafe { dreamframe_engine_delay(engine, &mut 0) }),
    ("dreamframe_engine_info", |engine| text(|out| unsafe { dreamframe_engine_info(engine, out) })),
    ("dreamframe_engine_text_to_image", |engine| {
        let (target, mut info) = (Pixels::grey(0), empty_info());
        unsafe { dreamframe_engine_text_to_image(engine, &raw const target.frame, &raw mut info) }
    }),
    ("dreamframe_session_start", |engine| {
        let mut session = null_mut();
        let status = unsafe { dreamframe_session_start(engine, null(), &raw mut session) };
        unsafe { dreamframe_session_free(session) };
        status
    }),
    ("dreamframe_server_start", super::network::serve_and_free),
    ("dreamframe_engine_set_external_image", |engine| {
        let image = Pixels::grey(9);
        unsafe { dreamframe_engine_set_external_image(engine, null(), &raw const image.frame) }
    }),
    ("dreamframe_engine_clear_external_image", |engine| unsafe {
        dreamframe_engine_clear_external_image(engine, null())
    }),
    ("dreamframe_engine_set_style_image", |engine| {
        let image = Pixels::grey(9);
        unsafe { dreamframe_engine_set_style_image(engine, &raw const image.frame) }
    }),
];

/// Functions of a session that return a status, with all other arguments valid.
pub(super) const SESSION: &[CallOf<dreamframe_session_t>] = &[
    ("dreamframe_session_submit", |session| {
        let frame = Pixels::grey(9);
        unsafe { dreamframe_session_submit(session, &raw const frame.frame, &mut 0) }
    }),
    ("dreamframe_session_poll", |session| {
        let target = Pixels::grey(0);
        unsafe { dreamframe_session_poll(session, &raw const target.frame, null_mut()) }
    }),
    ("dreamframe_session_wait", |session| {
        let target = Pixels::grey(0);
        unsafe { dreamframe_session_wait(session, 0, &raw const target.frame, null_mut()) }
    }),
    ("dreamframe_session_size", |session| unsafe { dreamframe_session_size(session, &mut 0, &mut 0) }),
    ("dreamframe_session_is_running", |session| unsafe { dreamframe_session_is_running(session, &mut false) }),
    ("dreamframe_session_update", |session| unsafe {
        dreamframe_session_update(session, c"{\"delta\": 0.4}".as_ptr(), &mut 0, null_mut())
    }),
    ("dreamframe_session_set_f32", |session| unsafe {
        dreamframe_session_set_f32(session, c"delta".as_ptr(), 0.7, &mut 0)
    }),
    ("dreamframe_session_set_i64", |session| unsafe {
        dreamframe_session_set_i64(session, c"seed".as_ptr(), 7, &mut 0)
    }),
    ("dreamframe_session_set_bool", |session| unsafe {
        dreamframe_session_set_bool(session, c"skip_diffusion".as_ptr(), true, &mut 0)
    }),
    ("dreamframe_session_set_text", |session| unsafe {
        dreamframe_session_set_text(session, c"prompt".as_ptr(), c"snow".as_ptr(), &mut 0)
    }),
    ("dreamframe_session_transition", |session| unsafe {
        dreamframe_session_transition(session, c"{\"target_prompts\": \"fog\"}".as_ptr(), &mut 0)
    }),
    ("dreamframe_session_params", |session| text(|out| unsafe { dreamframe_session_params(session, out) })),
    ("dreamframe_session_plan", |session| unsafe {
        dreamframe_session_plan(session, c"{\"delta\": 0.3}".as_ptr(), &mut 0, null_mut())
    }),
    ("dreamframe_session_wait_for", |session| unsafe { dreamframe_session_wait_for(session, 0, 0, null_mut()) }),
    ("dreamframe_session_next_event", |session| text(|out| unsafe { dreamframe_session_next_event(session, 0, out) })),
    ("dreamframe_session_stats", |session| {
        let mut stats: dreamframe_stats_t = unsafe { std::mem::zeroed() };
        stats.struct_size = size_of_val(&stats);
        unsafe { dreamframe_session_stats(session, &raw mut stats) }
    }),
    ("dreamframe_session_stats_json", |session| text(|out| unsafe { dreamframe_session_stats_json(session, out) })),
    ("dreamframe_session_set_external_image", |session| {
        let image = Pixels::grey(9);
        unsafe { dreamframe_session_set_external_image(session, c"a".as_ptr(), &raw const image.frame) }
    }),
    ("dreamframe_session_clear_external_image", |session| unsafe {
        dreamframe_session_clear_external_image(session, c"a".as_ptr())
    }),
    ("dreamframe_session_set_style_image", |session| {
        let image = Pixels::grey(9);
        unsafe { dreamframe_session_set_style_image(session, &raw const image.frame, &mut 0) }
    }),
    ("dreamframe_session_stop", |session| unsafe { dreamframe_session_stop(session, super::kit::LIMIT_MS) }),
];

/// Functions of a reply that return a status, with all other arguments valid.
pub(super) const REPLY: &[CallOf<dreamframe_reply_t>] = &[
    ("dreamframe_reply_bytes", |reply| unsafe { dreamframe_reply_bytes(reply, [1_u8].as_ptr(), 1) }),
    ("dreamframe_reply_floats", |reply| unsafe { dreamframe_reply_floats(reply, [1.0_f32].as_ptr(), 1) }),
    ("dreamframe_reply_error", |reply| unsafe { dreamframe_reply_error(reply, c"none".as_ptr()) }),
];

pub(super) fn text(call: impl FnOnce(*mut *mut std::ffi::c_char) -> i32) -> i32 {
    let mut text = null_mut();
    let status = call(&raw mut text);
    unsafe { crate::text::dreamframe_string_free(text) };
    status
}
