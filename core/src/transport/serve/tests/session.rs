//! A session that is served.

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};

use serde_json::Value;
use tokio::sync::broadcast;

use super::super::serve;
use super::pattern::SIDE;
use super::*;
use crate::exec::null::NullExecutor;
use crate::transport::ChannelHandler;
use crate::{Engine, EngineOptions, StreamDiffusionParams};

/// Says what a test says, and hands on what it hears.
#[derive(Debug)]
struct Talk {
    says: broadcast::Sender<String>,
    heard: Mutex<Sender<String>>,
}

impl ChannelHandler for Talk {
    fn message(&self, text: &str) -> Vec<String> {
        self.heard.lock().unwrap().send(text.to_owned()).unwrap();
        Vec::new()
    }

    fn notices(&self) -> Option<broadcast::Receiver<String>> {
        Some(self.says.subscribe())
    }
}

/// The next message of a kind.
fn next(heard: &Receiver<String>, kind: &str) -> Value {
    loop {
        let message: Value = serde_json::from_str(&heard.recv_timeout(LONG).unwrap()).unwrap();
        if message["type"] == kind {
            return message;
        }
    }
}

#[test]
fn frames_of_a_publisher_become_pictures_of_the_session() {
    let any_size = EngineOptions { allow_any_size: true, ..EngineOptions::default() };
    let params =
        StreamDiffusionParams { width: SIDE, height: SIDE, skip_diffusion: true, ..StreamDiffusionParams::demo() };
    let engine = Engine::builder().params(params).options(any_size).executor(Arc::new(NullExecutor)).build().unwrap();
    let server = serve(engine, options()).unwrap();
    let (source, seen) = (egress(), Arc::new(Seen::default()));
    let (heard_by, heard) = channel();
    let talk = Arc::new(Talk { says: broadcast::Sender::new(8), heard: Mutex::new(heard_by) });
    let with_channel = ClientOptions { channel: Some(talk.clone()), ..client_options() };
    let player = play(&server.whep_url(), client_options(), seen.clone()).unwrap();
    let publisher = connected(publish(&server.whip_url(), with_channel, source.clone()).unwrap());
    let numbers = seen.while_publishing(&source, 10);
    assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");

    talk.says.send(r#"{"delta": 0.75}"#.into()).unwrap();
    let accepted = next(&heard, "accepted");
    assert_eq!(accepted["params"], serde_json::json!({"delta": 0.75}));
    let applied = next(&heard, "update_applied");
    assert_eq!((&applied["version"], server.session().params().delta), (&accepted["version"], 0.75));
    for wrong in [r#"{"delta": 1e9}"#, r#"{"delte": 1}"#, "nonsense", "[]"] {
        talk.says.send(wrong.into()).unwrap();
        assert_eq!(next(&heard, "refused")["error"]["kind"], "invalid_params", "{wrong}");
    }
    assert_eq!(server.session().params().delta, 0.75);
    drop(player);
    publisher.stop();
    let session = server.session();
    server.stop();
    assert!(!session.is_running());
}

#[test]
fn messages_that_come_faster_than_they_may_are_joined_and_the_newest_counts() {
    const MANY: usize = 400;

    let engine =
        Engine::builder().params(StreamDiffusionParams::demo()).executor(Arc::new(NullExecutor)).build().unwrap();
    let server = serve(engine, options()).unwrap();
    let (heard_by, heard) = channel();
    let talk = Arc::new(Talk { says: broadcast::Sender::new(MANY * 2), heard: Mutex::new(heard_by) });
    let with_channel = ClientOptions { channel: Some(talk.clone()), ..client_options() };
    let _player = connected(play(&server.whep_url(), with_channel, Arc::new(Seen::default())).unwrap());
    for turn in 0..MANY {
        talk.says.send(format!(r#"{{"delta": {}}}"#, 0.001 * turn as f64)).unwrap();
        if turn == MANY / 2 {
            talk.says.send(r#"{"guidance_scale": 1.5}"#.into()).unwrap();
        }
    }
    talk.says.send(r#"{"delta": 0.75}"#.into()).unwrap();
    let mut answers = 0;
    while next(&heard, "accepted")["params"]["delta"] != 0.75 {
        answers += 1;
    }
    assert!(answers < MANY / 2, "{answers} answers to {MANY} messages");
    let params = server.session().params();
    assert_eq!((params.delta, params.guidance_scale), (0.75, 1.5));
}
