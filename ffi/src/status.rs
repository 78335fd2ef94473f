//! Status codes.

use std::ffi::c_char;

use dreamframe::ErrorKind;

/// What a fallible call came to.
///
/// `DREAMFRAME_OK` is the only success. Any other value leaves every output argument as it was. A negative value is an
/// error: `dreamframe_last_error()` says more. A positive value is none: there is nothing to give yet.
/// Values are never renumbered; later versions may add some, so treat an unknown negative value as an error.
pub type dreamframe_status_t = i32;

/// It is done, and the output arguments are written.
pub const DREAMFRAME_OK: dreamframe_status_t = 0;
/// No error: there is no picture, or no event, yet.
pub const DREAMFRAME_NOT_READY: dreamframe_status_t = 1;
/// The call is wrong in itself (NULL, a freed object, `struct_size`, state): correct the call.
pub const DREAMFRAME_ERROR_INVALID_ARGUMENT: dreamframe_status_t = -1;
/// Parameters break a rule: correct the values that `dreamframe_last_error_json()` lists.
pub const DREAMFRAME_ERROR_INVALID_PARAMS: dreamframe_status_t = -2;
/// A frame's size, format or strides do not fit: correct them.
pub const DREAMFRAME_ERROR_INVALID_FRAME: dreamframe_status_t = -3;
/// A model or file is not there: bring it.
pub const DREAMFRAME_ERROR_NOT_FOUND: dreamframe_status_t = -4;
/// A model's file is broken, or its names or shapes do not fit: replace the file.
pub const DREAMFRAME_ERROR_BAD_MODEL: dreamframe_status_t = -5;
/// Not built in, or not built yet: use another build, or ask for less.
pub const DREAMFRAME_ERROR_UNSUPPORTED: dreamframe_status_t = -6;
/// Too little memory: a smaller size, fewer networks.
pub const DREAMFRAME_ERROR_OUT_OF_MEMORY: dreamframe_status_t = -7;
/// The device failed: look at the driver; a retry may help.
pub const DREAMFRAME_ERROR_DEVICE: dreamframe_status_t = -8;
/// The session has ended: stop using it.
pub const DREAMFRAME_ERROR_CLOSED: dreamframe_status_t = -9;
/// It took too long; the caller may wait longer, or continue without it.
pub const DREAMFRAME_ERROR_TIMEOUT: dreamframe_status_t = -10;
/// Reading or writing failed: look at the path in the message.
pub const DREAMFRAME_ERROR_IO: dreamframe_status_t = -11;
/// The progress callback asked for it to stop, and nothing has changed.
pub const DREAMFRAME_ERROR_CANCELLED: dreamframe_status_t = -12;
/// A bug of this library, such as a caught panic: report it.
pub const DREAMFRAME_ERROR_INTERNAL: dreamframe_status_t = -99;

/// Every kind of error with its number.
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

/// The number of `kind`.
pub(crate) fn of_kind(kind: ErrorKind) -> dreamframe_status_t {
    let known = ERRORS.iter().find(|(known, _)| *known == kind);
    known.map_or(DREAMFRAME_ERROR_INTERNAL, |(_, status)| *status)
}

/// Names a status: `"ok"`, `"not_ready"`, `"invalid_params"`; `"unknown"` for a number that is none.
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
