//! Servers, publishers and players, with and without the feature: invalid arguments, and every function called with
//! NULL.

#![expect(
    clippy::undocumented_unsafe_blocks,
    reason = "each call is wrong on purpose or right by its place in the table"
)]

use std::ptr::{null, null_mut};

use super::calls::{Call, CallOf, text};
use super::kit::{Engine, Pixels, last_error};
use crate::engine::{dreamframe_engine_size, dreamframe_engine_t};
use crate::pointer::Versioned;
use crate::status::*;
use crate::transport::network::dreamframe_network_options_t;
use crate::transport::player::*;
use crate::transport::publisher::*;
use crate::transport::server::*;
use crate::transport::state::dreamframe_connection_stats_t;

/// Like `DREAMFRAME_..._INIT`.
pub(super) fn init<T: Versioned>() -> T {
    let mut value = std::mem::MaybeUninit::<T>::zeroed();
    unsafe { value.as_mut_ptr().cast::<usize>().write(size_of::<T>()) };
    unsafe { value.assume_init() }
}

/// Functions that return a status, with NULL for every required pointer.
pub(super) const NULLS: &[Call] = &[
    ("dreamframe_server_start", || unsafe { dreamframe_server_start(null_mut(), null(), null_mut()) }),
    ("dreamframe_server_stop", || unsafe { dreamframe_server_stop(null_mut(), 0) }),
    ("dreamframe_server_whip_url", || unsafe { dreamframe_server_whip_url(null_mut(), null_mut()) }),
    ("dreamframe_server_whep_url", || unsafe { dreamframe_server_whep_url(null_mut(), null_mut()) }),
    ("dreamframe_server_port", || unsafe { dreamframe_server_port(null_mut(), null_mut()) }),
    ("dreamframe_server_session", || unsafe { dreamframe_server_session(null_mut(), null_mut()) }),
    ("dreamframe_server_viewers", || unsafe { dreamframe_server_viewers(null_mut(), null_mut()) }),
    ("dreamframe_server_is_publishing", || unsafe { dreamframe_server_is_publishing(null_mut(), null_mut()) }),
    ("dreamframe_publisher_start", || unsafe { dreamframe_publisher_start(null(), null(), null_mut()) }),
    ("dreamframe_publisher_stop", || unsafe { dreamframe_publisher_stop(null_mut()) }),
    ("dreamframe_publisher_show", || unsafe { dreamframe_publisher_show(null_mut(), null()) }),
    ("dreamframe_publisher_state", || unsafe { dreamframe_publisher_state(null_mut(), null_mut()) }),
    ("dreamframe_publisher_wait_for", || unsafe { dreamframe_publisher_wait_for(null_mut(), 2, 0) }),
    ("dreamframe_publisher_playback_url", || unsafe { dreamframe_publisher_playback_url(null_mut(), null_mut()) }),
    ("dreamframe_publisher_next_event", || unsafe { dreamframe_publisher_next_event(null_mut(), 0, null_mut()) }),
    ("dreamframe_publisher_stats", || unsafe { dreamframe_publisher_stats(null_mut(), null_mut()) }),
    ("dreamframe_player_start", || unsafe { dreamframe_player_start(null(), null(), null_mut()) }),
    ("dreamframe_player_stop", || unsafe { dreamframe_player_stop(null_mut()) }),
    ("dreamframe_player_poll", || unsafe { dreamframe_player_poll(null_mut(), null(), null_mut()) }),
    ("dreamframe_player_wait", || unsafe { dreamframe_player_wait(null_mut(), 0, null(), null_mut()) }),
    ("dreamframe_player_size", || unsafe { dreamframe_player_size(null_mut(), null_mut(), null_mut()) }),
    ("dreamframe_player_state", || unsafe { dreamframe_player_state(null_mut(), null_mut()) }),
    ("dreamframe_player_wait_for", || unsafe { dreamframe_player_wait_for(null_mut(), 2, 0) }),
    ("dreamframe_player_next_event", || unsafe { dreamframe_player_next_event(null_mut(), 0, null_mut()) }),
    ("dreamframe_player_stats", || unsafe { dreamframe_player_stats(null_mut(), null_mut()) }),
];

/// Functions of a server that return a status, with all other arguments valid.
pub(super) const SERVER: &[CallOf<dreamframe_server_t>] = &[
    ("dreamframe_server_whip_url", |server| text(|out| unsafe { dreamframe_server_whip_url(server, out) })),
    ("dreamframe_server_whep_url", |server| text(|out| unsafe { dreamframe_server_whep_url(server, out) })),
    ("dreamframe_server_port", |server| unsafe { dreamframe_server_port(server, &mut 0) }),
    ("dreamframe_server_session", |server| {
        let mut session = null_mut();
        let status = unsafe { dreamframe_server_session(server, &raw mut session) };
        unsafe { crate::session::dreamframe_session_free(session) };
        status
    }),
    ("dreamframe_server_viewers", |server| unsafe { dreamframe_server_viewers(server, &mut 0) }),
    ("dreamframe_server_is_publishing", |server| unsafe { dreamframe_server_is_publishing(server, &mut false) }),
    ("dreamframe_server_stop", |server| unsafe { dreamframe_server_stop(server, super::kit::LIMIT_MS) }),
];

