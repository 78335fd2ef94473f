//! Servers: publish to an engine and watch its pictures over the network.

use std::ffi::c_char;
use std::mem::offset_of;
use std::time::Duration;

use dreamframe::Result;

use super::backend::ServerCell;
use super::network::dreamframe_network_options_t;
use crate::engine::dreamframe_engine_t;
use crate::guard::guard;
use crate::handle::{self, Handle};
use crate::pointer::{self, Out, Versioned};
use crate::session::dreamframe_session_t;
use crate::status::dreamframe_status_t;
use crate::text;

/// A server of one session: one publisher at a time sends frames by WHIP, and viewers receive pictures by WHEP.
/// Its functions are thread-safe.
#[derive(Debug)]
pub struct dreamframe_server_t {
    _opaque: [u8; 0],
}

impl Handle for dreamframe_server_t {
    type Object = ServerCell;
    const NAME: &'static str = "server";
}

/// Options of a server. Initialize with `DREAMFRAME_SERVER_OPTIONS_INIT`: zeros and NULLs are the defaults.
///
/// Texts are UTF-8 and not kept after `dreamframe_server_start()`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct dreamframe_server_options_t {
    /// The size of this struct in bytes.
    pub struct_size: usize,
    /// The address to listen on, as IP address and port; NULL for `"127.0.0.1:8080"`. Port 0 selects a free port. An
    /// address that other machines reach requires a `token`.
    pub address: *const c_char,
    /// The token that publishers and viewers send as `Authorization: Bearer <token>`; NULL for none.
    pub token: *const c_char,
    /// The server's address as clients see it, such as `"https://host"`, for a proxy that does not send it in headers;
    /// NULL for the address of each request.
    pub public_url: *const c_char,
    /// Options of network connections; NULL for the defaults.
    pub network: *const dreamframe_network_options_t,
    /// The maximum number of viewers; 0 for 32.
    pub max_viewers: u32,
    /// The encoder's target, in bits per second; 0 for 3,000,000.
    pub bitrate: u32,
    /// The highest expected rate, in pictures per second, for rate control until the actual rate is known; 0 for 30.
    pub frame_rate: f32,
    /// The maximum interval between key frames, in milliseconds; 0 for 10 s.
    pub key_frame_interval_ms: u32,
    /// Comma-separated origins whose pages may use a server without a `token`, such as
    /// `"https://app.example,http://10.0.0.5:3000"`, in addition to those of this machine and of `public_url`; NULL for
    /// no others. With a token, pages of every origin may, if they send it.
    pub allow_origins: *const c_char,
}

// SAFETY: `repr(C)`, starts with its size, and zeros are valid for each field: NULL, integers.
unsafe impl Versioned for dreamframe_server_options_t {
    const NAME: &'static str = "server_options";
    const LEAST: usize = offset_of!(Self, key_frame_interval_ms) + size_of::<u32>();
}

const DEFAULTS: dreamframe_server_options_t = dreamframe_server_options_t {
    struct_size: size_of::<dreamframe_server_options_t>(),
    address: std::ptr::null(),
    token: std::ptr::null(),
    public_url: std::ptr::null(),
    network: std::ptr::null(),
    max_viewers: 0,
    bitrate: 0,
    frame_rate: 0.0,
    key_frame_interval_ms: 0,
    allow_origins: std::ptr::null(),
};

/// Starts a session of an engine and serves it: publishers at `/whip` send its frames, viewers at `/whep` receive its
/// pictures, and both may change parameters over the data channel `parameters`. Video is H.264.
///
/// - Threads: one call at a time per object.
/// - Ownership: nothing of `options` is kept. The host still owns the engine, which is in the server until that is
///   stopped. The
///   host owns the server, and frees it with `dreamframe_server_free()`.
/// - Errors: `DREAMFRAME_ERROR_UNSUPPORTED` if `dreamframe_build_info()` lacks the feature `transport`;
///   `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL, a wrong `struct_size`, an invalid option, an engine that is in use
///   or in a
///   session; `DREAMFRAME_ERROR_IO` if the address is not available; `DREAMFRAME_ERROR_DEVICE` if the system cannot
///   start a
///   thread. The engine can be used again, unless the session could not be started.
///
/// @param[in]  engine      from `dreamframe_engine_create()`
/// @param[in]  options     initialized with `DREAMFRAME_SERVER_OPTIONS_INIT`; NULL for the defaults
/// @param[out] out_server  the new server
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dreamframe_server_start(
    engine: *mut dreamframe_engine_t,
    options: *const dreamframe_server_options_t,
    out_server: *mut *mut dreamframe_server_t,
) -> dreamframe_status_t {
    guard(|| {
        // SAFETY: guaranteed by the host, as documented in the header.
        let out = unsafe { Out::required(out_server, "out_server") }?;
        // SAFETY: likewise.
        let options = if options.is_null() { DEFAULTS } else { unsafe { pointer::read(options) }? };
        let engine = handle::get(engine.cast_const())?;
        engine.with(|_| Ok(()))?;
        // SAFETY: likewise.
        let server = unsafe { ServerCell::start(engine, &options) }?;
        out.set(handle::insert(server.into()));
        Ok(())
    })
}

