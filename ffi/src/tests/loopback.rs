//! Servers, publishers and players that are connected over loopback.

use std::ptr::{null, null_mut};

use super::kit::{LIMIT_MS, Pixels, SIDE, Session, c, empty_info, json, last_error};
use super::network::{PLAYER, PUBLISHER, SERVER, init};
use super::peers::{Player, Publisher, Server, is_of, mirror, text, until};
use crate::engine::dreamframe_engine_size;
use crate::session::dreamframe_session_stop;
use crate::session_frames::*;
use crate::session_updates::*;
use crate::status::*;
use crate::transport::player::*;
use crate::transport::publisher::*;
use crate::transport::server::*;
use crate::transport::state::{dreamframe_connection_stats_t, dreamframe_peer_state_t as State};

const CONNECTED: u32 = State::DREAMFRAME_PEER_STATE_CONNECTED as u32;
const CLOSED: u32 = State::DREAMFRAME_PEER_STATE_CLOSED as u32;
/// The interval between pictures, in milliseconds.
const PACE_MS: u64 = 40;
/// A shade that nothing else in these tests has.
const SHADE: u8 = 180;

#[test]
fn published_pictures_reach_a_player() {
    let engine = mirror();
    let server = Server::start(&engine);
    let player = Player::start(&server.whep_url(), null_mut());
    let publisher = Publisher::start(&server.whip_url(), null(), 0);
    assert_eq!(publisher.wait_for(CONNECTED), DREAMFRAME_OK, "{}", last_error());
    let (mut frame, target, mut id) = (Pixels::grey(SHADE), Pixels::grey(0), 0);
    // A time of the host's own clock has no effect here.
    frame.frame.timestamp_ns = u64::MAX;
    until("the published shade", || {
        publisher.show(&frame);
        player.wait(PACE_MS, &target, &mut id) == DREAMFRAME_OK && is_of(&target, SHADE)
    });
    let last = id;
    until("a later picture", || {
        publisher.show(&frame);
        player.wait(PACE_MS, &target, &mut id) == DREAMFRAME_OK
    });
    assert!(id > last);

    let (mut size, mut viewers, mut publishing, mut state) = ((0, 0), 0, false, 0);
    let (mut sent, mut seen): (dreamframe_connection_stats_t, dreamframe_connection_stats_t) = (init(), init());
    // SAFETY: all arguments are valid during the call.
    unsafe {
        assert_eq!(dreamframe_player_size(player.0, &raw mut size.0, &raw mut size.1), DREAMFRAME_OK);
        assert_eq!(dreamframe_server_viewers(server.0, &raw mut viewers), DREAMFRAME_OK);
        assert_eq!(dreamframe_server_is_publishing(server.0, &raw mut publishing), DREAMFRAME_OK);
        assert_eq!(dreamframe_player_state(player.0, &raw mut state), DREAMFRAME_OK);
        assert_eq!((size, viewers, publishing, state), ((SIDE, SIDE), 1, true, CONNECTED));
        assert_eq!(dreamframe_publisher_stats(publisher.0, &raw mut sent), DREAMFRAME_OK);
        assert_eq!(dreamframe_player_stats(player.0, &raw mut seen), DREAMFRAME_OK);
        assert_eq!(text(|out| dreamframe_publisher_playback_url(publisher.0, out)), server.whep_url());
        let event = json(|out| dreamframe_publisher_next_event(publisher.0, LIMIT_MS, out));
        assert_eq!((&event["type"], &event["state"]), (&"state".into(), &"connected".into()));
    }
    for stats in [&sent, &seen] {
        assert!(stats.bytes > 0 && stats.packets > 0 && stats.pictures > 0 && stats.failed == 0, "{stats:?}");
        assert_eq!((stats.width, stats.height), (SIDE, SIDE));
    }

    assert_eq!(server.stop(), DREAMFRAME_OK, "{}", last_error());
    assert_eq!(server.stop(), DREAMFRAME_ERROR_CLOSED);
    // SAFETY: all arguments are valid during the call.
    unsafe {
        assert_eq!(dreamframe_server_viewers(server.0, &raw mut viewers), DREAMFRAME_ERROR_CLOSED);
        assert_eq!(dreamframe_engine_size(engine.0, &raw mut size.0, &raw mut size.1), DREAMFRAME_OK);
        assert_eq!(dreamframe_player_stop(player.0), DREAMFRAME_OK);
        assert_eq!(dreamframe_player_wait_for(player.0, CLOSED, 0), DREAMFRAME_OK);
    }
    until("no further picture", || player.wait(LIMIT_MS, &target, &mut id) == DREAMFRAME_ERROR_CLOSED);
}

