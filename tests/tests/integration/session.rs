//! A session with the demo model: what a host sees of it.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use dreamframe::{
    Cost, ErrorKind, Event, FrameId, FrameView, Outcome, ParamsPatch, Picture, PictureKind, PixelFormat, Session,
    SessionHandle, SessionOptions, Ticket, Transition,
};
use dreamframe_tests::frames::{demo_engine, moving_disc, pictures};

const SIDE: u32 = 64;
/// How long anything may take before the test fails.
const LIMIT: Duration = Duration::from_secs(120);

fn start() -> Session {
    demo_engine(SIDE, |_, _| ()).start(SessionOptions::default()).unwrap()
}

fn submit(handle: &SessionHandle, index: usize) -> FrameId {
    let pixels = moving_disc(index, SIDE, SIDE);
    handle.submit(&FrameView::packed(PixelFormat::Rgba8, SIDE, SIDE, &pixels).unwrap()).unwrap()
}

/// The picture that comes out with a new frame.
fn picture(handle: &SessionHandle, index: usize) -> Picture {
    let id = submit(handle, index);
    let deadline = Instant::now() + LIMIT;
    loop {
        let picture = handle.wait(deadline.saturating_duration_since(Instant::now())).expect("a picture in time");
        if picture.id == id {
            return picture;
        }
    }
}

fn update(handle: &SessionHandle, patch: &str) -> Ticket {
    handle.update(&ParamsPatch::from_json(patch).unwrap()).unwrap()
}

fn apply(handle: &SessionHandle, patch: &str) -> Ticket {
    let ticket = update(handle, patch);
    let outcome = handle.wait_for(&ticket, LIMIT).unwrap();
    assert!(matches!(outcome, Outcome::Applied), "{patch}: {outcome:?}");
    ticket
}

#[test]
fn a_session_makes_the_pictures_of_its_engine() {
    let session = start();
    let handle = session.handle();
    let threaded: Vec<_> = (0..4).map(|index| picture(&handle, index).frame.pixels().to_vec()).collect();
    assert!(threaded == pictures(&mut demo_engine(SIDE, |_, _| ()), 4));
    let mut engine = session.stop(LIMIT).unwrap();
    assert_eq!(pictures(&mut engine, 1).len(), 1, "the engine goes on");
}

#[test]
fn a_wait_for_readiness_does_not_take_the_picture() {
    let session = start();
    let handle = session.handle();
    assert!(!handle.wait_ready(Duration::ZERO));
    let id = submit(&handle, 0);
    assert!(handle.wait_ready(LIMIT));
    assert_eq!(handle.poll().map(|picture| picture.id), Some(id));
    drop(session);
    assert!(!handle.wait_ready(LIMIT), "it ends with the session");
}

#[test]
fn pictures_name_their_frames_and_lost_frames_are_counted() {
    let session = start();
    let handle = session.handle();
    for index in 0..50 {
        submit(&handle, index);
    }
    let last = picture(&handle, 50);
    assert_eq!(last.id, FrameId(50));
    assert!(last.source_id < last.id, "the demo has two rows: a picture is of the frame before");
    let stats = handle.stats();
    assert_eq!(stats.submitted.total, 51);
    assert_eq!(stats.computed.total + stats.dropped.total, 51, "a frame is worked on or dropped");
    assert!(stats.stages.iter().any(|stage| stage.name == "unet" && stage.micros.median > 0.0));
}

