//! Access of viewers: pictures and notices with a playback id, parameters only with the stream key.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Instant;

use dreamframe::frame::FrameView;
use dreamframe::transport::peer::PeerState;
use dreamframe::transport::{Client, ClientOptions, FrameSink, play};
use dreamframe_tests::network::Talk;
use serde_json::{Value, json};

use crate::client::Server;
use crate::life::PATIENCE;

const ANSWERS: &[&str] = &["parameters_applied", "error"];

/// Takes pictures and does nothing with them.
#[derive(Debug)]
struct Nowhere;

impl FrameSink for Nowhere {
    fn frame(&self, _frame: &FrameView<'_>) {}
}

/// A viewer at `url` with a data channel.
fn viewer(url: &str) -> (Client, Arc<Talk>) {
    let talk = Talk::new();
    let options = ClientOptions::default().with_channel(Some(talk.clone()));
    let client = play(url, options, Arc::new(Nowhere)).unwrap();
    client.wait_for(PeerState::Connected, PATIENCE).unwrap();
    (client, talk)
}

fn made(server: &Server) -> (String, Value) {
    let stream = server.create(&json!({"params": {"width": 256, "height": 256, "t_index_list": [44]}}));
    (format!("/v1/streams/{}", stream["id"].as_str().unwrap()), stream)
}

#[test]
fn viewer_by_playback_id_gets_notices_but_cannot_change_parameters() {
    let server = Server::start();
    let (path, stream) = made(&server);
    let playback = stream["output_playback_id"].as_str().unwrap();
    let (_client, talk) = viewer(&format!("http://{}/webrtc/{playback}", server.address));
    for message in [json!({"prompt": "taken over"}), json!({"paused": true}), json!({"width": 512})] {
        talk.say(&message);
        let answer = talk.next_of(ANSWERS, PATIENCE);
        assert_eq!(answer["type"], "error", "{answer}");
        assert!(answer["error"].as_str().unwrap().contains("playback id"), "{answer}");
    }
    assert_eq!(server.get(&path).value()["params"], stream["params"]);
    assert_eq!(server.json("PATCH", &path, &json!({"params": {"prompt": "the owner's"}})).status, 200);
    let notice = talk.next_of(&["parameters_updated"], PATIENCE);
    assert_eq!(notice["parameters"]["prompt"], "the owner's");
}

#[test]
fn changes_that_come_faster_than_the_engine_is_rebuilt_are_joined_and_the_newest_counts() {
    const MANY: u32 = 300;

    let server = Server::start();
    let (path, stream) = made(&server);
    let whep = stream["whip_url"].as_str().unwrap().replace("/whip", "-out/whep");
    let (_client, talk) = viewer(&whep);
    let began = Instant::now();
    for turn in 0..MANY {
        talk.say(&json!({"width": if turn % 2 == 0 { 320 } else { 256 }}));
        if turn == MANY / 2 {
            talk.say(&json!({"params": {"delta": 0.25}}));
        }
    }
    talk.say(&json!({"width": 384, "prompt": "the last"}));
    let mut answers = 0_u32;
    loop {
        let answer = talk.next_of(ANSWERS, PATIENCE);
        answers += 1;
        if answer["parameters"]["prompt"] == "the last" {
            break;
        }
    }
    // A burst of four, then every half second one that rebuilds and one without a change.
    let elapsed = began.elapsed();
    assert!(f64::from(answers) <= 8.0 + 4.0 * elapsed.as_secs_f64(), "{answers} answers in {elapsed:?}");
    let params = server.get(&path).value()["params"].clone();
    assert_eq!((&params["width"], &params["prompt"]), (&json!(384), &json!("the last")));
    assert_eq!(params["delta"], 0.25);
}

/// Opens `path` for events, and gives the line of the status.
fn listen(server: &Server, path: &str) -> (String, BufReader<TcpStream>) {
    let mut socket = server.connect();
    write!(socket, "GET {path} HTTP/1.1\r\nhost: {}\r\n\r\n", server.address).unwrap();
    let (mut socket, mut line) = (BufReader::new(socket), String::new());
    socket.read_line(&mut line).unwrap();
    (line, socket)
}

#[test]
fn status_listeners_of_a_stream_are_limited() {
    let server = Server::start();
    let (path, _) = made(&server);
    let events = format!("{}/sse", path.replace("/v1/", "/api/"));
    let listeners: Vec<_> = (0..32).map(|_| listen(&server, &events)).collect();
    assert!(listeners.iter().all(|(line, _)| line.contains(" 200 ")), "{listeners:?}");
    let (line, refused) = listen(&server, &events);
    assert!(line.contains(" 429 "), "{line}");
    let mut head = refused.lines().map(Result::unwrap).take_while(|line| !line.is_empty());
    assert!(head.any(|line| line.starts_with("retry-after: ")), "{line}");
    // Another stream's have room of their own.
    let (other, _) = made(&server);
    assert!(listen(&server, &format!("{}/sse", other.replace("/v1/", "/api/"))).0.contains(" 200 "));
    drop(listeners);
}

#[test]
fn notices_contain_the_digest_of_a_style_image() {
    let server = Server::start();
    let (path, stream) = made(&server);
    let playback = stream["output_playback_id"].as_str().unwrap();
    let (_client, talk) = viewer(&format!("http://{}/webrtc/{playback}", server.address));
    let image = format!("data:image/png;base64,{}", "iVBORw0KGgoA".repeat(4096));
    let patch = json!({"params": {"ip_adapter_style_image_url": image, "model_id": "stabilityai/sdxl-turbo"}});
    let patched = server.json("PATCH", &path, &patch);
    // Who sent it gets it back.
    assert_eq!(patched.value()["params"]["ip_adapter_style_image_url"], image.as_str());
    let notice = talk.next_of(&["parameters_updated"], PATIENCE);
    let told = notice["parameters"]["ip_adapter_style_image_url"].as_str().unwrap();
    assert!(told.starts_with("sha256:") && told.ends_with(&format!(":{}", image.len())), "{told:.80}");
    let status = server.get(&format!("{path}/status"));
    assert!(status.body.len() < 8192, "{}", status.body.len());
    // A client may send back all that it was sent, which changes nothing.
    let again = server.json("PATCH", &path, &json!({"params": {"ip_adapter_style_image_url": told}}));
    assert_eq!(again.value()["params"]["ip_adapter_style_image_url"], image.as_str());
}
