//! Callbacks: their arguments, and when they are no longer called.

use std::ffi::{CStr, c_char, c_void};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use dreamframe::{ErrorKind, StyleImages};

use super::kit::{Engine, LIMIT_MS, Pixels, Session, last_error, options};
use crate::callback::UserData;
use crate::engine::dreamframe_engine_create;
use crate::frame::dreamframe_frame_t;
use crate::log::dreamframe_log_level_t;
use crate::options::dreamframe_options_t;
use crate::picture::dreamframe_picture_info_t;
use crate::session::{dreamframe_session_options_t, dreamframe_session_stop, dreamframe_session_t};
use crate::session_frames::*;
use crate::session_updates::dreamframe_session_wait_for;
use crate::status::*;
use crate::style::*;

/// Calls that the callbacks received.
#[derive(Default)]
struct Heard {
    lines: Mutex<Vec<String>>,
    calls: AtomicU64,
    /// The return value of the progress callback.
    answer: AtomicI32,
    session: Mutex<usize>,
    stopped: AtomicI32,
}

impl Heard {
    fn user_data(&self) -> *mut c_void {
        std::ptr::from_ref(self).cast_mut().cast()
    }
}

/// # Safety
///
/// `user_data` is that of a live `Heard`.
unsafe fn heard<'a>(user_data: *mut c_void) -> &'a Heard {
    // SAFETY: the caller's guarantee.
    unsafe { &*user_data.cast() }
}

unsafe extern "C" fn log(user_data: *mut c_void, level: u32, target: *const c_char, message: *const c_char) {
    // SAFETY: the library's guarantee, as the header says.
    let (target, message) = unsafe { (CStr::from_ptr(target), CStr::from_ptr(message)) };
    let line = format!("{level} {} {}", target.to_str().unwrap(), message.to_str().unwrap());
    // SAFETY: the test's own.
    unsafe { heard(user_data) }.lines.lock().unwrap().push(line);
}

unsafe extern "C" fn progress(user_data: *mut c_void, component: *const c_char, done: u64, total: u64) -> i32 {
    // SAFETY: the library's guarantee, as the header says.
    assert!(!unsafe { CStr::from_ptr(component) }.is_empty());
    assert!(done <= total);
    // SAFETY: the test's own.
    let heard = unsafe { heard(user_data) };
    heard.calls.fetch_add(1, Ordering::Relaxed);
    heard.answer.load(Ordering::Relaxed)
}

unsafe extern "C" fn on_picture(
    user_data: *mut c_void,
    picture: *const dreamframe_frame_t,
    info: *const dreamframe_picture_info_t,
) {
    // SAFETY: the test's own.
    let heard = unsafe { heard(user_data) };
    // SAFETY: the library's guarantee, as the header says.
    let (picture, info) = unsafe { (picture.as_ref().unwrap(), info.as_ref().unwrap()) };
    assert_eq!((picture.width, picture.height), (info.width, info.height));
    assert_eq!(picture.user_tag, info.user_tag);
    let session: *mut dreamframe_session_t = std::ptr::without_provenance_mut(*heard.session.lock().unwrap());
    // SAFETY: handles are checked.
    heard.stopped.store(unsafe { dreamframe_session_stop(session, 1) }, Ordering::Relaxed);
    heard.calls.fetch_add(1, Ordering::Relaxed);
}

