//! Publishers: send pictures of the host to a WHIP server.

use std::ffi::c_char;
use std::mem::offset_of;

use super::backend::PublisherCell;
use super::client;
use super::network::dreamframe_network_options_t;
use super::state::dreamframe_connection_stats_t;
use crate::frame::dreamframe_frame_t;
use crate::guard::guard;
use crate::handle::{self, Handle};
use crate::pointer::{self, Out, Versioned};
use crate::status::dreamframe_status_t;
use crate::text;

/// A publisher. Its functions are thread-safe.
///
/// It reconnects whenever the connection is lost, until it is stopped.
#[derive(Debug)]
pub struct dreamframe_publisher_t {
    _opaque: [u8; 0],
}

impl Handle for dreamframe_publisher_t {
    type Object = PublisherCell;
    const NAME: &'static str = "publisher";
}

/// Options of a publisher. Initialize with `DREAMFRAME_PUBLISHER_OPTIONS_INIT`: zeros and NULLs are the defaults.
///
/// Texts are UTF-8 and not kept after `dreamframe_publisher_start()`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct dreamframe_publisher_options_t {
    /// The size of this struct in bytes.
    pub struct_size: usize,
    /// The bearer token, which is sent to the given server only; NULL for none.
    pub token: *const c_char,
    /// Options of network connections; NULL for the defaults.
    pub network: *const dreamframe_network_options_t,
    /// The number of consecutive failed attempts after which it gives up; 0 for never.
    pub attempts: u32,
    /// The delay before the second attempt, in milliseconds; doubles with each further one, up to 30 s. 0 for 1 s.
    pub pause_ms: u32,
    /// The timeout of a request, in milliseconds; 0 for 10 s.
    pub request_timeout_ms: u32,
    /// The encoder's target, in bits per second; 0 for 3,000,000.
    pub bitrate: u32,
    /// The highest expected rate, in pictures per second, for rate control until the actual rate is known; 0 for 30.
    pub frame_rate: f32,
    /// The maximum interval between key frames, in milliseconds; 0 for 10 s.
    pub key_frame_interval_ms: u32,
}

// SAFETY: `repr(C)`, starts with its size, and zeros are valid for each field: NULL, integers.
unsafe impl Versioned for dreamframe_publisher_options_t {
    const NAME: &'static str = "publisher_options";
    const LEAST: usize = offset_of!(Self, key_frame_interval_ms) + size_of::<u32>();
}

const DEFAULTS: dreamframe_publisher_options_t = dreamframe_publisher_options_t {
    struct_size: size_of::<dreamframe_publisher_options_t>(),
    token: std::ptr::null(),
    network: std::ptr::null(),
    attempts: 0,
    pause_ms: 0,
    request_timeout_ms: 0,
    bitrate: 0,
    frame_rate: 0.0,
    key_frame_interval_ms: 0,
};

/// Starts to publish the pictures of `dreamframe_publisher_show()` to a WHIP server, as H.264. Returns immediately: the
/// connection is made on another thread.
///
/// - Threads: any thread.
/// - Ownership: texts and options are not kept. The host owns the publisher, and frees it with
///   `dreamframe_publisher_free()`.
/// - Errors: `DREAMFRAME_ERROR_UNSUPPORTED` if `dreamframe_build_info()` lacks the feature `transport`;
///   `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL, a wrong `struct_size`, an invalid option, and an address that is not
///   http
///   or https; `DREAMFRAME_ERROR_DEVICE` if the system cannot start a thread. Connection errors are reported by events
///   and
///   by `dreamframe_publisher_wait_for()`.
///
/// @param[in]  url            the address, such as `"https://host/whip/key"`
/// @param[in]  options        initialized with `DREAMFRAME_PUBLISHER_OPTIONS_INIT`; NULL for the defaults
/// @param[out] out_publisher  the new publisher
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dreamframe_publisher_start(
    url: *const c_char,
    options: *const dreamframe_publisher_options_t,
    out_publisher: *mut *mut dreamframe_publisher_t,
) -> dreamframe_status_t {
    guard(|| {
        // SAFETY: guaranteed by the host, as documented in the header.
        let (out, url) = unsafe { (Out::required(out_publisher, "out_publisher")?, text::required(url, "url")?) };
        // SAFETY: likewise.
        let options = if options.is_null() { DEFAULTS } else { unsafe { pointer::read(options) }? };
        // SAFETY: likewise.
        let publisher = unsafe { PublisherCell::start(url, &options) }?;
        out.set(handle::insert(publisher.into()));
        Ok(())
    })
}

/// Ends the session on the server and the connection. Waits a few seconds at most. Has no effect on a stopped
/// publisher.
///
/// - Threads: any thread; calls that wait for an event or a state return.
/// - Ownership: the publisher must still be freed.
/// - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dreamframe_publisher_stop(publisher: *mut dreamframe_publisher_t) -> dreamframe_status_t {
    client::stop(publisher)
}