#[test]
fn an_update_counts_from_the_first_frame_after_it_was_applied() {
    let session = start();
    let handle = session.handle();
    assert_eq!(picture(&handle, 0).version, 0);
    let ticket = apply(&handle, r#"{"skip_diffusion": true}"#);
    assert_eq!((ticket.version, ticket.cost), (1, Some(Cost::Hot)));
    let passed = picture(&handle, 1);
    assert_eq!((passed.kind, passed.version), (PictureKind::Passed, 1));
    assert_eq!(handle.active_version(), 1);
    let applied = handle.events().next_within(LIMIT);
    assert!(matches!(applied, Some(Event::UpdateApplied { version: 1, .. })), "{applied:?}");
}

#[test]
fn updates_of_every_cost_are_applied_while_frames_are_processed() {
    let session = start();
    let handle = session.handle();
    for (patch, cost) in [
        (r#"{"delta": 0.4}"#, Cost::Hot),
        (r#"{"prompt": "moonlit night"}"#, Cost::Recompute),
        (r#"{"t_index_list": [38, 43, 47]}"#, Cost::Recompute),
        (r#"{"width": 128}"#, Cost::Rebuild),
        (r#"{"model_id": "another", "width": 64}"#, Cost::Rebuild),
    ] {
        let ticket = update(&handle, patch);
        assert_eq!(ticket.cost, Some(cost), "{patch}");
        // Pictures come whether or not it is ready.
        let mut shown = picture(&handle, 0);
        while handle.active_version() < ticket.version {
            shown = picture(&handle, 0);
        }
        assert_eq!(picture(&handle, 1).version, ticket.version, "{patch}");
        assert!(shown.version <= ticket.version);
    }
    assert_eq!(handle.stats().failed.total, 0);
}

#[test]
fn a_slider_that_moves_while_a_model_loads_is_kept() {
    let session = start();
    let handle = session.handle();
    let load = update(&handle, r#"{"model_id": "another", "width": 128, "delta": 0.2}"#);
    let slider = update(&handle, r#"{"delta": 0.9}"#);
    let prompt = update(&handle, r#"{"prompt": "a mosaic"}"#);
    for ticket in [&load, &slider, &prompt] {
        let outcome = handle.wait_for(ticket, LIMIT).unwrap();
        assert!(matches!(outcome, Outcome::Applied), "{outcome:?}");
    }
    let desired = handle.params();
    let engine = session.stop(LIMIT).unwrap();
    assert_eq!(engine.params(), &desired);
    assert_eq!((desired.delta, desired.width, desired.model_id.as_str()), (0.9, 128, "another"));
    let mut engine = engine;
    let mut fresh = demo_engine(SIDE, |params, _| *params = desired);
    // The session has seen no frame, so both begin at the first.
    assert!(pictures(&mut engine, 3) == pictures(&mut fresh, 3));
}

#[test]
fn rejected_message_changes_nothing_and_has_a_reason() {
    let session = start();
    let handle = session.handle();
    let before = handle.params();
    for (patch, path) in [
        (r#"{"delta": 0.1, "t_index_list": [51]}"#, "t_index_list[0]"),
        (r#"{"delta": 0.1, "width": 136}"#, "width, height"),
    ] {
        let refused = handle.update(&ParamsPatch::from_json(patch).unwrap()).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidParams);
        assert_eq!(refused.violations()[0].path, path);
    }
    let too_large = ParamsPatch::from_json(r#"{"controlnets": [{"model_id": "no/such", "preprocessor": "canny"}]}"#);
    if let Ok(ticket) = handle.update(&too_large.unwrap()) {
        let outcome = handle.wait_for(&ticket, LIMIT).unwrap();
        assert!(matches!(outcome, Outcome::Rejected(_)), "{outcome:?}");
    }
    assert_eq!(handle.params(), before);
    assert_eq!(session.stop(LIMIT).unwrap().params(), &before);
}

#[test]
fn parameters_can_be_edited_in_place_and_planned_without_a_change() {
    let session = start();
    let handle = session.handle();
    let plan = handle.plan(&ParamsPatch::from_json(r#"{"width": 128, "delta": 0.3}"#).unwrap()).unwrap();
    assert_eq!((plan.cost(), plan.changes().len(), plan.frees_first()), (Some(Cost::Rebuild), 2, false));
    let ticket = handle.edit(|params| params.delta = 0.3).unwrap();
    assert!(matches!(handle.wait_for(&ticket, LIMIT), Ok(Outcome::Applied)));
    assert_eq!((handle.params().delta, handle.params().width), (0.3, SIDE));
    assert_eq!(handle.edit(|params| params.delta = -1.0).unwrap_err().kind(), ErrorKind::InvalidParams);
}

#[test]
fn repeated_pictures_are_distinguished_from_computed_ones() {
    let engine = demo_engine(SIDE, |params, _| {
        params.enable_similar_image_filter = true;
        params.similar_image_filter_max_skip_frame = 3;
        params.similar_image_filter_threshold = 0.5;
    });
    let session = engine.start(SessionOptions::default()).unwrap();
    let handle = session.handle();
    let kinds: Vec<_> = (0..9).map(|_| picture(&handle, 0).kind).collect();
    use PictureKind::{New, Repeated};
    assert_eq!(kinds, [New, Repeated, Repeated, Repeated, New, Repeated, Repeated, Repeated, New]);
    let stats = handle.stats();
    assert_eq!((stats.computed.total, stats.skipped.total, stats.repeated.total), (3, 6, 0));
}

#[test]
fn callback_is_called_for_each_picture_and_can_take_it() {
    let (send, heard) = mpsc::channel();
    let mut options = SessionOptions::default();
    options.on_picture = Some(Box::new(move |handle, info| {
        let _ = send.send((info.id, handle.poll().map(|picture| picture.id)));
    }));
    let session = demo_engine(SIDE, |_, _| ()).start(options).unwrap();
    let id = submit(&session.handle(), 0);
    assert_eq!(heard.recv_timeout(LIMIT), Ok((id, Some(id))));
    session.stop(LIMIT).unwrap();
}

#[test]
fn handle_of_an_ended_session_returns_closed() {
    let session = start();
    let handle = session.handle();
    let pending = update(&handle, r#"{"width": 128}"#);
    drop(session);
    assert!(!handle.is_running() && handle.wait(LIMIT).is_none());
    let pixels = moving_disc(0, SIDE, SIDE);
    let view = FrameView::packed(PixelFormat::Rgba8, SIDE, SIDE, &pixels).unwrap();
    assert_eq!(handle.submit(&view).unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(handle.edit(|params| params.delta = 0.1).unwrap_err().kind(), ErrorKind::Closed);
    match handle.wait_for(&pending, LIMIT) {
        Ok(Outcome::Applied) => {}
        other => assert_eq!(other.unwrap_err().kind(), ErrorKind::Closed),
    }
    let stopped = handle.events().try_iter().find(|event| matches!(event, Event::Stopped { error: None }));
    assert!(stopped.is_some());
}

#[test]
fn a_transition_takes_a_step_for_each_picture_as_the_engines_does() {
    let way: Transition = serde_json::from_str(r#"{"target_prompts": "moonlit night", "num_steps": 4}"#).unwrap();
    let engine = || {
        demo_engine(SIDE, |params, _| {
            params.t_index_list = vec![30];
            params.prompt = "flowers".into();
        })
    };
    let mut alone = engine();
    alone.transition(&way).unwrap();
    let expected = pictures(&mut alone, 5);

    let session = engine().start(SessionOptions::default()).unwrap();
    let handle = session.handle();
    let ticket = handle.transition(&way).unwrap();
    assert!(matches!(handle.wait_for(&ticket, LIMIT).unwrap(), Outcome::Applied));
    let mut shown = Vec::new();
    for (index, steps) in [Some((1, 4)), Some((2, 4)), Some((3, 4)), None, None].into_iter().enumerate() {
        // The step is prepared during the previous frame; a host that does not wait for it may see a step twice.
        let deadline = Instant::now() + LIMIT;
        while handle.stats().transition != steps {
            assert!(Instant::now() < deadline, "waited for step {steps:?}");
            std::thread::yield_now();
        }
        shown.push(picture(&handle, index).frame.pixels().to_vec());
    }
    assert!(shown == expected);
    assert_eq!(handle.params().prompt, "moonlit night".into());
}

#[test]
fn an_engine_takes_the_rest_of_its_transition_along_into_a_session_and_out_of_it() {
    let way: Transition = serde_json::from_str(r#"{"target_prompts": "moonlit night", "num_steps": 200}"#).unwrap();
    let mut engine = demo_engine(SIDE, |_, _| ());
    engine.transition(&way).unwrap();
    pictures(&mut engine, 2);
    let session = engine.start(SessionOptions::default()).unwrap();
    let handle = session.handle();
    let deadline = Instant::now() + LIMIT;
    while handle.stats().transition.is_some_and(|(step, _)| step < 5) {
        assert!(Instant::now() < deadline);
        picture(&handle, 0);
    }
    let mut engine = session.stop(LIMIT).unwrap();
    let before = engine.snapshot().unwrap().transition().expect("it is on its way");
    pictures(&mut engine, 3);
    assert_eq!(engine.snapshot().unwrap().transition(), Some((before.0 + 3, 200)));
}