#[test]
fn log_callback_receives_messages_of_sessions_until_they_are_freed() {
    let heard = Heard::default();
    let options = dreamframe_options_t { log: Some(log), user_data: heard.user_data(), ..options() };
    let engine = Engine::with(&options);
    let other = Engine::new();
    let session = Session::new(&engine);
    // The engine is freed first: its session still logs.
    drop(engine);
    let mut version = 0;
    // SAFETY: all arguments are valid during the call.
    unsafe {
        let set =
            crate::session_updates::dreamframe_session_set_f32(session.0, c"delta".as_ptr(), 0.2, &raw mut version);
        assert_eq!(set, DREAMFRAME_OK);
        assert_eq!(dreamframe_session_wait_for(session.0, version, LIMIT_MS, null_mut()), DREAMFRAME_OK);
        assert_eq!(dreamframe_session_stop(session.0, LIMIT_MS), DREAMFRAME_OK);
    }
    drop(session);
    let lines = heard.lines.lock().unwrap().clone();
    let info = dreamframe_log_level_t::DREAMFRAME_LOG_LEVEL_INFO as u32;
    for text in ["session started", "update applied version=1", "session stopped"] {
        let line = lines.iter().find(|line| line.ends_with(text)).unwrap_or_else(|| panic!("{text}: {lines:?}"));
        assert!(line.starts_with(&format!("{info} dreamframe::session")), "{line}");
    }
    // Messages of another engine are not received.
    drop(Session::new(&other));
    assert_eq!(heard.lines.lock().unwrap().len(), lines.len());
}

#[test]
fn progress_callback_can_cancel_loading() {
    let heard = Heard::default();
    let options = dreamframe_options_t { progress: Some(progress), user_data: heard.user_data(), ..options() };
    drop(Engine::with(&options));
    assert!(heard.calls.load(Ordering::Relaxed) > 0);
    heard.answer.store(1, Ordering::Relaxed);
    let mut engine = null_mut();
    // SAFETY: all arguments are valid during the call.
    let status = unsafe { dreamframe_engine_create(&raw const options, &raw mut engine) };
    assert_eq!(status, DREAMFRAME_ERROR_CANCELLED, "{}", last_error());
    assert!(engine.is_null());
}

#[test]
fn pictures_passed_to_the_callback_can_still_be_polled() {
    let heard = Heard::default();
    let engine = Engine::new();
    let options = dreamframe_session_options_t {
        struct_size: size_of::<dreamframe_session_options_t>(),
        on_picture: Some(on_picture),
        user_data: heard.user_data(),
        failed_frame: 2,
        reserved: 0,
    };
    let session = Session::start(&engine, &raw const options);
    *heard.session.lock().unwrap() = session.0.addr();
    let (mut frame, target) = (Pixels::grey(70), Pixels::grey(0));
    frame.frame.user_tag = 5;
    // SAFETY: all arguments are valid during the call.
    unsafe {
        assert_eq!(dreamframe_session_submit(session.0, &raw const frame.frame, null_mut()), DREAMFRAME_OK);
        let wait = dreamframe_session_wait(session.0, 1, &raw const target.frame, null_mut());
        assert_eq!(wait, DREAMFRAME_ERROR_INVALID_ARGUMENT);
        assert_eq!(dreamframe_session_stop(session.0, LIMIT_MS), DREAMFRAME_OK, "{}", last_error());
        assert_eq!(heard.calls.load(Ordering::Relaxed), 1);
        // It tried to stop the session from inside.
        assert_eq!(heard.stopped.load(Ordering::Relaxed), DREAMFRAME_ERROR_INVALID_ARGUMENT);
        assert_eq!(dreamframe_session_poll(session.0, &raw const target.frame, null_mut()), DREAMFRAME_OK);
        assert_eq!(dreamframe_session_poll(session.0, &raw const target.frame, null_mut()), DREAMFRAME_ERROR_CLOSED);
    }
}

#[test]
fn invalid_session_options_leave_the_engine_usable() {
    let engine = Engine::new();
    let options = dreamframe_session_options_t {
        struct_size: size_of::<dreamframe_session_options_t>(),
        on_picture: None,
        user_data: null_mut(),
        failed_frame: 3,
        reserved: 0,
    };
    let mut session = null_mut();
    // SAFETY: all arguments are valid during the call.
    let status = unsafe { crate::session::dreamframe_session_start(engine.0, &raw const options, &raw mut session) };
    assert_eq!(
        (status, last_error().as_str()),
        (DREAMFRAME_ERROR_INVALID_ARGUMENT, "failed_frame: got 3, expected 0 to 2")
    );
    drop(Session::new(&engine));
}

