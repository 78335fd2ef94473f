//! The models that the server's machine can run.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::Server;
use crate::life::{PATIENCE, Publisher};

const PATH: &str = "/v1/recommendations";

#[test]
fn models_are_listed_for_a_key_with_figures_of_one_measurement() {
    let server = Server::with(&[], &[("DREAMFRAME_API_KEYS", "recommending-key-of-a-test")]);
    server.get(PATH).expect_error(401);
    let key = ["authorization: Bearer recommending-key-of-a-test"];
    let answer = server.send("GET", PATH, &key, b"");
    assert_eq!(answer.status, 200, "{}", answer.text());
    let found = answer.value();
    let models = found["models"].as_array().unwrap();
    let sdxs: Vec<&Value> = models.iter().filter(|model| model["model"] == "sdxs").collect();
    assert_eq!(sdxs.len(), 3, "{found}");
    for model in &sdxs {
        assert!(model["pictures_per_second"].as_f64().unwrap() > 0.0 && model["memory_bytes"].as_u64().unwrap() > 0);
        assert_eq!(model["command"], "dreamframe models fetch sdxs");
    }
    assert!(models.iter().any(|model| model["model"] == "demo" && model["command"].is_null()));
    assert!(found["machine"]["threads"].as_u64().unwrap() > 0, "{found}");
    // A second measurement would have other figures.
    assert_eq!(server.send("GET", PATH, &key, b"").value(), found);
}

#[test]
fn the_machine_is_not_measured_while_a_stream_runs() {
    let server = Server::start();
    let stream = server.create(&json!({"pipeline": "streamdiffusion", "params": {"width": 64, "height": 64}}));
    let _publisher = Publisher::start(stream["whip_url"].as_str().unwrap());
    let began = Instant::now();
    while server.get("/health").value()["sessions"] == 0 {
        assert!(began.elapsed() < PATIENCE, "no session runs");
        std::thread::yield_now();
    }
    let answer = server.get(PATH);
    assert_eq!(answer.expect_error(503)["code"], "SERVER/BUSY");
    let retry = Duration::from_secs(answer.header("retry-after").parse().unwrap());
    assert!(retry > Duration::ZERO);
}
