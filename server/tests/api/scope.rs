//! Scope's dialect where several keys use one server: sessions, recordings and pipelines belong to the key that made them.

use serde_json::{Value, json};

use crate::client::{Answer, Server};

const KEYS: &[(&str, &str)] = &[("DREAMFRAME_API_KEYS", "the-first-secret-key,the-second-secret-key")];
const FIRST: &str = "Authorization: Bearer the-first-secret-key";
const SECOND: &str = "Authorization: Bearer the-second-secret-key";

fn ask(server: &Server, key: &str, method: &str, path: &str, body: &Value) -> Answer {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    server.send(method, &format!("/api/v1/{path}"), &[key, "content-type: application/json"], body.as_bytes())
}

fn start(server: &Server, key: &str, prompt: &str) {
    // Small, since the loading picture is drawn by the thread that takes connections.
    let size = json!({"width": 64, "height": 64});
    let body = json!({"pipeline_id": "streamdiffusion", "prompts": [{"text": prompt}], "parameters": size});
    let answer = ask(server, key, "POST", "session/start", &body);
    assert_eq!(answer.status, 200, "{}", answer.text());
}

fn prompt(server: &Server, key: &str) -> Value {
    let said = ask(server, key, "GET", "session/parameters", &Value::Null).value();
    said["parameters"]["prompts"][0]["text"].clone()
}

#[test]
fn what_one_key_has_begun_no_other_key_sees_steers_or_ends() {
    let server = Server::with(&[], KEYS);
    start(&server, FIRST, "the first's");
    let none = json!(null);
    assert_eq!(prompt(&server, SECOND), none);
    assert_eq!(ask(&server, SECOND, "GET", "pipeline/status", &none).value()["status"], "not_loaded");
    assert_eq!(ask(&server, SECOND, "GET", "session/metrics", &none).value()["sessions"], json!({}));
    for (method, path) in [
        ("GET", "session/frame"),
        ("POST", "session/stop"),
        ("POST", "recordings/headless/start"),
        ("GET", "recordings/headless"),
    ] {
        assert_eq!(ask(&server, SECOND, method, path, &none).status, 404, "{method} {path}");
    }
    let steered = ask(&server, SECOND, "POST", "session/parameters", &json!({"prompts": [{"text": "the second's"}]}));
    assert_eq!((steered.status, prompt(&server, FIRST)), (200, json!("the first's")));
    // A session of the second ends none of the first, and each continues independently.
    start(&server, SECOND, "the second's");
    assert_eq!((prompt(&server, FIRST), prompt(&server, SECOND)), (json!("the first's"), json!("the second's")));
    let metrics = ask(&server, FIRST, "GET", "session/metrics", &none).value();
    let session = metrics["sessions"].as_object().unwrap().keys().next().unwrap().clone();
    for (method, path) in [
        ("DELETE", format!("webrtc/offer/{session}")),
        ("POST", format!("recordings/{session}/start")),
        ("GET", format!("recordings/{session}")),
    ] {
        assert_eq!(ask(&server, SECOND, method, &path, &none).status, 404, "{method} {path}");
    }
    let candidates = ask(&server, SECOND, "PATCH", &format!("webrtc/offer/{session}"), &json!({"candidates": []}));
    assert_eq!(candidates.status, 404);
    assert_eq!(ask(&server, SECOND, "POST", "session/stop", &none).status, 200);
    assert_eq!((prompt(&server, FIRST), prompt(&server, SECOND)), (json!("the first's"), none));
}

#[test]
fn a_stream_of_such_a_session_is_its_keys_own() {
    let server = Server::with(&[], KEYS);
    start(&server, FIRST, "a tree");
    let listed = |key: &str| server.send("GET", "/v1/streams", &[key], b"").value()["data"].as_array().unwrap().len();
    assert_eq!((listed(FIRST), listed(SECOND)), (1, 0));
}