unsafe extern "C" fn style(_: *mut c_void, wanted: u32, source: *const c_char, reply: *mut dreamframe_reply_t) {
    // SAFETY: the library's guarantee, as the header says.
    unsafe {
        match CStr::from_ptr(source).to_str().unwrap() {
            "nothing" => {}
            "reason" => _ = dreamframe_reply_error(reply, c"it is gone".as_ptr()),
            _ if wanted == dreamframe_style_t::DREAMFRAME_STYLE_FACE as u32 => {
                _ = dreamframe_reply_floats(reply, [0.5, 0.25].as_ptr(), 2);
            }
            _ => _ = dreamframe_reply_bytes(reply, b"abc".as_ptr(), 3),
        }
    }
}

#[test]
fn style_callback_provides_images_and_faces() {
    let host = HostStyle { callback: style, user_data: UserData(null_mut()), gate: Arc::default() };
    assert_eq!(host.fetch("https://example.org/a.png").unwrap(), b"abc");
    assert_eq!(host.face("a").unwrap(), [0.5, 0.25]);
    assert_eq!(host.fetch("nothing").unwrap_err().kind(), ErrorKind::Unsupported);
    assert_eq!(host.fetch("reason").unwrap_err().to_string(), "it is gone");
    host.gate.close();
    assert_eq!(host.fetch("https://example.org/a.png").unwrap_err().kind(), ErrorKind::Unsupported);
}

/// Two sessions that free each other, each from within its own `on_picture`.
#[derive(Default)]
struct Pair {
    sessions: [std::sync::atomic::AtomicUsize; 2],
    inside: [std::sync::atomic::AtomicBool; 2],
    done: AtomicU64,
}

struct End {
    pair: Arc<Pair>,
    own: usize,
}

unsafe extern "C" fn free_the_other(
    user_data: *mut c_void,
    _: *const dreamframe_frame_t,
    _: *const dreamframe_picture_info_t,
) {
    // SAFETY: the test's own, which is never freed.
    let End { pair, own } = unsafe { &*user_data.cast::<End>() };
    pair.inside[*own].store(true, Ordering::SeqCst);
    while !pair.inside[1 - own].load(Ordering::SeqCst) {
        std::thread::yield_now();
    }
    let other = std::ptr::without_provenance_mut(pair.sessions[1 - own].load(Ordering::SeqCst));
    // SAFETY: handles are checked.
    unsafe { crate::session::dreamframe_session_free(other) };
    pair.done.fetch_add(1, Ordering::SeqCst);
}

#[test]
fn sessions_that_free_each_other_in_callbacks_do_not_deadlock() {
    let pair = Arc::new(Pair::default());
    let engines = [Engine::new(), Engine::new()];
    for (own, engine) in engines.iter().enumerate() {
        // Never freed: hanging threads would still read it.
        let end = Box::leak(Box::new(End { pair: pair.clone(), own }));
        let options = dreamframe_session_options_t {
            struct_size: size_of::<dreamframe_session_options_t>(),
            on_picture: Some(free_the_other),
            user_data: std::ptr::from_mut(end).cast(),
            failed_frame: 0,
            reserved: 0,
        };
        let session = Session::start(engine, &raw const options);
        pair.sessions[own].store(session.0.addr(), Ordering::SeqCst);
        // The other session's callback frees it.
        std::mem::forget(session);
    }
    let frame = Pixels::grey(70);
    for session in &pair.sessions {
        let session = std::ptr::without_provenance_mut(session.load(Ordering::SeqCst));
        // SAFETY: all arguments are valid during the call.
        let submitted = unsafe { dreamframe_session_submit(session, &raw const frame.frame, null_mut()) };
        assert_eq!(submitted, DREAMFRAME_OK, "{}", last_error());
    }
    let end = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while pair.done.load(Ordering::SeqCst) < 2 {
        if std::time::Instant::now() > end {
            // If the engines hang in their sessions, freeing them would hang, too.
            std::mem::forget(engines);
            panic!("two sessions wait for each other");
        }
        std::thread::yield_now();
    }
}
