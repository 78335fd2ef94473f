//! Streams with sessions of the demo model, without a network.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use dreamframe::frame::{FrameView, PixelFormat};
use dreamframe::load::ModelSource;
use dreamframe::params::ProcessorName;
use dreamframe::preprocess::{Context, Factory, Image, Preprocessor, Registry};
use dreamframe::transport::{FrameSink as _, VideoCodec};
use dreamframe_tests::controlnets::{Folder, RIFE};
use serde_json::{Map, Value, json};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::TryRecvError;

use super::session_manager::{Capacity, Phase};
use super::stream::Stream;
use crate::auth::{Caller, ControlToken};
use crate::config::Config;
use crate::ids;
use crate::wire::request::Request;

/// Nothing here takes so long, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(120);

/// A stream of small frames that pass through the chains alone.
pub(crate) fn stream(config: Config, more: &Value) -> Arc<Stream> {
    let mut params = json!({"width": 64, "height": 64, "skip_diffusion": true});
    params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let request = Request { params: params.as_object().unwrap().clone(), ..Request::default() };
    let identity = crate::saved::Identity::new(&Caller::local(), &ControlToken::new());
    Stream::new(&Arc::new(config), &Capacity::new(1, None), identity, request).unwrap()
}

/// Supervises the stream, with a frame each time, until it is as wanted.
async fn until(stream: &Arc<Stream>, what: &str, mut wanted: impl FnMut() -> bool) {
    let (began, pixels) = (Instant::now(), vec![90_u8; 64 * 64 * 3]);
    while !wanted() {
        let view = FrameView::packed(PixelFormat::Rgb8, 64, 64, &pixels).unwrap();
        stream.frames().frame(&view);
        stream.tick(ids::now_ms());
        assert!(began.elapsed() < PATIENCE, "{what}: {:?}", stream.trouble());
        tokio::task::yield_now().await;
    }
}

/// The notices so far.
fn all(notices: &mut Receiver<String>) -> Vec<Value> {
    let mut all = Vec::new();
    loop {
        match notices.try_recv() {
            Ok(text) => all.push(serde_json::from_str(&text).unwrap()),
            // The oldest were lost.
            Err(TryRecvError::Lagged(_)) => {}
            Err(TryRecvError::Empty | TryRecvError::Closed) => return all,
        }
    }
}

/// The first notice of a type among those so far.
fn notice(notices: &mut Receiver<String>, kind: &str) -> Value {
    let all = all(notices);
    all.iter().find(|notice| notice["type"] == kind).unwrap_or_else(|| panic!("{kind}: {all:?}")).clone()
}

/// A processor that waits while its gate is closed.
#[derive(Debug, Clone, Default)]
struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }
}

impl Preprocessor for Gate {
    fn run(&mut self, input: &Image, _: &Context<'_>, output: &mut Image) -> dreamframe::Result<()> {
        output.copy_from(input);
        let (is_open, opened) = &*self.0;
        drop(opened.wait_timeout_while(is_open.lock().unwrap(), PATIENCE, |is_open| !*is_open).unwrap());
        Ok(())
    }

    fn configure(&mut self, _: &Map<String, Value>) {}
}

impl Factory for Gate {
    fn start(&self, _: &Map<String, Value>) -> Box<dyn Preprocessor> {
        Box::new(self.clone())
    }
}

fn gated(frame_timeout: Duration) -> (Gate, Arc<Stream>) {
    let gate = Gate::default();
    let processors = Registry::new().with(ProcessorName::External, Arc::new(gate.clone()));
    let config = Config { frame_timeout, processors, ..Config::for_tests() };
    (gate, stream(config, &json!({"image_preprocessing": {"processors": [{"type": "external"}]}})))
}

#[tokio::test]
async fn a_session_whose_frame_hangs_is_restarted_and_publisher_and_viewers_stay() {
    let (gate, stream) = gated(Duration::from_secs(1));
    let mut notices = stream.subscribe_notices();
    let mut viewer = stream.egress().subscribe(VideoCodec::H264).unwrap();
    let _publication = stream.take_over();
    let restarts = || stream.trouble().restarts;
    until(&stream, "a restart", || restarts() == 1).await;
    assert!(stream.live());
    while viewer.next_within(Duration::ZERO).is_some() {}
    let logs = stream.trouble().last_restart_logs.clone().unwrap();
    for part in ["publisher connected", "loading the model", "ready", "error: a frame takes longer than 1 s"] {
        assert!(logs.iter().any(|line| line.contains(part)), "{part}: {logs:?}");
    }
    let error = notice(&mut notices, "error");
    assert!(error["error"].as_str().unwrap().contains("longer than 1 s"), "{error}");
    // The session that takes its place makes pictures, with the parameters of the stream.
    gate.open();
    until(&stream, "pictures", || stream.pictures_out()[0] > 0).await;
    assert_eq!(stream.session().unwrap().params().width, 64);
    assert!(stream.live() && viewer.next_within(PATIENCE).is_some());
}

