//! Clips: who creates, reads and deletes them, their videos in parts, and the folder in which they are stored.

use std::path::Path;
use std::time::Instant;

use serde_json::{Value, json};

use crate::client::{Answer, Server};
use crate::life::{PATIENCE, Publisher};

const KEYS: &[(&str, &str)] = &[("DREAMFRAME_API_KEYS", "first-secret-of-a-test,second-secret-of-a-test")];
const OTHER: &str = "authorization: Bearer second-secret-of-a-test";
const PROMPT: &str = "<script>\"snow\" & 'fog'</script>";

/// A server with keys, and a stream that is published to, whose style image is secret.
struct Live {
    server: Server,
    stream: Value,
    owner: String,
    _publisher: Publisher,
}

impl Live {
    fn start(arguments: &[&str]) -> Self {
        let server = Server::with(arguments, KEYS);
        let owner = "authorization: Bearer first-secret-of-a-test".to_owned();
        let style = "data:image/png;base64,c2VjcmV0";
        let params = json!({
            "prompt": PROMPT, "width": 256, "height": 256, "t_index_list": [44], "ip_adapter_style_image_url": style,
        });
        let stream = server.send("POST", "/v1/streams", &[&owner], json!({ "params": params }).to_string().as_bytes());
        assert_eq!(stream.status, 201, "{}", stream.text());
        let stream = stream.value();
        let publisher = Publisher::start(stream["whip_url"].as_str().unwrap());
        Self { server, stream, owner, _publisher: publisher }
    }

    fn ask(&self, authorization: &str, body: &str) -> Answer {
        let path = format!("/v1/streams/{}/clips", self.stream["id"].as_str().unwrap());
        self.server.send("POST", &path, &[authorization], body.as_bytes())
    }

    /// Creates a clip, as soon as there are pictures.
    fn clip(&self) -> Value {
        let began = Instant::now();
        loop {
            let answer = self.ask(&self.owner, r#"{"seconds": 3}"#);
            if answer.status == 201 {
                let clip = answer.value();
                assert_eq!(answer.header("location"), format!("/clips/{}", clip["id"].as_str().unwrap()));
                return clip;
            }
            assert_eq!(answer.status, 404, "{}", answer.text());
            assert!(began.elapsed() < PATIENCE, "no pictures");
        }
    }
}

/// The path of a clip's page.
fn page_of(clip: &Value) -> String {
    format!("/clips/{}", clip["id"].as_str().unwrap())
}

fn names_in(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_clip_is_read_by_everyone_with_its_link_and_deleted_by_the_owner_of_its_stream() {
    let live = Live::start(&[]);
    let server = &live.server;
    live.ask("x-none: 1", "{}").expect_error(401);
    live.ask(OTHER, "{}").expect_error(403);
    let clip = live.clip();
    let page = page_of(&clip);
    assert_eq!(clip["url"], format!("http://{}{page}", server.address));
    assert_eq!(clip["video_url"], format!("http://{}{page}/video.mp4", server.address));
    assert_eq!((&clip["seconds"], &clip["params"]["prompt"]), (&json!(3), &json!(PROMPT)));
    assert_eq!((&clip["width"], &clip["height"]), (&json!(256), &json!(256)));
    // Without a key from here on.
    assert_eq!(server.get(&format!("{page}/clip.json")).value(), clip);
    let html = server.get(&page);
    assert_eq!((html.status, html.header("content-type")), (200, "text/html; charset=utf-8"));
    assert!(html.header("content-security-policy").starts_with("default-src 'none'; script-src 'self';"));
    let text = html.text();
    assert!(text.contains("&lt;script&gt;&quot;snow&quot; &amp; &#39;fog&#39;&lt;/script&gt;"), "{text}");
    let metadata = format!("<meta property=\"og:video\" content=\"{}\">", clip["video_url"].as_str().unwrap());
    assert!(text.contains(&metadata) && text.contains("href=\"../#preset=%7B"), "{text}");
    for secret in ["c2VjcmV0", "ip_adapter_style_image_url", "key_", live.stream["id"].as_str().unwrap()] {
        assert!(!text.contains(secret) && !clip.to_string().contains(secret), "{secret}");
    }
    let path = format!("/v1/clips/{}", clip["id"].as_str().unwrap());
    let delete = |authorization: &str| server.send("DELETE", &path, &[authorization], b"");
    delete("x-none: 1").expect_error(401);
    delete(OTHER).expect_error(403);
    let other = server.send("POST", "/v1/streams", &[&live.owner], b"{}").value();
    let token = |stream: &Value| format!("authorization: Bearer {}", stream["control_token"].as_str().unwrap());
    delete(&token(&other)).expect_error(403);
    assert_eq!(delete(&token(&live.stream)).status, 200);
    delete(&live.owner).expect_error(404);
    for path in [page.clone(), format!("{page}/video.mp4"), format!("{page}/clip.json")] {
        assert_eq!(server.get(&path).status, 404, "{path}");
    }
}

#[test]
fn a_video_is_sent_whole_or_in_parts_from_memory_and_from_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    for arguments in [vec![], vec!["--clips", folder.path().to_str().unwrap()]] {
        let live = Live::start(&arguments);
        let clip = live.clip();
        let path = format!("{}/video.mp4", page_of(&clip));
        let whole = live.server.get(&path);
        let length = whole.body.len();
        assert_eq!((whole.status, whole.header("content-type")), (200, "video/mp4"));
        assert_eq!((whole.header("accept-ranges"), clip["bytes"].as_u64()), ("bytes", Some(length as u64)));
        assert_eq!(&whole.body[4..8], b"ftyp");
        let part = |range: &str| live.server.send("GET", &path, &[&format!("range: {range}")], b"");
        let begin = part("bytes=0-1");
        assert_eq!((begin.status, &begin.body[..]), (206, &whole.body[..2]));
        assert_eq!(begin.header("content-range"), format!("bytes 0-1/{length}"));
        assert_eq!(begin.header("content-length"), "2");
        let end = part("bytes=100-");
        assert_eq!((end.status, &end.body[..]), (206, &whole.body[100..]));
        assert_eq!(end.header("content-range"), format!("bytes 100-{}/{length}", length - 1));
        assert_eq!(part("bytes=-7").body, whole.body[length - 7..]);
        let beyond = part(&format!("bytes={length}-"));
        beyond.expect_error(416);
        assert_eq!(beyond.header("content-range"), format!("bytes */{length}"));
        assert_eq!(part("bytes=0-1,4-5").body, whole.body);
        let known = live.server.send("GET", &path, &[&format!("if-none-match: {}", whole.header("etag"))], b"");
        assert_eq!((known.status, known.body.len()), (304, 0));
        let head = live.server.send("HEAD", &path, &[], b"");
        assert_eq!((head.status, head.header("content-length"), head.body.len()), (200, &*length.to_string(), 0));
    }
}

#[test]
fn clips_of_a_folder_survive_a_restart_and_foreign_files_stay() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("clip_foreign.json"), "{}").unwrap();
    let arguments = ["--clips", folder.path().to_str().unwrap()];
    let live = Live::start(&arguments);
    let clip = live.clip();
    let page = page_of(&clip);
    let video = live.server.get(&format!("{page}/video.mp4")).body;
    let owner = live.owner.clone();
    drop(live);
    let id = clip["id"].as_str().unwrap();
    let mut expected = vec![format!("{id}.json"), format!("{id}.mp4"), "clip_foreign.json".to_owned()];
    expected.sort();
    assert_eq!(names_in(folder.path()), expected);
    let server = Server::with(&arguments, KEYS);
    assert_eq!(server.get(&format!("{page}/video.mp4")).body, video);
    assert_eq!(server.get(&format!("{page}/clip.json")).value()["params"], clip["params"]);
    assert_eq!(server.get("/clips/clip_foreign").status, 404);
    assert_eq!(server.send("DELETE", &format!("/v1/clips/{id}"), &[&owner], b"").status, 200);
    assert_eq!(names_in(folder.path()), ["clip_foreign.json"]);
}

