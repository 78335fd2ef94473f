//! Servers: an engine that others publish to and watch.

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
/// Its functions may be called from any thread, also at the same time.
#[derive(Debug)]
pub struct dreamframe_server_t {
    _opaque: [u8; 0],
}

impl Handle for dreamframe_server_t {
    type Object = ServerCell;
    const NAME: &'static str = "server";
}

/// What a host chooses when it starts a server. Begin with `DREAMFRAME_SERVER_OPTIONS_INIT`: zeros and NULLs are defaults.
///
/// Texts are UTF-8 and only read during `dreamframe_server_start()`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct dreamframe_server_options_t {
    /// The size of this struct in bytes.
    pub struct_size: usize,
    /// Where to listen: an IP address and a port; NULL for `"127.0.0.1:8080"`. Port 0 leaves the choice to the system. An
    /// address that other machines reach needs a `token`.
    pub address: *const c_char,
    /// What publishers and viewers must know, as `Authorization: Bearer <token>`; NULL for nothing.
    pub token: *const c_char,
    /// The address that clients know the server by, such as `"https://host"`, where it is behind a proxy that does not say;
    /// NULL for the one that a request was made to.
    pub public_url: *const c_char,
    /// How connections reach the network; NULL for the defaults.
    pub network: *const dreamframe_network_options_t,
    /// How many viewers there may be at once; 0 for 32.
    pub max_viewers: u32,
    /// Bits in a second that the encoder aims at; 0 for 3,000,000.
    pub bitrate: u32,
    /// Pictures in a second that are hardly ever exceeded, by which the encoder plans its bits until it has seen some; 0 for 30.
    pub frame_rate: f32,
    /// The interval of key frames without requests, in milliseconds; 0 for 10 s.
    pub key_frame_interval_ms: u32,
    /// The origins whose pages may use a server without a `token`, with commas between, such as
    /// `"https://app.example,http://10.0.0.5:3000"`, besides those of this machine and of `public_url`; NULL for no others.
    /// With a token pages of every origin may, if they know it.
    pub allow_origins: *const c_char,
}

// SAFETY: `repr(C)`, begins with its size, and zeros are a value of each field: NULL, numbers.
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

/// Starts a session of an engine and serves it: who publishes to `/whip` gives its frames, who watches `/whep` sees its
/// pictures, and both may change parameters by the data channel `parameters`. Frames are H.264.
///
/// - Threads: one call at a time per object.
/// - Ownership: nothing of `options` is kept. The engine stays the host's, to be freed by it, but is in the server until that
///   is stopped. The server is the host's, who frees it with `dreamframe_server_free()`.
/// - Errors: `DREAMFRAME_ERROR_UNSUPPORTED` where `dreamframe_build_info()` has no feature `transport`;
///   `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL, a wrong `struct_size`, an option that cannot be, an engine that is in use or
///   in a session; `DREAMFRAME_ERROR_IO` where the address cannot be listened at; `DREAMFRAME_ERROR_DEVICE` where the system
///   cannot start a thread. The engine can be used again, unless it is the session that got no threads.
///
/// @param[in]  engine      from `dreamframe_engine_create()`
/// @param[in]  options     begun with `DREAMFRAME_SERVER_OPTIONS_INIT`; NULL for the defaults
/// @param[out] out_server  the new server
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dreamframe_server_start(
    engine: *mut dreamframe_engine_t,
    options: *const dreamframe_server_options_t,
    out_server: *mut *mut dreamframe_server_t,
) -> dreamframe_status_t {
    guard(|| {
        // SAFETY: the host's promise, as the header says.
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
/// - Threads: any thread, but none that the library calls the host on.
/// - Ownership: the server is still to be freed. The engine can be used again.
/// - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL; `DREAMFRAME_ERROR_CLOSED` for a server that was stopped;
///   `DREAMFRAME_ERROR_TIMEOUT` where frames take longer: the session then ends by itself, with its engine;
///   `DREAMFRAME_ERROR_INTERNAL` where the engine panicked.
///
/// @param[in]  server      from `dreamframe_server_start()`
/// @param[in]  timeout_ms  how long to wait for the session at most, in milliseconds; connections take up to some seconds
///                         before that
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dreamframe_server_stop(
    server: *mut dreamframe_server_t,
    timeout_ms: u64,
) -> dreamframe_status_t {
    guard(|| handle::get(server.cast_const())?.stop(Duration::from_millis(timeout_ms)))
}

/// Frees a server. NULL or a handle that was freed has no effect. One that runs ends its connections, for some seconds at
/// most, and its session with the frame that it works on; its engine goes with it.
///
/// - Threads: any thread, but none that the library calls the host on.
/// - Ownership: the server is gone. Sessions that `dreamframe_server_session()` gave are still to be freed.
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
/// `out` is NULL, or can be written until the call returns.
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
    // SAFETY: the host's promise, as the header says.
    unsafe { give(server, (out_url, "out_url"), |server| Ok(text::lend(server.whip_url()))) }
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
    // SAFETY: the host's promise, as the header says.
    unsafe { give(server, (out_url, "out_url"), |server| Ok(text::lend(server.whep_url()))) }
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
    // SAFETY: the host's promise, as the header says.
    unsafe { give(server, (out_port, "out_port"), |server| Ok(server.port().into())) }
}

/// Gives the server's session: for its parameters and figures; for frames of the host's own, with `timestamp_ns` 0, whether
/// or not somebody publishes; and for pictures, which `dreamframe_session_poll()` takes from no viewer. Its events go to the
/// data channels of those who are connected. `dreamframe_session_stop()` refuses it, as only its server ends it, and
/// `dreamframe_session_wait()`, as if it had an `on_picture`. Each call gives a further handle of the same session.
///
/// - Threads: any thread.
/// - Ownership: free the session with `dreamframe_session_free()`, before or after the server; that ends nothing.
/// - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL.
///
/// @param[in]  server       from `dreamframe_server_start()`
/// @param[out] out_session  the session, which has ended once the server has
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dreamframe_server_session(
    server: *mut dreamframe_server_t,
    out_session: *mut *mut dreamframe_session_t,
) -> dreamframe_status_t {
    // SAFETY: the host's promise, as the header says.
    unsafe { give(server, (out_session, "out_session"), |server| Ok(handle::insert(server.session()))) }
}

/// Returns the number of viewers, including those that are connecting.
///
/// - Threads: any thread.
/// - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL; `DREAMFRAME_ERROR_CLOSED` for a server that was stopped.
///
/// @param[in]  server       from `dreamframe_server_start()`
/// @param[out] out_viewers  how many
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dreamframe_server_viewers(
    server: *mut dreamframe_server_t,
    out_viewers: *mut u32,
) -> dreamframe_status_t {
    let viewers = |server: &ServerCell| Ok(u32::try_from(server.viewers()?).unwrap_or(u32::MAX));
    // SAFETY: the host's promise, as the header says.
    unsafe { give(server, (out_viewers, "out_viewers"), viewers) }
}

/// Returns whether there is a publisher, including one that is connecting.
///
/// - Threads: any thread.
/// - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL; `DREAMFRAME_ERROR_CLOSED` for a server that was stopped.
///
/// @param[in]  server          from `dreamframe_server_start()`
/// @param[out] out_publishing  whether somebody does
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dreamframe_server_is_publishing(
    server: *mut dreamframe_server_t,
    out_publishing: *mut bool,
) -> dreamframe_status_t {
    // SAFETY: the host's promise, as the header says.
    unsafe { give(server, (out_publishing, "out_publishing"), ServerCell::is_publishing) }
}
