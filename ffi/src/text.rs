//! Texts that cross the border.

use std::collections::HashSet;
use std::ffi::{CStr, CString, c_char};
use std::sync::{Mutex, PoisonError};

use dreamframe::{Error, ErrorKind, Result};
use serde::Serialize;

use crate::guard::guard;

/// No text.
pub(crate) const EMPTY_C: &CStr = c"";

/// Texts that the host has to free.
static LENT: Mutex<Option<HashSet<usize>>> = Mutex::new(None);

/// Makes a C text; a NUL within it, which C cannot say, becomes a question mark.
pub(crate) fn c_string(text: impl Into<String>) -> CString {
    let text: String = text.into();
    CString::new(text.replace('\0', "?")).unwrap_or_default()
}

/// Reads a text of the host.
///
/// # Errors
///
/// `InvalidArgument` for NULL, and for what is not UTF-8.
///
/// # Safety
///
/// `text` is NULL or ends with a NUL, and stays as it is for `'a`.
pub(crate) unsafe fn required<'a>(text: *const c_char, name: &str) -> Result<&'a str> {
    // SAFETY: the caller's promise.
    unsafe { optional(text, name) }?
        .ok_or_else(|| Error::new(ErrorKind::InvalidArgument, format!("{name}: got NULL, expected a string")))
}

/// As [`required`], with `None` for NULL.
///
/// # Errors
///
/// `InvalidArgument` for what is not UTF-8.
///
/// # Safety
///
/// That of `required`.
pub(crate) unsafe fn optional<'a>(text: *const c_char, name: &str) -> Result<Option<&'a str>> {
    if text.is_null() {
        return Ok(None);
    }
    // SAFETY: the caller's promise.
    match unsafe { CStr::from_ptr(text) }.to_str() {
        Ok(text) => Ok(Some(text)),
        Err(error) => Err(Error::new(ErrorKind::InvalidArgument, format!("{name}: not UTF-8")).with_source(error)),
    }
}

/// Writes `value` as JSON for the host, who frees it.
///
/// # Errors
///
/// `Internal` where it has no JSON form.
pub(crate) fn json_of(value: &impl Serialize) -> Result<*mut c_char> {
    let text = serde_json::to_string(value)
        .map_err(|error| Error::new(ErrorKind::Internal, "no JSON form").with_source(error))?;
    Ok(lend(text))
}

/// Gives `text` to the host, who frees it.
pub(crate) fn lend(text: impl Into<String>) -> *mut c_char {
    let text = c_string(text).into_raw();
    let mut lent = LENT.lock().unwrap_or_else(PoisonError::into_inner);
    lent.get_or_insert_default().insert(text.addr());
    text
}

/// Frees a text that the library gave through a `char **`.
///
/// NULL has no effect. Neither has a text that is not the library's, or was freed already; `dreamframe_last_error()` then
/// reports it.
///
/// - Threads: any thread.
/// - Ownership: the text is gone when the call returns.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dreamframe_string_free(text: *mut c_char) {
    guard(|| {
        if text.is_null() {
            return Ok(());
        }
        let mut lent = LENT.lock().unwrap_or_else(PoisonError::into_inner);
        if !lent.get_or_insert_default().remove(&text.addr()) {
            let what = "text: got an address that the library did not return, or that is already freed";
            return Err(Error::new(ErrorKind::InvalidArgument, what));
        }
        // SAFETY: it came from `into_raw` in `lend`, and was taken off the list only now.
        drop(unsafe { CString::from_raw(text) });
        Ok(())
    });
}
