//! What no client should send, and what some do.

use std::io::Write as _;

use serde_json::json;

use crate::client::{Answer, Server};

/// Line 18.
#[test]
fn odd_headers_and_ways_to_send_a_body_are_no_fault() {
    takes_odd_bodies(&Server::start());
}

pub(crate) fn takes_odd_bodies(server: &Server) {
    let host = &server.address;
    let create = |headers: &str, body: &[u8]| {
        server.raw(&format!("POST /v1/streams HTTP/1.1\nhost: {host}\nconnection: close\n{headers}"), body)
    };
    assert_eq!(create("cookie:\ncontent-length: 2", b"{}").status, 201);
    assert_eq!(create("x-client-source: touchdesigner\ncontent-length: 0", b"").status, 201);
    assert_eq!(create("content-type: text/plain\ncontent-length: 2", b"{}").status, 201);
    assert_eq!(create("transfer-encoding: chunked", b"2\r\n{}\r\n0\r\n\r\n").status, 201);
    assert_eq!(create("expect: 100-continue\ncontent-length: 2", b"{}").status, 201);
}

/// Line 18. A body may contain the longest style image, 8 MiB of base64; one of the 50 MB that TouchDesigner can send was
/// refused for its parameters anyway, and is now before it is read.
#[test]
fn as_much_as_a_style_image_takes_is_read_and_more_is_413() {
    takes_large_bodies(&Server::start());
}

pub(crate) fn takes_large_bodies(server: &Server) {
    let body = format!("{{\"name\": \"x\"{}}}", " ".repeat(11 << 20));
    assert_eq!(server.send("POST", "/v1/streams", &[], body.as_bytes()).status, 201);
    let mut socket = server.connect();
    let head = format!(
        "POST /v1/streams HTTP/1.1\r\nhost: {}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        server.address,
        13 << 20
    );
    socket.write_all(head.as_bytes()).unwrap();
    Answer::read(&mut socket).expect_error(413);
}

/// Line 19; more of the same is tested with `wire::read_object`.
#[test]
fn malformed_json_is_400_and_the_server_continues() {
    let server = Server::start();
    let path = server.stream(json!({}));
    let deep = format!("{{\"params\": {}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
    for body in [
        br#"{"params": {"prompt": "\ud800"}}"#.as_slice(),
        br#"{"params": {"seed": 1000000000000000000000}}"#,
        br#"{"params": {"width": 1e400}}"#,
        br#"{"params": {"delta": NaN}}"#,
        br#"{"params": {"delta": 1, "delta": 2}}"#,
        br#"{"params": {"prompt": "she said "no""}}"#,
        br#"{"params": {"seed": 1.5}}"#,
        br#"{"params": {"prompt": {"a": 1}}}"#,
        br#"{"params": 7}"#,
        b"\xff\xfe\x00",
        b"[]",
        b"null",
        deep.as_bytes(),
    ] {
        let shown = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
        let error = server.send("PATCH", &path, &["content-type: application/json"], body).expect_error(400);
        assert!(!error["error"].as_str().unwrap().is_empty(), "{shown}");
        assert_eq!(server.send("POST", "/v1/streams", &[], body).status, 400, "{shown}");
    }
    assert_eq!(server.get(&path).status, 200);
}

#[test]
fn unknown_paths_and_methods_are_rejected_in_json() {
    let server = Server::start();
    for path in
        ["/v1/streams/../streams", "/live/video-to-video/..%2f/whip", "/v1/streams//", "/%ff", "/v1//streams", "/a/b/c"]
    {
        let answer = server.get(path);
        assert!([400, 404, 405].contains(&answer.status), "{path}: {}", answer.status);
    }
    server.send("TRACE", "/v1/streams", &[], b"").expect_error(405);
    for path in ["/live/video-to-video/stk_none/whip", "/live/video-to-video/stk_none-out/whep", "/webrtc/lp_none"] {
        let answer = server.send("POST", path, &["content-type: application/sdp"], b"v=0\r\n");
        assert_eq!((answer.status, answer.header("vary")), (404, "Origin"), "{path}");
        assert!(answer.text().to_lowercase().contains("stream is offline"), "{}", answer.text());
    }
}

/// The playback id and the stream key are rejected by each other's routes.
#[test]
fn ids_of_one_kind_are_rejected_by_routes_of_another() {
    let server = Server::start();
    let stream = server.create(&json!({}));
    let text = |key: &str| stream[key].as_str().unwrap().to_owned();
    let (id, key, playback) = (text("id"), text("stream_key"), text("output_playback_id"));
    for path in [
        format!("/v1/streams/{key}"),
        format!("/v1/streams/{playback}"),
        format!("/live/video-to-video/{id}/whip"),
        format!("/live/video-to-video/{playback}/whip"),
        format!("/live/video-to-video/{key}-out/whip"),
        format!("/live/video-to-video/{key}/whep"),
        format!("/webrtc/{key}"),
        format!("/webrtc/{id}"),
    ] {
        assert_eq!(server.get(&path).status, 404, "{path}");
    }
    for path in [
        format!("/live/video-to-video/{key}/whip"),
        format!("/live/video-to-video/{key}-out/whep"),
        format!("/webrtc/{playback}"),
    ] {
        assert_eq!(server.get(&path).status, 200, "{path}");
    }
}

#[test]
fn slow_request_head_times_out_without_blocking_others() {
    let server = Server::start();
    let sockets: Vec<_> = (0..200)
        .map(|_| {
            let mut socket = server.connect();
            socket.write_all(b"GET /health HTTP/1.1\r\nhost: localhost\r\n").unwrap();
            socket
        })
        .collect();
    assert_eq!(server.get("/health").status, 200);
    drop(sockets);
}

#[test]
fn answer_has_the_configured_udp_addresses() {
    let server = Server::with(&["--udp-bind", "127.0.0.1"], &[]);
    let stream = server.create(&json!({}));
    let path = stream["whip_url"].as_str().unwrap().split_once(&server.address).unwrap().1.to_owned();
    let offer = include_str!("../recorded/browser.sdp").replace('\n', "\r\n");
    let answer = server.send("POST", &path, &["content-type: application/sdp"], offer.as_bytes());
    assert_eq!(answer.status, 201, "{}", answer.text());
    let text = answer.text();
    let addresses: Vec<_> = text
        .lines()
        .filter(|line| line.starts_with("a=candidate:"))
        .map(|line| line.split(' ').nth(4).unwrap())
        .collect();
    assert!(!addresses.is_empty() && addresses.iter().all(|address| *address == "127.0.0.1"), "{addresses:?}");
}
