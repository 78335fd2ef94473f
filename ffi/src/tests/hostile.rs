//! Misuse, which must be an error and have no other effect.

use std::ptr::{null_mut, without_provenance_mut};
use std::thread;

use super::calls::{ENGINE, NULLS, REPLY, SESSION};
use super::kit::{Engine, PARAMS, Pixels, Session, json, last_error};
use super::network::{self, PLAYER, PUBLISHER, SERVER};
use crate::engine::{dreamframe_engine_delay, dreamframe_engine_free, dreamframe_engine_params};
use crate::guard::injected;
use crate::handle;
use crate::session::dreamframe_session_free;
use crate::session_frames::dreamframe_session_submit;
use crate::status::*;
use crate::text::dreamframe_string_free;

#[test]
fn null_arguments_are_rejected_by_name() {
    for (name, call) in NULLS.iter().chain(network::NULLS) {
        assert_eq!(call(), DREAMFRAME_ERROR_INVALID_ARGUMENT, "{name}");
        assert!(last_error().contains("NULL"), "{name}: {}", last_error());
    }
}

#[test]
fn panic_in_any_function_is_an_error() {
    for (name, call) in NULLS.iter().chain(network::NULLS) {
        injected::arm();
        assert_eq!(call(), DREAMFRAME_ERROR_INTERNAL, "{name}");
        assert_eq!(last_error(), "panicked: injected", "{name}");
        assert!(!injected::disarm());
    }
}

#[test]
fn panic_in_free_functions_is_caught() {
    let engine = Engine::new();
    let session = Session::new(&engine);
    injected::arm();
    // SAFETY: handles are checked.
    unsafe { dreamframe_session_free(session.0) };
    assert!(!injected::disarm());
    injected::arm();
    // SAFETY: as above.
    unsafe { dreamframe_engine_free(engine.0) };
    assert!(!injected::disarm());
    injected::arm();
    // SAFETY: NULL is fine.
    unsafe { dreamframe_string_free(null_mut()) };
    assert!(!injected::disarm());
    assert_eq!(last_error(), "panicked: injected");
}

#[test]
fn freed_handles_are_rejected() {
    let engine = Engine::new();
    let session = Session::new(&engine).freed();
    let reply = {
        let reply = handle::insert::<crate::style::dreamframe_reply_t>(Default::default());
        handle::remove(reply).unwrap();
        reply
    };
    let engine = engine.freed();
    // A new handle never has the number of a freed one.
    let another = Engine::new();
    let all = || {
        let engines = ENGINE.iter().map(|(name, call)| (*name, call(engine)));
        let sessions = SESSION.iter().map(|(name, call)| (*name, call(session)));
        let replies = REPLY.iter().map(|(name, call)| (*name, call(reply)));
        // None of these is a session.
        let servers = SERVER.iter().map(|(name, call)| (*name, call(session.cast())));
        let publishers = PUBLISHER.iter().map(|(name, call)| (*name, call(session.cast())));
        let players = PLAYER.iter().map(|(name, call)| (*name, call(session.cast())));
        for (name, status) in engines.chain(sessions).chain(replies).chain(servers).chain(publishers).chain(players) {
            assert_eq!(status, DREAMFRAME_ERROR_INVALID_ARGUMENT, "{name}");
            assert!(last_error().contains("freed"), "{name}: {}", last_error());
        }
    };
    all();
    // SAFETY: handles are checked; freeing twice has no effect.
    unsafe {
        dreamframe_engine_free(engine);
        dreamframe_session_free(session);
    }
    all();
    let mut delay = 0;
    // SAFETY: both live through the call.
    assert_eq!(unsafe { dreamframe_engine_delay(another.0, &raw mut delay) }, DREAMFRAME_OK);
}

#[test]
fn handles_of_other_kinds_and_addresses_are_rejected() {
    let engine = Engine::new();
    let session = Session::new(&engine);
    let pixels = Pixels::grey(1);
    let address = pixels.bytes.as_ptr().addr();
    for wrong in [engine.0.addr(), address, 1, 8, usize::MAX] {
        for (name, call) in SESSION {
            assert_eq!(call(without_provenance_mut(wrong)), DREAMFRAME_ERROR_INVALID_ARGUMENT, "{name}");
        }
    }
    for wrong in [session.0.addr(), address, 1, 8, usize::MAX] {
        for (name, call) in ENGINE {
            assert_eq!(call(without_provenance_mut(wrong)), DREAMFRAME_ERROR_INVALID_ARGUMENT, "{name}");
        }
        // SAFETY: handles are checked.
        unsafe { dreamframe_engine_free(without_provenance_mut(wrong)) };
    }
    // The two objects are still valid.
    let frame = Pixels::grey(2);
    // SAFETY: all arguments are valid during the call.
    let status = unsafe { dreamframe_session_submit(session.0, &raw const frame.frame, null_mut()) };
    assert_eq!(status, DREAMFRAME_OK);
}

