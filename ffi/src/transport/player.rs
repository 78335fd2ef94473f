//! Players: receive pictures of a WHEP server, for the host or for a session.

use std::ffi::c_char;
use std::mem::offset_of;
use std::time::Duration;

use super::backend::PlayerCell;
use super::client;
use super::network::dreamframe_network_options_t;
use super::state::dreamframe_connection_stats_t;
use crate::frame::dreamframe_frame_t;
use crate::guard::{Done, guard, guard_ready};
use crate::handle::{self, Handle};
use crate::pointer::{self, Out, Versioned};
use crate::session::dreamframe_session_t;
use crate::status::dreamframe_status_t;
use crate::text;

/// A player. Its functions are thread-safe.
///
/// It reconnects whenever the connection is lost, until it is stopped.
#[derive(Debug)]
pub struct dreamframe_player_t {
    _opaque: [u8; 0],
}

impl Handle for dreamframe_player_t {
    type Object = PlayerCell;
    const NAME: &'static str = "player";
}

/// Options of a player. Initialize with `DREAMFRAME_PLAYER_OPTIONS_INIT`: zeros and NULLs are the defaults.
///
/// Texts are UTF-8 and not kept after `dreamframe_player_start()`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct dreamframe_player_options_t {
    /// The size of this struct in bytes.
    pub struct_size: usize,
    /// The bearer token, which is sent to the given server only; NULL for none.
    pub token: *const c_char,
    /// Options of network connections; NULL for the defaults.
    pub network: *const dreamframe_network_options_t,
    /// The session that receives the pictures as its frames; NULL for a host that polls them.
    /// The host still owns it, and may stop and free it while the player runs.
    pub session: *mut dreamframe_session_t,
    /// The number of consecutive failed attempts after which it gives up; 0 for never.
    pub attempts: u32,
    /// The delay before the second attempt, in milliseconds; doubles with each further one, up to 30 s. 0 for 1 s.
    pub pause_ms: u32,
    /// The timeout of a request, in milliseconds; 0 for 10 s.
    pub request_timeout_ms: u32,
    /// Always 0.
    pub reserved: u32,
}

// SAFETY: `repr(C)`, starts with its size, and zeros are valid for each field: NULL, integers.
unsafe impl Versioned for dreamframe_player_options_t {
    const NAME: &'static str = "player_options";
    const LEAST: usize = offset_of!(Self, reserved) + size_of::<u32>();
}

const DEFAULTS: dreamframe_player_options_t = dreamframe_player_options_t {
    struct_size: size_of::<dreamframe_player_options_t>(),
    token: std::ptr::null(),
    network: std::ptr::null(),
    session: std::ptr::null_mut(),
    attempts: 0,
    pause_ms: 0,
    request_timeout_ms: 0,
    reserved: 0,
};

/// Starts to play from a WHEP server. The pictures go to a session, or are returned by `dreamframe_player_poll()`.
/// Returns immediately: the connection is made on another thread.
///
/// - Threads: any thread.
/// - Ownership: texts and options are not kept. The host owns the player, and frees it with `dreamframe_player_free()`.
/// - Errors: `DREAMFRAME_ERROR_UNSUPPORTED` if `dreamframe_build_info()` lacks the feature `transport`;
///   `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL, a wrong `struct_size`, an invalid option, and an address that is not
///   http
///   or https; `DREAMFRAME_ERROR_DEVICE` if the system cannot start a thread. Connection errors are reported by events
///   and
///   by `dreamframe_player_wait_for()`.
///
/// @param[in]  url         the address, such as `"https://host/whep/key"`
/// @param[in]  options     initialized with `DREAMFRAME_PLAYER_OPTIONS_INIT`; NULL for the defaults
/// @param[out] out_player  the new player
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dreamframe_player_start(
    url: *const c_char,
    options: *const dreamframe_player_options_t,
    out_player: *mut *mut dreamframe_player_t,
) -> dreamframe_status_t {
    guard(|| {
        // SAFETY: guaranteed by the host, as documented in the header.
        let (out, url) = unsafe { (Out::required(out_player, "out_player")?, text::required(url, "url")?) };
        // SAFETY: likewise.
        let options = if options.is_null() { DEFAULTS } else { unsafe { pointer::read(options) }? };
        // SAFETY: likewise.
        let player = unsafe { PlayerCell::start(url, &options) }?;
        out.set(handle::insert(player.into()));
        Ok(())
    })
}

/// Ends the session on the server and the connection. Waits a few seconds at most. Has no effect on a stopped player.
/// The last picture can still be polled, unless it was taken.
///
/// - Threads: any thread; calls that wait for a picture, an event or a state return.
/// - Ownership: the player must still be freed.
/// - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dreamframe_player_stop(player: *mut dreamframe_player_t) -> dreamframe_status_t {
    client::stop(player)
}

/// Frees a player, and stops it if it was not. NULL or a handle that was freed has no effect.
///
/// - Threads: any thread; calls on other threads that use the player complete.
/// - Ownership: the handle is invalid afterwards.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dreamframe_player_free(player: *mut dreamframe_player_t) {
    client::free(player);
}

/// Returns the newest picture.
///
/// # Safety
///
/// The pointers are valid as documented in the header.
unsafe fn give(
    player: *mut dreamframe_player_t,
    timeout: Duration,
    target: *const dreamframe_frame_t,
    out_id: *mut u64,
) -> dreamframe_status_t {
    guard_ready(|| {
        // SAFETY: the caller's promise.
        let (target, out) = unsafe { (pointer::read(target)?, Out::optional(out_id, "out_id")?) };
        let cell = handle::get(player.cast_const())?;
        // SAFETY: likewise.
        unsafe { target.view_mut(None) }?;
        // SAFETY: likewise.
        unsafe { cell.give(timeout, &target, out) }
    })
}

