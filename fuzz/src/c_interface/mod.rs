//! A target that calls the C interface, as a host in C does.

#![expect(unsafe_code, reason = "the functions of the C interface are unsafe")]

mod arguments;
mod checks;
mod engines;
mod sessions;
mod values;

use std::ffi::CStr;
use std::ptr::{null_mut, without_provenance_mut};
use std::sync::atomic::{AtomicUsize, Ordering};

use arbitrary::{Arbitrary, Unstructured};
use dreamframe_fuzz_ffi::engine::*;
use dreamframe_fuzz_ffi::images::dreamframe_engine_clear_external_image;
use dreamframe_fuzz_ffi::options::dreamframe_options_t;
use dreamframe_fuzz_ffi::params::dreamframe_params_merge;
use dreamframe_fuzz_ffi::session::{dreamframe_session_free, dreamframe_session_t};
use dreamframe_fuzz_ffi::status::DREAMFRAME_OK;
use dreamframe_fuzz_ffi::text::dreamframe_string_free;

use self::arguments::{Call, Name, PIXELS, Text, Which};
use self::checks::{Use, checked};

/// Parameters of the smallest pictures.
const PARAMS: &CStr = c"{\"width\": 64, \"height\": 64, \"model_id\": \"demo\", \"use_lcm_lora\": false}";

/// An engine that the last input left as it was made but for its parameters and images: to make one takes half a second.
static SPARE: AtomicUsize = AtomicUsize::new(0);

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

/// Notes how the handle `of` can be used from now on.
fn note<H>(given: &mut [(*mut H, Use)], of: *mut H, usable: Use) {
    given.iter_mut().filter(|(own, _)| *own == of).for_each(|(_, noted)| *noted = usable);
}

impl Host {
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

    /// Creates an engine of [`PARAMS`] with changes, or of the text alone if it is no change: pictures have 512x512 pixels
    /// without a size, and take many seconds each.
    fn create_with(&mut self, changes: &Text) {
        let mut params = null_mut();
        // SAFETY: all arguments are valid during the call.
        let status = unsafe { dreamframe_params_merge(PARAMS.as_ptr(), changes.pointer(), &raw mut params) };
        if !checked(status) {
            return self.create(changes.0.as_deref().unwrap_or(PARAMS));
        }
        // SAFETY: the text ends with a zero.
        self.create(unsafe { CStr::from_ptr(params) });
        // SAFETY: it is freed once.
        unsafe { dreamframe_string_free(params) };
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
    /// with, and no images.
    fn keep_first(&mut self) {
        let Some((engine, Use::Works)) = self.engines.first().copied() else { return };
        let mut defaults = null_mut();
        // SAFETY: all arguments are valid during the calls; the text is freed once.
        let is_reset = unsafe {
            dreamframe_params_merge(c"{}".as_ptr(), PARAMS.as_ptr(), &raw mut defaults) == DREAMFRAME_OK
                && dreamframe_engine_update(engine, defaults, null_mut(), null_mut()) == DREAMFRAME_OK
                && Name::all()
                    .all(|name| dreamframe_engine_clear_external_image(engine, name.pointer()) == DREAMFRAME_OK)
        };
        // SAFETY: likewise.
        unsafe { dreamframe_string_free(defaults) };
        if is_reset {
            SPARE.store(engine.addr(), Ordering::Relaxed);
            self.engines.remove(0);
        }
    }

    fn call(&mut self, call: &Call) {
        match call {
            Call::Create(params) => self.create_with(params),
            Call::Engine(which, call) => self.call_engine(*which, call),
            Call::Session(which, call) => self.call_session(*which, call),
            Call::Value(call) => self.call_value(call),
        }
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
/// text and changes no output, and a handle that cannot be used is refused. Functions that use the network are left out,
/// and those that only callbacks of the host call.
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
