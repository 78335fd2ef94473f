//! How a stream is.

use serde_json::json;

use crate::client::Server;

/// Line 23.
#[test]
fn before_anybody_publishes_the_status_is_offline_and_needs_no_key() {
    let server = Server::with(&[], &[("DREAMFRAME_API_KEYS", "a-secret-key")]);
    let made = server.send("POST", "/v1/streams", &["Authorization: Bearer a-secret-key"], b"{}").value();
    let id = made["id"].as_str().unwrap();
    for path in [format!("/v1/streams/{id}/status"), format!("/api/streams/{id}/status")] {
        let answer = server.send("GET", &path, &["Origin: https://elsewhere.example"], b"");
        assert_eq!((answer.status, answer.header("access-control-allow-origin")), (200, "*"));
        let body = answer.value();
        assert_eq!(
            (&body["success"], &body["error"], &body["data"]["state"]),
            (&json!(true), &json!(null), &json!("OFFLINE"))
        );
        // Its presence says that somebody has published.
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
fn the_service_tells_of_itself() {
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
