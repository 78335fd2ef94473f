//! What holds for each call, whatever its arguments are.

use std::ffi::{CStr, c_char};
use std::fmt;
use std::ptr::null_mut;

use dreamframe_fuzz_ffi::guard::{dreamframe_last_error, dreamframe_last_error_json};
use dreamframe_fuzz_ffi::status::*;
use dreamframe_fuzz_ffi::text::dreamframe_string_free;
use serde_json::Value;

/// What numbers are before a call writes them.
const UNCHANGED: u8 = 77;

/// A number that calls write.
pub(super) trait Number: Copy + PartialEq + fmt::Debug + From<u8> {}

impl<T: Copy + PartialEq + fmt::Debug + From<u8>> Number for T {}

/// Whether a handle can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    Works,
    /// That of an engine which was given to a session, and may have come back.
    Depends,
    /// It was never given out, or freed.
    Refused,
}

impl Use {
    /// Checks a call with the handle: one that cannot be used is an error.
    pub(super) fn checked(self, status: dreamframe_status_t) -> bool {
        assert!(self != Self::Refused || status < DREAMFRAME_OK, "{status} of a handle that cannot be used");
        checked(status)
    }

    /// Checks a call that writes numbers, which it leaves as they are if it fails.
    pub(super) fn checked_numbers<T: Number, const N: usize>(
        self,
        call: impl FnOnce([*mut T; N]) -> dreamframe_status_t,
    ) -> bool {
        let mut numbers = [T::from(UNCHANGED); N];
        let status = call(numbers.each_mut().map(std::ptr::from_mut));
        let is_done = self.checked(status);
        assert!(is_done || numbers == [T::from(UNCHANGED); N], "{status} changed {numbers:?}");
        is_done
    }

    /// Checks a call that writes a number and a report, which is JSON.
    pub(super) fn checked_report<T: Number>(
        self,
        call: impl FnOnce(*mut T, *mut *mut c_char) -> dreamframe_status_t,
    ) -> bool {
        let mut number = T::from(UNCHANGED);
        let is_done = json(|report| call(&raw mut number, report), |status| self.checked(status)).is_some();
        assert!(is_done || number == T::from(UNCHANGED), "an error changed {number:?}");
        is_done
    }
}

/// Checks that a call did not panic, and that its error has a text and JSON.
pub(super) fn checked(status: dreamframe_status_t) -> bool {
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

/// Returns the text that `call` writes, if it succeeds; nothing is written otherwise.
pub(super) fn text(
    call: impl FnOnce(*mut *mut c_char) -> dreamframe_status_t,
    check: impl FnOnce(dreamframe_status_t) -> bool,
) -> Option<String> {
    let mut out = null_mut();
    let status = call(&raw mut out);
    let is_done = check(status);
    assert_eq!(out.is_null(), !is_done, "{status}");
    if out.is_null() {
        return None;
    }
    // SAFETY: the library wrote it.
    let text = unsafe { CStr::from_ptr(out) }.to_str().expect("a text is UTF-8").to_owned();
    // SAFETY: likewise; it is freed once.
    unsafe { dreamframe_string_free(out) };
    Some(text)
}

/// Returns the value of a [`text`] that is JSON.
pub(super) fn json(
    call: impl FnOnce(*mut *mut c_char) -> dreamframe_status_t,
    check: impl FnOnce(dreamframe_status_t) -> bool,
) -> Option<Value> {
    text(call, check).map(|text| serde_json::from_str(&text).expect("the text is JSON"))
}
