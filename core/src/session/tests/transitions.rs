//! Transitions of the prompt in a session: a step for each frame, without waiting.

use super::super::event_log::End;
use super::super::events::Event;
use super::toy::HAS_NO_WAY;
use super::{Running, start};
use crate::conditioning::transition::Transition;
use crate::error::ErrorKind;
use crate::params::{Cost, Interpolation, StreamDiffusionParams, Weighted};

impl Running {
    /// Returns the step of the transition that the picture of a new frame shows; 0 for none.
    fn step(&self) -> u8 {
        self.next_picture().frame.pixels()[2]
    }

    /// Begins a transition, and waits for its first step.
    fn begin(&self, prompt: &str, num_steps: u32) {
        let ticket = self.transition(prompt, num_steps).unwrap();
        assert_eq!(self.end(&ticket), End::Applied);
    }
}

#[test]
fn each_picture_takes_a_step_at_most_and_the_last_one_is_the_targets() {
    let running = start();
    assert_eq!(running.step(), 0);
    let ticket = running.transition("snow", 4).unwrap();
    assert_eq!((ticket.version, ticket.cost, ticket.changes.len()), (1, Some(Cost::Recompute), 1));
    assert_eq!(running.end(&ticket), End::Applied);
    // Steps do not advance without frames.
    assert_eq!(running.threads.queue.progress(), Some((1, 4)));
    let mut shown = vec![running.step()];
    while shown.last() != Some(&0) {
        shown.push(running.step());
    }
    shown.dedup();
    assert_eq!(shown, [1, 2, 3, 0]);
    assert_eq!(running.threads.queue.progress(), None);
    assert_eq!(running.next_picture().version, 1);
    assert_eq!(running.stop().prompt, "snow".into());
}

#[test]
fn transition_of_few_steps_is_an_immediate_change() {
    let running = start();
    for (steps, prompt) in [(0, "snow"), (1, "fog")] {
        running.begin(prompt, steps);
        assert_eq!((running.step(), running.desired().prompt), (0, prompt.into()));
    }
}

#[test]
fn slider_keeps_a_transition_and_another_prompt_ends_it() {
    let running = start();
    running.begin("snow", 200);
    let before = running.step();
    running.apply(r#"{"delta": 0.3}"#);
    let picture = running.next_picture();
    let now = picture.frame.pixels()[2];
    assert!(picture.frame.pixels()[1] == 3 && now > 0 && now >= before, "{before} to {now}");
    running.apply(r#"{"prompt": "fog"}"#);
    assert_eq!(running.step(), 0);
}

#[test]
fn transition_to_the_desired_prompt_takes_its_steps() {
    let running = start();
    running.apply(r#"{"prompt": "snow"}"#);
    let ticket = running.transition("snow", 3).unwrap();
    assert_eq!((ticket.version, ticket.changes.len(), running.end(&ticket)), (2, 0, End::Applied));
    assert_eq!(running.step(), 1);
}

#[test]
fn a_model_arrives_while_a_transition_is_under_way() {
    let running = start();
    running.begin("snow", 250);
    let load = running.update(r#"{"model_id": "slow/model"}"#).unwrap();
    running.script.wait_for("slow/model");
    let before = running.step();
    running.script.open("slow/model");
    let end = loop {
        running.step();
        if let Some(end) = running.threads.endpoint.event_log.end(load.version).unwrap() {
            break end;
        }
    };
    assert_eq!(end, End::Applied);
    assert!(before > 0);
    assert_eq!((running.desired().prompt, running.desired().model_id.as_str()), ("snow".into(), "slow/model"));
}

#[test]
fn a_prompt_that_came_later_is_not_undone_by_a_transition_that_waited() {
    let running = start();
    let load = running.update(r#"{"model_id": "slow/model", "prompt": "rain"}"#).unwrap();
    running.script.wait_for("slow/model");
    let way = running.transition("snow", 9).unwrap();
    let prompt = running.update(r#"{"prompt": "fog"}"#).unwrap();
    running.script.open("slow/model");
    for ticket in [&load, &prompt] {
        assert_eq!(running.end(ticket), End::Applied);
    }
    assert_ne!(running.end(&way), End::Rejected);
    assert_eq!(running.step(), 0);
    assert_eq!(running.stop().prompt, "fog".into());
}

#[test]
fn failing_transition_step_is_reported_and_pictures_continue() {
    let running = start();
    running.begin(HAS_NO_WAY, 5);
    assert_eq!(running.step(), 1);
    let failed = running.event(|event| matches!(event, Event::TransitionFailed { .. }));
    assert!(matches!(failed, Event::TransitionFailed { error } if error.kind() == ErrorKind::OutOfMemory));
    assert_eq!((running.step(), running.step()), (1, 1));
    running.begin("snow", 2);
    assert_eq!(running.step(), 1);
}

#[test]
fn a_target_that_is_refused_changes_nothing() {
    let running = start();
    let before = running.desired();
    let nothing = Transition {
        target_prompts: Weighted::Blend(vec![("snow".to_owned(), 0.0)]),
        num_steps: 4,
        temporal_interpolation_method: Interpolation::Slerp,
    };
    let refused = running.threads.queue.transition(&nothing, StreamDiffusionParams::validate).unwrap_err();
    assert_eq!((refused.kind(), refused.violations().len()), (ErrorKind::InvalidParams, 1));
    assert_eq!(running.desired(), before);
    running.threads.queue.close();
    assert_eq!(running.transition("snow", 4).unwrap_err().kind(), ErrorKind::Closed);
}
