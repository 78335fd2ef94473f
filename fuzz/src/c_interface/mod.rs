//! A target that calls the C interface, as a host in C does.

#![expect(unsafe_code, reason = "the functions of the C interface are unsafe")]

use std::ffi::{CStr, CString, c_char};
use std::ptr::{null, null_mut, without_provenance_mut};
use std::sync::atomic::{AtomicUsize, Ordering};

use arbitrary::{Arbitrary, Result, Unstructured};
use dreamframe_fuzz_ffi::engine::*;
use dreamframe_fuzz_ffi::frame::*;
use dreamframe_fuzz_ffi::guard::{dreamframe_last_error, dreamframe_last_error_json};
use dreamframe_fuzz_ffi::options::dreamframe_options_t;
use dreamframe_fuzz_ffi::params::{dreamframe_params_check, dreamframe_params_merge};
use dreamframe_fuzz_ffi::session::*;
use dreamframe_fuzz_ffi::session_frames::*;
use dreamframe_fuzz_ffi::session_updates::*;
use dreamframe_fuzz_ffi::status::*;
use dreamframe_fuzz_ffi::text::dreamframe_string_free;
use serde_json::Value;

/// Parameters of the smallest pictures.
const PARAMS: &CStr = c"{\"width\": 64, \"height\": 64, \"model_id\": \"demo\", \"use_lcm_lora\": false}";
/// Bytes of the pixels of all frames.
const PIXELS: usize = 4 * 72 * 72;
/// The format RGBA8.
const RGBA8: u32 = 1;

/// An argument in place of a handle.
#[derive(Debug, Clone, Copy, Arbitrary)]
enum Which {
    /// One that was given out, modulo their number; it may have been freed since.
    Given(u8),
    Null,
    /// Any other number.
    Number(u8),
}

/// JSON in place of a patch or of parameters.
#[derive(Debug)]
struct Text(Option<CString>);

impl<'a> Arbitrary<'a> for Text {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        // None of these makes pictures larger or loads a model that is not there for long.
        let known = [
            r#"{"delta": 0.5}"#,
            r#"{"delta": 11}"#,
            r#"{"seed": 7, "guidance_scale": 1.5}"#,
            r#"{"prompt": [["a", 1.0], ["b", 0.5]]}"#,
            r#"{"t_index_list": [10, 30], "num_inference_steps": 40}"#,
            r#"{"t_index_list": [30, 10]}"#,
            r#"{"width": 72}"#,
            r#"{"width": 65}"#,
            r#"{"model_id": "no/such-model"}"#,
            r#"{"controlnets": [{"model_id": "demo-canny", "preprocessor": "canny"}]}"#,
            r#"{"promtp": 1}"#,
            r#"{"target_prompts": "snow", "num_steps": 3}"#,
        ];
        Ok(Self(match u.int_in_range(0..=15)? {
            0 => None,
            1 | 2 => {
                let text: String = u.arbitrary::<&str>()?.chars().filter(|&c| c != '\0').collect();
                // Larger pictures would take seconds each.
                CString::new(text.replace(['w', 'h'], "")).ok()
            }
            _ => CString::new(*u.choose(&known)?).ok(),
        }))
    }
}

impl Text {
    fn pointer(&self) -> *const c_char {
        self.0.as_ref().map_or(null(), |text| text.as_ptr())
    }
}

/// A frame over the pixels.
#[derive(Debug, Clone, Copy, Arbitrary)]
struct Shape {
    format: u8,
    width: u8,
    height: u8,
    /// What is wrong with it: nothing from 4 on.
    wrong: u8,
}

impl Shape {
    /// Returns the frame; one of the stream's size where the shape does not fit into the pixels.
    fn frame(self, pixels: &mut [u8]) -> dreamframe_frame_t {
        let mut frame = empty_frame();
        let (format, width, height) = (u32::from(self.format % 8), u32::from(self.width), u32::from(self.height));
        let (start, len) = (pixels.as_mut_ptr(), pixels.len());
        // SAFETY: the pixels outlive the frame, which is checked to lie within them.
        let status = unsafe { dreamframe_frame_packed(format, width, height, start, len, &raw mut frame) };
        checked(status);
        if status != DREAMFRAME_OK {
            // SAFETY: likewise.
            unsafe { dreamframe_frame_packed(RGBA8, 64, 64, start, 4 * 64 * 64, &raw mut frame) };
        }
        match self.wrong {
            0 => frame.struct_size = 3,
            1 => frame.planes[0] = null_mut(),
            2 => frame.width = 0,
            3 => frame.format = 99,
            _ => {}
        }
        frame
    }
}

