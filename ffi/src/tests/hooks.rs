//! Processors and safety checkers of the host, well-behaved and not.

use std::ffi::{CStr, c_char, c_void};
use std::ptr::{from_ref, null, null_mut};
use std::sync::Mutex;
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};

use super::kit::{Engine, LIMIT_MS, Pixels, Session, last_error, options};
use crate::engine::{
    dreamframe_engine_create, dreamframe_engine_free, dreamframe_engine_process, dreamframe_engine_t,
    dreamframe_engine_update,
};
use crate::hooks::*;
use crate::options::dreamframe_options_t;
use crate::session::dreamframe_session_free;
use crate::session_frames::{dreamframe_session_submit, dreamframe_session_wait};
use crate::status::*;

/// The host's data, which outlive every engine of a test.
#[derive(Default)]
struct Host {
    started: AtomicU32,
    stopped: AtomicU32,
    destroyed: AtomicU32,
    configured: AtomicU32,
    /// The next results of `run` and `score`.
    status: AtomicI32,
    settings: Mutex<String>,
    /// An engine or a session that `run` frees.
    handle: Mutex<Option<usize>>,
}

impl Host {
    fn counts(&self) -> [u32; 3] {
        [&self.started, &self.stopped, &self.destroyed].map(|count| count.load(Ordering::SeqCst))
    }

    fn user_data(&self) -> *mut c_void {
        from_ref(self).cast_mut().cast()
    }
}

fn host<'a>(user_data: *mut c_void) -> &'a Host {
    // SAFETY: the tests pass their `Host`.
    unsafe { &*user_data.cast::<Host>() }
}

unsafe extern "C" fn start(user_data: *mut c_void, settings_json: *const c_char) -> *mut c_void {
    let host = host(user_data);
    host.started.fetch_add(1, Ordering::SeqCst);
    // SAFETY: the library's guarantee, as the header says.
    *host.settings.lock().unwrap() = unsafe { CStr::from_ptr(settings_json) }.to_str().unwrap().to_owned();
    user_data
}

unsafe extern "C" fn start_fails(_: *mut c_void, _: *const c_char) -> *mut c_void {
    null_mut()
}

unsafe extern "C" fn configure(instance: *mut c_void, settings_json: *const c_char) {
    host(instance).configured.fetch_add(1, Ordering::SeqCst);
    // SAFETY: the library's guarantee, as the header says.
    *host(instance).settings.lock().unwrap() = unsafe { CStr::from_ptr(settings_json) }.to_str().unwrap().to_owned();
}

unsafe extern "C" fn stop(instance: *mut c_void) {
    host(instance).stopped.fetch_add(1, Ordering::SeqCst);
}

unsafe extern "C" fn destroy(user_data: *mut c_void) {
    host(user_data).destroyed.fetch_add(1, Ordering::SeqCst);
}

/// Inverts; with a status, fails with a message.
unsafe extern "C" fn invert(instance: *mut c_void, call: *const dreamframe_processor_call_t) -> i32 {
    // SAFETY: the library's guarantee, as the header says.
    unsafe {
        let call = &*call;
        let count = (call.width * call.height * call.channels) as usize;
        let input = std::slice::from_raw_parts(call.input, count);
        let output = std::slice::from_raw_parts_mut(call.output, count);
        output.iter_mut().zip(input).for_each(|(to, from)| *to = 1.0 - from);
        let status = host(instance).status.load(Ordering::SeqCst);
        match status {
            0 => {}
            // Without a NUL, and no UTF-8.
            1 => call.message.cast::<u8>().write_bytes(0xff, call.message_size),
            2 => output[count / 2] = f32::NAN,
            _ => call.message.copy_from(c"no light".as_ptr(), 9),
        }
        if status == 2 { 0 } else { status }
    }
}

unsafe extern "C" fn score(user_data: *mut c_void, call: *const dreamframe_safety_call_t, out_score: *mut f32) -> i32 {
    // SAFETY: the library's guarantee, as the header says.
    unsafe {
        *out_score = *(*call).picture;
        if host(user_data).status.load(Ordering::SeqCst) == 2 {
            *out_score = f32::NAN;
        }
    }
    0
}