/// Functions of a publisher that return a status, with all other arguments valid.
pub(super) const PUBLISHER: &[CallOf<dreamframe_publisher_t>] = &[
    ("dreamframe_publisher_show", |publisher| {
        let picture = Pixels::grey(9);
        unsafe { dreamframe_publisher_show(publisher, &raw const picture.frame) }
    }),
    ("dreamframe_publisher_state", |publisher| unsafe { dreamframe_publisher_state(publisher, &mut 0) }),
    ("dreamframe_publisher_wait_for", |publisher| unsafe { dreamframe_publisher_wait_for(publisher, 1, 0) }),
    ("dreamframe_publisher_playback_url", |publisher| {
        text(|out| unsafe { dreamframe_publisher_playback_url(publisher, out) })
    }),
    ("dreamframe_publisher_next_event", |publisher| {
        text(|out| unsafe { dreamframe_publisher_next_event(publisher, 0, out) })
    }),
    ("dreamframe_publisher_stats", |publisher| {
        let mut stats: dreamframe_connection_stats_t = init();
        unsafe { dreamframe_publisher_stats(publisher, &raw mut stats) }
    }),
    ("dreamframe_publisher_stop", |publisher| unsafe { dreamframe_publisher_stop(publisher) }),
];

/// Functions of a player that return a status, with all other arguments valid.
pub(super) const PLAYER: &[CallOf<dreamframe_player_t>] = &[
    ("dreamframe_player_poll", |player| {
        let target = Pixels::grey(0);
        unsafe { dreamframe_player_poll(player, &raw const target.frame, &mut 0) }
    }),
    ("dreamframe_player_wait", |player| {
        let target = Pixels::grey(0);
        unsafe { dreamframe_player_wait(player, 0, &raw const target.frame, &mut 0) }
    }),
    ("dreamframe_player_size", |player| unsafe { dreamframe_player_size(player, &mut 0, &mut 0) }),
    ("dreamframe_player_state", |player| unsafe { dreamframe_player_state(player, &mut 0) }),
    ("dreamframe_player_wait_for", |player| unsafe { dreamframe_player_wait_for(player, 1, 0) }),
    ("dreamframe_player_next_event", |player| text(|out| unsafe { dreamframe_player_next_event(player, 0, out) })),
    ("dreamframe_player_stats", |player| {
        let mut stats: dreamframe_connection_stats_t = init();
        unsafe { dreamframe_player_stats(player, &raw mut stats) }
    }),
    ("dreamframe_player_stop", |player| unsafe { dreamframe_player_stop(player) }),
];

/// Serves an engine on a free loopback port and frees the server.
pub(super) fn serve_and_free(engine: *mut dreamframe_engine_t) -> i32 {
    let options = dreamframe_server_options_t { address: c"127.0.0.1:0".as_ptr(), ..init() };
    let mut server = null_mut();
    let status = unsafe { dreamframe_server_start(engine, &raw const options, &raw mut server) };
    unsafe { dreamframe_server_free(server) };
    status
}

/// Starts each of the three with options, and returns the results in the order of the functions' names.
fn start_all(
    engine: &Engine,
    server: &dreamframe_server_options_t,
    publisher: &dreamframe_publisher_options_t,
    player: &dreamframe_player_options_t,
) -> [i32; 3] {
    let url = c"http://127.0.0.1:1/any".as_ptr();
    let (mut server_out, mut publisher_out, mut player_out) = (null_mut(), null_mut(), null_mut());
    let statuses = unsafe {
        [
            dreamframe_server_start(engine.0, server, &raw mut server_out),
            dreamframe_publisher_start(url, publisher, &raw mut publisher_out),
            dreamframe_player_start(url, player, &raw mut player_out),
        ]
    };
    assert!(server_out.is_null() && publisher_out.is_null() && player_out.is_null(), "{statuses:?}");
    statuses
}

#[test]
fn network_functions_reject_a_wrong_struct_size() {
    let engine = Engine::new();
    for size in [0, 1, size_of::<usize>(), 4097, usize::MAX] {
        let server = dreamframe_server_options_t { struct_size: size, ..init() };
        let publisher = dreamframe_publisher_options_t { struct_size: size, ..init() };
        let player = dreamframe_player_options_t { struct_size: size, ..init() };
        assert_eq!(start_all(&engine, &server, &publisher, &player), [DREAMFRAME_ERROR_INVALID_ARGUMENT; 3]);
        assert!(last_error().contains("initialise it with DREAMFRAME_PLAYER_OPTIONS_INIT"), "{}", last_error());
    }
}

#[cfg(not(feature = "transport"))]
#[test]
fn without_the_feature_network_functions_are_unsupported() {
    let engine = Engine::new();
    let network: dreamframe_network_options_t = init();
    let server = dreamframe_server_options_t { network: &raw const network, ..init() };
    assert_eq!(start_all(&engine, &server, &init(), &init()), [DREAMFRAME_ERROR_UNSUPPORTED; 3]);
    assert!(last_error().contains("the feature `transport`"), "{}", last_error());
    assert_eq!(unsafe { dreamframe_engine_size(engine.0, &mut 0, &mut 0) }, DREAMFRAME_OK);
}