fn empty_frame() -> dreamframe_frame_t {
    // SAFETY: zeros are valid for each field.
    let frame: dreamframe_frame_t = unsafe { std::mem::zeroed() };
    dreamframe_frame_t { struct_size: size_of::<dreamframe_frame_t>(), ..frame }
}

/// A call.
#[derive(Debug, Arbitrary)]
enum Call {
    Create(Text),
    Free(Which),
    Process(Which, Shape, Shape),
    Update(Which, Text),
    Plan(Which, Text),
    Transition(Which, Text),
    Engine(Which, u8),
    Start(Which),
    Stop(Which),
    FreeSession(Which),
    Submit(Which, Shape),
    Poll(Which, Shape),
    UpdateSession(Which, Text),
    SetNumber(Which, Text, f32),
    SetText(Which, Text, Text),
    Session(Which, u8),
    WaitFor(Which, u8),
    Check(Text),
    Merge(Text, Text),
}

/// An engine that the last input left as it was made but for its parameters: to make one takes half a second.
static SPARE: AtomicUsize = AtomicUsize::new(0);

/// Whether a handle can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    Works,
    /// That of an engine which was given to a session, and may have come back.
    Depends,
    /// It was never given out, or freed.
    Refused,
}

/// The handles that were given out, and whether they can be used.
struct Host {
    engines: Vec<(*mut dreamframe_engine_t, Use)>,
    sessions: Vec<(*mut dreamframe_session_t, Use)>,
    /// Engines that were created; few, since each takes its time.
    created: usize,
    input: Vec<u8>,
    output: Vec<u8>,
}

/// Returns a handle, and whether it can be used.
fn handle<H>(given: &[(*mut H, Use)], which: Which) -> (*mut H, Use) {
    match which {
        Which::Null => (null_mut(), Use::Refused),
        // Handles are multiples of 16.
        Which::Number(number) => (without_provenance_mut(usize::from(number) | 1), Use::Refused),
        Which::Given(_) if given.is_empty() => (null_mut(), Use::Refused),
        Which::Given(index) => given[usize::from(index) % given.len()],
    }
}

/// Checks that a call did not panic, and that its error has a text and JSON.
fn checked(status: dreamframe_status_t) -> bool {
    assert_ne!(status, DREAMFRAME_ERROR_INTERNAL, "{}", last_error());
    if status < DREAMFRAME_OK {
        assert!(!last_error().is_empty());
        // SAFETY: valid until the next call that fails.
        let json = unsafe { CStr::from_ptr(dreamframe_last_error_json()) };
        let json: Value = serde_json::from_slice(json.to_bytes()).expect("an error is also JSON");
        assert!(json.is_object());
    }
    status == DREAMFRAME_OK
}

fn last_error() -> String {
    // SAFETY: valid until the next call that fails.
    unsafe { CStr::from_ptr(dreamframe_last_error()) }.to_str().expect("an error is UTF-8").to_owned()
}

/// Checks a call with a handle: one that cannot be used is an error.
fn checked_with(handle: Use, status: dreamframe_status_t) -> bool {
    assert!(handle != Use::Refused || status < DREAMFRAME_OK, "{status} of a handle that cannot be used");
    checked(status)
}

/// Returns the text that `call` writes, if it succeeds; nothing is written otherwise.
fn text(call: impl FnOnce(*mut *mut c_char) -> dreamframe_status_t, check: impl FnOnce(i32) -> bool) -> Option<Value> {
    let mut out = null_mut();
    let status = call(&raw mut out);
    let is_done = check(status);
    assert_eq!(out.is_null(), !is_done, "{status}");
    if out.is_null() {
        return None;
    }
    // SAFETY: the library wrote it.
    let value = serde_json::from_slice(unsafe { CStr::from_ptr(out) }.to_bytes()).expect("the text is JSON");
    // SAFETY: likewise; it is freed once.
    unsafe { dreamframe_string_free(out) };
    Some(value)
}

impl Host {
    fn engine(&self, which: Which) -> (*mut dreamframe_engine_t, Use) {
        handle(&self.engines, which)
    }

    fn session(&self, which: Which) -> (*mut dreamframe_session_t, Use) {
        handle(&self.sessions, which)
    }

    fn create(&mut self, params: &CStr) {
        if self.created == 2 {
            return;
        }
        self.created += 1;
        // SAFETY: zeros are valid for each field.
        let options: dreamframe_options_t = unsafe { std::mem::zeroed() };
        let struct_size = size_of::<dreamframe_options_t>();
        let options =
            dreamframe_options_t { struct_size, params_json: params.as_ptr(), dtype: 1, threads: 1, ..options };
        let mut engine = null_mut();
        // SAFETY: all arguments are valid during the call.
        let is_done = checked(unsafe { dreamframe_engine_create(&raw const options, &raw mut engine) });
        assert_eq!(engine.is_null(), !is_done);
        self.engines.extend(is_done.then_some((engine, Use::Works)));
    }

