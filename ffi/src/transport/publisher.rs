//! Publishers: pictures of the host to a WHIP server.

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

/// A publisher. Its functions may be called from any thread, also at the same time.
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

/// What a host chooses when it starts a publisher. Begin with `DREAMFRAME_PUBLISHER_OPTIONS_INIT`: zeros and NULLs are
/// defaults.
///
/// Texts are UTF-8 and only read during `dreamframe_publisher_start()`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct dreamframe_publisher_options_t {
    /// The size of this struct in bytes.
    pub struct_size: usize,
    /// The bearer token, for the server whose address is given and for no other; NULL for none.
    pub token: *const c_char,
    /// How connections reach the network; NULL for the defaults.
    pub network: *const dreamframe_network_options_t,
    /// After how many failed attempts in a row it gives up; 0 for never.
    pub attempts: u32,
    /// How long to wait before the second attempt in a row, in milliseconds; doubles with each further one, up to 30 s. 0 for
    /// 1 s.
    pub pause_ms: u32,
    /// How long a request may take, in milliseconds; 0 for 10 s.
    pub request_timeout_ms: u32,
    /// Bits in a second that the encoder aims at; 0 for 3,000,000.
    pub bitrate: u32,
    /// Pictures in a second that are hardly ever exceeded, by which the encoder plans its bits until it has seen some; 0 for 30.
    pub frame_rate: f32,
    /// The interval of key frames without requests, in milliseconds; 0 for 10 s.
    pub key_frame_interval_ms: u32,
}

// SAFETY: `repr(C)`, begins with its size, and zeros are a value of each field: NULL, numbers.
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

/// Begins to publish to a WHIP server what `dreamframe_publisher_show()` is given, as H.264. Returns at once: the connection
/// is made on a thread of the publisher's own.
///
/// - Threads: any thread.
/// - Ownership: texts and options are only read. The publisher is the host's, who frees it with
///   `dreamframe_publisher_free()`.
/// - Errors: `DREAMFRAME_ERROR_UNSUPPORTED` where `dreamframe_build_info()` has no feature `transport`;
///   `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL, a wrong `struct_size`, an option that cannot be, and an address that is not
///   of http or https; `DREAMFRAME_ERROR_DEVICE` if the system cannot start a thread. What goes wrong with the connection
///   comes as an event, and from `dreamframe_publisher_wait_for()`.
///
/// @param[in]  url            where to publish, such as `"https://host/whip/key"`
/// @param[in]  options        begun with `DREAMFRAME_PUBLISHER_OPTIONS_INIT`; NULL for the defaults
/// @param[out] out_publisher  the new publisher
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dreamframe_publisher_start(
    url: *const c_char,
    options: *const dreamframe_publisher_options_t,
    out_publisher: *mut *mut dreamframe_publisher_t,
) -> dreamframe_status_t {
    guard(|| {
        // SAFETY: the host's promise, as the header says.
        let (out, url) = unsafe { (Out::required(out_publisher, "out_publisher")?, text::required(url, "url")?) };
        // SAFETY: likewise.
        let options = if options.is_null() { DEFAULTS } else { unsafe { pointer::read(options) }? };
        // SAFETY: likewise.
        let publisher = unsafe { PublisherCell::start(url, &options) }?;
        out.set(handle::insert(publisher.into()));
        Ok(())
    })
}

/// Ends the connection, and the session on the server, and waits for both, for some seconds at most. Once more does nothing.
///
/// - Threads: any thread; who waits for an event or a state then hears of it.
/// - Ownership: the publisher is still to be freed.
/// - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dreamframe_publisher_stop(publisher: *mut dreamframe_publisher_t) -> dreamframe_status_t {
    client::stop(publisher)
}

/// Frees a publisher, and stops it if it was not. NULL or a handle that was freed has no effect.
///
/// - Threads: any thread; calls of others that use the publisher then end by themselves.
/// - Ownership: the publisher is gone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dreamframe_publisher_free(publisher: *mut dreamframe_publisher_t) {
    client::free(publisher);
}

