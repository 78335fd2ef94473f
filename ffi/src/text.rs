//! C strings in both directions.

use std::collections::HashSet;
use std::ffi::{CStr, CString, c_char};
use std::sync::{Mutex, PoisonError};

use dreamframe::{Error, ErrorKind, Result};
use serde::Serialize;

use crate::guard::guard;

/// The empty string.
pub(crate) const EMPTY_C: &CStr = c"";

/// Strings that the host has to free.
static LENT: Mutex<Option<HashSet<usize>>> = Mutex::new(None);

/// Creates a C string; an inner NUL is replaced by a question mark.
pub(crate) fn c_string(text: impl Into<String>) -> CString {
    let text: String = text.into();
    CString::new(text.replace('\0', "?")).unwrap_or_default()
}

/// Reads a C string of the host.
///
/// # Errors
///
/// `InvalidArgument` for NULL, and for invalid UTF-8.
///
/// # Safety
///
/// `text` is NULL or ends with a NUL, and is not modified during `'a`.
pub(crate) unsafe fn required<'a>(text: *const c_char, name: &str) -> Result<&'a str> {
    // SAFETY: the caller's guarantee.
    unsafe { optional(text, name) }?
        .ok_or_else(|| Error::new(ErrorKind::InvalidArgument, format!("{name}: got NULL, expected a string")))
}

/// Like [`required`], with `None` for NULL.
///
/// # Errors
///
/// `InvalidArgument` for invalid UTF-8.
///
/// # Safety
///
/// Same as for `required`.
pub(crate) unsafe fn optional<'a>(text: *const c_char, name: &str) -> Result<Option<&'a str>> {
    if text.is_null() {
        return Ok(None);
    }
    // SAFETY: the caller's guarantee.
    match unsafe { CStr::from_ptr(text) }.to_str() {
        Ok(text) => Ok(Some(text)),
        Err(error) => Err(Error::new(ErrorKind::InvalidArgument, format!("{name}: not UTF-8")).with_source(error)),
    }
}

/// Serializes `value` to a string that the host has to free.
///
/// # Errors
///
/// `Internal` if it cannot be serialized.
pub(crate) fn json_of(value: &impl Serialize) -> Result<*mut c_char> {
    let text = serde_json::to_string(value)
        .map_err(|error| Error::new(ErrorKind::Internal, "no JSON form").with_source(error))?;
    Ok(to_host(text))
}

/// Converts `text` to a string that the host has to free.
pub(crate) fn to_host(text: impl Into<String>) -> *mut c_char {
    let text = c_string(text).into_raw();
    let mut lent = LENT.lock().unwrap_or_else(PoisonError::into_inner);
    lent.get_or_insert_default().insert(text.addr());
    text
}

/// Frees a string that the library returned through a `char **`.
///
/// NULL has no effect. A string that is not from the library, or was already freed, has no effect either;
/// `dreamframe_last_error()` then reports it.
///
/// - Threads: any thread.
/// - Ownership: the string is invalid afterwards.
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
        // SAFETY: it came from `into_raw`, and was removed from the list just now.
        drop(unsafe { CString::from_raw(text) });
        Ok(())
    });
}
