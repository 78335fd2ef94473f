//! Bodies in the forms of the service's documentation, its SDKs and other clients: `tests/data/bodies.json`.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::client::Server;

const BODIES: &str = include_str!("../data/bodies.json");

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Example {
    source: String,
    method: String,
    body: Value,
    /// Some of the stream's parameters afterwards.
    expected: Map<String, Value>,
}

#[test]
fn the_bodies_of_documentation_and_clients_are_accepted_and_mean_what_they_say() {
    let examples: Vec<Example> = serde_json::from_str(BODIES).unwrap();
    assert!(examples.iter().any(|example| example.method == "PATCH"));
    for Example { source, method, body, expected } in examples {
        // The limit of streams of a server is small.
        let server = Server::start();
        let (path, status) = match method.as_str() {
            "POST" => ("/v1/streams".to_owned(), 201),
            _ => (server.stream(json!({"model_id": "stabilityai/sd-turbo", "delta": 0.25, "prompt": "snow"})), 200),
        };
        let answer = server.json(&method, &path, &body);
        assert_eq!(answer.status, status, "{source}: {}", answer.text());
        let stream = answer.value();
        for (name, value) in expected {
            assert_eq!(stream["params"][&name], value, "{source}: {name}");
        }
        let fresh = server.create(&json!({"params": {"model_id": stream["params"]["model_id"]}}));
        let sent = body["params"].as_object().into_iter().flatten();
        // A list fits the number of steps.
        for (name, _) in sent.filter(|(name, value)| value.is_null() && *name != "t_index_list") {
            assert_eq!(stream["params"][name], fresh["params"][name], "{source}: the default of {name}");
        }
    }
}

#[test]
fn values_with_another_meaning_are_remarks_of_the_stream() {
    let server = Server::start();
    let stream = server.create(&json!({"params": {"cfg_type": "self", "negative_prompt": "fog"}}));
    assert_eq!(stream["pipeline_params"]["cfg_type"], "self");
    let remarks = stream["pipeline_params"]["engine"]["remarks"].to_string();
    assert!(remarks.contains("negative_prompt has no effect"), "{remarks}");
    let path = format!("/v1/streams/{}", stream["id"].as_str().unwrap());
    let change = json!({"params": {"cfg_type": "full", "guidance_scale": 1.5}});
    let stream = server.json("PATCH", &path, &change).value();
    assert_eq!(stream["pipeline_params"]["cfg_type"], "full");
    let remarks = stream["pipeline_params"]["engine"]["remarks"].to_string();
    assert!(!remarks.contains("negative_prompt"), "{remarks}");
    server.json("PATCH", &path, &json!({"params": {"cfg_type": "half"}})).expect_error(400);
}
