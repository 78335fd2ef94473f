//! The web pages that a server without keys answers: those of this machine, and allowed ones.

use serde_json::{Value, json};

use crate::client::{Answer, Server};

const HOSTILE: &str = "origin: https://hostile.example";
const KEYS: &[(&str, &str)] = &[("DREAMFRAME_API_KEYS", "an-api-key-of-a-test")];
const OFFER: &str = include_str!("../recorded/browser.sdp");

fn offer() -> Vec<u8> {
    OFFER.replace('\n', "\r\n").into_bytes()
}

/// A stream, by each of its names.
struct Names {
    id: String,
    key: String,
    playback: String,
}

fn made(server: &Server) -> Names {
    let stream = server.create(&json!({"params": {"prompt": "before"}}));
    let text = |name: &str| stream[name].as_str().unwrap().to_owned();
    Names { id: text("id"), key: text("stream_key"), playback: text("output_playback_id") }
}

fn expect_refused(answer: &Answer, what: &str) {
    assert_eq!(answer.status, 403, "{what}: {}", answer.text());
    assert_eq!(answer.header("access-control-allow-origin"), "", "{what}");
    assert_eq!(answer.header("vary"), "Origin", "{what}");
    assert!(!answer.text().contains("stk_"), "{what}: {}", answer.text());
}

/// Everything that a page could want, as a page of `origin` would send it.
fn expect_all_refused(server: &Server, names: &Names, origin: &str) {
    let Names { id, key, playback } = names;
    let stream = format!("/v1/streams/{id}");
    let whip = format!("/live/video-to-video/{key}/whip");
    let json = br#"{"params": {"prompt": "after"}, "output_rtmp_url": "rtmp://127.0.0.1:1/app/key"}"#.as_slice();
    let (sdp, text) = ("content-type: application/sdp", "content-type: text/plain");
    let as_json = "content-type: application/json";
    for (method, path, kind, body) in [
        ("GET", "/v1/streams".to_owned(), text, b"".as_slice()),
        ("GET", stream.clone(), text, b""),
        ("GET", format!("{stream}/status"), text, b""),
        ("GET", "/metrics".to_owned(), text, b""),
        ("GET", "/".to_owned(), text, b""),
        ("OPTIONS", stream.clone(), text, b""),
        ("OPTIONS", whip.clone(), text, b""),
        // Without a preflight.
        ("POST", "/v1/streams".to_owned(), text, json),
        ("POST", format!("/beta/streams/{id}/prompts"), text, json),
        ("POST", "/api/v1/pipeline/load".to_owned(), text, br#"{"pipeline_ids": ["streamdiffusion"]}"#),
        ("POST", "/v1/streams".to_owned(), as_json, json),
        ("PATCH", stream.clone(), as_json, json),
        ("DELETE", stream, text, b""),
        ("DELETE", format!("/v1/streams?id={id}"), text, b""),
        ("POST", whip, sdp, &offer()),
        ("POST", format!("/live/video-to-video/{key}-out/whep"), sdp, &offer()),
        ("POST", format!("/webrtc/{playback}"), sdp, &offer()),
        ("GET", format!("/hls/{playback}/index.m3u8"), text, b""),
    ] {
        expect_refused(&server.send(method, &path, &[origin, kind], body), &format!("{origin} {method} {path}"));
    }
}

#[test]
fn a_page_of_another_origin_reads_and_changes_nothing_where_there_are_no_keys() {
    let server = Server::start();
    let names = made(&server);
    let all = server.get("/v1/streams").value();
    for origin in [
        HOSTILE,
        "origin: null",
        "origin: http://127.0.0.1.hostile.example",
        "origin: http://localhost.hostile.example:8889",
        "origin: http://hostile.example#localhost",
        "origin: chrome-extension://localhost",
        "origin: http://localhost:1\norigin: https://hostile.example",
    ] {
        expect_all_refused(&server, &names, origin);
    }
    assert_eq!(server.get("/v1/streams").value(), all);
    let status = server.get(&format!("/v1/streams/{}/status", names.id)).value();
    assert!(status["data"]["gateway_status"].get("whep_url").is_none(), "somebody published: {status}");
}

/// A page whose host name is rebound to this machine (DNS rebinding) is of the same origin, and sends no `Origin`.
#[test]
fn a_name_that_is_not_the_servers_is_refused_where_there_are_no_keys() {
    let server = Server::start();
    let names = made(&server);
    let port = server.address.split_once(':').unwrap().1;
    let ask =
        |host: &str, path: &str| server.raw(&format!("GET {path} HTTP/1.1\nhost: {host}\nconnection: close"), b"");
    for host in ["hostile.example", "127.0.0.1.hostile.example", "localhost.hostile.example", "10.0.0.1", "[::2]", "x"]
    {
        for host in [host.to_owned(), format!("{host}:{port}")] {
            for path in ["/v1/streams".to_owned(), format!("/v1/streams/{}", names.id), "/".to_owned()] {
                expect_refused(&ask(&host, &path), &host);
            }
        }
    }
    for host in ["localhost", "LOCALHOST", "app.localhost", "localhost.", "127.0.0.1", "127.1.2.3", "[::1]"] {
        for host in [host.to_owned(), format!("{host}:{port}")] {
            assert_eq!(ask(&host, "/v1/streams").status, 200, "{host}");
        }
    }
}

#[test]
fn pages_of_this_machine_and_of_listed_origins_are_answered_with_their_origin() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "allow_origin = [\"https://file.example\"]\n").unwrap();
    let config = ["--config", file.path().to_str().unwrap()];
    let variable = [("DREAMFRAME_ALLOW_ORIGIN", "https://one.example https://two.example:8443")];
    let flags = ["--allow-origin", "chrome-extension://abcdef", "--allow-origin", "https://other.example"];
    for (server, origins) in [
        (Server::start(), &["http://localhost:3000", "https://127.0.0.1", "http://[::1]:5173"][..]),
        (Server::with(&flags, &[]), &["chrome-extension://abcdef", "https://other.example", "http://localhost:1"]),
        (Server::with(&[], &variable), &["https://one.example", "https://two.example:8443"]),
        (Server::with(&config, &[]), &["https://file.example"]),
        (Server::with(&["--public-url", "https://sd.example/base"], &[]), &["https://sd.example"]),
    ] {
        for origin in origins {
            let header = format!("origin: {origin}");
            let preflight = ["access-control-request-method: PATCH", &header];
            for (method, headers, body) in [
                ("OPTIONS", &preflight[..], b"".as_slice()),
                ("GET", &[&header], b""),
                ("POST", &[&header, "content-type: application/json; charset=utf-8"], b"{}"),
            ] {
                let answer = server.send(method, "/v1/streams", headers, body);
                assert!([200, 201, 204].contains(&answer.status), "{method} {origin}: {}", answer.text());
                let told = (answer.header("access-control-allow-origin"), answer.header("vary"));
                assert_eq!(told, (*origin, "Origin"), "{method}");
            }
        }
        for origin in [HOSTILE, "origin: https://one.example:444", "origin: http://other.example"] {
            expect_refused(&server.send("GET", "/v1/streams", &[origin], b""), origin);
        }
    }
    let server = Server::with(&["--public-url", "https://sd.example"], &[]);
    let ask = |host: &str| server.raw(&format!("GET /v1/streams HTTP/1.1\nhost: {host}\nconnection: close"), b"");
    assert_eq!((ask("sd.example").status, ask("sd.example:8889").status), (200, 403));
}