#[test]
fn player_keeps_a_picture_of_another_size() {
    let engine = mirror();
    let server = Server::start(&engine);
    let player = Player::start(&server.whep_url(), null_mut());
    let (target, small, mut id) = (Pixels::grey(0), Pixels::of(1, 32, 32, 0), 0);
    let none = Pixels::grey(0);
    // SAFETY: all arguments are valid during the call.
    unsafe {
        let poll = |target: &Pixels| dreamframe_player_poll(player.0, &raw const target.frame, null_mut());
        assert_eq!(dreamframe_player_size(player.0, &mut 0, &mut 0), DREAMFRAME_NOT_READY);
        assert_eq!(poll(&none), DREAMFRAME_NOT_READY);
        // Without a publisher, viewers see the grey placeholder.
        until("the first picture", || {
            let status = player.wait(PACE_MS, &small, &mut id);
            assert_ne!(status, DREAMFRAME_OK);
            status == DREAMFRAME_ERROR_INVALID_FRAME
        });
        assert!(last_error().contains("64x64"), "{}", last_error());
        assert_eq!(poll(&target), DREAMFRAME_OK, "{}", last_error());
    }
    assert!(is_of(&target, target.bytes[0]) && !is_of(&target, 0));
}

#[test]
fn host_can_use_a_servers_session_but_not_stop_it() {
    let engine = mirror();
    let server = Server::start(&engine);
    let (session, again) = (server.session(), server.session());
    let player = Player::start(&server.whep_url(), null_mut());
    let (frame, target, mut id) = (Pixels::grey(SHADE), Pixels::grey(0), 0);
    let (mut version, mut polled, mut running) = (0, false, false);
    // SAFETY: all arguments are valid during the call.
    unsafe {
        let set = dreamframe_session_set_i64(session.0, c"seed".as_ptr(), 11, &raw mut version);
        assert_eq!(set, DREAMFRAME_OK, "{}", last_error());
        assert_eq!(dreamframe_session_wait_for(again.0, version, LIMIT_MS, null_mut()), DREAMFRAME_OK);
        assert_eq!(json(|out| dreamframe_session_params(again.0, out))["seed"], 11);
        // A frame of the host is sent to viewers, and its picture can also be polled.
        let mut info = empty_info();
        until("the host's shade at the viewer", || {
            assert_eq!(dreamframe_session_submit(session.0, &raw const frame.frame, null_mut()), DREAMFRAME_OK);
            let seen = player.wait(PACE_MS, &target, &mut id) == DREAMFRAME_OK && is_of(&target, SHADE);
            let picture = Pixels::grey(0);
            let status = dreamframe_session_poll(session.0, &raw const picture.frame, &raw mut info);
            polled |= status == DREAMFRAME_OK && is_of(&picture, SHADE);
            seen && polled
        });
        assert_eq!((info.width, info.height), (SIDE, SIDE));
        let refused = dreamframe_session_wait(session.0, 1, &raw const target.frame, null_mut());
        assert_eq!(refused, DREAMFRAME_ERROR_INVALID_ARGUMENT);
        assert_eq!(dreamframe_session_stop(session.0, LIMIT_MS), DREAMFRAME_ERROR_INVALID_ARGUMENT);
        assert!(last_error().contains("server"), "{}", last_error());
        drop(again);
        assert_eq!(dreamframe_session_is_running(session.0, &raw mut running), DREAMFRAME_OK);
        assert!(running, "freeing a handle ends nothing");
        drop(server);
        assert_eq!(dreamframe_session_is_running(session.0, &raw mut running), DREAMFRAME_OK);
        assert!(!running, "its server does");
        let late = dreamframe_session_submit(session.0, &raw const frame.frame, null_mut());
        assert_eq!(late, DREAMFRAME_ERROR_CLOSED);
    }
    // SAFETY: all arguments are valid during the call.
    assert_eq!(unsafe { dreamframe_engine_size(engine.0, &mut 0, &mut 0) }, DREAMFRAME_ERROR_CLOSED);
}

