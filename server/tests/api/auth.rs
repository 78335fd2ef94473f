//! Keys, and who may do what.

use serde_json::json;

use crate::client::Server;

const KEYS: &[(&str, &str)] = &[("DREAMFRAME_API_KEYS", "first-secret-of-a-test,second-secret-of-a-test")];

fn bearer(key: &str) -> String {
    format!("Authorization: Bearer {key}")
}

/// Line 15.
#[test]
fn with_keys_every_call_needs_one_and_without_none_does() {
    let server = Server::with(&[], KEYS);
    let id = "str_0000000000000000";
    for (method, path) in [
        ("POST", "/v1/streams".to_owned()),
        ("GET", "/v1/streams".to_owned()),
        ("DELETE", format!("/v1/streams?id={id}")),
        ("GET", format!("/v1/streams/{id}")),
        ("PATCH", format!("/v1/streams/{id}")),
        ("DELETE", format!("/v1/streams/{id}")),
        ("POST", format!("/beta/streams/{id}/prompts")),
        ("POST", "/v1/api-key".to_owned()),
    ] {
        assert_eq!(server.send(method, &path, &[], b"").expect_error(401)["code"], "AUTH/MISSING", "{method} {path}");
        let wrong = bearer("first-secret-of-a-tes");
        assert_eq!(server.send(method, &path, &[&wrong], b"").expect_error(401)["code"], "AUTH/INVALID");
    }
    assert_eq!(server.send("GET", "/v1/streams", &[&bearer("first-secret-of-a-test")], b"").status, 200);
    let open = Server::start();
    for headers in [&[][..], &["Authorization: Bearer anything"], &["Authorization: nonsense"]] {
        assert_eq!(open.send("GET", "/v1/streams", headers, b"").status, 200);
    }
}

#[test]
fn a_stream_of_another_key_is_403_and_in_no_list() {
    let server = Server::with(&[], KEYS);
    let (first, second) = (bearer("first-secret-of-a-test"), bearer("second-secret-of-a-test"));
    let stream = server.send("POST", "/v1/streams", &[&first], b"{}");
    assert_eq!(stream.status, 201);
    let mut stream = stream.value();
    stream.as_object_mut().unwrap().remove("control_token");
    let path = format!("/v1/streams/{}", stream["id"].as_str().unwrap());
    for method in ["GET", "PATCH", "DELETE"] {
        server.send(method, &path, &[&second], b"").expect_error(403);
    }
    assert_eq!(server.send("GET", "/v1/streams", &[&second], b"").value()["data"], json!([]));
    // The state is public to clients that know the id.
    assert_eq!(server.get(&format!("{path}/status")).status, 200);
    assert_eq!(server.send("GET", &path, &[&first], b"").value(), stream);
    assert!(!stream.to_string().contains("secret"));
}