/// Frees a publisher, and stops it if it was not. NULL or a handle that was freed has no effect.
///
/// - Threads: any thread; calls on other threads that use the publisher complete.
/// - Ownership: the handle is invalid afterwards.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dreamframe_publisher_free(publisher: *mut dreamframe_publisher_t) {
    client::free(publisher);
}

/// Sends a picture, without waiting. It is copied if a connection is up, and replaces one that is not encoded yet.
/// Sizes and formats may change from one picture to the next. Its `timestamp_ns` is ignored: the picture is sent with
/// the current time.
///
/// To publish a session's pictures, call it in `on_picture` with the picture, unless that is NULL.
///
/// - Threads: any thread, also from `on_picture`.
/// - Ownership: the pixels are copied before the call returns; the library keeps no pointer to `picture`.
/// - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL or a wrong `struct_size`; `DREAMFRAME_ERROR_INVALID_FRAME`
///   for an
///   invalid picture.
///
/// @param[in] publisher  from `dreamframe_publisher_start()`
/// @param[in] picture    the picture, of any size and format
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dreamframe_publisher_show(
    publisher: *mut dreamframe_publisher_t,
    picture: *const dreamframe_frame_t,
) -> dreamframe_status_t {
    guard(|| {
        // SAFETY: guaranteed by the host, as documented in the header.
        let picture = unsafe { pointer::read(picture) }?;
        let cell = handle::get(publisher.cast_const())?;
        // SAFETY: likewise.
        cell.show(&unsafe { picture.view() }?);
        Ok(())
    })
}

/// Returns the state of the publisher.
///
/// - Threads: any thread.
/// - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL.
///
/// @param[in]  publisher  from `dreamframe_publisher_start()`
/// @param[out] out_state  a `dreamframe_peer_state_t`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dreamframe_publisher_state(
    publisher: *mut dreamframe_publisher_t,
    out_state: *mut u32,
) -> dreamframe_status_t {
    // SAFETY: guaranteed by the host, as documented in the header.
    unsafe { client::state(publisher, out_state) }
}

/// Waits until the publisher is in a state.
///
/// - Threads: any thread, but not inside a callback.
/// - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL or an invalid state; `DREAMFRAME_ERROR_TIMEOUT`;
///   `DREAMFRAME_ERROR_CLOSED` if it ends in another state. `dreamframe_last_error()` then has the most recent connection error.
///
/// @param[in] publisher   from `dreamframe_publisher_start()`
/// @param[in] state       a `dreamframe_peer_state_t`
/// @param[in] timeout_ms  timeout in milliseconds
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dreamframe_publisher_wait_for(
    publisher: *mut dreamframe_publisher_t,
    state: u32,
    timeout_ms: u64,
) -> dreamframe_status_t {
    client::wait_for(publisher, state, timeout_ms)
}

/// Returns the URL to play the stream from, if the server has sent one.
///
/// Returns `DREAMFRAME_NOT_READY` if it has not.
///
/// - Threads: any thread.
/// - Ownership: free the text with `dreamframe_string_free()`.
/// - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL.
///
/// @param[in]  publisher  from `dreamframe_publisher_start()`
/// @param[out] out_url    a WHEP address
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dreamframe_publisher_playback_url(
    publisher: *mut dreamframe_publisher_t,
    out_url: *mut *mut c_char,
) -> dreamframe_status_t {
    // SAFETY: guaranteed by the host, as documented in the header.
    unsafe { client::text_if_any(publisher, (out_url, "out_url"), |publisher| Ok(publisher.playback_url())) }
}

/// Takes the oldest event; waits for one if there is none. At most 64 are kept.
///
/// Returns `DREAMFRAME_NOT_READY` on a timeout, and if no further event can come. `type` is `state`, with `state`; or
/// `attempt_failed`, with `error` in the format of `dreamframe_last_error_json()`, and `retry_ms`, which is null if
/// there is no further attempt. Later versions may add types and fields.
///
/// - Threads: any thread; each event is returned once.
/// - Ownership: free the text with `dreamframe_string_free()`.
/// - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL.
///
/// @param[in]  publisher   from `dreamframe_publisher_start()`
/// @param[in]  timeout_ms  timeout in milliseconds; 0 not to wait
/// @param[out] out_json    one object
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dreamframe_publisher_next_event(
    publisher: *mut dreamframe_publisher_t,
    timeout_ms: u64,
    out_json: *mut *mut c_char,
) -> dreamframe_status_t {
    // SAFETY: guaranteed by the host, as documented in the header.
    unsafe { client::next_event(publisher, timeout_ms, out_json) }
}

/// Returns statistics of the publisher.
///
/// - Threads: any thread.
/// - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL or a wrong `struct_size`.
///
/// @param[in]  publisher  from `dreamframe_publisher_start()`
/// @param[out] out_stats  initialized with `DREAMFRAME_CONNECTION_STATS_INIT`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dreamframe_publisher_stats(
    publisher: *mut dreamframe_publisher_t,
    out_stats: *mut dreamframe_connection_stats_t,
) -> dreamframe_status_t {
    // SAFETY: guaranteed by the host, as documented in the header.
    unsafe { client::stats(publisher, out_stats) }
}