#[test]
fn player_passes_pictures_to_a_session() {
    let (engine, other) = (mirror(), mirror());
    let server = Server::start(&engine);
    let source = server.session();
    let session = Session::new(&other);
    let player = Player::start(&server.whep_url(), session.0);
    let (frame, target) = (Pixels::grey(SHADE), Pixels::grey(0));
    // SAFETY: all arguments are valid during the call.
    unsafe {
        until("a picture of the second session", || {
            assert_eq!(dreamframe_session_submit(source.0, &raw const frame.frame, null_mut()), DREAMFRAME_OK);
            let status = dreamframe_session_wait(session.0, PACE_MS, &raw const target.frame, null_mut());
            status == DREAMFRAME_OK && is_of(&target, SHADE)
        });
        let poll = dreamframe_player_poll(player.0, &raw const target.frame, null_mut());
        assert_eq!(poll, DREAMFRAME_ERROR_INVALID_ARGUMENT);
        assert!(last_error().contains("go to a session"), "{}", last_error());
        // The session may be freed before the player.
        drop(session);
        assert_eq!(dreamframe_player_wait_for(player.0, CONNECTED, LIMIT_MS), DREAMFRAME_OK);
    }
}

#[test]
fn address_in_use_leaves_the_engine_usable() {
    let (engine, other) = (mirror(), mirror());
    let server = Server::start(&engine);
    let mut port = 0;
    // SAFETY: all arguments are valid during the call.
    assert_eq!(unsafe { dreamframe_server_port(server.0, &raw mut port) }, DREAMFRAME_OK);
    let address = c(&format!("127.0.0.1:{port}"));
    let options = dreamframe_server_options_t { address: address.as_ptr(), ..init() };
    let mut out = null_mut();
    // SAFETY: all arguments are valid during the call.
    unsafe {
        let refused = dreamframe_server_start(other.0, &raw const options, &raw mut out);
        assert_eq!((refused, out.is_null()), (DREAMFRAME_ERROR_IO, true), "{}", last_error());
        assert_eq!(dreamframe_engine_size(other.0, &mut 0, &mut 0), DREAMFRAME_OK, "{}", last_error());
    }
    assert_eq!(server.stop(), DREAMFRAME_OK);
    drop(Server::with(&other, |_| options));
}

#[test]
fn rejected_publisher_gives_up_with_the_reason() {
    let engine = mirror();
    let server = Server::with(&engine, |options| dreamframe_server_options_t { token: c"right".as_ptr(), ..options });
    let stranger = Publisher::start(&server.whip_url(), c"wrong".as_ptr(), 0);
    assert_eq!(stranger.wait_for(CONNECTED), DREAMFRAME_ERROR_CLOSED);
    assert!(last_error().contains("401"), "{}", last_error());
    let friend = Publisher::start(&server.whip_url(), c"right".as_ptr(), 0);
    assert_eq!(friend.wait_for(CONNECTED), DREAMFRAME_OK, "{}", last_error());
    let (url, mut out) = (server.whip_url(), null_mut());
    drop(server);
    let late = Publisher::start(&url, null(), 1);
    assert_eq!(late.wait_for(State::DREAMFRAME_PEER_STATE_FAILED as u32), DREAMFRAME_OK, "{}", last_error());
    // SAFETY: all arguments are valid during the call.
    unsafe {
        let none = dreamframe_publisher_playback_url(late.0, &raw mut out);
        assert_eq!((none, out.is_null()), (DREAMFRAME_NOT_READY, true));
        let event = json(|out| dreamframe_publisher_next_event(late.0, LIMIT_MS, out));
        assert_eq!((&event["type"], &event["retry_ms"]), (&"attempt_failed".into(), &serde_json::Value::Null));
    }
}

