//! Updates of a session: when they are applied, in which order, and the effect of failures.

use serde_json::{Value, json};

use super::super::event_log::End;
use super::super::events::Event;
use super::toy::{NEEDS_NET, UNFIT};
use super::{LIMIT, start};
use crate::engine::PictureKind;
use crate::error::ErrorKind;
use crate::params::Cost;

/// Returns a processor with a number.
fn blur(amount: u32) -> Value {
    json!({"type": "blur", "params": {"blur_intensity": amount}})
}

/// Returns another processor.
fn sharpen() -> Value {
    json!({"type": "sharpen"})
}

/// Returns a patch of the chains before and after the UNet.
fn chains(before: Value, after: Value) -> Value {
    json!({"image_preprocessing": before, "image_postprocessing": after})
}

/// Returns a patch that adds the ControlNet `name`.
fn net(name: &str) -> String {
    format!(r#"{{"controlnets": [{{"model_id": "{name}"}}]}}"#)
}

#[test]
fn the_first_frame_after_applied_has_the_new_value() {
    let running = start();
    assert_eq!(running.next_picture().version, 0);
    let ticket = running.update(r#"{"delta": 0.3}"#).unwrap();
    assert_eq!((ticket.version, ticket.cost, ticket.changes.len()), (1, Some(Cost::Hot), 1));
    assert_eq!(running.end(&ticket), End::Applied);
    running.event(|event| matches!(event, Event::UpdateApplied { version: 1, .. }));
    let picture = running.next_picture();
    assert_eq!((picture.version, picture.frame.pixels()[1]), (1, 3));
}

#[test]
fn what_changes_nothing_has_no_cost_and_a_bad_value_changes_nothing() {
    let running = start();
    let before = running.desired();
    let unchanged = running.update(&format!(r#"{{"delta": {}}}"#, before.delta)).unwrap();
    assert_eq!((unchanged.version, unchanged.cost), (0, None));
    let refused = running.update(r#"{"delta": 0.1, "t_index_list": [70]}"#).unwrap_err();
    assert_eq!((refused.kind(), refused.violations().len()), (ErrorKind::InvalidParams, 1));
    assert_eq!(running.desired(), before);
}

#[test]
fn a_slider_moves_while_a_model_loads_and_stays_when_it_has_come() {
    let running = start();
    let load = running.update(r#"{"model_id": "slow/model", "delta": 0.2}"#).unwrap();
    assert_eq!(load.cost, Some(Cost::Rebuild));
    // A field that the load does not change, and one that it changes as well: the later update takes effect immediately
    // and stays.
    running.apply(r#"{"guidance_scale": 1.7}"#);
    running.apply(r#"{"delta": 0.9}"#);
    assert_eq!(running.next_picture().frame.pixels()[..2], [17, 9]);
    running.script.open("slow/model");
    assert_eq!(running.end(&load), End::Applied);
    let picture = running.next_picture();
    assert_eq!((&picture.frame.pixels()[..2], picture.version), (&[17, 9][..], 3));
    assert_eq!(running.script.made.lock().unwrap().as_slice(), ["slow/model"], "made once");
    let desired = running.desired();
    assert_eq!(running.stop(), desired);
}

#[test]
fn what_needs_an_item_that_is_still_loading_waits_for_it() {
    let running = start();
    let load = running.update(&net("slow/net")).unwrap();
    let inside = r#"{"controlnets": [{"model_id": "slow/net", "conditioning_scale": 0.25}]}"#;
    let inside = running.update(inside).unwrap();
    assert_eq!(inside.cost, Some(Cost::Hot));
    let prompt = running.update(&format!(r#"{{"prompt": "{NEEDS_NET}"}}"#)).unwrap();
    running.apply(r#"{"delta": 0.4}"#);
    assert_eq!(running.threads.endpoint.event_log.end(inside.version), Ok(None));
    running.script.open("slow/net");
    for ticket in [load, inside, prompt] {
        assert_eq!(running.end(&ticket), End::Applied);
    }
    let params = running.stop();
    assert_eq!((params.controlnets[0].conditioning_scale, params.delta), (0.25, 0.4));
}

#[test]
fn a_load_inside_a_list_that_an_earlier_update_replaces_waits_for_it() {
    let running = start();
    for round in 0..10 {
        running.apply(&chains(json!([blur(1)]), json!([blur(1), sharpen()])).to_string());
        let gate = format!("slow/{round}");
        let slow = running.update(&json!({"prompt": gate}).to_string()).unwrap();
        running.script.wait_for(&gate);
        // Of both chains, each of these updates replaces one, and changes a parameter in the other.
        let list = chains(json!([sharpen(), blur(2)]), json!([blur(2), sharpen()]));
        let list = running.update(&list.to_string()).unwrap();
        let mut load = chains(json!([sharpen(), blur(3)]), json!([blur(3)]));
        load["model_id"] = json!(format!("model/{round}"));
        let load = running.update(&load.to_string()).unwrap();
        assert_eq!((list.cost, load.cost), (Some(Cost::Hot), Some(Cost::Rebuild)));
        running.script.open(&gate);
        assert_eq!([&slow, &list, &load].map(|ticket| running.end(ticket)), [End::Applied; 3]);
        let desired = running.desired();
        let amounts = [&desired.image_preprocessing.processors[1], &desired.image_postprocessing.processors[0]];
        assert!(amounts.iter().all(|blur| blur.params["blur_intensity"] == 3), "{amounts:?}");
    }
    let desired = running.desired();
    assert_eq!(running.stop(), desired);
}

#[test]
fn an_update_that_a_later_one_needs_is_not_replaced() {
    let running = start();
    running.apply(&chains(json!([blur(1)]), json!([blur(1)])).to_string());
    let slow = running.update(r#"{"prompt": "slow/prompt"}"#).unwrap();
    running.script.wait_for("slow/prompt");
    let lists = running.update(&chains(json!([sharpen(), blur(2)]), json!([sharpen(), blur(2)])).to_string()).unwrap();
    // Inside the list before the UNet, on the other lane, and inside the one after it.
    let mut load = chains(json!([sharpen(), blur(3)]), json!([blur(3)]));
    load["model_id"] = json!("model/other");
    let load = running.update(&load.to_string()).unwrap();
    let again = running.update(&chains(json!([blur(4)]), json!([sharpen(), blur(4)])).to_string()).unwrap();
    let inside = running.update(&chains(json!([sharpen(), blur(5)]), json!([sharpen(), blur(5)])).to_string()).unwrap();
    // It covers what is left of the lists, and is rejected.
    let mut bad = chains(json!([sharpen(), blur(6)]), json!([blur(6)]));
    bad["prompt"] = json!(NEEDS_NET);
    let bad = running.update(&bad.to_string()).unwrap();
    running.script.open("slow/prompt");
    let ends = [&slow, &lists, &load, &again, &inside].map(|ticket| running.end(ticket));
    assert_eq!((ends, running.end(&bad)), ([End::Applied; 5], End::Rejected));
    let params = running.stop();
    let amounts = [&params.image_preprocessing.processors[1], &params.image_postprocessing.processors[1]];
    assert!(amounts.iter().all(|blur| blur.params["blur_intensity"] == 5), "{amounts:?}");
}

#[test]
fn another_order_waits_for_an_item_that_is_still_loading() {
    let nets = |names: &[&str]| {
        json!({"controlnets": names.iter().map(|name| json!({"model_id": name})).collect::<Vec<_>>()}).to_string()
    };
    let running = start();
    running.apply(&nets(&["net/a", "net/b"]));
    let load = running.update(&nets(&["net/a", "net/b", "slow/c"])).unwrap();
    running.script.wait_for("slow/c");
    let order = running.update(&nets(&["slow/c", "net/b", "net/a"])).unwrap();
    running.script.open("slow/c");
    assert_eq!((running.end(&load), running.end(&order)), (End::Applied, End::Applied));
    let names: Vec<_> = running.stop().controlnets.into_iter().map(|net| net.model_id).collect();
    assert_eq!(names, ["slow/c", "net/b", "net/a"]);
}

#[test]
fn failed_update_is_reverted_and_later_ones_stay() {
    let running = start();
    let before = running.desired();
    let first = running.update(&net("slow/a")).unwrap();
    let bad = running.update(r#"{"model_id": "missing/model", "delta": 0.2}"#).unwrap();
    let late = running.update(r#"{"guidance_scale": 1.7}"#).unwrap();
    running.script.open("slow/a");
    assert_eq!(
        (running.end(&first), running.end(&bad), running.end(&late)),
        (End::Applied, End::Rejected, End::Applied)
    );
    assert_eq!(running.threads.queue.refusal(bad.version).unwrap().kind(), ErrorKind::NotFound);
    let mut expected = before;
    expected.controlnets = running.desired().controlnets;
    expected.guidance_scale = 1.7;
    assert_eq!((running.desired(), expected.controlnets.len()), (expected.clone(), 1));
    assert_eq!(running.stop(), expected);
}

#[test]
fn what_does_not_fit_without_a_failed_update_fails_with_it() {
    let running = start();
    let before = running.desired();
    let wait = running.update(&net("slow/a")).unwrap();
    let base = running.update(r#"{"model_id": "missing/model", "num_inference_steps": 90}"#).unwrap();
    let on_top = running.update(r#"{"t_index_list": [80]}"#).unwrap();
    running.script.open("slow/a");
    assert_eq!((running.end(&base), running.end(&on_top)), (End::Rejected, End::Rejected));
    assert_eq!(running.end(&wait), End::Applied);
    let after = running.desired();
    assert_eq!((after.num_inference_steps, after.t_index_list), (before.num_inference_steps, before.t_index_list));
}

#[test]
fn an_update_that_later_ones_cover_is_left_out() {
    let running = start();
    let first = running.update(&net("slow/a")).unwrap();
    running.script.wait_for("slow/a");
    running.apply(r#"{"delta": 0.4}"#);
    let second = running.update(r#"{"width": 256}"#).unwrap();
    let third = running.update(r#"{"width": 320, "height": 320}"#).unwrap();
    running.script.open("slow/a");
    assert_eq!((running.end(&first), running.end(&third)), (End::Applied, End::Applied));
    assert_eq!(running.end(&second), End::Superseded);
    running.event(|event| matches!(event, Event::UpdateSuperseded { version } if *version == second.version));
    assert_eq!(running.stop().width, 320);
}

#[test]
fn an_update_that_a_rejected_one_had_replaced_is_applied() {
    let running = start();
    let first = running.update(&net("slow/a")).unwrap();
    running.script.wait_for("slow/a");
    let second = running.update(r#"{"width": 256}"#).unwrap();
    let third = running.update(r#"{"width": 320, "model_id": "missing/model"}"#).unwrap();
    let fourth = running.update(r#"{"width": 384, "model_id": "missing/other"}"#).unwrap();
    running.script.open("slow/a");
    assert_eq!((running.end(&first), running.end(&second)), (End::Applied, End::Applied));
    assert_eq!((running.end(&third), running.end(&fourth)), (End::Rejected, End::Rejected));
    assert_eq!(running.desired().width, 256);
    assert_eq!(running.stop().width, 256);
}

#[test]
fn of_updates_that_a_rejected_one_had_replaced_only_the_newest_is_prepared() {
    let running = start();
    let first = running.update(&net("slow/a")).unwrap();
    running.script.wait_for("slow/a");
    let sizes = [256, 320, 384].map(|width| running.update(&format!(r#"{{"width": {width}}}"#)).unwrap());
    let bad = running.update(r#"{"width": 448, "model_id": "missing/model"}"#).unwrap();
    running.script.open("slow/a");
    assert_eq!((running.end(&first), running.end(&bad)), (End::Applied, End::Rejected));
    let ends = sizes.map(|size| running.end(&size));
    assert_eq!(ends, [End::Superseded, End::Superseded, End::Applied]);
    assert_eq!(running.stop().width, 384);
}

#[test]
fn of_many_replaced_updates_the_oldest_are_superseded_at_once() {
    let running = start();
    let first = running.update(&net("slow/a")).unwrap();
    running.script.wait_for("slow/a");
    let sizes: Vec<_> = (1..=200)
        .map(|step| running.update(&format!(r#"{{"seed": {step}, "width": {}}}"#, 256 + step % 8 * 8)).unwrap())
        .collect();
    assert_eq!(running.end(&sizes[0]), End::Superseded);
    running.script.open("slow/a");
    assert_eq!((running.end(&first), running.end(&sizes[199])), (End::Applied, End::Applied));
    assert!(sizes[..199].iter().all(|size| running.end(size) == End::Superseded));
}

#[test]
fn loads_do_not_undo_an_update_that_was_accepted_after_both() {
    let running = start();
    let first = running.update(r#"{"controlnets": [{"model_id": "slow/a"}], "delta": 0.2}"#).unwrap();
    let both = r#"{"controlnets": [{"model_id": "slow/a"}, {"model_id": "slow/b"}], "delta": 0.3}"#;
    let second = running.update(both).unwrap();
    running.apply(r#"{"delta": 0.9}"#);
    running.script.open("slow/a");
    assert_eq!(running.end(&first), End::Applied);
    running.script.open("slow/b");
    assert_eq!(running.end(&second), End::Applied);
    assert_eq!(running.next_picture().frame.pixels()[1], 9);
    assert_eq!((running.desired().delta, running.stop().delta), (0.9, 0.9));
}

#[test]
fn update_that_cannot_be_applied_is_reverted_and_the_next_prepared_again() {
    let running = start();
    let events = running.events();
    for round in 0..20 {
        let bad = running.update(&format!(r#"{{"delta": {UNFIT:?}, "guidance_scale": 1.5}}"#)).unwrap();
        let prompt = running.update(&format!(r#"{{"prompt": "round {round}"}}"#)).unwrap();
        assert_eq!((running.end(&bad), running.end(&prompt)), (End::Rejected, End::Applied));
        events.try_iter().for_each(drop);
    }
    let desired = running.desired();
    assert!(desired.delta != UNFIT && desired.guidance_scale != 1.5);
    assert_eq!(running.stop(), desired);
}

#[test]
fn what_is_inside_a_list_whose_update_is_prepared_again_waits_for_it() {
    let running = start();
    running.apply(&chains(json!([blur(1)]), json!([blur(1)])).to_string());
    running.apply(r#"{"prompt": "held/prompt"}"#);
    let bad = running.update(&json!({"delta": UNFIT}).to_string()).unwrap();
    running.script.wait_for("held/prompt");
    let list = running.update(&chains(json!([sharpen(), blur(2)]), json!([sharpen(), blur(2)])).to_string()).unwrap();
    let mut inside = chains(json!([sharpen(), blur(3)]), json!([blur(3)]));
    inside["prompt"] = json!("slow/prompt");
    let inside = running.update(&inside.to_string()).unwrap();
    running.script.wait_for("slow/prompt");
    // The list was sent for parameters that cannot be applied; it comes back while the other update is prepared.
    running.script.open("held/prompt");
    assert_eq!(running.end(&bad), End::Rejected);
    running.script.open("slow/prompt");
    assert_eq!((running.end(&list), running.end(&inside)), (End::Applied, End::Applied));
    let desired = running.desired();
    assert_eq!(desired.image_preprocessing.processors[1].params["blur_intensity"], 3);
    assert_eq!(running.stop(), desired);
}

#[test]
fn with_too_little_memory_for_two_the_first_goes_first() {
    for model in ["huge/model", "short/model"] {
        let running = start();
        running.next_picture();
        running.apply(&format!(r#"{{"model_id": "{model}"}}"#));
        assert_eq!(running.next_picture().kind, PictureKind::New);
        assert_eq!(running.stop().model_id, model);
    }
}

#[test]
fn during_a_release_frames_repeat_and_a_failure_restores_the_pipeline() {
    let running = start();
    let before = running.desired();
    running.next_picture();
    let giant = running.update(r#"{"model_id": "giant/model"}"#).unwrap();
    assert_eq!(running.end(&giant), End::Rejected);
    // It was sent before the rejection was reported, and frames follow sent updates.
    assert_eq!(running.next_picture().kind, PictureKind::New);
    let slow = running.update(r#"{"model_id": "short/x", "controlnets": [{"model_id": "slow/net"}]}"#).unwrap();
    running.script.wait_for("slow/net");
    let repeated = running.next_picture();
    assert!(repeated.kind == PictureKind::Repeated && repeated.source_id < repeated.id);
    // Nothing can be applied now; the update is kept.
    let slider = running.update(r#"{"delta": 0.9}"#).unwrap();
    running.script.open("slow/net");
    assert_eq!((running.end(&slow), running.end(&slider)), (End::Applied, End::Applied));
    let params = running.stop();
    assert_eq!((params.model_id.as_str(), params.delta), ("short/x", 0.9));
    assert_eq!(before.model_id, "demo");
}

#[test]
fn a_panic_while_preparing_refuses_that_update_alone() {
    let running = start();
    let bad = running.update(&net("panics/net")).unwrap();
    assert_eq!(running.end(&bad), End::Rejected);
    let refusal = running.threads.queue.refusal(bad.version).unwrap();
    assert_eq!(refusal.kind(), ErrorKind::Internal);
    assert!(refusal.to_string().contains("without weights"), "{refusal}");
    running.apply(&net("good/net"));
}

#[test]
fn dropping_in_the_middle_of_a_load_does_not_wait_for_it() {
    let running = start();
    let ticket = running.update(r#"{"model_id": "slow/never"}"#).unwrap();
    let (event_log, script) = (running.threads.endpoint.event_log.clone(), running.script.clone());
    running.script.wait_for("slow/never");
    drop(running);
    assert_eq!(event_log.end(ticket.version), Ok(None));
    script.open("slow/never");
}

#[test]
fn stopping_in_the_middle_of_a_load_does_not_wait_for_it() {
    let running = start();
    running.update(r#"{"model_id": "slow/never"}"#).unwrap();
    running.script.wait_for("slow/never");
    let script = running.script.clone();
    running.threads.stop(LIMIT).unwrap();
    script.open("slow/never");
}