#[test]
fn requests_for_clips_that_cannot_be_created_are_refused_with_the_reason() {
    let server = Server::start();
    let path = format!("{}/clips", server.stream(json!({"model_id": "demo"})));
    let error = server.json("POST", &path, &json!({})).expect_error(404);
    assert_eq!(error["code"], "STREAMS/OFFLINE");
    for seconds in [json!(2), json!(11), json!("x"), json!(-3), json!(4.5), json!([])] {
        let error = server.json("POST", &path, &json!({ "seconds": seconds })).expect_error(400);
        assert_eq!(error["error"], format!("seconds: got {seconds}, expected a whole number from 3 to 10"));
    }
    server.json("POST", "/v1/streams/str_1/clips", &json!({})).expect_error(404);
    server.send("DELETE", "/v1/clips/clip_1", &[], b"").expect_error(404);
    let missing = server.get("/clips/clip_1");
    assert_eq!((missing.status, missing.header("content-type")), (404, "text/html; charset=utf-8"));
    server.get("/clips/clip_1/video.mp4").expect_error(404);
}

#[test]
fn a_stream_has_a_limited_number_of_clips_a_minute() {
    let live = Live::start(&[]);
    live.clip();
    let statuses: Vec<_> = (1..7).map(|_| live.ask(&live.owner, "{}")).collect();
    let (last, before) = statuses.split_last().unwrap();
    assert!(before.iter().all(|answer| answer.status == 201), "{:?}", before.iter().map(|a| a.status));
    let error = last.expect_error(429);
    assert_eq!((&error["code"], &error["details"]["limit"]), (&json!("SERVER/LIMIT"), &json!(6)));
    assert!((1..=60).contains(&last.header("retry-after").parse::<u32>().unwrap()));
}