#[tokio::test]
async fn no_more_than_two_sessions_of_a_stream_hang_and_the_last_one_stays() {
    let (gate, stream) = gated(Duration::from_millis(300));
    let _publication = stream.take_over();
    let last_error = || stream.trouble().last_error.clone().map(|(text, _)| text).unwrap_or_default();
    until(&stream, "the limit", || last_error().contains("2 sessions hang already")).await;
    assert_eq!((stream.trouble().restarts, stream.session_manager().phase()), (2, Phase::Running));
    gate.open();
    until(&stream, "pictures", || stream.pictures_out()[0] > 0).await;
}

#[tokio::test]
async fn a_stream_that_hangs_can_be_ended() {
    let (gate, stream) = gated(Duration::from_secs(3600));
    let _publication = stream.take_over();
    let hangs = || stream.session().is_some_and(|session| session.frame_time().is_some());
    until(&stream, "a frame that hangs", hangs).await;
    tokio::time::timeout(PATIENCE, stream.close(None)).await.unwrap();
    assert_eq!(stream.session_manager().phase(), Phase::Idle);
    gate.open();
}

#[tokio::test]
async fn a_model_that_cannot_be_loaded_is_reported_in_status_and_by_a_notice() {
    let empty = tempfile::tempdir().unwrap();
    let source = ModelSource::Folder(empty.path().into());
    let stream = stream(Config { source, ..Config::for_tests() }, &json!({}));
    let mut notices = stream.subscribe_notices();
    let _publication = stream.take_over();
    // It is sent after the failure is visible.
    let mut stopped = None;
    let is_stopped = |notice: &Value| notice["type"] == "stream_stopped";
    until(&stream, "the notice of a failure", || {
        stopped = all(&mut notices).into_iter().find(is_stopped);
        stopped.is_some()
    })
    .await;
    let stopped = stopped.unwrap();
    assert!(stream.failure().is_some());
    let status = stream.status(&"http://x".parse().unwrap());
    assert_eq!((&status["state"], &status["status"]), (&json!("ERROR"), &json!("error")));
    let error = status["inference_status"]["last_error"].as_str().unwrap();
    assert_eq!(stopped["error_message"], error);
    assert!(error.contains("not found") && !error.contains(empty.path().to_str().unwrap()), "{error}");
    assert_eq!(status["loading_progress"], json!(null));
}

/// A processor that panics when it is first created.
#[derive(Debug, Default)]
struct Defective(AtomicBool);

impl Factory for Defective {
    fn start(&self, _: &Map<String, Value>) -> Box<dyn Preprocessor> {
        assert!(self.0.swap(true, Ordering::Relaxed), "a defect");
        let gate = Gate::default();
        gate.open();
        Box::new(gate)
    }
}

#[tokio::test]
async fn after_a_panic_while_a_model_is_loaded_other_parameters_are_loaded() {
    let processors = Registry::new().with(ProcessorName::External, Arc::new(Defective::default()));
    let config = Config { processors, ..Config::for_tests() };
    let stream = stream(config, &json!({"image_preprocessing": {"processors": [{"type": "external"}]}}));
    let _publication = stream.take_over();
    until(&stream, "a failure", || stream.failure().is_some()).await;
    assert_eq!(stream.failure().as_deref(), Some("loading the model panicked"));
    assert_eq!(stream.loading_progress(), None);
    stream.update_values(json!({"seed": 3}).as_object().unwrap().clone()).unwrap();
    until(&stream, "pictures", || stream.pictures_out()[0] > 0).await;
}

#[tokio::test]
async fn an_update_that_fails_later_is_taken_back_and_reported() {
    let stream = stream(Config::for_tests(), &json!({}));
    let _publication = stream.take_over();
    until(&stream, "pictures", || stream.pictures_out()[0] > 0).await;
    let mut notices = stream.subscribe_notices();
    let before = stream.params();
    // Accepted, and then its network is not installed.
    let change = json!({"image_preprocessing": {"processors": [{"type": "depth"}]}});
    stream.update_values(change.as_object().unwrap().clone()).unwrap();
    assert_ne!(stream.params(), before);
    until(&stream, "the update is taken back", || stream.params() == before).await;
    let notified = all(&mut notices);
    let place = notified.iter().position(|notice| notice["type"] == "update_failed").unwrap();
    let failed = &notified[place];
    assert!(failed["error"].as_str().unwrap().contains("depth"), "{failed}");
    let updated = notified[place..].iter().find(|notice| notice["type"] == "parameters_updated").unwrap();
    assert_eq!(updated["parameters"]["image_preprocessing"]["processors"], json!([]));
    let status = stream.status(&"http://x".parse().unwrap());
    assert_eq!(status["last_error"], failed["error"]);
}

