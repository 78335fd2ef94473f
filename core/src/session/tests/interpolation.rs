//! Pictures between pictures, through a session.

use std::sync::mpsc::{self, Receiver};
use std::thread::{self, ThreadId};
use std::time::Instant;

use super::super::endpoint::Phase;
use super::super::events::Event;
use super::super::options::FailedFrame;
use super::super::threads::Threads;
use super::toy::Toy;
use super::{LIMIT, Running};
use crate::engine::{PictureInfo, PictureKind};
use crate::error::ErrorKind;
use crate::frame::FrameId;

/// Starts a session whose pictures, and the threads on which they were shown, are received.
fn shown() -> (Running, Receiver<(PictureInfo, ThreadId)>) {
    let (send, received) = mpsc::channel();
    let (toy, script) = Toy::new();
    let threads = Threads::start(toy, FailedFrame::Repeat, |_, _| {
        Some(Box::new(move |info| {
            let _ = send.send((*info, thread::current().id()));
        }))
    });
    (Running { threads: threads.unwrap(), script }, received)
}

/// Submits a frame, and returns what is shown up to its picture.
fn next(running: &Running, received: &Receiver<(PictureInfo, ThreadId)>) -> Vec<(PictureInfo, ThreadId)> {
    let id = running.submit(0).unwrap();
    let mut shown = Vec::new();
    loop {
        let picture = received.recv_timeout(LIMIT).expect("a picture");
        shown.push(picture);
        if (picture.0.id, picture.0.kind) == (id, PictureKind::New) {
            return shown;
        }
    }
}

#[test]
fn pictures_are_interpolated_before_that_of_their_frame_and_counted_apart() {
    let (running, received) = shown();
    running.apply(r#"{"interpolation": {"factor": 4}}"#);
    let (mut frames, mut interpolated) = (0, 0);
    let deadline = Instant::now() + LIMIT;
    while interpolated < 6 {
        assert!(Instant::now() < deadline, "interpolated pictures: got {interpolated}, expected 6");
        let shown = next(&running, &received);
        let (made, others) = shown.split_last().unwrap();
        assert!(others.len() <= 3, "{others:?}");
        for (info, _) in others {
            assert_eq!(info.kind, PictureKind::Interpolated);
            assert_eq!((info.id, info.source_id, info.version), (made.0.id, made.0.source_id, made.0.version));
        }
        (frames, interpolated) = (frames + 1, interpolated + others.len() as u64);
    }
    let (counters, now) = (&running.threads.endpoint.counters, Instant::now());
    assert_eq!((counters.computed.rate(now).total, counters.interpolated.rate(now).total), (frames, interpolated));
}

#[test]
fn pictures_are_shown_by_the_sessions_thread_again_once_interpolation_is_off() {
    let (running, received) = shown();
    let own = next(&running, &received)[0].1;
    let deadline = Instant::now() + LIMIT;
    for _ in 0..3 {
        running.apply(r#"{"interpolation": {"factor": 2}}"#);
        let shown = next(&running, &received);
        assert!(shown.iter().all(|(_, thread)| *thread != own));
        running.apply(r#"{"interpolation": {"factor": 1}}"#);
        loop {
            let shown = next(&running, &received);
            assert_eq!(shown.len(), 1, "no more than one picture for a frame");
            if shown[0].1 == own {
                break;
            }
            assert!(Instant::now() < deadline, "the session's thread shows no pictures");
        }
    }
}

#[test]
fn stopping_shows_the_pictures_that_are_left() {
    let (running, received) = shown();
    running.apply(r#"{"interpolation": {"factor": 2}}"#);
    next(&running, &received);
    let ids: Vec<FrameId> = (0..2).map(|_| running.submit(0).unwrap()).collect();
    let endpoint = running.threads.endpoint.clone();
    running.stop();
    assert_eq!(endpoint.outbox.take().map(|picture| (picture.id, picture.kind)), Some((ids[1], PictureKind::New)));
    assert_eq!(received.try_iter().last().map(|(info, _)| info.id), Some(ids[1]));
}

#[test]
fn panic_of_the_callback_is_reported_and_pictures_continue() {
    let (toy, script) = Toy::new();
    let threads =
        Threads::start(toy, FailedFrame::Repeat, |_, _| Some(Box::new(|_| panic!("a mistake between pictures"))));
    let running = Running { threads: threads.unwrap(), script };
    running.apply(r#"{"interpolation": {"factor": 3}}"#);
    running.next_picture();
    let failed = running.event(|event| matches!(event, Event::CallbackFailed { .. }));
    assert!(format!("{failed:?}").contains("a mistake between pictures"));
    running.next_picture();
}

#[test]
fn a_session_can_neither_stop_itself_nor_wait_for_itself_where_pictures_are_shown() {
    let (send, received) = mpsc::channel();
    let (hand_over, handed) = mpsc::channel::<Threads<Toy>>();
    let (toy, script) = Toy::new();
    let threads = Threads::start(toy, FailedFrame::Repeat, |_, _| {
        Some(Box::new(move |_| {
            if let Ok(threads) = handed.recv() {
                let _ = send.send(threads.stop(LIMIT).unwrap_err().kind());
            }
        }))
    });
    let running = Running { threads: threads.unwrap(), script };
    running.apply(r#"{"interpolation": {"factor": 2}}"#);
    running.submit(0).unwrap();
    let endpoint = running.threads.endpoint.clone();
    hand_over.send(running.threads).unwrap();
    assert_eq!(received.recv_timeout(LIMIT), Ok(ErrorKind::InvalidArgument));
    // It was dropped there, which ends it without waiting for itself.
    let ended = || (endpoint.phase() == Phase::Ended).then_some(());
    assert!(endpoint.event_log.news.wait_until(Some(Instant::now() + LIMIT), ended).is_some());
}
