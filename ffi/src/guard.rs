//! Converts errors and panics of calls to status codes, and stores the last error of each thread.

use std::any::Any;
use std::cell::RefCell;
use std::ffi::{CString, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};

use dreamframe::{Error, ErrorKind, Result};

use crate::status::{DREAMFRAME_NOT_READY, DREAMFRAME_OK, dreamframe_status_t, of_kind};
use crate::text;

/// Result of a call without an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Done {
    Yes,
    /// No result is available yet.
    NotReady,
}

/// The last error of this thread.
struct LastError {
    text: CString,
    json: CString,
}

thread_local! {
    static LAST: RefCell<LastError> = RefCell::new(LastError { text: CString::default(), json: CString::default() });
}

/// Runs the body of a function.
pub(crate) fn guard(body: impl FnOnce() -> Result<()>) -> dreamframe_status_t {
    guard_ready(|| body().map(|()| Done::Yes))
}

/// Runs the body of a function whose result may not be available yet.
pub(crate) fn guard_ready(body: impl FnOnce() -> Result<Done>) -> dreamframe_status_t {
    let ended = catch_unwind(AssertUnwindSafe(|| {
        #[cfg(test)]
        injected::panic_if_armed();
        body()
    }));
    match ended.unwrap_or_else(|panic| Err(of_panic(&*panic))) {
        Ok(Done::Yes) => DREAMFRAME_OK,
        Ok(Done::NotReady) => DREAMFRAME_NOT_READY,
        Err(error) => {
            remember(&error);
            of_kind(error.kind())
        }
    }
}

fn of_panic(panic: &(dyn Any + Send)) -> Error {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref().copied());
    Error::new(ErrorKind::Internal, format!("panicked: {}", text.unwrap_or("(no message)")))
}

fn remember(error: &Error) {
    let json = serde_json::to_string(error).unwrap_or_default();
    let last = LastError { text: text::c_string(format!("{error:#}")), json: text::c_string(json) };
    // A thread that is being destroyed stores nothing.
    let _ = LAST.try_with(|slot| slot.replace(last));
}

/// Returns the message of the last error on this thread, with the value and the bound: one line without a full stop.
/// Empty if no call has failed; successful calls do not change it.
///
/// - Threads: any thread; each has its own.
/// - Ownership: the text belongs to the library, and is valid until the next failed call on this thread.
#[unsafe(no_mangle)]
pub extern "C" fn dreamframe_last_error() -> *const c_char {
    last(|last| last.text.as_ptr())
}

/// Returns the last error on this thread as JSON: `{"kind": "invalid_params", "message": "…", "violations": [{"path": "…", "message": "…"}]}`,
/// with every violation of rejected parameters. Empty if no call has failed.
///
/// - Threads: any thread; each has its own.
/// - Ownership: the text belongs to the library, and is valid until the next failed call on this thread.
#[unsafe(no_mangle)]
pub extern "C" fn dreamframe_last_error_json() -> *const c_char {
    last(|last| last.json.as_ptr())
}

fn last(pick: impl FnOnce(&LastError) -> *const c_char) -> *const c_char {
    LAST.try_with(|last| last.try_borrow().map_or(text::EMPTY_C.as_ptr(), |last| pick(&last)))
        .unwrap_or(text::EMPTY_C.as_ptr())
}

/// Panics on demand, for tests.
#[cfg(test)]
pub(crate) mod injected {
    use std::cell::Cell;

    thread_local! {
        static ARMED: Cell<bool> = const { Cell::new(false) };
    }

    /// Makes the next call of this thread panic.
    pub(crate) fn arm() {
        ARMED.set(true);
    }

    /// Returns true if no call has panicked since.
    pub(crate) fn disarm() -> bool {
        ARMED.replace(false)
    }

    pub(super) fn panic_if_armed() {
        if ARMED.replace(false) {
            panic!("injected");
        }
    }
}