fn processor(host: &Host) -> dreamframe_processor_t {
    dreamframe_processor_t {
        struct_size: size_of::<dreamframe_processor_t>(),
        name: c"sharpen".as_ptr(),
        user_data: host.user_data(),
        start: Some(start),
        run: Some(invert),
        configure: Some(configure),
        reset: None,
        stop: Some(stop),
        destroy: Some(destroy),
        scale: 0,
        channels: 0,
    }
}

fn checker(host: &Host) -> dreamframe_safety_checker_t {
    dreamframe_safety_checker_t {
        struct_size: size_of::<dreamframe_safety_checker_t>(),
        user_data: host.user_data(),
        score: Some(score),
        destroy: Some(destroy),
    }
}

/// Creates an engine with these hooks.
fn create(
    processors: &[*const dreamframe_processor_t],
    safety_checker: *const dreamframe_safety_checker_t,
    params: &CStr,
) -> Result<Engine, i32> {
    let hooks = dreamframe_hooks_t {
        struct_size: size_of::<dreamframe_hooks_t>(),
        processors: processors.as_ptr(),
        processor_count: processors.len(),
        safety_checker,
    };
    let options = dreamframe_options_t { hooks: &raw const hooks, params_json: params.as_ptr(), ..options() };
    let mut engine = null_mut();
    // SAFETY: all arguments are valid during the call.
    match unsafe { dreamframe_engine_create(&raw const options, &raw mut engine) } {
        DREAMFRAME_OK => Ok(Engine(engine)),
        status => Err(status),
    }
}

const SHARPENED: &CStr = c"{\"width\": 64, \"height\": 64, \"model_id\": \"demo\", \"use_lcm_lora\": false, \
    \"skip_diffusion\": true, \"image_preprocessing\": {\"processors\": \
    [{\"type\": \"sharpen\", \"params\": {\"sharpen_intensity\": 2.0}}]}}";
const CHECKED: &CStr = c"{\"width\": 64, \"height\": 64, \"model_id\": \"demo\", \"use_lcm_lora\": false, \
    \"use_safety_checker\": true}";

fn process(engine: *mut dreamframe_engine_t, shade: u8) -> Result<u8, i32> {
    let (frame, target) = (Pixels::grey(shade), Pixels::grey(0));
    // SAFETY: all arguments are valid during the call.
    let status =
        unsafe { dreamframe_engine_process(engine, &raw const frame.frame, &raw const target.frame, null_mut()) };
    if status == DREAMFRAME_OK { Ok(target.bytes[0]) } else { Err(status) }
}

#[test]
fn a_processor_of_the_host_replaces_the_librarys_and_is_destroyed_last() {
    let host = Host::default();
    let processor = processor(&host);
    let engine = create(&[&raw const processor], null(), SHARPENED).unwrap();
    assert_eq!(*host.settings.lock().unwrap(), "{\"sharpen_intensity\":2.0}");
    assert_eq!([process(engine.0, 0), process(engine.0, 255)], [Ok(255), Ok(0)]);
    // Settings change without another start.
    let patch = c"{\"image_preprocessing\": {\"processors\": \
        [{\"type\": \"sharpen\", \"params\": {\"sharpen_intensity\": 1.0}}]}}";
    // SAFETY: all arguments are valid during the call.
    let updated = unsafe { dreamframe_engine_update(engine.0, patch.as_ptr(), null_mut(), null_mut()) };
    assert_eq!(updated, DREAMFRAME_OK, "{}", last_error());
    assert_eq!(*host.settings.lock().unwrap(), "{\"sharpen_intensity\":1.0}");
    assert_eq!(host.configured.load(Ordering::SeqCst), 1);
    assert_eq!(host.counts(), [1, 0, 0]);
    drop(engine);
    assert_eq!(host.counts(), [1, 1, 1]);
}

#[test]
fn errors_of_a_processor_fail_its_frame_with_status_and_message() {
    let host = Host::default();
    let processor = processor(&host);
    let engine = create(&[&raw const processor], null(), SHARPENED).unwrap();
    for (status, expected, part) in [
        (DREAMFRAME_ERROR_DEVICE, DREAMFRAME_ERROR_DEVICE, "no light"),
        (-1234, DREAMFRAME_ERROR_UNSUPPORTED, "no light"),
        (1, DREAMFRAME_ERROR_UNSUPPORTED, "sharpen"),
        (2, DREAMFRAME_ERROR_INVALID_ARGUMENT, "not finite"),
    ] {
        host.status.store(status, Ordering::SeqCst);
        assert_eq!(process(engine.0, 0), Err(expected), "{status}");
        let text = last_error();
        assert!(text.contains(part) && text.contains("sharpen"), "{status}: {text}");
    }
    host.status.store(0, Ordering::SeqCst);
    assert_eq!(process(engine.0, 0), Ok(255), "the stream continues");
}

