//! Players: pictures of a WHEP server to the host, or to a session.

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

/// A player. Its functions may be called from any thread, also at the same time.
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

/// What a host chooses when it starts a player. Begin with `DREAMFRAME_PLAYER_OPTIONS_INIT`: zeros and NULLs are defaults.
///
/// Texts are UTF-8 and only read during `dreamframe_player_start()`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct dreamframe_player_options_t {
    /// The size of this struct in bytes.
    pub struct_size: usize,
    /// The bearer token, for the server whose address is given and for no other; NULL for none.
    pub token: *const c_char,
    /// How connections reach the network; NULL for the defaults.
    pub network: *const dreamframe_network_options_t,
    /// The session that the pictures are submitted to as its frames, as they are decoded; NULL for a host that polls them.
    /// The host still owns it, and may stop and free it while the player runs.
    pub session: *mut dreamframe_session_t,
    /// After how many failed attempts in a row it gives up; 0 for never.
    pub attempts: u32,
    /// How long to wait before the second attempt in a row, in milliseconds; doubles with each further one, up to 30 s. 0 for
    /// 1 s.
    pub pause_ms: u32,
    /// How long a request may take, in milliseconds; 0 for 10 s.
    pub request_timeout_ms: u32,
    /// Always 0.
    pub reserved: u32,
}

// SAFETY: `repr(C)`, begins with its size, and zeros are a value of each field: NULL, numbers.
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

/// Begins to play from a WHEP server, whose pictures `dreamframe_player_poll()` then gives or a session gets. Returns at once:
/// the connection is made on a thread of the player's own.
///
/// - Threads: any thread.
/// - Ownership: texts and options are only read. The player is the host's, who frees it with `dreamframe_player_free()`.
/// - Errors: `DREAMFRAME_ERROR_UNSUPPORTED` where `dreamframe_build_info()` has no feature `transport`;
///   `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL, a wrong `struct_size`, an option that cannot be, and an address that is not
///   of http or https; `DREAMFRAME_ERROR_DEVICE` if the system cannot start a thread. What goes wrong with the connection
///   comes as an event, and from `dreamframe_player_wait_for()`.
///
/// @param[in]  url         what to watch, such as `"https://host/whep/key"`
/// @param[in]  options     begun with `DREAMFRAME_PLAYER_OPTIONS_INIT`; NULL for the defaults
/// @param[out] out_player  the new player
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dreamframe_player_start(
    url: *const c_char,
    options: *const dreamframe_player_options_t,
    out_player: *mut *mut dreamframe_player_t,
) -> dreamframe_status_t {
    guard(|| {
        // SAFETY: the host's promise, as the header says.
        let (out, url) = unsafe { (Out::required(out_player, "out_player")?, text::required(url, "url")?) };
        // SAFETY: likewise.
        let options = if options.is_null() { DEFAULTS } else { unsafe { pointer::read(options) }? };
        // SAFETY: likewise.
        let player = unsafe { PlayerCell::start(url, &options) }?;
        out.set(handle::insert(player.into()));
        Ok(())
    })
}

/// Ends the connection, and the session on the server, and waits for both, for some seconds at most. Once more does nothing.
/// The last picture can still be polled, unless it was taken.
///
/// - Threads: any thread; who waits for a picture, an event or a state then hears of it.
/// - Ownership: the player is still to be freed.
/// - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dreamframe_player_stop(player: *mut dreamframe_player_t) -> dreamframe_status_t {
    client::stop(player)
}

/// Frees a player, and stops it if it was not. NULL or a handle that was freed has no effect.
///
/// - Threads: any thread; calls of others that use the player then end by themselves.
/// - Ownership: the player is gone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dreamframe_player_free(player: *mut dreamframe_player_t) {
    client::free(player);
}

/// Returns the newest picture.
///
/// # Safety
///
/// The pointers are the host's, as the header says.
unsafe fn give(
    player: *mut dreamframe_player_t,
    timeout: Duration,
    room: *const dreamframe_frame_t,
    out_id: *mut u64,
) -> dreamframe_status_t {
    guard_ready(|| {
        // SAFETY: the caller's promise.
        let (room, out) = unsafe { (pointer::read(room)?, Out::optional(out_id, "out_id")?) };
        let cell = handle::get(player.cast_const())?;
        // SAFETY: likewise.
        unsafe { room.view_mut(None) }?;
        // SAFETY: likewise.
        unsafe { cell.give(timeout, &room, out) }
    })
}