/// A proxy with one API key gives each of its users the token of a stream.
#[test]
fn a_control_token_gives_access_to_its_stream_alone() {
    let server = Server::with(&[], KEYS);
    let key = bearer("first-secret-of-a-test");
    let made = [(); 2].map(|()| server.send("POST", "/v1/streams", &[&key], b"{}").value());
    let [(own, token), (other, _)] = made.each_ref().map(|stream| {
        let token = bearer(stream["control_token"].as_str().unwrap());
        (format!("/v1/streams/{}", stream["id"].as_str().unwrap()), token)
    });
    let send = |method: &str, path: &str, body: &str| server.send(method, path, &[&token], body.as_bytes());
    let changed = send("PATCH", &own, r#"{"params": {"prompt": "mine"}}"#);
    assert_eq!((changed.status, &changed.value()["params"]["prompt"]), (200, &json!("mine")));
    let read = send("GET", &own, "");
    assert!(read.status == 200 && read.value().get("control_token").is_none(), "{}", read.text());
    let status = send("GET", &format!("{own}/status"), "").value();
    assert_eq!(status["data"]["inference_status"]["last_params"]["prompt"], "mine");
    // Of another stream it knows the state, as everybody does.
    for (method, path, body) in [
        ("GET", other.clone(), ""),
        ("PATCH", other.clone(), r#"{"params": {"prompt": "mine"}}"#),
        ("PUT", other.clone(), "{}"),
        ("DELETE", other.clone(), ""),
        ("DELETE", other.replace("/streams/", "/streams?id="), ""),
        ("POST", format!("{}/prompts", other.replace("/v1/", "/beta/")), "{}"),
        ("GET", format!("{other}/recording"), ""),
        ("POST", format!("{other}/clips"), "{}"),
        ("POST", "/v1/streams".into(), "{}"),
        ("GET", "/v1/streams".into(), ""),
        ("POST", "/v1/api-key".into(), ""),
        ("GET", "/metrics".into(), ""),
    ] {
        assert_eq!(send(method, &path, body).status, 403, "{method} {path}");
    }
    assert!(send("GET", &format!("{other}/status"), "").value()["data"].get("inference_status").is_none());
    assert_eq!(send("POST", "/api/v1/session/start", "{}").status, 403);
    let wrong = bearer("ctl_0000000000000000");
    assert_eq!(server.send("GET", &own, &[&wrong], b"").expect_error(401)["code"], "AUTH/INVALID");
    assert_eq!(send("DELETE", &own, "").status, 200);
    // It ends with its stream.
    send("GET", &own, "").expect_error(401);
    assert_eq!(server.send("GET", &other, &[&key], b"").status, 200);
}

#[test]
fn a_sign_in_gets_the_key_that_it_already_has() {
    let server = Server::with(&[], KEYS);
    let answer =
        server.send("POST", "/v1/api-key", &[&bearer("second-secret-of-a-test")], br#"{"name":"x","user_type":"obs"}"#);
    assert_eq!(answer.value(), json!({"apiKey": "second-secret-of-a-test"}));
    let open = Server::start().json("POST", "/v1/api-key", &json!({"name": "x", "user_type": "unity"}));
    assert!(!open.value()["apiKey"].as_str().unwrap().is_empty());
}

/// Lines 35 and 50: players send what they like.
#[test]
fn stream_addresses_need_no_key_and_accept_any() {
    let server = Server::with(&[], KEYS);
    let stream = server.send("POST", "/v1/streams", &[&bearer("first-secret-of-a-test")], b"{}").value();
    let path = format!("/live/video-to-video/{}/whip", stream["stream_key"].as_str().unwrap());
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recorded");
    let offer = std::fs::read_to_string(folder.join("browser.sdp")).unwrap().replace('\n', "\r\n");
    for authorization in [&[][..], &["Authorization: stk_raw"], &["Authorization: Bearer wrong"]] {
        let headers = [&["Content-Type: application/sdp"], authorization].concat();
        assert_eq!(server.send("POST", &path, &headers, offer.as_bytes()).status, 201, "{authorization:?}");
    }
}

/// Line 22.
#[test]
fn a_preflight_from_anywhere_is_answered_on_every_path_without_a_key() {
    let server = Server::with(&[], KEYS);
    for path in [
        "/v1/streams",
        "/v1/streams/str_x",
        "/v1/streams/str_x/status",
        "/api/streams/str_x/status",
        "/beta/streams/str_x/prompts",
        "/live/video-to-video/stk_x/whip",
        "/live/video-to-video/stk_x-out/whep/ses_1",
        "/webrtc/lp_x",
        "/hls/lp_x/index.m3u8",
        "/api/v1/webrtc/offer",
        "/health",
        "/",
    ] {
        let headers = ["Origin: https://elsewhere.example", "Access-Control-Request-Method: PATCH"];
        let answer = server.send("OPTIONS", path, &headers, b"");
        assert_eq!((answer.status, answer.header("access-control-allow-origin")), (204, "*"), "{path}");
        for method in ["GET", "HEAD", "POST", "PATCH", "DELETE", "OPTIONS"] {
            assert!(answer.header("access-control-allow-methods").contains(method), "{path} {method}");
        }
        for header in ["Authorization", "Content-Type", "If-Match", "ETag", "x-client-source"] {
            assert!(answer.header("access-control-allow-headers").contains(header), "{path} {header}");
        }
        assert!(answer.header("access-control-max-age").parse::<u32>().unwrap() >= 600);
        for header in ["Location", "ETag", "Livepeer-Playback-Url", "Retry-After"] {
            assert!(answer.header("access-control-expose-headers").contains(header), "{path} {header}");
        }
    }
    let (whip, method) = ("/live/video-to-video/stk_x/whip", "Access-Control-Request-Method: POST");
    assert_eq!(server.send("OPTIONS", whip, &[method], b"").header("accept-post"), "application/sdp");
    // What is not a preflight is answered by the stream's endpoint, which has credentials for a TURN server.
    assert_eq!(server.send("OPTIONS", whip, &[], b"").status, 404);
}
