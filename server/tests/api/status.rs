//! How a stream is.

use std::io::{BufRead as _, BufReader, Write as _};

use serde_json::{Value, json};

use crate::client::Server;

/// The first event of a stream for a request with `headers`.
fn first_event(server: &Server, id: &str, headers: &[&str]) -> Value {
    let mut socket = server.connect();
    let more: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
    write!(socket, "GET /api/streams/{id}/sse HTTP/1.1\r\nhost: {}\r\n{more}\r\n", server.address).unwrap();
    let mut lines = BufReader::new(socket).lines().map(Result::unwrap);
    let event = lines.find_map(|line| line.strip_prefix("data: ").map(str::to_owned)).unwrap();
    serde_json::from_str(&event).unwrap()
}

/// The status gives access to the stream to its owner only.
#[test]
fn without_its_owners_key_the_status_of_a_stream_is_its_state_alone() {
    let keys = "owners-key-of-a-test,others-key-of-a-test";
    let server = Server::with(&[], &[("DREAMFRAME_API_KEYS", keys)]);
    let owner = "authorization: Bearer owners-key-of-a-test";
    let body = r#"{"params": {"prompt": "private prompt"}, "output_rtmp_url": "rtmp://127.0.0.1:1/app/target-key"}"#;
    let stream = server.send("POST", "/v1/streams", &[owner], body.as_bytes()).value();
    let text = |name: &str| stream[name].as_str().unwrap().to_owned();
    let (id, key, playback) = (text("id"), text("stream_key"), text("output_playback_id"));
    let offer = include_str!("../recorded/browser.sdp").replace('\n', "\r\n");
    let whip = format!("/live/video-to-video/{key}/whip");
    let answer = server.send("POST", &whip, &["content-type: application/sdp"], offer.as_bytes());
    // The publisher gets a URL that allows watching, and no more.
    let watch = format!("http://{}/webrtc/{playback}", server.address);
    assert_eq!((answer.status, answer.header("livepeer-playback-url")), (201, watch.as_str()));
    let asked = |headers: &[&str]| {
        let of = |path: String| {
            let answer = server.send("GET", &path, headers, b"");
            assert_eq!(answer.status, 200, "{path}");
            answer.value()
        };
        [
            of(format!("/v1/streams/{id}/status")),
            of(format!("/api/streams/{id}/status")),
            first_event(&server, &id, headers),
        ]
    };
    for headers in [&[][..], &["authorization: Bearer others-key-of-a-test"], &["authorization: Bearer wrong"]] {
        for status in asked(headers) {
            let text = status.to_string();
            for secret in ["stk_", "lp_", "private", "target-key", "127.0.0.1", "last_error", "key_"] {
                assert!(!text.contains(secret), "{headers:?}: {secret}: {text}");
            }
            assert_eq!((&status["success"], &status["error"]), (&json!(true), &json!(null)));
            assert_eq!(status["data"]["stream_id"], id);
            assert!(status["data"]["state"].is_string() && status["data"]["timestamp"].is_u64(), "{text}");
        }
    }
    for status in asked(&[owner]) {
        assert_eq!(status["data"]["gateway_status"]["whep_url"], watch);
        assert_eq!(status["data"]["inference_status"]["last_params"]["prompt"], "private prompt");
        assert!(!status.to_string().contains("stk_"), "{status}");
    }
    assert_eq!(server.send("HEAD", &format!("/webrtc/{playback}"), &[], b"").status, 200);
}

#[test]
fn with_keys_the_figures_want_one() {
    let server = Server::with(&[], &[("DREAMFRAME_API_KEYS", "a-secret-key-of-a-test")]);
    let key = "authorization: Bearer a-secret-key-of-a-test";
    server.send("POST", "/v1/streams", &[key], b"{}");
    server.get("/metrics").expect_error(401);
    server.send("GET", "/metrics", &["authorization: Bearer wrong"], b"").expect_error(401);
    assert!(server.send("GET", "/metrics", &[key], b"").text().contains("\ndreamframe_streams 1\n"));
}