#[tokio::test]
async fn a_network_that_interpolates_is_loaded_and_one_that_is_missing_is_taken_back() {
    let parent = tempfile::tempdir().unwrap();
    let folder = Folder::new(parent.path().to_str().unwrap(), "interpolation");
    folder.rife();
    let source = ModelSource::Folder(folder.path().into());
    let stream = stream(Config { source, ..Config::for_tests() }, &json!({"model_id": "demo"}));
    let _publication = stream.take_over();
    until(&stream, "pictures", || stream.pictures_out()[0] > 0).await;
    let change = |id: &str| {
        let change = json!({"interpolation": {"factor": 2, "model_id": id}});
        stream.update_values(change.as_object().unwrap().clone()).unwrap();
        stream.params()
    };
    let loaded = change(RIFE[0]);
    assert_ne!(change("missing"), loaded);
    until(&stream, "the second update is taken back", || stream.params() == loaded).await;
    let pictures = stream.pictures_out()[0];
    until(&stream, "pictures", || stream.pictures_out()[0] > pictures).await;
    let status = stream.status(&"http://x".parse().unwrap());
    let error = status["last_error"].as_str().unwrap();
    assert!(error.contains("interpolation.model_id") && error.contains("missing"), "{error}");
}

#[tokio::test]
async fn clients_are_told_when_everything_is_loaded() {
    let stream = stream(Config::for_tests(), &json!({}));
    let mut notices = stream.subscribe_notices();
    let _publication = stream.take_over();
    let (mut notified, mut last) = (Vec::new(), None);
    until(&stream, "the end of loading", || {
        for progress in all(&mut notices).iter().filter(|notice| notice["type"] == "loading_progress") {
            last = progress["percent"].as_u64();
            notified.extend(last);
        }
        last == Some(100)
    })
    .await;
    assert!(notified.is_sorted() && notified.len() > 1, "{notified:?}");
    assert_eq!(stream.loading_progress(), None);
}

#[tokio::test]
async fn a_stream_that_nobody_uses_releases_its_session() {
    let stream = stream(Config { idle: Duration::ZERO, ..Config::for_tests() }, &json!({}));
    let publication = stream.take_over();
    until(&stream, "pictures", || stream.pictures_out()[0] > 0).await;
    drop(publication);
    until(&stream, "the end of the session", || stream.session().is_none()).await;
    assert!(stream.snapshot().is_none());
    let _publication = stream.take_over();
    let before = stream.pictures_out()[0];
    until(&stream, "pictures again", || stream.pictures_out()[0] > before).await;
    assert_eq!(stream.trouble().restarts, 0);
}

#[tokio::test]
async fn a_stream_that_does_not_fit_into_memory_is_refused_with_both_numbers() {
    let config = Arc::new(Config::for_tests());
    let identity = crate::saved::Identity::new(&Caller::local(), &ControlToken::new());
    let stream = Stream::new(&config, &Capacity::new(1, Some(1000)), identity, Request::default()).unwrap();
    for refused in [stream.check_room(), stream.wake()] {
        let error = refused.unwrap_err();
        assert_eq!((error.status().as_u16(), &error.details()["available_bytes"]), (503, &json!(1000)));
        assert!(error.message().contains("got 1000 bytes available"), "{}", error.message());
    }
    let _publication = stream.take_over();
    assert!(stream.trouble().last_error.as_ref().is_some_and(|(text, _)| text.contains("got 1000 bytes")));
}

#[tokio::test]
async fn a_prompt_is_reached_gradually_over_as_many_pictures_as_a_request_says() {
    let stream = stream(Config::for_tests(), &json!({"skip_diffusion": false, "prompt": "snow"}));
    let _publication = stream.take_over();
    until(&stream, "pictures", || stream.pictures_out()[0] > 0).await;
    let body = json!({"params": {"prompt": "fog"}, "transition": {"num_steps": 6}});
    stream.apply_gradually(Request::read(body.as_object().unwrap().clone()).unwrap()).unwrap();
    assert_eq!(stream.params().prompt, "fog".into());
    let progress = || stream.session().unwrap().stats().transition;
    let mut seen = Vec::new();
    until(&stream, "the transition", || {
        seen.extend(progress().filter(|now| !seen.contains(now)));
        !seen.is_empty() && progress().is_none()
    })
    .await;
    assert!(seen.iter().all(|(_, of)| *of == 6) && seen.is_sorted(), "{seen:?}");
}