    /// Begins with an engine of [`PARAMS`].
    fn begin(&mut self) {
        match SPARE.swap(0, Ordering::Relaxed) {
            0 => self.create(PARAMS),
            spare => {
                self.created += 1;
                self.engines.push((without_provenance_mut(spare), Use::Works));
            }
        }
    }

    /// Keeps the first engine for the next input, if it can still be used, and gives it the parameters that it began
    /// with.
    fn keep_first(&mut self) {
        let Some((engine, Use::Works)) = self.engines.first().copied() else { return };
        let mut defaults = null_mut();
        // SAFETY: all arguments are valid during the calls; the text is freed once.
        let is_reset = unsafe {
            dreamframe_params_merge(c"{}".as_ptr(), PARAMS.as_ptr(), &raw mut defaults) == DREAMFRAME_OK
                && dreamframe_engine_update(engine, defaults, null_mut(), null_mut()) == DREAMFRAME_OK
        };
        // SAFETY: likewise.
        unsafe { dreamframe_string_free(defaults) };
        if is_reset {
            SPARE.store(engine.addr(), Ordering::Relaxed);
            self.engines.remove(0);
        }
    }

    /// Calls a function of engines.
    fn call(&mut self, call: &Call) {
        match call {
            Call::Create(params) => self.create(params.0.as_deref().unwrap_or(PARAMS)),
            Call::Free(which) => {
                let (engine, _) = self.engine(*which);
                // SAFETY: handles are checked.
                unsafe { dreamframe_engine_free(engine) };
                self.engines
                    .iter_mut()
                    .filter(|(own, _)| *own == engine)
                    .for_each(|(_, usable)| *usable = Use::Refused);
            }
            Call::Process(which, from, to) => {
                let (engine, usable) = self.engine(*which);
                let (from, to) = (from.frame(&mut self.input), to.frame(&mut self.output));
                // SAFETY: both frames are valid during the call, or refused.
                let status = unsafe { dreamframe_engine_process(engine, &raw const from, &raw const to, null_mut()) };
                checked_with(usable, status);
            }
            Call::Update(which, patch) => self.update(*which, patch),
            Call::Plan(which, patch) => {
                let ((engine, usable), mut cost) = (self.engine(*which), 77);
                // SAFETY: all arguments are valid during the call.
                let status = unsafe { dreamframe_engine_plan(engine, patch.pointer(), &raw mut cost, null_mut()) };
                assert!(checked_with(usable, status) || cost == 77);
            }
            Call::Transition(which, patch) => {
                let (engine, usable) = self.engine(*which);
                // SAFETY: likewise.
                checked_with(usable, unsafe { dreamframe_engine_transition(engine, patch.pointer(), null_mut()) });
            }
            Call::Engine(which, function) => self.ask_engine(*which, *function),
            Call::Start(which) => self.start(*which),
            Call::Check(params) => {
                let parsed = params.0.as_ref().and_then(|text| serde_json::from_slice::<Value>(text.to_bytes()).ok());
                // SAFETY: all arguments are valid during the call.
                let is_done = checked(unsafe { dreamframe_params_check(params.pointer(), null_mut()) });
                assert!(!is_done || parsed.is_some_and(|value| value.is_object()));
            }
            Call::Merge(base, patch) => {
                // SAFETY: likewise.
                let call = |out| unsafe { dreamframe_params_merge(base.pointer(), patch.pointer(), out) };
                text(call, checked);
            }
            _ => self.call_session(call),
        }
    }

    /// Updates an engine: an error changes nothing.
    fn update(&mut self, which: Which, patch: &Text) {
        let (engine, usable) = self.engine(which);
        // SAFETY: handles are checked.
        let params = || text(|out| unsafe { dreamframe_engine_params(engine, out) }, |status| status == DREAMFRAME_OK);
        let (before, mut cost) = (params(), 77);
        // SAFETY: all arguments are valid during the call.
        let status = unsafe { dreamframe_engine_update(engine, patch.pointer(), &raw mut cost, null_mut()) };
        if !checked_with(usable, status) {
            assert!(cost == 77 && params() == before);
        }
    }