/// Shows a picture. Returns at once: it is copied where a connection is up, and one that was not encoded yet is replaced.
/// Sizes and formats may change from one to the next. Its `timestamp_ns` does not count: the picture is of now.
///
/// To publish a session's pictures, call it from `on_picture` with the picture that comes, unless that is NULL.
///
/// - Threads: any thread, also from `on_picture`.
/// - Ownership: the pixels are copied before the call returns; the library keeps no pointer to `picture`.
/// - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL or a wrong `struct_size`; `DREAMFRAME_ERROR_INVALID_FRAME` for what
///   cannot be.
///
/// @param[in] publisher  from `dreamframe_publisher_start()`
/// @param[in] picture    the picture, of any size and format
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dreamframe_publisher_show(
    publisher: *mut dreamframe_publisher_t,
    picture: *const dreamframe_frame_t,
) -> dreamframe_status_t {
    guard(|| {
        // SAFETY: the host's promise, as the header says.
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
    // SAFETY: the host's promise, as the header says.
    unsafe { client::state(publisher, out_state) }
}

/// Waits until the publisher is in a state.
///
/// - Threads: any thread, but none that the library calls the host on.
/// - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL or a number that is no state; `DREAMFRAME_ERROR_TIMEOUT`;
///   `DREAMFRAME_ERROR_CLOSED` where it ends in another state. `dreamframe_last_error()` has what went wrong last.
///
/// @param[in] publisher   from `dreamframe_publisher_start()`
/// @param[in] state       a `dreamframe_peer_state_t`
/// @param[in] timeout_ms  how long to wait at most, in milliseconds
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dreamframe_publisher_wait_for(
    publisher: *mut dreamframe_publisher_t,
    state: u32,
    timeout_ms: u64,
) -> dreamframe_status_t {
    client::wait_for(publisher, state, timeout_ms)
}

/// Returns the URL to play the stream from, if the server names one.
///
/// Returns `DREAMFRAME_NOT_READY` where it has not said any.
///
/// - Threads: any thread.
/// - Ownership: free the text with `dreamframe_string_free()`.
/// - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL.
///
/// @param[in]  publisher  from `dreamframe_publisher_start()`
/// @param[out] out_url    an address of WHEP
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dreamframe_publisher_playback_url(
    publisher: *mut dreamframe_publisher_t,
    out_url: *mut *mut c_char,
) -> dreamframe_status_t {
    // SAFETY: the host's promise, as the header says.
    unsafe { client::text_if_any(publisher, (out_url, "out_url"), |publisher| Ok(publisher.playback_url())) }
}

/// Takes the oldest waiting event; waits for one if there is none. 64 are kept.
///
/// Returns `DREAMFRAME_NOT_READY` where none came in time, and once there can be none. `type` says what happened: `state`, with
/// `state`; or `attempt_failed`, with `error` as `dreamframe_last_error_json()` has it, and `retry_ms`, or null where there
/// will be no other attempt. Later versions may add types and fields.
///
/// - Threads: any thread; each event goes to one of them.
/// - Ownership: free the text with `dreamframe_string_free()`.
/// - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL.
///
/// @param[in]  publisher   from `dreamframe_publisher_start()`
/// @param[in]  timeout_ms  how long to wait at most, in milliseconds; 0 not to wait
/// @param[out] out_json    one object
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dreamframe_publisher_next_event(
    publisher: *mut dreamframe_publisher_t,
    timeout_ms: u64,
    out_json: *mut *mut c_char,
) -> dreamframe_status_t {
    // SAFETY: the host's promise, as the header says.
    unsafe { client::next_event(publisher, timeout_ms, out_json) }
}

/// Returns statistics of the publisher.
///
/// - Threads: any thread.
/// - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL or a wrong `struct_size`.
///
/// @param[in]  publisher  from `dreamframe_publisher_start()`
/// @param[out] out_stats  begun with `DREAMFRAME_CONNECTION_STATS_INIT`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dreamframe_publisher_stats(
    publisher: *mut dreamframe_publisher_t,
    out_stats: *mut dreamframe_connection_stats_t,
) -> dreamframe_status_t {
    // SAFETY: the host's promise, as the header says.
    unsafe { client::stats(publisher, out_stats) }
}
