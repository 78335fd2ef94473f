//! Size and steps that follow the speed of the machine.

use std::time::Instant;

use serde_json::{Value, json};

use crate::client::Server;
use crate::life::{PATIENCE, Publisher, data, watch};

fn size(of: &Value) -> (u64, u64) {
    (of["width"].as_u64().unwrap(), of["height"].as_u64().unwrap())
}

#[test]
fn adapted_stream_shows_pictures_of_the_size_that_its_status_names() {
    let server = Server::start();
    let asked = json!({"adapt": true, "params": {"prompt": "snow"}});
    let stream = server.create(&asked);
    assert_eq!(size(&stream["params"]), (512, 512));
    assert_eq!(stream["pipeline_params"]["engine"]["adapt"], true);
    let path = format!("/v1/streams/{}", stream["id"].as_str().unwrap());
    let publisher = Publisher::start(stream["whip_url"].as_str().unwrap());
    let playback = stream["output_playback_id"].as_str().unwrap();
    let (viewer, seen) = watch(&format!("http://{}/webrtc/{playback}", server.address));
    let start = Instant::now();
    loop {
        let picture = seen.recv_timeout(PATIENCE).unwrap();
        let status = data(&server, &path);
        let wanted = size(&status["adaptation"]);
        assert_eq!(size(&status["input_wanted"]), wanted);
        let has_picture = status["inference_status"]["last_output_time"].is_u64();
        if has_picture && (u64::from(picture.0), u64::from(picture.1)) == wanted {
            assert_eq!(status["adaptation"]["active"], true);
            assert!(wanted.0 <= 512 && wanted.0 == wanted.1, "{wanted:?}");
            let rate = status["input_wanted"]["frame_rate"].as_f64().unwrap();
            assert!((10.0..=30.0).contains(&rate), "{rate}");
            break;
        }
        assert!(start.elapsed() < PATIENCE, "{picture:?} is never {wanted:?}");
    }
    // The parameters are still those that the client has.
    assert_eq!(size(&server.get(&path).value()["params"]), (512, 512));
    drop((publisher, viewer));
}

#[test]
fn a_client_that_sets_the_size_ends_the_adaptation_and_can_ask_for_it_again() {
    let server = Server::start();
    let stream = server.create(&json!({"adapt": true, "params": {"width": 256, "height": 256}}));
    let path = format!("/v1/streams/{}", stream["id"].as_str().unwrap());
    let active = |body: Value| {
        assert_eq!(server.json("PATCH", &path, &body).status, 200);
        data(&server, &path)["adaptation"]["active"].as_bool().unwrap()
    };
    assert!(active(json!({"params": {"prompt": "snow"}})));
    assert!(!active(json!({"params": {"width": 192, "height": 192}})));
    assert!(!active(json!({"params": {"prompt": "fog"}})));
    assert!(active(json!({"adapt": true})));
    assert!(!active(json!({"adapt": false})));
    assert_eq!(server.json("PATCH", &path, &json!({"adapt": "yes"})).status, 400);
    assert!(!server.create(&json!({}))["pipeline_params"]["engine"]["adapt"].as_bool().unwrap());

    let fixed = Server::with(&["--no-adapt"], &[]);
    let stream = fixed.create(&json!({"adapt": true}));
    assert_eq!(stream["pipeline_params"]["engine"]["adapt"], false);
}
