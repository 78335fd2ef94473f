//! Requests of clients that cannot run here, replayed as described in `tests/recorded/README.md`.

use std::path::Path;

use serde_json::Value;

use crate::client::Server;

fn folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recorded")
}

/// The requests of a file: a title, what is sent, and the status that the client needs.
fn requests(text: &str) -> Vec<(String, String, u16)> {
    let request = |part: &str| {
        let (title, rest) = part.split_once('\n').unwrap();
        let (sent, status) = rest.rsplit_once("\n> ").unwrap();
        (title.trim().to_owned(), sent.to_owned(), status.trim().parse().unwrap())
    };
    text.split("### ").skip(1).map(request).collect()
}

/// Puts a file in place of `{{offer:…}}`, with the ends of lines that descriptions have.
fn with_offer(body: &str) -> String {
    let Some((_, rest)) = body.split_once("{{offer:") else { return body.to_owned() };
    let name = rest.split_once("}}").unwrap().0;
    std::fs::read_to_string(folder().join(format!("{name}.sdp"))).unwrap().replace('\n', "\r\n")
}

/// The page that one of the clients is part of. Without keys, a server answers pages of other machines if they are allowed.
const PAGE: &str = "https://www.example.com";

fn replay(name: &str) {
    let server = Server::with(&["--allow-origin", PAGE], &[]);
    let text = std::fs::read_to_string(folder().join(format!("{name}.http"))).unwrap();
    let (mut id, mut key, mut playback) = (String::new(), String::new(), String::new());
    let requests = requests(&text);
    assert!(requests.len() > 2);
    for (title, sent, status) in requests {
        let sent = sent.replace("{{id}}", &id).replace("{{key}}", &key);
        let (head, body) = sent.split_once("\n\n").unwrap_or((&sent, ""));
        let body = with_offer(body.trim_end());
        let head =
            format!("{}\nHost: {}\nConnection: close\nContent-Length: {}", head.trim_end(), server.address, body.len());
        let answer = server.raw(&head, body.as_bytes());
        assert_eq!(answer.status, status, "{name}: {title}: {}", answer.text());
        let page = if head.contains(&format!("Origin: {PAGE}")) { PAGE } else { "" };
        assert_eq!(answer.header("access-control-allow-origin"), page, "{name}: {title}");
        let is_media = answer.header("content-type").starts_with("application/sdp");
        if status == 201 && is_media {
            assert!(answer.header("location").starts_with(&format!("http://{}/live/", server.address)), "{title}");
            assert!(answer.header("etag").starts_with('"') && answer.text().starts_with("v=0\r\n"), "{title}");
            if head.contains("/whip ") {
                // Whoever gets this address to watch must not be able to publish, so that it does not have the key.
                let playback = format!("http://{}/webrtc/{playback}", server.address);
                assert_eq!(answer.header("livepeer-playback-url"), playback);
                let data = server.get(&format!("/v1/streams/{id}/status")).value()["data"].clone();
                assert_eq!(data["gateway_status"]["whep_url"], answer.header("livepeer-playback-url"));
            }
        } else if status == 201 {
            let stream = answer.value();
            let text = |key: &str| stream[key].as_str().unwrap().to_owned();
            (id, key, playback) = (text("id"), text("stream_key"), text("output_playback_id"));
        } else if status == 200 && head.starts_with("PATCH") {
            let sent: Value = serde_json::from_str(&body).unwrap();
            let params = &answer.value()["params"];
            for (name, value) in sent["params"].as_object().unwrap() {
                // Numbers and objects are returned with defaults filled in.
                if value.is_string() || value.is_boolean() {
                    assert_eq!(&params[name], value, "{title}");
                }
            }
        }
    }
}

/// Lines 27, 35 and 40 as well: headers, any key or none, a second publisher before the first has ended.
#[test]
fn the_obs_plugin_is_served() {
    replay("obs");
}

/// Line 44 as well: a viewer before there is anything to see.
#[test]
fn touchdesigner_is_served() {
    replay("touchdesigner");
}

#[test]
fn the_unity_package_is_served() {
    replay("unity");
}

/// Line 24, its first half: the address for viewers is in the status as soon as an offer was answered.
#[test]
fn the_chrome_extension_is_served() {
    replay("chrome-extension");
}

#[test]
fn brewdream_is_served() {
    replay("brewdream");
}

#[test]
fn metadj_is_served() {
    replay("metadj");
}
