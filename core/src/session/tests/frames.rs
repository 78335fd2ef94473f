//! Frames through a session: order, loss, failure, end.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::super::events::Event;
use super::super::options::FailedFrame;
use super::super::threads::Threads;
use super::toy::{FAILS, PANICS, Toy, WAITS};
use super::{LIMIT, Running, start};
use crate::engine::PictureKind;
use crate::error::ErrorKind;
use crate::frame::FrameId;

#[test]
fn a_picture_names_its_frame() {
    let running = start();
    for expected in 0..5 {
        let picture = running.next_picture();
        assert_eq!(
            (picture.id, picture.source_id, picture.kind),
            (FrameId(expected), FrameId(expected), PictureKind::New)
        );
    }
    assert!(running.threads.endpoint.outbox.take().is_none(), "a picture is given once");
}

#[test]
fn the_newest_frame_wins_and_the_others_are_counted() {
    let running = start();
    running.submit(WAITS).unwrap();
    running.script.wait_for("frame");
    let ids: Vec<_> = (0..3).map(|_| running.submit(0).unwrap()).collect();
    running.script.open("frame");
    let last = running
        .until("the last picture", || running.threads.endpoint.outbox.take().filter(|picture| picture.id == ids[2]));
    assert_eq!(last.source_id, FrameId(3));
    let counters = &running.threads.endpoint.counters;
    let now = std::time::Instant::now();
    assert_eq!((counters.submitted.rate(now).total, counters.dropped.rate(now).total), (4, 2));
    assert_eq!(counters.computed.rate(now).total, 2);
}

#[test]
fn failed_frames_repeat_the_last_picture_and_the_third_is_reported() {
    let running = start();
    assert_eq!(running.next_picture().kind, PictureKind::New);
    for expected in 1..=3 {
        running.submit(FAILS).unwrap();
        let picture = running.picture();
        assert_eq!(
            (picture.kind, picture.id, picture.source_id),
            (PictureKind::Repeated, FrameId(expected), FrameId(0))
        );
    }
    let mut failed = 0;
    running.event(|event| {
        failed += usize::from(matches!(event, Event::FrameFailed { .. }));
        matches!(event, Event::Degraded { .. })
    });
    assert_eq!(failed, 3);
    assert_eq!(running.next_picture().kind, PictureKind::New);
    running.event(|event| matches!(event, Event::Recovered));
    let now = std::time::Instant::now();
    let counters = &running.threads.endpoint.counters;
    assert_eq!((counters.failed.rate(now).total, counters.repeated.rate(now).total), (3, 3));
}

#[test]
fn a_failed_frame_may_give_no_picture_at_all() {
    let (toy, script) = Toy::new();
    let running = Running { threads: Threads::start(toy, FailedFrame::Skip, |_, _| None).unwrap(), script };
    running.next_picture();
    let failed = running.submit(FAILS).unwrap();
    running.event(|event| matches!(event, Event::FrameFailed { id, .. } if *id == failed));
    assert_eq!(running.next_picture().id, FrameId(2));
    assert!(running.threads.endpoint.outbox.is_empty());
}

#[test]
fn panic_of_the_engine_ends_the_session_with_an_event() {
    let running = start();
    running.submit(PANICS).unwrap();
    let stopped = running.event(|event| matches!(event, Event::Stopped { .. }));
    let Event::Stopped { error: Some(error) } = stopped else { panic!("{stopped:?} has no reason") };
    assert_eq!(error.kind(), ErrorKind::Internal);
    assert!(error.to_string().contains("a frame that panics"), "{error}");
    running.until("the end", || running.submit(0).is_err().then_some(()));
    assert_eq!(running.submit(0).unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(running.update(r#"{"delta": 0.5}"#).unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(running.threads.stop(LIMIT).unwrap_err().kind(), ErrorKind::Internal);
}

#[test]
fn panic_of_the_callback_is_reported_once_and_pictures_continue() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let (toy, script) = Toy::new();
    let threads = Threads::start(toy, FailedFrame::Repeat, |_, _| {
        Some(Box::new(move |_| {
            counted.fetch_add(1, Ordering::Relaxed);
            panic!("a host's mistake");
        }))
    });
    let running = Running { threads: threads.unwrap(), script };
    running.next_picture();
    let failed = running.event(|event| matches!(event, Event::CallbackFailed { .. }));
    assert!(format!("{failed:?}").contains("a host's mistake"));
    running.next_picture();
    running.stop();
    assert_eq!(calls.load(Ordering::Relaxed), 1);
}

#[test]
fn a_picture_can_be_taken_inside_the_callback() {
    let (send, taken) = std::sync::mpsc::channel();
    let (toy, script) = Toy::new();
    let threads = Threads::start(toy, FailedFrame::Repeat, |endpoint, _| {
        let endpoint = endpoint.clone();
        Some(Box::new(move |info| {
            let picture = endpoint.outbox.take().filter(|picture| picture.id == info.id);
            let _ = send.send(picture.is_some());
        }))
    });
    let running = Running { threads: threads.unwrap(), script };
    running.submit(0).unwrap();
    assert_eq!(taken.recv_timeout(LIMIT), Ok(true));
}

#[test]
fn stopping_does_the_waiting_frame_and_gives_the_machine_back() {
    let running = start();
    running.submit(WAITS).unwrap();
    running.script.wait_for("frame");
    running.submit(0).unwrap();
    running.script.open("frame");
    let endpoint = running.threads.endpoint.clone();
    running.stop();
    assert_eq!(endpoint.outbox.take().map(|picture| picture.id), Some(FrameId(1)));
    assert_eq!(endpoint.counters.computed.rate(std::time::Instant::now()).total, 2);
}

#[test]
fn stopping_in_the_middle_of_a_long_frame_times_out() {
    let running = start();
    running.submit(WAITS).unwrap();
    running.script.wait_for("frame");
    let Running { threads, script } = running;
    let endpoint = threads.endpoint.clone();
    assert_eq!(threads.stop(Duration::ZERO).unwrap_err().kind(), ErrorKind::Timeout);
    script.open("frame");
    let deadline = Some(std::time::Instant::now() + LIMIT);
    let ended = || (endpoint.phase() == super::super::endpoint::Phase::Ended).then_some(());
    assert!(endpoint.event_log.news.wait_until(deadline, ended).is_some(), "the thread ends by itself");
}

#[test]
fn a_session_cannot_stop_itself_from_its_callback() {
    let (send, received) = std::sync::mpsc::channel();
    let (hand_over, handed) = std::sync::mpsc::channel::<Threads<Toy>>();
    let (toy, script) = Toy::new();
    let threads = Threads::start(toy, FailedFrame::Repeat, |_, _| {
        Some(Box::new(move |_| {
            if let Ok(threads) = handed.recv() {
                let _ = send.send(threads.stop(LIMIT).unwrap_err().kind());
            }
        }))
    });
    let running = Running { threads: threads.unwrap(), script };
    running.submit(0).unwrap();
    let endpoint = running.threads.endpoint.clone();
    hand_over.send(running.threads).unwrap();
    assert_eq!(received.recv_timeout(LIMIT), Ok(ErrorKind::InvalidArgument));
    // It was dropped there, which ends it without waiting for itself.
    let deadline = Some(std::time::Instant::now() + LIMIT);
    let ended = || (endpoint.phase() == super::super::endpoint::Phase::Ended).then_some(());
    assert!(endpoint.event_log.news.wait_until(deadline, ended).is_some());
}
