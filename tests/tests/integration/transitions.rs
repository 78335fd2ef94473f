//! The prompt changes gradually, and no picture waits for it.

use dreamframe::{Engine, Transition};
use dreamframe_tests::frames::{demo_engine, largest_difference, picture};

const SIDE: u32 = 64;

/// A demo engine without delay, so that each picture shows the prompt of its own frame.
fn engine() -> Engine {
    demo_engine(SIDE, |params, _| {
        params.t_index_list = vec![30];
        params.prompt = "flowers".into();
    })
}

fn to(prompt: &str, num_steps: u32) -> Transition {
    serde_json::from_value(serde_json::json!({"target_prompts": prompt, "num_steps": num_steps})).unwrap()
}

/// The picture of the first frame, once more.
fn still(engine: &mut Engine) -> Vec<u8> {
    picture(engine, 0)
}

/// The picture that a fresh engine makes with `prompt`.
fn of_prompt(prompt: &str) -> Vec<u8> {
    let mut engine = engine();
    engine.edit(|params| params.prompt = prompt.into()).unwrap();
    still(&mut engine)
}

fn distance(a: &[u8], b: &[u8]) -> u64 {
    a.iter().zip(b).map(|(a, b)| u64::from(a.abs_diff(*b)).pow(2)).sum()
}

#[test]
fn the_picture_goes_from_the_old_prompt_to_the_new_one() {
    let (target, mut engine) = (of_prompt("moonlit night"), engine());
    let start = still(&mut engine);
    assert!(distance(&start, &target) > 0);
    engine.transition(&to("moonlit night", 4)).unwrap();
    assert_eq!(engine.params().prompt, "moonlit night".into());
    let pictures: Vec<_> = (0..6).map(|_| still(&mut engine)).collect();
    assert!(pictures[0] != start && pictures[2] != target);
    // The fourth picture is the first that is all the target's.
    assert!(pictures[3..].iter().all(|picture| *picture == target));
    let apart: Vec<u64> = pictures[..4].iter().map(|picture| distance(picture, &target)).collect();
    assert!(apart.is_sorted_by(|a, b| a > b), "{apart:?}");
}

#[test]
fn transition_of_few_steps_is_an_immediate_change() {
    let target = of_prompt("moonlit night");
    for steps in [0, 1] {
        let mut engine = engine();
        still(&mut engine);
        engine.transition(&to("moonlit night", steps)).unwrap();
        assert!(still(&mut engine) == target);
    }
}

#[test]
fn new_transition_starts_from_the_current_blend() {
    let mut engine = engine();
    engine.transition(&to("moonlit night", 4)).unwrap();
    let between = (0..2).map(|_| still(&mut engine)).last().unwrap();
    engine.transition(&to("a mosaic", 1_000_000)).unwrap();
    assert!(largest_difference(&still(&mut engine), &between) <= 1);
    engine.transition(&to("a mosaic", 2)).unwrap();
    still(&mut engine);
    assert!(still(&mut engine) == of_prompt("a mosaic"));
}

#[test]
fn another_prompt_ends_it_and_other_changes_do_not() {
    let mut engine = engine();
    engine.transition(&to("moonlit night", 3)).unwrap();
    still(&mut engine);
    engine.edit(|params| params.delta = 0.3).unwrap();
    assert_eq!(engine.snapshot().unwrap().transition(), Some((1, 3)));
    assert!(still(&mut engine) != of_prompt("moonlit night"));
    engine.edit(|params| params.prompt = "a mosaic".into()).unwrap();
    assert_eq!(engine.snapshot().unwrap().transition(), None);
    assert!(still(&mut engine) == of_prompt("a mosaic"));
}

#[test]
fn a_bad_prompt_changes_nothing() {
    let mut engine = engine();
    let start = still(&mut engine);
    let bad = serde_json::from_str(r#"{"target_prompts": []}"#).unwrap();
    assert!(!engine.transition(&bad).unwrap_err().violations().is_empty());
    assert_eq!(engine.params().prompt, "flowers".into());
    assert!(still(&mut engine) == start);
}

#[test]
fn transition_steps_can_be_prepared_in_the_background() {
    let mut engine = engine();
    let bench = engine.workbench();
    let prepared = bench.transition(&engine.snapshot().unwrap(), &to("moonlit night", 3)).unwrap();
    engine.apply(prepared).unwrap();
    let mut steps = 0;
    while engine.snapshot().unwrap().transition().is_some() {
        let (base, other) = (engine.snapshot().unwrap(), bench.clone());
        let worker = std::thread::spawn(move || other.step(&base));
        still(&mut engine);
        let mut prepared = worker.join().unwrap().unwrap().unwrap();
        engine.swap(&mut prepared).unwrap();
        steps += 1;
    }
    assert_eq!(steps, 3);
    assert!(still(&mut engine) == of_prompt("moonlit night"));
}
