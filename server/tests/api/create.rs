//! Making, listing, reading and ending streams.

use serde_json::{Value, json};

use crate::client::Server;

const KEYS: [&str; 17] = [
    "id",
    "name",
    "whip_url",
    "stream_key",
    "output_playback_id",
    "output_stream_url",
    "gateway_host",
    "created_at",
    "author",
    "from_playground",
    "is_smoke_test",
    "pipeline",
    "pipeline_id",
    "params",
    "pipeline_params",
    "status",
    "playback_url",
];
const MODELS: [&str; 4] =
    ["stabilityai/sd-turbo", "stabilityai/sdxl-turbo", "Lykon/dreamshaper-8", "prompthero/openjourney-v4"];

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

/// Lines 1, 2 and 6.
#[test]
fn a_stream_is_201_with_exactly_its_keys_in_order_and_concrete_values() {
    let server = Server::start();
    let answer =
        server.json("POST", "/v1/streams", &json!({"pipeline": "streamdiffusion", "params": {"prompt": "snow"}}));
    assert_eq!((answer.status, answer.header("content-type")), (201, "application/json"));
    let (text, stream) = (answer.text(), answer.value());
    // Only the answer to the creation has the token.
    let (token, others) = {
        let mut names = keys(&stream);
        (names.pop(), names)
    };
    assert_eq!((token, others), (Some("control_token"), KEYS.to_vec()));
    assert!(stream["control_token"].as_str().unwrap().starts_with("ctl_"));
    assert_eq!(keys(&server.get(&format!("/v1/streams/{}", stream["id"].as_str().unwrap())).value()), KEYS);
    assert!(stream.as_object().unwrap().iter().all(|(key, value)| !value.is_null() || key == "pipeline_id"));
    assert_eq!(stream["pipeline"], "streamdiffusion");
    assert_eq!(stream["gateway_host"], server.address);
    let playback = stream["output_playback_id"].as_str().unwrap();
    assert_eq!(stream["playback_url"], format!("http://{}/webrtc/{playback}", server.address));
    assert_eq!(stream["status"], "starting");
    assert!(text.starts_with(r#"{"id":"str_"#), "{text}");
    assert!(text.find("\"whip_url\"") < text.find("\"params\"") && !text.contains("\\/"));
    let key = stream["stream_key"].as_str().unwrap();
    assert_eq!(stream["whip_url"], format!("http://{}/live/video-to-video/{key}/whip", server.address));
    assert_eq!(key.len(), 20);
    let created = stream["created_at"].as_str().unwrap();
    assert!(created.len() == 24 && created.ends_with('Z'), "{created}");
}

/// Line 3: the keys are tested in `wire::echo`.
#[test]
fn each_of_the_four_models_is_served_and_the_actual_engine_reported() {
    let server = Server::start();
    for model in MODELS {
        let stream = server.create(&json!({"pipeline": "streamdiffusion", "params": {"model_id": model}}));
        assert_eq!(stream["params"]["model_id"], model);
        assert_eq!(stream["pipeline_params"]["engine"]["model"], "demo");
        assert_eq!(stream["params"].get("ip_adapter").is_some(), model != MODELS[0], "{model}");
        assert!(
            stream["params"].as_object().unwrap().iter().all(|(key, value)| !value.is_null() || key == "lora_dict")
        );
    }
}

/// Line 16.
#[test]
fn a_stream_ends_by_query_and_by_path_and_only_once() {
    let server = Server::start();
    for by_query in [true, false] {
        let path = server.stream(json!({}));
        let id = path.rsplit('/').next().unwrap();
        let target = if by_query { format!("/v1/streams?id={id}") } else { path.clone() };
        let answer = server.send("DELETE", &target, &["content-type: application/json"], b"{\"a\": 1}");
        assert_eq!((answer.status, answer.value()), (200, json!({"success": true, "data": {}})));
        server.send("DELETE", &target, &[], b"").expect_error(404);
        server.get(&path).expect_error(404);
    }
    server.send("DELETE", "/v1/streams", &[], b"").expect_error(400);
}

/// Line 17.
#[test]
fn the_list_is_an_object_with_all_streams() {
    let server = Server::start();
    assert_eq!(server.get("/v1/streams").value(), json!({"success": true, "data": []}));
    let made = ["a", "b"].map(|name| {
        let mut stream = server.create(&json!({ "name": name }));
        stream.as_object_mut().unwrap().remove("control_token");
        stream
    });
    let list = server.get("/v1/streams?user_id=me").value();
    assert_eq!(list["data"], json!(made));
    let id = made[0]["id"].as_str().unwrap();
    assert_eq!(server.get(&format!("/v1/streams/{id}")).value(), made[0]);
}

/// Line 14.
#[test]
fn a_stream_that_is_not_there_is_404_with_the_code_that_clients_know() {
    let server = Server::start();
    for id in ["str_0000000000000000", "x", "..%2f..%2fetc", "%00", "str_%F0%9F%98%80"] {
        let path = format!("/v1/streams/{id}");
        for (method, path) in [
            ("GET", path.clone()),
            ("PATCH", path.clone()),
            ("DELETE", path.clone()),
            ("GET", format!("{path}/status")),
        ] {
            assert_eq!(
                server.send(method, &path, &[], b"").expect_error(404)["code"],
                "STREAMS/NOT_FOUND",
                "{method} {path}"
            );
        }
    }
    server.get("/v1/nothing").expect_error(404);
    server.get("/v1/streams/%ff").expect_error(400);
    server.send("PATCH", "/health", &[], b"").expect_error(405);
}

/// Line 21: every old form, and its response.
#[test]
fn old_clients_get_their_pipeline_id_and_parameters_back() {
    let server = Server::start();
    for body in [
        json!({"pipeline_id": "pip_SD15", "pipeline_params": {"prompt": "snow"}}),
        json!({"pipeline_id": "pip_qpUgXycjWF6YMeSL", "pipeline_params": {"prompt": "snow", "width": 704, "height": 384}}),
        json!({"pipeline_id": "pip_SD-turbo", "pipeline": "streamdiffusion", "params": {"prompt": "snow"}}),
        json!({"pipeline_params": {"pipeline_id": "pip_SD15"}, "prompt": "snow", "num_inference_steps": 25}),
    ] {
        let stream = server.create(&body);
        assert_eq!(keys(&stream)[..KEYS.len()], KEYS);
        assert!(stream["pipeline_id"].as_str().unwrap().starts_with("pip_"));
        assert_eq!(
            (&stream["params"]["prompt"], &stream["pipeline_params"]["prompt"]),
            (&json!("snow"), &json!("snow"))
        );
        // Today's default; five ControlNets were the old one.
        assert_eq!(stream["params"]["controlnets"], json!([]));
    }
    let faces = server.create(&json!({"pipeline_id": "pip_SDXL-turbo-faceid", "pipeline_params": {}}));
    assert_eq!(faces["params"]["ip_adapter"]["type"], "faceid");
    let named = server.create(&json!({"name": "x"}));
    assert_eq!((&named["name"], &named["pipeline_id"]), (&json!("x"), &json!(null)));
    assert_eq!(named["params"]["model_id"], MODELS[0]);
}

#[test]
fn the_output_address_is_remembered_and_checked() {
    let server = Server::start();
    let stream = server.create(&json!({"output_rtmp_url": "rtmp://127.0.0.1:1/app/key"}));
    assert_eq!(stream["output_stream_url"], "rtmp://127.0.0.1:1/app/key");
    let refused =
        server.json("POST", "/v1/streams", &json!({"output_rtmp_url": "file:///etc/passwd"})).expect_error(400);
    assert_eq!(refused["details"]["fields"][0]["path"], "output_rtmp_url");
}

#[test]
fn as_many_streams_as_are_allowed_and_then_429_with_the_figure() {
    let server = Server::with(&["--max-streams", "2"], &[]);
    let first = server.stream(json!({}));
    server.stream(json!({}));
    let answer = server.json("POST", "/v1/streams", &json!({}));
    assert_eq!(answer.expect_error(429)["details"]["limit"], 2);
    assert!(answer.header("retry-after").parse::<u32>().is_ok());
    server.send("DELETE", &first, &[], b"");
    server.stream(json!({}));
}
