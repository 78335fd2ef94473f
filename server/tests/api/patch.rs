//! Changing streams.

use serde_json::{Value, json};

use crate::client::Server;

fn patched(server: &Server, path: &str, body: &Value) -> Value {
    let answer = server.json("PATCH", path, body);
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.value()["params"].clone()
}

const NET: &str = "thibaud/controlnet-sd21-canny-diffusers";

/// Lines 7, 8, 10 and 11.
#[test]
fn patch_keeps_other_values_and_returns_the_whole_stream() {
    let server = Server::start();
    let net = json!([{"model_id": NET, "conditioning_scale": 0.3, "preprocessor": "canny", "enabled": true}]);
    let path = server.stream(json!({"controlnets": net, "t_index_list": [10, 20], "prompt": "snow"}));
    let before = server.get(&path).value()["params"].clone();
    let mut expected = before.clone();
    expected["prompt"] = json!("fog");
    assert_eq!(patched(&server, &path, &json!({"params": {"prompt": "fog"}})), expected);
    let example = json!({"pipeline": "streamdiffusion", "params": {
        "model_id": "stabilityai/sd-turbo", "prompt": "rain", "width": 512, "height": 512, "negative_prompt": "blurry",
    }});
    expected["prompt"] = json!("rain");
    expected["negative_prompt"] = json!("blurry");
    assert_eq!(patched(&server, &path, &example), expected);
    for none in [json!({}), json!(null)] {
        assert_eq!(patched(&server, &path, &json!({"params": {"lora_dict": none}})), expected);
    }
    assert_eq!(server.get(&path).value()["params"], expected);
    // A list replaces the list.
    assert_eq!(patched(&server, &path, &json!({"params": {"controlnets": []}}))["controlnets"], json!([]));
}

/// Line 9, as far as no pictures are made; with pictures, `life` has it.
#[test]
fn a_patch_that_changes_nothing_changes_nothing() {
    let server = Server::start();
    let path = server.stream(json!({}));
    let whole = server.get(&path).value();
    for _ in 0..50 {
        assert_eq!(server.json("PATCH", &path, &json!({"params": whole["params"]})).value(), whole);
    }
    let status = server.get(&format!("{path}/status")).value();
    assert_eq!(status["data"]["inference_status"]["restart_count"], 0);
}

#[test]
fn a_network_that_interpolates_is_accepted_by_its_id_and_refused_by_any_other_value() {
    let server = Server::start();
    let path = server.stream(json!({}));
    let change = |value: Value| json!({"params": {"interpolation": {"factor": 2, "model_id": value}}});
    let network = || server.get(&path).value()["pipeline_params"]["interpolation"].clone();
    patched(&server, &path, &change(json!("rife/flownet.pkl")));
    assert_eq!((&network()["factor"], &network()["model_id"]), (&json!(2), &json!("rife/flownet.pkl")));
    for value in [json!(""), json!(3), json!(["rife"]), json!("x".repeat(513))] {
        let error = server.json("PATCH", &path, &change(value)).expect_error(400);
        assert_eq!(error["details"]["fields"][0]["path"], "params.interpolation.model_id", "{error}");
    }
    assert_eq!(network()["model_id"], "rife/flownet.pkl");
    patched(&server, &path, &change(Value::Null));
    assert_eq!(network()["model_id"], Value::Null);
}

/// Line 13.
#[test]
fn a_bad_list_of_indices_is_400_and_the_old_one_stays() {
    let server = Server::start();
    let path = server.stream(json!({"t_index_list": [12, 20]}));
    for list in
        [json!([]), json!([1, 2, 3, 4, 5]), json!([20, 12]), json!([12, 51]), json!([-1]), json!([1.5]), json!("x")]
    {
        let error =
            server.json("PATCH", &path, &json!({"params": {"t_index_list": list, "prompt": "fog"}})).expect_error(400);
        let field = &error["details"]["fields"][0];
        assert!(field["path"].as_str().unwrap().starts_with("params.t_index_list"), "{error}");
        assert!(!field["reason"].as_str().unwrap().is_empty());
    }
    let params = &server.get(&path).value()["params"];
    assert_eq!(params["t_index_list"], json!([12, 20]));
    assert_ne!(params["prompt"], "fog");
}

/// Line 20, and the last index of 13.7.
#[test]
fn weights_seeds_and_the_last_index_come_back() {
    let server = Server::start();
    let path = server.stream(json!({}));
    let sent = json!({"prompt": [["snow", 1], ["fog", 0.5]], "seed": [[-5, 1], [7, 0.5]], "t_index_list": [12, 50]});
    let params = patched(&server, &path, &json!({"params": sent}));
    assert_eq!(params["prompt"], json!([["snow", 1.0], ["fog", 0.5]]));
    assert_eq!(params["seed"], json!([[-5, 1], [7, 0.5]]));
    assert_eq!(params["t_index_list"], json!([12, 49]));
    assert_eq!(patched(&server, &path, &json!({"params": {"seed": -1}}))["seed"], -1);
}