#[test]
fn engine_in_use_is_an_error_without_waiting() {
    let engine = Engine::new();
    let cell = handle::get(engine.0.cast_const()).unwrap();
    let inside = cell.with(|_| {
        for (name, call) in ENGINE {
            assert_eq!(call(engine.0), DREAMFRAME_ERROR_INVALID_ARGUMENT, "{name}");
            assert!(last_error().contains("in use"), "{name}: {}", last_error());
        }
        Ok(())
    });
    inside.unwrap();
}

#[test]
fn engine_in_a_session_is_an_error_until_the_session_stops() {
    let engine = Engine::new();
    let session = Session::new(&engine);
    for (name, call) in ENGINE {
        assert_eq!(call(engine.0), DREAMFRAME_ERROR_INVALID_ARGUMENT, "{name}");
        assert!(last_error().contains("in a session"), "{name}: {}", last_error());
    }
    let stop = SESSION.iter().find(|(name, _)| *name == "dreamframe_session_stop").unwrap().1;
    assert_eq!(stop(session.0), DREAMFRAME_OK, "{}", last_error());
    assert_eq!(stop(session.0), DREAMFRAME_ERROR_CLOSED);
    // SAFETY: all arguments are valid during the call.
    let params = json(|out| unsafe { dreamframe_engine_params(engine.0, out) });
    assert_eq!(params["width"], 64, "{PARAMS:?}");
}

#[test]
fn engine_of_a_freed_session_is_closed() {
    let engine = Engine::new();
    drop(Session::new(&engine));
    for (name, call) in ENGINE {
        assert_eq!(call(engine.0), DREAMFRAME_ERROR_CLOSED, "{name}");
    }
}

#[test]
fn panicked_engine_can_only_be_freed() {
    let engine = Engine::new();
    let cell = handle::get(engine.0.cast_const()).unwrap();
    let status = crate::guard::guard(|| cell.with(|_| -> dreamframe::Result<()> { panic!("half of a frame") }));
    assert_eq!((status, last_error().as_str()), (DREAMFRAME_ERROR_INTERNAL, "panicked: half of a frame"));
    for (name, call) in ENGINE {
        assert_eq!(call(engine.0), DREAMFRAME_ERROR_INTERNAL, "{name}");
        assert!(last_error().contains("free it"), "{name}: {}", last_error());
    }
}

#[test]
fn concurrent_calls_complete_or_return_an_error() {
    let engine = Engine::new();
    let address = engine.0.addr();
    let work = move || {
        for (name, call) in ENGINE.iter().filter(|(name, _)| !name.ends_with("_start")) {
            let status = call(without_provenance_mut(address));
            let refused = status == DREAMFRAME_ERROR_INVALID_ARGUMENT && last_error().contains("in use");
            let unsupported = status == DREAMFRAME_ERROR_UNSUPPORTED && *name == "dreamframe_engine_process_device";
            assert!(status == DREAMFRAME_OK || refused || unsupported, "{name}: {status} {}", last_error());
        }
    };
    let threads: Vec<_> = (0..4).map(|_| thread::spawn(work)).collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    let session = Session::new(&engine);
    let address = session.0.addr();
    let work = move || {
        for (name, call) in SESSION.iter().filter(|(name, _)| *name != "dreamframe_session_stop") {
            let status = call(without_provenance_mut(address));
            assert!(status == DREAMFRAME_OK || status == DREAMFRAME_NOT_READY, "{name}: {status} {}", last_error());
        }
    };
    let threads: Vec<_> = (0..4).map(|_| thread::spawn(work)).collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

#[test]
fn object_freed_by_several_threads_is_freed_once() {
    let engine = Engine::new();
    let address = engine.0.addr();
    let removed: Vec<_> = (0..4)
        .map(|_| {
            thread::spawn(move || {
                let engine = without_provenance_mut::<crate::engine::dreamframe_engine_t>(address);
                handle::remove(engine).is_ok_and(|cell| cell.is_some())
            })
        })
        .collect();
    let removed: Vec<bool> = removed.into_iter().map(|thread| thread.join().unwrap()).collect();
    assert_eq!(removed.iter().filter(|removed| **removed).count(), 1);
}
