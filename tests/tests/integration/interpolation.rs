//! Pictures that a session interpolates between those of the demo model.

use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use dreamframe::{
    Cost, FrameView, Outcome, ParamsPatch, Picture, PictureKind, PixelFormat, Session, SessionOptions, Stamp, Timestamp,
};
use dreamframe_tests::frames::{demo_engine, moving_disc};

const SIDE: u32 = 64;
/// How long anything may take before the test fails.
const LIMIT: Duration = Duration::from_secs(120);
/// The time between two frames, by their stamps.
const APART: u64 = 40_000_000;

fn start(factor: u32) -> (Session, Receiver<Picture>) {
    let (sender, pictures) = mpsc::channel();
    let mut options = SessionOptions::default();
    options.on_picture = Some(Box::new(move |handle, _| {
        if let Some(picture) = handle.poll() {
            // An error: the test has ended.
            let _ = sender.send(picture);
        }
    }));
    let engine = demo_engine(SIDE, |params, _| {
        params.interpolation.factor = factor;
        params.interpolation.scene_cut = 1.0;
    });
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