#[test]
fn freeing_publisher_and_player_wakes_waiting_threads() {
    let (publisher, player) =
        (Publisher::start(c"http://127.0.0.1:1/", null(), 0), { Player::start(c"http://127.0.0.1:1/", null_mut()) });
    let (publishers, players) = (publisher.0.addr(), player.0.addr());
    let state = std::thread::spawn(move || {
        // SAFETY: handles are checked.
        unsafe { dreamframe_publisher_wait_for(std::ptr::without_provenance_mut(publishers), CONNECTED, 10 * LIMIT_MS) }
    });
    let picture = std::thread::spawn(move || {
        let target = Pixels::grey(0);
        let player = std::ptr::without_provenance_mut(players);
        // SAFETY: handles are checked, and the target lives through the call.
        unsafe { dreamframe_player_wait(player, 10 * LIMIT_MS, &raw const target.frame, null_mut()) }
    });
    drop((publisher, player));
    for status in [state.join().unwrap(), picture.join().unwrap()] {
        // Whichever was first.
        assert!([DREAMFRAME_ERROR_CLOSED, DREAMFRAME_ERROR_INVALID_ARGUMENT].contains(&status), "{status}");
    }
}

#[test]
fn every_function_is_thread_safe() {
    let engine = mirror();
    let server = Server::start(&engine);
    let publisher = Publisher::start(&server.whip_url(), null(), 0);
    let player = Player::start(&server.whep_url(), null_mut());
    let addresses = [server.0.addr(), publisher.0.addr(), player.0.addr()];
    let fine = |name: &str, status: i32| {
        // Neither is in its first state any more.
        let waited = name.ends_with("_wait_for") && status == DREAMFRAME_ERROR_TIMEOUT;
        assert!(
            status == DREAMFRAME_OK || status == DREAMFRAME_NOT_READY || waited,
            "{name}: {status} {}",
            last_error()
        );
    };
    let work = move || {
        let [server, publisher, player] = addresses;
        let goes_on = |name: &&str| !name.ends_with("_stop");
        for _ in 0..3 {
            for (name, call) in SERVER.iter().filter(|(name, _)| goes_on(name)) {
                fine(name, call(std::ptr::without_provenance_mut(server)));
            }
            for (name, call) in PUBLISHER.iter().filter(|(name, _)| goes_on(name)) {
                fine(name, call(std::ptr::without_provenance_mut(publisher)));
            }
            for (name, call) in PLAYER.iter().filter(|(name, _)| goes_on(name)) {
                fine(name, call(std::ptr::without_provenance_mut(player)));
            }
        }
    };
    let threads: Vec<_> = (0..4).map(|_| std::thread::spawn(work)).collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    // Several threads may free them concurrently.
    let ended: Vec<_> = (0..4)
        .map(|_| {
            std::thread::spawn(move || {
                let [server, publisher, player] = addresses;
                // SAFETY: handles are checked.
                unsafe {
                    assert_eq!(dreamframe_publisher_stop(std::ptr::without_provenance_mut(publisher)), DREAMFRAME_OK);
                    assert_eq!(dreamframe_player_stop(std::ptr::without_provenance_mut(player)), DREAMFRAME_OK);
                    dreamframe_server_stop(std::ptr::without_provenance_mut(server), LIMIT_MS)
                }
            })
        })
        .collect();
    let ended: Vec<i32> = ended.into_iter().map(|thread| thread.join().unwrap()).collect();
    assert_eq!(ended.iter().filter(|status| **status == DREAMFRAME_OK).count(), 1, "{ended:?}");
    assert_eq!(ended.iter().filter(|status| **status == DREAMFRAME_ERROR_CLOSED).count(), 3, "{ended:?}");
}
