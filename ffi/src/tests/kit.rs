//! Common parts of the tests: small engines of the demo model, frames, and strings of the library.

use std::ffi::{CStr, CString, c_char};
use std::ptr::{null, null_mut};

use serde_json::Value;

use crate::device_frame::{dreamframe_device_frame_t, dreamframe_frame_memory_t};
use crate::engine::{dreamframe_engine_create, dreamframe_engine_free, dreamframe_engine_t};
use crate::frame::{dreamframe_frame_packed, dreamframe_frame_t};
use crate::guard::{dreamframe_last_error, dreamframe_last_error_json};
use crate::options::dreamframe_options_t;
use crate::picture::dreamframe_picture_info_t;
use crate::session::{
    dreamframe_session_free, dreamframe_session_options_t, dreamframe_session_start, dreamframe_session_t,
};
use crate::status::DREAMFRAME_OK;
use crate::text::dreamframe_string_free;

/// Width and height in pixels.
pub(super) const SIDE: u32 = 64;
/// RGBA8.
pub(super) const RGBA8: u32 = 1;
/// Timeout that no test reaches, in milliseconds.
pub(super) const LIMIT_MS: u64 = 60_000;
/// Parameters of small pictures.
pub(super) const PARAMS: &CStr = c"{\"width\": 64, \"height\": 64, \"model_id\": \"demo\", \"use_lcm_lora\": false}";

/// Options of a small engine.
pub(super) fn options() -> dreamframe_options_t {
    dreamframe_options_t { params_json: PARAMS.as_ptr(), dtype: 1, threads: 1, ..dreamframe_options_t::none() }
}

/// An engine, freed on drop.
pub(super) struct Engine(pub(super) *mut dreamframe_engine_t);

impl Engine {
    pub(super) fn new() -> Self {
        Self::with(&options())
    }

    pub(super) fn with(options: &dreamframe_options_t) -> Self {
        let mut engine = null_mut();
        // SAFETY: both live through the call.
        let status = unsafe { dreamframe_engine_create(options, &raw mut engine) };
        assert_eq!(status, DREAMFRAME_OK, "{}", last_error());
        assert!(!engine.is_null());
        Self(engine)
    }

    /// Frees it, and returns the invalid handle.
    pub(super) fn freed(self) -> *mut dreamframe_engine_t {
        let handle = self.0;
        drop(self);
        handle
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // SAFETY: handles are checked.
        unsafe { dreamframe_engine_free(self.0) };
    }
}

/// A session, freed on drop.
pub(super) struct Session(pub(super) *mut dreamframe_session_t);

impl Session {
    pub(super) fn new(engine: &Engine) -> Self {
        Self::start(engine, null())
    }

    pub(super) fn start(engine: &Engine, options: *const dreamframe_session_options_t) -> Self {
        let mut session = null_mut();
        // SAFETY: all arguments are valid during the call.
        let status = unsafe { dreamframe_session_start(engine.0, options, &raw mut session) };
        assert_eq!(status, DREAMFRAME_OK, "{}", last_error());
        Self(session)
    }

    /// Frees it, and returns the invalid handle.
    pub(super) fn freed(self) -> *mut dreamframe_session_t {
        let handle = self.0;
        drop(self);
        handle
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // SAFETY: handles are checked.
        unsafe { dreamframe_session_free(self.0) };
    }
}

/// Pixels, and the frame that points to them.
pub(super) struct Pixels {
    pub(super) bytes: Vec<u8>,
    pub(super) frame: dreamframe_frame_t,
}

impl Pixels {
    /// Returns a frame of the stream's size in one shade.
    pub(super) fn grey(shade: u8) -> Self {
        Self::of(RGBA8, SIDE, SIDE, shade)
    }

    pub(super) fn of(format: u32, width: u32, height: u32, shade: u8) -> Self {
        let len = crate::frame::format_of(format).unwrap().packed_len(width, height);
        let mut bytes = vec![shade; len];
        let mut frame = empty_frame();
        // SAFETY: the bytes live as long as the frame that points to them.
        let status = unsafe { dreamframe_frame_packed(format, width, height, bytes.as_mut_ptr(), len, &raw mut frame) };
        assert_eq!(status, DREAMFRAME_OK, "{}", last_error());
        Self { bytes, frame }
    }
}

impl Pixels {
    /// Returns the same pixels, as a frame in the memory of the provider `cpu`.
    pub(super) fn device(&mut self) -> dreamframe_device_frame_t {
        dreamframe_device_frame_t {
            struct_size: size_of::<dreamframe_device_frame_t>(),
            width: self.frame.width,
            height: self.frame.height,
            format: self.frame.format,
            origin: 0,
            memory: dreamframe_frame_memory_t::DREAMFRAME_FRAME_MEMORY_HOST as u32,
            device: 0,
            address: self.bytes.as_mut_ptr().cast(),
            stride: self.frame.strides[0],
            stream: null_mut(),
            timestamp_ns: 0,
            user_tag: 0,
        }
    }
}

/// Like `DREAMFRAME_FRAME_INIT`.
pub(super) fn empty_frame() -> dreamframe_frame_t {
    dreamframe_frame_t {
        struct_size: size_of::<dreamframe_frame_t>(),
        width: 0,
        height: 0,
        format: 0,
        origin: 0,
        matrix: 0,
        range: 0,
        planes: [null_mut(); 4],
        strides: [0; 4],
        timestamp_ns: 0,
        user_tag: 0,
    }
}

/// Like `DREAMFRAME_PICTURE_INFO_INIT`.
pub(super) fn empty_info() -> dreamframe_picture_info_t {
    // SAFETY: zeros are valid for each field.
    let info: dreamframe_picture_info_t = unsafe { std::mem::zeroed() };
    dreamframe_picture_info_t { struct_size: size_of::<dreamframe_picture_info_t>(), ..info }
}

pub(super) fn last_error() -> String {
    // SAFETY: valid until the next failed call.
    unsafe { CStr::from_ptr(dreamframe_last_error()) }.to_str().unwrap().to_owned()
}

pub(super) fn last_error_json() -> Value {
    // SAFETY: valid until the next failed call.
    serde_json::from_str(unsafe { CStr::from_ptr(dreamframe_last_error_json()) }.to_str().unwrap()).unwrap()
}

/// Returns the string that `call` writes to its `char **`.
pub(super) fn json(call: impl FnOnce(*mut *mut c_char) -> i32) -> Value {
    let mut text = null_mut();
    let status = call(&raw mut text);
    assert_eq!(status, DREAMFRAME_OK, "{}", last_error());
    // SAFETY: the library returned it.
    let value = serde_json::from_str(unsafe { CStr::from_ptr(text) }.to_str().unwrap()).unwrap();
    // SAFETY: as above.
    unsafe { dreamframe_string_free(text) };
    value
}

pub(super) fn c(text: &str) -> CString {
    CString::new(text).unwrap()
}