/// What browsers send without asking first is taken from programs alone.
#[test]
fn without_keys_pages_must_send_the_json_content_type() {
    let server = Server::start();
    let origin = "origin: http://localhost:3000";
    for kind in [&[][..], &["content-type: text/plain"], &["content-type: application/x-www-form-urlencoded"]] {
        let headers = [&[origin], kind].concat();
        server.send("POST", "/v1/streams", &headers, b"{}").expect_error(415);
        assert_eq!(server.send("POST", "/v1/streams", kind, b"{}").status, 201, "{kind:?}");
    }
    assert_eq!(server.send("POST", "/v1/streams", &[origin], b"").status, 201);
}

#[test]
fn with_keys_pages_of_any_origin_and_hosts_of_any_name_are_answered() {
    let server = Server::with(&[], KEYS);
    let key = "authorization: Bearer an-api-key-of-a-test";
    let answer = server.send("POST", "/v1/streams", &[HOSTILE, key, "content-type: text/plain"], b"{}");
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (201, "*"));
    let head = format!("GET /v1/streams HTTP/1.1\nhost: sd.example\nconnection: close\n{key}");
    assert_eq!(server.raw(&head, b"").status, 200);
    server.send("GET", "/v1/streams", &[HOSTILE], b"").expect_error(401);
}

#[test]
fn invalid_origin_is_rejected_by_name() {
    for origin in ["*", "null", "sd.example", "https://", "https://a/b", "https://user@a", "https://a b"] {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_dreamframe"));
        command.args(["serve", "--bind", "127.0.0.1:0", "--rtmp", "off", "--allow-origin", origin]);
        let output = command.env_remove("DREAMFRAME_API_KEYS").output().unwrap();
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && words.contains("allow_origin"), "{origin}: {words}");
    }
}

/// A gateway on this machine asks workers that have no keys.
#[test]
fn gateway_on_loopback_rejects_the_same_pages() {
    let Some(redis) = crate::redis::Redis::start() else { return };
    let worker = Server::with(&["--registry", &redis.url()], &[]);
    let gateway = Server::run("gateway", &["--registry", &redis.url()], &[]);
    let began = std::time::Instant::now();
    while gateway.get("/ready").status != 200 {
        assert!(began.elapsed() < crate::life::PATIENCE, "the gateway finds no worker");
    }
    let names = made(&gateway);
    expect_all_refused(&gateway, &names, HOSTILE);
    let head = "GET /v1/streams HTTP/1.1\nhost: hostile.example\nconnection: close";
    expect_refused(&gateway.raw(head, b""), "a host of another name");
    let listed = gateway.send("GET", "/v1/streams", &["origin: http://localhost:3000"], b"");
    assert_eq!((listed.status, listed.header("access-control-allow-origin")), (200, "http://localhost:3000"));
    let streams: Value = worker.get("/v1/streams").value();
    assert_eq!(streams["data"].as_array().unwrap().len(), 1, "{streams}");
}