#[cfg(feature = "transport")]
#[test]
fn invalid_network_options_leave_the_engine_usable() {
    let engine = Engine::new();
    let address = |address: &std::ffi::CStr| dreamframe_server_options_t { address: address.as_ptr(), ..init() };
    let refused = |options: dreamframe_server_options_t, why: &str| {
        let mut server = null_mut();
        let status = unsafe { dreamframe_server_start(engine.0, &raw const options, &raw mut server) };
        assert_eq!((status, server.is_null()), (DREAMFRAME_ERROR_INVALID_ARGUMENT, true), "{why}");
        assert!(last_error().contains(why), "{}", last_error());
    };
    refused(address(c"localhost"), "address: got \"localhost\"");
    refused(address(c"\xff"), "address: not UTF-8");
    refused(address(c"0.0.0.0:0"), "token: missing");
    let somewhere = address(c"127.0.0.1:0");
    refused(dreamframe_server_options_t { public_url: c"sd.example".as_ptr(), ..somewhere }, "public_url: got");
    let no_origin = c"https://app.example, *".as_ptr();
    refused(dreamframe_server_options_t { allow_origins: no_origin, ..somewhere }, "origin: got \"*\"");
    for frame_rate in [f32::NAN, f32::INFINITY, -1.0] {
        refused(dreamframe_server_options_t { frame_rate, ..somewhere }, "frame_rate: got");
    }
    let with = |network: dreamframe_network_options_t, why: &str| {
        let network = &raw const network;
        refused(dreamframe_server_options_t { network, ..somewhere }, why);
        let publisher = dreamframe_publisher_options_t { network, ..init() };
        let player = dreamframe_player_options_t { network, ..init() };
        let server = dreamframe_server_options_t { network, ..somewhere };
        assert_eq!(start_all(&engine, &server, &publisher, &player), [DREAMFRAME_ERROR_INVALID_ARGUMENT; 3], "{why}");
        assert!(last_error().contains(why), "{}", last_error());
    };
    with(dreamframe_network_options_t { struct_size: 1, ..init() }, "struct_size of network_options");
    with(dreamframe_network_options_t { bind: c"127.0.0.1,here".as_ptr(), ..init() }, "bind: got \"here\"");
    with(dreamframe_network_options_t { public_ip: c"".as_ptr(), ..init() }, "public_ip: got \"\"");
    with(
        dreamframe_network_options_t { ice_servers_json: c"[{}]".as_ptr(), ..init() },
        "ice_servers_json: expected a list",
    );
    with(dreamframe_network_options_t { relayed_only: 2, ..init() }, "relayed_only: got 2");
    let relayed = dreamframe_network_options_t { relayed_only: 1, ..init() };
    refused(dreamframe_server_options_t { network: &raw const relayed, ..somewhere }, "TURN server: missing");
    with(dreamframe_network_options_t { first_port: 5, ..init() }, "last_port: got 0");
    with(dreamframe_network_options_t { first_port: 5, last_port: 4, ..init() }, "last_port: got 4");
    with(dreamframe_network_options_t { first_port: 5, last_port: 65536, ..init() }, "last_port: got 65536");
    assert_eq!(unsafe { dreamframe_engine_size(engine.0, &mut 0, &mut 0) }, DREAMFRAME_OK);
}

#[cfg(feature = "transport")]
#[test]
fn invalid_addresses_sessions_and_states_are_rejected() {
    let nothing = |status: i32, why: &str| {
        assert_eq!(status, DREAMFRAME_ERROR_INVALID_ARGUMENT, "{why}");
        assert!(last_error().contains(why), "{}", last_error());
    };
    let (mut publisher, mut player) = (null_mut(), null_mut());
    for (url, why) in [(c"ftp://host", "http"), (c"", "http"), (c"\xff", "url: not UTF-8")] {
        nothing(unsafe { dreamframe_publisher_start(url.as_ptr(), null(), &raw mut publisher) }, why);
        nothing(unsafe { dreamframe_player_start(url.as_ptr(), null(), &raw mut player) }, why);
    }
    let url = c"http://127.0.0.1:1/whep".as_ptr();
    let options = dreamframe_player_options_t { session: std::ptr::without_provenance_mut(8), ..init() };
    nothing(
        unsafe { dreamframe_player_start(url, &raw const options, &raw mut player) },
        "session: got an invalid handle",
    );
    assert!(publisher.is_null() && player.is_null());
    assert_eq!(unsafe { dreamframe_player_start(url, null(), &raw mut player) }, DREAMFRAME_OK, "{}", last_error());
    for state in [0, 6, u32::MAX] {
        nothing(unsafe { dreamframe_player_wait_for(player, state, 0) }, "state: got");
    }
    unsafe { dreamframe_player_free(player) };
}
