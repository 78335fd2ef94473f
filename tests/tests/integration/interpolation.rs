//! Pictures that a session interpolates between those of the demo model.

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use dreamframe::{
    Cost, Engine, Error, ErrorKind, FrameView, Outcome, ParamsPatch, Picture, PictureKind, PixelFormat, Session,
    SessionOptions, Stamp, Timestamp,
};
use dreamframe_tests::controlnets::{Folder, RIFE};
use dreamframe_tests::frames::{demo_engine, moving_disc};
use serde_json::{Value, json};

const SIDE: u32 = 64;
/// How long anything may take before the test fails.
const LIMIT: Duration = Duration::from_secs(120);
/// The time between two frames, by their stamps.
const APART: u64 = 40_000_000;

fn start(factor: u32) -> (Session, Receiver<Picture>) {
    session(demo_engine(SIDE, |params, _| {
        params.interpolation.factor = factor;
        params.interpolation.scene_cut = 1.0;
    }))
}

/// Starts a session whose engine has the models of `folder`.
fn start_in(folder: &Folder, model_id: Option<&str>) -> (Session, Receiver<Picture>) {
    session(folder.engine(SIDE, |params, _| {
        params.interpolation.factor = 2;
        params.interpolation.scene_cut = 1.0;
        params.interpolation.model_id = model_id.map(str::to_owned);
    }))
}

fn session(engine: Engine) -> (Session, Receiver<Picture>) {
    let (sender, pictures) = mpsc::channel();
    let mut options = SessionOptions::default();
    options.on_picture = Some(Box::new(move |handle, _| {
        if let Some(picture) = handle.poll() {
            // An error: the test has ended.
            let _ = sender.send(picture);
        }
    }));
    (engine.start(options).unwrap(), pictures)
}

/// Submits a frame, and returns what is shown up to its picture.
fn next(session: &Session, pictures: &Receiver<Picture>, index: u64) -> Vec<Picture> {
    let pixels = moving_disc(index as usize % 8, SIDE, SIDE);
    let frame = FrameView::packed(PixelFormat::Rgba8, SIDE, SIDE, &pixels).unwrap();
    let stamp = Stamp { timestamp: Timestamp(APART * index), tag: index };
    let id = session.handle().submit(&frame.with_stamp(stamp)).unwrap();
    let mut shown = Vec::new();
    loop {
        shown.push(pictures.recv_timeout(LIMIT).expect("a picture in time"));
        if shown.last().is_some_and(|picture| picture.id == id && picture.kind != PictureKind::Interpolated) {
            return shown;
        }
    }
}

#[test]
fn interpolated_pictures_have_their_own_kind_and_times_between_the_others() {
    let (session, pictures) = start(2);
    let (mut last, mut interpolated) = (next(&session, &pictures, 0).pop().unwrap(), 0);
    let deadline = Instant::now() + LIMIT;
    for index in 1.. {
        let mut shown = next(&session, &pictures, index);
        let made = shown.pop().unwrap();
        assert_eq!(made.kind, PictureKind::New);
        for between in &shown {
            assert_eq!((between.kind, between.source_id), (PictureKind::Interpolated, made.source_id));
            assert_eq!((between.frame.width(), between.frame.format()), (made.frame.width(), made.frame.format()));
            let times = [&last, between, &made].map(|picture| picture.frame.timestamp());
            // The first pictures are made from the same frame.
            assert!(
                if times[0] < times[2] { times.is_sorted_by(|a, b| a < b) } else { times[1] == times[2] },
                "{times:?}"
            );
            assert_eq!(between.frame.stamp().tag, made.frame.stamp().tag);
            interpolated += 1;
        }
        last = made;
        if interpolated >= 5 {
            break;
        }
        assert!(Instant::now() < deadline, "interpolated pictures: got {interpolated}, expected 5");
    }
    let stats = session.handle().stats();
    assert_eq!((stats.interpolated.total, stats.submitted.total), (interpolated, stats.computed.total));
}

