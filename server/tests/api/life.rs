//! Streams that live: a publisher, pictures, viewers, changes meanwhile, and the end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use dreamframe::Stamp;
use dreamframe::frame::{FrameView, PixelFormat};
use dreamframe::transport::peer::PeerState;
use dreamframe::transport::{Client, ClientOptions, Egress, EgressOptions, FrameSink, now, play, publish};
use serde_json::{Value, json};

use crate::client::Server;

/// Long, for machines that do other things as well.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// A publisher of a moving pattern, 30 times per second.
pub(crate) struct Publisher {
    client: Option<Client>,
    moving: Arc<AtomicBool>,
    end: Option<std::sync::mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Publisher {
    pub(crate) fn start(url: &str) -> Self {
        let egress = Egress::new(EgressOptions::default());
        let client = publish(url, ClientOptions::default(), egress.clone()).unwrap();
        let (end, ended) = channel::<()>();
        let moving = Arc::new(AtomicBool::new(true));
        let goes = moving.clone();
        let thread = std::thread::spawn(move || {
            let mut pixels = vec![0_u8; 320 * 240 * 3];
            for tick in 0_usize.. {
                if goes.load(Ordering::Relaxed) {
                    for (at, pixel) in pixels.chunks_exact_mut(3).enumerate() {
                        pixel.fill((at + tick * 7) as u8);
                    }
                    let view = FrameView::packed(PixelFormat::Rgb8, 320, 240, &pixels).unwrap();
                    egress.show(&view.with_stamp(Stamp { timestamp: now(), ..Stamp::default() }));
                }
                if ended.recv_timeout(Duration::from_millis(33)) != Err(RecvTimeoutError::Timeout) {
                    break;
                }
            }
        });
        client.wait_for(PeerState::Connected, PATIENCE).unwrap();
        Self { client: Some(client), moving, end: Some(end), thread: Some(thread) }
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        drop(self.end.take());
        drop(self.client.take());
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Hands on the size of each picture.
#[derive(Debug)]
struct Sizes(SyncSender<(u32, u32)>);

impl FrameSink for Sizes {
    fn frame(&self, frame: &FrameView<'_>) {
        let _ = self.0.try_send((frame.width(), frame.height()));
    }
}

pub(crate) fn watch(url: &str) -> (Client, Receiver<(u32, u32)>) {
    let (sizes, seen) = sync_channel(4);
    (play(url, ClientOptions::default(), Arc::new(Sizes(sizes))).unwrap(), seen)
}

pub(crate) fn data(server: &Server, path: &str) -> Value {
    server.get(&format!("{path}/status")).value()["data"].clone()
}

/// Asks for the status until it is as wanted.
pub(crate) fn until(server: &Server, path: &str, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    until_with(server, path, &[], what, wanted)
}

/// Like [`until`], sending `headers`.
pub(crate) fn until_with(
    server: &Server,
    path: &str,
    headers: &[&str],
    what: &str,
    wanted: impl Fn(&Value) -> bool,
) -> Value {
    let began = Instant::now();
    loop {
        let data = server.send("GET", &format!("{path}/status"), headers, b"").value()["data"].clone();
        if wanted(&data) {
            return data;
        }
        assert!(began.elapsed() < PATIENCE, "{what}: {data:#}");
    }
}

pub(crate) fn made(server: &Server) -> (String, String, String) {
    let stream = server.create(&json!({"params": {"width": 256, "height": 256, "t_index_list": [44]}}));
    let text = |key: &str| stream[key].as_str().unwrap().to_owned();
    let whep = text("whip_url").replace("/whip", "-out/whep");
    (format!("/v1/streams/{}", text("id")), text("whip_url"), whep)
}

/// Lines 9, 11, 12, 24, 26 and 44: from the first viewer to the end of the publisher.
#[test]
fn a_stream_lives_from_its_first_viewer_to_the_end_of_its_publisher() {
    let server = Server::start();
    let (path, whip, whep) = made(&server);
    // Before ingest, a viewer sees the loading picture.
    let (viewer, seen) = watch(&whep);
    assert_eq!(seen.recv_timeout(PATIENCE), Ok((256, 256)));
    assert_eq!(data(&server, &path)["state"], "OFFLINE");
    let patch = |params: Value| {
        let answer = server.json("PATCH", &path, &json!({ "params": params }));
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.value()["params"].clone()
    };
    assert_eq!(patch(json!({"prompt": "before"}))["prompt"], "before");
    let publisher = Publisher::start(&whip);
    let live = until(&server, &path, "pictures", |data| {
        data["inference_status"]["fps"].as_f64().unwrap() > 0.0
            && !["OFFLINE", "LOADING"].contains(&data["state"].as_str().unwrap())
    });
    // The address to hand out does not have the key, which would let viewers publish.
    let playback = server.get(&path).value()["output_playback_id"].as_str().unwrap().to_owned();
    assert_eq!(live["gateway_status"]["whep_url"], format!("http://{}/webrtc/{playback}", server.address));
    let tracks = &live["gateway_status"]["ingest_metrics"]["stats"]["track_stats"];
    assert!(tracks[0]["packets_received"].as_u64().unwrap() > 0, "{tracks}");
    // While live: equal patches change nothing, others take effect immediately.
    let whole = patch(json!({"prompt": "while", "seed": -3}));
    for _ in 0..50 {
        assert_eq!(patch(whole.clone()), whole);
    }
    assert_eq!(server.get(&path).value()["params"], whole);
    assert_eq!(data(&server, &path)["inference_status"]["restart_count"], 0);
    assert!(seen.recv_timeout(PATIENCE).is_ok());
    // The publisher freezes, then disconnects.
    publisher.moving.store(false, Ordering::Relaxed);
    until(&server, &path, "a frozen publisher", |data| data["state"] == "DEGRADED_INPUT");
    drop(publisher);
    until(&server, &path, "the end", |data| data["state"] == "OFFLINE");
    assert_eq!(patch(json!({"prompt": "after"}))["prompt"], "after");
    assert_eq!(viewer.state(), PeerState::Connected);
}

#[test]
fn pictures_that_the_safety_checker_replaces_are_reported_and_are_no_new_ones() {
    let server = Server::start();
    let (path, whip, _) = made(&server);
    let id = path.rsplit('/').next().unwrap();
    let beta = || server.json("POST", &format!("/beta/streams/{id}/prompts"), &json!({})).value();
    assert_eq!(beta()["was_censored"], false);
    // Every picture is at the threshold.
    let checked = json!({"params": {"use_safety_checker": true, "safety_checker_threshold": 0.0}});
    assert_eq!(server.json("PATCH", &path, &checked).status, 200);
    let _publisher = Publisher::start(&whip);
    let figures = |data: &Value| {
        let inference = &data["inference_status"];
        ["pictures", "flagged_pictures"].map(|name| inference[name].as_u64().unwrap())
    };
    let data = until(&server, &path, "flagged pictures", |data| figures(data)[1] > 2);
    assert_eq!(figures(&data)[0], 0, "{data:#}");
    let inference = &data["inference_status"];
    assert_eq!((&inference["fps"], &inference["was_censored"]), (&json!(0.0), &json!(true)), "{data:#}");
    assert_eq!((&data["was_censored"], &beta()["was_censored"]), (&json!(true), &json!(true)));
    let metrics = server.get("/metrics").text();
    let metric = |name: &str| {
        let name = format!("dreamframe_stream_{name}{{stream=\"{id}\"}} ");
        metrics.lines().find_map(|line| line.strip_prefix(&name)?.parse::<f64>().ok()).unwrap()
    };
    assert!(metric("pictures_flagged_total") > 2.0 && metric("pictures_total") == 0.0, "{metrics}");
    // The status of the stream object follows the state.
    assert_eq!(server.get(&path).value()["status"].as_str(), data["status"].as_str());
    let lenient = json!({"params": {"use_safety_checker": false}});
    assert_eq!(server.json("PATCH", &path, &lenient).status, 200);
    until(&server, &path, "new pictures", |data| {
        figures(data)[0] > 0 && data["inference_status"]["was_censored"] == false
    });
}

#[test]
fn as_many_streams_make_pictures_as_may_and_then_503_with_the_figure() {
    let server = Server::with(&["--max-sessions", "1"], &[]);
    let ((_, first, _), (_, second, _)) = (made(&server), made(&server));
    let _publisher = Publisher::start(&first);
    let path = second.split_once(&server.address).unwrap().1;
    let answer = server.send("POST", path, &["content-type: application/sdp"], b"v=0\r\n");
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert!(answer.text().contains('1') && answer.header("retry-after").parse::<u32>().is_ok(), "{}", answer.text());
}

#[test]
fn a_stream_that_does_not_fit_into_the_memory_limit_is_503_with_both_numbers() {
    let server = Server::with(&["--memory-limit", "64K"], &[]);
    let (_, whip, _) = made(&server);
    let path = whip.split_once(&server.address).unwrap().1;
    let answer = server.send("POST", path, &["content-type: application/sdp"], b"v=0\r\n");
    let error = answer.expect_error(503);
    assert_eq!((&error["code"], &error["details"]["available_bytes"]), (&json!("SERVER/MEMORY"), &json!(65536)));
    assert!(error["details"]["needed_bytes"].as_u64().unwrap() > 65536, "{error}");
    assert!(answer.header("retry-after").parse::<u32>().is_ok());
}

#[test]
fn a_server_is_ready_when_its_models_are_preloaded() {
    let server = Server::with(&["--preload", "demo"], &[]);
    let began = Instant::now();
    loop {
        let answer = server.get("/ready");
        if answer.status == 200 {
            break;
        }
        assert_eq!((answer.status, &answer.value()["status"]), (503, &json!("loading")));
        assert!(began.elapsed() < PATIENCE);
    }
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_dreamframe"));
    let empty = tempfile::tempdir().unwrap();
    command.args(["serve", "--bind", "127.0.0.1:0", "--rtmp", "off", "--preload", "none/such", "--models"]);
    let output = command.arg(empty.path()).env_remove("DREAMFRAME_API_KEYS").output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && text.contains("preload: none/such: "), "{text}");
}

#[test]
fn a_server_that_is_asked_to_end_does_so_in_five_seconds() {
    let mut server = Server::start();
    let (_, whip, _) = made(&server);
    let _publisher = Publisher::start(&whip);
    let began = Instant::now();
    server.ask_to_end();
    let status = server.child.wait().unwrap();
    assert!(status.success(), "{status}");
    assert!(began.elapsed() < Duration::from_secs(7), "{:?}", began.elapsed());
}

#[test]
fn public_server_requires_keys() {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_dreamframe"));
    let output = command.args(["serve", "--bind", "0.0.0.0:0"]).env_remove("DREAMFRAME_API_KEYS").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--keys"));
}

#[test]
fn with_a_certificate_the_server_speaks_https() {
    let folder = tempfile::tempdir().unwrap();
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let (certificate, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    std::fs::write(&certificate, cert.pem()).unwrap();
    std::fs::write(&key, signing_key.serialize_pem()).unwrap();
    let arguments = ["--tls-cert", certificate.to_str().unwrap(), "--tls-key", key.to_str().unwrap()];
    let server = Server::with(&arguments, &[]);
    let root = ureq::tls::Certificate::from_pem(cert.pem().as_bytes()).unwrap();
    let tls = ureq::tls::TlsConfig::builder().root_certs(ureq::tls::RootCerts::new_with_certs(&[root])).build();
    let agent: ureq::Agent = ureq::Agent::config_builder().tls_config(tls).build().into();
    let mut answer = agent.post(format!("https://{}/v1/streams", server.address)).send("{}").unwrap();
    assert_eq!(answer.status(), 201);
    let stream: Value = serde_json::from_str(&answer.body_mut().read_to_string().unwrap()).unwrap();
    assert!(stream["whip_url"].as_str().unwrap().starts_with("https://127.0.0.1:"), "{stream}");
}