/// Line 21, the dialects D and F; the outer model of the beta call is no model.
#[test]
fn older_ways_to_change_parameters_do_the_same() {
    let server = Server::start();
    let path = server.stream(json!({"model_id": "stabilityai/sdxl-turbo"}));
    assert_eq!(patched(&server, &path, &json!({"pipeline_params": {"prompt": "a"}}))["prompt"], "a");
    assert_eq!(patched(&server, &path, &json!({"prompt": "b"}))["prompt"], "b");
    let id = path.rsplit('/').next().unwrap();
    let body = json!({"pipeline": "live-video-to-video", "model_id": "streamdiffusion", "params": {"prompt": "c"}});
    let answer = server.json("POST", &format!("/beta/streams/{id}/prompts"), &body);
    assert_eq!((answer.status, &answer.value()["success"]), (200, &json!(true)));
    let params = &server.get(&path).value()["params"];
    assert_eq!((&params["prompt"], &params["model_id"]), (&json!("c"), &json!("stabilityai/sdxl-turbo")));
    server.get(&format!("/beta/streams/{id}/prompts/1")).expect_error(404);
    assert_eq!(server.json("PATCH", &path, &json!({"name": "renamed"})).value()["name"], "renamed");
}

#[test]
fn a_transition_needs_its_prompt_and_is_refused_as_a_whole() {
    let server = Server::start();
    let path = server.stream(json!({"prompt": "snow"}));
    let fade = |body: Value| server.json("PATCH", &path, &body);
    let body =
        json!({"params": {"prompt": [["fog", 1.0], ["rain", 0.5]], "delta": 0.25}, "transition": {"duration": 2}});
    let params = fade(body).value()["params"].clone();
    assert_eq!((&params["prompt"], &params["delta"]), (&json!([["fog", 1.0], ["rain", 0.5]]), &json!(0.25)));
    for (body, field) in [
        (json!({"params": {"delta": 0.75}, "transition": {}}), "transition"),
        (json!({"params": {"prompt": "x", "delta": 0.75}, "transition": {"num_steps": -1}}), "transition.num_steps"),
        (json!({"params": {"prompt": [["x", -1]], "delta": 0.75}, "transition": {}}), "params.prompt"),
        (json!({"params": {"prompt": "x", "delta": -1}, "transition": {}}), "params.delta"),
        (json!({"params": {"prompt": "x"}, "transition": 3}), "transition"),
    ] {
        let error = fade(body).expect_error(400);
        assert!(error["details"]["fields"][0]["path"].as_str().unwrap().starts_with(field), "{error}");
        assert_eq!(server.get(&path).value()["params"], params);
    }
    let made = server.json("POST", "/v1/streams", &json!({"transition": {"num_steps": 3}}));
    assert_eq!(made.expect_error(400)["details"]["fields"][0]["path"], "transition");
}

#[test]
fn unknown_keys_are_accepted_and_returned_in_pipeline_params() {
    let server = Server::start();
    let path = server.stream(json!({"shimmer": 3, "safety_checker_threshold": 0.25}));
    server.json("PATCH", &path, &json!({"pipeline": "longlive"}));
    let stream = server.get(&path).value();
    assert_eq!(
        (&stream["pipeline"], &stream["pipeline_params"]["pipeline"]),
        (&json!("streamdiffusion"), &json!("longlive"))
    );
    assert!(stream["params"].get("shimmer").is_none() && stream["params"].get("safety_checker_threshold").is_none());
    assert_eq!(stream["pipeline_params"]["shimmer"], 3);
    assert_eq!(stream["pipeline_params"]["safety_checker_threshold"], 0.25);
}

/// Decision 13.6.
#[test]
fn sizes_outside_the_schema_are_refused_by_the_strict_switch_alone() {
    let lenient = Server::start();
    let path = lenient.stream(json!({"width": 1024, "height": 576}));
    assert_eq!(patched(&lenient, &path, &json!({"params": {"width": 256, "height": 256}}))["width"], 256);
    lenient.json("PATCH", &path, &json!({"params": {"width": 257}})).expect_error(400);
    let strict = Server::with(&["--strict"], &[]);
    let error = strict.json("POST", "/v1/streams", &json!({"params": {"width": 256}})).expect_error(400);
    assert_eq!(error["details"]["fields"][0]["path"], "params.width");
}