#[test]
fn interpolation_changes_between_two_frames_at_the_lowest_cost_and_the_pictures_made_stay_the_same() {
    let (plain, (session, pictures)) = (start(1), start(1));
    for index in 0..8 {
        if index % 2 == 0 {
            let patch = format!(r#"{{"interpolation": {{"factor": {}}}}}"#, 1 + (index + 2) % 4);
            let ticket = session.handle().update(&ParamsPatch::from_json(&patch).unwrap()).unwrap();
            assert_eq!(ticket.cost, Some(Cost::Hot));
            assert!(matches!(session.handle().wait_for(&ticket, LIMIT).unwrap(), Outcome::Applied));
        }
        let (own, other) = (next(&session, &pictures, index), next(&plain.0, &plain.1, index));
        assert_eq!(other.len(), 1, "nothing is interpolated by default");
        assert!(own.last().unwrap().frame.pixels() == other[0].frame.pixels());
    }
    assert_eq!(session.handle().stats().failed.total, 0);
}

/// Makes an update that loads a network while pictures are shown, and returns its error and the next index.
fn load((session, pictures): &(Session, Receiver<Picture>), model_id: &Value, from: u64) -> (Option<Arc<Error>>, u64) {
    let patch = json!({"interpolation": {"model_id": model_id}}).to_string();
    let handle = session.handle();
    let ticket = handle.update(&ParamsPatch::from_json(&patch).unwrap()).unwrap();
    assert_eq!(ticket.cost, Some(Cost::Load));
    let deadline = Instant::now() + LIMIT;
    for index in from.. {
        assert_eq!(next(session, pictures, index).last().unwrap().kind, PictureKind::New);
        match handle.wait_for(&ticket, Duration::ZERO) {
            Ok(Outcome::Applied) => return (None, index + 1),
            Ok(Outcome::Rejected(error)) => return (Some(error), index + 1),
            Ok(other) => panic!("{other:?}"),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Timeout, "{error}"),
        }
        assert!(Instant::now() < deadline, "{model_id} takes too long");
    }
    unreachable!("indices do not end")
}

#[test]
fn a_network_makes_other_pictures_than_the_flow() {
    let folder = Folder::new(env!("CARGO_TARGET_TMPDIR"), "interpolation-network");
    folder.rife();
    let all = [None, Some(RIFE[0]), Some(RIFE[1])].map(|id| start_in(&folder, id));
    let deadline = Instant::now() + LIMIT;
    for index in 0.. {
        let mut shown = all.each_ref().map(|(session, pictures)| next(session, pictures, index));
        let made = shown.each_mut().map(|shown| shown.pop().unwrap());
        assert!(made.iter().all(|picture| picture.frame.pixels() == made[0].frame.pixels()));
        // The first pictures are made from the same frame.
        if index >= 3
            && let [[flow], [one], [other]] = shown.each_ref().map(Vec::as_slice)
        {
            let [flow, one, other] = [flow, one, other].map(|picture| picture.frame.pixels());
            assert!(flow != one && flow != other && one != other);
            return;
        }
        assert!(Instant::now() < deadline, "no picture was interpolated by all");
    }
}

#[test]
fn a_network_changes_live_and_a_file_of_another_one_is_refused_while_pictures_continue() {
    let folder = Folder::new(env!("CARGO_TARGET_TMPDIR"), "interpolation-live");
    folder.rife();
    folder.flow();
    let running = start_in(&folder, None);
    let handle = running.0.handle();
    let (failed, index) = load(&running, &json!(RIFE[0]), 0);
    assert!(failed.is_none(), "{failed:?}");
    let raft = "torchvision/raft_small/raft_small_C_T_V2-01064c6d.safetensors";
    let (failed, index) = load(&running, &json!(raft), index);
    let failed = failed.expect("another network is refused");
    assert_eq!(failed.kind(), ErrorKind::BadModel);
    assert!(failed.to_string().starts_with("interpolation.model_id: "), "{failed}");
    assert_eq!(handle.params().interpolation.model_id.as_deref(), Some(RIFE[0]));
    let (failed, index) = load(&running, &json!("none"), index);
    assert_eq!(failed.map(|error| error.kind()), Some(ErrorKind::NotFound));
    let (failed, index) = load(&running, &json!(RIFE[1]), index);
    assert!(failed.is_none(), "{failed:?}");
    let (failed, _) = load(&running, &Value::Null, index);
    assert!(failed.is_none(), "{failed:?}");
    let stats = handle.stats();
    assert_eq!((stats.failed.total, stats.submitted.total), (0, stats.computed.total));
    assert!(stats.interpolated.total > 0);
}