/// Ends all connections and the session, and returns the engine.
///
/// - Threads: any thread, but not inside a callback.
/// - Ownership: the server must still be freed. The engine can be used again.
/// - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL; `DREAMFRAME_ERROR_CLOSED` for a server that was stopped;
///   `DREAMFRAME_ERROR_TIMEOUT` if frames take longer: the session then ends in the background, with its engine;
///   `DREAMFRAME_ERROR_INTERNAL` if the engine panicked.
///
/// @param[in]  server      from `dreamframe_server_start()`
/// @param[in]  timeout_ms  timeout for the session, in milliseconds; ending connections takes a few seconds more
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dreamframe_server_stop(
    server: *mut dreamframe_server_t,
    timeout_ms: u64,
) -> dreamframe_status_t {
    guard(|| handle::get(server.cast_const())?.stop(Duration::from_millis(timeout_ms)))
}

/// Frees a server. NULL or a handle that was freed has no effect. A running server ends its connections, within a few
/// seconds, and its session after the current frame; its engine is freed with it.
///
/// - Threads: any thread, but not inside a callback.
/// - Ownership: the handle is invalid afterwards. Sessions from `dreamframe_server_session()` must still be freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dreamframe_server_free(server: *mut dreamframe_server_t) {
    guard(|| {
        if let Some(cell) = handle::remove(server)? {
            cell.free();
        }
        Ok(())
    });
}

/// # Safety
///
/// `out` is NULL, or writable until the call returns.
unsafe fn give<T>(
    server: *mut dreamframe_server_t,
    (out, name): (*mut T, &str),
    find: impl FnOnce(&ServerCell) -> Result<T>,
) -> dreamframe_status_t {
    guard(|| {
        // SAFETY: the caller's promise.
        let out = unsafe { Out::required(out, name) }?;
        out.set(find(&*handle::get(server.cast_const())?)?);
        Ok(())
    })
}

/// Returns the URL to publish to.
///
/// - Threads: any thread.
/// - Ownership: free the text with `dreamframe_string_free()`.
/// - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL.
///
/// @param[in]  server   from `dreamframe_server_start()`
/// @param[out] out_url  such as `http://127.0.0.1:8080/whip`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dreamframe_server_whip_url(
    server: *mut dreamframe_server_t,
    out_url: *mut *mut c_char,
) -> dreamframe_status_t {
    // SAFETY: guaranteed by the host, as documented in the header.
    unsafe { give(server, (out_url, "out_url"), |server| Ok(text::to_host(server.whip_url()))) }
}

/// Returns the URL to play from.
///
/// - Threads: any thread.
/// - Ownership: free the text with `dreamframe_string_free()`.
/// - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL.
///
/// @param[in]  server   from `dreamframe_server_start()`
/// @param[out] out_url  such as `http://127.0.0.1:8080/whep`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dreamframe_server_whep_url(
    server: *mut dreamframe_server_t,
    out_url: *mut *mut c_char,
) -> dreamframe_status_t {
    // SAFETY: guaranteed by the host, as documented in the header.
    unsafe { give(server, (out_url, "out_url"), |server| Ok(text::to_host(server.whep_url()))) }
}

/// Returns the TCP port that the server listens on, or listened on before it was stopped.
///
/// - Threads: any thread.
/// - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL.
///
/// @param[in]  server    from `dreamframe_server_start()`
/// @param[out] out_port  1 to 65535
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dreamframe_server_port(
    server: *mut dreamframe_server_t,
    out_port: *mut u32,
) -> dreamframe_status_t {
    // SAFETY: guaranteed by the host, as documented in the header.
    unsafe { give(server, (out_port, "out_port"), |server| Ok(server.port().into())) }
}

/// Returns the server's session: for its parameters and statistics; for submitting frames of the host, with
/// `timestamp_ns` 0, with or without a publisher; and for pictures, which can be polled in addition to being sent to
/// viewers. Its events are sent to the data channels of all clients. `dreamframe_session_stop()` and
/// `dreamframe_session_wait()` return an error: only the server ends it, and it behaves as if it had an `on_picture`.
/// Each call returns a new handle of the same session.
///
/// - Threads: any thread.
/// - Ownership: free the session with `dreamframe_session_free()`, before or after the server; this does not end the session.
/// - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL.
///
/// @param[in]  server       from `dreamframe_server_start()`
/// @param[out] out_session  the session, which ends with the server
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dreamframe_server_session(
    server: *mut dreamframe_server_t,
    out_session: *mut *mut dreamframe_session_t,
) -> dreamframe_status_t {
    // SAFETY: guaranteed by the host, as documented in the header.
    unsafe { give(server, (out_session, "out_session"), |server| Ok(handle::insert(server.session()))) }
}

/// Returns the number of viewers, including those that are connecting.
///
/// - Threads: any thread.
/// - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL; `DREAMFRAME_ERROR_CLOSED` for a server that was stopped.
///
/// @param[in]  server       from `dreamframe_server_start()`
/// @param[out] out_viewers  the number
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dreamframe_server_viewers(
    server: *mut dreamframe_server_t,
    out_viewers: *mut u32,
) -> dreamframe_status_t {
    let viewers = |server: &ServerCell| Ok(u32::try_from(server.viewers()?).unwrap_or(u32::MAX));
    // SAFETY: guaranteed by the host, as documented in the header.
    unsafe { give(server, (out_viewers, "out_viewers"), viewers) }
}

/// Returns whether there is a publisher, including one that is connecting.
///
/// - Threads: any thread.
/// - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL; `DREAMFRAME_ERROR_CLOSED` for a server that was stopped.
///
/// @param[in]  server          from `dreamframe_server_start()`
/// @param[out] out_publishing  true if there is one
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dreamframe_server_is_publishing(
    server: *mut dreamframe_server_t,
    out_publishing: *mut bool,
) -> dreamframe_status_t {
    // SAFETY: guaranteed by the host, as documented in the header.
    unsafe { give(server, (out_publishing, "out_publishing"), ServerCell::is_publishing) }
}