/// Copies the newest picture into the host's memory, unless it was already taken. Does not wait.
///
/// Returns `DREAMFRAME_NOT_READY` if there is none yet. A picture of another size than `target` is kept: call
/// `dreamframe_player_size()`, and poll again. The size may change from one picture to the next.
///
/// - Threads: any thread; each picture is returned once.
/// - Ownership: the library keeps no pointer to `target`.
/// - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL, a wrong `struct_size`, and a player whose pictures go to a session;
///   `DREAMFRAME_ERROR_INVALID_FRAME` for an invalid target or one of another size; `DREAMFRAME_ERROR_CLOSED` once the player
///   was stopped or has given up, and the last picture is taken.
///
/// @param[in]  player  from `dreamframe_player_start()`
/// @param[in]  target  receives the picture, in any format
/// @param[out] out_id  the number of earlier pictures, including dropped ones; may be NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dreamframe_player_poll(
    player: *mut dreamframe_player_t,
    target: *const dreamframe_frame_t,
    out_id: *mut u64,
) -> dreamframe_status_t {
    // SAFETY: guaranteed by the host, as documented in the header.
    unsafe { give(player, Duration::ZERO, target, out_id) }
}

/// Like `dreamframe_player_poll()`, but waits for a picture.
///
/// Returns `DREAMFRAME_NOT_READY` on a timeout.
///
/// - Threads: any thread, but not inside a callback; each picture is returned once.
/// - Ownership: the library keeps no pointer to `target`.
/// - Errors: those of `dreamframe_player_poll()`.
///
/// @param[in]  player      from `dreamframe_player_start()`
/// @param[in]  timeout_ms  timeout in milliseconds
/// @param[in]  target      receives the picture, in any format
/// @param[out] out_id      the number of earlier pictures, including dropped ones; may be NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dreamframe_player_wait(
    player: *mut dreamframe_player_t,
    timeout_ms: u64,
    target: *const dreamframe_frame_t,
    out_id: *mut u64,
) -> dreamframe_status_t {
    // SAFETY: guaranteed by the host, as documented in the header.
    unsafe { give(player, Duration::from_millis(timeout_ms), target, out_id) }
}

/// Returns the size of the picture that the next poll returns, in pixels. If no picture waits, it is that of the last
/// one.
///
/// Returns `DREAMFRAME_NOT_READY` before the first picture.
///
/// - Threads: any thread.
/// - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL, and for a player whose pictures go to a session.
///
/// @param[in]  player      from `dreamframe_player_start()`
/// @param[out] out_width   width in pixels
/// @param[out] out_height  height in pixels
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dreamframe_player_size(
    player: *mut dreamframe_player_t,
    out_width: *mut u32,
    out_height: *mut u32,
) -> dreamframe_status_t {
    guard_ready(|| {
        // SAFETY: guaranteed by the host, as documented in the header.
        let (width, height) =
            unsafe { (Out::required(out_width, "out_width")?, Out::required(out_height, "out_height")?) };
        let Some(size) = handle::get(player.cast_const())?.size()? else { return Ok(Done::NotReady) };
        width.set(size.0);
        height.set(size.1);
        Ok(Done::Yes)
    })
}

/// Returns the state of the player.
///
/// - Threads: any thread.
/// - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL.
///
/// @param[in]  player     from `dreamframe_player_start()`
/// @param[out] out_state  a `dreamframe_peer_state_t`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dreamframe_player_state(
    player: *mut dreamframe_player_t,
    out_state: *mut u32,
) -> dreamframe_status_t {
    // SAFETY: guaranteed by the host, as documented in the header.
    unsafe { client::state(player, out_state) }
}

/// Waits until the player is in a state.
///
/// - Threads: any thread, but not inside a callback.
/// - Errors: those of `dreamframe_publisher_wait_for()`.
///
/// @param[in] player      from `dreamframe_player_start()`
/// @param[in] state       a `dreamframe_peer_state_t`
/// @param[in] timeout_ms  timeout in milliseconds
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dreamframe_player_wait_for(
    player: *mut dreamframe_player_t,
    state: u32,
    timeout_ms: u64,
) -> dreamframe_status_t {
    client::wait_for(player, state, timeout_ms)
}

/// Takes the oldest event; waits for one if there is none. See `dreamframe_publisher_next_event()`.
///
/// - Threads: any thread; each event is returned once.
/// - Ownership: free the text with `dreamframe_string_free()`.
/// - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL.
///
/// @param[in]  player      from `dreamframe_player_start()`
/// @param[in]  timeout_ms  timeout in milliseconds; 0 not to wait
/// @param[out] out_json    one object
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dreamframe_player_next_event(
    player: *mut dreamframe_player_t,
    timeout_ms: u64,
    out_json: *mut *mut c_char,
) -> dreamframe_status_t {
    // SAFETY: guaranteed by the host, as documented in the header.
    unsafe { client::next_event(player, timeout_ms, out_json) }
}

/// Returns statistics of the player.
///
/// - Threads: any thread.
/// - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL or a wrong `struct_size`.
///
/// @param[in]  player     from `dreamframe_player_start()`
/// @param[out] out_stats  initialized with `DREAMFRAME_CONNECTION_STATS_INIT`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dreamframe_player_stats(
    player: *mut dreamframe_player_t,
    out_stats: *mut dreamframe_connection_stats_t,
) -> dreamframe_status_t {
    // SAFETY: guaranteed by the host, as documented in the header.
    unsafe { client::stats(player, out_stats) }
}
