//! At the most verbose level, the log of a session contains none of its secrets.

use std::net::UdpSocket;
use std::process::Stdio;
use std::time::Instant;

use dreamframe::transport::{ClientOptions, FrameSink, play};
use serde_json::{Value, json};

use crate::client::{Answer, Server};
use crate::life::{PATIENCE, Publisher, until_with};

const KEY: &str = "owners-key-of-a-log-test";
const OTHER: &str = "others-key-of-a-log-test";
const WRONG: &str = "wrong-key-of-a-log-test";
const PASSWORD: &str = "password-of-a-turn-server";
const TARGET: &str = "key-of-an-rtmp-target";

/// Drops what it sees.
#[derive(Debug)]
struct Nothing;

impl FrameSink for Nothing {
    fn frame(&self, _: &dreamframe::frame::FrameView<'_>) {}
}

fn bearer(key: &str) -> String {
    format!("authorization: Bearer {key}")
}

/// Asks as many who come without a key, with one of another, or with none that is known.
fn ask_as_others(server: &Server, stream: &Value) {
    let text = |name: &str| stream[name].as_str().unwrap();
    let (id, key, playback) = (text("id"), text("stream_key"), text("output_playback_id"));
    let sdp = "content-type: application/sdp";
    for authorization in ["x-none: 1".to_owned(), bearer(OTHER), bearer(WRONG), format!("authorization: {WRONG}")] {
        for (method, path, body) in [
            ("GET", format!("/v1/streams/{id}"), ""),
            ("GET", format!("/v1/streams/{id}/status"), ""),
            ("GET", format!("/v1/streams/{id}/status?key={WRONG}"), ""),
            ("PATCH", format!("/v1/streams/{id}"), "{\"params\": {\"delta\": NaN}}"),
            ("POST", "/v1/api-key".to_owned(), ""),
            ("GET", "/metrics".to_owned(), ""),
            ("GET", format!("/{key}-out"), ""),
            ("GET", format!("/?v={playback}"), ""),
            // The same names, as a client may write them.
            ("POST", format!("/live/video-to-video/{}/whip", key.replace("stk", "%73tk")), "v=0"),
            ("POST", format!("/live/video-to-video/{}-out/whep", key.replace('_', "%5f")), "v=0"),
            ("POST", format!("/webrtc/{}", playback.replace('_', "%5F")), "v=0"),
            ("GET", format!("/webrtc/{playback}/ses_1"), ""),
            ("DELETE", format!("/live/video-to-video/{key}/whip/ses_1"), ""),
            ("GET", format!("/hls/{playback}/index.m3u8"), ""),
            ("GET", format!("/hls/%6cp_{}/index.m3u8", &playback[3..]), ""),
            ("GET", format!("/hls/..%2f{playback}/index.m3u8"), ""),
            ("GET", format!("/v1/streams/{key}"), ""),
            ("DELETE", format!("/v1/streams?id={key}"), ""),
        ] {
            let answer = server.send(method, &path, &[&authorization, sdp], body.as_bytes());
            assert!(answer.status < 500, "{method} {path}: {}", answer.text());
        }
    }
}

/// Creates a clip of the stream at `path`, reads it in every form, and returns its id.
fn clip_of(server: &Server, path: &str, owner: &str) -> String {
    let began = Instant::now();
    let made = loop {
        let answer = server.send("POST", &format!("{path}/clips"), &[owner], b"");
        if answer.status == 201 {
            break answer.value();
        }
        assert!(answer.status == 404 && began.elapsed() < PATIENCE, "{}", answer.text());
    };
    let id = made["id"].as_str().unwrap().to_owned();
    for file in ["", "/clip.json", "/video.mp4"] {
        assert_eq!(server.get(&format!("/clips/{id}{file}")).status, 200, "{file}");
    }
    assert_eq!(server.send("DELETE", &format!("/v1/clips/{id}"), &[owner], b"").status, 200);
    id
}

fn expect_without(log: &str, what: &str, secret: &str) {
    let found = log.lines().find(|line| line.contains(secret));
    assert!(found.is_none(), "{what} is in the log: {}", found.unwrap_or_default());
}

#[test]
fn no_secret_of_a_whole_session_is_in_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    // Accepts what it is sent, and does not respond.
    let turn = UdpSocket::bind("127.0.0.1:0").unwrap();
    let ice = format!("turn:{},user,{PASSWORD}", turn.local_addr().unwrap());
    let variables = [
        ("DREAMFRAME_API_KEYS", &*format!("{KEY},{OTHER}")),
        ("RUST_LOG", "dreamframe=trace,dreamframe_server=trace,warn"),
    ];
    let log = Stdio::from(std::fs::File::create(&path).unwrap());
    let arguments = ["--rtmp", "off", "--ice-server", &ice];
    let server = Server::run_with_log("serve", &arguments, &variables, log);
    let owner = bearer(KEY);
    let ask = |method: &str, path: &str, body: Value| -> Answer {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        server.send(method, path, &[&owner, "content-type: application/json"], body.as_bytes())
    };
    let params = json!({"width": 256, "height": 256, "t_index_list": [44]});
    let target = format!("rtmp://127.0.0.1:1/app/{TARGET}");
    let stream = ask("POST", "/v1/streams", json!({"params": params, "output_rtmp_url": target})).value();
    let text = |name: &str| stream[name].as_str().unwrap().to_owned();
    let (id, key, playback) = (text("id"), text("stream_key"), text("output_playback_id"));
    let token = text("control_token");
    assert_eq!(server.send("GET", &format!("/v1/streams/{id}"), &[&bearer(&token)], b"").status, 200);
    let publisher = Publisher::start(&text("whip_url"));
    let watch = |url: String| play(&url, ClientOptions::default(), std::sync::Arc::new(Nothing)).unwrap();
    let viewers = [
        watch(format!("http://{}/webrtc/{playback}", server.address)),
        watch(text("whip_url").replace("/whip", "-out/whep")),
    ];
    for viewer in &viewers {
        viewer.wait_for(dreamframe::transport::peer::PeerState::Connected, PATIENCE).unwrap();
    }
    let one = format!("/v1/streams/{id}");
    assert_eq!(ask("PATCH", &one, json!({"params": {"prompt": "other"}})).status, 200);
    until_with(&server, &one, &[&owner], "a push that fails", |data| data["gateway_status"]["error"].is_object());
    let clip = clip_of(&server, &one, &owner);
    ask_as_others(&server, &stream);
    let other =
        json!({"output_rtmp_url": format!("rtmp://user:{TARGET}@127.0.0.1:1/{TARGET}/{TARGET}?token={TARGET}")});
    assert!(ask("PATCH", &one, other).status < 500);
    drop((viewers, publisher));
    assert_eq!(ask("DELETE", &one, Value::Null).status, 200);
    server.ask_to_end();
    let mut server = server;
    server.child.wait().unwrap();
    let log = std::fs::read_to_string(&path).unwrap();
    // It is the log of this session.
    for said in ["created", "publisher connected", "request", "refused", &id] {
        assert!(log.contains(said), "{said}: {log}");
    }
    for (what, secret) in [
        ("an API key", KEY),
        ("another's API key", OTHER),
        ("a wrong API key", WRONG),
        ("the stream key", &key),
        ("the end of the stream key", &key[4..]),
        ("the control token", &token),
        ("the playback id", &playback),
        ("the end of the playback id", &playback[3..]),
        ("the id of a clip", &clip[5..]),
        ("the password of a TURN server", PASSWORD),
        ("the key of an RTMP target", TARGET),
    ] {
        expect_without(&log, what, secret);
    }
}
