//! A served session.

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::broadcast;

use super::super::{SessionChannel, serve};
use super::pattern::SIDE;
use super::*;
use crate::exec::null::NullExecutor;
use crate::frame::{FrameView, PixelFormat};
use crate::transport::{ChannelHandler, FrameSink as _, Pacing as _};
use crate::{Engine, EngineOptions, SessionOptions, StreamDiffusionParams};

/// Sends the messages of a test, and forwards received ones.
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
    let any_size = EngineOptions { dtype: crate::Dtype::F32, ..EngineOptions::default() };
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
    let applied = next(&heard, "parameters_applied");
    assert_eq!((&applied["parameters"], &applied["cost"]), (&json!({"delta": 0.75}), &json!("hot")));
    let updated = next(&heard, "parameters_updated");
    assert_eq!((&updated["parameters"]["delta"], &updated["version"]), (&json!(0.75), &applied["version"]));
    assert_eq!(server.session().params().delta, 0.75);
    for (wrong, path) in [
        (r#"{"delta": 1e9}"#, "delta"),
        (r#"{"delta": 0.5, "controlnets": [{"model_id": 1}]}"#, "controlnets[0].model_id"),
        ("nonsense", "message"),
        ("[]", "message"),
    ] {
        talk.says.send(wrong.into()).unwrap();
        assert_eq!(next(&heard, "error")["fields"][0]["path"], path, "{wrong}");
    }
    talk.says
        .send(r#"{"delte": 1, "params": {"delta": 0.75, "odd": 1}, "show_reloading_frame": null}"#.into())
        .unwrap();
    let applied = next(&heard, "parameters_applied");
    assert_eq!(
        (&applied["parameters"], &applied["ignored"]),
        (&json!({"delta": 0.75, "show_reloading_frame": true}), &json!(["delte", "params.odd"]))
    );
    assert_eq!(server.session().params().delta, 0.75);
    drop(player);
    publisher.stop();
    let session = server.session();
    server.stop();
    assert!(!session.is_running());
}

#[test]
fn messages_that_come_faster_than_they_may_are_joined_and_the_newest_counts() {
    const MANY: u32 = 400;

    let engine =
        Engine::builder().params(StreamDiffusionParams::demo()).executor(Arc::new(NullExecutor)).build().unwrap();
    let server = serve(engine, options()).unwrap();
    let (heard_by, heard) = channel();
    let talk = Arc::new(Talk { says: broadcast::Sender::new(1024), heard: Mutex::new(heard_by) });
    let with_channel = ClientOptions { channel: Some(talk.clone()), ..client_options() };
    let _player = connected(play(&server.whep_url(), with_channel, Arc::new(Seen::default())).unwrap());
    let began = Instant::now();
    for turn in 0..MANY {
        talk.says.send(format!(r#"{{"delta": {}}}"#, 0.001 * f64::from(turn))).unwrap();
        if turn == MANY / 2 {
            talk.says.send(r#"{"guidance_scale": 1.5}"#.into()).unwrap();
        }
    }
    talk.says.send(r#"{"delta": 0.75}"#.into()).unwrap();
    let mut answers = 0_u32;
    while next(&heard, "parameters_applied")["parameters"]["delta"] != 0.75 {
        answers += 1;
    }
    // A burst of 60 and 60 per second, however long the messages took to arrive.
    let elapsed = began.elapsed();
    assert!(f64::from(answers) <= 61.0 + 60.0 * elapsed.as_secs_f64(), "{answers} answers in {elapsed:?}");
    let params = server.session().params();
    assert_eq!((params.delta, params.guidance_scale), (0.75, 1.5));
}

#[test]
fn paused_frames_do_not_reach_the_session() {
    let engine =
        Engine::builder().params(StreamDiffusionParams::demo()).executor(Arc::new(NullExecutor)).build().unwrap();
    let session = engine.start(SessionOptions::default()).unwrap();
    let channel = SessionChannel::new(session.handle());
    let pixels = vec![0; 64 * 64 * 3];
    let frame = FrameView::packed(PixelFormat::Rgb8, 64, 64, &pixels).unwrap();
    let submitted = || session.handle().stats().submitted.total;
    channel.frame(&frame);
    for (message, frames) in [(r#"{"paused": true}"#, 1), (r#"{"delta": 0.5}"#, 1), (r#"{"paused": false}"#, 2)] {
        let answer: Value = serde_json::from_str(&channel.message(message)[0]).unwrap();
        assert_eq!(answer["type"], "parameters_applied", "{answer}");
        channel.frame(&frame);
        assert_eq!(submitted(), frames, "{message}");
    }
}

#[test]
fn a_transition_is_answered_with_its_target_and_the_version_that_has_it() {
    let engine =
        Engine::builder().params(StreamDiffusionParams::demo()).executor(Arc::new(NullExecutor)).build().unwrap();
    let session = engine.start(SessionOptions::default()).unwrap();
    let channel = SessionChannel::new(session.handle());
    let message = json!({"transition": {"target_prompts": [{"text": "neon"}], "num_steps": 24}, "delta": 0.5});
    let answer: Value = serde_json::from_str(&channel.message(&message.to_string())[0]).unwrap();
    assert_eq!((&answer["type"], &answer["parameters"]["delta"]), (&json!("parameters_applied"), &json!(0.5)));
    assert_eq!(answer["parameters"]["prompt"], json!([["neon", 1.0]]));
    assert_eq!(answer["parameters"]["transition"]["num_steps"], 24);
    assert_eq!(answer["version"], session.handle().stats().desired_version);
}

#[test]
fn session_rebuilds_are_limited_to_a_burst_of_four_and_two_per_second() {
    let params = StreamDiffusionParams::demo();
    let engine = Engine::builder().params(params.clone()).executor(Arc::new(NullExecutor)).build().unwrap();
    let session = engine.start(SessionOptions::default()).unwrap();
    let channel = SessionChannel::new(session.handle());
    let start = Instant::now();
    let wait = |name: &str, value: Value, ms: u64| {
        let message = [(name.to_owned(), value)].into_iter().collect();
        channel.wait(&message, start + Duration::from_millis(ms))
    };
    let sizes = |ms| wait("width", Value::from(params.width + 64), ms);
    // Updates by the host, cheap ones, and rejected ones do not count.
    for (name, value) in [("width", Value::from(params.width)), ("delta", 0.25.into()), ("width", (-1).into())] {
        assert!((0..100).all(|_| wait(name, value.clone(), 0).is_zero()), "{name}: {value}");
    }
    assert!((0..4).all(|_| sizes(0).is_zero()));
    let waits = sizes(0);
    assert!((500..=502).contains(&waits.as_millis()), "{waits:?}");
    assert!(!sizes(499).is_zero() && sizes(501).is_zero() && !sizes(502).is_zero());
    assert_eq!((2000..12_000).step_by(10).filter(|ms| sizes(*ms).is_zero()).count(), 22);
}