/// Line 23.
#[test]
fn status_is_offline_and_needs_no_key_before_publishing() {
    let server = Server::with(&[], &[("DREAMFRAME_API_KEYS", "a-secret-key-of-a-test")]);
    let made = server.send("POST", "/v1/streams", &["Authorization: Bearer a-secret-key-of-a-test"], b"{}").value();
    let id = made["id"].as_str().unwrap();
    for path in [format!("/v1/streams/{id}/status"), format!("/api/streams/{id}/status")] {
        let answer = server.send("GET", &path, &["Origin: https://elsewhere.example"], b"");
        assert_eq!((answer.status, answer.header("access-control-allow-origin")), (200, "*"));
        let body = answer.value();
        assert_eq!(
            (&body["success"], &body["error"], &body["data"]["state"]),
            (&json!(true), &json!(null), &json!("OFFLINE"))
        );
        // Its presence means that there was a publisher.
        assert!(body["data"]["gateway_status"].get("whep_url").is_none());
    }
    server.get("/v1/streams/str_none/status").expect_error(404);
}

/// Line 25.
#[test]
fn every_name_that_a_client_reads_is_there_and_the_hash_follows_the_parameters() {
    let server = Server::start();
    let path = server.stream(json!({}));
    let status = || server.get(&format!("{path}/status")).value()["data"].clone();
    let data = status();
    for place in [
        "/type",
        "/stream_id",
        "/pipeline",
        "/pipeline_id",
        "/request_id",
        "/state",
        "/start_time",
        "/timestamp",
        "/last_state_update_time",
        "/orchestrator_info/address",
        "/orchestrator_info/url",
        "/input_status/fps",
        "/input_status/last_input_time",
        "/inference_status/fps",
        "/inference_status/input_fps",
        "/inference_status/output_fps",
        "/inference_status/last_input_time",
        "/inference_status/last_output_time",
        "/inference_status/last_params",
        "/inference_status/last_params_hash",
        "/inference_status/last_params_update_time",
        "/inference_status/pictures",
        "/inference_status/repeated_pictures",
        "/inference_status/flagged_pictures",
        "/inference_status/interpolated_pictures",
        "/inference_status/was_censored",
        "/inference_status/restart_count",
        "/inference_status/last_restart_time",
        "/inference_status/last_restart_logs",
        "/inference_status/last_error",
        "/inference_status/last_error_time",
        "/inference_status/start_time",
        "/inference_status/stream_id",
        "/inference_status/pipeline",
        "/gateway_status/error",
        "/gateway_status/ingest_metrics/stats/conn_quality",
        "/gateway_status/ingest_metrics/stats/peer_conn_stats/BytesReceived",
        "/gateway_status/ingest_metrics/stats/track_stats",
        // For clients that read a flat status.
        "/status",
        "/fps",
        "/input_fps",
        "/output_fps",
        "/latency_ms",
        "/was_censored",
        "/restart_count",
        "/last_error",
    ] {
        assert!(data.pointer(place).is_some(), "{place}");
    }
    for place in ["/start_time", "/timestamp", "/last_state_update_time"] {
        assert!(data.pointer(place).unwrap().as_u64().unwrap() > 1_600_000_000_000, "{place}");
    }
    let hash = |data: &serde_json::Value| data["inference_status"]["last_params_hash"].as_str().unwrap().to_owned();
    assert_eq!(hash(&data), hash(&status()));
    server.json("PATCH", &path, &json!({"params": {"prompt": "other"}}));
    let after = status();
    assert_ne!(hash(&after), hash(&data));
    assert!(after["inference_status"]["last_params_update_time"].is_u64());
    assert_eq!(after["inference_status"]["last_params"]["prompt"], "other");
}

#[test]
fn health_and_metrics_describe_the_service() {
    let server = Server::start();
    let health = server.get("/health");
    assert_eq!((health.status, &health.value()["status"]), (200, &json!("healthy")));
    server.stream(json!({}));
    let metrics = server.get("/metrics").text();
    assert!(metrics.contains("\ndreamframe_streams 1\n"), "{metrics}");
    assert!(!metrics.contains("stk_") && metrics.contains("stream=\"str_"));
    let document = server.get("/openapi.json").value();
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(document["servers"][0]["url"], format!("http://{}", server.address));
}

#[test]
fn addresses_are_the_ones_that_the_client_can_reach() {
    let server = Server::start();
    let headers = ["x-forwarded-proto: https", "x-forwarded-host: sd.example"];
    let stream = server.send("POST", "/v1/streams", &headers, b"{}").value();
    assert!(stream["whip_url"].as_str().unwrap().starts_with("https://sd.example/live/"), "{stream}");
    let fixed = Server::with(&["--public-url", "https://fixed.example:8443/"], &[]);
    let stream = fixed.send("POST", "/v1/streams", &headers, b"{}").value();
    assert!(stream["whip_url"].as_str().unwrap().starts_with("https://fixed.example:8443/live/"), "{stream}");
    assert_eq!(stream["gateway_host"], "fixed.example:8443");
}