#[test]
fn a_processor_that_cannot_be_started_fails_frames_only() {
    let host = Host::default();
    let processor = dreamframe_processor_t { start: Some(start_fails), ..processor(&host) };
    let engine = create(&[&raw const processor], null(), SHARPENED).unwrap();
    assert_eq!(process(engine.0, 0), Err(DREAMFRAME_ERROR_UNSUPPORTED));
    assert!(last_error().contains("could not start"), "{}", last_error());
    drop(engine);
    assert_eq!(host.counts(), [0, 0, 1], "what was not started is not stopped");
}

#[test]
fn invalid_hooks_are_rejected_and_all_data_destroyed() {
    let host = Host::default();
    let good = processor(&host);
    let good_checker = checker(&host);
    let unknown = dreamframe_processor_t { name: c"sharpener".as_ptr(), ..good };
    let unnamed = dreamframe_processor_t { name: null(), ..good };
    let without_run = dreamframe_processor_t { run: None, ..good };
    let huge = dreamframe_processor_t { scale: 5, ..good };
    let wide = dreamframe_processor_t { channels: 17, ..good };
    let twice = good;
    for (bad, part) in [
        (&unknown, "got \"sharpener\""),
        (&unnamed, "name of a processor: got NULL"),
        (&without_run, "run of the processor \"sharpen\": got NULL"),
        (&huge, "scale of the processor \"sharpen\": got 5, expected at most 4"),
        (&wide, "channels of the processor \"sharpen\": got 17, expected at most 16"),
        (&twice, "got \"sharpen\" twice"),
    ] {
        let before = host.counts()[2];
        let created = create(&[&raw const good, from_ref(bad)], &raw const good_checker, SHARPENED);
        assert_eq!(created.err(), Some(DREAMFRAME_ERROR_INVALID_ARGUMENT), "{part}");
        assert!(last_error().contains(part), "{part}: {}", last_error());
        assert_eq!(host.counts()[2] - before, 3, "{part}");
    }
    // These cannot be read, so that only the others are destroyed.
    let unsized_one = dreamframe_processor_t { struct_size: 3, ..good };
    for (bad, part) in [(null(), "processor: got NULL"), (&raw const unsized_one, "struct_size of processor: got 3")] {
        let before = host.counts()[2];
        let created = create(&[bad, &raw const good], null(), SHARPENED);
        assert_eq!(created.err(), Some(DREAMFRAME_ERROR_INVALID_ARGUMENT));
        assert!(last_error().contains(part), "{part}: {}", last_error());
        assert_eq!(host.counts()[2] - before, 1, "{part}");
    }
    let without_score = dreamframe_safety_checker_t { score: None, ..good_checker };
    let before = host.counts()[2];
    assert_eq!(create(&[], &raw const without_score, CHECKED).err(), Some(DREAMFRAME_ERROR_INVALID_ARGUMENT));
    assert!(last_error().contains("score of the safety checker: got NULL"), "{}", last_error());
    // Another option, or the parameters, may be invalid as well.
    assert_eq!(create(&[&raw const good], null(), c"{\"delta\": -1}").err(), Some(DREAMFRAME_ERROR_INVALID_PARAMS));
    assert_eq!(host.counts()[2] - before, 2);
    assert_eq!(host.counts()[..2], [0, 0], "none was started");
}

#[test]
fn invalid_lists_of_hooks_are_rejected() {
    for (size, processors, count, part) in [
        (3, null(), 0, "struct_size of hooks: got 3"),
        (size_of::<dreamframe_hooks_t>(), null(), 1, "processors: got NULL"),
        (size_of::<dreamframe_hooks_t>(), null(), usize::MAX, "expected at most 1024"),
    ] {
        let hooks =
            dreamframe_hooks_t { struct_size: size, processors, processor_count: count, safety_checker: null() };
        let options = dreamframe_options_t { hooks: &raw const hooks, ..options() };
        let mut engine = null_mut();
        // SAFETY: all arguments are valid during the call, as far as the header requires.
        let status = unsafe { dreamframe_engine_create(&raw const options, &raw mut engine) };
        assert_eq!((status, engine.is_null()), (DREAMFRAME_ERROR_INVALID_ARGUMENT, true));
        assert!(last_error().contains(part), "{part}: {}", last_error());
    }
}

