//! Streams that survive a restart of the server.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::client::Server;
use crate::life::{Publisher, until};

const KEYS: &[(&str, &str)] = &[("DREAMFRAME_API_KEYS", "first-secret-of-a-test,second-secret-of-a-test")];
const OWNER: &str = "authorization: Bearer first-secret-of-a-test";
const JSON: &str = "content-type: application/json";

fn with_state(folder: &Path, variables: &[(&str, &str)]) -> Server {
    Server::with(&["--state", folder.to_str().unwrap()], variables)
}

fn end(mut server: Server) {
    server.ask_to_end();
    assert!(server.child.wait().unwrap().success());
}

fn send(server: &Server, method: &str, path: &str, body: &Value) -> Value {
    let answer = server.send(method, path, &[OWNER, JSON], body.to_string().as_bytes());
    assert!(answer.status < 300, "{method} {path}: {}", answer.text());
    answer.value()
}

#[test]
fn streams_come_back_with_keys_tokens_and_parameters_and_deleted_ones_do_not() {
    let folder = tempfile::tempdir().unwrap();
    let server = with_state(folder.path(), KEYS);
    let params = json!({"prompt": [["snow", 1.0], ["fog", 0.5]], "seed": -3, "width": 256, "height": 256, "odd": 1});
    let made = send(&server, "POST", "/v1/streams", &json!({"name": "kept", "params": params}));
    let gone = send(&server, "POST", "/v1/streams", &json!({}));
    let path = |stream: &Value| format!("/v1/streams/{}", stream["id"].as_str().unwrap());
    send(&server, "PATCH", &path(&made), &json!({"params": {"delta": 0.25}}));
    send(&server, "DELETE", &path(&gone), &json!({}));
    let before = send(&server, "GET", &path(&made), &json!({}));
    let address = server.address.clone();
    end(server);
    let server = with_state(folder.path(), KEYS);
    let after = send(&server, "GET", &path(&made), &json!({}));
    let text = after.to_string().replace(&server.address, &address);
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), before);
    assert_eq!(after["params"]["delta"], 0.25);
    assert_eq!(server.send("GET", &path(&gone), &[OWNER], b"").status, 404);
    let token = format!("authorization: Bearer {}", made["control_token"].as_str().unwrap());
    assert_eq!(server.send("GET", &path(&made), &[&token], b"").status, 200);
    let other = "authorization: Bearer second-secret-of-a-test";
    assert_eq!(server.send("GET", &path(&made), &[other], b"").status, 403);
    // The old address is valid for publishing.
    let key = made["stream_key"].as_str().unwrap();
    let offer = include_str!("../recorded/browser.sdp").replace('\n', "\r\n");
    let whip = format!("/live/video-to-video/{key}/whip");
    let answer = server.send("POST", &whip, &["content-type: application/sdp"], offer.as_bytes());
    assert_eq!(answer.status, 201, "{}", answer.text());
}

#[test]
fn a_stream_that_comes_back_makes_pictures() {
    let folder = tempfile::tempdir().unwrap();
    let server = with_state(folder.path(), &[]);
    let stream = server.create(&json!({"params": {"width": 128, "height": 128}}));
    let address = server.address.clone();
    // Killed: what was created is on disk.
    drop(server);
    let server = with_state(folder.path(), &[]);
    let whip = stream["whip_url"].as_str().unwrap().replace(&address, &server.address);
    let _publisher = Publisher::start(&whip);
    let path = format!("/v1/streams/{}", stream["id"].as_str().unwrap());
    until(&server, &path, "pictures", |data| data["inference_status"]["pictures"].as_u64() > Some(0));
}

#[test]
fn a_damaged_file_and_one_in_use_are_refused_with_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let serve = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dreamframe"));
        command.args(["serve", "--bind", "127.0.0.1:0", "--rtmp", "off", "--state"]).arg(folder.path());
        let output = command.env_remove("DREAMFRAME_API_KEYS").output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let server = with_state(folder.path(), &[]);
    server.create(&json!({}));
    let (code, text) = serve();
    assert!(code == Some(1) && text.contains("in use by another process"), "{code:?} {text}");
    end(server);
    let path = folder.path().join("streams.redb");
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    let (code, text) = serve();
    assert!(code == Some(1) && text.contains("streams.redb") && !text.contains("panicked"), "{code:?} {text}");
    std::fs::write(&path, &whole).unwrap();
    let server = with_state(folder.path(), &[]);
    assert_eq!(server.get("/v1/streams").value()["data"].as_array().unwrap().len(), 1);
}