/// Copies the newest picture into the host's memory, unless it was taken already. Never waits.
///
/// Returns `DREAMFRAME_NOT_READY` where there is none yet. A picture that does not fit into `room` stays: ask
/// `dreamframe_player_size()`, and poll again. The size may change from one picture to the next.
///
/// - Threads: any thread; each picture goes to one of them.
/// - Ownership: the library keeps no pointer to `room`.
/// - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL, a wrong `struct_size`, and a player whose pictures go to a session;
///   `DREAMFRAME_ERROR_INVALID_FRAME` for room that cannot be or has another size; `DREAMFRAME_ERROR_CLOSED` once the player
///   was stopped or has given up, and the last picture is taken.
///
/// @param[in]  player  from `dreamframe_player_start()`
/// @param[in]  room    where the picture goes, in any format
/// @param[out] out_id  how many pictures came before it, seen or not; may be NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dreamframe_player_poll(
    player: *mut dreamframe_player_t,
    room: *const dreamframe_frame_t,
    out_id: *mut u64,
) -> dreamframe_status_t {
    // SAFETY: the host's promise, as the header says.
    unsafe { give(player, Duration::ZERO, room, out_id) }
}

/// As `dreamframe_player_poll()`, but waits for a picture.
///
/// Returns `DREAMFRAME_NOT_READY` where none came in time.
///
/// - Threads: any thread, but none that the library calls the host on; each picture goes to one of them.
/// - Ownership: the library keeps no pointer to `room`.
/// - Errors: those of `dreamframe_player_poll()`.
///
/// @param[in]  player      from `dreamframe_player_start()`
/// @param[in]  timeout_ms  how long to wait at most, in milliseconds
/// @param[in]  room        where the picture goes, in any format
/// @param[out] out_id      how many pictures came before it, seen or not; may be NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dreamframe_player_wait(
    player: *mut dreamframe_player_t,
    timeout_ms: u64,
    room: *const dreamframe_frame_t,
    out_id: *mut u64,
) -> dreamframe_status_t {
    // SAFETY: the host's promise, as the header says.
    unsafe { give(player, Duration::from_millis(timeout_ms), room, out_id) }
}

/// Returns the size of the picture that the next poll takes, in pixels; if none waits, that of the last one.
///
/// Returns `DREAMFRAME_NOT_READY` before the first picture.
///
/// - Threads: any thread.
/// - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL, and for a player whose pictures go to a session.
///
/// @param[in]  player      from `dreamframe_player_start()`
/// @param[out] out_width   pixels in a row
/// @param[out] out_height  rows
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dreamframe_player_size(
    player: *mut dreamframe_player_t,
    out_width: *mut u32,
    out_height: *mut u32,
) -> dreamframe_status_t {
    guard_ready(|| {
        // SAFETY: the host's promise, as the header says.
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
    // SAFETY: the host's promise, as the header says.
    unsafe { client::state(player, out_state) }
}

/// Waits until the player is in a state.
///
/// - Threads: any thread, but none that the library calls the host on.
/// - Errors: those of `dreamframe_publisher_wait_for()`.
///
/// @param[in] player      from `dreamframe_player_start()`
/// @param[in] state       a `dreamframe_peer_state_t`
/// @param[in] timeout_ms  how long to wait at most, in milliseconds
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dreamframe_player_wait_for(
    player: *mut dreamframe_player_t,
    state: u32,
    timeout_ms: u64,
) -> dreamframe_status_t {
    client::wait_for(player, state, timeout_ms)
}

/// Takes the oldest waiting event; waits for one if there is none; as `dreamframe_publisher_next_event()`.
///
/// - Threads: any thread; each event goes to one of them.
/// - Ownership: free the text with `dreamframe_string_free()`.
/// - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL.
///
/// @param[in]  player      from `dreamframe_player_start()`
/// @param[in]  timeout_ms  how long to wait at most, in milliseconds; 0 not to wait
/// @param[out] out_json    one object
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dreamframe_player_next_event(
    player: *mut dreamframe_player_t,
    timeout_ms: u64,
    out_json: *mut *mut c_char,
) -> dreamframe_status_t {
    // SAFETY: the host's promise, as the header says.
    unsafe { client::next_event(player, timeout_ms, out_json) }
}

/// Returns statistics of the player.
///
/// - Threads: any thread.
/// - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL or a wrong `struct_size`.
///
/// @param[in]  player     from `dreamframe_player_start()`
/// @param[out] out_stats  begun with `DREAMFRAME_CONNECTION_STATS_INIT`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dreamframe_player_stats(
    player: *mut dreamframe_player_t,
    out_stats: *mut dreamframe_connection_stats_t,
) -> dreamframe_status_t {
    // SAFETY: the host's promise, as the header says.
    unsafe { client::stats(player, out_stats) }
}
