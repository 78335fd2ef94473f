//! Status codes.

use std::ffi::c_char;

use dreamframe::ErrorKind;

/// Result of a fallible call.
///
/// `DREAMFRAME_OK` is the only success. Any other value leaves every output argument unchanged. A negative value is an
/// error: see `dreamframe_last_error()`. A positive value is not an error: no result is available yet. Values are never
/// renumbered. Later versions may add some, so treat an unknown negative value as an error.
pub type dreamframe_status_t = i32;

/// Success: the output arguments are written.
pub const DREAMFRAME_OK: dreamframe_status_t = 0;
/// No error: no picture or event is available yet.
pub const DREAMFRAME_NOT_READY: dreamframe_status_t = 1;
/// The call is invalid (NULL, a freed handle, `struct_size`, state).
pub const DREAMFRAME_ERROR_INVALID_ARGUMENT: dreamframe_status_t = -1;
/// Parameters break a rule: `dreamframe_last_error_json()` lists the values.
pub const DREAMFRAME_ERROR_INVALID_PARAMS: dreamframe_status_t = -2;
/// A frame has an invalid size, format or stride.
pub const DREAMFRAME_ERROR_INVALID_FRAME: dreamframe_status_t = -3;
/// A model or file does not exist.
pub const DREAMFRAME_ERROR_NOT_FOUND: dreamframe_status_t = -4;
/// A model's file is corrupt, or its names or shapes are not as expected.
pub const DREAMFRAME_ERROR_BAD_MODEL: dreamframe_status_t = -5;
/// Not supported by this library, device or model.
pub const DREAMFRAME_ERROR_UNSUPPORTED: dreamframe_status_t = -6;
/// Not enough memory: use a smaller size or fewer networks.
pub const DREAMFRAME_ERROR_OUT_OF_MEMORY: dreamframe_status_t = -7;
/// The device failed: check the driver; retrying may help.
pub const DREAMFRAME_ERROR_DEVICE: dreamframe_status_t = -8;
/// The session has ended.
pub const DREAMFRAME_ERROR_CLOSED: dreamframe_status_t = -9;
/// The timeout has expired; the operation may be retried.
pub const DREAMFRAME_ERROR_TIMEOUT: dreamframe_status_t = -10;
/// Reading or writing failed; the message has the path.
pub const DREAMFRAME_ERROR_IO: dreamframe_status_t = -11;
/// The progress callback cancelled loading, and nothing has changed.
pub const DREAMFRAME_ERROR_CANCELLED: dreamframe_status_t = -12;
/// A bug in this library, such as a caught panic: please report it.
pub const DREAMFRAME_ERROR_INTERNAL: dreamframe_status_t = -99;

/// Every kind of error with its status.
pub(crate) const ERRORS: [(ErrorKind, dreamframe_status_t); 13] = [
    (ErrorKind::InvalidArgument, DREAMFRAME_ERROR_INVALID_ARGUMENT),
    (ErrorKind::InvalidParams, DREAMFRAME_ERROR_INVALID_PARAMS),
    (ErrorKind::InvalidFrame, DREAMFRAME_ERROR_INVALID_FRAME),
    (ErrorKind::NotFound, DREAMFRAME_ERROR_NOT_FOUND),
    (ErrorKind::BadModel, DREAMFRAME_ERROR_BAD_MODEL),
    (ErrorKind::Unsupported, DREAMFRAME_ERROR_UNSUPPORTED),
    (ErrorKind::OutOfMemory, DREAMFRAME_ERROR_OUT_OF_MEMORY),
    (ErrorKind::Device, DREAMFRAME_ERROR_DEVICE),
    (ErrorKind::Closed, DREAMFRAME_ERROR_CLOSED),
    (ErrorKind::Timeout, DREAMFRAME_ERROR_TIMEOUT),
    (ErrorKind::Io, DREAMFRAME_ERROR_IO),
    (ErrorKind::Cancelled, DREAMFRAME_ERROR_CANCELLED),
    (ErrorKind::Internal, DREAMFRAME_ERROR_INTERNAL),
];

/// Returns the status for `kind`.
pub(crate) fn of_kind(kind: ErrorKind) -> dreamframe_status_t {
    let known = ERRORS.iter().find(|(known, _)| *known == kind);
    known.map_or(DREAMFRAME_ERROR_INTERNAL, |(_, status)| *status)
}

/// Returns the name of a status: `"ok"`, `"not_ready"`, `"invalid_params"`; `"unknown"` for an unknown number.
///
/// - Threads: any thread.
/// - Ownership: the text is static; never free it.
#[unsafe(no_mangle)]
pub extern "C" fn dreamframe_status_name(status: dreamframe_status_t) -> *const c_char {
    let name = match status {
        DREAMFRAME_OK => c"ok",
        DREAMFRAME_NOT_READY => c"not_ready",
        DREAMFRAME_ERROR_INVALID_ARGUMENT => c"invalid_argument",
        DREAMFRAME_ERROR_INVALID_PARAMS => c"invalid_params",
        DREAMFRAME_ERROR_INVALID_FRAME => c"invalid_frame",
        DREAMFRAME_ERROR_NOT_FOUND => c"not_found",
        DREAMFRAME_ERROR_BAD_MODEL => c"bad_model",
        DREAMFRAME_ERROR_UNSUPPORTED => c"unsupported",
        DREAMFRAME_ERROR_OUT_OF_MEMORY => c"out_of_memory",
        DREAMFRAME_ERROR_DEVICE => c"device",
        DREAMFRAME_ERROR_CLOSED => c"closed",
        DREAMFRAME_ERROR_TIMEOUT => c"timeout",
        DREAMFRAME_ERROR_IO => c"io",
        DREAMFRAME_ERROR_CANCELLED => c"cancelled",
        DREAMFRAME_ERROR_INTERNAL => c"internal",
        _ => c"unknown",
    };
    name.as_ptr()
}