#[test]
fn a_safety_checker_of_the_host_flags_pictures() {
    let host = Host::default();
    let checker = checker(&host);
    let engine = create(&[], &raw const checker, CHECKED).unwrap();
    assert!(process(engine.0, 200).is_ok());
    // Not a score: the picture is flagged, and the frame fails.
    host.status.store(2, Ordering::SeqCst);
    assert_eq!(process(engine.0, 200), Err(DREAMFRAME_ERROR_INVALID_ARGUMENT));
    assert!(last_error().contains("score of the safety checker: got NaN, expected 0 to 1"), "{}", last_error());
    drop(engine);
    assert_eq!(host.counts(), [0, 0, 1]);
}

unsafe extern "C" fn free_engine(instance: *mut c_void, call: *const dreamframe_processor_call_t) -> i32 {
    let engine = host(instance).handle.lock().unwrap().take();
    if let Some(engine) = engine {
        let engine: *mut dreamframe_engine_t = std::ptr::without_provenance_mut(engine);
        assert_eq!(process(engine, 0), Err(DREAMFRAME_ERROR_INVALID_ARGUMENT), "it is in use");
        // SAFETY: handles are checked.
        unsafe { dreamframe_engine_free(engine) };
    }
    // SAFETY: the library's guarantee, as the header says.
    unsafe { invert(instance, call) }
}

#[test]
fn a_processor_may_free_its_own_engine() {
    let host = Host::default();
    let processor = dreamframe_processor_t { run: Some(free_engine), ..processor(&host) };
    let engine = create(&[&raw const processor], null(), SHARPENED).unwrap();
    *host.handle.lock().unwrap() = Some(engine.0.addr());
    let handle = engine.0;
    // Freed by the processor.
    std::mem::forget(engine);
    assert_eq!(process(handle, 0), Ok(255), "the frame is finished");
    assert_eq!(host.counts(), [1, 1, 1]);
    assert_eq!(process(handle, 0), Err(DREAMFRAME_ERROR_INVALID_ARGUMENT));
}

unsafe extern "C" fn free_session(instance: *mut c_void, call: *const dreamframe_processor_call_t) -> i32 {
    let session = host(instance).handle.lock().unwrap().take();
    if let Some(session) = session {
        // SAFETY: handles are checked.
        unsafe { dreamframe_session_free(std::ptr::without_provenance_mut(session)) };
    }
    // SAFETY: the library's guarantee, as the header says.
    unsafe { invert(instance, call) }
}

#[test]
fn a_processor_may_free_its_own_session() {
    let host = Host::default();
    let processor = dreamframe_processor_t { run: Some(free_session), ..processor(&host) };
    let engine = create(&[&raw const processor], null(), SHARPENED).unwrap();
    let session = Session::new(&engine);
    *host.handle.lock().unwrap() = Some(session.0.addr());
    let frame = Pixels::grey(0);
    // SAFETY: all arguments are valid during the call.
    unsafe { dreamframe_session_submit(session.0, &raw const frame.frame, null_mut()) };
    std::mem::forget(session);
    drop(engine);
    let end = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while host.counts() != [1, 1, 1] {
        assert!(std::time::Instant::now() < end, "the session does not end: {:?}", host.counts());
        std::thread::yield_now();
    }
}

#[test]
fn a_session_runs_processors_on_its_own_thread() {
    let host = Host::default();
    let processor = processor(&host);
    let engine = create(&[&raw const processor], null(), SHARPENED).unwrap();
    let session = Session::new(&engine);
    let (frame, target) = (Pixels::grey(0), Pixels::grey(0));
    // SAFETY: all arguments are valid during the call.
    unsafe {
        assert_eq!(dreamframe_session_submit(session.0, &raw const frame.frame, null_mut()), DREAMFRAME_OK);
        let waited = dreamframe_session_wait(session.0, LIMIT_MS, &raw const target.frame, null_mut());
        assert_eq!(waited, DREAMFRAME_OK, "{}", last_error());
    }
    assert_eq!(target.bytes[0], 255);
    drop(session);
    drop(engine);
    assert_eq!(host.counts(), [1, 1, 1]);
}