    fn ask_engine(&mut self, which: Which, function: u8) {
        let (engine, usable) = self.engine(which);
        let check = |status| checked_with(usable, status);
        let (mut width, mut height) = (77, 77);
        // SAFETY: all arguments are valid during the call, here and below.
        match function % 4 {
            0 => drop(text(|out| unsafe { dreamframe_engine_params(engine, out) }, check)),
            1 => drop(text(|out| unsafe { dreamframe_engine_info(engine, out) }, check)),
            2 => drop(check(unsafe { dreamframe_engine_size(engine, &raw mut width, &raw mut height) })),
            _ => drop(check(unsafe { dreamframe_engine_delay(engine, &raw mut width) })),
        }
        assert!(usable != Use::Refused || (width, height) == (77, 77));
    }

    /// Starts a session, to which the engine belongs from then on.
    fn start(&mut self, which: Which) {
        let (engine, usable) = self.engine(which);
        let mut session = null_mut();
        // SAFETY: all arguments are valid during the call.
        let is_done = checked_with(usable, unsafe { dreamframe_session_start(engine, null(), &raw mut session) });
        assert_eq!(session.is_null(), !is_done);
        if is_done {
            self.engines.iter_mut().filter(|(own, _)| *own == engine).for_each(|(_, usable)| *usable = Use::Depends);
            self.sessions.push((session, Use::Works));
        }
    }

    /// Calls a function of sessions.
    fn call_session(&mut self, call: &Call) {
        let (Call::Stop(which)
        | Call::FreeSession(which)
        | Call::Submit(which, _)
        | Call::Poll(which, _)
        | Call::UpdateSession(which, _)
        | Call::SetNumber(which, ..)
        | Call::SetText(which, ..)
        | Call::Session(which, _)
        | Call::WaitFor(which, _)) = call
        else {
            return;
        };
        let (session, usable) = self.session(*which);
        let check = |status| checked_with(usable, status);
        let mut version = 77;
        // SAFETY: all arguments are valid during the call, or refused, here and below.
        let status = match call {
            Call::Stop(_) => unsafe { dreamframe_session_stop(session, 20_000) },
            Call::Submit(_, shape) => {
                let frame = shape.frame(&mut self.input);
                unsafe { dreamframe_session_submit(session, &raw const frame, &raw mut version) }
            }
            Call::Poll(_, shape) => {
                let frame = shape.frame(&mut self.output);
                unsafe { dreamframe_session_poll(session, &raw const frame, null_mut()) }
            }
            Call::UpdateSession(_, patch) => unsafe {
                dreamframe_session_update(session, patch.pointer(), &raw mut version, null_mut())
            },
            Call::SetNumber(_, name, value) => unsafe {
                dreamframe_session_set_f32(session, name.pointer(), *value, &raw mut version)
            },
            Call::SetText(_, name, value) => unsafe {
                dreamframe_session_set_text(session, name.pointer(), value.pointer(), &raw mut version)
            },
            Call::WaitFor(_, number) => unsafe {
                dreamframe_session_wait_for(session, (*number).into(), 0, null_mut())
            },
            Call::Session(_, function) => {
                match function % 2 {
                    0 => drop(text(|out| unsafe { dreamframe_session_params(session, out) }, check)),
                    _ => drop(text(|out| unsafe { dreamframe_session_next_event(session, 0, out) }, check)),
                }
                return;
            }
            _ => {
                unsafe { dreamframe_session_free(session) };
                self.sessions
                    .iter_mut()
                    .filter(|(own, _)| *own == session)
                    .for_each(|(_, usable)| *usable = Use::Refused);
                return;
            }
        };
        assert!(check(status) || version == 77, "{status} changed an output");
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // SAFETY: handles are checked; freeing one twice has no effect.
        unsafe {
            self.sessions.iter().for_each(|(session, _)| dreamframe_session_free(*session));
            self.engines.iter().for_each(|(engine, _)| dreamframe_engine_free(*engine));
        }
    }
}

/// Calls of the C interface in any order, with valid, freed, wrong and missing handles: none panics, every error has a
/// text and changes no output, and a handle that cannot be used is refused.
pub fn c_calls(bytes: &[u8]) {
    let mut input = Unstructured::new(bytes);
    let (pixels, output) = (vec![90; PIXELS], vec![0; PIXELS]);
    let mut host = Host { engines: Vec::new(), sessions: Vec::new(), created: 0, input: pixels, output };
    let has_engine = input.ratio(3, 4).unwrap_or(false);
    if has_engine {
        host.begin();
    }
    for _ in 0..40 {
        let Ok(call) = Call::arbitrary(&mut input) else { break };
        host.call(&call);
        if input.is_empty() {
            break;
        }
    }
    if has_engine {
        host.keep_first();
    }
}
