//! RTMP in and out, HLS and recordings: FFmpeg publishes, receives, plays and looks, where it is installed.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use dreamframe_tests::native::REQUIRE_TOOLS;
use serde_json::{Value, json};

use crate::client::{Answer, Server};

/// A small picture, since the demo model shall make several a second on any machine.
const PARAMS: &str = r#"{"model_id": "demo", "width": 128, "height": 128}"#;

/// Nothing here takes so long, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(120);

/// FFmpeg at work; it ends with the test.
struct Ffmpeg(Child);

impl Drop for Ffmpeg {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn is_installed() -> bool {
    let found = Command::new("ffmpeg").arg("-version").stdout(Stdio::null()).status().is_ok();
    assert!(found || std::env::var_os(REQUIRE_TOOLS).is_none(), "ffmpeg is missing");
    if !found {
        eprintln!("skipped: there is no FFmpeg here");
    }
    found
}

fn ffmpeg(arguments: &str) -> Ffmpeg {
    let mut command = Command::new("ffmpeg");
    command.args(["-hide_banner", "-loglevel", "error", "-y"]).args(arguments.split_whitespace());
    Ffmpeg(command.stdin(Stdio::null()).spawn().unwrap())
}

/// Asserts that a file has the pictures and the sound of the publisher, which both can be decoded.
#[track_caller]
fn assert_plays(path: &Path) {
    let said = probe(path);
    let is_there = |what: &str| said.iter().any(|said| said.starts_with(what) && !said.ends_with(",0"));
    assert!(said.len() == 2 && is_there("h264,video,128,128,") && is_there("aac,audio,"), "{said:?}");
}

/// The output of `ffprobe` for the tracks of a file, with the number of frames that it decoded.
fn probe(path: &Path) -> Vec<String> {
    let entries = "stream=codec_type,codec_name,width,height,nb_read_frames";
    let arguments = ["-v", "error", "-count_frames", "-show_entries", entries, "-of", "csv=p=0"];
    let output = Command::new("ffprobe").args(arguments).arg(path).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

/// An address that nothing listens at, a moment ago.
fn free() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

/// Asks again and again until the answer is as wanted.
fn until(ask: impl Fn() -> Answer, wanted: impl Fn(&Answer) -> bool) -> Answer {
    let start = Instant::now();
    loop {
        let answer = ask();
        if wanted(&answer) {
            return answer;
        }
        assert!(start.elapsed() < PATIENCE, "still {} {}", answer.status, answer.text());
        std::thread::sleep(Duration::from_millis(100));
    }
}

struct Published {
    server: Server,
    stream: Value,
    publisher: Ffmpeg,
}

/// A server with a stream that FFmpeg publishes to by RTMP, with B-frames and sound.
fn published(push_url: &str) -> Published {
    published_to(push_url, &[])
}

/// The same, to a server with more options.
fn published_to(push_url: &str, options: &[&str]) -> Published {
    let address = free();
    let server = Server::with(&[&["--rtmp", &address], options].concat(), &[]);
    let params: Value = serde_json::from_str(PARAMS).unwrap();
    let stream = server.create(&json!({"pipeline": "streamdiffusion", "output_rtmp_url": push_url, "params": params}));
    let key = stream["stream_key"].as_str().unwrap();
    let publisher = ffmpeg(&format!(
        "-re -f lavfi -i testsrc2=s=128x128:r=15 -f lavfi -i sine -c:v libx264 -preset ultrafast -profile:v main -bf 2 -g 15 \
         -pix_fmt yuv420p -c:a aac -f flv rtmp://{address}/aiWebrtc/{key}?token=x"
    ));
    Published { server, stream, publisher }
}

#[test]
fn rtmp_publication_plays_as_hls_and_can_be_recorded() {
    if !is_installed() {
        return;
    }
    let Published { server, stream, publisher: _publisher } = published("");
    let playlist = format!("/hls/{}/index.m3u8", stream["output_playback_id"].as_str().unwrap());
    let listed =
        until(|| server.get(&playlist), |answer| answer.status == 200 && answer.text().matches("#EXTINF").count() >= 3);
    assert_eq!(listed.header("content-type"), "application/vnd.apple.mpegurl");
    assert_eq!(listed.header("cache-control"), "no-cache");
    assert_eq!(listed.header("vary"), "Origin");
    let segment = listed.text().lines().rfind(|line| line.ends_with(".m4s")).unwrap().to_owned();
    let segment = server.get(&playlist.replace("index.m3u8", &segment));
    assert_eq!((segment.status, segment.header("content-type")), (200, "video/iso.segment"));
    assert!(segment.header("cache-control").contains("immutable"));
    // The sound begins as late as the first pictures, maybe after some segments.
    let newest = || {
        let listed = server.get(&playlist).text().to_owned();
        let init =
            listed.lines().filter_map(|line| line.strip_prefix("#EXT-X-MAP:URI=\"")?.strip_suffix('"')).next_back();
        server.get(&playlist.replace("index.m3u8", init.unwrap_or_default()))
    };
    until(newest, |init| init.body.windows(4).any(|name| name == b"mp4a"));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("played.mp4");
    let url = format!("http://{}{playlist}", server.address);
    let mut player = ffmpeg(&format!("-live_start_index -2 -i {url} -t 2 -c copy -loglevel fatal {}", path.display()));
    assert!(player.0.wait().unwrap().success());
    assert_plays(&path);
    let recording = format!("/v1/streams/{}/recording?seconds=3", stream["id"].as_str().unwrap());
    let recorded = until(|| server.get(&recording), |answer| answer.status == 200);
    assert_eq!(recorded.header("content-type"), "video/mp4");
    let path = folder.path().join("recorded.mp4");
    std::fs::write(&path, &recorded.body).unwrap();
    assert_plays(&path);
    let status = server.get(&format!("/v1/streams/{}/status", stream["id"].as_str().unwrap())).value();
    assert!(status["data"]["gateway_status"]["whep_url"].is_string(), "{status}");
}

#[test]
fn video_that_is_too_large_is_refused_with_both_sizes() {
    if !is_installed() {
        return;
    }
    let Published { server, stream, publisher: _publisher } = published_to("", &["--max-video-side", "64"]);
    let status = format!("/v1/streams/{}/status", stream["id"].as_str().unwrap());
    until(|| server.get(&status), |answer| answer.text().contains("got 128x128, expected at most 64x64"));
}

#[test]
fn stream_is_pushed_with_audio_to_a_service_that_starts_late() {
    if !is_installed() {
        return;
    }
    let url = format!("rtmp://{}/live/secret", free());
    let Published { server, stream, publisher: _publisher } = published(&url);
    let status = format!("/v1/streams/{}/status", stream["id"].as_str().unwrap());
    // There is no publisher yet, which is visible without the key.
    let failed = until(|| server.get(&status), |answer| answer.value()["data"]["gateway_status"]["error"].is_object());
    let error = failed.value()["data"]["gateway_status"]["error"].to_string();
    assert!(error.contains("pushing by RTMP fails") && !error.contains("secret"), "{error}");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("received.flv");
    let mut service = ffmpeg(&format!("-listen 1 -i {url} -c copy -f flv {}", path.display()));
    until(|| server.get(&status), |answer| answer.value()["data"]["gateway_status"]["error"].is_null());
    let pushed = |answer: &Answer| answer.value()["data"]["gateway_status"]["pushed_audio"].clone();
    until(|| server.get(&status), |answer| pushed(answer) == json!({"codec": "aac", "reason": null}));
    let start = Instant::now();
    while path.metadata().map_or(0, |file| file.len()) < 8192 {
        assert!(start.elapsed() < PATIENCE, "nothing arrives");
        std::thread::sleep(Duration::from_millis(100));
    }
    let path_of_stream = format!("/v1/streams/{}", stream["id"].as_str().unwrap());
    assert_eq!(server.send("DELETE", &path_of_stream, &[], b"").status, 200);
    // FFmpeg calls the end of a connection an error.
    service.0.wait().unwrap();
    assert_plays(&path);
}

#[test]
fn missing_hls_and_recordings_are_rejected_with_the_reason() {
    let server = Server::start();
    let stream = server.create(&json!({"pipeline": "streamdiffusion", "params": {"model_id": "demo"}}));
    let (id, playback) = (stream["id"].as_str().unwrap(), stream["output_playback_id"].as_str().unwrap());
    for path in [
        format!("/hls/{playback}/index.m3u8"),
        format!("/hls/{playback}/seg_0.m4s"),
        format!("/hls/{playback}/..%2fx"),
        "/hls/lp_1/index.m3u8".to_owned(),
        format!("/hls/{id}/index.m3u8"),
    ] {
        let error = server.get(&path).expect_error(404);
        assert_eq!(error["error"], "Stream is offline", "{path}");
    }
    server.get(&format!("/v1/streams/{id}/recording")).expect_error(404);
    for seconds in ["2", "11", "x", "-3", ""] {
        server.get(&format!("/v1/streams/{id}/recording?seconds={seconds}")).expect_error(400);
    }
    server.get("/v1/streams/str_1/recording").expect_error(404);
    for url in ["http://a/b/c", "rtmp://host", "rtmps://host"] {
        let body = json!({"pipeline": "streamdiffusion", "output_rtmp_url": url, "params": {"model_id": "demo"}});
        server.json("POST", "/v1/streams", &body).expect_error(400);
    }
}
